//! Reads partitions from one end to the other and stops: what tools do, and a stage before it begins.
//!
//! No group and no commit, so a look at a topic never moves anybody's offsets. The end is where the broker says so
//! (committed records only), not where a high watermark was: that one counts markers of transactions, too.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::metadata::Metadata;
use rdkafka::{Message, Offset, TopicPartitionList};
use tracing::warn;

use super::native::topics::{Seen, look};
use super::{ToTheEnd, client_config, said};
use crate::config::Config;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// A person at a terminal hears after so long that a broker does not answer.
const SILENT_FOR: Duration = Duration::from_secs(3);
/// Lines of librdkafka's that are brought to the log after a failure.
const WORDS_MAX: usize = 50;
/// Silence after which a broker counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("cannot make a Kafka client of the settings")]
    Client(#[source] KafkaError),
    #[error(
        "cannot reach Kafka to read `{topic}`; hint: is a broker up at `kafka.bootstrap`, and the login in `kafka.properties` right?"
    )]
    Unreachable {
        topic: String,
        #[source]
        source: KafkaError,
    },
    #[error("topic `{0}` does not exist; hint: rollbook topics create")]
    NoTopic(String),
    #[error("Kafka denies {right} on topic `{topic}`; hint: the rights that Rollbook needs are listed in SECURITY.md")]
    Denied { topic: String, right: &'static str },
    #[error("Kafka sent nothing of `{0}` for {silence} s", silence = SILENCE_MAX.as_secs())]
    Silent(String),
    #[error("cannot read `{topic}`")]
    Read {
        topic: String,
        #[source]
        source: KafkaError,
    },
}

impl ScanError {
    /// Whether another try may succeed without a change.
    pub fn temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent(_) | Self::Read { .. })
    }

    fn read(topic: &str, source: KafkaError) -> Self {
        let topic = topic.to_owned();
        if source.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
            return Self::Denied { topic, right: "READ" };
        }
        Self::Read { topic, source }
    }
}

/// Whether to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    On,
    Enough,
}

pub struct Scanner<'a> {
    topic: &'a str,
    consumer: BaseConsumer<ToTheEnd>,
}

impl<'a> Scanner<'a> {
    pub fn new(config: &Config, topic: &'a str) -> Result<Self, ScanError> {
        // The client wants a group id even where it joins no group.
        Ok(Self { topic, consumer: client(config, &format!("{}-scan", config.application))? })
    }

    /// Number of partitions of the topic.
    pub fn partitions(&self) -> Result<i32, ScanError> {
        partitions(&self.consumer, self.topic)
    }

    /// The first offset of a partition and the one behind its last.
    pub fn ends(&self, partition: i32) -> Result<(i64, i64), ScanError> {
        let ends = self.consumer.fetch_watermarks(self.topic, partition, METADATA_TIMEOUT);
        ends.map_err(|source| ScanError::read(self.topic, source))
    }

    /// Every record of these partitions from `from` on, as it stands now.
    pub fn read(
        &self,
        partitions: impl IntoIterator<Item = i32>,
        from: Offset,
        on_record: impl FnMut(&BorrowedMessage) -> Next,
    ) -> Result<(), ScanError> {
        read(&self.consumer, (self.topic, partitions.into_iter().collect()), from, on_record)
    }
}

/// A client that reads committed records to the end, and never joins or commits to the group of that name.
pub(super) fn client(config: &Config, group: &str) -> Result<BaseConsumer<ToTheEnd>, ScanError> {
    let mut client = client_config(config);
    client
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50");
    client.create_with_context(ToTheEnd).map_err(ScanError::Client)
}

/// As [`Scanner::partitions`].
pub(super) fn partitions(consumer: &BaseConsumer<ToTheEnd>, topic: &str) -> Result<i32, ScanError> {
    let metadata = all_topics(consumer, METADATA_TIMEOUT)
        .map_err(|source| ScanError::Unreachable { topic: topic.to_owned(), source })?;
    let count = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |it| it.partitions().len());
    if count > 0 {
        return Ok(i32::try_from(count).unwrap_or(i32::MAX));
    }
    // Of a topic that we may not describe, brokers do not even say that it is there, unless it is named.
    match look(consumer.client(), &[topic], false, METADATA_TIMEOUT) {
        Ok(seen) if seen.get(topic) == Some(&Seen::Denied) => {
            Err(ScanError::Denied { topic: topic.to_owned(), right: "DESCRIBE" })
        }
        _ => Err(ScanError::NoTopic(topic.to_owned())),
    }
}

/// As [`Scanner::read`], by a client that may have read another topic before.
pub(super) fn read(
    consumer: &BaseConsumer<ToTheEnd>,
    (topic, mut open): (&str, BTreeSet<i32>),
    from: Offset,
    mut on_record: impl FnMut(&BorrowedMessage) -> Next,
) -> Result<(), ScanError> {
    let failed = |source| ScanError::read(topic, source);
    let mut assignment = TopicPartitionList::new();
    for partition in &open {
        assignment.add_partition_offset(topic, *partition, from).map_err(failed)?;
    }
    consumer.assign(&assignment).map_err(failed)?;
    while !open.is_empty() {
        match consumer.poll(SILENCE_MAX) {
            None => return Err(ScanError::Silent(topic.to_owned())),
            Some(Ok(record)) => {
                if open.contains(&record.partition()) && on_record(&record) == Next::Enough {
                    break;
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(source)) if source.rdkafka_error_code().is_some_and(passing) => {}
            Some(Err(source)) => return Err(failed(source)),
        }
    }
    consumer.unassign().map_err(failed)
}

/// Metadata of all topics, as asking for one by name may create it. If that fails, librdkafka's own words (a refused
/// password, an unknown authority) are brought to the log: they wait in a queue that only polling empties.
pub(super) fn all_topics<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    timeout: Duration,
) -> Result<Metadata, KafkaError> {
    let first = consumer.fetch_metadata(None, timeout.min(SILENT_FOR));
    if first.is_ok() || timeout <= SILENT_FOR {
        return heard(consumer, first);
    }
    if let Some(times) = said::again("kafka does not answer yet") {
        warn!(times, "kafka does not answer yet; waiting for it");
    }
    heard(consumer, consumer.fetch_metadata(None, timeout.saturating_sub(SILENT_FOR)))
}

fn heard<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    fetched: Result<Metadata, KafkaError>,
) -> Result<Metadata, KafkaError> {
    if fetched.is_err() {
        let words = std::iter::repeat_with(|| consumer.poll(Duration::from_millis(10)));
        words.take(WORDS_MAX).take_while(Option::is_some).for_each(drop);
    }
    fetched
}

/// Errors that librdkafka reports and mends itself; if it does not, the silence ends the scan.
fn passing(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    matches!(code, BrokerTransportFailure | AllBrokersDown | OperationTimedOut)
}
