//! Reads topics from where to where somebody asked, and stops: what tools do, and a stage before it begins.
//!
//! No group and no commit, so a look at a topic never moves anybody's offsets. Where each log ends is asked once, before
//! the first record is read: what is written meanwhile would keep a look at a busy topic from ending. The broker says it
//! of committed records only; a high watermark counts those of open transactions, too. Records are handed over one at a
//! time and not kept: whoever looks keeps what it needs of them.
//!
//! Topics are read one after the other, as a client is not told of which topic it has reached the end of a partition.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::metadata::Metadata;
use rdkafka::{Message, Offset, TopicPartitionList};
use tracing::warn;

use super::membership::TopicPartition;
use super::native::topics::{Seen, look};
use super::positions::log_ends;
use super::{ToTheEnd, client_config, said};
use crate::config::Config;
use crate::time::Millis;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// A person at a terminal hears after so long that a broker does not answer.
const SILENT_FOR: Duration = Duration::from_secs(3);
/// Lines of librdkafka's that are brought to the log after a failure.
const WORDS_MAX: usize = 50;
/// Silence after which a broker counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Between two words of how far a look has come: often enough for a bar.
const TELL_EVERY: Duration = Duration::from_millis(200);

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

/// What is read of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    topic: String,
    /// None: all that it has.
    partitions: Option<BTreeSet<i32>>,
    from: Bound,
    until: Bound,
    key_prefix: Vec<u8>,
}

/// A place in the log of each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Where the log starts, or where it ends now.
    Open,
    Offset(i64),
    /// The first record of this time or of a later one; one of an earlier time may stand behind it.
    Time(Millis),
}

impl Range {
    /// All of a topic, as it stands now.
    pub fn of(topic: &str) -> Self {
        let (from, until) = (Bound::Open, Bound::Open);
        Self { topic: topic.to_owned(), partitions: None, from, until, key_prefix: Vec::new() }
    }

    #[must_use]
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = i32>) -> Self {
        self.partitions = Some(partitions.into_iter().collect());
        self
    }

    #[must_use]
    pub fn from(mut self, from: Bound) -> Self {
        self.from = from;
        self
    }

    /// Up to this place, which is no part of it.
    #[must_use]
    pub fn until(mut self, until: Bound) -> Self {
        self.until = until;
        self
    }

    /// Only records with keys that begin so.
    #[must_use]
    pub fn keys(mut self, prefix: &[u8]) -> Self {
        self.key_prefix = prefix.to_vec();
        self
    }

    fn takes(&self, record: &BorrowedMessage) -> bool {
        record.key().unwrap_or_default().starts_with(&self.key_prefix)
    }
}

/// How far a look has come, in offsets: some of them are marks, or compacted away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub passed: u64,
    pub of: u64,
}

/// A client to look at topics with, one after the other.
pub struct Scanner {
    consumer: BaseConsumer<ToTheEnd>,
}

impl Scanner {
    pub fn new(config: &Config) -> Result<Self, ScanError> {
        // The client wants a group id even where it joins no group.
        Ok(Self { consumer: client(config, &format!("{}-scan", config.application))? })
    }

    /// Number of partitions of a topic.
    pub fn partitions(&self, topic: &str) -> Result<i32, ScanError> {
        partitions(&self.consumer, topic)
    }

    /// The first offset of a partition and the one behind its last.
    pub fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64), ScanError> {
        let ends = self.consumer.fetch_watermarks(topic, partition, METADATA_TIMEOUT);
        ends.map_err(|source| ScanError::read(topic, source))
    }

    /// Every record of these ranges, each range after the one before.
    pub fn read(&self, ranges: &[Range], on_record: impl FnMut(&BorrowedMessage) -> Next) -> Result<(), ScanError> {
        self.read_telling(ranges, on_record, |_| {})
    }

    /// The same, and says now and then how far it has come.
    pub fn read_telling(
        &self,
        ranges: &[Range],
        mut on_record: impl FnMut(&BorrowedMessage) -> Next,
        mut tell: impl FnMut(Progress),
    ) -> Result<(), ScanError> {
        let spans = ranges.iter().map(|range| self.span(range)).collect::<Result<Vec<_>, _>>()?;
        let mut progress = Progress { passed: 0, of: spans.iter().map(Span::offsets).sum() };
        let mut told = Instant::now();
        for (range, span) in ranges.iter().zip(spans) {
            let mut last = Next::On;
            let each = |record: &BorrowedMessage| {
                last = if range.takes(record) { on_record(record) } else { Next::On };
                last
            };
            read(&self.consumer, span, each, |passed| {
                progress.passed += passed;
                if told.elapsed() >= TELL_EVERY {
                    told = Instant::now();
                    tell(progress);
                }
            })?;
            if last == Next::Enough {
                break;
            }
        }
        tell(progress);
        Ok(())
    }

    /// Where the range stands in each log, by what the brokers say now.
    fn span(&self, range: &Range) -> Result<Span, ScanError> {
        let topic = range.topic.as_str();
        let failed = |source| ScanError::read(topic, source);
        let all = 0..self.partitions(topic)?;
        let numbers = range.partitions.clone().unwrap_or_else(|| all.collect());
        let partitions: Vec<TopicPartition> = numbers.into_iter().map(|number| (topic.to_owned(), number)).collect();
        let ends = log_ends(&self.consumer, &partitions, METADATA_TIMEOUT).map_err(failed)?;
        let from = self.places(range.from, &partitions).map_err(failed)?;
        let until = self.places(range.until, &partitions).map_err(failed)?;
        let part = |at: &TopicPartition| {
            let log = ends.get(at);
            let within = |place: i64| log.map_or(place, |log| place.max(log.start).min(log.end));
            let next = from.get(&at.1).copied().map(within).or(log.map(|log| log.start));
            let end = until.get(&at.1).copied().map(within).or(log.map(|log| log.end));
            (at.1, Part { next, end })
        };
        Ok(Span { topic: topic.to_owned(), parts: partitions.iter().map(part).collect() })
    }

    /// The offsets of a bound, by partition; none where it is open, or beyond the last record.
    fn places(&self, bound: Bound, partitions: &[TopicPartition]) -> KafkaResult<BTreeMap<i32, i64>> {
        let at = match bound {
            Bound::Open => return Ok(BTreeMap::new()),
            Bound::Offset(offset) => return Ok(partitions.iter().map(|(_, number)| (*number, offset)).collect()),
            Bound::Time(at) => at,
        };
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut list = TopicPartitionList::new();
        for (topic, number) in partitions {
            list.add_partition_offset(topic, *number, Offset::Offset(at.max(0)))?;
        }
        let found = self.consumer.offsets_for_times(list, METADATA_TIMEOUT)?;
        // Where nothing is so late, it begins, or ends, where the log ends.
        let place = |offset| if let Offset::Offset(offset) = offset { offset } else { i64::MAX };
        Ok(found.elements().iter().map(|element| (element.partition(), place(element.offset()))).collect())
    }
}

