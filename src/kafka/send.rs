//! Sends records one by one and says what became of each: what tools do, as opposed to stages.
//!
//! The partition is always said, never left to the client: librdkafka's default partitioner is not Java's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::client_config;
use super::scan::{ScanError, Scanner};
use crate::config::Config;
use crate::route;

/// A record takes at most so much: what came in compressed may be far larger than what its topic takes on the wire.
const MESSAGE_BYTES_MAX: &str = "500000000";
/// After this, what is not acknowledged counts as failed.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("cannot make a Kafka client of the settings")]
    Client(#[source] KafkaError),
    #[error("cannot hand a record for `{topic}` to the Kafka client")]
    Enqueue {
        topic: String,
        #[source]
        source: KafkaError,
    },
    #[error("Kafka did not acknowledge every record in {within} s", within = ACKNOWLEDGED_WITHIN.as_secs())]
    NotAcknowledged(#[source] KafkaError),
}

/// One record to send.
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(String, Option<Vec<u8>>)],
    /// None: now.
    pub timestamp: Option<i64>,
}

/// Where records stand by their keys; each topic is asked about once.
pub struct Homes {
    scanner: Scanner,
    partitions: BTreeMap<String, i32>,
}

impl Homes {
    pub fn new(config: &Config) -> Result<Self, ScanError> {
        Ok(Self { scanner: Scanner::new(config)?, partitions: BTreeMap::new() })
    }

    pub fn of(&mut self, topic: &str, key: &[u8]) -> Result<i32, ScanError> {
        let known = self.partitions.get(topic).copied();
        let count = known.map_or_else(|| self.scanner.partitions(topic), Ok)?;
        self.partitions.insert(topic.to_owned(), count);
        Ok(route::partition(key, count))
    }
}

/// What became of the record that was sent with this tag.
#[derive(Debug)]
pub struct Delivery {
    pub tag: usize,
    /// Its offset.
    pub result: Result<i64, RDKafkaErrorCode>,
}

#[derive(Default)]
struct Reports(Mutex<Vec<Delivery>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Box<usize>) {
        let result = match result {
            Ok(record) => Ok(record.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Delivery { tag: *tag, result });
    }
}

pub struct Sender {
    producer: BaseProducer<Reports>,
}

impl Sender {
    pub fn new(config: &Config) -> Result<Self, SendError> {
        let mut client = client_config(config);
        client
            .set("enable.idempotence", "true")
            .set("message.max.bytes", MESSAGE_BYTES_MAX)
            .set("compression.type", "zstd")
            .set("message.timeout.ms", ACKNOWLEDGED_WITHIN.as_millis().to_string())
            .set("linger.ms", "5");
        let producer = client.create_with_context(Reports::default()).map_err(SendError::Client)?;
        Ok(Self { producer })
    }

    /// Queues a record; waits while the queue is full.
    pub fn send(&self, outgoing: &Outgoing, tag: usize) -> Result<(), SendError> {
        let headers = outgoing
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
        let mut record =
            BaseRecord::with_opaque_to(outgoing.topic, Box::new(tag)).partition(outgoing.partition).headers(headers);
        record.key = outgoing.key;
        record.payload = outgoing.value;
        record.timestamp = outgoing.timestamp;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(100));
                }
                Err((source, _)) => return Err(SendError::Enqueue { topic: outgoing.topic.to_owned(), source }),
            }
        }
    }

    /// Waits for every record that was queued, and says what became of each.
    pub fn finish(&self) -> Result<Vec<Delivery>, SendError> {
        self.producer.flush(ACKNOWLEDGED_WITHIN).map_err(SendError::NotAcknowledged)?;
        let mut reports = self.producer.context().0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *reports))
    }
}
