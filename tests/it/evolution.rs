//! Writers of other versions, and bytes of nobody: what the plans make of them.
//!
//! Every record is read three ways that must agree: by the plan of its writer schema, by `apache-avro` resolving it to
//! the current schema, and as JSON.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::similar_names,
    reason = "a test fails by panicking, with what it saw"
)]

use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rollbook::avro;
use rollbook::event::{Decoded, Decoder, EventKind, Found, IgnoreReason, Ignored, Record, RefusalReason};
use serde_json::{Value as Json, json};

use super::records::{NOW, random_record, to_json};

const ID: u32 = 258;

fn confluent(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

fn record(kind: EventKind, value: &[u8]) -> Record<'_> {
    Record { kind: Some(kind), key: None, value: Some(value), timestamp: Some(NOW), headers: &() }
}

/// What two ways of reading have to agree on; the words of a refusal name the way.
fn essence(decoded: Decoded<'_>) -> Result<Decoded<'_>, RefusalReason> {
    match decoded {
        Decoded::Refused(refusal) => Err(refusal.reason),
        // A symbol of the future is itself to us, and the default to who resolves it by Avro's rules.
        Decoded::Ignored(ignored) if ignored.reason == IgnoreReason::UnknownSymbol => {
            Ok(Decoded::Ignored(Ignored { found: Found::Nothing, nearest: None, ..ignored }))
        }
        other => Ok(other),
    }
}

fn current(kind: EventKind) -> &'static avro::Embedded {
    avro::embedded().into_iter().find(|schema| schema.name == kind.name()).unwrap()
}

fn fields(schema: &mut Json) -> &mut Vec<Json> {
    schema["fields"].as_array_mut().unwrap()
}

/// Replaces each type within the fields of a schema.
fn retype(schema: &mut Json, replace: impl Fn(&str, &Json) -> Option<Json>) {
    for field in fields(schema) {
        let name = field["name"].as_str().unwrap().to_owned();
        let field = field.as_object_mut().unwrap();
        field.remove("default");
        if let Some(new) = replace(&name, &field["type"]) {
            field["type"] = new;
        }
        if let Some(branches) = field["type"].as_array_mut() {
            for branch in branches {
                *branch = replace(&name, branch).unwrap_or(branch.clone());
            }
        }
    }
}

/// Fields that no version of Rollbook has, before, between and after the known ones.
fn add_unknown_fields(schema: &mut Json) {
    let tree = json!({"type": "record", "name": "Tree", "fields": [
        {"name": "leaf", "type": ["null", {"type": "fixed", "name": "Leaf", "size": 3}]},
        {"name": "weights", "type": {"type": "map", "values": ["float", "double", "boolean"]}},
        {"name": "empty", "type": {"type": "array", "items": "null"}}
    ]});
    let fields = fields(schema);
    fields.insert(0, json!({"name": "tree", "type": tree}));
    fields.insert(9, json!({"name": "trees", "type": {"type": "array", "items": "Tree"}}));
    fields.push(json!({"name": "season", "type": {"type": "enum", "name": "Season", "symbols": ["DRY", "WET"]}}));
}

