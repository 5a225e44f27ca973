//! The demo's conference: the same from the same seed, honest about itself, and rich enough to prove something.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use rollbook::avro;
use rollbook::demo::conference::{CAMPAIGNS, Conference, Feed, Partition, People, Statement, generate, people_wanted};
use rollbook::demo::reference::{expected, rows};
use rollbook::event::{Decoded, DecodedSession, Decoder, Event, EventKind, IgnoreReason, Record, RefusalReason};
use rollbook::id::SalesforceId;
use serde_json::Value;

use crate::harness;
use crate::judged::{in_words, statement_in_words};

/// 1 June 2026, noon UTC: any time after the conference.
const NOON_2026: i64 = 1_780_315_200_000;

fn ids(prefix: &str, count: usize) -> Vec<SalesforceId> {
    (0..count).map(|number| SalesforceId::parse(&format!("{prefix}{number:012}")).expect("a valid id")).collect()
}

fn people(members: usize) -> People {
    let (leads, contacts) = people_wanted(members);
    People { campaigns: ids("701", CAMPAIGNS), leads: ids("00Q", leads), contacts: ids("003", contacts) }
}

fn conference(seed: u64, members: usize) -> Conference {
    generate(seed, members, &people(members))
}

#[test]
fn a_seed_makes_the_same_conference_byte_for_byte() {
    let (one, same, other) = (conference(7, 60), conference(7, 60), conference(8, 60));
    assert_eq!(one.records, same.records);
    assert_eq!(one.events, same.events);
    assert_ne!(one.records, other.records);
}

#[test]
fn every_record_of_the_conference_is_accounted_for() {
    let conference = conference(1, 300);
    let events = conference.records.iter().filter(|record| record.feed != Feed::Sessions).count();
    let bad: u64 = conference.ignored.values().sum::<u64>() + conference.refused.values().sum::<u64>();
    assert_eq!(u64::try_from(events).unwrap(), conference.accepted + bad);
    assert_eq!(conference.records.len() - events, conference.statements.len());
    let distinct = u64::try_from(conference.events.len()).unwrap();
    assert!(conference.accepted > distinct, "some are sent twice");
    let identities: BTreeSet<_> =
        conference.events.iter().map(|event| (event.member, event.kind, &event.source, &event.event_id)).collect();
    assert_eq!(identities.len(), conference.events.len(), "no identity is used for two events");
}

#[test]
fn every_fault_happens_at_the_conference() {
    let conference = conference(1, 300);
    let not_sent = [
        RefusalReason::ValueTooLarge,      // a broker with its defaults takes no such record
        RefusalReason::UnknownKind,        // the topic tells the kind
        RefusalReason::IncompatibleSchema, // needs a registry
    ];
    for reason in RefusalReason::ALL {
        assert_eq!(conference.refused.contains_key(&reason), !not_sent.contains(&reason), "{reason:?}");
    }
    for reason in IgnoreReason::ALL {
        assert!(conference.ignored.contains_key(&reason), "{reason:?}");
    }
    assert!(conference.records.iter().any(|record| record.partition == Partition::Wrong));
    assert!(conference.records.iter().any(|record| record.key.is_none()));
    assert!(conference.records.iter().any(|record| !record.headers.is_empty()));
}

#[test]
fn avro_records_of_the_conference_are_read_by_their_schema() {
    let conference = conference(3, 60);
    let mut read = BTreeMap::new();
    for record in &conference.records {
        let schema = match record.feed {
            Feed::Sessions => &avro::SESSION,
            Feed::Events(EventKind::Registration) => &avro::REGISTRATION,
            Feed::Events(EventKind::Attendance) => &avro::ATTENDANCE,
            Feed::Events(EventKind::Poll) => &avro::POLL,
            Feed::Events(EventKind::Reaction) => &avro::REACTION,
            Feed::Events(EventKind::View) => &avro::VIEW,
        };
        if let Some(mut body) = record.value.as_deref().and_then(|value| value.strip_prefix(&schema.header)) {
            apache_avro::from_avro_datum(&schema.schema, &mut body, None).unwrap();
            assert!(body.is_empty(), "bytes are left over");
            *read.entry(record.feed).or_insert(0) += 1;
        }
    }
    assert_eq!(read.len(), 6, "all kinds are sent as Avro too: {read:?}");
}

#[test]
fn the_conference_shows_every_status_and_fills_every_field() {
    let conference = conference(2, 600);
    let rows = expected(&conference.records);
    let mut statuses = BTreeSet::new();
    let mut filled: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for ((object, _), fields) in &rows {
        if let Some(status) = fields.get("Status") {
            statuses.insert(status.as_str().unwrap());
        }
        for (name, value) in fields {
            let says_something = !value.is_null() && value != &Value::from(0) && value != &Value::from(0.0);
            *filled.entry((object, name)).or_default() |= says_something;
        }
    }
    let nine = [
        "Attended",
        "Blocked",
        "Confirmed",
        "Created",
        "Invited",
        "Participated",
        "Registered",
        "Un-registered",
        "autoConfirmed",
    ];
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), nine);
    let empty: Vec<_> = filled.iter().filter(|(_, filled)| !**filled).map(|(name, _)| name).collect();
    assert!(empty.is_empty(), "never filled: {empty:?}");
    let members = rows.keys().filter(|(object, _)| object == "CampaignMember").count();
    assert_eq!(members, 600);
    assert!(rows.len() > 3 * members, "most members have rows of both objects");
}

