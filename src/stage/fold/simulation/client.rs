//! What a simulated client knows, as librdkafka keeps it for its application.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::membership::{Rebalance, TopicPartition};
use crate::kafka::questions::{Answer, Question};

use super::kafka::Kafka;

/// How far the member has come with its group.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Out,
    Waiting,
    /// Told what it has, and not acknowledged.
    Assigning,
    Settled,
    /// Told to give it up, and not acknowledged.
    Revoking,
}

#[derive(Default)]
pub struct Client {
    pub member: Option<u64>,
    pub generation: i32,
    pub phase: Phase,
    pub rebalances: VecDeque<Rebalance>,
    pub positions: BTreeMap<TopicPartition, i64>,
    pub paused: BTreeSet<TopicPartition>,
    pub lost: bool,
    /// Nothing comes any more.
    pub fatal: bool,
    /// The group is heard no more.
    pub deaf: bool,
    /// With the answer, if it is made already, and when it is heard.
    pub asked: Option<(Question, Option<Answer>, Duration)>,
}

impl Client {
    pub fn lose(&mut self) {
        (self.member, self.generation, self.lost) = (None, -1, true);
    }

    pub fn revoke(&mut self) {
        let all = self.positions.keys().cloned().collect();
        self.rebalances.push_back(Rebalance::Revoked(all));
        self.phase = Phase::Revoking;
    }

    /// Of a generation, or the newest one that the broker has answered with.
    pub fn epoch_now(&self, kafka: &Kafka) -> i32 {
        let epoch = self.member.and_then(|member| kafka.broker().consumers.epoch(member));
        epoch.unwrap_or(self.generation)
    }

    /// Reads these from the given offsets on, and has acknowledged what it was told.
    pub fn take_over(&mut self, partitions: &TopicPartitionList) {
        for element in partitions.elements() {
            let position = if let Offset::Offset(offset) = element.offset() { offset } else { 0 };
            self.positions.insert((element.topic().to_owned(), element.partition()), position);
        }
        if self.phase == Phase::Assigning {
            self.phase = Phase::Settled;
        }
    }
}
