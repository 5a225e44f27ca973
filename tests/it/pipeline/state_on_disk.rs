//! States on disk, end to end: what is read at a start, what memory has no room for, and disks that are not believed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rollbook::demo::conference::{Conference, Record};
use rollbook::store::{Disk, Identity};

use super::conference::{org_equals_the_reference, storm};
use super::world::{Connection, WITHIN, World, metric};
use crate::damage::{damage, files};
use crate::harness::{self, PARTITIONS, Rollbook};

/// A world whose states go to this folder.
pub fn world(test: &str, folder: &Path, memory_max: &str) -> World {
    let kafka = Connection { bootstrap: harness::kafka().bootstrap().to_owned(), properties: Vec::new() };
    // A folder for states that is open to others is refused.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("the folder is ours");
    let dir = folder.display();
    let state = format!("[state]\ndir = \"{dir}\"\nmemory_max = \"{memory_max}\"\nsave_interval = \"100ms\"\n");
    World::with(test, kafka, &state)
}

fn records_in(world: &World, topic: &str) -> usize {
    harness::read(&world.client(), topic).len()
}

fn stop(mut rollbook: Rollbook) {
    rollbook.process.signal("TERM");
    let status = rollbook.process.wait(WITHIN).unwrap_or_else(|why| panic!("SIGTERM: {why}"));
    assert!(status.success(), "{status}\n{}", rollbook.process.log_tail());
}

fn of_state(rollbook: &Rollbook, name: &str) -> u64 {
    metric(&rollbook.metrics(), &format!("rollbook_state_{name}"), &[])
}

/// Most of it, and three more pieces of about the same size.
fn parts(records: &[Record]) -> [&[Record]; 4] {
    let (first, rest) = records.split_at(records.len() * 7 / 10);
    let (second, rest) = rest.split_at(rest.len() / 3);
    let (third, fourth) = rest.split_at(rest.len() / 2);
    [first, second, third, fourth]
}

#[test]
fn a_restart_reads_only_what_has_changed_since() {
    let folder = tempfile::tempdir().unwrap();
    let world = world("disk-restart", folder.path(), "1GiB");
    let conference = world.conference(31, 200);
    let last = conference.records.len() - 60;
    let (first, rest) = conference.records.split_at(last);
    let (second, third) = rest.split_at(30);
    world.send(first);
    let rollbook = world.start("one").ready();
    world.settle();
    // The commit of these saves what the others made.
    world.send(second);
    world.settle();
    stop(rollbook);
    let (states, rows) =
        (records_in(&world, &world.names.topics.state), records_in(&world, &world.names.topics.upserts));
    let rollbook = world.start("one").ready();
    let restored = of_state(&rollbook, "restored_records_total");
    assert!(restored * 4 < states as u64, "{restored} of {states} were read");
    assert_eq!(records_in(&world, &world.names.topics.upserts), rows, "nothing is sent again");
    assert_eq!(of_state(&rollbook, "loaded_members_total"), 0);
    world.send(third);
    org_equals_the_reference(&world, &conference);
}

#[test]
fn states_that_memory_has_no_room_for_go_to_disk_and_rows_are_right() {
    const SEED: u64 = 32;
    let folder = tempfile::tempdir().unwrap();
    let world = world("disk-small", folder.path(), "200KiB");
    let conference = world.conference(SEED, 1_500);
    let rollbook = world.start("one").ready();
    world.send(&storm(SEED, &conference));
    org_equals_the_reference(&world, &conference);
    let [evicted, loaded] = ["evicted_members_total", "loaded_members_total"].map(|it| of_state(&rollbook, it));
    assert!(evicted > 1_000 && loaded > 100, "{evicted} went and {loaded} came");
    let memory = of_state(&rollbook, "memory_bytes");
    assert!(memory < 400 << 10, "{memory} bytes");
}

#[test]
fn a_process_that_is_killed_finds_its_disk_again() {
    const SEED: u64 = 33;
    let folder = tempfile::tempdir().unwrap();
    let world = world("disk-kill", folder.path(), "100KiB");
    let conference = world.conference(SEED, 200);
    let records = storm(SEED, &conference);
    let mut restored = 0;
    for part in parts(&records) {
        let mut rollbook = world.start("one").ready();
        restored = of_state(&rollbook, "restored_records_total");
        let calls = world.saves();
        world.send(part);
        harness::until("some rows in the org", WITHIN, || {
            let now = world.saves();
            if now > calls + 1 { Ok(()) } else { Err(format!("{now} calls")) }
        });
        rollbook.process.kill();
    }
    let states = records_in(&world, &world.names.topics.state);
    let _rollbook = world.start("one").ready();
    org_equals_the_reference(&world, &conference);
    assert!(restored < states as u64, "{restored} of {states}");
}