/// A writer's schema of a kind, and whether `apache-avro` resolves what it wrote.
fn writers(kind: EventKind) -> Vec<(&'static str, Json, bool)> {
    let now: Json = serde_json::from_str(current(kind).text).unwrap();
    let changed = |change: &dyn Fn(&mut Json)| {
        let mut schema = now.clone();
        change(&mut schema);
        schema
    };
    let millis = json!({"type": "long", "logicalType": "timestamp-millis"});
    let other_time = |logical: &'static str| {
        changed(&|schema| {
            retype(schema, |_, kind| (*kind == millis).then(|| json!({"type": "long", "logicalType": logical})));
        })
    };
    vec![
        ("current", now.clone(), true),
        (
            "older: half the fields",
            changed(&|schema| fields(schema).retain(|field| field.to_string().len() % 2 == 0)),
            true,
        ),
        ("other order", changed(&|schema| fields(schema).reverse()), true),
        ("newer: more fields", changed(&add_unknown_fields), true),
        (
            "other namespace, never null",
            changed(&|schema| {
                schema["namespace"] = "com.example".into();
                retype(schema, |_, kind| kind.as_array().map(|branches| branches[1].clone()));
            }),
            false,
        ),
        (
            "null last",
            changed(&|schema| {
                retype(schema, |_, kind| kind.as_array().map(|branches| branches.iter().rev().cloned().collect()));
            }),
            true,
        ),
        (
            "newer: another symbol",
            changed(&|schema| {
                retype(schema, |_, kind| {
                    let mut kind = kind.clone();
                    kind.get_mut("symbols")?.as_array_mut()?.insert(1, "OF_THE_FUTURE".into());
                    Some(kind)
                });
            }),
            true,
        ),
        ("int for long", changed(&|schema| retype(schema, |_, kind| (kind == "long").then(|| "int".into()))), false),
        (
            "bytes for text",
            changed(&|schema| retype(schema, |_, kind| (kind == "string").then(|| "bytes".into()))),
            false,
        ),
        ("microseconds", other_time("timestamp-micros"), false),
        ("local nanoseconds", other_time("local-timestamp-nanos"), false),
    ]
}

#[test]
fn every_compatible_writer_is_read_as_apache_avro_and_json_read_it() {
    let mut runner = TestRunner::new(Config { cases: 40, ..Config::default() });
    let (mut accepted, mut all) = (0, 0);
    for kind in EventKind::ALL {
        for (what, writer, apache) in writers(kind) {
            let mut decoder = Decoder::new(1_000_000);
            decoder.learn(ID, Ok(&writer.to_string()));
            let schema = Schema::parse(&writer).unwrap();
            for _ in 0..40 {
                let value = random_record(&schema).new_tree(&mut runner).unwrap().current();
                let body = to_avro_datum(&schema, value.clone()).unwrap();
                let framed = confluent(ID, &body);
                let planned = essence(decoder.decode(&record(kind, &framed)).unwrap());

                let json = to_json(&value).to_string();
                let by_json = essence(decoder.decode(&record(kind, json.as_bytes())).unwrap());
                assert_eq!(planned, by_json, "{what}: {json}");

                if apache {
                    let resolved = from_avro_datum(&schema, &mut body.as_slice(), Some(&current(kind).schema)).unwrap();
                    let mut again = current(kind).header.to_vec();
                    again.extend(to_avro_datum(&current(kind).schema, resolved).unwrap());
                    let by_apache = essence(decoder.decode(&record(kind, &again)).unwrap());
                    assert_eq!(planned, by_apache, "{what}: {json}");
                }
                all += 1;
                accepted += u32::from(matches!(planned, Ok(Decoded::Event(_))));
            }
        }
    }
    assert!(accepted * 10 > all, "{accepted} of {all} records were events: too few to say something");
}

