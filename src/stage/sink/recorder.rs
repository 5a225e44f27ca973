//! Writes outcomes, dead letters and records of jobs, and says when they are safe.
//!
//! What is not acknowledged yet is kept: a producer that librdkafka gives up, or that does not get on although Kafka
//! answers, is replaced, and all of it is sent once more, in its order. An outcome may stand there twice then, which is
//! allowed; a row without one would hold its partition for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};
use tokio::sync::mpsc;
use tracing::warn;

use super::outbox::{Position, Settled};
use crate::bulk_job::BulkJob;
use crate::config::{Config, Topics};
use crate::dead_letter::DeadLetter;
use crate::id::SalesforceId;
use crate::kafka::stall::{STALLED_AFTER, Stall};
use crate::kafka::watch::Watch;
use crate::kafka::{self, let_go, said};
use crate::metrics::Metrics;

/// Half of librdkafka's default queue of 100,000 records.
const QUEUE_RECORDS_MAX: usize = 50_000;
/// Pause before another producer is made, and before what was refused is sent once more.
const PAUSE: Duration = Duration::from_secs(2);
/// Who waits, for the watch.
const WHO: &str = "sink-records";

/// What became of the records of one upsert.
#[derive(Debug)]
pub enum Recorded {
    Safe(Position),
    /// A job is recorded in all its partitions.
    Job(u64),
}

/// What a producer tells of a record.
#[derive(Debug)]
pub struct Report {
    /// Which producer.
    producer: u64,
    ticket: usize,
    result: Result<(), (KafkaError, String)>,
}

pub struct Recorder {
    config: Config,
    topics: OwnTopics,
    /// Whether the watch was told that we wait.
    waits: bool,
    metrics: Arc<Metrics>,
    watch: Arc<Watch>,
    /// None while another one is to be made.
    producer: Option<ThreadedProducer<Context>>,
    producers: u64,
    /// The secrets that the producer was made with, as the watch counts them.
    secrets: u64,
    /// When what failed is tried again.
    again_at: Option<Instant>,
    reports: mpsc::UnboundedSender<Report>,
    /// What is not safe yet, in the order of sending.
    tickets: BTreeMap<usize, Ticket>,
    next_ticket: usize,
    /// Records of all tickets.
    records: usize,
    stall: Stall,
}

/// Their names, as each record has one.
struct OwnTopics {
    outcomes: Arc<str>,
    dead_letters: Arc<str>,
    bulk_jobs: Arc<str>,
}

struct Context {
    producer: u64,
    reports: mpsc::UnboundedSender<Report>,
}

/// The records of one upsert or one job.
struct Ticket {
    /// None: nobody asks.
    told: Option<Told>,
    records: Vec<Record>,
    left: usize,
}

struct Record {
    topic: Arc<str>,
    /// None: by the key, as Java's default partitioner does.
    partition: Option<i32>,
    key: Vec<u8>,
    /// None: a tombstone.
    value: Option<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Told {
    Row(Position),
    Job(u64),
}

impl Recorder {
    pub fn new(
        config: &Config,
        metrics: &Arc<Metrics>,
        watch: &Arc<Watch>,
    ) -> KafkaResult<(Self, mpsc::UnboundedReceiver<Report>)> {
        let (reports, receiver) = mpsc::unbounded_channel();
        let mut recorder = Self {
            config: config.clone(),
            topics: OwnTopics::of(&config.topics),
            waits: false,
            metrics: Arc::clone(metrics),
            watch: Arc::clone(watch),
            producer: None,
            producers: 0,
            secrets: 0,
            again_at: None,
            reports,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            records: 0,
            stall: Stall::new(Instant::now()),
        };
        recorder.producer = Some(recorder.make()?);
        Ok((recorder, receiver))
    }

    fn make(&mut self) -> KafkaResult<ThreadedProducer<Context>> {
        let mut client = kafka::client_config(&self.config);
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
        self.producers += 1;
        self.secrets = self.watch.secrets();
        let context = Context { producer: self.producers, reports: self.reports.clone() };
        ThreadedProducer::from_config_and_context(&client, context)
    }

    /// Queues the records of an upsert. False where the queue has no room now.
    pub fn record(&mut self, settled: &Settled) -> bool {
        // Room for both or for none: half an upsert's records would be written again.
        if self.records >= QUEUE_RECORDS_MAX {
            return false;
        }
        let OwnTopics { outcomes, dead_letters, .. } = &self.topics;
        let mut records = Vec::with_capacity(1);
        if let Some(dead_letter) = &settled.dead_letter {
            let key = dead_letter.record_key().unwrap_or_default().to_vec();
            records.push(Record::of(dead_letters, key, DeadLetter::encode(dead_letter)));
        }
        if let Some(outcome) = &settled.outcome {
            records.push(Record::of(outcomes, outcome.key().into_bytes(), outcome.encode()));
        }
        self.send(Some(Told::Row(settled.position)), records);
        true
    }

