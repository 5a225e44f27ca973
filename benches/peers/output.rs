//! What a peer wrote: counted, and the newest rows of some members to compare.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use rollbook::id::MemberKey;
use rollbook::upsert::ReadUpsert;

use crate::harness::http::block_on;
use crate::peer::{Peer, Run};

const ADMIN_WITHIN: Duration = Duration::from_secs(30);
const READ_WITHIN: Duration = Duration::from_mins(5);

/// Newest rows by key.
pub type Rows = BTreeMap<Vec<u8>, ReadUpsert>;

/// Records of topics, tombstones included; bytes of their keys and values before compression.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub records: u64,
    pub bytes: u64,
}

impl Written {
    pub fn text(self) -> String {
        format!("{} of {} bytes", self.records, self.bytes / self.records.max(1))
    }
}

#[derive(Default)]
pub struct Read {
    pub changelog: Written,
    pub output: Written,
    pub rows: Rows,
}

/// Reads back everything that a run wrote and committed.
pub fn read(run: &Run<'_>) -> Read {
    let mut read = Read::default();
    for topic in topics(run) {
        if run.changelog(&topic) {
            read_topic(run, &topic, |message| count(&mut read.changelog, message));
        }
    }
    let mut newest: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    read_topic(run, &run.output(), |message| {
        count(&mut read.output, message);
        let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        if run.input.sample.contains(member(key)) {
            newest.insert(key.to_vec(), value.to_vec());
        }
    });
    read.rows = newest.into_iter().map(|(key, value)| (key, decoded(&value))).collect();
    read
}

/// The member's part of a row's key, `{object}/{member}…`.
fn member(key: &[u8]) -> &[u8] {
    let id = key.iter().position(|byte| *byte == b'/').and_then(|slash| key.get(slash + 1..)).unwrap_or_default();
    id.get(..MemberKey::LEN).unwrap_or_default()
}

/// When it was written is not compared, as the peers do not run at the same time, nor how often before.
fn decoded(value: &[u8]) -> ReadUpsert {
    let row = ReadUpsert::decode(value).expect("rows are written with the schema `upsert`");
    ReadUpsert { event_at: 0, lane: None, first: false, ..row }
}

fn count(written: &mut Written, message: &impl Message) {
    written.records += 1;
    written.bytes += (message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len)) as u64;
}

/// Every topic that was made for this run.
fn topics(run: &Run<'_>) -> Vec<String> {
    let consumer: BaseConsumer = run.client().create().expect("the settings are right");
    let metadata = consumer.fetch_metadata(None, ADMIN_WITHIN).expect("the broker answers");
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    names.filter(|name| name.starts_with(&run.id())).collect()
}

fn read_topic(run: &Run<'_>, topic: &str, mut each: impl FnMut(&rdkafka::message::BorrowedMessage<'_>)) {
    let mut client = run.client();
    client.set("group.id", "reading-back").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    client.set("isolation.level", "read_committed").set("fetch.queue.backoff.ms", "1");
    let consumer: BaseConsumer = client.create().expect("the settings are right");
    let metadata = consumer.fetch_metadata(Some(topic), ADMIN_WITHIN).expect("the broker answers");
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut open: BTreeSet<i32> = (0..i32::try_from(partitions).expect("few")).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &open {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).expect("the offset is valid");
    }
    consumer.assign(&assignment).expect("the assignment is valid");
    let started = Instant::now();
    while !open.is_empty() {
        assert!(started.elapsed() < READ_WITHIN, "`{topic}` has no end at {open:?}");
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => each(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => panic!("`{topic}` cannot be read: {error}"),
            None => {}
        }
    }
}

/// Its topics go, so that the next run finds the broker as this one did.
pub fn delete(run: &Run<'_>) {
    let admin: AdminClient<DefaultClientContext> = run.client().create().expect("the settings are right");
    let topics = topics(run);
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(ADMIN_WITHIN));
    let deleted = block_on(async { admin.delete_topics(&names, &options).await }).expect("the broker answers");
    for result in deleted {
        result.unwrap_or_else(|(topic, error)| panic!("`{topic}` cannot be deleted: {error}"));
    }
}

/// What is not the same in the rows of two peers, field for field.
pub fn difference((one, expected): (Peer, &Rows), (other, found): (Peer, &Rows)) -> Option<String> {
    let keys: BTreeSet<&Vec<u8>> = expected.keys().chain(found.keys()).collect();
    let different: Vec<_> = keys.iter().filter(|key| expected.get(**key) != found.get(**key)).collect();
    let key = different.first()?;
    let (ours, theirs) = (expected.get(**key), found.get(**key));
    let (rows, of, key) = (different.len(), keys.len(), String::from_utf8_lossy(key));
    Some(format!("{rows} of {of} rows differ; {key}: {} has {ours:?}, {} has {theirs:?}", one.name(), other.name()))
}
