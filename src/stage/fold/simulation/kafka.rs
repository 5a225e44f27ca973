//! The simulated Kafka: logs, group, and what goes wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{OwnedMessage, Timestamp};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Topics;
use crate::kafka::changelog::Log;
use crate::kafka::clock::Clock;
use crate::kafka::membership::TopicPartition;
use crate::kafka::native::topics::{Described, Seen};
use crate::kafka::positions::Ends;
use crate::kafka::questions::{Answer, Question};
use crate::time::Millis;
use crate::topic_table::Topic;

use super::consumer_group::ConsumerGroup;
use super::group::{Group, ranges, scattered};
use super::log::{Entry, Logs};
use super::taking_back::Order;
use super::turns::Turns;

/// The wall clock when a history begins.
pub const NOON: Millis = 1_780_000_000_000;

#[derive(Default)]
pub struct Broker {
    pub logs: Logs,
    pub group: Group,
    /// The same by the consumer protocol; one of both is used.
    pub consumers: ConsumerGroup,
    /// Nobody gets an answer until then, from when it was away last on.
    pub away_until: Duration,
    /// The next question about logs begins an outage of so long.
    pub outage_when_asked: Option<Duration>,
    /// Whoever follows the notes is behind by so long.
    pub notes_lag: Duration,
    /// Of the transactions that are handed over so many come to no end.
    pub sticking: u32,
    /// Partitions are given to any member, not by ranges.
    pub scatters: bool,
    /// Somebody else has committed: how far an input was read by others than the owner of the states nobody knows then.
    pub overwritten: bool,
    /// Partitions of inputs that nobody leads.
    pub unled: BTreeSet<TopicPartition>,
    /// What owners are to take back with their next commits.
    pub orders: Vec<Order>,
    /// Nothing goes wrong any more.
    pub calm: bool,
}

impl Broker {
    fn describe(&self, topic: &str) -> Described {
        let partitions: Vec<i32> = self.logs.topic(topic).map(|(partition, _)| partition).collect();
        let led = |partition: &i32| !self.unled.contains(&(topic.to_owned(), *partition));
        Described {
            id: Some(format!("id-of-{topic}-{}", self.logs.remade(topic))),
            partitions: i32::try_from(partitions.len()).expect("they are few"),
            leaders: partitions.into_iter().filter(led).map(|partition| (partition, 1)).collect(),
        }
    }
}

/// A client's way to the broker.
#[derive(Clone)]
pub struct Kafka {
    pub turns: Arc<Turns>,
    broker: Arc<Mutex<Broker>>,
    inputs: Arc<Mutex<Vec<TopicPartition>>>,
    /// Of clients that were handed one and have not said how it ended. The broker need not have heard of it.
    pub transactions: Arc<AtomicUsize>,
}

impl Kafka {
    pub fn new(turns: Arc<Turns>, topics: &Topics, partitions: i32) -> Self {
        let mut broker = Broker::default();
        for topic in Topic::ALL {
            broker.logs.create(topic.name(topics), partitions);
        }
        let of = |input: Topic| (0..partitions).map(move |partition| (input.name(topics).to_owned(), partition));
        let inputs = Topic::CONSUMED.into_iter().flat_map(of).collect();
        Self {
            turns,
            broker: Arc::new(Mutex::new(broker)),
            inputs: Arc::new(Mutex::new(inputs)),
            transactions: Arc::default(),
        }
    }

    pub fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().expect("no holder of the lock panics")
    }

    pub fn inputs(&self) -> Vec<TopicPartition> {
        self.inputs.lock().expect("no holder of the lock panics").clone()
    }

    /// One more partition, of which the group hears.
    pub fn grow(&self, topic: &str) {
        let mut broker = self.broker();
        let mut inputs = self.inputs.lock().expect("no holder of the lock panics");
        let partitions = i32::try_from(inputs.iter().filter(|(name, _)| name == topic).count()).expect("they are few");
        inputs.push((topic.to_owned(), partitions));
        broker.logs.create(topic, partitions + 1);
        drop((broker, inputs));
        self.divide_again();
    }

    /// The group has a reason to divide what there is once more.
    pub fn divide_again(&self) {
        let mut broker = self.broker();
        broker.group.hear_of_partitions(self.turns.now());
        broker.consumers.hear_of_partitions();
    }

    /// A call: the turn may end, the caller may die, and the broker goes on a little.
    pub fn call(&self) {
        self.turns.step();
        let now = self.turns.now();
        let mut broker = self.broker();
        let Broker { logs, group, consumers, scatters, .. } = &mut *broker;
        if self.turns.chance(40) {
            self.turns.random(|rng| logs.tick(now, rng));
        }
        let inputs = self.inputs();
        let divide = |members| {
            if *scatters { self.turns.random(|rng| scattered(&inputs, members, rng)) } else { ranges(&inputs, members) }
        };
        group.tick(now, |process| self.turns.process(process), divide);
        consumers.tick(now, |process| self.turns.process(process), divide);
    }

    /// A call that is not answered now and then.
    pub fn question(&self) -> KafkaResult<()> {
        self.call();
        if self.away() || self.mishap(2) {
            return Err(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown));
        }
        Ok(())
    }

    /// What brokers say now.
    pub fn answer(&self, question: &Question) -> Answer {
        let mut broker = self.broker();
        let mut topics = BTreeMap::new();
        for topic in &question.topics {
            topics.insert(topic.clone(), broker.describe(topic));
        }
        let mut ends = BTreeMap::new();
        for partition in &question.partitions {
            if !broker.unled.contains(partition) {
                let log = broker.logs.partition(&partition.0, partition.1);
                ends.insert(partition.clone(), Ends { start: log.start(), end: log.stable_end() });
            }
        }
        Answer { topics, ends, strangers: Some(Vec::new()) }
    }

    pub fn away(&self) -> bool {
        self.turns.now() < self.broker().away_until
    }

    /// Since when brokers have answered without a break.
    pub fn answering_since(&self) -> Option<Instant> {
        (!self.away()).then(|| self.turns.instant_at(self.broker().away_until))
    }

    pub fn begin_outage(&self) {
        let now = self.turns.now();
        let mut broker = self.broker();
        if let Some(outage) = broker.outage_when_asked.take() {
            broker.away_until = now + outage;
        }
    }

    pub fn mishap(&self, percent: u8) -> bool {
        !self.broker().calm && self.turns.chance(percent)
    }

    /// Whether the transaction that is handed over now is to come to no end, whatever else happens.
    pub fn sticks(&self) -> bool {
        let sticking = &mut self.broker().sticking;
        std::mem::replace(sticking, sticking.saturating_sub(1)) > 0
    }

    pub fn wall_clock(&self) -> Millis {
        NOON + Millis::try_from(self.turns.now().as_millis()).expect("a history is short")
    }

    /// Appended by somebody else.
    pub fn append(&self, topic: &str, partition: i32, entry: Entry) {
        self.broker().logs.partition(topic, partition).append(entry);
    }
}

