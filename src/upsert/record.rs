//! Records of `rollbook.upserts` to rows, and rows that are given as values to records.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use super::field::{FieldKind, Mode};
use super::lane::Lane;
use super::object::Object;
use super::row::finish_upsert;
use super::sending::Sending;
use super::value::Value;
use crate::avro::{self, Embedded, ReadError, Reader, Writer};
use crate::id::{MemberKey, SalesforceId};
use crate::time::Millis;

/// What a row is known by, wherever it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    pub object: Object,
    pub external_id: Arc<str>,
}

/// One row as Salesforce should hold it: a record of `rollbook.upserts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    pub row: Row,
    pub member: MemberKey,
    /// Kafka timestamp of the newest record that changed the row.
    pub event_at: Millis,
    pub lane: Lane,
}

/// Object, external id and field values. What only the sink knows (ids of parents, the row's own) is not among the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub object: Object,
    pub external_id: String,
    /// In the order of the object's definition.
    pub fields: Vec<(&'static str, Value)>,
}

/// A row read back from the topic.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadUpsert {
    /// API name.
    pub object: String,
    pub external_id: String,
    pub campaign_id: String,
    pub lead_id: String,
    /// Fields of the object have names that are known; those of mappings need not.
    pub fields: Vec<(Cow<'static, str>, Value)>,
    pub event_at: Millis,
    /// None: of a version that does not say it.
    pub lane: Option<Lane>,
    /// Rows that are to be written before it, as far as the version says.
    pub parents: Vec<RowKey>,
    /// Replays and commands behind it, the oldest first.
    pub causes: Vec<String>,
    /// No version of it was sent before, as far as was known; versions of the schema before the fourth never say so.
    pub first: bool,
    /// Only facts that a mapping names have changed it.
    pub minor: bool,
    /// None: of a version that does not say it, or of an object that is not known.
    pub numbered: Option<Object>,
}

impl Row {
    /// A record of this version, of an object's own fields.
    pub(super) fn read(record: &[u8]) -> Result<Self, ReadError> {
        let read = ReadUpsert::decode(record)?;
        let object = read.object().ok_or(ReadError::Branch)?;
        let named = |(name, value)| if let Cow::Borrowed(name) = name { Some((name, value)) } else { None };
        let fields = read.fields.into_iter().filter_map(named).collect();
        Ok(Self { object, external_id: read.external_id, fields })
    }

    /// Kafka key.
    pub fn key(&self) -> Vec<u8> {
        [self.object.api_name(), "/", &self.external_id].concat().into_bytes()
    }
}

impl Upsert {
    /// As the fold writes it, which has no such value. What is no field of the object stands beside the row, by name.
    pub fn encode(&self) -> Vec<u8> {
        let Row { object, external_id, fields: values } = &self.row;
        let mut out = Writer::object(&avro::UPSERT);
        out.text(object.api_name());
        out.text(external_id);
        out.text(self.member.campaign.as_str());
        out.text(self.member.person.as_str());
        out.long(object.def().branch());
        let own = object.def().typed_fields();
        for field in own {
            let value = values.iter().find(|(name, _)| *name == field.name).map(|(_, value)| value);
            value.unwrap_or(&Value::Null).write_as(field.kind, &mut out);
        }
        let others = values.iter().filter(|(name, _)| own.iter().all(|field| field.name != *name));
        let others: Vec<_> = others.collect();
        out.array(others.into_iter(), |out, (name, value)| {
            out.text(name);
            value.write(out);
        });
        let sending = Sending { event_at: self.event_at, lane: self.lane, ..Sending::default() };
        finish_upsert(&mut out, *object, &self.member, &sending);
        out.0
    }
}