    /// Queues the records of a job, each for the partition whose rows it names.
    pub fn record_job(&mut self, number: u64, records: &[(i32, BulkJob)]) {
        let record = |(partition, job): &(i32, BulkJob)| Record {
            partition: Some(*partition),
            ..Record::of(&self.topics.bulk_jobs, job.job.as_str().into(), job.encode())
        };
        let records = records.iter().map(record).collect();
        self.send(Some(Told::Job(number)), records);
    }

    /// Queues the tombstones of a job that is done with.
    pub fn forget_job(&mut self, job: SalesforceId, partitions: &[i32]) {
        let tombstone = |partition: &i32| Record {
            topic: Arc::clone(&self.topics.bulk_jobs),
            partition: Some(*partition),
            key: job.as_str().into(),
            value: None,
        };
        let records = partitions.iter().map(tombstone).collect();
        self.send(None, records);
    }

    fn send(&mut self, told: Option<Told>, records: Vec<Record>) {
        if self.tickets.is_empty() {
            self.stall.moved(Instant::now());
        }
        self.records += records.len();
        let (number, left) = (self.next_ticket, records.len());
        self.next_ticket += 1;
        self.tickets.insert(number, Ticket { told, records, left });
        self.queue(number);
    }

    /// Hands a ticket's records to the producer. What it does not take goes with the next one.
    fn queue(&mut self, number: usize) {
        let (Some(producer), Some(ticket)) = (&self.producer, self.tickets.get(&number)) else { return };
        let refused = ticket.records.iter().find_map(|record| {
            let mut sent = BaseRecord::with_opaque_to(&record.topic, number).key(&record.key);
            sent.partition = record.partition;
            sent.payload = record.value.as_ref();
            producer.send(sent).err().map(|(error, _)| (error, record.topic.to_string()))
        });
        if let Some((error, topic)) = refused {
            self.refused(number, &error, &topic);
        }
    }

    /// A record is not taken: it is sent once more, changed where that helps, and the reason is named.
    fn refused(&mut self, number: usize, error: &KafkaError, topic: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                self.wait_for(format!("Kafka denies WRITE on topic `{topic}`"));
            }
            Some(RDKafkaErrorCode::MessageSizeTooLarge) if !self.shrink(number) => {
                let reason = format!("topic `{topic}` takes no record of this size; hint: rollbook topics check");
                self.wait_for(reason);
            }
            _ => {}
        }
        self.fail(error);
    }

    fn wait_for(&mut self, what: String) {
        self.waits = true;
        self.watch.waits(WHO, Some(what));
    }

    /// Cuts the records in a ticket's letters. False where there are none that hold more than the beginning.
    fn shrink(&mut self, number: usize) -> bool {
        let Some(ticket) = self.tickets.get_mut(&number) else { return false };
        let mut shrunk = false;
        for record in &mut ticket.records {
            let letter = record.value.as_deref().and_then(|value| DeadLetter::decode(value).ok());
            if let Some(letter) = letter.filter(|letter| letter.cut.is_none()) {
                record.value = Some(letter.beginning().encode());
                shrunk = true;
            }
        }
        shrunk
    }

    /// What follows from a report for whoever waits.
    pub fn reported(&mut self, report: Report) -> Option<Recorded> {
        if report.producer != self.producers {
            // What an earlier one comes to, the present one was given again.
            return None;
        }
        match report.result {
            Ok(()) => self.safe(report.ticket),
            // The end of a producer throws away what it could not write.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight), _)) => {
                None
            }
            Err((error, topic)) => {
                self.refused(report.ticket, &error, &topic);
                None
            }
        }
    }

    fn safe(&mut self, number: usize) -> Option<Recorded> {
        self.stall.moved(Instant::now());
        let ticket = self.tickets.get_mut(&number)?;
        ticket.left -= 1;
        // Another record of the same is still on its way.
        if ticket.left > 0 {
            return None;
        }
        let ticket = self.tickets.remove(&number)?;
        self.records -= ticket.records.len();
        if self.waits && self.again_at.is_none() {
            self.waits = false;
            self.watch.waits(WHO, None);
        }
        match ticket.told? {
            Told::Row(position) => Some(Recorded::Safe(position)),
            Told::Job(number) => Some(Recorded::Job(number)),
        }
    }

    fn fail(&mut self, error: &KafkaError) {
        if let Some(times) = said::again("outcomes and dead letters cannot be written now") {
            warn!(%error, times, "outcomes and dead letters cannot be written now; they are sent once more");
        }
        self.again_at.get_or_insert(Instant::now() + PAUSE);
    }

    /// Goes on with another producer where this one does not get on. To be called now and then.
    pub fn mend(&mut self) {
        let now = Instant::now();
        if self.tickets.is_empty() {
            self.stall.moved(now);
        }
        let stalled = self.stall.stalled(now, self.watch.answering_since(), STALLED_AFTER);
        let outdated = self.secrets != self.watch.secrets();
        if !stalled && !outdated && self.again_at.is_none_or(|at| now < at) {
            return;
        }
        if let Some(given_up) = self.producer.take() {
            let_go(given_up, Duration::ZERO);
        }
        self.metrics.clients_rebuilt.inc();
        self.stall.moved(now);
        match self.make() {
            Ok(producer) => {
                self.producer = Some(producer);
                self.again_at = None;
            }
            Err(error) => {
                self.again_at = None;
                return self.fail(&error);
            }
        }
        let tickets: Vec<usize> = self.tickets.keys().copied().collect();
        warn!(records = self.records, stalled, "outcomes and dead letters are sent once more, by another producer");
        for number in tickets {
            if let Some(ticket) = self.tickets.get_mut(&number) {
                ticket.left = ticket.records.len();
            }
            self.queue(number);
        }
    }
}