#[test]
fn incompatible_writers_are_refused_with_the_field() {
    let now = current(EventKind::View).text;
    let spoilt = |from: &str, to: &str| {
        let text = now.replace(char::is_whitespace, "").replacen(from, to, 1);
        assert!(text.contains(to));
        text
    };
    let cases = [
        (
            spoilt(
                r#""name":"occurred_at","type":["null",{"type":"long","logicalType":"timestamp-millis"}]"#,
                r#""name":"occurred_at","type":["null","double"]"#,
            ),
            "`occurred_at`",
        ),
        (
            spoilt(
                r#""name":"in_focus","type":["null","boolean"]"#,
                r#""name":"in_focus","type":["null","boolean","int"]"#,
            ),
            "`in_focus`",
        ),
        (
            spoilt(r#""name":"channel_id","type":["null","long"]"#, r#""name":"channel_id","type":["null","string"]"#),
            "`channel_id`",
        ),
        (r#"{"type":"array","items":"string"}"#.to_owned(), "not a record"),
        ("syntax = \"proto3\";".to_owned(), "no valid Avro schema"),
    ];
    for (writer, word) in cases {
        let mut decoder = Decoder::new(1_000_000);
        decoder.learn(ID, Ok(&writer));
        let framed = confluent(ID, &[0; 40]);
        let Ok(Decoded::Refused(refusal)) = decoder.decode(&record(EventKind::View, &framed)) else {
            panic!("{word}: not refused");
        };
        assert_eq!(refusal.reason, RefusalReason::IncompatibleSchema, "{refusal}");
        assert!(refusal.detail.contains(word) && refusal.detail.contains("id 258"), "{refusal}");
    }
}

#[test]
fn a_skipped_field_cannot_keep_the_decoder_busy_or_overflow_its_stack() {
    let recursive = json!({"type": "record", "name": "View", "fields": [
        {"name": "nothing", "type": {"type": "array", "items": "null"}},
        {"name": "list", "type": {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}}
    ]});
    let mut decoder = Decoder::new(1_000_000);
    decoder.learn(ID, Ok(&recursive.to_string()));
    // i64::MAX nulls, then a list of 30 nodes: nothing to complain about but the missing event id.
    let mut body = avro::Writer::default();
    body.long(i64::MAX);
    body.long(0);
    (0..30).for_each(|_| body.long(1));
    body.long(0);
    let reason = |body: &[u8]| match decoder.decode(&record(EventKind::View, &confluent(ID, body))) {
        Ok(Decoded::Refused(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&body.0), RefusalReason::EventIdMissing);
    let endless = [vec![0], vec![2; 900_000]].concat();
    assert_eq!(reason(&endless), RefusalReason::Undecodable);
}

/// A valid record of each format, for mutation.
fn samples() -> Vec<(EventKind, Vec<u8>)> {
    let mut runner = TestRunner::deterministic();
    let mut samples = Vec::new();
    for kind in EventKind::ALL {
        let value = random_record(&current(kind).schema).new_tree(&mut runner).unwrap().current();
        let body = to_avro_datum(&current(kind).schema, value.clone()).unwrap();
        samples.push((kind, [current(kind).header.as_slice(), &body].concat()));
        samples.push((kind, confluent(ID, &body)));
        samples.push((kind, to_json(&value).to_string().into_bytes()));
    }
    samples
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        junk in proptest::collection::vec(any::<u8>(), 0..200),
        start in proptest::sample::select(vec![&b""[..], &[0, 0, 0, 1, 2], &[0xC3, 1], b" {\""]),
        kind in proptest::sample::select(EventKind::ALL.to_vec()),
    ) {
        let mut decoder = Decoder::new(1_000_000);
        decoder.learn(ID, Ok(current(kind).text));
        let value = [start, &junk].concat();
        let _ = decoder.decode(&record(kind, &value));
        let _ = decoder.decode_session(&record(kind, &value));
    }

    #[test]
    fn truncated_and_mutated_records_are_decoded_or_refused(
        sample in proptest::sample::select(samples()),
        cut in any::<proptest::sample::Index>(),
        hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let (kind, mut value) = sample;
        let mut decoder = Decoder::new(1_000_000);
        decoder.learn(ID, Ok(current(kind).text));
        for (at, byte) in hits {
            let at = at.index(value.len());
            value[at] = byte;
        }
        value.truncate(cut.index(value.len()) + 1);
        let _ = decoder.decode(&record(kind, &value));
    }
}

#[test]
fn no_prefix_of_a_record_is_an_event() {
    for (kind, value) in samples() {
        let mut decoder = Decoder::new(1_000_000);
        decoder.learn(ID, Ok(current(kind).text));
        for len in 0..value.len() {
            let decoded = decoder.decode(&record(kind, &value[..len])).map(essence);
            assert!(matches!(decoded, Ok(Err(RefusalReason::Undecodable))), "{len} bytes of {kind:?}: {decoded:?}");
        }
    }
}
