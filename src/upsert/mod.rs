//! Aggregate and catalogue to the rows that Salesforce should hold, and the record that carries a row to the sink.

mod email;
mod engagement;
mod field;
mod lane;
mod member;
mod number;
mod polls;
mod row;
mod status;
mod text;

pub use email::email_fits;
pub use engagement::write_engagement;
pub use field::{EXTERNAL_ID_LENGTH, FieldDef, FieldKind, fields, optional_field};
pub use lane::Lane;
pub use member::{member_row, write_member};
pub use polls::write_polls;
pub use row::{Derived, EXTERNAL_ID, RowRefusal, RowRefusalReason, finish_upsert, row_hash, write_upsert_key};
pub use status::{STATUSES, Status, StatusDef, status};

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::avro::{self, Embedded, ReadError, Reader, Writer};
use crate::id::{MemberKey, SalesforceId};
use crate::time::Millis;

/// One row as Salesforce should hold it: a record of `rollbook.upserts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    pub row: Row,
    pub member: MemberKey,
    /// Kafka timestamp of the newest record that changed the row.
    pub event_at: Millis,
    pub lane: Lane,
}

/// Object, external id and field values. What only the sink knows (parents of a CampaignMember, its record id) is
/// not among the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub object: Object,
    pub external_id: String,
    /// In the order of the object's definition.
    pub fields: Vec<(&'static str, Value)>,
}

/// The objects that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    CampaignMember,
    Engagement,
    Polls,
}

impl Object {
    pub const ALL: [Self; 3] = [Self::CampaignMember, Self::Engagement, Self::Polls];

    pub fn api_name(self) -> &'static str {
        match self {
            Self::CampaignMember => "CampaignMember",
            Self::Engagement => "UserSessionEngagement__c",
            Self::Polls => "Kaltura_User_Polls__c",
        }
    }

    /// Its place in the schema's union of rows, where 0 is null.
    fn branch(self) -> i64 {
        match self {
            Self::CampaignMember => 1,
            Self::Engagement => 2,
            Self::Polls => 3,
        }
    }

    pub fn from_api_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|object| object.api_name() == name)
    }
}

/// A field's value. Null empties the field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Text(String),
    Integer(i64),
    /// Already rounded to the field's scale; never -0.0.
    Decimal(f64),
    Bool(bool),
}

/// A row read back from the topic.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadUpsert {
    pub object: String,
    pub external_id: String,
    pub campaign_id: String,
    pub lead_id: String,
    /// Fields of the object have names that are known; those of mappings need not.
    pub fields: Vec<(Cow<'static, str>, Value)>,
    pub event_at: Millis,
    /// None: of a version that does not say it.
    pub lane: Option<Lane>,
}

