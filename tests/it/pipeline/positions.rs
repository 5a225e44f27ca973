//! Nothing is passed over without a word: logs that lost records, topics made anew, inputs that grow, others in our
//! group, states that were wiped.

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use rollbook::route;
use rollbook::upsert::{Lane, ReadUpsert};
use serde_json::{Value, json};

use super::payload::record;
use super::world::{WITHIN, World, metric};
use crate::harness::{self, PARTITIONS, Record, Rollbook};

fn world(test: &str) -> (World, MemberKey) {
    let world = World::new(test);
    let member = MemberKey { campaign: world.campaign("Day"), person: world.lead("ann") };
    (world, member)
}

fn claps(world: &World, member: MemberKey, ids: std::ops::Range<usize>) -> Vec<Record> {
    ids.map(|id| record(world, EventKind::Reaction, member, &format!("clap-{id}"), &json!({}))).collect()
}

#[track_caller]
pub(super) fn claps_become(world: &World, count: f64) {
    harness::until(&format!("{count} claps in the org"), WITHIN, || {
        let rows = world.rows();
        let engagements = rows.iter().filter(|((object, _), _)| object == "UserSessionEngagement__c");
        let found: f64 =
            engagements.filter_map(|(_, row)| row.get("clap_clicked_count__c").and_then(Value::as_f64)).sum();
        #[expect(clippy::float_cmp, reason = "whole numbers")]
        if found == count { Ok(()) } else { Err(format!("{found}")) }
    });
}

fn passed_over(rollbook: &Rollbook, cause: &str) -> u64 {
    let labels = [format!("cause=\"{cause}\""), "topic=\"reactions\"".to_owned()];
    metric(&rollbook.metrics(), "rollbook_offsets_passed_over_total", &labels.each_ref().map(String::as_str))
}

#[track_caller]
pub(super) fn stop(mut rollbook: Rollbook) {
    rollbook.process.signal("TERM");
    let status = rollbook.process.wait(WITHIN).unwrap_or_else(|why| panic!("it does not end: {why}"));
    assert!(status.success(), "{}", rollbook.process.log_tail());
}

fn home(member: MemberKey) -> i32 {
    route::partition(&member.bytes(), PARTITIONS)
}

#[test]
fn what_was_deleted_before_it_was_read_is_counted_at_start_and_while_running() {
    let (world, member) = world("deleted");
    let (client, topic) = (world.client(), world.topic(EventKind::Reaction).to_owned());
    let rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 0..3));
    claps_become(&world, 3.0);
    stop(rollbook);
    harness::write(&client, &claps(&world, member, 3..8));
    harness::delete_below(&client, &topic, home(member), 6);
    let rollbook = world.start("one").ready();
    claps_become(&world, 5.0);
    harness::until("the gap to be counted", WITHIN, || match passed_over(&rollbook, "below_log_start") {
        3 => Ok(()),
        other => Err(format!("{other}")),
    });
    // While it runs, and is behind. The answer to a question that it had asked before may hold the first of these.
    rollbook.process.signal("STOP");
    harness::write(&client, &claps(&world, member, 8..9));
    harness::write(&client, &claps(&world, member, 9..13));
    harness::delete_below(&client, &topic, home(member), 12);
    rollbook.process.signal("CONT");
    let gone = harness::until("the gap to be counted", WITHIN, || match passed_over(&rollbook, "below_log_start") {
        all @ 6..=7 => Ok(all - 3),
        other => Err(format!("{other}")),
    });
    claps_become(&world, if gone == 3 { 7.0 } else { 6.0 });
    let status = rollbook.process.log();
    assert!(status.contains("records were passed over"), "{}", rollbook.process.log_tail());
    // What was said once is not said again, and shown until somebody has acknowledged it.
    stop(rollbook);
    let rollbook = world.start("one").ready();
    assert_eq!(passed_over(&rollbook, "below_log_start"), 0);
    let shown = |rollbook: &Rollbook| metric(&rollbook.metrics(), "rollbook_gaps_unacknowledged", &["below_log_start"]);
    let becomes = |count: u64| {
        harness::until("the gaps to be shown", WITHIN, || match shown(&rollbook) {
            found if found == count => Ok(()),
            other => Err(format!("{other}")),
        });
    };
    becomes(2);
    let (code, listed, _) = world.tool(&["gaps", "list"]);
    assert!(code == 0 && listed.contains("2 not acknowledged") && listed.contains("at most 3 records"), "{listed}");
    let (code, _, said) = world.tool(&["gaps", "ack", "gap/nowhere"]);
    assert!(code == 1 && said.contains("gap/nowhere"), "{said}");
    let (code, ..) = world.tool(&["gaps", "ack", "--all"]);
    assert_eq!((code, world.tool(&["gaps", "list"]).1.as_str()), (0, "0 not acknowledged\n"));
    becomes(0);
}

