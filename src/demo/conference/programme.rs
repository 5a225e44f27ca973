//! The programme: what is on in each campaign, and what the catalogue says about it, when, and how often wrongly first.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{DAY, Fate, Feed, HOUR, MINUTE, OPENING, Partition, Record, Sent, Statement};
use crate::event::{Session, SessionKey};
use crate::id::SalesforceId;
use crate::time::Millis;

/// Something to attend or to watch.
#[derive(Clone, Debug)]
pub struct Talk {
    pub campaign: SalesforceId,
    pub entry_id: String,
    pub name: &'static str,
    pub channel_id: i64,
    pub channel_name: &'static str,
    /// None: recorded only, watched at any time.
    pub live: Option<(Millis, Millis)>,
    pub recording_ms: i64,
    /// Polls that are asked in it.
    pub polls: usize,
    /// What the catalogue knows of it in the end.
    known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Statements in order.
    Well,
    /// The end is told before the start, and the oldest statement comes once more after all others.
    InDisorder,
    /// End, duration and name are told when everything is over.
    Late,
    /// A tombstone, then a statement again.
    Returned,
    /// A tombstone at the end.
    Forgotten,
    /// Never a statement.
    Nothing,
}

const TALKS: [(&str, &str, Known, usize); 7] = [
    ("Opening keynote", "Main stage", Known::Well, 3),
    ("量子コンピュータ入門 — ハンズオン", "第二会場", Known::InDisorder, 12),
    ("Déjà vu : données en mouvement", "Scène française", Known::Late, 2),
    ("  Kafka at 3 a.m. 🚨  ", "Track B", Known::Returned, 1),
    ("The talk that was cancelled", "Track B", Known::Forgotten, 1),
    ("Hallway conversations", "Hallway", Known::Nothing, 0),
    ("On demand: ten years of logs", "Library", Known::Well, 0),
];

pub fn programme(rng: &mut Rng, campaigns: &[SalesforceId]) -> Vec<Talk> {
    let mut talks = Vec::new();
    for (day, &campaign) in (0_i64..).zip(campaigns) {
        for (slot, (name, channel_name, known, polls)) in (0_i64..).zip(TALKS) {
            let start = OPENING + day * DAY + slot * HOUR + rng.i64(0..5 * MINUTE);
            let end = start + rng.i64(35 * MINUTE..55 * MINUTE);
            let live = (slot < 6).then_some((start, end));
            // One id is longer than the field that holds it.
            let tail = if slot == 2 { "-recorded-edition" } else { "" };
            let entry_id = format!("{}_{:08x}{tail}", day + 1, rng.u32(..));
            let recording_ms = end - start;
            let channel_id = 100 * (day + 1) + slot;
            talks.push(Talk { campaign, entry_id, name, channel_id, channel_name, live, recording_ms, polls, known });
        }
    }
    talks
}

/// Everything that is ever said about the campaigns and talks.
pub fn statements(rng: &mut Rng, campaigns: &[SalesforceId], talks: &[Talk]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for (day, &campaign) in (0_i64..).zip(campaigns) {
        let start = OPENING + day * DAY;
        let blank = blank(SessionKey { campaign, entry_id: None }, start - 7 * DAY);
        sent.push(says(rng, start - 7 * DAY, Session { scheduled_start: Some(start + 30 * MINUTE), ..blank.clone() }));
        let moved = Session { scheduled_start: Some(start), updated_at: start - DAY, ..blank };
        // Told when all is over: visits before that hour were pre-event visits after all.
        sent.push(says(rng, start + 9 * DAY, Session { event_id: "moved".to_owned(), ..moved }));
    }
    for talk in talks {
        let told = history(talk);
        let ends_at = talk.live.map_or(OPENING, |(_, end)| end);
        for (number, (offset, session)) in (0_i64..).zip(&told) {
            let at = match talk.known {
                Known::InDisorder => ends_at - number * MINUTE,
                Known::Late if number == 2 => ends_at + 11 * DAY,
                Known::Well | Known::Late | Known::Returned | Known::Forgotten | Known::Nothing => {
                    session.updated_at + offset
                }
            };
            sent.push(says(rng, at, session.clone()));
        }
        if let (Known::InDisorder, Some((_, oldest))) = (talk.known, told.first()) {
            sent.push(says(rng, ends_at + 12 * DAY, oldest.clone()));
        }
        if let (Known::Returned | Known::Forgotten, Some((_, newest))) = (talk.known, told.last()) {
            sent.push(forgets(rng, ends_at + 2 * DAY, newest.key.clone()));
        }
        if let (Known::Returned, Some((_, newest))) = (talk.known, told.last()) {
            let updated_at = ends_at + 3 * DAY;
            let again = Session { updated_at, event_id: "returned".to_owned(), ..newest.clone() };
            sent.push(says(rng, updated_at, again));
        }
    }
    sent
}

