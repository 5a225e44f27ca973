//! Refused, ignored, or what exactly: the decoder and the reference's own reading agree, on records of every kind and on
//! nonsense, field by field.

mod words;

use apache_avro::types::Value as Avro;
use fastrand::Rng;
use rollbook::avro;
use rollbook::demo::conference::Feed;
use rollbook::demo::reference::event as told;
use rollbook::demo::reference::{self, Judgement, Reference};
use rollbook::event::{DecodedSession, Decoder, EventKind, Headers, IgnoreReason, Record, RefusalReason};
use serde_json::{Map, Value, json};

pub use words::{as_it_counts, in_words, judged, statement_in_words};
use words::{session, subject};

const NOW: i64 = 1_767_225_600_000;
const RECORDS: u64 = 15_000;

/// A record of nothing wrong.
fn good(rng: &mut Rng, kind: EventKind) -> Map<String, Value> {
    let own = match kind {
        EventKind::Registration => json!({ "action": "REGISTERED", "email": "ann@example.org" }),
        EventKind::Attendance => {
            let action = *rng.choice(&["JOIN", "PRESENCE", "VISIT", "MIC_ON"]).unwrap();
            json!({ "action": action, "started_at": NOW - 1_000, "ended_at": NOW })
        }
        EventKind::Poll => json!({ "poll_id": "p", "answer": "yes", "position": 1 }),
        EventKind::Reaction => json!({ "reaction": *rng.choice(&["CLAP", "clap", "LOWER_HAND"]).unwrap() }),
        EventKind::View => {
            json!({ "mode": *rng.choice(&["LIVE", "replay", "DOCUMENT"]).unwrap(), "started_at": NOW - 1_000, "ended_at": NOW, "in_focus": true })
        }
    };
    let common = json!({
        "event_id": "e", "source": "s", "occurred_at": NOW, "campaign_id": "70103000000cnFXAAY",
        "lead_id": "00Q0300000AczgfEAB", "entry_id": "1_entry",
    });
    [common, own].into_iter().flat_map(|members| members.as_object().cloned().unwrap()).collect()
}

const FIELDS: [&str; 38] = [
    "event_id",
    "source",
    "occurred_at",
    "campaign_id",
    "lead_id",
    "entry_id",
    "action",
    "phase",
    "reaction",
    "mode",
    "started_at",
    "ended_at",
    "poll_id",
    "answer",
    "position",
    "in_focus",
    "fields",
    "kind",
    "email",
    "question",
    "colour",
    "entry_name",
    "channel_id",
    "channel_name",
    "user",
    "connection_id",
    "play_id",
    "message_id",
    "thread_id",
    "poll_type",
    "playhead_start_ms",
    "playhead_end_ms",
    "full_screen",
    "sound_on",
    "updated_at",
    "name",
    "actual_end",
    "duration_ms",
];

/// Every symbol of the schemas has its turn, and some that none has.
const SYMBOLS: [&str; 44] = [
    "LOWER_HAND",
    "document",
    " Visit ",
    "PRESENCE",
    "during",
    "RELAY",
    "UNKNOWN",
    "leave",
    "CREATED",
    "invited",
    "INVITED_TO_REGISTER",
    "REGISTERED",
    "auto_confirmed",
    "CONFIRMED",
    "UNREGISTERED",
    "blocked",
    "UNBLOCKED",
    "GUEST_ADDED",
    "ATTENDEE_ADDED",
    "EMAIL_SENT",
    "EMAIL_OPENED",
    "LINK_CLICKED",
    "EMAIL_OPTED_OUT",
    "VISIT",
    "JOIN",
    "MIC_ON",
    "MIC_OFF",
    "cam_on",
    "CAM_OFF",
    "PRE_EVENT",
    "DURING",
    "CLAP",
    "HEART",
    "THINK",
    "WOW",
    "smile",
    "RAISE_HAND",
    "ADD_TO_CALENDAR",
    "MESSAGE",
    "QUESTION",
    "LIVE",
    "ON_DEMAND",
    "replay",
    "DOCUMENT",
];

const TEXTS: [&str; 34] = [
    "",
    " ",
    "\u{3000}\t",
    "x",
    "70103000000cnFX",
    "70103000000cnFXAAA",
    "00Q0300000Aczgf",
    "0030300000Aczgf",
    "003030000 Aczgf",
    "005030000012345",
    "REGISTERED",
    "registerd",
    " visit ",
    "PRE_EVENT",
    "after",
    "LOWER_HAND",
    "document",
    "Presence",
    "UNKNOWN",
    "REPLAY",
    "reaction",
    "view",
    "poll",
    "1767225600000",
    " 12 ",
    "1.5",
    "2026-01-01T00:00:00Z",
    "2026-01-01T01:30:00.123456+02:00",
    "1999-12-31T23:59:59.9999Z",
    "2026-01-01T00:00:00.1234567899Z",
    "1969-12-31T23:59:59.99999999999999+02:00",
    "2026-01-01T00:00:00.9999999999",
    "yesterday",
    "999999999999999999999",
];

