//! A whole conference through the pipeline, under disorder, rebalances and kills: the org ends up the same.

use std::collections::{BTreeMap, BTreeSet};

use rollbook::dead_letter::Stage;
use rollbook::demo::conference::{Conference, Feed, Record};
use rollbook::demo::reference::expected;
use rollbook::outcome::Outcome;

use super::world::{Connection, WITHIN, World, metric};
use crate::harness::{self, Rollbook};

const MEMBERS: usize = 200;

/// A later copy of every third record, and all events in a random order. Statements of the catalogue keep theirs:
/// between a statement and its tombstone the order of the partition decides.
pub fn storm(seed: u64, conference: &Conference) -> Vec<Record> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut events, sessions): (Vec<Record>, Vec<Record>) =
        conference.records.iter().cloned().partition(|record| record.feed != Feed::Sessions);
    let again: Vec<Record> = events.iter().filter(|_| rng.u8(0..3) == 0).cloned().collect();
    events.extend(again);
    rng.shuffle(&mut events);
    let mut sessions = sessions.into_iter();
    let every = events.len() / sessions.len().max(1) + 1;
    let mut records = Vec::new();
    for chunk in events.chunks(every) {
        records.extend(chunk.iter().cloned());
        records.extend(sessions.next());
    }
    records.extend(sessions);
    records
}

#[track_caller]
pub fn org_equals_the_reference(world: &World, conference: &Conference) {
    world.settle();
    world.org_becomes(&expected(&conference.records));
}

/// Dead letters of the fold are in its transactions: one for each refused record, however often it was read.
#[track_caller]
fn every_refused_record_is_one_dead_letter(world: &World, conference: &Conference) {
    let letters = world.dead_letters();
    let of_records = letters.iter().filter(|letter| letter.stage == Stage::Fold && letter.object.is_none());
    let mut found = BTreeMap::new();
    let mut places = BTreeSet::new();
    for letter in of_records {
        let place = (letter.topic.as_str(), letter.partition, letter.offset);
        assert!(places.insert(place), "two dead letters of {place:?}");
        *found.entry(letter.reason.as_str()).or_insert(0) += 1;
    }
    let refused: BTreeMap<&str, u64> =
        conference.refused.iter().map(|(reason, count)| (reason.code(), *count)).collect();
    assert_eq!(found, refused);
}

#[test]
fn a_storm_of_disorder_and_duplicates_leaves_the_org_of_the_reference_fold() {
    const SEED: u64 = 20_260_601;
    let world = World::new("storm");
    let conference = world.conference(SEED, MEMBERS);
    let records = storm(SEED, &conference);
    world.send(&records);
    let rollbook = world.start("one").ready();
    org_equals_the_reference(&world, &conference);
    every_record_has_one_outcome(&rollbook.metrics(), &records, &conference);
    every_upsert_has_one_outcome(&world);
}

/// consumed = changed + unchanged + ignored + refused, where a record in the wrong partition is counted where its
/// copy stands.
fn every_record_has_one_outcome(metrics: &str, sent: &[Record], conference: &Conference) {
    let outcome = |outcome: &str| metric(metrics, "rollbook_records_total", &[&format!("outcome=\"{outcome}\"")]);
    let consumed = metric(metrics, "rollbook_records_consumed_total", &[]);
    let rerouted = outcome("rerouted");
    assert!(rerouted > 0, "some records stood in a wrong partition");
    assert_eq!(consumed, u64::try_from(sent.len()).expect("few") + rerouted);
    let judged = ["changed", "unchanged", "ignored", "refused"].map(outcome);
    assert_eq!(consumed - rerouted, judged.iter().sum::<u64>());
    let [_, unchanged, ignored, refused] = judged;
    assert!(unchanged > 0, "duplicates change nothing");
    let at_least = |counts: u64, least: u64, what: &str| assert!(counts >= least, "{what}: {counts} of {least}");
    at_least(ignored, conference.ignored.values().sum(), "ignored");
    at_least(refused, conference.refused.values().sum(), "refused");
}

