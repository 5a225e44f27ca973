//! What producers send: events of few members, so that they meet, sent twice, to the wrong partition, or broken.

use crate::event::{EventKind, Session, SessionKey};
use crate::id::{MemberKey, SalesforceId};
use crate::route;
use crate::time::Millis;
use crate::topic_table::Topic;

use super::kafka::NOON;
use super::log::Entry;

pub const PARTITIONS: i32 = 2;
const CAMPAIGNS: [&str; 2] = ["70103000000cnFXAAY", "70103000000cnFYAAY"];
const PEOPLE: u32 = 6;
const ENTRIES: u8 = 3;

/// A record and where it goes.
#[derive(Clone)]
pub struct Sent {
    pub input: Topic,
    pub partition: i32,
    pub entry: Entry,
}

/// The last words: one more event of every member in every entry, so that all that is held of them is written once more.
pub fn last_words(at: Millis) -> Vec<Sent> {
    let mut words = Vec::new();
    for (campaign, person, entry) in CAMPAIGNS.iter().flat_map(|campaign| {
        (0..PEOPLE).flat_map(move |person| (0..ENTRIES).map(move |entry| (campaign, person, entry)))
    }) {
        let person = format!("00Q{person:012}");
        let json = format!(
            r#"{{"event_id":"last {entry} {at}","source":"s","occurred_at":{NOON},"campaign_id":"{campaign}","lead_id":"{person}","entry_id":"1_e{entry}","reaction":"CLAP"}}"#
        );
        let key = member(campaign, &person);
        let partition = route::partition(&key, PARTITIONS);
        words.push(Sent {
            input: Topic::Reactions,
            partition,
            entry: Entry::new(Some(&key), Some(json.as_bytes()), at),
        });
    }
    words
}

fn member(campaign: &str, person: &str) -> Vec<u8> {
    let parse = |id: &str| SalesforceId::parse(id).expect("it is one");
    MemberKey { campaign: parse(campaign), person: parse(person) }.bytes().to_vec()
}

/// A member and one of its entries.
pub fn somebody(rng: &mut fastrand::Rng) -> (MemberKey, String) {
    let parse = |id: &str| SalesforceId::parse(id).expect("it is one");
    let campaign = parse(CAMPAIGNS[rng.usize(..CAMPAIGNS.len())]);
    let member = MemberKey { campaign, person: parse(&format!("00Q{:012}", rng.u32(..PEOPLE))) };
    (member, format!("1_e{}", rng.u8(..ENTRIES)))
}

pub fn record(rng: &mut fastrand::Rng, number: usize, at: Millis) -> Sent {
    if rng.u8(..12) == 0 { statement(rng, number, at) } else { event(rng, number, at) }
}

fn event(rng: &mut fastrand::Rng, number: usize, sent_at: Millis) -> Sent {
    let campaign = CAMPAIGNS[rng.usize(..CAMPAIGNS.len())];
    let person = format!("00Q{:012}", rng.u32(..PEOPLE));
    let entry_id = rng.u8(..ENTRIES);
    let at = NOON - rng.i64(0..100_000) * 1_000;
    let head = format!(
        r#""event_id":"{number}","source":"s","occurred_at":{at},"campaign_id":"{campaign}","lead_id":"{person}","entry_id":"1_e{entry_id}""#
    );
    let (kind, json) = match rng.u8(..5) {
        0 => (EventKind::Registration, format!(r#"{{{head},"action":"REGISTERED"}}"#)),
        1 => (EventKind::Reaction, format!(r#"{{{head},"reaction":"CLAP"}}"#)),
        2 => (EventKind::Attendance, format!(r#"{{{head},"action":"JOIN","connection_id":"c{}"}}"#, rng.u8(..2))),
        3 if rng.u8(..4) == 0 => (EventKind::Reaction, "{ this is no event".to_owned()),
        _ => {
            let end = at + rng.i64(0..50_000);
            let mode = if rng.bool() { "LIVE" } else { "REPLAY" };
            let view = format!(r#""mode":"{mode}","started_at":{at},"ended_at":{end},"play_id":"p{}""#, rng.u8(..5));
            (EventKind::View, format!("{{{head},{view}}}"))
        }
    };
    let key = member(campaign, &person);
    let home = route::partition(&key, PARTITIONS);
    let astray = rng.u8(..8) == 0;
    let partition = if astray { (home + 1) % PARTITIONS } else { home };
    Sent { input: input(kind), partition, entry: Entry::new(Some(&key), Some(json.as_bytes()), sent_at) }
}

fn input(kind: EventKind) -> Topic {
    match kind {
        EventKind::Registration => Topic::Registrations,
        EventKind::Attendance => Topic::Attendance,
        EventKind::Poll => Topic::Polls,
        EventKind::Reaction => Topic::Reactions,
        EventKind::View => Topic::Views,
    }
}

/// An older and a newer statement of an entry of which two partitions speak, and nobody ever says that nothing is known
/// of it: that would mean something else in each order.
pub fn two_statements(rng: &mut fastrand::Rng, number: usize, at: Millis) -> [Sent; 2] {
    let campaign = SalesforceId::parse(CAMPAIGNS[rng.usize(..CAMPAIGNS.len())]).expect("it is one");
    let start = rng.i64(0..1_000);
    let partition = rng.i32(0..PARTITIONS);
    [(start, partition), (start + 1, 1 - partition)].map(|(updated_at, partition)| {
        let key = SessionKey { campaign, entry_id: Some("1_e9".to_owned()) };
        let text = key.to_text();
        let session = Session::blank(key, NOON + updated_at, "s", &number.to_string());
        let entry = Entry::new(Some(text.as_bytes()), Some(&session.encode()), at);
        Sent { input: Topic::Sessions, partition, entry }
    })
}

/// A statement of the catalogue, newer or older than what was said, or that nothing is known.
fn statement(rng: &mut fastrand::Rng, number: usize, at: Millis) -> Sent {
    let campaign = SalesforceId::parse(CAMPAIGNS[rng.usize(..CAMPAIGNS.len())]).expect("it is one");
    let entry_id = rng.bool().then(|| format!("1_e{}", rng.u8(..ENTRIES)));
    let key = SessionKey { campaign, entry_id };
    let text = key.to_text();
    let mut session = Session::blank(key, NOON + rng.i64(0..1_000), "s", &number.to_string());
    session.name = Some(format!("Talk {number}"));
    session.actual_start = Some(NOON - rng.i64(0..100_000) * 1_000);
    session.duration_ms = Some(rng.i64(1..50_000));
    let value = (rng.u8(..3) > 0).then(|| session.encode());
    let partition = route::partition(text.as_bytes(), PARTITIONS);
    Sent { input: Topic::Sessions, partition, entry: Entry::new(Some(text.as_bytes()), value.as_deref(), at) }
}