pub fn message((topic, partition): (&str, i32), offset: i64, entry: &Entry) -> OwnedMessage {
    let Entry { key, value, timestamp, headers, .. } = entry.clone();
    OwnedMessage::new(value, key, topic.to_owned(), Timestamp::CreateTime(timestamp), partition, offset, headers)
}

/// Whoever talks to the simulated Kafka: time is what passes there.
pub trait Simulated {
    fn kafka(&self) -> &Kafka;
}

impl<T: Simulated> Clock for T {
    fn now(&self) -> Instant {
        self.kafka().turns.instant()
    }

    fn sleep(&self, pause: Duration) {
        self.kafka().turns.sleep(pause);
    }

    fn wall_clock(&self) -> Millis {
        self.kafka().wall_clock()
    }
}

/// A reader of a compacted topic.
pub struct SimulatedLog {
    kafka: Kafka,
    reading: Mutex<Reading>,
}

#[derive(Default)]
struct Reading {
    topic: String,
    /// Where each partition is read on, and whether its end was reported.
    positions: BTreeMap<i32, (i64, bool)>,
}

impl SimulatedLog {
    pub fn new(kafka: &Kafka) -> Self {
        Self { kafka: kafka.clone(), reading: Mutex::default() }
    }
}

impl Simulated for SimulatedLog {
    fn kafka(&self) -> &Kafka {
        &self.kafka
    }
}

impl Log for SimulatedLog {
    type Message<'m> = OwnedMessage;

    fn describe(&self, topic: &str) -> KafkaResult<Seen> {
        self.kafka.question()?;
        Ok(Seen::There(self.kafka.broker().describe(topic), None))
    }

    fn ends(&self, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
        self.kafka.question()?;
        Ok((0, self.kafka.broker().logs.partition(topic, partition).end()))
    }

    fn stable_end(&self, topic: &str, partition: i32) -> KafkaResult<i64> {
        self.kafka.question()?;
        Ok(self.kafka.broker().logs.partition(topic, partition).stable_end())
    }

    fn assign(&self, assignment: &TopicPartitionList) -> KafkaResult<()> {
        let mut reading = self.reading.lock().expect("no holder of the lock panics");
        reading.positions.clear();
        for element in assignment.elements() {
            let Offset::Offset(offset) = element.offset() else { panic!("the reader says where to begin") };
            element.topic().clone_into(&mut reading.topic);
            reading.positions.insert(element.partition(), (offset, false));
        }
        Ok(())
    }

    fn answering_since(&self) -> Option<Instant> {
        self.kafka.answering_since()
    }

    fn outdated(&self) -> bool {
        false
    }

    fn poll(&self, wait: Duration) -> Option<KafkaResult<OwnedMessage>> {
        if self.kafka.question().is_err() {
            self.kafka.turns.sleep(wait);
            return Some(Err(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown)));
        }
        if let Some(found) = self.find() {
            return Some(found);
        }
        self.kafka.turns.sleep(wait.min(self.kafka.turns.random(|rng| Duration::from_millis(rng.u64(1..20)))));
        None
    }
}

impl SimulatedLog {
    fn find(&self) -> Option<KafkaResult<OwnedMessage>> {
        let mut reading = self.reading.lock().expect("no holder of the lock panics");
        let Reading { topic, positions } = &mut *reading;
        let mut broker = self.kafka.broker();
        for (partition, (position, ended)) in positions.iter_mut() {
            let log = broker.logs.partition(topic, *partition);
            if let Some((offset, entry)) = log.read(*position) {
                (*position, *ended) = (offset + 1, false);
                return Some(Ok(message((topic, *partition), offset, entry)));
            }
            *position = (*position).max(log.stable_end());
            if !std::mem::replace(ended, true) {
                return Some(Err(KafkaError::PartitionEOF(*partition)));
            }
        }
        None
    }
}
