//! Re-keyed records outlive the retention of their topic for as long as that says, however old their events are: they
//! have the time of writing. With the first record's time a broker deletes them before they are read.
//!
//! Ten minutes of it in seconds, on a broker that looks twice a second for what to delete.

use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use rollbook::route;
use serde_json::json;

use super::payload::record;
use super::positions::{claps_become, stop};
use super::world::{Connection, WITHIN, World, metric};
use crate::harness::{self, Node, PARTITIONS, Record, Rollbook};

const BROKER: &str = "log.retention.ms=-1\nlog.retention.check.interval.ms=500\nlog.initial.task.delay.ms=100\nlog.cleaner.backoff.ms=1000\n";
/// Of the re-keyed records.
const RETENTION_MS: i64 = 15_000;
const THIRTY_DAYS_MS: i64 = 30 * 24 * 60 * 60 * 1000;

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(now.as_millis()).expect("it is this millennium")
}

/// Claps of thirty days ago, where their member is not at home.
fn strays(world: &World, member: MemberKey, ids: std::ops::Range<usize>) -> Vec<Record> {
    let away = 1 - home(member);
    let of = |id| record(world, EventKind::Reaction, member, &format!("clap-{id}"), &json!({}));
    ids.map(|id| Record { partition: Some(away), timestamp: Some(now() - THIRTY_DAYS_MS), ..of(id) }).collect()
}

fn home(member: MemberKey) -> i32 {
    route::partition(&member.bytes(), PARTITIONS)
}

/// Waits until the broker has deleted a record of this age from a topic with the same retention. It is written as ours
/// are, in a transaction.
fn await_deletion(world: &World, marker: &str, timestamp: i64) {
    let mut client = world.client();
    client.set("transactional.id", format!("{marker}-{timestamp}"));
    let producer: BaseProducer = client.create().expect("the settings are right");
    producer.init_transactions(WITHIN).expect("the broker answers");
    producer.begin_transaction().expect("none is open");
    let reader: BaseConsumer = world.client().create().expect("the settings are right");
    // Asked for before the record is there: the transaction's own marker comes some time after the commit's answer.
    let written = reader.fetch_watermarks(marker, 0, WITHIN).expect("the broker answers").1;
    let record = BaseRecord::to(marker).key("marker").payload("marker").timestamp(timestamp);
    producer.send(record).expect("it has room");
    producer.commit_transaction(WITHIN).expect("the broker takes it");
    harness::until("retention to delete the marker", WITHIN, || {
        let (start, end) = reader.fetch_watermarks(marker, 0, WITHIN).map_err(|error| error.to_string())?;
        if start > written { Ok(()) } else { Err(format!("{start} of {end}")) }
    });
}

#[test]
fn what_is_re_keyed_of_old_events_is_not_deleted_before_it_is_read() {
    let folder = harness::folder().join("retention");
    let mut node = Node::format(&folder, BROKER).unwrap_or_else(|why| panic!("{why}"));
    node.start().and_then(|()| node.await_answer()).unwrap_or_else(|why| panic!("{why}"));
    let world = World::with("retention", Connection { bootstrap: node.bootstrap(), properties: Vec::new() }, "");
    let member = MemberKey { campaign: world.campaign("Day"), person: world.lead("ann") };
    let (client, resolved) = (world.client(), world.names.topics.resolved.clone());
    let marker = format!("{}-marker", world.names.prefix);
    let retention = RETENTION_MS.to_string();
    harness::create(&client, &[&marker], 1, &[("retention.ms", &retention)]);
    stop(world.start("one").ready());
    let settings = [("cleanup.policy", "delete"), ("max.message.bytes", "4194304"), ("retention.ms", &retention)];
    harness::alter(&client, &resolved, &settings);
    // The fold is stopped for longer than re-keyed records are kept.
    harness::write(&client, &strays(&world, member, 0..5));
    await_deletion(&world, &marker, now());
    let (one, two) = (world.start("one").ready(), world.start("two").ready());
    claps_become(&world, 5.0);
    // Whoever owns the member does not read what the other re-keys, until retention has come by.
    let at_home = [format!("partition=\"{}\"", home(member)), "topic=\"resolved\"".to_owned()];
    let owns = |it: &Rollbook| {
        metric(&it.metrics(), "rollbook_consumer_lag_known", &at_home.each_ref().map(String::as_str)) == 1
    };
    let owner = harness::until("an owner", WITHIN, || {
        [&one, &two].into_iter().find(|it| owns(it)).ok_or_else(|| "none".to_owned())
    });
    owner.process.signal("STOP");
    // From here on nothing is to be waited for but the deletion of what is thirty days old, however busy the machine is.
    let longer = [("cleanup.policy", "delete"), ("max.message.bytes", "4194304"), ("retention.ms", "600000")];
    harness::alter(&client, &resolved, &longer);
    harness::alter(&client, &marker, &longer);
    harness::write(&client, &strays(&world, member, 5..12));
    let stands = |id: usize| format!("\"clap-{id}\"");
    let there = || {
        let records = harness::read(&client, &resolved);
        let values: Vec<_> = records.iter().filter_map(|it| std::str::from_utf8(it.value.as_deref()?).ok()).collect();
        (5..12).filter(|id| values.iter().any(|value| value.contains(&stands(*id)))).count()
    };
    harness::until("the strays to be re-keyed", WITHIN, || match there() {
        7 => Ok(()),
        count => Err(count.to_string()),
    });
    await_deletion(&world, &marker, now() - THIRTY_DAYS_MS);
    assert_eq!(there(), 7, "a broker that has deleted a record of thirty days ago keeps them");
    owner.process.signal("CONT");
    claps_become(&world, 12.0);
}
