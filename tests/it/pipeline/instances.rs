//! Instances that get in each other's way, wake up with old rows, or start before what they need: none of it shows in the org.

use rollbook::demo::reference::expected;
use rollbook::emulator::{Fault, FaultAction};
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use serde_json::{Value, json};

use super::payload::record;
use super::world::{Connection, WITHIN, World, metric};
use crate::harness::{self, Gate, Rollbook};

#[test]
fn a_frozen_instance_that_wakes_up_sends_none_of_its_old_rows() {
    let world = World::new("old-rows");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let says = |event_id: &str, action: &str| {
        record(&world, EventKind::Registration, member, event_id, &json!({ "action": action }))
    };
    let one = world.start("one").ready();
    let status_is = |status: &str| {
        harness::until(&format!("status {status}"), WITHIN, || {
            let rows = world.rows();
            let found = rows.values().find_map(|fields| fields.get("Status").and_then(Value::as_str));
            if found == Some(status) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    // It knows the member, so that it would send the next row without a question before.
    harness::write(&world.client(), &[says("e0", "CREATED")]);
    status_is("Created");
    let busy = FaultAction::Answer { status: 503, body: String::new() };
    world.org.add_fault(Fault::next("composite", busy).times(u64::MAX));
    harness::write(&world.client(), &[says("e1", "REGISTERED")]);
    harness::until("the first instance to have tried", WITHIN, || {
        let tried = metric(&one.metrics(), "rollbook_sink_requests_total", &["status=\"5xx\""]);
        if tried > 0 { Ok(()) } else { Err("no call yet".to_owned()) }
    });
    one.process.signal("STOP");
    world.org.clear_faults();
    let two = world.start("two").ready();
    status_is("Registered");
    harness::write(&world.client(), &[says("e2", "CONFIRMED")]);
    status_is("Confirmed");
    one.process.signal("CONT");
    harness::until("the first instance to be a member again", WITHIN, || {
        let log = one.process.log();
        if log.matches("sink assigned").count() > 1 { Ok(()) } else { Err(one.process.log_tail()) }
    });
    world.settle();
    status_is("Confirmed");
    drop(two);
}

#[test]
fn of_two_instances_of_one_name_one_ends_and_says_where_the_other_is() {
    let world = World::new("name");
    let conference = world.conference(12, 40);
    let half = conference.records.len() / 2;
    world.send(&conference.records[..half]);
    let mut twins = [world.start("one").ready(), world.start("one")];
    world.send(&conference.records[half..]);
    // Each is thrown out and joins again, as after an outage, until one has been thrown out too often.
    let ended = harness::until("one of them to end", WITHIN, || {
        let ended = twins.iter_mut().position(|twin| twin.process.exited().is_some());
        ended.ok_or_else(|| "both go on".to_owned())
    });
    let code = twins[ended].process.exited().and_then(|status| status.code());
    let log = twins[ended].process.log();
    assert_eq!(code, Some(78), "{log}");
    let client_id = format!("`{}-one-", world.names.prefix);
    for needed in ["`one` is the name of another process, too", client_id.as_str(), "hint: give each"] {
        assert!(log.contains(needed), "no word of {needed}: {}", twins[ended].process.log_tail());
    }
    twins[1 - ended].await_ready();
    world.settle();
    world.org_becomes(&expected(&conference.records));
}

#[test]
fn a_broker_that_is_not_there_yet_is_waited_for() {
    let broker = harness::kafka().bootstrap().split(',').next().expect("one at least").to_owned();
    let gate = Gate::open_to(broker.parse().expect("an address"));
    let kafka = Connection { bootstrap: gate.address().to_string(), properties: Vec::new() };
    let world = World::with("broker", kafka, "");
    let conference = world.conference(13, 10);
    world.send(&conference.records);
    gate.shut();
    let rollbook = world.start("one");
    let waiting = |rollbook: &Rollbook| metric(&rollbook.metrics(), "rollbook_waiting", &["dependency=\"kafka\""]);
    harness::until("the wait to be visible", WITHIN, || {
        let answer = rollbook.get("/readyz")?;
        match (gate.refused(), answer.status, waiting(&rollbook)) {
            (1.., 503, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    gate.open();
    let _rollbook = rollbook.ready();
    world.settle();
    world.org_becomes(&expected(&conference.records));
}

#[test]
fn topics_that_would_lose_events_are_refused_with_what_to_change() {
    let world = World::new("topics");
    let topics = &world.names.topics;
    harness::create(&world.client(), &[&topics.state], harness::PARTITIONS, &[("cleanup.policy", "delete")]);
    harness::create(&world.client(), &[&topics.upserts], harness::PARTITIONS + 1, &[("cleanup.policy", "compact")]);
    let mut rollbook = world.start("one");
    let status = rollbook.process.wait(WITHIN).unwrap_or_else(|why| panic!("it runs on such topics: {why}"));
    let log = rollbook.process.log();
    assert_eq!(status.code(), Some(78), "{log}");
    for needed in [topics.state.as_str(), topics.upserts.as_str(), "cleanup.policy=compact", "partitions"] {
        assert!(log.contains(needed), "no word of {needed}: {log}");
    }
}
