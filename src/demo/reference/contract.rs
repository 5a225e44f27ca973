//! What a field may hold, out of the texts of the schemas, and a record as the tree of JSON that it is or could be.
//!
//! Avro is read by `apache-avro` with the schema that the record names, and nothing but the fields' names is asked of
//! that schema afterwards: what they mean is said by the schemas of this version.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use serde_json::{Map, Value};

use super::Record;
use crate::avro;
use crate::demo::conference::Feed;

/// What the contract says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    Time,
    Number,
    Flag,
    /// Names that are known.
    Symbol(Vec<String>),
    Answer,
    Texts,
}

/// A field's names, the current one first, and what it may hold.
struct Field {
    names: Vec<String>,
    of: Type,
}

/// The name of a field in this version and what it may hold. None: no field of this kind.
pub fn field(feed: Feed, name: &str) -> Option<(&'static str, &'static Type)> {
    static FIELDS: LazyLock<BTreeMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
        let schemas = avro::embedded().into_iter();
        schemas.filter_map(|schema| Some((schema.name, fields(schema.text)?))).collect()
    });
    let fields = FIELDS.get(schema_of(feed))?;
    let field = fields.iter().find(|field| field.names.iter().any(|it| it == name))?;
    Some((field.names.first()?, &field.of))
}

/// The name of the kind, which is that of its schema's file.
pub fn schema_of(feed: Feed) -> &'static str {
    match feed {
        Feed::Events(kind) => kind.name(),
        Feed::Sessions => "session",
    }
}

/// Out of the schema's text. None: no record of events.
fn fields(schema: &str) -> Option<Vec<Field>> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let names = |field: &Value| {
        let aliases = field.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let names = field.get("name").into_iter().chain(aliases).filter_map(Value::as_str);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let fields = schema.get("fields")?.as_array()?.iter();
    Some(fields.filter_map(|field| Some(Field { names: names(field), of: type_in(field.get("type")?)? })).collect())
}

fn type_in(mut of: &Value) -> Option<Type> {
    if let Some(branches) = of.as_array() {
        if branches.iter().any(|branch| branch.get("type").is_some_and(|it| it == "array")) {
            return Some(Type::Answer);
        }
        of = branches.iter().find(|branch| *branch != "null")?;
    }
    let base = of.get("type").unwrap_or(of).as_str()?;
    Some(match (base, of.get("logicalType")) {
        ("string", _) => Type::Text,
        ("long", Some(_)) => Type::Time,
        ("long", None) => Type::Number,
        ("boolean", _) => Type::Flag,
        ("map", _) => Type::Texts,
        ("enum", _) => {
            let symbols = of.get("symbols")?.as_array()?.iter().filter_map(Value::as_str);
            Type::Symbol(symbols.filter(|symbol| *symbol != "UNKNOWN").map(str::to_owned).collect())
        }
        _ => return None,
    })
}

/// The members of a record, and what its envelope says of `event_id` and `source`.
pub struct Told {
    pub members: Map<String, Value>,
    pub envelope: [Option<String>; 2],
}

/// Schemas that records may name by a number of the registry.
pub type Registered = BTreeMap<u32, Schema>;

/// The record as an object, whatever it was written as; or the code of its refusal.
pub fn told(record: &Record<'_>, value: &[u8], registered: &Registered) -> Result<Told, &'static str> {
    let headers = ["ce_id", "ce_source"].map(|name| record.header(name).map(str::to_owned));
    if let Some(rest) = value.strip_prefix(&[0]) {
        let (id, body) = rest.split_first_chunk::<4>().ok_or("undecodable")?;
        let schema = registered.get(&u32::from_be_bytes(*id)).ok_or("unknown_schema")?;
        return Ok(Told { members: avro_members(record.feed, schema, body)?, envelope: headers });
    }
    if value.starts_with(&[0xC3, 0x01]) {
        let (header, body) = value.split_first_chunk::<10>().ok_or("undecodable")?;
        let all = avro::embedded();
        let schema = all.into_iter().find(|schema| schema.header == *header).ok_or("unknown_schema")?;
        return Ok(Told { members: avro_members(record.feed, &schema.schema, body)?, envelope: headers });
    }
    let members = object(serde_json::from_slice(value).map_err(|_| "undecodable")?)?;
    let content = record.header("content-type").and_then(|of| of.split(';').next()).unwrap_or_default().trim();
    if !content.eq_ignore_ascii_case("application/cloudevents+json") {
        return Ok(Told { members, envelope: headers });
    }
    let envelope = ["id", "source"].map(|name| members.get(name).and_then(Value::as_str).map(str::to_owned));
    let data = members.get("data").cloned().ok_or("undecodable")?;
    Ok(Told { members: object(data)?, envelope })
}

fn object(value: Value) -> Result<Map<String, Value>, &'static str> {
    if let Value::Object(members) = value { Ok(members) } else { Err("undecodable") }
}

fn avro_members(feed: Feed, schema: &Schema, mut body: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let name = schema.name().map(|name| name.name.to_ascii_lowercase());
    if name.as_deref() != Some(schema_of(feed)) {
        return Err("unknown_kind");
    }
    let read = apache_avro::from_avro_datum(schema, &mut body, None).map_err(|_| "undecodable")?;
    if body.is_empty() { object(as_json(read).ok_or("undecodable")?) } else { Err("undecodable") }
}

/// Times become milliseconds, cut towards the past. None: nothing that a field of ours can hold.
fn as_json(value: Avro) -> Option<Value> {
    let all = |members: Vec<(String, Avro)>| {
        let members = members.into_iter().map(|(name, value)| Some((name, as_json(value)?)));
        members.collect::<Option<Map<_, _>>>().map(Value::Object)
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "what else Avro has is in none of our schemas")]
    match value {
        Avro::Null => Some(Value::Null),
        Avro::Boolean(on) => Some(on.into()),
        Avro::Int(number) => Some(number.into()),
        Avro::Long(number) | Avro::TimestampMillis(number) => Some(number.into()),
        Avro::TimestampMicros(time) => Some(time.div_euclid(1_000).into()),
        Avro::TimestampNanos(time) => Some(time.div_euclid(1_000_000).into()),
        Avro::String(text) | Avro::Enum(_, text) => Some(text.into()),
        Avro::Union(_, value) => as_json(*value),
        Avro::Array(items) => items.into_iter().map(as_json).collect::<Option<Vec<_>>>().map(Value::Array),
        Avro::Map(members) => all(members.into_iter().collect()),
        Avro::Record(members) => all(members),
        _ => None,
    }
}
