//! Writes outcomes, dead letters and records of jobs, and says when they are safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::mpsc;

use super::outbox::{Position, Settled};
use crate::bulk_job::BulkJob;
use crate::config::{Config, Topics};
use crate::dead_letter::DeadLetter;
use crate::event::SalesforceId;
use crate::kafka;

/// What became of the records of one upsert.
#[derive(Debug)]
pub enum Recorded {
    Safe(Position),
    /// A job is recorded in all its partitions.
    Job(u64),
    Failed(KafkaError),
}

pub struct Recorder {
    producer: ThreadedProducer<Context>,
    outcomes: String,
    dead_letters: String,
    bulk_jobs: String,
}

struct Context {
    reports: mpsc::UnboundedSender<Recorded>,
}

/// Shared by the records of one upsert or one job.
struct Ticket {
    /// None: nobody asks.
    told: Option<Told>,
    records_left: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Told {
    Row(Position),
    Job(u64),
}

impl Recorder {
    pub fn new(config: &Config) -> KafkaResult<(Self, mpsc::UnboundedReceiver<Recorded>)> {
        let (reports, receiver) = mpsc::unbounded_channel();
        let mut client = kafka::client_config(config);
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("message.max.bytes", kafka::MESSAGE_BYTES_MAX)
            // Java's partitioner, as on every other topic.
            .set("partitioner", "murmur2_random")
            // A broker that is away is waited for: nothing is committed meanwhile.
            .set("message.timeout.ms", "0")
            .set("linger.ms", "5");
        let producer = ThreadedProducer::from_config_and_context(&client, Context { reports })?;
        let Topics { outcomes, dead_letters, bulk_jobs, .. } = &config.topics;
        let recorder = Self {
            producer,
            outcomes: outcomes.clone(),
            dead_letters: dead_letters.clone(),
            bulk_jobs: bulk_jobs.clone(),
        };
        Ok((recorder, receiver))
    }

    /// Queues the records of an upsert. False where the queue has no room now.
    pub fn record(&self, settled: &Settled) -> KafkaResult<bool> {
        // Room for both or for none: half an upsert's records would be written again.
        let queued = usize::try_from(self.producer.in_flight_count()).unwrap_or(0);
        if queued >= QUEUE_RECORDS_MAX {
            return Ok(false);
        }
        let count = usize::from(settled.outcome.is_some()) + usize::from(settled.dead_letter.is_some());
        let ticket = Ticket::new(Some(Told::Row(settled.position)), count);
        if let Some(dead_letter) = &settled.dead_letter {
            let key = dead_letter.key.clone().unwrap_or_default();
            self.send(&self.dead_letters, &key, &DeadLetter::encode(dead_letter), &ticket)?;
        }
        if let Some(outcome) = &settled.outcome {
            self.send(&self.outcomes, outcome.key().as_bytes(), &outcome.encode(), &ticket)?;
        }
        Ok(true)
    }

    /// Queues the records of a job, each for the partition whose rows it names.
    pub fn record_job(&self, number: u64, records: &[(i32, BulkJob)]) -> KafkaResult<()> {
        let ticket = Ticket::new(Some(Told::Job(number)), records.len());
        for (partition, job) in records {
            let (key, value) = (job.job.as_str(), job.encode());
            let record = BaseRecord::with_opaque_to(&self.bulk_jobs, Arc::clone(&ticket)).partition(*partition);
            self.producer.send(record.key(key).payload(&value)).map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// Queues the tombstones of a job that is done with.
    pub fn forget_job(&self, job: SalesforceId, partitions: &[i32]) -> KafkaResult<()> {
        let ticket = Ticket::new(None, partitions.len());
        for partition in partitions {
            let record: BaseRecord<'_, str, [u8], Arc<Ticket>> =
                BaseRecord::with_opaque_to(&self.bulk_jobs, Arc::clone(&ticket)).partition(*partition);
            self.producer.send(record.key(job.as_str())).map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    fn send(&self, topic: &str, key: &[u8], value: &[u8], ticket: &Arc<Ticket>) -> KafkaResult<()> {
        let record = BaseRecord::with_opaque_to(topic, Arc::clone(ticket)).key(key).payload(value);
        self.producer.send(record).map_err(|(error, _)| error)
    }
}

/// Half of librdkafka's default queue of 100,000 records.
const QUEUE_RECORDS_MAX: usize = 50_000;

impl Ticket {
    fn new(told: Option<Told>, records: usize) -> Arc<Self> {
        Arc::new(Self { told, records_left: AtomicUsize::new(records) })
    }
}

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Arc<Ticket>) {
        let recorded = match result {
            // Another record of the same is still on its way.
            Ok(_) if ticket.records_left.fetch_sub(1, Ordering::AcqRel) > 1 => return,
            Ok(_) => match ticket.told {
                Some(Told::Row(position)) => Recorded::Safe(position),
                Some(Told::Job(number)) => Recorded::Job(number),
                None => return,
            },
            // The end of the process throws away what it could not write; nothing of it was committed.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight), _)) => {
                return;
            }
            Err((error, _)) => Recorded::Failed(error.clone()),
        };
        // No receiver: the loop has ended.
        let _loop_gone = self.reports.send(recorded);
    }
}