#[test]
fn a_partition_with_a_gap_is_held_alone_until_somebody_has_acknowledged_it() {
    let (mut world, ann) = world("held");
    world.fold = "on_gap = \"hold\"\n";
    let client = world.client();
    let others: Vec<MemberKey> = (0..10)
        .map(|number| MemberKey { campaign: ann.campaign, person: world.lead(&format!("bob-{number}")) })
        .collect();
    let bob = *others.iter().find(|bob| home(**bob) != home(ann)).expect("one of them lives elsewhere");
    let rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, ann, 0..2));
    claps_become(&world, 2.0);
    stop(rollbook);
    harness::write(&client, &[claps(&world, ann, 2..6), claps(&world, bob, 0..3)].concat());
    harness::delete_below(&client, world.topic(EventKind::Reaction), home(ann), 4);
    let held = |rollbook: &Rollbook| metric(&rollbook.metrics(), "rollbook_held_partitions", &[]);
    let rollbook = world.start("one").ready();
    claps_become(&world, 5.0);
    assert_eq!(held(&rollbook), 1);
    // Another start holds it, too.
    stop(rollbook);
    let rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, bob, 3..4));
    claps_become(&world, 6.0);
    assert_eq!(held(&rollbook), 1);
    assert_eq!(world.tool(&["gaps", "ack", "--all"]).0, 0);
    claps_become(&world, 8.0);
    assert_eq!(held(&rollbook), 0);
    // Acknowledged right after it was met, before anybody had looked whether its note stands.
    stop(rollbook);
    harness::write(&client, &claps(&world, ann, 6..9));
    harness::delete_below(&client, world.topic(EventKind::Reaction), home(ann), 8);
    let rollbook = world.start("one").ready();
    harness::until("the note of the gap", WITHIN, || match world.tool(&["gaps", "list"]).1 {
        listed if listed.contains("1 not acknowledged") => Ok(()),
        listed => Err(listed),
    });
    assert_eq!(world.tool(&["gaps", "ack", "--all"]).0, 0);
    claps_become(&world, 9.0);
    assert_eq!(held(&rollbook), 0);
}

#[test]
fn a_topic_that_was_made_anew_is_read_whole() {
    let (world, member) = world("remade");
    let (client, topic) = (world.client(), world.topic(EventKind::Reaction).to_owned());
    let settings = [("cleanup.policy", "delete")];
    let rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 0..2));
    claps_become(&world, 2.0);
    harness::remake(&client, &topic, PARTITIONS, &settings);
    // More than were read of the one before.
    harness::write(&client, &claps(&world, member, 2..7));
    claps_become(&world, 7.0);
    stop(rollbook);
    harness::remake(&client, &topic, PARTITIONS, &settings);
    harness::write(&client, &claps(&world, member, 7..17));
    let rollbook = world.start("one").ready();
    claps_become(&world, 17.0);
    assert!(rollbook.process.log().contains("topic_remade"), "{}", rollbook.process.log_tail());
}

#[test]
fn an_input_that_grows_is_read_whole_by_two_instances_and_what_divides_members_never_grows() {
    let (world, member) = world("grown");
    let client = world.client();
    let (one, two) = (world.start("one").ready(), world.start("two").ready());
    harness::write(&client, &claps(&world, member, 0..3));
    claps_become(&world, 3.0);
    harness::grow(&client, world.topic(EventKind::Reaction), 6);
    let everywhere = |(place, record): (i32, Record)| Record { partition: Some(place % 6), ..record };
    let spread: Vec<Record> = (0..).zip(claps(&world, member, 3..27)).map(everywhere).collect();
    harness::write(&client, &spread);
    claps_become(&world, 27.0);
    stop(two);
    harness::write(&client, &spread);
    world.settle();
    claps_become(&world, 27.0);
    stop(one);
    for topic in [&world.names.topics.resolved, &world.names.topics.state] {
        harness::grow(&client, topic, 4);
    }
    for topic in [&world.names.topics.upserts, &world.names.topics.bulk_jobs] {
        harness::grow(&client, topic, 4);
    }
    refused(&world, "born among 2 partitions");
}

