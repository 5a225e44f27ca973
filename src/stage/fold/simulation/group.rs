//! The simulated broker's side of the fold's group, by the classic protocol.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::membership::TopicPartition;

use super::seen::{Seen, seen};
use super::turns::Process;

/// Who is silent for so long is no member any more.
const SESSION_TIMEOUT: Duration = Duration::from_secs(1);
/// Who has not joined again after so long is left behind.
pub const REBALANCE_TIMEOUT: Duration = Duration::from_secs(8);

struct Joined {
    process: usize,
    /// For the next generation.
    again: bool,
    assignment: Vec<TopicPartition>,
}

/// What a member is told.
pub enum Standing {
    Member { generation: i32, assignment: Vec<TopicPartition> },
    JoinAgain,
    Gone,
}

#[derive(Default)]
pub struct Group {
    generation: i32,
    members: BTreeMap<u64, Joined>,
    named: u64,
    /// Since members are waited for.
    rebalancing: Option<Duration>,
}

impl Group {
    pub fn join(&mut self, process: usize, member: Option<u64>, now: Duration) -> u64 {
        let known = member.filter(|member| self.members.contains_key(member));
        let member = known.unwrap_or_else(|| {
            self.named += 1;
            self.named
        });
        self.members.insert(member, Joined { process, again: true, assignment: Vec::new() });
        self.rebalancing.get_or_insert(now);
        member
    }

    /// Its leader has seen that there are more partitions.
    pub fn hear_of_partitions(&mut self, now: Duration) {
        if !self.members.is_empty() {
            self.rebalancing.get_or_insert(now);
        }
    }

    pub fn leave(&mut self, member: u64, now: Duration) {
        if self.members.remove(&member).is_some() {
            self.rebalancing.get_or_insert(now);
        }
    }

    pub fn standing(&self, member: u64) -> Standing {
        let Some(joined) = self.members.get(&member) else { return Standing::Gone };
        match self.rebalancing {
            Some(_) => Standing::JoinAgain,
            None => Standing::Member { generation: self.generation, assignment: joined.assignment.clone() },
        }
    }

    /// Whether nobody is waited for, so that all is divided. A group that nobody has joined is.
    pub fn settled(&self) -> bool {
        self.rebalancing.is_none()
    }

    /// Whether a process is to read something.
    pub fn has_work(&self, process: usize) -> bool {
        self.members.values().any(|joined| joined.process == process && !joined.assignment.is_empty())
    }

    /// Whether offsets are taken from this member of this generation. One that says of itself that it is none is let
    /// through, as Kafka does.
    pub fn check(&self, member: Option<u64>, generation: i32) -> Result<(), RDKafkaErrorCode> {
        match member {
            None if generation < 0 => Ok(()),
            Some(member) if self.members.contains_key(&member) && generation == self.generation => Ok(()),
            Some(member) if self.members.contains_key(&member) => Err(RDKafkaErrorCode::IllegalGeneration),
            _ => Err(RDKafkaErrorCode::UnknownMemberId),
        }
    }

    /// Leaves the silent behind, and begins a new generation when everybody is there.
    pub fn tick(&mut self, now: Duration, process: impl Fn(usize) -> Process, divide: impl FnOnce(usize) -> Shares) {
        let expired = |joined: &Joined| silent(&process(joined.process), now);
        let late = self.rebalancing.is_some_and(|since| now >= since + REBALANCE_TIMEOUT);
        let before = self.members.len();
        self.members.retain(|_, joined| !(expired(joined) || (late && !joined.again)));
        if self.members.len() < before {
            self.rebalancing.get_or_insert(now);
        }
        if self.rebalancing.is_some() && self.members.values().all(|joined| joined.again) {
            self.rebalancing = None;
            self.generation += 1;
            let assignments = divide(self.members.len());
            for (joined, assignment) in self.members.values_mut().zip(assignments) {
                (joined.again, joined.assignment) = (false, assignment);
            }
        }
    }
}

/// Whether a process was silent for too long, whatever it says now.
pub fn silent(process: &Process, now: Duration) -> bool {
    let heard_again = if process.dead { now } else { process.frozen_until.min(now) };
    let silent = process.silent_since.is_some_and(|since| since + SESSION_TIMEOUT <= heard_again);
    if silent {
        seen(Seen::SessionOver);
    }
    silent
}

/// What each member has.
pub type Shares = Vec<Vec<TopicPartition>>;

/// An assignor that has reasons of its own, as brokers may.
pub fn scattered(inputs: &[TopicPartition], members: usize, rng: &mut fastrand::Rng) -> Shares {
    let mut shares = vec![Vec::new(); members];
    for input in inputs {
        if let Some(share) = rng.choice(&mut shares) {
            share.push(input.clone());
        }
    }
    shares
}

/// Kafka's range assignor: of each topic the members have neighbouring partitions.
pub fn ranges(inputs: &[TopicPartition], members: usize) -> Shares {
    let mut by_topic: BTreeMap<&str, Vec<&TopicPartition>> = BTreeMap::new();
    for input in inputs {
        by_topic.entry(&input.0).or_default().push(input);
    }
    let share = |place: usize| {
        let of_topic = |partitions: &Vec<&TopicPartition>| {
            let (each, more) = (partitions.len() / members, partitions.len() % members);
            let start = place * each + place.min(more);
            let own = partitions.iter().skip(start).take(each + usize::from(place < more));
            own.map(|partition| (*partition).clone()).collect::<Vec<_>>()
        };
        by_topic.values().flat_map(of_topic).collect()
    };
    (0..members).map(share).collect()
}
