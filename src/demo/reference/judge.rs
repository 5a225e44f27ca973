//! Whether a record counts at all, decided a second time: refused, ignored or accepted, each with its code.
//!
//! It knows the contract (the texts of the schemas, and the rules of docs/producing.md) and nothing of the decoder: a
//! record is read whole into a tree of JSON first, whatever it was written as, and the rules are asked one after the
//! other. Were the reference given what the decoder lets through, a record that is wrongly refused would be missing on
//! both sides, and nobody would notice.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::avro;
use crate::event::{EventKind, Headers, Millis};

/// Longest text, in bytes.
const TEXT_BYTES_MAX: usize = 32_768;
/// 1 January 2000, UTC.
const EARLIEST: i128 = 946_684_800_000;
const DAY: i128 = 86_400_000;

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Accepted,
    Ignored(&'static str),
    Refused(&'static str),
}

/// A record on the topic of this kind.
pub struct Record<'r> {
    pub kind: EventKind,
    pub value: Option<&'r [u8]>,
    pub timestamp: Option<Millis>,
    pub headers: &'r dyn Headers,
}

/// What the contract says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Type {
    Text,
    Time,
    Number,
    Flag,
    /// Names that are known.
    Symbol(Vec<String>),
    Answer,
    Texts,
}

/// A field's value as it counts.
#[derive(Clone, Debug, Default)]
struct Read {
    texts: Vec<(String, String)>,
    times: Vec<(String, i128)>,
    /// By field: known, or as it was sent.
    symbols: Vec<(String, Result<String, String>)>,
    too_long: bool,
}

impl Read {
    fn text(&self, name: &str) -> Option<&str> {
        let text = self.texts.iter().find(|(field, _)| field == name).map(|(_, text)| text.as_str());
        text.filter(|text| !text.trim().is_empty())
    }

    fn time(&self, name: &str) -> Option<i128> {
        self.times.iter().find(|(field, _)| field == name).map(|(_, time)| *time)
    }

    /// None: nothing was sent.
    fn symbol(&self, name: &str) -> Option<Result<&str, &str>> {
        let found = self.symbols.iter().find(|(field, _)| field == name)?;
        Some(found.1.as_ref().map(String::as_str).map_err(String::as_str))
    }
}

/// Decides, by the contract alone. Values are below the size limit, and no registry is needed.
pub fn judge(record: &Record<'_>) -> Judgement {
    let Some(value) = record.value else { return Judgement::Refused("no_value") };
    let members = match members(record.kind, value) {
        Ok(members) => members,
        Err(code) => return Judgement::Refused(code),
    };
    let mut read = Read::default();
    for (name, value) in &members {
        if let Some(kind) = type_of(record.kind, name)
            && !take(&mut read, name, kind, value)
        {
            return Judgement::Refused("undecodable");
        }
    }
    match members.get("kind") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case(record.kind.name()) => {}
        Some(Value::String(_)) => return Judgement::Refused("unknown_kind"),
        Some(_) => return Judgement::Refused("undecodable"),
    }
    for (name, header) in [("event_id", "ce_id"), ("source", "ce_source")] {
        let text = record.headers.get(header).and_then(|text| std::str::from_utf8(text).ok());
        if let (None, Some(text)) = (read.text(name), text) {
            read.too_long |= text.len() > TEXT_BYTES_MAX;
            read.texts.retain(|(field, _)| field != name);
            read.texts.push((name.to_owned(), text.to_owned()));
        }
    }
    match refused(record, &read) {
        Some(code) => Judgement::Refused(code),
        None => ignored(record.kind, &read).map_or(Judgement::Accepted, Judgement::Ignored),
    }
}