/// Starts an instance that does not go on, and says why.
#[track_caller]
fn refused(world: &World, why: &str) {
    let mut rollbook = world.start("one");
    let status = rollbook.process.wait(WITHIN).unwrap_or_else(|why| panic!("it goes on: {why}"));
    assert_eq!(status.code(), Some(78), "{}", rollbook.process.log_tail());
    assert!(rollbook.process.log().contains(why), "{}", rollbook.process.log_tail());
}

#[test]
fn what_a_foreign_consumer_commits_in_our_group_is_read_all_the_same() {
    let (world, ann) = world("foreign");
    let client = world.client();
    let others: Vec<MemberKey> = (0..10)
        .map(|number| MemberKey { campaign: ann.campaign, person: world.lead(&format!("bob-{number}")) })
        .collect();
    let bob = *others.iter().find(|bob| home(**bob) != home(ann)).expect("one of them lives elsewhere");
    let port = harness::free_port();
    let config = world.config("one", port);
    let mut rollbook = Rollbook::start(&format!("{}-one", world.names.prefix), &config, port).ready();
    let topic = world.topic(EventKind::Reaction);
    harness::write(&client, &[claps(&world, ann, 0..2), claps(&world, bob, 0..2)].concat());
    claps_become(&world, 4.0);
    let mut foreign = client.clone();
    foreign.set("group.id", format!("{}-fold", world.names.prefix)).set("client.id", "console-consumer");
    foreign.set("partition.assignment.strategy", "range").set("enable.auto.commit", "false");
    foreign.set("auto.offset.reset", "latest");
    let foreign: BaseConsumer = foreign.create().expect("the settings are right");
    foreign.subscribe(&[topic]).expect("it subscribes");
    harness::until("the foreign member to have a partition", WITHIN, || {
        let _ = foreign.poll(std::time::Duration::from_millis(100));
        let assigned = foreign.assignment().map(|it| it.count());
        if assigned == Ok(1) { Ok(()) } else { Err(format!("{assigned:?}")) }
    });
    harness::write(&client, &[claps(&world, ann, 2..12), claps(&world, bob, 2..12)].concat());
    let mut read = 0;
    harness::until("the foreign member to have read", WITHIN, || {
        while let Some(Ok(_)) = foreign.poll(std::time::Duration::from_millis(100)) {
            read += 1;
        }
        if read == 10 { Ok(()) } else { Err(format!("{read}")) }
    });
    foreign.commit_consumer_state(CommitMode::Sync).expect("the group takes it");
    harness::until("somebody to say who it is", WITHIN, || {
        let _ = foreign.poll(std::time::Duration::from_millis(100));
        if rollbook.process.log().contains("console-consumer") { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
    assert!(rollbook.process.exited().is_none(), "{}", rollbook.process.log_tail());
    let config = config.to_str().expect("UTF-8");
    let (code, _, stderr) = world.tool(&["status", "--wait-idle", "--timeout", "3s", "--config", config]);
    assert!(code == 5 && stderr.contains("console-consumer at "), "{code}: {stderr}");
    drop(foreign);
    claps_become(&world, 24.0);
    assert!(rollbook.process.log().contains("foreign_commit"), "{}", rollbook.process.log_tail());
    // What is read for a gap holds up nobody's row.
    let rows = harness::read(&client, &world.names.topics.upserts);
    let rows = rows.iter().filter_map(|record| ReadUpsert::decode(record.value.as_deref()?).ok());
    assert!(rows.filter_map(|row| row.lane).any(|lane| lane == Lane::Backfill));
}

#[test]
fn a_state_that_was_wiped_refuses_the_start_until_the_offsets_go_too() {
    let (world, member) = world("wiped");
    let client = world.client();
    let rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 0..5));
    claps_become(&world, 5.0);
    stop(rollbook);
    harness::delete_topic(&client, &world.names.topics.state);
    refused(&world, "Rebuilding the state");
    harness::delete_group(&client, &format!("{}-fold", world.names.prefix));
    let _rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 5..6));
    claps_become(&world, 6.0);
}

