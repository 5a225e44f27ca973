//! One upsert on its way: what was read, and the JSON that is sent for it.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use xxhash_rust::xxh3::xxh3_64;

use super::Position;
use super::left_out::Omitted;
use super::people::Became;
use super::trouble::Stuck;
use crate::id::{MemberKey, SalesforceId};
use crate::outcome::{Outcome, OutcomeKind};
use crate::salesforce::EXTERNAL_ID_FIELD;
use crate::salesforce::bulk::fits_bulk;
use crate::time::Millis;
use crate::upsert::{Lane, Object, ReadUpsert};

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

/// A row's identity in the org. A row is looked up twenty times on its way, and external ids begin alike: so their hash
/// stands before them, which settles nearly every comparison.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub object: Object,
    hash: u64,
    pub external_id: Arc<str>,
}

impl Key {
    pub fn new(object: Object, external_id: &str) -> Self {
        Self { object, hash: xxh3_64(external_id.as_bytes()), external_id: Arc::from(external_id) }
    }
}

/// One version of a row. Its fields are read from the source again when they are sent: a hundred thousand rows that wait
/// would take some gigabyte with them.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "notes about different things, no state of one")]
pub struct Version {
    pub source: Source,
    /// Without its fields.
    pub upsert: ReadUpsert,
    pub member: MemberKey,
    /// The status that the row writes.
    pub status: Option<Box<str>>,
    /// A text of it reads like a reference to another answer: it may not ride in a call that resolves these.
    pub plain: bool,
    /// Whether a CSV can carry its texts.
    pub fits_csv: bool,
    /// Nobody waits for it.
    pub backfill: bool,
    /// It was written before, while its status was gone: it has an outcome.
    pub again: bool,
    pub tries: Tries,
    /// What it was last sent without.
    pub omitted: Vec<Omitted>,
}

/// What has been tried to write a row. A newer version inherits it: what stood against the row still does.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "notes about different things, no state of one")]
pub struct Tries {
    /// Attempts that failed and count.
    pub failures: u32,
    /// Attempts that failed for what was wrongly taken for known of the member. The first few do not count.
    pub corrections: u32,
    /// The record to stamp with our external id, where a member was made by somebody else.
    pub adopt: Option<SalesforceId>,
    /// Held for a cause, or let go to see whether that is gone.
    pub held: bool,
    /// Let go, and not written yet.
    pub probe: bool,
    /// Attempts that met what passes, as a lock does, the last of them, and how long it has met it. They do not count.
    pub passing: u32,
    pub passing_at: Option<Millis>,
    pub passing_for: Millis,
    /// How long what it met had been tried in vain by then, with whatever rows.
    pub passing_vain: Millis,
    /// How often its company was halved for that.
    pub halved: u32,
    /// What it met may be the size of its company: it stays in that in which rows like it got through.
    pub apart: bool,
    /// How often its request failed in a way that is waited for.
    pub stuck: Stuck,
    /// It breaks requests, and goes without company.
    pub alone: bool,
    /// A job could not do it.
    pub by_call: bool,
    /// Last sent as a new member, with its parents.
    pub as_new: bool,
    /// Last sent in the same call as its member, whose record id was not known.
    pub rode: bool,
    /// The record of the status that it was last sent with.
    pub status: Option<SalesforceId>,
    /// What its person was last written as.
    pub became: Option<Became>,
}

/// What a collection of a save holds, in the order of the collections in a call: members before their dependants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Updates by record id.
    Adoption,
    /// Upserts by external id.
    Row(Object),
}

/// The lookup of a dependant's lead; empty for a contact.
const LEAD_FIELD: &str = "Lead__c";

/// Who is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Live,
    /// Refused before: in smaller and smaller requests of their own.
    Retry,
    /// Of old events, as a replay or a rebuild makes them.
    Backfill,
}

impl Priority {
    pub const ALL: [Self; 3] = [Self::Live, Self::Retry, Self::Backfill];

    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Retry => "retry",
            Self::Backfill => "backfill",
        }
    }

    pub fn index(self) -> usize {
        match self {
            Self::Live => 0,
            Self::Retry => 1,
            Self::Backfill => 2,
        }
    }
}

/// Why a record of the upserts topic is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    Undecodable,
    /// Of an object that is not written, or of ids that are none.
    Invalid,
}

