//! The same events in every encoding that producers use, with a real schema registry and a real Python producer.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rollbook::avro;
use rollbook::dead_letter::DeadLetter;
use rollbook::demo::conference::Record;
use rollbook::demo::reference::{Reference, Rows};
use rollbook::event::{EventKind, RefusalReason};
use rollbook::id::MemberKey;
use serde_json::{Value, json};

use super::payload::{ENTRY, NINE, payload, record};
use super::world::{Connection, WITHIN, World, metric};
use crate::harness::{self, Gate, TlsFront};

const PRODUCER: &str = include_str!("produce.py");
const PRODUCE_WITHIN: Duration = Duration::from_mins(1);

/// What the Python producer stands on.
const REQUIREMENTS: [&str; 1] = ["confluent-kafka[avro,schemaregistry]==2.16.0"];

/// A world whose registry is reached through a gate.
fn world(test: &str) -> (World, Gate) {
    let gate = Gate::open_to(harness::registry().address);
    let registry = format!("[registry]\nurl = \"{}\"\n", harness::url_at(gate.address()));
    let kafka = Connection { bootstrap: harness::kafka().bootstrap().to_owned(), properties: Vec::new() };
    (World::with(test, kafka, &registry), gate)
}

/// Puts single-object encoded values into Confluent's wire format: another header before the same body. Returns how
/// many there were, and a reference that knows the schemas.
fn with_registry(prefix: &str, records: &mut [Record]) -> (usize, Reference) {
    let schemas: Vec<_> = avro::embedded()
        .into_iter()
        .map(|schema| (schema.header, harness::registry().register(&format!("{prefix}-{}", schema.name), schema.text)))
        .collect();
    let mut reference = Reference::default();
    for ((_, id), schema) in schemas.iter().zip(avro::embedded()) {
        reference.register(*id, schema.text);
    }
    let mut framed = 0;
    for value in records.iter_mut().filter_map(|record| record.value.as_mut()) {
        let known = schemas.iter().find_map(|(header, id)| Some((id, value.strip_prefix(header)?)));
        if let Some((id, body)) = known {
            *value = [&[0], id.to_be_bytes().as_slice(), body].concat();
            framed += 1;
        }
    }
    (framed, reference)
}

/// Whether the registry is waited for.
fn waiting(metrics: &str) -> u64 {
    metric(metrics, "rollbook_waiting", &["dependency=\"registry\""]).min(1)
}

/// Dead letters of records that the registry's schema would have read.
fn skipped(world: &World) -> usize {
    let unknown = RefusalReason::UnknownSchema.code();
    let of_registry = |letter: &DeadLetter| letter.value.as_ref().is_some_and(|value| value.starts_with(&[0]));
    world.dead_letters().iter().filter(|letter| letter.reason == unknown && of_registry(letter)).count()
}