fn every_upsert_has_one_outcome(world: &World) {
    let place =
        |record: &harness::Record| (record.partition.expect("it was read"), record.offset.expect("it was read"));
    let upserts: BTreeSet<(i32, i64)> =
        harness::read(&world.client(), &world.names.topics.upserts).iter().map(place).collect();
    let mut answered = BTreeSet::new();
    for record in harness::read(&world.client(), &world.names.topics.outcomes) {
        let value = record.value.expect("an outcome has a value");
        let outcome = Outcome::decode(&value).expect("it is of this version");
        let upsert = (outcome.upsert_partition, outcome.upsert_offset);
        assert!(answered.insert(upsert), "a second outcome of the upsert at {upsert:?}");
    }
    assert_eq!(answered, upserts);
}

#[test]
fn two_instances_share_the_partitions_and_hand_them_over() {
    const SEED: u64 = 2;
    let world = World::new("rebalance");
    let conference = world.conference(SEED, MEMBERS);
    let (first, rest) = conference.records.split_at(conference.records.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    world.send(first);
    let mut one = world.start("one").ready();
    // The first instance is at work when the second one joins.
    world.send(second);
    let two = world.start("two").ready();
    let assigned = |rollbook: &Rollbook| metric(&rollbook.metrics(), "rollbook_assigned_partitions", &[]);
    harness::until("the partitions to be shared", WITHIN, || match (assigned(&one), assigned(&two)) {
        (1, 1) => Ok(()),
        other => Err(format!("assigned: {other:?}")),
    });
    world.send(third);
    one.process.signal("TERM");
    let status = one.process.wait(WITHIN).unwrap_or_else(|why| panic!("SIGTERM: {why}"));
    assert!(status.success(), "an orderly end is a success: {status}\n{}", one.process.log_tail());
    org_equals_the_reference(&world, &conference);
    every_refused_record_is_one_dead_letter(&world, &conference);
    assert_eq!(assigned(&two), 2);
}

#[test]
fn a_process_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    const SEED: u64 = 9;
    let world = World::new("kill");
    let conference = world.conference(SEED, MEMBERS);
    let slices: Vec<&[Record]> = conference.records.chunks(conference.records.len() / 5 + 1).collect();
    let mut outcomes = 0;
    for slice in slices {
        world.send(slice);
        let mut rollbook = world.start("one");
        // Killed once some of the slice has reached the org, so in the middle of the rest.
        harness::until("some rows of the slice in the org", WITHIN, || {
            if let Some(status) = rollbook.process.exited() {
                panic!("it ended by itself: {status}\n{}", rollbook.process.log_tail());
            }
            let now = world.saves();
            if now > outcomes { Ok(()) } else { Err(format!("{now} calls")) }
        });
        rollbook.process.kill();
        outcomes = world.saves();
    }
    let _rollbook = world.start("one").ready();
    org_equals_the_reference(&world, &conference);
    every_refused_record_is_one_dead_letter(&world, &conference);
}

#[test]
fn a_killed_instance_is_replaced_by_the_one_that_is_left() {
    let world = World::new("left");
    let conference = world.conference(4, MEMBERS / 2);
    let (first, rest) = conference.records.split_at(conference.records.len() / 2);
    let mut one = world.start("one").ready();
    let _two = world.start("two").ready();
    world.send(first);
    one.process.kill();
    world.send(rest);
    org_equals_the_reference(&world, &conference);
}

#[test]
fn a_listener_with_tls_and_a_password_is_served_like_any_other() {
    let secure = harness::sasl_ssl();
    for user in [harness::SCRAM, harness::PLAIN] {
        let connection = Connection { bootstrap: secure.bootstrap.clone(), properties: secure.properties(user) };
        let world = World::with("secure", connection, "");
        let conference = world.conference(3, 20);
        world.send(&conference.records);
        let rollbook = world.start("one").ready();
        org_equals_the_reference(&world, &conference);
        assert!(!rollbook.process.log().contains(user.password), "the password is in the log");
    }
}
