//! Topics of one test: names of its own, so that tests share the broker; writing; reading to the end.

use std::collections::BTreeSet;
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use rollbook::config::Topics;
use rollbook::store::OWN_KEYS;

use super::http::block_on;
use super::wait;

const ADMIN_WITHIN: Duration = Duration::from_secs(30);
/// A broker that was killed takes a while to come back.
const WRITE_WITHIN: Duration = Duration::from_secs(90);
const READ_WITHIN: Duration = Duration::from_mins(1);

/// The states' records of members, without what says of partitions how far they were folded.
#[track_caller]
pub fn states(client: &ClientConfig, topics: &Topics) -> Vec<Record> {
    let mut records = read(client, &topics.state);
    records.retain(|record| !record.key.as_deref().unwrap_or_default().starts_with(OWN_KEYS));
    records
}

/// Partitions of a test's topics.
pub const PARTITIONS: i32 = 2;

/// Names that no other test and no other run uses.
pub struct Names {
    /// Also for group ids and transactional ids.
    pub prefix: String,
    pub topics: Topics,
}

pub fn names(test: &str) -> Names {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
    let prefix = format!("it-{now}-{}-{}-{test}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let topics = Topics {
        partitions: PARTITIONS,
        replication_factor: 1,
        ..Topics::named(|topic| format!("{prefix}.{}", topic.label().replace('_', "-")))
    };
    Names { prefix, topics }
}

/// A record to write, or one that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    /// Unset when writing: where the key belongs.
    pub partition: Option<i32>,
    /// Set by reading.
    pub offset: Option<i64>,
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn new(topic: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.to_owned(), key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_bytes().to_vec())));
        self
    }
}

/// Creates topics; `settings` as Kafka names them.
#[track_caller]
pub fn create(client: &ClientConfig, topics: &[&str], partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client.create().expect("the client's settings are right");
    let topics: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|name| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ADMIN_WITHIN)).request_timeout(Some(ADMIN_WITHIN));
    let results = block_on(async { admin.create_topics(&topics, &options).await }).expect("the broker answers");
    for result in results {
        result.unwrap_or_else(|(topic, error)| panic!("cannot create topic `{topic}`: {error}"));
    }
}

/// Sets settings of a topic, in place of all that it was created with.
#[track_caller]
pub fn alter(client: &ClientConfig, topic: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client.create().expect("the client's settings are right");
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let change = settings.iter().fold(change, |change, (name, value)| change.set(name, value));
    let options = AdminOptions::new().operation_timeout(Some(ADMIN_WITHIN)).request_timeout(Some(ADMIN_WITHIN));
    let results = block_on(async { admin.alter_configs(&[change], &options).await }).expect("the broker answers");
    for result in results {
        result.expect("the settings are right");
    }
}

/// Deletes what stands below an offset, as retention does.
#[track_caller]
pub fn delete_below(client: &ClientConfig, topic: &str, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = client.create().expect("the client's settings are right");
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("the offset is valid");
    let options = AdminOptions::new().operation_timeout(Some(ADMIN_WITHIN)).request_timeout(Some(ADMIN_WITHIN));
    block_on(async { admin.delete_records(&below, &options).await }).expect("the broker deletes");
}

/// Writes records in order and returns partition and offset of each. Keys are spread as Java's producer does.
#[track_caller]
pub fn write(client: &ClientConfig, records: &[Record]) -> Vec<(i32, i64)> {
    Writer::new(client).write(records)
}

/// A producer for more than one go.
pub struct Writer(BaseProducer<Deliveries>);

impl Writer {
    #[track_caller]
    pub fn new(client: &ClientConfig) -> Self {
        let mut client = client.clone();
        client.set("partitioner", "murmur2_random").set("enable.idempotence", "true");
        for (name, default) in [("linger.ms", "5"), ("message.max.bytes", "4000000")] {
            if client.get(name).is_none() {
                client.set(name, default);
            }
        }
        Self(client.create_with_context(Deliveries::default()).expect("the client's settings are right"))
    }

