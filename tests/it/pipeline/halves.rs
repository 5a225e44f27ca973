//! Nobody who reads committed records ever sees half a commit, whoever is killed in the middle of one.
//!
//! A piece of state remembers the hash of the row that was sent last, in the commit that carries the row. So whoever
//! sees a row must see a state that remembers it, and the other way round. The marks that end a transaction reach its
//! partitions one after the other: who looks in between looks again.

use std::collections::BTreeSet;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rollbook::avro::Writer;
use rollbook::fold::{Piece, decode_piece};
use rollbook::upsert::{ReadUpsert, Sending, finish_upsert, row_hash};

use super::world::{WITHIN, World, metric};
use crate::harness::{self, PARTITIONS};

/// Each tears a commit with about an even chance; the test ends with the first that did.
const KILLS_MAX: usize = 10;

#[test]
fn classic_no_reader_sees_half_a_commit() {
    kills_tear_no_commit("classic");
}

#[test]
fn consumer_no_reader_sees_half_a_commit() {
    kills_tear_no_commit("consumer");
}

fn kills_tear_no_commit(group_protocol: &'static str) {
    let mut world = World::new(&format!("halves-{group_protocol}"));
    world.group_protocol = group_protocol;
    let conference = world.conference(23, 100);
    let mut kills = 0;
    for chunk in conference.records.chunks(conference.records.len() / KILLS_MAX + 1) {
        let mut one = world.start("one").ready();
        world.send(chunk);
        harness::until("a commit", WITHIN, || {
            let commits = metric(&one.metrics(), "rollbook_commits_total", &["result=\"committed\""]);
            if commits > 0 { Ok(()) } else { Err(one.process.log_tail()) }
        });
        one.process.kill();
        kills += 1;
        rows_and_states_agree(&world, conference.rows_refused);
        if kills > 3 && torn(&world) > 0 {
            break;
        }
    }
    let _one = world.start("one").ready();
    world.settle();
    rows_and_states_agree(&world, conference.rows_refused);
}

#[track_caller]
fn rows_and_states_agree(world: &World, rows_refused: u64) {
    harness::until("the rows to be those that states remember", WITHIN, || {
        let rows = rows(world);
        let unknown = rows.difference(&remembered(world)).count();
        // A row that was refused is remembered as that, and never sent.
        let unsent = remembered(world).difference(&self::rows(world)).count();
        if unknown == 0 && unsent as u64 <= rows_refused {
            return Ok(());
        }
        Err(format!("of {} rows no state knows {unknown}; {unsent} are remembered and not there", rows.len()))
    });
}

/// Hashes of the rows that were sent.
fn rows(world: &World) -> BTreeSet<u64> {
    let records = harness::read(&world.client(), &world.names.topics.upserts);
    let hash = |value: &[u8]| {
        let mut end = Writer::default();
        let read = ReadUpsert::decode(value).expect("it is of this version");
        let ReadUpsert { event_at, first, minor, .. } = read;
        let lane = read.lane.expect("this version says it");
        let sending = Sending { event_at, lane, causes: &read.causes, first, minor };
        let (object, member) = (read.object().expect("it is known"), read.member().expect("it names one"));
        finish_upsert(&mut end, object, &member, &sending);
        row_hash(&value[..value.len() - end.0.len()])
    };
    records.iter().map(|record| hash(record.value.as_deref().expect("it has a value"))).collect()
}

/// Hashes of rows that states remember.
fn remembered(world: &World) -> BTreeSet<u64> {
    let mut hashes = BTreeSet::new();
    for record in harness::states(&world.client(), &world.names.topics) {
        match decode_piece(record.value.as_deref().expect("it has a value")).expect("it is of this version") {
            Piece::Member(piece) => hashes.extend(piece.marks.rows().map(|(_, row)| row.hash)),
            Piece::Entry(piece) => hashes.extend(piece.marks.rows().map(|(_, row)| row.hash)),
        }
    }
    hashes.remove(&0);
    hashes
}

/// Records that only a reader of uncommitted ones sees.
fn torn(world: &World) -> usize {
    let topic = &world.names.topics.state;
    let mut client = world.client();
    client.set("group.id", "it-torn").set("isolation.level", "read_uncommitted").set("enable.partition.eof", "true");
    let reader: BaseConsumer = client.create().expect("the client's settings are right");
    let mut all = rdkafka::TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).expect("the offset is valid");
    }
    reader.assign(&all).expect("the assignment is valid");
    let (mut records, mut ends) = (0, 0);
    harness::until("the ends", WITHIN, || {
        while ends < PARTITIONS {
            match reader.poll(WITHIN) {
                Some(Ok(_)) => records += 1,
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ends += 1,
                other => return Err(format!("{other:?}")),
            }
        }
        Ok(())
    });
    records - harness::read(&world.client(), topic).len().min(records)
}