#[test]
fn records_of_a_registry_wait_while_it_is_away_and_then_flow() {
    let (world, registry) = world("registry");
    let mut conference = world.conference(5, 40);
    let (framed, reference) = with_registry(&world.names.prefix, &mut conference.records);
    assert!(framed > 100, "{framed} records need the registry");
    registry.shut();
    world.send(&conference.records);
    let rollbook = world.start("one");
    harness::until("somebody to ask for the registry", WITHIN, || {
        if registry.refused() > 1 { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
    assert_eq!(waiting(&rollbook.metrics()), 1, "an outage is visible");
    assert_eq!(skipped(&world), 0, "nothing is skipped while the registry is away");
    registry.open();
    world.settle();
    world.org_becomes(&reference.expected(&conference.records));
    assert_eq!((waiting(&rollbook.metrics()), skipped(&world)), (0, 0));
}

#[test]
fn a_registry_of_an_unknown_authority_is_waited_for_and_never_skipped() {
    let mut world = World::new("registry-tls");
    // "rollbook:s3cret"
    let front = TlsFront::before(harness::registry().address, "Basic cm9sbGJvb2s6czNjcmV0");
    let password = harness::folder().join("registry-password");
    fs::write(&password, "s3cret").expect("the target folder is writable");
    world.sections = format!(
        "[registry]\nurl = \"https://{}/apis/ccompat/v7\"\nusername = \"rollbook\"\npassword_file = \"{}\"\n",
        front.address,
        password.display()
    );
    let mut conference = world.conference(5, 20);
    let (framed, reference) = with_registry(&world.names.prefix, &mut conference.records);
    assert!(framed > 50, "most records need the registry");
    world.send(&conference.records);

    let mut rollbook = world.start("one");
    harness::until("the log to tell why", WITHIN, || {
        let log = rollbook.process.log();
        let told = log.lines().find(|line| line.contains("the schema registry is waited for"));
        told.filter(|line| line.contains("certificate verify failed")).map(|_| ()).ok_or(log)
    });
    assert!(front.broken_off() > 1 && front.unauthorized() == 0, "no password goes to whom nobody vouches for");
    assert_eq!(waiting(&rollbook.metrics()), 1, "it is visible");
    assert!(!rollbook.process.log().contains("s3cret"), "{}", rollbook.process.log());
    assert_eq!(skipped(&world), 0, "nothing is skipped");
    rollbook.process.kill();

    let ca_file = format!("ca_file = \"{}\"\n", front.ca.display());
    world.sections.push_str(&ca_file);
    let rollbook = world.start("one").ready();
    world.settle();
    world.org_becomes(&reference.expected(&conference.records));
    assert_eq!((waiting(&rollbook.metrics()), front.unauthorized(), skipped(&world)), (0, 0, 0));
}

fn claps(rows: &Rows) -> Option<f64> {
    let row = rows.iter().find(|((object, _), _)| object == "UserSessionEngagement__c").map(|(_, fields)| fields);
    row.and_then(|fields| fields.get("clap_clicked_count__c")).and_then(Value::as_f64)
}

#[test]
fn events_of_a_python_producer_with_the_registry_are_folded() {
    let python = harness::python(&REQUIREMENTS);
    let (world, _gate) = world("python");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.contact("contact") };
    let events: Vec<Value> = (0..3)
        .map(|number| {
            payload(EventKind::Reaction, member, &format!("python-{number}"), &json!({ "user": "пользователь" }))
        })
        .collect();
    let mut produce = Command::new(python);
    produce.args(["-c", PRODUCER, harness::kafka().bootstrap(), &harness::registry().url()]);
    produce.args([world.topic(EventKind::Reaction), &member.to_string(), avro::REACTION.text]);
    produce.arg(Value::from(events).to_string());
    harness::run("produce", &mut produce, PRODUCE_WITHIN).unwrap_or_else(|why| panic!("{why}"));

    let rollbook = world.start("one").ready();
    world.settle();
    harness::until("three claps in the org", WITHIN, || match claps(&world.rows()) {
        Some(3.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let rerouted = metric(&rollbook.metrics(), "rollbook_records_total", &["outcome=\"rerouted\""]);
    assert_eq!(rerouted, 0, "librdkafka with murmur2_random finds the right partition");
}

#[test]
fn json_cloud_events_and_headers_name_the_same_event() {
    let world = World::new("cloud-events");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let plain = record(&world, EventKind::Reaction, member, "same", &json!({}));
    let data = payload(EventKind::Reaction, member, "same", &json!({ "event_id": null, "source": null }));
    let key = member.to_string();
    let envelope = json!({
        "specversion": "1.0", "id": "same", "source": "pipeline", "type": "reaction", "datacontenttype": "application/json",
        "data": data,
    });
    let structured = harness::Record::new(world.topic(EventKind::Reaction), key.clone(), envelope.to_string())
        .header("content-type", "application/cloudevents+json");
    let binary = harness::Record::new(world.topic(EventKind::Reaction), key, data.to_string())
        .header("ce_id", "same")
        .header("ce_source", "pipeline");
    harness::write(&world.client(), &[plain, structured, binary]);
    let rollbook = world.start("one").ready();
    world.settle();
    let outcome = |outcome: &str| {
        metric(&rollbook.metrics(), "rollbook_records_total", &["reactions", &format!("outcome=\"{outcome}\"")])
    };
    assert_eq!((outcome("changed"), outcome("unchanged")), (1, 2), "{:?}", world.dead_letters());
    assert_eq!(claps(&world.rows()), Some(1.0));
}

#[test]
fn a_time_is_a_number_or_a_text_with_any_zone() {
    let world = World::new("times");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let at = |event_id: &str, occurred_at: Value| {
        record(&world, EventKind::Reaction, member, event_id, &json!({ "occurred_at": occurred_at }))
    };
    let times = [json!(NINE), json!("2024-05-14T09:00:00Z"), json!("2024-05-14T18:00:00.000999+09:00")];
    let same: Vec<_> = times.into_iter().map(|time| at("same", time)).collect();
    harness::write(&world.client(), &same);
    let rollbook = world.start("one").ready();
    world.settle();
    assert_eq!(claps(&world.rows()), Some(1.0), "{ENTRY}: {:?}", world.dead_letters());
    // One identity and one content: nobody is at fault.
    assert_eq!(metric(&rollbook.metrics(), "rollbook_identity_conflicts_total", &[]), 0);
}
