//! What others do to the fold's positions, topics and catalogue.

use std::sync::Arc;
use std::time::Duration;

use crate::route;
use crate::store::BIRTH_KEY;
use crate::topic_table::Topic;

use super::History;
use super::feed::{self, PARTITIONS};
use super::log::Entry;
use super::seen::{Seen, seen};

impl History {
    /// Somebody commits all of a partition to the fold's group. Before there are births nobody can tell it from what
    /// was committed before there were.
    pub(super) fn commit_as_a_stranger(&self) {
        let inputs = self.kafka.inputs();
        let partition = inputs[self.kafka.turns.random(|rng| rng.usize(..inputs.len()))].clone();
        let broker = &mut *self.kafka.broker();
        let logs = &mut broker.logs;
        let states = logs.topic(&self.config.topics.state);
        let born = states.filter(|(_, log)| log.all().any(|(_, entry)| entry.key.as_deref() == Some(BIRTH_KEY)));
        if born.count() == usize::try_from(PARTITIONS).expect("it is positive") && !logs.unstable(&partition) {
            seen(Seen::ForeignCommit);
            let end = logs.partition(&partition.0, partition.1).stable_end();
            logs.offsets.insert(partition, (end, String::new()));
            broker.overwritten = true;
        }
    }

    /// Retention deletes what was folded.
    pub(super) fn delete_what_was_read(&self) {
        let logs = &mut self.kafka.broker().logs;
        for ((topic, partition), offset) in logs.own_offsets.clone() {
            if self.kafka.turns.chance(50) {
                seen(Seen::LogStartMoved);
                logs.partition(&topic, partition).delete_below(offset);
            }
        }
    }

    /// Of two owners that speak of one key the one that has not heard the other writes the older statement last.
    pub(super) fn write_too_late(&mut self) {
        let turns = Arc::clone(&self.kafka.turns);
        let (number, at) = (self.sent.len(), self.kafka.wall_clock());
        let said = turns.random(|rng| feed::two_statements(rng, number, at));
        let older = said[0].entry.clone();
        for sent in said {
            self.kafka.append(&self.config.topics.sessions, sent.partition, sent.entry.clone());
            self.sent.push(sent);
        }
        turns.sleep(turns.random(|rng| Duration::from_millis(rng.u64(1..2_000))));
        seen(Seen::WrittenTooLate);
        self.written_too_late = true;
        self.write_last(older);
    }

    /// A statement becomes the catalogue's last one of its key.
    pub(super) fn write_last(&self, statement: Entry) {
        let partition = route::partition(statement.key.as_deref().unwrap_or_default(), PARTITIONS);
        self.kafka.append(&self.config.topics.catalogue, partition, statement);
    }

    /// A partition loses its leader, or all have one again. What is re-keyed has its leaders: no commit would pass.
    pub(super) fn lose_leader(&self) {
        let inputs = self.kafka.inputs();
        let partition = inputs[self.kafka.turns.random(|rng| rng.usize(..inputs.len()))].clone();
        let mut broker = self.kafka.broker();
        if self.kafka.turns.chance(30) {
            broker.unled.clear();
        } else if partition.0 != self.config.topics.resolved {
            seen(Seen::LeaderLost);
            broker.unled.insert(partition);
        }
    }

    /// An input gets one more partition; that of the re-keyed ones too, which nobody should do.
    pub(super) fn grow(&self) {
        let input = Topic::EVENTS[self.kafka.turns.random(|rng| rng.usize(..Topic::EVENTS.len()))];
        if self.kafka.inputs().len() < Topic::CONSUMED.len() * 3 {
            seen(Seen::Grown);
            self.kafka.grow(input.name(&self.config.topics));
        }
    }
}
