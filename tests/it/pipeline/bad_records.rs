//! Records that cannot be folded: each becomes a dead letter that holds all of it, and the stream goes on.

use std::collections::BTreeSet;

use rollbook::dead_letter::{DeadLetter, Stage};
use rollbook::event::{EventKind, RefusalReason};
use rollbook::id::MemberKey;
use rollbook::route;
use rollbook::stage::fold::{FIRST_TIMESTAMP_HEADER, KIND_HEADER};
use serde_json::{Value, json};

use super::payload::{MINUTE, NINE, payload, record};
use super::world::{WITHIN, World, metric};
use crate::harness::{self, PARTITIONS, Record};

const DAY: i64 = 24 * 60 * MINUTE;

/// An id that no registry here gives out.
const UNKNOWN_SCHEMA_ID: u32 = 4_000_000;

fn registry_section() -> String {
    format!("[registry]\nurl = \"{}\"\n", harness::registry().url())
}

fn world(test: &str, sections: &str) -> (World, MemberKey) {
    let connection =
        super::world::Connection { bootstrap: harness::kafka().bootstrap().to_owned(), properties: Vec::new() };
    let world = World::with(test, connection, sections);
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    (world, member)
}

/// One record for every reason there is.
fn one_of_each(world: &World, member: MemberKey) -> Vec<(RefusalReason, Record)> {
    use RefusalReason as Reason;
    let key = member.to_string();
    let raw = |kind, value: Vec<u8>| Record::new(world.topic(kind), key.clone(), value);
    let spoilt = |kind, changes: Value| record(world, kind, member, "spoilt", &changes);
    let incompatible =
        r#"{"type":"record","name":"View","namespace":"rollbook","fields":[{"name":"mode","type":"double"}]}"#;
    let incompatible_id = harness::registry().register(&format!("{}-value", world.names.prefix), incompatible);
    let framed = |id: u32| [&[0], id.to_be_bytes().as_slice(), &[0; 8]].concat();
    let good = payload(EventKind::View, member, "unknown-kind", &json!({})).to_string();
    vec![
        (Reason::NoValue, Record { value: None, ..raw(EventKind::View, Vec::new()) }),
        (Reason::ValueTooLarge, spoilt(EventKind::View, json!({ "fields": { "large": "x".repeat(1_100_000) } }))),
        (
            Reason::UnknownKind,
            Record::new(&world.names.topics.resolved, key.clone(), good).header(KIND_HEADER, "dance"),
        ),
        (Reason::UnknownSchema, raw(EventKind::View, framed(UNKNOWN_SCHEMA_ID))),
        (Reason::IncompatibleSchema, raw(EventKind::View, framed(incompatible_id))),
        (Reason::Undecodable, raw(EventKind::Poll, b"neither Avro nor JSON".to_vec())),
        (Reason::EventIdMissing, spoilt(EventKind::Registration, json!({ "event_id": null }))),
        (Reason::SourceMissing, spoilt(EventKind::Attendance, json!({ "source": "  " }))),
        (Reason::OccurredAtMissing, spoilt(EventKind::Reaction, json!({ "occurred_at": null }))),
        (Reason::PollIdMissing, spoilt(EventKind::Poll, json!({ "poll_id": null }))),
        (Reason::CampaignIdMissing, spoilt(EventKind::View, json!({ "campaign_id": null }))),
        (Reason::CampaignIdInvalid, spoilt(EventKind::View, json!({ "campaign_id": "70103000000cnFXAAA" }))),
        (Reason::PersonIdMissing, spoilt(EventKind::View, json!({ "lead_id": "" }))),
        (Reason::PersonIdInvalid, spoilt(EventKind::View, json!({ "lead_id": "005030000012345" }))),
        (Reason::IntervalReversed, spoilt(EventKind::View, json!({ "ended_at": NINE - 1 }))),
        (Reason::IntervalTooLong, spoilt(EventKind::View, json!({ "ended_at": NINE + DAY + 1 }))),
        (Reason::TimeTooEarly, spoilt(EventKind::Registration, json!({ "occurred_at": 946_684_799_999_i64 }))),
        (Reason::TimeTooLate, spoilt(EventKind::Registration, json!({ "occurred_at": 4_102_444_800_000_i64 }))),
        (Reason::TextTooLong, spoilt(EventKind::Poll, json!({ "question": "?".repeat(32_769) }))),
    ]
}