/// The record as an object.
fn members(kind: EventKind, value: &[u8]) -> Result<Map<String, Value>, &'static str> {
    if value.starts_with(&[0xC3, 0x01]) {
        let header = value.get(..10).ok_or("undecodable")?;
        let all = avro::embedded();
        let schema = all.into_iter().find(|schema| schema.header == header).ok_or("unknown_schema")?;
        if schema.name != kind.name() {
            return Err("unknown_kind");
        }
        let mut body = value.get(10..).unwrap_or_default();
        let read = apache_avro::from_avro_datum(&schema.schema, &mut body, None).map_err(|_| "undecodable")?;
        let read = Value::try_from(read).map_err(|_| "undecodable")?;
        return if body.is_empty() { read.as_object().cloned().ok_or("undecodable") } else { Err("undecodable") };
    }
    match serde_json::from_slice(value) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err("undecodable"),
    }
}

/// A field's names, and what it may hold.
type Field = (Vec<String>, Type);

/// None: no field of this kind.
fn type_of(kind: EventKind, name: &str) -> Option<&'static Type> {
    static FIELDS: LazyLock<Vec<(EventKind, Vec<Field>)>> =
        LazyLock::new(|| EventKind::ALL.into_iter().map(|kind| (kind, fields(kind).unwrap_or_default())).collect());
    let (_, fields) = FIELDS.iter().find(|(of, _)| *of == kind)?;
    fields.iter().find(|(names, _)| names.iter().any(|it| it == name)).map(|(_, of)| of)
}

