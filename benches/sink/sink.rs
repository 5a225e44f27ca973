//! Rollbook: the real binary with the sink alone, rows on a topic of Apache Kafka, outcomes read from another.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use rollbook::outcome::{Outcome, OutcomeKind};
use rollbook::route;
use rollbook::upsert::{Lane, Object, Row as Fields, Upsert, Value};
use secrecy::ExposeSecret;

use crate::harness::{self, Names, Rollbook, settings};
use crate::org::{Org, Row};

/// As in the defaults.
const PARTITIONS: i32 = 6;
const WITHIN: Duration = Duration::from_mins(1);

pub struct Sink {
    pub started: Instant,
    rollbook: Rollbook,
    producer: BaseProducer,
    outcomes: BaseConsumer,
    names: Names,
}

impl Sink {
    /// Returns when the process is there; what it needs until it takes rows is its own.
    pub fn start(org: &Org, waiting: &[Row]) -> Self {
        let client = harness::kafka().client();
        let mut names = harness::names("sink");
        names.topics.partitions = PARTITIONS;
        let port = harness::free_port();
        let config = configure(org, &names, port);
        let mut create = harness::command(&["topics", "create", "--config"]);
        harness::run("topics", create.arg(&config), WITHIN).unwrap_or_else(|why| panic!("{why}"));
        let mut settings = client.clone();
        settings.set("enable.idempotence", "true").set("linger.ms", "0");
        // A burst of any size.
        settings.set("queue.buffering.max.messages", "10000000");
        let producer = settings.create().expect("the settings are right");
        send(&producer, &names, waiting);
        producer.flush(WITHIN).expect("the broker takes the rows");
        let outcomes = reader(&client, &names.topics.outcomes);
        let started = Instant::now();
        let rollbook = Rollbook::start_stages("sink", &config, port, "sink");
        Self { started, rollbook, producer, outcomes, names }
    }

    pub fn ready(&mut self) {
        self.rollbook.await_ready();
    }

    pub fn send(&self, rows: &[Row]) {
        send(&self.producer, &self.names, rows);
    }

    pub fn confirmed(&mut self, within: Duration) -> Option<String> {
        // Serves delivery reports meanwhile.
        self.producer.poll(Duration::ZERO);
        let Some(message) = self.outcomes.poll(within) else {
            let status = self.rollbook.process.exited();
            assert!(status.is_none(), "it ended: {status:?}\n{}", self.rollbook.process.log_tail());
            return None;
        };
        let message = message.expect("the broker answers");
        let outcome = Outcome::decode(message.payload().expect("it has a value")).expect("it is of this version");
        assert_eq!(outcome.kind, OutcomeKind::Created, "{outcome:?}");
        Some(outcome.external_id)
    }

    pub fn process_id(&self) -> u32 {
        self.rollbook.process.id()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // What is not delivered by now has been waited for in vain.
        let _ = self.producer.flush(Duration::from_secs(1));
    }
}

/// Nothing but what an installation must say.
fn configure(org: &Org, names: &Names, port: u16) -> PathBuf {
    let folder = harness::folder().join(&names.prefix);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).expect("the target folder is writable");
        file
    };
    let credentials = org.credentials();
    let secret: &Path = &write("client-secret", credentials.client_secret.expose_secret());
    let text = format!(
        "application = \"{}\"\n[kafka]\nbootstrap = \"{}\"\n[topics]\n{}[http]\nlisten = \"127.0.0.1:{port}\"\n{}",
        names.prefix,
        harness::kafka().bootstrap(),
        toml::to_string(&names.topics).expect("topics are TOML"),
        settings::salesforce(&org.url(), &credentials.client_id, secret),
    );
    write("rollbook.toml", &text)
}

fn send(producer: &BaseProducer, names: &Names, rows: &[Row]) {
    for Row { member, status } in rows {
        let external_id = member.to_string();
        let fields = vec![("Status", Value::Text((*status).to_owned()))];
        let event_at = jiff::Timestamp::now().as_millisecond();
        let row = Fields { object: Object::CAMPAIGN_MEMBER, external_id, fields };
        let upsert = Upsert { row, member: *member, event_at, lane: Lane::Live };
        let (key, value) = (upsert.row.key(), upsert.encode());
        // As the fold: all rows of a member stand in its partition.
        let partition = route::partition(&member.bytes(), PARTITIONS);
        let record = BaseRecord::to(&names.topics.upserts).partition(partition).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).expect("the producer has room");
        producer.poll(Duration::ZERO);
    }
}

fn reader(client: &ClientConfig, topic: &str) -> BaseConsumer {
    let mut settings = client.clone();
    settings.set("group.id", "sink-watch").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = settings.create().expect("the settings are right");
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning).expect("the offset is valid");
    }
    consumer.assign(&partitions).expect("the partitions are valid");
    consumer
}