/// What is read of one topic, by partition.
pub(super) struct Span {
    topic: String,
    parts: BTreeMap<i32, Part>,
}

/// What is left to read of a partition.
#[derive(Clone, Copy)]
struct Part {
    /// None: nobody says where the log starts, so that it is read from there.
    next: Option<i64>,
    /// None: nobody says where the log ends, so that it is read until that is met.
    end: Option<i64>,
}

impl Span {
    /// One partition between two offsets.
    pub(super) fn one(topic: &str, partition: i32, (from, end): (i64, i64)) -> Self {
        let part = Part { next: Some(from), end: Some(end) };
        Self { topic: topic.to_owned(), parts: BTreeMap::from([(partition, part)]) }
    }

    fn offsets(&self) -> u64 {
        self.parts.values().map(Part::left).sum()
    }

    /// A record is met: whether it belongs to what is read, and how many offsets that passes.
    fn meets(&mut self, record: &BorrowedMessage) -> Option<(bool, u64)> {
        let (number, offset) = (record.partition(), record.offset());
        let part = self.parts.get_mut(&number).filter(|_| record.topic() == self.topic)?;
        let left = part.left();
        let taken = part.end.is_none_or(|end| offset < end);
        part.next = Some(offset.saturating_add(1));
        let passed = left - if taken { part.left() } else { 0 };
        if part.end.is_some_and(|end| end <= offset.saturating_add(1)) {
            self.parts.remove(&number);
        }
        Some((taken, passed))
    }
}

impl Part {
    fn left(&self) -> u64 {
        self.next.zip(self.end).and_then(|(next, end)| u64::try_from(end - next).ok()).unwrap_or(0)
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

/// Every record of a span, by a client that may have read another one before; `on_passed` hears how many offsets are
/// behind.
pub(super) fn read(
    consumer: &BaseConsumer<ToTheEnd>,
    span: Span,
    on_record: impl FnMut(&BorrowedMessage) -> Next,
    on_passed: impl FnMut(u64),
) -> Result<(), ScanError> {
    let topic = span.topic.clone();
    let failed = |source| ScanError::read(&topic, source);
    let mut assignment = TopicPartitionList::new();
    for (number, part) in &span.parts {
        let from = part.next.map_or(Offset::Beginning, Offset::Offset);
        assignment.add_partition_offset(&topic, *number, from).map_err(failed)?;
    }
    consumer.assign(&assignment).map_err(failed)?;
    let ended = read_assigned(consumer, span, on_record, on_passed);
    // A pause would outlive the assignment, and the next look at the same partition would wait for ever.
    let resumed = consumer.resume(&assignment);
    consumer.unassign().map_err(failed)?;
    ended?;
    resumed.map_err(failed)
}

fn read_assigned(
    consumer: &BaseConsumer<ToTheEnd>,
    mut span: Span,
    mut on_record: impl FnMut(&BorrowedMessage) -> Next,
    mut on_passed: impl FnMut(u64),
) -> Result<(), ScanError> {
    while !span.parts.is_empty() {
        match consumer.poll(SILENCE_MAX) {
            None => return Err(ScanError::Silent(span.topic)),
            Some(Ok(record)) => {
                let Some((taken, passed)) = span.meets(&record) else { continue };
                on_passed(passed);
                if taken && on_record(&record) == Next::Enough {
                    break;
                }
                if !span.parts.is_empty() && !span.parts.contains_key(&record.partition()) {
                    pause(consumer, &span.topic, record.partition());
                }
            }
            Some(Err(KafkaError::PartitionEOF(number))) => {
                on_passed(span.parts.remove(&number).map_or(0, |part| part.left()));
            }
            Some(Err(source)) if source.rdkafka_error_code().is_some_and(passing) => {}
            Some(Err(source)) => return Err(ScanError::read(&span.topic, source)),
        }
    }
    Ok(())
}

/// What comes behind the end of a busy partition is not fetched while others are read.
fn pause(consumer: &BaseConsumer<ToTheEnd>, topic: &str, partition: i32) {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    if let Err(error) = consumer.pause(&list) {
        warn!(%error, topic, partition, "cannot pause what is read; it is read on and passed over");
    }
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