/// What is known of a talk before, at its start, and after it; each with the delay of its telling.
fn history(talk: &Talk) -> Vec<(Millis, Session)> {
    if talk.known == Known::Nothing {
        return Vec::new();
    }
    let key = SessionKey { campaign: talk.campaign, entry_id: Some(talk.entry_id.clone()) };
    let (start, end) = talk.live.unwrap_or((OPENING, OPENING));
    let planned = Session {
        name: Some("Title to be announced".to_owned()),
        channel_name: Some(talk.channel_name.to_owned()),
        scheduled_start: talk.live.map(|_| start - 4 * MINUTE),
        scheduled_end: talk.live.map(|_| end + 5 * MINUTE),
        ..blank(key, OPENING - 20 * DAY)
    };
    let running = Session {
        updated_at: start,
        event_id: "running".to_owned(),
        channel_id: Some(talk.channel_id),
        actual_start: talk.live.map(|_| start),
        ..planned.clone()
    };
    let over = Session {
        updated_at: end + MINUTE,
        event_id: "over".to_owned(),
        name: Some(talk.name.trim().to_owned()),
        actual_end: talk.live.map(|_| end),
        duration_ms: Some(talk.recording_ms),
        ..running.clone()
    };
    vec![(0, planned), (5_000, running), (10_000, over)]
}

fn blank(key: SessionKey, updated_at: Millis) -> Session {
    Session::blank(key, updated_at, "cms", "planned")
}

fn says(rng: &mut Rng, at: Millis, session: Session) -> Sent {
    sent(rng, at, Statement::Says(session))
}

fn forgets(rng: &mut Rng, at: Millis, key: SessionKey) -> Sent {
    sent(rng, at, Statement::Forgets(key))
}

fn sent(rng: &mut Rng, at: Millis, statement: Statement) -> Sent {
    Sent { at, record: record(rng, &statement), fate: Fate::Statement(Box::new(statement)) }
}

pub fn record(rng: &mut Rng, statement: &Statement) -> Record {
    match statement {
        Statement::Says(session) => {
            let value = if rng.bool() { session.encode() } else { json_text(session) };
            catalogue_record(&session.key, Some(value))
        }
        Statement::Forgets(key) => catalogue_record(key, None),
    }
}

fn catalogue_record(key: &SessionKey, value: Option<Vec<u8>>) -> Record {
    let key = Some(key.to_text().into_bytes());
    Record { feed: Feed::Sessions, key, partition: Partition::OfKey, timestamp: None, headers: Vec::new(), value }
}

fn json_text(session: &Session) -> Vec<u8> {
    let fields = json!({
        "event_id": session.event_id,
        "source": session.source,
        "updated_at": session.updated_at,
        "campaign_id": session.key.campaign.as_str(),
        "entry_id": session.key.entry_id,
        "name": session.name,
        "channel_id": session.channel_id,
        "channel_name": session.channel_name,
        "scheduled_start": session.scheduled_start,
        "scheduled_end": session.scheduled_end,
        "actual_start": session.actual_start,
        "actual_end": session.actual_end,
        "duration_ms": session.duration_ms,
    });
    let known = fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let known: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    Value::from(known).to_string().into_bytes()
}
