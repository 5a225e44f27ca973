//! What Salesforce must hold, computed a second time: slow, obvious, and sharing nothing with the fold.
//!
//! It takes every record of the inputs at once, reads each for itself ([`judge`]), and looks at all events and
//! statements for each value that it wants. There is no state to keep, nothing is joined, hashed or remembered, time is
//! measured by testing every piece between two end points, and arithmetic is exact. That makes it useless for a stream
//! and good for one purpose: where it and the fold agree on a conference of some thousand members, neither has made the
//! other's mistake. It begins with the bytes, as what a decoder reads wrongly would be wrong on both sides.
//!
//! Testing the fold against itself in another order of events would be simpler, and would not notice a rule that is
//! wrong in every order.

mod compare;
mod contract;
mod engagement;
pub mod event;
mod judge;
mod measure;
mod newest;
mod polls;
mod read;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use apache_avro::Schema;
use serde_json::Value;

pub use compare::{differences, unexpected_fields};
pub use judge::Judgement;

use self::contract::Registered;
use self::event::{Event, Member, Millis, Session, Statement};
use super::conference::{self, Feed};
use crate::upsert::Object;

/// Field values by API name.
pub type Fields = BTreeMap<String, Value>;

/// Rows by object's API name and external id.
pub type Rows = BTreeMap<(String, String), Fields>;

/// A record as it stands on an input.
#[derive(Clone, Debug)]
pub struct Record<'r> {
    pub feed: Feed,
    pub key: Option<&'r [u8]>,
    /// None: a tombstone.
    pub value: Option<&'r [u8]>,
    /// None: no time in it is too late.
    pub timestamp: Option<Millis>,
    pub headers: Vec<(&'r str, &'r [u8])>,
}

impl Record<'_> {
    /// The text of a header, whatever the case of its name.
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.and_then(|(_, text)| std::str::from_utf8(text).ok())
    }
}

impl<'r> From<&'r conference::Record> for Record<'r> {
    fn from(record: &'r conference::Record) -> Self {
        Self {
            feed: record.feed,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            timestamp: record.timestamp.or(Some(AFTERWARDS)),
            headers: record.headers.iter().map(|(name, text)| (*name, text.as_bytes())).collect(),
        }
    }
}

/// Any time after a conference, and well before what its records have for too late: 1 June 2026, noon UTC. Records
/// without a time of their own are sent then or later.
const AFTERWARDS: Millis = 1_780_315_200_000;

/// Reads records and says what must come of them.
#[derive(Debug, Default)]
pub struct Reference {
    registered: Registered,
}

impl Reference {
    /// Records may name this schema by a registry's number.
    pub fn register(&mut self, id: u32, schema: &str) {
        self.registered.insert(id, Schema::parse_str(schema).expect("a registry takes no other"));
    }

    /// What becomes of a record on a topic of events. None: it is one of sessions.
    pub fn judge(&self, record: &Record<'_>) -> Option<Judgement> {
        match record.feed {
            Feed::Events(kind) => Some(judge::judge(kind, record, &self.registered)),
            Feed::Sessions => None,
        }
    }

    /// What a record of sessions says, or the code of its refusal.
    pub fn statement(&self, record: &Record<'_>) -> Result<Statement, &'static str> {
        judge::statement(record, &self.registered)
    }

    /// The org after all of these records. Those of sessions stand in the order of their partition.
    pub fn expected<'r>(&self, records: impl IntoIterator<Item = impl Into<Record<'r>>>) -> Rows {
        let (mut events, mut statements) = (Vec::new(), Vec::new());
        for record in records.into_iter().map(Into::into) {
            match self.judge(&record) {
                Some(Judgement::Accepted(event)) => events.push(*event),
                Some(Judgement::Ignored(_) | Judgement::Refused(_)) => {}
                None => statements.extend(self.statement(&record)),
            }
        }
        rows(&events, &statements)
    }
}

/// The org after all of these records, none of which needs a registry.
pub fn expected<'r>(records: impl IntoIterator<Item = impl Into<Record<'r>>>) -> Rows {
    Reference::default().expected(records)
}

/// Longest external id of the two custom objects, in UTF-16 units.
const EXTERNAL_ID_UNITS_MAX: usize = 255;