/// A value that is none, or one of the field's own kind.
fn value_for(rng: &mut Rng, field: &str) -> Value {
    let time = json!(NOW + rng.i64(-100_000_000..150_000_000));
    match field {
        _ if rng.u8(0..3) == 0 => nonsense(rng),
        "action" | "phase" | "reaction" | "mode" => json!(*rng.choice(&SYMBOLS).unwrap()),
        "in_focus" | "full_screen" | "sound_on" => json!(rng.bool()),
        "channel_id" | "position" | "playhead_start_ms" | "playhead_end_ms" | "duration_ms" => {
            rng.choice([json!(-7), json!(" 12 "), json!(3.0), json!(i64::MAX), json!(0)]).unwrap()
        }
        "occurred_at" | "started_at" | "ended_at" | "updated_at" | "actual_end" => time,
        "campaign_id" | "lead_id" | "kind" => nonsense(rng),
        "answer" => json!([rng.choice(&["a", " ", "a "]).unwrap(), rng.choice(&[" b\u{a0}", "c"]).unwrap()]),
        "fields" => json!({ "shirt": "M" }),
        _ => json!(*rng.choice(&TEXTS).unwrap()),
    }
}

fn nonsense(rng: &mut Rng) -> Value {
    match rng.u8(0..12) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(NOW + rng.i64(-200_000_000..200_000_000)),
        3 => json!(
            *rng.choice(&[946_684_799_999_i64, 946_684_800_000, 0, -1, i64::MAX, i64::MIN, NOW + 86_400_001]).unwrap()
        ),
        4 => json!(*rng.choice(&[1.5, 1e12, -0.0, 1e300, 1_767_225_600_000.7]).unwrap()),
        5 => json!(u64::MAX),
        6 => json!("y".repeat(32_767 + rng.usize(0..4))),
        7 => json!(["a", rng.choice(&[" ", " b\u{a0}", "c"]).unwrap(), "z".repeat(rng.usize(0..2) * 32_766)]),
        8 => json!({ "shirt": "M", "long": "v".repeat(rng.usize(0..2) * 32_769) }),
        9 => json!([1]),
        10 => json!({ "shirt": 7 }),
        _ => json!(*rng.choice(&TEXTS).unwrap()),
    }
}

/// In Avro, where the members fit the schema.
fn in_avro(kind: EventKind, members: &Map<String, Value>) -> Option<Vec<u8>> {
    let schema = avro::embedded().into_iter().find(|schema| schema.name == kind.name())?;
    let value = Avro::from(Value::Object(members.clone())).resolve(&schema.schema).ok()?;
    let body = apache_avro::to_avro_datum(&schema.schema, value).ok()?;
    Some([schema.header.as_slice(), &body].concat())
}

fn value(rng: &mut Rng, kind: EventKind) -> Option<Vec<u8>> {
    let mut members = good(rng, kind);
    for _ in 0..rng.u8(0..5) {
        let field = (*rng.choice(&FIELDS).unwrap()).to_owned();
        if rng.u8(0..4) == 0 {
            members.remove(&field);
        } else {
            let value = value_for(rng, &field);
            members.insert(field, value);
        }
    }
    let json = Value::from(members.clone()).to_string().into_bytes();
    let mut bytes = if rng.bool() { in_avro(kind, &members).unwrap_or(json) } else { json };
    match rng.u8(0..40) {
        0 => return None,
        1 => bytes.truncate(rng.usize(1..bytes.len())),
        2 => bytes.push(*rng.choice(b"x}\n ").unwrap()),
        3 => return Some(b"[1, 2]".to_vec()),
        4 => return Some([&[0xC3, 0x01], [rng.u8(..); 8].as_slice(), b"body"].concat()),
        5 => return Some(Vec::new()),
        6 => {
            let other = *rng.choice(&EventKind::ALL).unwrap();
            return Some(in_avro(other, &good(rng, other)).expect("nothing is wrong with it"));
        }
        _ => {}
    }
    Some(bytes)
}

/// Now and then an event comes in an envelope, which may tell its identity.
fn enveloped(rng: &mut Rng, value: &mut Option<Vec<u8>>, headers: &mut Vec<(&'static str, Vec<u8>)>) {
    let data = value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
    let Some(data) = data.filter(|_| rng.u8(0..10) == 0) else { return };
    let mut envelope = json!({ "specversion": "1.0", "type": "event", "data": data });
    for (name, text) in [("id", "of the envelope"), ("source", "elsewhere"), ("data", "no event")] {
        if rng.u8(0..3) > 0 && name != "data" || rng.u8(0..20) == 0 {
            envelope[name] = text.into();
        }
    }
    *value = Some(envelope.to_string().into_bytes());
    let content = ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8"];
    *headers = vec![("content-type", rng.choice(content).unwrap().as_bytes().to_vec())];
}

fn headers(rng: &mut Rng) -> Vec<(&'static str, Vec<u8>)> {
    let mut headers = Vec::new();
    for name in ["ce_id", "CE_Source"] {
        match rng.u8(0..8) {
            0 => headers.push((name, b"of the envelope".to_vec())),
            1 => headers.push((name, b"  ".to_vec())),
            2 => headers.push((name, vec![0xFF])),
            3 => headers.push((name, vec![b'h'; 32_769])),
            _ => {}
        }
    }
    headers
}

fn shown(value: Option<&[u8]>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(value.get(..600).unwrap_or(value)).into_owned())
}