/// Out of the schema's text.
fn fields(kind: EventKind) -> Option<Vec<Field>> {
    let schema = avro::embedded().into_iter().find(|schema| schema.name == kind.name())?;
    let schema: Value = serde_json::from_str(schema.text).ok()?;
    let names = |field: &Value| {
        let aliases = field.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let names = field.get("name").into_iter().chain(aliases).filter_map(Value::as_str);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let fields = schema.get("fields")?.as_array()?.iter();
    Some(fields.filter_map(|field| Some((names(field), type_in(field.get("type")?)?))).collect())
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

/// False: no value of this type. Null is none.
fn take(read: &mut Read, name: &str, kind: &Type, value: &Value) -> bool {
    let name = name.to_owned();
    let mut long = |text: &str| read.too_long |= text.len() > TEXT_BYTES_MAX;
    match (kind, value) {
        (_, Value::Null) | (Type::Flag, Value::Bool(_)) => true,
        (Type::Text, Value::String(text)) => {
            long(text);
            read.texts.push((name, text.clone()));
            true
        }
        (Type::Answer, Value::String(text)) => {
            long(text);
            true
        }
        (Type::Answer, Value::Array(choices)) => {
            let texts: Option<Vec<&str>> = choices.iter().map(Value::as_str).collect();
            let Some(texts) = texts else { return false };
            for text in &texts {
                long(text);
            }
            let chosen: Vec<&str> = texts.into_iter().filter(|text| !text.trim().is_empty()).collect();
            long(&chosen.join("; "));
            true
        }
        (Type::Texts, Value::Object(texts)) => texts.iter().all(|(key, value)| {
            long(key);
            value.as_str().map(&mut long);
            value.is_string() || value.is_null()
        }),
        (Type::Symbol(known), Value::String(symbol)) => {
            let found = known.iter().find(|known| known.eq_ignore_ascii_case(symbol.trim()));
            read.symbols.push((name, found.cloned().ok_or_else(|| symbol.clone())));
            true
        }
        (Type::Time | Type::Number, Value::String(text)) if text.trim().is_empty() => true,
        (Type::Number, value) => whole(value).is_some(),
        (Type::Time, value) => match time(value) {
            Some(at) => {
                read.times.push((name, at));
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn whole(value: &Value) -> Option<i128> {
    let real = value.as_number().filter(|number| number.is_f64()).and_then(serde_json::Number::as_f64);
    let text = || value.as_str()?.trim().parse::<i64>().ok();
    let real = real.filter(|real| real.fract() == 0.0).and_then(floor);
    value.as_i64().or_else(text).map(i128::from).or(real)
}

/// Finer times are cut towards the past.
fn time(value: &Value) -> Option<i128> {
    let real = value.as_number().filter(|number| number.is_f64()).and_then(serde_json::Number::as_f64);
    let text = || value.as_str()?.trim().parse::<jiff::Timestamp>().ok();
    real.map_or_else(|| whole(value), floor).or_else(|| text().map(|at| at.as_nanosecond().div_euclid(1_000_000)))
}

#[expect(clippy::cast_possible_truncation, reason = "the bound is below what the type holds")]
fn floor(real: f64) -> Option<i128> {
    (real.abs() < 9.2e18).then(|| real.floor() as i128)
}

/// The first reason to refuse, in the order of the contract.
fn refused(record: &Record<'_>, read: &Read) -> Option<&'static str> {
    let occurred_at = read.time("occurred_at");
    let lacking = [
        (read.text("event_id").is_none(), "event_id_missing"),
        (read.text("source").is_none(), "source_missing"),
        (occurred_at.is_none(), "occurred_at_missing"),
        (record.kind == EventKind::Poll && read.text("poll_id").is_none(), "poll_id_missing"),
        (read.text("campaign_id").is_none(), "campaign_id_missing"),
        (read.text("campaign_id").is_some_and(|id| !id_of(id, &["701"])), "campaign_id_invalid"),
        (read.text("lead_id").is_none(), "person_id_missing"),
        (read.text("lead_id").is_some_and(|id| !id_of(id, &["00Q", "003"])), "person_id_invalid"),
    ];
    if let Some((_, code)) = lacking.into_iter().find(|(lacks, _)| *lacks) {
        return Some(code);
    }
    let occurred_at = occurred_at.unwrap_or_default();
    let (started_at, ended_at) = (read.time("started_at"), read.time("ended_at"));
    let interval = record.kind == EventKind::View || read.symbol("action") == Some(Ok("PRESENCE"));
    let length = ended_at.map(|end| end - started_at.unwrap_or(occurred_at)).filter(|_| interval);
    let times = || [Some(occurred_at), started_at, ended_at].into_iter().flatten();
    let latest = record.timestamp.map(|at| i128::from(at) + DAY);
    let wrong = [
        (length.is_some_and(|length| length < 0), "interval_reversed"),
        (length.is_some_and(|length| length > DAY), "interval_too_long"),
        (times().any(|time| time < EARLIEST), "time_too_early"),
        (latest.is_some_and(|latest| times().any(|time| time > latest)), "time_too_late"),
        (read.too_long, "text_too_long"),
    ];
    wrong.into_iter().find(|(wrong, _)| *wrong).map(|(_, code)| code)
}

/// Why an event changes nothing: first what it is, then what it lacks.
fn ignored(kind: EventKind, read: &Read) -> Option<&'static str> {
    let field = match kind {
        EventKind::Registration | EventKind::Attendance => "action",
        EventKind::Reaction => "reaction",
        EventKind::View => "mode",
        EventKind::Poll => "",
    };
    let symbol = match read.symbol(field) {
        Some(Ok(symbol)) => symbol,
        _ if kind == EventKind::Poll => "",
        Some(Err(_)) | None => return Some("unknown_symbol"),
    };
    let phase_unknown = matches!(read.symbol("phase"), Some(Err(phase)) if !phase.trim().is_empty());
    match symbol {
        "VISIT" if phase_unknown => return Some("unknown_symbol"),
        "LOWER_HAND" => return Some("lowered_hand"),
        "DOCUMENT" => return Some("document_view"),
        _ => {}
    }
    let needs_entry = kind != EventKind::Registration && symbol != "VISIT";
    (needs_entry && read.text("entry_id").is_none()).then_some("no_entry")
}

/// 15 or 18 ASCII letters and digits that begin so; of 18 the last three follow from the case of the others.
fn id_of(text: &str, prefixes: &[&str]) -> bool {
    let legal = text.chars().all(|c| c.is_ascii_alphanumeric());
    let suffix: String = text
        .as_bytes()
        .chunks(5)
        .take(3)
        .map(|five| {
            let bits = five.iter().rev().fold(0, |bits, byte| bits * 2 + usize::from(byte.is_ascii_uppercase()));
            char::from(*b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345".get(bits).unwrap_or(&b'?'))
        })
        .collect();
    let long = match text.len() {
        15 => true,
        18 => text.ends_with(&suffix),
        _ => false,
    };
    legal && long && prefixes.iter().any(|prefix| text.starts_with(prefix))
}