impl Row {
    /// The row that a function of this room writes, for people and tests.
    pub fn of(write: impl FnOnce(&mut Writer) -> Derived) -> Option<Result<Self, RowRefusal>> {
        let mut out = Writer::default();
        match write(&mut out) {
            Derived::Nothing => return None,
            Derived::Refused(refusal) => return Some(Err(refusal)),
            Derived::Row => finish_upsert(&mut out, 0, Lane::Live),
        }
        let read = ReadUpsert::decode(&out.0).expect("a record that was just written");
        let object = Object::from_api_name(&read.object).expect("an object that is written");
        let named = |(name, value)| if let Cow::Borrowed(name) = name { Some((name, value)) } else { None };
        let fields = read.fields.into_iter().filter_map(named).collect();
        Some(Ok(Self { object, external_id: read.external_id, fields }))
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
        out.long(object.branch());
        for field in fields(*object) {
            let value = values.iter().find(|(name, _)| *name == field.name).map(|(_, value)| value);
            value.unwrap_or(&Value::Null).write_as(field.kind, &mut out);
        }
        let own = |name: &str| fields(*object).iter().any(|field| field.name == name);
        let others: Vec<_> = values.iter().filter(|(name, _)| !own(name)).collect();
        out.array(others.into_iter(), |out, (name, value)| {
            out.text(name);
            value.write(out);
        });
        finish_upsert(&mut out, self.event_at, self.lane);
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
            fields.push((Cow::Owned(from.text()?.to_owned()), Value::read(from)?));
            Ok(())
        })?;
        let event_at = from.long()?;
        let lane = if version > 2 { Some(Lane::from_symbol(from.long()?).ok_or(ReadError::Branch)?) } else { None };
        Ok(Self { object, external_id, campaign_id, lead_id, fields, event_at, lane })
    }

    /// The first version had no row: all of its fields stand by name. The second had no lane.
    fn open(record: &[u8]) -> Result<(Reader<'_>, u32), ReadError> {
        let current = Reader::object(&avro::UPSERT, record).map(|from| (from, 3));
        let second = || Reader::object(&SECOND, record).map(|from| (from, 2));
        let first = |_| Reader::object(&FIRST, record).map(|from| (from, 1));
        current.or_else(|_| second()).or_else(first)
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

fn read_row(from: &mut Reader<'_>) -> Result<Vec<(Cow<'static, str>, Value)>, ReadError> {
    let branch = from.long()?;
    if branch == 0 {
        return Ok(Vec::new());
    }
    let object = Object::ALL.into_iter().find(|object| object.branch() == branch).ok_or(ReadError::Branch)?;
    let mut row = Vec::with_capacity(fields(object).len());
    for field in fields(object) {
        let value = match field.kind {
            FieldKind::Integer => from.option(Reader::long)?.map(Value::Integer),
            FieldKind::Decimal => from.option(Reader::double)?.map(Value::Decimal),
            FieldKind::Text(_) | FieldKind::Email | FieldKind::LeadLookup | FieldKind::Picklist => {
                from.option(Reader::text)?.map(|text| Value::Text(text.to_owned()))
            }
        };
        // A status that nobody stated is not written.
        if value.is_some() || field.kind != FieldKind::Picklist {
            row.push((Cow::Borrowed(field.name), value.unwrap_or(Value::Null)));
        }
    }
    Ok(row)
}

impl Value {
    /// Branches in the order of the schema's union: null, string, long, double, boolean.
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Null => out.long(0),
            Self::Text(text) => {
                out.long(1);
                out.text(text);
            }
            Self::Integer(value) => {
                out.long(2);
                out.long(*value);
            }
            Self::Decimal(value) => {
                out.long(3);
                out.double(*value);
            }
            Self::Bool(value) => {
                out.long(4);
                out.bool(*value);
            }
        }
    }

    /// As a field of an object's own. A value of another kind is none.
    fn write_as(&self, kind: FieldKind, out: &mut Writer) {
        match (kind, self) {
            (FieldKind::Integer, Self::Integer(value)) => out.option(Some(*value), Writer::long),
            (FieldKind::Decimal, Self::Decimal(value)) => out.option(Some(*value), Writer::double),
            (
                FieldKind::Text(_) | FieldKind::Email | FieldKind::LeadLookup | FieldKind::Picklist,
                Self::Text(value),
            ) => out.option(Some(value.as_str()), Writer::text),
            (
                FieldKind::Integer
                | FieldKind::Decimal
                | FieldKind::Text(_)
                | FieldKind::Email
                | FieldKind::LeadLookup
                | FieldKind::Picklist,
                _,
            ) => out.option(None::<&str>, Writer::text),
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Integer(_) | Self::Decimal(_) | Self::Bool(_) => None,
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(match from.long()? {
            0 => Self::Null,
            1 => Self::Text(from.text()?.to_owned()),
            2 => Self::Integer(from.long()?),
            3 => Self::Decimal(from.double()?),
            4 => Self::Bool(from.bool()?),
            _ => return Err(ReadError::Branch),
        })
    }

    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Text(text) => text.as_str().into(),
            Self::Integer(value) => (*value).into(),
            Self::Decimal(value) => (*value).into(),
            Self::Bool(value) => (*value).into(),
        }
    }
}