/// Whoever runs has the states in memory, and goes on to write what changes of them.
#[test]
fn a_state_that_is_made_anew_while_it_is_written_ends_the_instance_and_refuses_each_start() {
    let (world, member) = world("remade-state");
    let (client, state) = (world.client(), world.names.topics.state.clone());
    let mut rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 0..5));
    claps_become(&world, 5.0);
    let settings = [("cleanup.policy", "compact"), ("max.message.bytes", "10485760")];
    harness::remake(&client, &state, PARTITIONS, &settings);
    // Some of it is committed into the new one, perhaps.
    harness::write(&client, &claps(&world, member, 5..6));
    let ended = harness::until("the instance to end", WITHIN, || {
        rollbook.process.exited().ok_or_else(|| rollbook.process.log_tail())
    });
    assert_eq!(ended.code(), Some(78), "{}", rollbook.process.log_tail());
    refused(&world, "Rebuilding the state");
    refused(&world, "Rebuilding the state");
    harness::remake(&client, &state, PARTITIONS, &settings);
    harness::delete_group(&client, &format!("{}-fold", world.names.prefix));
    let _rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 6..7));
    claps_become(&world, 7.0);
}

#[test]
fn upserts_that_were_made_anew_are_read_whole_and_said() {
    let (world, member) = world("upserts");
    let (client, upserts) = (world.client(), world.names.topics.upserts.clone());
    let rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 0..1));
    claps_become(&world, 1.0);
    stop(rollbook);
    let settings = [("cleanup.policy", "compact"), ("max.message.bytes", "10485760")];
    harness::remake(&client, &upserts, PARTITIONS, &settings);
    let rollbook = world.start("one").ready();
    harness::until("the gap to be shown", WITHIN, || {
        let labels = ["topic=\"upserts\"", "topic_remade"];
        match metric(&rollbook.metrics(), "rollbook_gaps_unacknowledged", &labels) {
            0 => Err(rollbook.process.log_tail()),
            _ => Ok(()),
        }
    });
    harness::write(&client, &claps(&world, member, 1..2));
    claps_become(&world, 2.0);
}

#[test]
fn rows_that_were_read_are_written_though_the_upserts_are_made_anew_meanwhile() {
    let (world, member) = world("upserts-running");
    let (client, upserts) = (world.client(), world.names.topics.upserts.clone());
    let rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 0..1));
    claps_become(&world, 1.0);
    world.salesforce.shut();
    harness::write(&client, &claps(&world, member, 1..2));
    harness::until("a row to wait", WITHIN, || match metric(&rollbook.metrics(), "rollbook_sink_pending_rows", &[]) {
        0 => Err(rollbook.process.log_tail()),
        _ => Ok(()),
    });
    let settings = [("cleanup.policy", "compact"), ("max.message.bytes", "10485760")];
    harness::remake(&client, &upserts, PARTITIONS, &settings);
    harness::until("the gap to be shown", WITHIN, || {
        let labels = ["topic=\"upserts\"", "topic_remade"];
        match metric(&rollbook.metrics(), "rollbook_gaps_unacknowledged", &labels) {
            0 => Err(rollbook.process.log_tail()),
            _ => Ok(()),
        }
    });
    world.salesforce.open();
    // The new topic has no row of it.
    claps_become(&world, 2.0);
    harness::write(&client, &claps(&world, member, 2..3));
    claps_become(&world, 3.0);
    harness::until("all outcomes", WITHIN, || match metric(&rollbook.metrics(), "rollbook_sink_pending_rows", &[]) {
        0 => Ok(()),
        rows => Err(format!("{rows} rows")),
    });
}

#[test]
fn a_row_of_upserts_that_are_deleted_has_its_letter_before_the_process_ends() {
    let (world, member) = world("upserts-deleted");
    let rollbook = world.start("one").ready();
    world.salesforce.shut();
    harness::write(&world.client(), &claps(&world, member, 0..1));
    harness::until("a row to wait", WITHIN, || match metric(&rollbook.metrics(), "rollbook_sink_pending_rows", &[]) {
        0 => Err(rollbook.process.log_tail()),
        _ => Ok(()),
    });
    let rows = harness::read(&world.client(), &world.names.topics.upserts).len();
    harness::delete_topic(&world.client(), &world.names.topics.upserts);
    stop(rollbook);
    let letters = world.dead_letters();
    assert!(rows > 0 && letters.len() == rows, "{rows} rows, {} letters", letters.len());
    assert!(letters.iter().all(|letter| letter.reason == "log_gone"), "nobody else has refused them");
}

