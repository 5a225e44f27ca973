//! Partitions that change hands while events flow, by either group protocol: one comes, leaves, is killed, is frozen.

use std::collections::BTreeSet;

use rollbook::demo::conference::Conference;
use rollbook::demo::reference::expected;

use super::world::{WITHIN, World};
use crate::harness::{self, Rollbook};

fn world(test: &str, group_protocol: &'static str) -> World {
    let mut world = World::new(&format!("{test}-{group_protocol}"));
    world.group_protocol = group_protocol;
    world
}

#[test]
fn classic_whoever_comes_leaves_or_is_killed_the_answer_is_the_same() {
    comings_and_goings(&world("goings", "classic"));
}

#[test]
fn consumer_whoever_comes_leaves_or_is_killed_the_answer_is_the_same() {
    comings_and_goings(&world("goings", "consumer"));
}

#[test]
fn classic_a_frozen_instance_that_wakes_up_changes_nothing() {
    frozen_and_awake(&world("frozen", "classic"));
}

#[test]
fn consumer_a_frozen_instance_that_wakes_up_changes_nothing() {
    frozen_and_awake(&world("frozen", "consumer"));
}

#[test]
fn a_group_changes_its_protocol_one_instance_at_a_time() {
    let mut world = world("changes", "classic");
    let conference = world.conference(24, 60);
    let mut chunks = conference.records.chunks(conference.records.len() / 3 + 1);
    let mut one = world.start("one").ready();
    world.send(chunks.next().expect("there are three"));
    world.group_protocol = "consumer";
    let two = world.start("two").ready();
    says(&two, "one partition", || partitions(&two).len() == 1);
    says(&one, "the other one", || partitions(&one).len() == 1);
    world.send(chunks.next().expect("there are three"));
    one.process.signal("TERM");
    let status = one.process.wait(WITHIN).unwrap_or_else(|why| panic!("it does not leave: {why}"));
    assert!(status.success(), "{}", one.process.log_tail());
    let one = world.start("one").ready();
    says(&one, "its partition", || partitions(&one).len() == 1);
    world.send(chunks.next().expect("there are three"));
    right(&world, &conference);
}

fn comings_and_goings(world: &World) {
    let conference = world.conference(21, 60);
    let mut chunks = conference.records.chunks(conference.records.len() / 5 + 1);
    let mut send = || world.send(chunks.next().expect("there are five"));
    let one = world.start("one").ready();
    says(&one, "both partitions", || partitions(&one).len() == 2);
    send();
    let mut two = world.start("two").ready();
    says(&one, "one partition", || partitions(&one).len() == 1);
    says(&two, "the other one", || partitions(&two).len() == 1);
    assert!(partitions(&one).is_disjoint(&partitions(&two)), "every partition has one owner");
    send();
    two.process.signal("TERM");
    let status = two.process.wait(WITHIN).unwrap_or_else(|why| panic!("it does not leave: {why}"));
    assert!(status.success(), "{}", two.process.log_tail());
    send();
    says(&one, "what the second one left", || partitions(&one).len() == 2);
    let mut three = world.start("three").ready();
    says(&three, "one partition", || partitions(&three).len() == 1);
    send();
    three.process.kill();
    send();
    says(&one, "what the killed one had", || partitions(&one).len() == 2);
    right(world, &conference);
}

fn frozen_and_awake(world: &World) {
    let conference = world.conference(22, 60);
    let thirds = conference.records.len() / 3;
    let one = world.start("one").ready();
    world.send(&conference.records[..thirds]);
    world.settle();
    // Still a member of the group, with partitions and perhaps an open transaction, and not heard of any more.
    one.process.signal("STOP");
    world.send(&conference.records[thirds..2 * thirds]);
    let two = world.start("two").ready();
    world.settle();
    one.process.signal("CONT");
    world.send(&conference.records[2 * thirds..]);
    says(&one, "the first instance to be a member again", || partitions(&one).len() == 1);
    right(world, &conference);
    drop(two);
}

#[track_caller]
fn right(world: &World, conference: &Conference) {
    world.settle();
    world.org_becomes(&expected(&conference.records));
}

#[track_caller]
fn says(instance: &Rollbook, what: &str, holds: impl Fn() -> bool) {
    harness::until(what, WITHIN, || if holds() { Ok(()) } else { Err(instance.process.log_tail()) });
}

/// What the fold owns, by its log: what it said last of its assignment.
fn partitions(instance: &Rollbook) -> BTreeSet<i32> {
    let mut owned = BTreeSet::new();
    for line in instance.process.log().lines().filter(|line| line.contains("thread=fold-0")) {
        let Some((_, list)) = line.split_once("partitions={") else { continue };
        let list = list.split('}').next().unwrap_or_default();
        let numbers = list.split(", ").filter_map(|number| number.parse::<i32>().ok());
        if line.contains("partitions assigned") {
            owned = numbers.collect();
        } else if line.contains("partitions revoked") {
            numbers.for_each(|number| {
                owned.remove(&number);
            });
        }
    }
    owned
}
