//! Aggregate and catalogue to the rows that Salesforce should hold, and the record that carries a row to the sink.

mod engagement;
mod field;
mod member;
mod number;
mod polls;
mod row;
mod status;
mod text;

pub use engagement::engagement_row;
pub use field::{EXTERNAL_ID_LENGTH, FieldDef, FieldKind, fields};
pub use member::member_row;
pub use polls::polls_row;
pub use row::{Content, EXTERNAL_ID, RowRefusal, RowRefusalReason};
pub use status::{STATUSES, Status, StatusDef, status};

use crate::avro::{self, ReadError, Reader, Writer};
use crate::event::{MemberKey, Millis, SalesforceId};

/// One row as Salesforce should hold it: a record of `rollbook.upserts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    pub row: Row,
    pub member: MemberKey,
    /// Kafka timestamp of the newest record that changed the row.
    pub event_at: Millis,
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

/// A row read back from the topic; field names are no longer known at compile time.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadUpsert {
    pub object: String,
    pub external_id: String,
    pub campaign_id: String,
    pub lead_id: String,
    pub fields: Vec<(String, Value)>,
    pub event_at: Millis,
}

impl Row {
    /// Kafka key: newer records of the same key supersede older ones.
    pub fn key(&self) -> Vec<u8> {
        [self.object.api_name(), "/", &self.external_id].concat().into_bytes()
    }
}

impl Upsert {
    pub fn encode(&self) -> Vec<u8> {
        self.row.content().upsert(&self.member, self.event_at)
    }
}

impl ReadUpsert {
    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let mut from = Reader::object(&avro::UPSERT, record)?;
        let object = from.text()?.to_owned();
        let external_id = from.text()?.to_owned();
        let campaign_id = from.text()?.to_owned();
        let lead_id = from.text()?.to_owned();
        let mut fields = Vec::new();
        from.array(|from| {
            fields.push((from.text()?.to_owned(), Value::read(from)?));
            Ok(())
        })?;
        let event_at = from.long()?;
        Ok(Self { object, external_id, campaign_id, lead_id, fields, event_at })
    }

    pub fn member(&self) -> Option<MemberKey> {
        let campaign = SalesforceId::parse(&self.campaign_id)?;
        let person = SalesforceId::parse(&self.lead_id)?;
        Some(MemberKey { campaign, person })
    }
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
