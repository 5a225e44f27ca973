//! What goes wrong at every conference: records that are refused or ignored, one of each kind for every thousand
//! members, and rows that no org can hold.

use std::borrow::Cow;

use fastrand::Rng;
use serde_json::{Value, json};

use super::format::{self, Payload};
use super::{DAY, Fate, Feed, OPENING, Partition, Record, Sent};
use crate::event::{Act, Event, EventKind, IgnoreReason, PollAnswer, Reaction, RefusalReason, RegistrationAction};
use crate::id::MemberKey;
use crate::lattice::Name;
use crate::time::Millis;

/// Longest text of a field of an event, in UTF-8 bytes.
const TEXT_BYTES_MAX: usize = 32_768;

/// 31 December 1999, 23:59:59.999 UTC.
const LAST_CENTURY: Millis = 946_684_799_999;

/// 1 January 2100, UTC.
const NEXT_CENTURY: Millis = 4_102_444_800_000;

/// Adds events whose rows are refused: an external id that is too long, a number that is too large. Each has an entry
/// of its own, so that no earlier version of the row was ever good. Returns how many rows are lost.
pub fn impossible_rows(keys: &[MemberKey], events: &mut Vec<Event<'static>>) -> u64 {
    let answer =
        PollAnswer { poll_id: "poll".into(), poll_type: None, question: None, answer: "kept".into(), position: None };
    let long_id = Event {
        entry_id: Some(Name::from("long".repeat(60).as_str())),
        ..event(keys, "long-id", EventKind::Reaction, Act::Reaction(Reaction::Clap))
    };
    let large_number = Event {
        entry_id: Some("1_large".into()),
        channel_id: Some(1_000_000_000_000_000_000),
        ..event(keys, "large-number", EventKind::Poll, Act::Poll(answer))
    };
    events.extend([long_id, large_number]);
    2
}

/// An event as late as its record's timestamp allows; the refused one a millisecond later is its neighbour.
pub fn edge_of_time(keys: &[MemberKey], sent: &mut Vec<Sent>) -> Event<'static> {
    let on_the_edge = Event {
        occurred_at: OPENING + DAY,
        entry_id: None,
        ..event(keys, "edge", EventKind::Registration, Act::Registration(RegistrationAction::Registered))
    };
    let mut calm = Rng::with_seed(0);
    let payload = format::payload(&mut calm, &on_the_edge);
    let mut beyond = payload.clone();
    beyond.insert("event_id".to_owned(), "beyond".into());
    beyond.insert("occurred_at".to_owned(), (OPENING + DAY + 1).into());
    for (payload, fate) in [(payload, Fate::Accepted), (beyond, Fate::Refused(RefusalReason::TimeTooLate))] {
        let value = Value::from(payload).to_string().into_bytes();
        let record = record(on_the_edge.member, on_the_edge.kind, Some(value));
        sent.push(Sent { at: OPENING, record: Record { timestamp: Some(OPENING), ..record }, fate });
    }
    on_the_edge
}

/// The first member has them all; its own events are not touched by it.
fn event(keys: &[MemberKey], event_id: &'static str, kind: EventKind, act: Act<'static>) -> Event<'static> {
    Event {
        member: *keys.first().expect("a conference has members"),
        kind,
        source: "faults".into(),
        event_id: Cow::Borrowed(event_id),
        occurred_at: OPENING,
        entry_id: Some("1_fault".into()),
        entry_name: None,
        channel_id: None,
        channel_name: None,
        email: None,
        user: None,
        act,
    }
}

/// Records that must change nothing.
pub fn bad_records(rng: &mut Rng, keys: &[MemberKey]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for round in 0..keys.len().div_ceil(1_000) {
        let member = *rng.choice(keys).expect("a conference has members");
        let mut add = |rng: &mut Rng, kind: EventKind, value: Option<Vec<u8>>, fate: Fate| {
            sent.push(Sent { at: OPENING + rng.i64(0..4 * DAY), record: record(member, kind, value), fate });
        };
        for (reason, kind, value) in unreadable() {
            add(rng, kind, value, Fate::Refused(reason));
        }
        let mut number = 0;
        let mut spoilt = |kind: EventKind, spoil: &[(&str, Value)]| {
            number += 1;
            let mut payload = good(member, kind, &format!("bad-{round}-{number}"));
            for (name, value) in spoil {
                if value.is_null() {
                    payload.remove(*name);
                } else {
                    payload.insert((*name).to_owned(), value.clone());
                }
            }
            payload
        };
        for (reason, kind, spoil) in spoilings() {
            let value = format::bytes(rng, kind, spoilt(kind, &spoil));
            add(rng, kind, Some(value), Fate::Refused(reason));
        }
        for (reason, kind, spoil) in pointless() {
            // JSON, since a symbol of the future is not in this version's Avro schema.
            let value = Value::from(spoilt(kind, &spoil)).to_string().into_bytes();
            add(rng, kind, Some(value), Fate::Ignored(reason));
        }
    }
    sent
}