impl ReadUpsert {
    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let (mut from, version) = Self::open(record)?;
        let object = from.text()?.to_owned();
        let external_id = from.text()?.to_owned();
        let campaign_id = from.text()?.to_owned();
        let lead_id = from.text()?.to_owned();
        let mut fields = if version > 1 { read_row(&mut from)? } else { Vec::new() };
        from.array(|from| {
            fields.push((own_name(&object, from.text()?), Value::read(from)?));
            Ok(())
        })?;
        let event_at = from.long()?;
        let lane = if version > 2 { Some(Lane::from_symbol(from.long()?).ok_or(ReadError::Branch)?) } else { None };
        let mut read = Self {
            object,
            external_id,
            campaign_id,
            lead_id,
            fields,
            event_at,
            lane,
            parents: Vec::new(),
            causes: Vec::new(),
            first: false,
            minor: false,
            numbered: None,
        };
        if version > 3 {
            read.end(&mut from)?;
        }
        Ok(read)
    }

    /// What the fourth version says more.
    fn end(&mut self, from: &mut Reader<'_>) -> Result<(), ReadError> {
        let number = |from: &mut Reader<'_>| Ok(u8::try_from(from.long()?).ok().and_then(Object::from_number));
        self.numbered = number(from)?;
        from.array(|from| {
            let (object, external_id) = (number(from)?, from.text()?);
            // One of an object that is not known is not waited for: nobody here would write it.
            self.parents.extend(object.map(|object| RowKey { object, external_id: external_id.into() }));
            Ok(())
        })?;
        from.array(|from| {
            self.causes.push(from.text()?.to_owned());
            Ok(())
        })?;
        (self.first, self.minor) = (from.bool()?, from.bool()?);
        Ok(())
    }

    /// The first version had no row: all of its fields stand by name. The second had no lane, the third nothing behind it.
    fn open(record: &[u8]) -> Result<(Reader<'_>, u32), ReadError> {
        let earlier = [(&THIRD, 3), (&SECOND, 2), (&FIRST, 1)];
        let current = Reader::object(&avro::UPSERT, record).map(|from| (from, 4));
        earlier.into_iter().fold(current, |read, (schema, version)| {
            read.or_else(|_| Reader::object(schema, record).map(|from| (from, version)))
        })
    }

    /// None where nobody here writes it.
    pub fn object(&self) -> Option<Object> {
        self.numbered.or_else(|| Object::from_api_name(&self.object))
    }

    pub fn member(&self) -> Option<MemberKey> {
        let campaign = SalesforceId::parse(&self.campaign_id)?;
        let person = SalesforceId::parse(&self.lead_id)?;
        Some(MemberKey { campaign, person })
    }
}

static FIRST: LazyLock<Embedded> =
    LazyLock::new(|| avro::embed("upsert/1", include_str!("../../schemas/earlier/upsert/1.avsc")));

static SECOND: LazyLock<Embedded> =
    LazyLock::new(|| avro::embed("upsert/2", include_str!("../../schemas/earlier/upsert/2.avsc")));

static THIRD: LazyLock<Embedded> =
    LazyLock::new(|| avro::embed("upsert/3", include_str!("../../schemas/earlier/upsert/3.avsc")));

/// A field's name, as the object's definition has it where it does.
fn own_name(object: &str, name: &str) -> Cow<'static, str> {
    let mut own = Object::from_api_name(object).map_or(&[][..], Object::fields).iter();
    own.find(|field| field.name == name).map_or_else(|| name.to_owned().into(), |field| field.name.into())
}

fn read_row(from: &mut Reader<'_>) -> Result<Vec<(Cow<'static, str>, Value)>, ReadError> {
    let branch = from.long()?;
    if branch == 0 {
        return Ok(Vec::new());
    }
    let object = u8::try_from(branch).ok().and_then(Object::from_number).ok_or(ReadError::Branch)?;
    let fields = object.def().typed_fields();
    let mut row = Vec::with_capacity(fields.len());
    for field in fields {
        let value = match field.kind {
            FieldKind::Integer => from.option(Reader::long)?.map(Value::Integer),
            FieldKind::Decimal => from.option(Reader::double)?.map(Value::Decimal),
            FieldKind::Text(_) | FieldKind::Email | FieldKind::LeadLookup | FieldKind::Picklist => {
                from.option(Reader::text)?.map(|text| Value::Text(text.to_owned()))
            }
        };
        if value.is_some() || field.mode == Mode::Replace {
            row.push((Cow::Borrowed(field.name), value.unwrap_or(Value::Null)));
        }
    }
    Ok(row)
}