#[test]
fn the_decoder_and_the_reference_read_the_conference_as_it_was_meant() {
    let conference = conference(4, 300);
    let decoder = Decoder::new(1_000_000);
    let (mut events, mut statements) = (Vec::new(), Vec::new());
    let (mut ignored, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for sent in &conference.records {
        let (kind, session) = match sent.feed {
            Feed::Events(kind) => (Some(kind), false),
            Feed::Sessions => (None, true),
        };
        let timestamp = Some(sent.timestamp.unwrap_or(NOON_2026));
        let record =
            Record { kind, key: sent.key.as_deref(), value: sent.value.as_deref(), timestamp, headers: &sent.headers };
        if session {
            statements.push(match decoder.decode_session(&record).expect("no registry is needed") {
                DecodedSession::Session(session) => Statement::Says(session),
                DecodedSession::Tombstone(key) => Statement::Forgets(key),
                DecodedSession::Refused(refusal) => panic!("{refusal}"),
            });
            continue;
        }
        match decoder.decode(&record).expect("no registry is needed") {
            Decoded::Event(event) => events.push(event),
            Decoded::Ignored(it) => *ignored.entry(it.reason).or_default() += 1,
            Decoded::Refused(refusal) => *refused.entry(refusal.reason).or_default() += 1,
        }
    }
    assert_eq!(u64::try_from(events.len()).unwrap(), conference.accepted);
    assert_eq!(ignored, conference.ignored);
    assert_eq!(refused, conference.refused);
    assert_eq!(statements, conference.statements);
    // The same rows come of what was meant, of what the decoder read, and of what the reference read for itself.
    let by_the_rules = |events: &[Event<'_>], statements: &[Statement]| {
        let events: Vec<_> = events.iter().map(in_words).collect();
        rows(&events, &statements.iter().map(statement_in_words).collect::<Vec<_>>())
    };
    let meant = by_the_rules(&conference.events, &conference.statements);
    assert!(by_the_rules(&events, &statements) == meant, "the decoder's");
    assert!(expected(&conference.records) == meant, "the reference's");
}

/// Runs the command itself and returns what it says as JSON.
#[track_caller]
fn run_demo(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollbook"));
    // Everything is on this machine, so that a proxy that is not there is not missed.
    command.env("HTTP_PROXY", format!("http://127.0.0.1:{}", harness::kept_port())).env_remove("NO_PROXY");
    let output = command.args(["demo", "--json", "--log-level", "warn"]).args(arguments).output().expect("it starts");
    let messages = String::from_utf8_lossy(&output.stderr);
    let said: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("no report: {error}\n{messages}"));
    assert!(output.status.success(), "{}\n{said:#}\n{messages}", output.status);
    said
}

fn shows_an_org_that_equals_the_reference(said: &Value, members: u64) {
    let at = |pointer: &str| said.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing"));
    assert_eq!(at("/org_equals_reference"), true);
    assert_eq!(at("/balance"), true);
    assert_eq!(at("/differences"), 0);
    assert_eq!(at("/rows/CampaignMember"), members);
    let number = |name: &str| at(&format!("/numbers/{name}")).as_u64().expect("a number");
    let outcomes = number("changed") + number("unchanged") + number("ignored") + number("refused");
    assert_eq!(number("consumed") - number("rerouted"), outcomes);
    assert!(number("rerouted") > 0 && number("ignored") > 0 && number("refused") > 0);
    assert!(at("/api_calls").as_u64() > Some(0));
    assert!(at("/latency_seconds/p99").as_f64() > Some(0.0));
    let objects: BTreeSet<&str> =
        at("/member").as_array().expect("a list").iter().filter_map(|row| row.get("object")?.as_str()).collect();
    assert_eq!(objects.len(), 3, "one member has a row of each object");
}

#[test]
fn k1_k2_k3_k4_the_demo_ends_with_an_org_that_equals_the_reference() {
    shows_an_org_that_equals_the_reference(&run_demo(&["--members", "60", "--seed", "5"]), 60);
}

#[test]
fn the_demo_runs_on_a_real_cluster_too() {
    let bootstrap = harness::kafka().bootstrap();
    let said = run_demo(&["--members", "40", "--bootstrap", bootstrap]);
    assert_eq!(said.get("broker").and_then(Value::as_str), Some(bootstrap));
    shows_an_org_that_equals_the_reference(&said, 40);
}