#[test]
fn offsets_of_an_earlier_build_get_stamps_also_where_nothing_moves() {
    let (world, member) = world("unstamped");
    let (client, upserts) = (world.client(), world.names.topics.upserts.clone());
    let rollbook = world.start("one").ready();
    harness::write(&client, &claps(&world, member, 0..1));
    claps_become(&world, 1.0);
    stop(rollbook);
    let mut group = client.clone();
    group.set("group.id", format!("{}-sink", world.names.prefix)).set("enable.auto.commit", "false");
    let group: BaseConsumer = group.create().expect("the settings are right");
    let all = || {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&upserts, 0, PARTITIONS - 1);
        group.committed_offsets(list, WITHIN).expect("the group answers")
    };
    // As a build commits that has no stamps: everything that was read.
    let stamped = all();
    let mut unstamped = TopicPartitionList::new();
    for element in stamped.elements() {
        let offset = if let Offset::Offset(offset) = element.offset() { offset } else { 0 };
        unstamped.add_partition_offset(&upserts, element.partition(), Offset::Offset(offset)).expect("it is no mark");
    }
    harness::delete_group(&client, &format!("{}-sink", world.names.prefix));
    group.commit(&unstamped, CommitMode::Sync).expect("nobody is a member");
    assert!(all().elements().iter().all(|element| element.metadata().is_empty()));
    let notes = (0..PARTITIONS).map(|partition| format!("stamped/sink/{partition}"));
    let gone: Vec<Record> = notes
        .map(|key| Record {
            partition: Some(0),
            key: Some(key.into_bytes()),
            value: None,
            ..Record::new(&world.names.topics.notes, "", "")
        })
        .collect();
    harness::write(&client, &gone);
    for _ in 0..2 {
        let rollbook = world.start("one").ready();
        harness::until("every offset to have a stamp", WITHIN, || {
            let found: Vec<String> = all().elements().iter().map(|it| it.metadata().to_owned()).collect();
            if found.iter().all(|it| it.starts_with("rollbook ")) { Ok(()) } else { Err(format!("{found:?}")) }
        });
        let labels = ["topic=\"upserts\"", "cause=\"foreign_commit\""];
        assert_eq!(metric(&rollbook.metrics(), "rollbook_gaps_unacknowledged", &labels), 0);
        assert!(!rollbook.process.log().contains("foreign_commit"), "{}", rollbook.process.log_tail());
        stop(rollbook);
    }
}

#[test]
fn the_mark_of_a_transaction_that_retention_took_is_no_gap() {
    let (world, member) = world("marks");
    let (client, topic) = (world.client(), world.topic(EventKind::Reaction).to_owned());
    let rollbook = world.start("one").ready();
    let mut producer = client.clone();
    producer.set("transactional.id", format!("{}-producer", world.names.prefix));
    let producer: BaseProducer = producer.create().expect("the settings are right");
    producer.init_transactions(WITHIN).expect("the broker answers");
    producer.begin_transaction().expect("none is open");
    for clap in claps(&world, member, 0..2) {
        let (key, value) = (clap.key.expect("claps have keys"), clap.value.expect("claps have values"));
        let record = BaseRecord::to(&topic).partition(home(member)).key(&key).payload(&value);
        producer.send(record).expect("it has room");
    }
    producer.commit_transaction(WITHIN).expect("the broker takes it");
    claps_become(&world, 2.0);
    let mut group = client.clone();
    group.set("group.id", format!("{}-fold", world.names.prefix)).set("enable.auto.commit", "false");
    let group: BaseConsumer = group.create().expect("the settings are right");
    harness::until("the place behind the mark to be committed", WITHIN, || {
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, home(member));
        let found = group.committed_offsets(list, WITHIN).expect("the group answers").elements()[0].offset();
        if found == Offset::Offset(3) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    harness::delete_below(&client, &topic, home(member), 3);
    stop(rollbook);
    let rollbook = world.start("one").ready();
    assert_eq!(passed_over(&rollbook, "below_log_start"), 0);
    harness::write(&client, &claps(&world, member, 2..3));
    claps_become(&world, 3.0);
    assert!(!rollbook.process.log().contains("below_log_start"), "{}", rollbook.process.log_tail());
}
