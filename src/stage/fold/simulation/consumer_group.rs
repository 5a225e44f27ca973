//! The simulated broker's side of the fold's group, by the consumer protocol (KIP-848): partitions change hands one by
//! one, and a member's epoch moves on while it keeps what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::membership::TopicPartition;

use super::group::{REBALANCE_TIMEOUT, Shares, silent};
use super::turns::Process;

#[derive(Default)]
struct Consumer {
    process: usize,
    epoch: i32,
    /// Nobody else gets these.
    owned: BTreeSet<TopicPartition>,
    target: BTreeSet<TopicPartition>,
    /// Since it was told to give something up.
    revoking: Option<Duration>,
}

/// What a member is told in answer to a heartbeat.
pub enum Told {
    Gone,
    Revoke(Vec<TopicPartition>),
    Assign(Vec<TopicPartition>),
    Nothing,
}

#[derive(Default)]
pub struct ConsumerGroup {
    epoch: i32,
    members: BTreeMap<u64, Consumer>,
    named: u64,
    changed: bool,
}

impl ConsumerGroup {
    pub fn join(&mut self, process: usize) -> u64 {
        self.named += 1;
        self.members.insert(self.named, Consumer { process, ..Consumer::default() });
        self.changed = true;
        self.named
    }

    pub fn hear_of_partitions(&mut self) {
        self.changed = true;
    }

    pub fn leave(&mut self, member: u64) {
        self.changed |= self.members.remove(&member).is_some();
    }

    pub fn epoch(&self, member: u64) -> Option<i32> {
        self.members.get(&member).map(|member| member.epoch)
    }

    /// A member says what it has; it has acknowledged what it was told before.
    pub fn heartbeat(&mut self, member: u64, held: BTreeSet<TopicPartition>, now: Duration) -> Told {
        let others = self.members.iter().filter(|(number, _)| **number != member);
        let of_others: BTreeSet<TopicPartition> = others.flat_map(|(_, it)| it.owned.iter().cloned()).collect();
        let epoch = self.epoch;
        let Some(member) = self.members.get_mut(&member) else { return Told::Gone };
        member.owned = held;
        let excess: Vec<TopicPartition> = member.owned.difference(&member.target).cloned().collect();
        if !excess.is_empty() {
            member.revoking.get_or_insert(now);
            return Told::Revoke(excess);
        }
        (member.revoking, member.epoch) = (None, epoch);
        let wanted = member.target.difference(&member.owned);
        let free: Vec<TopicPartition> = wanted.filter(|it| !of_others.contains(*it)).cloned().collect();
        if free.is_empty() {
            return Told::Nothing;
        }
        member.owned.extend(free.iter().cloned());
        Told::Assign(free)
    }

    /// Whether everybody has what is to be theirs.
    pub fn settled(&self) -> bool {
        !self.changed && self.members.values().all(|member| member.epoch == self.epoch && member.owned == member.target)
    }

    /// Whether a process is to read something.
    pub fn has_work(&self, process: usize) -> bool {
        self.members.values().any(|member| member.process == process && !member.target.is_empty())
    }

    /// Whether offsets are taken from this member of this epoch.
    pub fn check(&self, member: Option<u64>, epoch: i32) -> Result<(), RDKafkaErrorCode> {
        let Some(member) = member else {
            return if epoch < 0 { Ok(()) } else { Err(RDKafkaErrorCode::UnknownMemberId) };
        };
        match self.members.get(&member) {
            Some(known) if known.epoch == epoch => Ok(()),
            Some(_) => Err(RDKafkaErrorCode::IllegalGeneration),
            None => Err(RDKafkaErrorCode::UnknownMemberId),
        }
    }

    /// Leaves the silent and the slow behind, and says who is to have what.
    pub fn tick(&mut self, now: Duration, process: impl Fn(usize) -> Process, divide: impl FnOnce(usize) -> Shares) {
        let before = self.members.len();
        let slow = |it: &Consumer| it.revoking.is_some_and(|since| now >= since + REBALANCE_TIMEOUT);
        self.members.retain(|_, member| !silent(&process(member.process), now) && !slow(member));
        if std::mem::take(&mut self.changed) || self.members.len() < before {
            self.epoch += 1;
            let targets = divide(self.members.len());
            for (member, target) in self.members.values_mut().zip(targets) {
                member.target = target.into_iter().collect();
            }
        }
        // Heartbeats are librdkafka's own thread's: who has nothing to give up moves on whatever its loop does.
        for member in self.members.values_mut().filter(|member| member.owned.is_subset(&member.target)) {
            let process = process(member.process);
            if !process.dead && process.frozen_until <= now {
                member.epoch = self.epoch;
            }
        }
    }
}