/// The org after all of this. `campaign_member__c` holds the member's external id here, in place of the record
/// id that only the org knows; [`differences`] looks it up.
///
/// A member that has no status yet has no `Status` among its fields: none is sent, and the org holds whatever the
/// campaign's default is.
pub fn rows(events: &[Event], statements: &[Statement]) -> Rows {
    let standing = standing(statements);
    let catalogue = Catalogue::of(&standing);
    let mut members: BTreeMap<&Member, Vec<&Event>> = BTreeMap::new();
    for event in events {
        members.entry(&event.member).or_default().push(event);
    }
    let mut rows = Rows::new();
    for (member, events) in members {
        insert(&mut rows, Object::CAMPAIGN_MEMBER, member.to_string(), campaign_member(member, &events, &catalogue));
        let entries: BTreeSet<&str> = events.iter().filter_map(|event| event.entry_id.as_deref()).collect();
        for entry_id in entries {
            let events = events.iter().copied().filter(|event| event.entry_id.as_deref() == Some(entry_id)).collect();
            let entry = Entry { member, id: entry_id, events, session: catalogue.entry(member, entry_id) };
            let external_id = format!("{member}_{entry_id}");
            if external_id.encode_utf16().count() > EXTERNAL_ID_UNITS_MAX {
                continue;
            }
            if let Some(fields) = engagement::fields(&entry) {
                insert(&mut rows, Object::ENGAGEMENT, external_id.clone(), fields);
            }
            if let Some(fields) = polls::fields(&entry) {
                insert(&mut rows, Object::POLLS, external_id, fields);
            }
        }
    }
    rows
}

/// What stands of the statements once tombstones have taken away what came before them.
fn standing(statements: &[Statement]) -> Vec<&Session> {
    let mut standing: Vec<&Session> = Vec::new();
    for statement in statements {
        match statement {
            Statement::Says(session) => standing.push(session),
            Statement::Forgets(subject) => standing.retain(|session| session.subject != *subject),
        }
    }
    standing
}

/// Everything that one member did in one entry, visits and registrations that name it included.
struct Entry<'e> {
    member: &'e Member,
    /// Whole; the field holds its beginning.
    id: &'e str,
    events: Vec<&'e Event>,
    session: Option<&'e Session>,
}

/// The newest statement of each entry and campaign.
struct Catalogue<'e>(BTreeMap<(&'e str, Option<&'e str>), &'e Session>);

impl<'e> Catalogue<'e> {
    fn of(sessions: &[&'e Session]) -> Self {
        let mut newest: BTreeMap<_, &'e Session> = BTreeMap::new();
        for session in sessions {
            let subject = (session.subject.campaign.as_str(), session.subject.entry_id.as_deref());
            let stands = newest.entry(subject).or_insert(session);
            if precedence(session) > precedence(stands) {
                *stands = session;
            }
        }
        Self(newest)
    }

    fn entry(&self, member: &Member, entry_id: &str) -> Option<&'e Session> {
        self.0.get(&(member.campaign.as_str(), Some(entry_id))).copied()
    }

    /// The start of the entry, else of the campaign.
    fn start(&self, member: &Member, entry_id: Option<&str>) -> Option<Millis> {
        let campaign = self.0.get(&(member.campaign.as_str(), None)).copied();
        let entry = entry_id.and_then(|entry_id| self.entry(member, entry_id));
        [entry, campaign].into_iter().flatten().find_map(|session| session.actual_start.or(session.scheduled_start))
    }
}

/// Newer is greater; on a total tie the greater content.
fn precedence(session: &Session) -> impl Ord + '_ {
    let order = (session.updated_at, session.source.as_str(), session.event_id.as_str());
    let times = (session.scheduled_start, session.scheduled_end, session.actual_start, session.actual_end);
    (order, &session.name, session.channel_id, &session.channel_name, times, session.duration_ms)
}

fn campaign_member(member: &Member, events: &[&Event], catalogue: &Catalogue<'_>) -> Fields {
    let person = Value::from(member.person.as_str());
    let (lead, contact) = if member.person_is_lead() { (person, Value::Null) } else { (Value::Null, person) };
    let mut fields = Fields::from([
        ("CampaignId".to_owned(), member.campaign.as_str().into()),
        ("LeadId".to_owned(), lead),
        ("ContactId".to_owned(), contact),
    ]);
    if let Some(status) = status::status(events, |entry_id| catalogue.start(member, entry_id)) {
        fields.insert("Status".to_owned(), status.into());
    }
    fields
}

fn insert(rows: &mut Rows, object: Object, external_id: String, mut fields: Fields) {
    fields.insert("external_id__c".to_owned(), external_id.clone().into());
    rows.insert((object.api_name().to_owned(), external_id), fields);
}

/// The fields that both custom objects have.
fn common_fields(entry: &Entry<'_>) -> Fields {
    let lead = if entry.member.person_is_lead() { entry.member.person.as_str().into() } else { Value::Null };
    let catalogue_name = entry.session.and_then(|session| session.name.as_deref()).and_then(measure::not_blank);
    let name = catalogue_name.or_else(|| newest::text(&entry.events, |event| event.entry_name.as_deref()));
    let email = newest::of(&entry.events, |event| measure::email(event.email.as_deref()?));
    Fields::from([
        ("campaign_member__c".to_owned(), entry.member.to_string().into()),
        ("Lead__c".to_owned(), lead),
        ("entry_id__c".to_owned(), measure::cut(Some(entry.id), 11)),
        ("entry_name__c".to_owned(), measure::cut(name, 200)),
        ("email__c".to_owned(), measure::cut(email, 80)),
    ])
}