#[test]
fn every_kind_of_bad_record_becomes_a_dead_letter_that_holds_all_of_it() {
    let (world, member) = world("bad", &registry_section());
    let rollbook = world.start("one").ready();
    let mut bad = one_of_each(&world, member);
    let reasons: BTreeSet<RefusalReason> = bad.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, RefusalReason::ALL.into(), "one of each");
    for (number, (_, record)) in (0..).zip(&mut bad) {
        record.timestamp = Some(NINE + number);
        record.headers.push(("trace".to_owned(), Some(vec![0, 255])));
        record.headers.push(("empty".to_owned(), None));
    }
    let records: Vec<Record> = bad.iter().map(|(_, record)| record.clone()).collect();
    let places = harness::write(&world.client(), &records);
    // Behind them on every topic: the stream goes on.
    let good = EventKind::ALL.map(|kind| record(&world, kind, member, "good", &json!({})));
    harness::write(&world.client(), &good);

    world.settle();
    let letters = world.dead_letters();
    assert_eq!(letters.len(), bad.len());
    for ((reason, record), place) in bad.iter().zip(places) {
        let letter =
            letters.iter().find(|letter| letter.topic == record.topic && (letter.partition, letter.offset) == place);
        let letter = letter.unwrap_or_else(|| panic!("{reason:?}: no dead letter from {} {place:?}", record.topic));
        holds_all_of_it(*reason, record, letter);
    }
    let counted = |reason: RefusalReason| {
        let label = format!("reason=\"{}\"", reason.code());
        metric(&rollbook.metrics(), "rollbook_dead_letters_total", &["stage=\"fold\"", &label])
    };
    assert_eq!(RefusalReason::ALL.map(counted), [1; RefusalReason::ALL.len()]);
    harness::until("the good events in the org", WITHIN, || match world.rows().len() {
        3 => Ok(()),
        other => Err(format!("{other} rows")),
    });
}

#[track_caller]
fn holds_all_of_it(reason: RefusalReason, record: &Record, letter: &DeadLetter) {
    assert_eq!(letter.reason, reason.code(), "{}", letter.detail);
    assert_eq!(letter.stage, Stage::Fold);
    assert_eq!(letter.timestamp, record.timestamp, "{reason:?}");
    assert_eq!(letter.key, record.key, "{reason:?}");
    assert!(letter.value == record.value, "{reason:?}: the value differs");
    assert_eq!(letter.headers, record.headers, "{reason:?}");
    assert!(!letter.detail.is_empty(), "{reason:?}");
}

#[test]
fn an_event_in_the_wrong_partition_is_folded_where_its_member_belongs() {
    let (world, member) = world("wrong", "");
    let right = route::partition(member.to_string().as_bytes(), PARTITIONS);
    let clap = |event_id: &str| record(&world, EventKind::Reaction, member, event_id, &json!({}));
    let partition = Some((right + 1) % PARTITIONS);
    let wrong = Record { partition, timestamp: Some(NINE), ..clap("wrong") };
    let unkeyed = Record { partition, key: None, ..clap("unkeyed") };
    // Where its member belongs, but by chance: the key names somebody else.
    let of_another = Record { partition: Some(right), key: Some(b"somebody".to_vec()), ..clap("of another") };
    harness::write(&world.client(), &[clap("right"), wrong, unkeyed, of_another]);
    let started = jiff::Timestamp::now().as_millisecond();
    let rollbook = world.start("one").ready();
    world.settle();

    let resolved = harness::read(&world.client(), &world.names.topics.resolved);
    let key = member.to_string().into_bytes();
    assert_eq!(resolved.len(), 3, "{resolved:?}");
    assert!(resolved.iter().all(|record| record.partition == Some(right) && record.key.as_ref() == Some(&key)));
    // The first record's own time decides what is too late and goes along; the copy's is that of its writing, or a
    // broker could delete it by the age of the first before it is read.
    let first = (FIRST_TIMESTAMP_HEADER.to_owned(), Some(NINE.to_string().into_bytes()));
    assert!(resolved.iter().any(|record| record.headers.contains(&first)), "{resolved:?}");
    assert!(resolved.iter().all(|record| record.timestamp >= Some(started)), "{resolved:?}");
    let rerouted = metric(&rollbook.metrics(), "rollbook_records_total", &["outcome=\"rerouted\""]);
    assert_eq!(rerouted, 3);
    harness::until("four claps in one row", WITHIN, || {
        let rows = world.rows();
        let row = rows.iter().find(|((object, _), _)| object == "UserSessionEngagement__c").map(|(_, fields)| fields);
        let claps = row.and_then(|fields| fields.get("clap_clicked_count__c")).and_then(Value::as_f64);
        if claps == Some(4.0) { Ok(()) } else { Err(format!("{claps:?}")) }
    });
}

#[test]
fn without_a_registry_its_records_are_refused_and_the_others_folded() {
    let (world, member) = world("no-registry", "");
    let framed = Record::new(world.topic(EventKind::View), member.to_string(), vec![0, 0, 0, 0, 7, 1]);
    let good = record(&world, EventKind::View, member, "good", &json!({}));
    harness::write(&world.client(), &[framed, good]);
    let _rollbook = world.start("one").ready();
    world.settle();
    let letters = world.dead_letters_become(1);
    assert_eq!(letters[0].reason, RefusalReason::UnknownSchema.code());
    assert_eq!(world.dead_letters().len(), 1);
}
