//! One upsert on its way: what was read, and the JSON that is sent for it.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Position;
use super::left_out::Omitted;
use super::people::Became;
use super::trouble::Stuck;
use crate::id::{MemberKey, SalesforceId};
use crate::outcome::{Outcome, OutcomeKind};
use crate::salesforce::bulk::fits_bulk;
use crate::time::Millis;
use crate::upsert::{Derivation, Lane, Object, ParentOf, ReadUpsert, RowKey, Source as ValueSource, When};

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

    /// Stands for the key where many are remembered: two that are alike have never been seen of so many bits.
    pub fn print(&self) -> (Object, u128) {
        (self.object, xxh3_128(self.external_id.as_bytes()))
    }
}

/// One version of a row. Its fields are read from the source again when they are sent: a hundred thousand rows that wait
/// would take some gigabyte with them.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "notes about different things, no state of one")]
pub struct Version {
    pub source: Source,
    /// Without its fields and parents.
    pub upsert: ReadUpsert,
    pub member: MemberKey,
    /// Rows whose record ids it is sent with.
    pub parents: Box<[Key]>,
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

/// What a collection of a save holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Updates by record id, of records that are to get our external id.
    Adoption,
    /// Upserts by external id.
    Row(Object),
}

impl Class {
    fn place(self) -> (u8, u8) {
        match self {
            Self::Adoption => (0, 0),
            Self::Row(object) => (object.def().level, object.number()),
        }
    }
}

/// The order of the collections in a call: by level, parents before those who name them.
impl Ord for Class {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Class {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

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

/// What decides whether a row is kept back for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub object: Object,
    /// A job may carry it.
    pub by_bulk: bool,
}

/// Why a record of the upserts topic is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    Undecodable,
    /// Of an object that is not written, or of ids that are none.
    Invalid,
}

/// The parents that the record tells, or, where its version tells none, those that the table says.
fn parents(object: Object, member: &MemberKey, told: &[RowKey]) -> Box<[Key]> {
    let external_id = |parent: Object| told.iter().find(|key| key.object == parent).map(|key| &*key.external_id);
    let of_member = |parent: Object| Key::new(parent, &member.text());
    let parents = object.def().parent_rows();
    parents.map(|parent| external_id(parent).map_or_else(|| of_member(parent), |id| Key::new(parent, id))).collect()
}

impl Version {
    pub fn read(source: Source) -> Result<(Key, Self), Box<(Source, Unreadable)>> {
        let read = source.value.as_deref().and_then(|value| ReadUpsert::decode(value).ok());
        let Some(mut upsert) = read else { return Err(Box::new((source, Unreadable::Undecodable))) };
        let object = upsert.object();
        let (Some(object), Some(member)) = (object, upsert.member()) else {
            return Err(Box::new((source, Unreadable::Invalid)));
        };
        // Rows of the member look it up by this very external id.
        if matches!(object.def().derivation, Derivation::Member(_)) && upsert.external_id != member.text() {
            return Err(Box::new((source, Unreadable::Invalid)));
        }
        let key = Key::new(object, &upsert.external_id);
        let parents = parents(object, &member, &std::mem::take(&mut upsert.parents));
        let fields = std::mem::take(&mut upsert.fields);
        let texts = || fields.iter().filter_map(|(name, value)| Some((name.as_ref(), value.as_text()?)));
        let ladder = object.def().field_of(ValueSource::Ladder);
        let status = ladder.and_then(|ladder| texts().find(|(name, _)| *name == ladder.name));
        let status = status.map(|(_, label)| label.into());
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
                parents,
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

    pub fn kind(&self, key: &Key) -> Kind {
        let Tries { by_call, adopt, .. } = self.tries;
        let by_bulk = self.fits_csv && !by_call && adopt.is_none() && self.priority() != Priority::Retry;
        Kind { object: key.object, by_bulk }
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

    /// The row as it is sent. `parent` tells the record id of a parent, or a reference to it.
    pub fn record(&self, key: &Key, parent: impl Fn(&Key) -> Option<Json>) -> Map<String, Json> {
        let mut record = Map::new();
        record.insert("attributes".to_owned(), json!({ "type": key.object.api_name() }));
        if let Some(id) = self.tries.adopt {
            record.insert("id".to_owned(), id.as_str().into());
        }
        record.insert(key.object.def().external_id.name.to_owned(), key.external_id.as_ref().into());
        for of in key.object.def().parents.iter().filter(|of| of.when == When::Always || self.tries.as_new) {
            let id = match of.of {
                ParentOf::Row(object) => self.parents.iter().find(|it| it.object == object).and_then(&parent),
                ParentOf::Campaign => Some(self.member.campaign.as_str().into()),
                ParentOf::Lead => self.person_as("00Q"),
                ParentOf::Contact => self.person_as("003"),
            };
            if let Some(id) = id {
                record.insert(of.field.to_owned(), id);
            }
        }
        let upsert = self.source.value.as_deref().and_then(|value| ReadUpsert::decode(value).ok());
        let fields = upsert.map(|upsert| upsert.fields).unwrap_or_default();
        record.extend(fields.into_iter().map(|(name, value)| (name.into_owned(), value.to_json())));
        for (field, _) in &self.omitted {
            record.remove(*field);
        }
        let lead = self.tries.became.zip(key.object.def().field_of(ValueSource::Person).map(|field| field.name));
        if let Some((became, lead)) = lead.filter(|(_, lead)| record.contains_key(*lead)) {
            match became {
                Became::Contact(_) => drop(record.insert(lead.to_owned(), Json::Null)),
                Became::Merged => drop(record.remove(lead)),
            }
        }
        record
    }

    /// The person's id, where it is one of these.
    fn person_as(&self, prefix: &str) -> Option<Json> {
        let person = self.person();
        person.has_prefix(prefix).then(|| person.as_str().into())
    }

    /// The row by which is known what this one needs: its parent, else itself.
    pub fn known_by<'k>(&'k self, key: &'k Key) -> &'k Key {
        self.parents.first().unwrap_or(key)
    }
}