fn record(member: MemberKey, kind: EventKind, value: Option<Vec<u8>>) -> Record {
    let key = Some(member.to_string().into_bytes());
    Record { feed: Feed::Events(kind), key, partition: Partition::OfKey, timestamp: None, headers: Vec::new(), value }
}

fn unreadable() -> Vec<(RefusalReason, EventKind, Option<Vec<u8>>)> {
    let unknown_schema = [&[0xC3, 0x01], [0x55; 8].as_slice(), b"body"].concat();
    vec![
        (RefusalReason::NoValue, EventKind::View, None),
        (RefusalReason::UnknownSchema, EventKind::Reaction, Some(unknown_schema)),
        (RefusalReason::Undecodable, EventKind::Poll, Some(b"{\"event_id\": \"cut off".to_vec())),
        (RefusalReason::Undecodable, EventKind::Attendance, Some(b"neither Avro nor JSON".to_vec())),
    ]
}

/// A payload with nothing wrong.
fn good(member: MemberKey, kind: EventKind, event_id: &str) -> Payload {
    let own = match kind {
        EventKind::Registration => json!({ "action": "BLOCKED" }),
        EventKind::Attendance => json!({ "action": "PRESENCE", "ended_at": OPENING + 1_000 }),
        EventKind::Poll => json!({ "poll_id": "poll", "answer": "never seen" }),
        EventKind::Reaction => json!({ "reaction": "CLAP" }),
        EventKind::View => json!({ "mode": "LIVE", "ended_at": OPENING + 1_000 }),
    };
    let common = json!({
        "event_id": event_id,
        "source": "faults",
        "occurred_at": OPENING,
        "campaign_id": member.campaign.as_str(),
        "lead_id": member.person.as_str(),
        "entry_id": "1_never",
    });
    let fields = [common, own].into_iter().filter_map(|fields| fields.as_object().cloned());
    fields.flatten().collect()
}

/// Fields of a payload to change.
type Changes = Vec<(&'static str, Value)>;

/// What to change in a good payload so that it is refused for that reason; null takes the field away.
fn spoilings() -> Vec<(RefusalReason, EventKind, Changes)> {
    let without = |reason, kind, name| (reason, kind, vec![(name, Value::Null)]);
    let with = |reason, kind, name, value: Value| (reason, kind, vec![(name, value)]);
    vec![
        without(RefusalReason::EventIdMissing, EventKind::Registration, "event_id"),
        without(RefusalReason::SourceMissing, EventKind::Reaction, "source"),
        without(RefusalReason::OccurredAtMissing, EventKind::View, "occurred_at"),
        without(RefusalReason::PollIdMissing, EventKind::Poll, "poll_id"),
        without(RefusalReason::CampaignIdMissing, EventKind::Attendance, "campaign_id"),
        with(RefusalReason::CampaignIdInvalid, EventKind::Registration, "campaign_id", "70103000000cnFXAAA".into()),
        without(RefusalReason::PersonIdMissing, EventKind::Registration, "lead_id"),
        // A User's id.
        with(RefusalReason::PersonIdInvalid, EventKind::View, "lead_id", "005030000012345".into()),
        with(RefusalReason::IntervalReversed, EventKind::View, "ended_at", (OPENING - 1).into()),
        with(RefusalReason::IntervalTooLong, EventKind::Attendance, "ended_at", (OPENING + DAY + 1).into()),
        with(RefusalReason::TimeTooEarly, EventKind::Reaction, "occurred_at", LAST_CENTURY.into()),
        with(RefusalReason::TimeTooLate, EventKind::Registration, "occurred_at", NEXT_CENTURY.into()),
        with(RefusalReason::TextTooLong, EventKind::Poll, "question", "?".repeat(TEXT_BYTES_MAX + 1).into()),
    ]
}

/// What to change so that the record is ignored for that reason.
fn pointless() -> Vec<(IgnoreReason, EventKind, Changes)> {
    let with = |reason, kind, name, value: &str| (reason, kind, vec![(name, Value::from(value))]);
    vec![
        with(IgnoreReason::NoEntry, EventKind::Reaction, "entry_id", " \u{3000} "),
        (IgnoreReason::NoEntry, EventKind::View, vec![("entry_id", Value::Null)]),
        with(IgnoreReason::UnknownSymbol, EventKind::Reaction, "reaction", "CONFETTI"),
        with(IgnoreReason::UnknownSymbol, EventKind::Registration, "action", "WAITLISTED"),
        with(IgnoreReason::UnknownSymbol, EventKind::View, "mode", "HOLOGRAM"),
        with(IgnoreReason::LoweredHand, EventKind::Reaction, "reaction", "LOWER_HAND"),
        with(IgnoreReason::DocumentView, EventKind::View, "mode", "DOCUMENT"),
    ]
}
