//! Refused, ignored or accepted: the decoder and the reference's own judge agree, on records of every kind and on nonsense.

use apache_avro::types::Value as Avro;
use fastrand::Rng;
use rollbook::avro;
use rollbook::demo::reference::judge::{self, Judgement, judge};
use rollbook::event::{Decoded, Decoder, EventKind, Headers, IgnoreReason, Record, RefusalReason};
use serde_json::{Map, Value, json};

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

const FIELDS: [&str; 21] = [
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
];

const SYMBOLS: [&str; 8] = ["LOWER_HAND", "document", " Visit ", "PRESENCE", "during", "RELAY", "UNKNOWN", "leave"];

fn nonsense(rng: &mut Rng) -> Value {
    let texts = [
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
        "yesterday",
        "999999999999999999999",
    ];
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
        7 => json!(["a", rng.choice(&[" ", "b"]).unwrap(), "z".repeat(rng.usize(0..2) * 32_766)]),
        8 => json!({ "shirt": "M", "long": "v".repeat(rng.usize(0..2) * 32_769) }),
        9 => json!([1]),
        10 => json!({ "shirt": 7 }),
        _ => json!(*rng.choice(&texts).unwrap()),
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
    for _ in 0..rng.u8(0..4) {
        let field = (*rng.choice(&FIELDS).unwrap()).to_owned();
        if rng.u8(0..4) == 0 {
            members.remove(&field);
        } else {
            let symbol = ["action", "phase", "reaction", "mode"].contains(&field.as_str()) && rng.bool();
            let value = if symbol { json!(*rng.choice(&SYMBOLS).unwrap()) } else { nonsense(rng) };
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

fn decided(decoder: &Decoder, record: &Record<'_>) -> Judgement {
    match decoder.decode(record).expect("no registry is needed") {
        Decoded::Event(_) => Judgement::Accepted,
        Decoded::Ignored(ignored) => Judgement::Ignored(ignored.reason.code()),
        Decoded::Refused(refusal) => Judgement::Refused(refusal.reason.code()),
    }
}

#[test]
fn the_decoder_and_the_judge_agree_on_random_records_and_on_nonsense() {
    let decoder = Decoder::new(1_000_000);
    let mut met = std::collections::BTreeMap::<String, u64>::new();
    for seed in 0..RECORDS {
        let mut rng = Rng::with_seed(seed);
        let kind = *rng.choice(&EventKind::ALL).unwrap();
        let (value, headers) = (value(&mut rng, kind), headers(&mut rng));
        let value = value.as_deref();
        let timestamp = (rng.u8(0..5) > 0).then_some(NOW);
        let headers: &dyn Headers = &headers;
        let judged = judge(&judge::Record { kind, value, timestamp, headers });
        let decided = decided(&decoder, &Record { kind: Some(kind), key: None, value, timestamp, headers });
        let shown = value.map(|value| String::from_utf8_lossy(value.get(..600).unwrap_or(value)).into_owned());
        assert_eq!(decided, judged, "seed {seed}: {kind:?} {timestamp:?} {shown:?}");
        *met.entry(format!("{judged:?}")).or_default() += 1;
    }
    // The records meet every decision: all refusals but those that need a registry or a larger record.
    assert_eq!(met.len(), 1 + IgnoreReason::ALL.len() + RefusalReason::ALL.len() - 2, "{met:#?}");
    assert!(met.values().all(|count| *count > 10), "{met:#?}");
}