#[test]
fn the_decoder_and_the_reference_read_the_same_from_random_records_and_from_nonsense() {
    let (decoder, reference) = (Decoder::new(1_000_000), Reference::default());
    let mut met = std::collections::BTreeMap::<String, u64>::new();
    for seed in 0..RECORDS {
        let mut rng = Rng::with_seed(seed);
        let kind = *rng.choice(&EventKind::ALL).unwrap();
        let (mut value, mut headers) = (value(&mut rng, kind), headers(&mut rng));
        enveloped(&mut rng, &mut value, &mut headers);
        let value = value.as_deref();
        let timestamp = (rng.u8(0..5) > 0).then_some(NOW);
        let as_read = headers.iter().map(|(name, text)| (*name, text.as_slice())).collect();
        let record = reference::Record { feed: Feed::Events(kind), key: None, value, timestamp, headers: as_read };
        let read = as_it_counts(reference.judge(&record).expect("it is of an event"));
        let headers: &dyn Headers = &headers;
        let decoded = decoder.decode(&Record { kind: Some(kind), key: None, value, timestamp, headers });
        let decided = judged(&decoded.expect("no registry is needed"));
        assert_eq!(decided, read, "seed {seed}: {kind:?} {timestamp:?} {:?}", shown(value));
        let name = match read {
            Judgement::Accepted(_) => "accepted",
            Judgement::Ignored(code) | Judgement::Refused(code) => code,
        };
        *met.entry(name.to_owned()).or_default() += 1;
    }
    // The records meet every decision: all refusals but those that need a registry or a larger record.
    assert_eq!(met.len(), 1 + IgnoreReason::ALL.len() + RefusalReason::ALL.len() - 2, "{met:#?}");
    assert!(met.values().all(|count| *count > 10), "{met:#?}");
}

/// A statement of the catalogue, of which something may be wrong; or a tombstone.
fn spoken(rng: &mut Rng) -> Option<Vec<u8>> {
    let mut members = json!({
        "event_id": "e", "source": "s", "updated_at": NOW, "campaign_id": "70103000000cnFXAAY", "entry_id": "1_entry",
        "name": " A talk ", "channel_id": 7, "channel_name": "Main", "scheduled_start": NOW, "scheduled_end": NOW + 5,
        "actual_start": "2027-01-01T00:00:00.9999Z", "actual_end": NOW + 9, "duration_ms": "60000",
    });
    let members = members.as_object_mut().unwrap();
    for _ in 0..rng.u8(0..3) {
        let field = (*rng.choice(&FIELDS).unwrap()).to_owned();
        if rng.u8(0..4) == 0 {
            members.remove(&field);
        } else {
            let value = value_for(rng, &field);
            members.insert(field, value);
        }
    }
    let in_avro = || {
        let value = Avro::from(Value::Object(members.clone())).resolve(&avro::SESSION.schema).ok()?;
        let body = apache_avro::to_avro_datum(&avro::SESSION.schema, value).ok()?;
        Some([avro::SESSION.header.as_slice(), &body].concat())
    };
    match rng.u8(0..20) {
        0 => None,
        1..8 => in_avro().or_else(|| Some(Value::from(members.clone()).to_string().into_bytes())),
        _ => Some(Value::from(members.clone()).to_string().into_bytes()),
    }
}

#[test]
fn the_decoder_and_the_reference_read_the_same_from_random_statements() {
    let (decoder, reference) = (Decoder::new(1_000_000), Reference::default());
    let mut met = [0; 3];
    for seed in 0..RECORDS / 3 {
        let mut rng = Rng::with_seed(seed);
        let value = spoken(&mut rng);
        let value = value.as_deref();
        let keys =
            ["70103000000cnFXAAY_1_entry", "70103000000cnFX_ e ", "70103000000cnFXAAY", "70103000000cnFXAAA_e", ""];
        let key = Some(rng.choice(keys).unwrap().as_bytes());
        let record = reference::Record { feed: Feed::Sessions, key, value, timestamp: Some(NOW), headers: Vec::new() };
        let read = reference.statement(&record);
        let record = Record { kind: None, key, value, timestamp: Some(NOW), headers: &() };
        let decided = match decoder.decode_session(&record).expect("no registry is needed") {
            DecodedSession::Session(it) => Ok(told::Statement::Says(session(&it))),
            DecodedSession::Tombstone(key) => Ok(told::Statement::Forgets(subject(&key))),
            DecodedSession::Refused(refusal) => Err(refusal.reason.code()),
        };
        assert_eq!(decided, read, "seed {seed}: {key:?} {:?}", shown(value));
        let which = match read {
            Ok(told::Statement::Says(_)) => 0,
            Ok(told::Statement::Forgets(_)) => 1,
            Err(_) => 2,
        };
        met[which] += 1;
    }
    assert!(met.iter().all(|count| *count > 100), "{met:?}");
}
