//! Sends the conference's records, each to the partition that it asks for, in the order given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::conference::{Feed, Partition, Record};
use crate::config::{Config, Topics};
use crate::topic_table::Topic;
use crate::{kafka, route};

/// Records sent in one go.
pub const CHUNK: usize = 500;

/// One chunk takes at least so long: five thousand records a second, a busy conference.
pub const CHUNK_INTERVAL: Duration = Duration::from_millis(100);

/// Records and rows that may be under way. Each record may turn into three rows of about a kilobyte: together they stay
/// well below what the mock keeps of the upserts.
pub const BEHIND_MAX: u64 = 8_000;

/// For the last acknowledgements.
const FLUSH_TIMEOUT: Duration = Duration::from_mins(1);

pub struct Producer {
    topics: Topics,
    partitions: i32,
    inner: BaseProducer<Deliveries>,
    lost: Arc<AtomicU64>,
    /// Where the next record without a key goes.
    round: i32,
}

/// Counts what did not arrive.
struct Deliveries(Arc<AtomicU64>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Producer {
    pub fn new(config: &Config, partitions: i32) -> Result<Self, KafkaError> {
        let lost = Arc::new(AtomicU64::new(0));
        let mut client = kafka::client_config(config);
        // Statements about one talk must stay in order through a retry.
        client.set("enable.idempotence", "true").set("linger.ms", "5");
        let inner = client.create_with_context(Deliveries(Arc::clone(&lost)))?;
        Ok(Self { topics: config.topics.clone(), partitions, inner, lost, round: 0 })
    }

    pub fn send(&mut self, record: &Record) -> Result<(), KafkaError> {
        let partition = self.partition(record);
        loop {
            match self.inner.send(base_record(record, &self.topics, partition)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.inner.poll(Duration::from_millis(50));
                }
                Err((error, _)) => return Err(error),
            }
        }
        self.inner.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits for every acknowledgement. Returns how many records were not taken.
    pub fn finish(self) -> Result<u64, KafkaError> {
        self.inner.flush(FLUSH_TIMEOUT)?;
        Ok(self.lost.load(Ordering::Relaxed))
    }

    fn partition(&mut self, record: &Record) -> i32 {
        let Some(key) = &record.key else {
            self.round = (self.round + 1) % self.partitions;
            return self.round;
        };
        let of_key = route::partition(key, self.partitions);
        match record.partition {
            Partition::OfKey => of_key,
            Partition::Wrong => (of_key + 1) % self.partitions,
        }
    }
}

fn base_record<'r>(record: &'r Record, topics: &'r Topics, partition: i32) -> BaseRecord<'r, Vec<u8>, Vec<u8>> {
    let mut base = BaseRecord::to(topic(record.feed, topics)).partition(partition);
    base.key = record.key.as_ref();
    base.payload = record.value.as_ref();
    base.timestamp = record.timestamp;
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        let headers = record
            .headers
            .iter()
            .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        base = base.headers(headers);
    }
    base
}

fn topic(feed: Feed, topics: &Topics) -> &str {
    match feed {
        Feed::Sessions => &topics.sessions,
        Feed::Events(kind) => Topic::of_events(kind).name(topics),
    }
}