    /// Returns partition and offset of each record once all are written.
    #[track_caller]
    pub fn write(&self, records: &[Record]) -> Vec<(i32, i64)> {
        let Self(producer) = self;
        for (index, record) in records.iter().enumerate() {
            send(producer, index, record);
        }
        producer.flush(WRITE_WITHIN).expect("the broker takes the records");
        let mut deliveries = std::mem::take(&mut *producer.context().0.lock().expect("no holder panics"));
        deliveries.sort_by_key(|(index, _)| *index);
        assert_eq!(deliveries.len(), records.len(), "every record has a delivery report");
        let place = |(_, result): (usize, Delivery)| result.unwrap_or_else(|error| panic!("not delivered: {error}"));
        deliveries.into_iter().map(place).collect()
    }
}

fn send(producer: &BaseProducer<Deliveries>, index: usize, record: &Record) {
    let headers = record
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
    let mut pending: BaseRecord<'_, [u8], [u8], usize> =
        BaseRecord::with_opaque_to(&record.topic, index).headers(headers);
    pending.partition = record.partition;
    pending.timestamp = record.timestamp;
    pending.key = record.key.as_deref();
    pending.payload = record.value.as_deref();
    while let Err((error, again)) = producer.send(pending) {
        let full = error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
        assert!(full, "cannot write to `{}`: {error}", record.topic);
        producer.poll(Duration::from_millis(100));
        pending = again;
    }
}

/// Where a record stands now: partition and offset.
type Delivery = Result<(i32, i64), KafkaError>;

#[derive(Default)]
struct Deliveries(Mutex<Vec<(usize, Delivery)>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let place = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().expect("no holder panics").push((index, place));
    }
}

/// What a consumer with `read_committed` sees from the beginning of a topic to its end now.
#[track_caller]
pub fn read(client: &ClientConfig, topic: &str) -> Vec<Record> {
    let consumer = reader(client, "it-reader");
    let metadata = consumer.fetch_metadata(Some(topic), READ_WITHIN).expect("the broker answers");
    let partitions = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |t| t.partitions().len());
    assert!(partitions > 0, "topic `{topic}` exists");
    let mut open: BTreeSet<i32> = (0..i32::try_from(partitions).expect("few")).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &open {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).expect("the offset is valid");
    }
    consumer.assign(&assignment).expect("the assignment is valid");

    let mut records = Vec::new();
    wait::until(&format!("the end of topic `{topic}`"), READ_WITHIN, || {
        // The end that a consumer meets is the last stable offset: open transactions stay out.
        while !open.is_empty() {
            match consumer.poll(Duration::from_secs(1)) {
                None => return Err(format!("partitions {open:?} go on")),
                Some(Ok(message)) => records.push(owned(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
        Ok(())
    });
    records
}

/// The offsets that a group has committed on a topic, by partition; None where it has none.
#[track_caller]
pub fn committed(client: &ClientConfig, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    let offsets = reader(client, group).committed_offsets(list, READ_WITHIN).expect("the broker answers");
    offsets.elements().iter().map(|element| element.offset().to_raw().filter(|offset| *offset >= 0)).collect()
}

fn reader(client: &ClientConfig, group: &str) -> BaseConsumer {
    let mut client = client.clone();
    client.set("group.id", group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    client.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "10");
    client.create().expect("the client's settings are right")
}

fn owned(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        topic: message.topic().to_owned(),
        partition: Some(message.partition()),
        offset: Some(message.offset()),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
    }
}

/// Number of partitions of a topic, or that it is not there; asking does not create it.
pub fn partitions(client: &ClientConfig, topic: &str) -> Result<usize, String> {
    let mut client = client.clone();
    client.set("group.id", "it-metadata").set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = client.create().expect("the client's settings are right");
    let metadata = consumer.fetch_metadata(Some(topic), READ_WITHIN).map_err(|error| error.to_string())?;
    match metadata.topics().first().map(|topic| topic.partitions().len()) {
        Some(partitions) if partitions > 0 => Ok(partitions),
        _ => Err(format!("there is no topic `{topic}`")),
    }
}
