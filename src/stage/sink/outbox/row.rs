//! One upsert on its way: what was read, and the JSON that is sent for it.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::Position;
use super::memory::Member;
use crate::event::{MemberKey, Millis, SalesforceId};
use crate::outcome::{Outcome, OutcomeKind};
use crate::salesforce::EXTERNAL_ID_FIELD;
use crate::upsert::{Object, ReadUpsert, Value};

/// A record of the upserts topic as it was read, kept whole for the dead letter.
#[derive(Clone, Debug)]
pub struct Source {
    pub topic: Arc<str>,
    pub position: Position,
    pub timestamp: Option<Millis>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A row's identity in the org.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub object: Object,
    pub external_id: Arc<str>,
}

/// One version of a row.
#[derive(Debug)]
pub struct Version {
    pub source: Source,
    pub upsert: ReadUpsert,
    pub member: MemberKey,
    /// Attempts that failed and count.
    pub failures: u32,
    /// The record to stamp with our external id, where a member was made by somebody else.
    pub adopt: Option<SalesforceId>,
}

/// What a save call carries, and the order in which calls take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Adoption,
    Row(Object),
}

impl Class {
    /// Members before their dependants.
    pub const ALL: [Self; 4] =
        [Self::Adoption, Self::Row(Object::CampaignMember), Self::Row(Object::Engagement), Self::Row(Object::Polls)];

    pub fn index(self) -> usize {
        match self {
            Self::Adoption => 0,
            Self::Row(Object::CampaignMember) => 1,
            Self::Row(Object::Engagement) => 2,
            Self::Row(Object::Polls) => 3,
        }
    }
}

/// Why a record of the upserts topic is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    NoValue,
    Undecodable,
    /// Of an object that is not written, or of ids that are none.
    Invalid,
}

impl Version {
    pub fn read(source: Source) -> Result<(Key, Self), Box<(Source, Unreadable)>> {
        let Some(value) = &source.value else { return Err(Box::new((source, Unreadable::NoValue))) };
        let Ok(upsert) = ReadUpsert::decode(value) else { return Err(Box::new((source, Unreadable::Undecodable))) };
        let object = Object::from_api_name(&upsert.object);
        let (Some(object), Some(member)) = (object, upsert.member()) else {
            return Err(Box::new((source, Unreadable::Invalid)));
        };
        // Dependants look their member up by this very external id.
        if object == Object::CampaignMember && upsert.external_id != member.to_string() {
            return Err(Box::new((source, Unreadable::Invalid)));
        }
        let key = Key { object, external_id: Arc::from(upsert.external_id.as_str()) };
        Ok((key, Self { source, upsert, member, failures: 0, adopt: None }))
    }

    pub fn class(&self, key: &Key) -> Class {
        match self.adopt {
            Some(_) => Class::Adoption,
            None => Class::Row(key.object),
        }
    }

    /// The status that the row writes.
    pub fn status(&self) -> Option<&str> {
        self.upsert.fields.iter().find_map(|(name, value)| match value {
            Value::Text(label) if name == "Status" => Some(label.as_str()),
            Value::Null | Value::Text(_) | Value::Integer(_) | Value::Decimal(_) | Value::Bool(_) => None,
        })
    }

    pub fn attempts(&self) -> i32 {
        i32::try_from(self.failures.max(1)).unwrap_or(i32::MAX)
    }

    pub fn outcome(&self, kind: OutcomeKind, record: Option<SalesforceId>, now: Millis) -> Outcome {
        let sent = u32::from(matches!(kind, OutcomeKind::Created | OutcomeKind::Updated));
        Outcome {
            object: self.upsert.object.clone(),
            external_id: self.upsert.external_id.clone(),
            campaign_id: self.upsert.campaign_id.clone(),
            lead_id: self.upsert.lead_id.clone(),
            kind,
            record_id: record.map(|id| id.to_string()),
            code: None,
            attempts: i32::try_from((self.failures + sent).max(1)).unwrap_or(i32::MAX),
            at: now,
            upsert_partition: self.source.position.partition,
            upsert_offset: self.source.position.offset,
        }
    }

    /// The row as it is sent, given what is known of its member.
    pub fn record(&self, key: &Key, member: Option<Member>) -> Map<String, Json> {
        let mut record = Map::new();
        record.insert("attributes".to_owned(), json!({ "type": key.object.api_name() }));
        if let Some(id) = self.adopt {
            record.insert("id".to_owned(), id.as_str().into());
        }
        record.insert(EXTERNAL_ID_FIELD.to_owned(), key.external_id.as_ref().into());
        match (key.object, member) {
            // Create-only: an existing member is refused with them.
            (Object::CampaignMember, Some(Member::Absent | Member::Refused) | None) if self.adopt.is_none() => {
                let parent = if self.member.person_is_lead() { "LeadId" } else { "ContactId" };
                record.insert("CampaignId".to_owned(), self.member.campaign.as_str().into());
                record.insert(parent.to_owned(), self.member.person.as_str().into());
            }
            (Object::CampaignMember, _) => {}
            (Object::Engagement | Object::Polls, member) => {
                if let Some(Member::Present(id)) = member {
                    record.insert("campaign_member__c".to_owned(), id.as_str().into());
                }
            }
        }
        record.extend(self.upsert.fields.iter().map(|(name, value)| (name.to_string(), value.to_json())));
        record
    }
}
