//! A conference that never was: everything that some thousand people did there, as records for the topics, and the
//! truth about it.
//!
//! The truth comes first: a script makes [`Event`]s, and only then are they put into bytes, so that no decoder is
//! needed to know what they say; the fold's and the reference's are measured by it. The same seed and people make the same records, byte for byte; no clock
//! is read. What happens on the way is what happens on a real one: records come twice, late, in disorder, in the wrong
//! partition, in two formats, and a few are no good at all.

mod faults;
mod format;
mod journey;
mod programme;

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::event::{Event, EventKind, IgnoreReason, RefusalReason, Session, SessionKey};
use crate::id::{MemberKey, SalesforceId};
use crate::time::Millis;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

/// Tuesday, 14 May 2024, 09:00 UTC: the first day. In the past of every clock, so that nothing is refused as future.
const OPENING: Millis = 1_715_677_200_000;

/// Campaigns that a conference is spread over.
pub const CAMPAIGNS: usize = 4;

/// Who takes part. The ids are those that the org gave.
#[derive(Clone, Debug)]
pub struct People {
    pub campaigns: Vec<SalesforceId>,
    pub leads: Vec<SalesforceId>,
    pub contacts: Vec<SalesforceId>,
}

/// How many leads and contacts a conference of so many members needs: one in ten takes part in two campaigns, one in
/// five is a contact.
pub fn people_wanted(members: usize) -> (usize, usize) {
    let people = (members * 9).div_ceil(10).max(1);
    let contacts = people / 5;
    (people - contacts, contacts)
}

/// A topic, by what is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    Events(EventKind),
    Sessions,
}

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Where Java's default partitioner puts the key.
    OfKey,
    /// The one after it: some producers know no murmur2.
    Wrong,
}

/// A record as a producer would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub feed: Feed,
    pub key: Option<Vec<u8>>,
    pub partition: Partition,
    /// None: the time of sending.
    pub timestamp: Option<Millis>,
    pub headers: Vec<(&'static str, String)>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What a record of the sessions topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Says(Session),
    /// A tombstone.
    Forgets(SessionKey),
}

/// The records in the order of sending, and what is true about them.
#[derive(Debug)]
pub struct Conference {
    pub records: Vec<Record>,
    /// Every accepted event, once.
    pub events: Vec<Event<'static>>,
    /// Every statement of the catalogue, in the order of sending.
    pub statements: Vec<Statement>,
    /// Event records that are accepted, duplicates included.
    pub accepted: u64,
    pub ignored: BTreeMap<IgnoreReason, u64>,
    pub refused: BTreeMap<RefusalReason, u64>,
    /// Rows that cannot be written whatever is tried.
    pub rows_refused: u64,
}

/// What a record is, for the tally.
#[derive(Clone, Debug)]
enum Fate {
    Accepted,
    Ignored(IgnoreReason),
    Refused(RefusalReason),
    Statement(Box<Statement>),
}

/// A record with the time at which it is sent, which only orders it.
#[derive(Clone, Debug)]
struct Sent {
    at: Millis,
    record: Record,
    fate: Fate,
}

/// Makes the conference.
pub fn generate(seed: u64, members: usize, people: &People) -> Conference {
    let mut rng = Rng::with_seed(seed);
    let programme = programme::programme(&mut rng, &people.campaigns);
    let keys = member_keys(members, people);
    let mut events = Vec::new();
    for (number, &member) in keys.iter().enumerate() {
        events.extend(journey::journey(&mut rng, number, member, &programme));
    }
    let rows_refused = faults::impossible_rows(&keys, &mut events);

    let mut sent: Vec<Sent> = events.iter().map(|event| send(&mut rng, event, &keys)).collect();
    sent.extend(programme::statements(&mut rng, &people.campaigns, &programme));
    sent.extend(faults::bad_records(&mut rng, &keys));
    events.push(faults::edge_of_time(&keys, &mut sent));
    sent.extend(repetitions(&mut rng, &sent));
    sent.sort_by_key(|sent| sent.at);
    conference(events, sent, rows_refused)
}

/// The record of an event, as one of many producers would send it.
pub fn event_record(rng: &mut Rng, event: &Event<'_>) -> Record {
    format::record(rng, event, event.member)
}

/// The record of a statement of the catalogue.
pub fn statement_record(rng: &mut Rng, statement: &Statement) -> Record {
    programme::record(rng, statement)
}

fn member_keys(members: usize, people: &People) -> Vec<MemberKey> {
    let persons: Vec<SalesforceId> = people.leads.iter().chain(&people.contacts).copied().collect();
    let campaigns = people.campaigns.iter().copied().cycle();
    // The second time around a person meets the next campaign.
    let rounds = (0..members.div_ceil(persons.len().max(1)))
        .flat_map(|round| persons.iter().copied().zip(campaigns.clone().skip(round)));
    rounds.take(members).map(|(person, campaign)| MemberKey { campaign, person }).collect()
}

fn send(rng: &mut Rng, event: &Event<'static>, keys: &[MemberKey]) -> Sent {
    let somebody = *rng.choice(keys).unwrap_or(&event.member);
    let record = format::record(rng, event, somebody);
    Sent { at: event.occurred_at + delay(rng), record, fate: Fate::Accepted }
}

/// Mostly seconds; sometimes hours; a few only after everything is over.
fn delay(rng: &mut Rng) -> Millis {
    match rng.u8(0..100) {
        0 => 10 * DAY,
        1..=5 => rng.i64(MINUTE..6 * HOUR),
        _ => rng.i64(0..20_000),
    }
}

/// One record in twenty is sent twice, the same bytes.
fn repetitions(rng: &mut Rng, sent: &[Sent]) -> Vec<Sent> {
    let mut again = Vec::new();
    for first in sent {
        // A statement repeated after its tombstone would be news; the programme repeats its own.
        if !matches!(first.fate, Fate::Statement(_)) && rng.u8(0..20) == 0 {
            again.push(Sent { at: first.at + delay(rng), ..first.clone() });
        }
    }
    again
}

fn conference(events: Vec<Event<'static>>, sent: Vec<Sent>, rows_refused: u64) -> Conference {
    let mut conference = Conference {
        records: Vec::with_capacity(sent.len()),
        events,
        statements: Vec::new(),
        accepted: 0,
        ignored: BTreeMap::new(),
        refused: BTreeMap::new(),
        rows_refused,
    };
    for Sent { record, fate, .. } in sent {
        conference.records.push(record);
        match fate {
            Fate::Accepted => conference.accepted += 1,
            Fate::Ignored(reason) => *conference.ignored.entry(reason).or_default() += 1,
            Fate::Refused(reason) => *conference.refused.entry(reason).or_default() += 1,
            Fate::Statement(statement) => conference.statements.push(*statement),
        }
    }
    conference
}