impl Version {
    pub fn read(source: Source) -> Result<(Key, Self), Box<(Source, Unreadable)>> {
        let read = source.value.as_deref().and_then(|value| ReadUpsert::decode(value).ok());
        let Some(mut upsert) = read else { return Err(Box::new((source, Unreadable::Undecodable))) };
        let object = upsert.object();
        let (Some(object), Some(member)) = (object, upsert.member()) else {
            return Err(Box::new((source, Unreadable::Invalid)));
        };
        // Dependants look their member up by this very external id.
        if object == Object::CampaignMember && upsert.external_id != member.to_string() {
            return Err(Box::new((source, Unreadable::Invalid)));
        }
        let key = Key::new(object, &upsert.external_id);
        let fields = std::mem::take(&mut upsert.fields);
        let texts = || fields.iter().filter_map(|(name, value)| Some((name.as_ref(), value.as_text()?)));
        let status = texts().find(|(name, _)| *name == "Status").map(|(_, label)| label.into());
        let plain = texts().any(|(_, text)| text.contains("@{"));
        let fits_csv = texts().all(|(_, text)| fits_bulk(text));
        // Earlier versions do not say it. Rows that only waited for Salesforce were derived in time.
        let derived_at = source.timestamp.unwrap_or(upsert.event_at);
        let lane = upsert.lane.unwrap_or_else(|| Lane::of(upsert.event_at, derived_at));
        let backfill = lane == Lane::Backfill;
        Ok((
            key,
            Self {
                source,
                upsert,
                member,
                status,
                plain,
                fits_csv,
                backfill,
                again: false,
                tries: Tries::default(),
                omitted: Vec::new(),
            },
        ))
    }

    /// Takes the place of one that was not written: whoever waits for that one waits for this.
    pub fn behind(self, superseded: Option<&Self>) -> Self {
        Self { backfill: self.backfill && superseded.is_none_or(|superseded| superseded.backfill), ..self }
    }

    /// Whether it meets what passes, unless it was let go after others got through: then it is what it was.
    fn meets_what_passes(&self) -> bool {
        self.tries.passing > 0 && (self.tries.held || !self.tries.probe)
    }

    /// How often the company that it comes back in is halved.
    pub fn halvings(&self) -> u32 {
        let passing = if self.meets_what_passes() { self.tries.halved } else { 0 };
        if self.tries.alone { u32::MAX } else { self.tries.failures.saturating_add(passing) }
    }

    pub fn class(&self, key: &Key) -> Class {
        match self.tries.adopt {
            Some(_) => Class::Adoption,
            None => Class::Row(key.object),
        }
    }

    /// Whether a job may carry it.
    pub fn goes_by_bulk(&self) -> bool {
        self.fits_csv && !self.tries.by_call && self.tries.adopt.is_none() && self.priority() != Priority::Retry
    }

    pub fn priority(&self) -> Priority {
        if self.tries.failures > 0 || self.meets_what_passes() || self.tries.held {
            Priority::Retry
        } else if self.backfill {
            Priority::Backfill
        } else {
            Priority::Live
        }
    }

    pub fn attempts(&self) -> i32 {
        i32::try_from(self.tries.failures.max(1)).unwrap_or(i32::MAX)
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
            attempts: i32::try_from((self.tries.failures + sent).max(1)).unwrap_or(i32::MAX),
            at: now,
            upsert_partition: self.source.position.partition,
            upsert_offset: self.source.position.offset,
            left_out: if sent > 0 { self.left_out() } else { Vec::new() },
        }
    }

    /// The row as it is sent. `member` is the record id of a dependant's member, or a reference to it.
    pub fn record(&self, key: &Key, member: Option<&str>) -> Map<String, Json> {
        let mut record = Map::new();
        record.insert("attributes".to_owned(), json!({ "type": key.object.api_name() }));
        if let Some(id) = self.tries.adopt {
            record.insert("id".to_owned(), id.as_str().into());
        }
        record.insert(EXTERNAL_ID_FIELD.to_owned(), key.external_id.as_ref().into());
        // Create-only: an existing member is refused with them.
        if self.tries.as_new {
            let person = self.person();
            let parent = if person.has_prefix("00Q") { "LeadId" } else { "ContactId" };
            record.insert("CampaignId".to_owned(), self.member.campaign.as_str().into());
            record.insert(parent.to_owned(), person.as_str().into());
        }
        if let Some(member) = member {
            record.insert("campaign_member__c".to_owned(), member.into());
        }
        let upsert = self.source.value.as_deref().and_then(|value| ReadUpsert::decode(value).ok());
        let fields = upsert.map(|upsert| upsert.fields).unwrap_or_default();
        record.extend(fields.into_iter().map(|(name, value)| (name.into_owned(), value.to_json())));
        for (field, _) in &self.omitted {
            record.remove(*field);
        }
        match (self.tries.became, record.get_mut(LEAD_FIELD)) {
            (Some(Became::Contact(_)), Some(lead)) => *lead = Json::Null,
            (Some(Became::Merged), Some(_)) => drop(record.remove(LEAD_FIELD)),
            (_, None) | (None, _) => {}
        }
        record
    }
}
