//! The topic that every peer reads, loaded before the first of them starts.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rollbook::id::MemberKey;
use rollbook::route;

use crate::harness;
use crate::options::Options;
use crate::views::{self, Views};

pub const PARTITIONS: i32 = 4;

const SAMPLE: usize = 100;
const FLUSH_WITHIN: Duration = Duration::from_mins(2);

pub struct Input {
    pub topic: String,
    /// High watermark of each partition.
    pub ends: Vec<i64>,
    /// Mean length of a value.
    pub event_bytes: u64,
    pub took: Duration,
    /// Keys of the members whose rows are compared.
    pub sample: HashSet<Vec<u8>>,
}

impl Input {
    pub fn load(client: &ClientConfig, options: &Options) -> Self {
        wake(client);
        let started = Instant::now();
        let topic = "views".to_owned();
        harness::create(client, &[&topic], PARTITIONS, &[("cleanup.policy", "delete"), ("retention.ms", "-1")]);
        let mut client = client.clone();
        client.set("enable.idempotence", "true").set("compression.type", "lz4").set("linger.ms", "20");
        client.set("queue.buffering.max.messages", "200000");
        let producer: BaseProducer = client.create().expect("the settings are right");
        let members = u32::try_from(options.members).expect("members are few");
        let mut views = Views::new(members);
        let mut ends = vec![0; usize::try_from(PARTITIONS).expect("few")];
        let mut bytes = 0;
        for _ in 0..options.events {
            let (member, value) = views.make();
            bytes += value.len() as u64;
            let partition = send(&producer, &topic, &member, &value);
            *ends.get_mut(partition).expect("a partition of the topic") += 1;
        }
        producer.flush(FLUSH_WITHIN).expect("the broker takes the records");
        let step = (members as usize / SAMPLE).max(1);
        let sample = (0..members as usize).step_by(step).map(|number| views::member(number).bytes().to_vec()).collect();
        Self { topic, ends, event_bytes: bytes / options.events, took: started.elapsed(), sample }
    }
}

/// The broker makes its topics for groups and transactions at the first use, which no peer should pay.
fn wake(client: &ClientConfig) {
    let mut client = client.clone();
    client.set("transactional.id", "awake");
    let producer: BaseProducer = client.create().expect("the settings are right");
    producer.init_transactions(FLUSH_WITHIN).expect("the broker takes transactions");
    client.remove("transactional.id").set("group.id", "awake");
    let consumer: BaseConsumer = client.create().expect("the settings are right");
    harness::create(&client, &["awake"], 1, &[]);
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("awake", 0, Offset::Offset(0)).expect("the offset is valid");
    harness::until("a group's coordinator", FLUSH_WITHIN, || {
        consumer.commit(&offsets, CommitMode::Sync).map_err(|error| error.to_string())
    });
}

fn send(producer: &BaseProducer, topic: &str, member: &MemberKey, value: &[u8]) -> usize {
    let key = member.bytes();
    let partition = route::partition(&key, PARTITIONS);
    let mut record = BaseRecord::to(topic).partition(partition).key(key.as_slice()).payload(value);
    while let Err((error, again)) = producer.send(record) {
        assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        producer.poll(Duration::from_millis(10));
        record = again;
    }
    usize::try_from(partition).expect("partitions are not negative")
}