impl OwnTopics {
    fn of(topics: &Topics) -> Self {
        Self {
            outcomes: Arc::from(topics.outcomes.as_str()),
            dead_letters: Arc::from(topics.dead_letters.as_str()),
            bulk_jobs: Arc::from(topics.bulk_jobs.as_str()),
        }
    }
}

impl Record {
    fn of(topic: &Arc<str>, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { topic: Arc::clone(topic), partition: None, key, value: Some(value) }
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        said::error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, record)) => Err((error.clone(), record.topic().to_owned())),
        };
        // No receiver: the loop has ended.
        let _loop_gone = self.reports.send(Report { producer: self.producer, ticket, result });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use rdkafka::{ClientConfig, TopicPartitionList};

    use super::*;
    use crate::dead_letter::Stage;

    const WITHIN: Duration = Duration::from_mins(1);

    fn letter(value: &[u8]) -> DeadLetter {
        DeadLetter {
            stage: Stage::Sink,
            reason: "undecodable".to_owned(),
            detail: String::new(),
            hint: String::new(),
            topic: "rollbook.upserts".to_owned(),
            partition: 0,
            offset: 7,
            timestamp: None,
            key: Some(b"key".to_vec()),
            value: Some(value.to_vec()),
            headers: Vec::new(),
            object: None,
            external_id: None,
            fields: Vec::new(),
            attempts: 1,
            at: 0,
            cut: None,
        }
    }

    #[tokio::test]
    async fn a_letter_that_its_topic_does_not_take_is_written_with_the_beginning_of_its_record() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("rollbook.dead-letters", 1, 1).unwrap();
        let text = format!("[kafka]\nbootstrap = \"{}\"\n", cluster.bootstrap_servers());
        let config = Config::parse(&text, Path::new("."), &|_| None).unwrap();
        let metrics = Arc::new(Metrics::new());
        let watch = Watch::start(&Arc::new(config.clone()), (Arc::default(), Arc::default()), || true).unwrap();
        let (mut recorder, mut reports) = Recorder::new(&config, &metrics, &watch).unwrap();
        let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
        let position = Position { log: 0, partition: 0, offset: 7 };
        let dead_letter = Some(letter(&vec![b'x'; 200_000]));
        let settled = Settled { position, object: None, outcome: None, dead_letter, event_at: None };
        assert!(recorder.record(&settled));
        let deadline = Instant::now() + WITHIN;
        let safe = loop {
            assert!(Instant::now() < deadline, "it is written");
            let report = tokio::time::timeout(Duration::from_millis(100), reports.recv()).await;
            if let Ok(Some(report)) = report
                && let Some(recorded) = recorder.reported(report)
            {
                break recorded;
            }
            recorder.mend();
        };
        assert!(matches!(safe, Recorded::Safe(at) if at == position), "{safe:?}");
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "reader");
        let consumer: BaseConsumer = client.create().unwrap();
        let mut partition = TopicPartitionList::new();
        partition.add_partition_offset("rollbook.dead-letters", 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&partition).unwrap();
        let read = std::iter::repeat_with(|| consumer.poll(WITHIN)).flatten().find_map(Result::ok).unwrap();
        let written = DeadLetter::decode(read.payload().unwrap()).unwrap();
        assert!(written.cut.is_some_and(|cut| cut.value_bytes == 200_000), "the letter of the whole was refused");
    }
}