#[test]
fn a_torn_disk_is_rebuilt_from_the_changelog() {
    const SEED: u64 = 34;
    let folder = tempfile::tempdir().unwrap();
    let world = world("disk-torn", folder.path(), "100KiB");
    let conference = world.conference(SEED, 200);
    let records = storm(SEED, &conference);
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut done = Vec::new();
    for part in parts(&records) {
        let rollbook = world.start("one").ready();
        world.send(part);
        world.settle();
        stop(rollbook);
        let files = files(folder.path());
        let file = &files[rng.usize(..files.len())];
        done.push(damage(&mut rng, file));
    }
    println!("{done:#?}");
    let _rollbook = world.start("one").ready();
    // Every member is touched.
    world.send(&conference.records);
    org_equals_the_reference(&world, &conference);
}

#[test]
fn damage_that_only_reading_finds_is_rebuilt_from_the_changelog() {
    const SEED: u64 = 35;
    let folder = tempfile::tempdir().unwrap();
    let world = world("disk-blocks", folder.path(), "100KiB");
    let conference = world.conference(SEED, 200);
    let rollbook = world.start("one").ready();
    world.send(&storm(SEED, &conference));
    world.settle();
    stop(rollbook);
    spoil(&world, folder.path());
    let rollbook = world.start("one").ready();
    world.send(&conference.records);
    org_equals_the_reference(&world, &conference);
    let log = rollbook.process.log();
    assert!(log.contains("all of them are read from the changelog"), "{log}");
}

/// Puts something in the place of every member's state.
fn spoil(world: &World, folder: &Path) {
    let client: BaseConsumer = world.client().set("group.id", "it-cluster").create().expect("the settings are right");
    let cluster = client.client().fetch_cluster_id(WITHIN).expect("the broker answers");
    let identity = Identity { cluster, topic: world.names.topics.state.clone() };
    let disk = Disk::open(folder, &world.names.prefix, PARTITIONS).unwrap();
    for partition in 0..PARTITIONS {
        let (shelf, marker) = disk.shelf(partition, &identity, 0).unwrap();
        assert!(marker.is_some(), "states were saved");
        let keys = shelf.members(b"", b"", usize::MAX).unwrap();
        assert!(!keys.is_empty(), "members are on disk");
        shelf.save(keys.iter().map(|key| (&key[..], &b"no state"[..])), None).unwrap();
    }
}

/// What the fold has seen is sent again and must be new to it: the states on disk are of another topic.
fn is_not_believed(world: &World, conference: &Conference) {
    let rollbook = world.start("one").ready();
    assert_eq!(of_state(&rollbook, "restored_records_total"), 0);
    world.send(&conference.records);
    org_equals_the_reference(world, conference);
    assert!(records_in(world, &world.names.topics.state) > 100, "states are written again");
}

#[test]
fn a_disk_of_another_topic_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world("disk-foreign", folder.path(), "100KiB");
    let conference = world.conference(36, 100);
    let rollbook = world.start("one").ready();
    world.send(&conference.records);
    world.settle();
    stop(rollbook);
    world.names.topics.state.push_str("-new");
    // Else the states count as wiped.
    harness::delete_group(&world.client(), &format!("{}-fold", world.names.prefix));
    is_not_believed(&world, &conference);
}

#[test]
fn a_disk_that_knows_more_than_the_topic_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let world = world("disk-recreated", folder.path(), "100KiB");
    let conference = world.conference(37, 100);
    let rollbook = world.start("one").ready();
    let [first, rest @ ..] = parts(&conference.records);
    world.send(first);
    world.settle();
    for part in rest {
        world.send(part);
        world.settle();
    }
    stop(rollbook);
    let state = &world.names.topics.state;
    harness::delete_topic(&world.client(), state);
    harness::delete_group(&world.client(), &format!("{}-fold", world.names.prefix));
    is_not_believed(&world, &conference);
}
