//! Reads a compacted topic from where the reader knows it to its end.
//!
//! The end is that of the log, not of what is committed by now: a predecessor's transaction may still be open. The
//! reader first waits until the last stable offset has reached the log's end as it was when it started, so that no
//! state that the committed offsets answer for is missed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use tracing::warn;

use crate::config::Config;

use super::clock::Clock;
use super::native::topics::{Seen, look};
use super::stall::{STALLED_AFTER, Stall};
use super::watch::Watch;
use super::{ToTheEnd, client_config, let_go, said};

/// One question about a topic or a partition.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// As long as a transaction may stay open (`kafka::TRANSACTION_TIMEOUT_MS`), until a broker looks for such (10 s by
/// default), and some.
const UNSTABLE_FOR: Duration = Duration::from_secs(40);

/// Whoever waits so long for a transaction's end says so. A broker that has just come back may write the end of one half
/// a minute later.
const OPEN_FOR: Duration = Duration::from_secs(3);

/// What could not be told is asked again after this, then after twice as long each time, up to the second. Whoever reads may
/// come back in milliseconds, and a topic that is gone stays so until a person has made it anew.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);
const ASK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);

/// A reader that goes is waited for so long; nothing hangs on it.
const GOES_WITHIN: Duration = Duration::from_secs(1);

/// A broker that has nothing new answers after so long, which is when the end is noticed. The default of half a second
/// would be a part of every hand-over.
const END_NOTICED_WITHIN_MS: &str = "100";

/// What reading a topic takes of Kafka. A trait, so that restores are driven by a simulated broker as well.
pub trait Log: Clock {
    type Message<'m>: Message
    where
        Self: 'm;

    /// What brokers say of the topic.
    fn describe(&self, topic: &str) -> KafkaResult<Seen>;
    /// The beginning and the end of a partition, whatever is committed.
    fn ends(&self, topic: &str, partition: i32) -> KafkaResult<(i64, i64)>;
    /// Below this no transaction is open.
    fn stable_end(&self, topic: &str, partition: i32) -> KafkaResult<i64>;
    fn assign(&self, assignment: &TopicPartitionList) -> KafkaResult<()>;
    /// Committed records, and an error at each end.
    fn poll(&self, wait: Duration) -> Option<KafkaResult<Self::Message<'_>>>;
    /// Since when brokers have answered somebody without a break.
    fn answering_since(&self) -> Option<Instant>;
    /// Whether there are other secrets by now.
    fn outdated(&self) -> bool;
}

/// The log by librdkafka.
pub struct TopicLog {
    /// Sees committed records only. None only while it is dropped.
    committed: Option<BaseConsumer<ToTheEnd>>,
    /// Sees the log's end whatever is committed.
    log: BaseConsumer<ToTheEnd>,
    watch: Arc<Watch>,
    /// The secrets that its clients were made with.
    secrets: u64,
}

impl TopicLog {
    pub fn new(config: &Config, watch: &Arc<Watch>) -> KafkaResult<Self> {
        let secrets = watch.secrets();
        let mut client = client_config(config);
        // `assign` needs a group id; nothing is ever committed to it.
        client.set("group.id", format!("{}-changelog", config.application));
        client.set("enable.auto.commit", "false");
        client.set("enable.partition.eof", "true");
        client.set("auto.offset.reset", "earliest");
        client.set("fetch.queue.backoff.ms", "1");
        client.set("fetch.wait.max.ms", END_NOTICED_WITHIN_MS);
        let log = client.clone().set("isolation.level", "read_uncommitted").create_with_context(ToTheEnd)?;
        let committed = client.set("isolation.level", "read_committed").create_with_context(ToTheEnd)?;
        Ok(Self { committed: Some(committed), log, watch: Arc::clone(watch), secrets })
    }

    fn committed(&self) -> &BaseConsumer<ToTheEnd> {
        self.committed.as_ref().expect("it is dropped last")
    }
}

impl Drop for TopicLog {
    /// librdkafka may not come to the end of it.
    fn drop(&mut self) {
        if let Some(committed) = self.committed.take() {
            let_go(committed, GOES_WITHIN);
        }
    }
}

impl Clock for TopicLog {}

impl Log for TopicLog {
    type Message<'m> = BorrowedMessage<'m>;

    fn describe(&self, topic: &str) -> KafkaResult<Seen> {
        let seen = look(self.log.client(), &[topic], false, ANSWERS_WITHIN)?;
        Ok(seen.into_values().next().unwrap_or(Seen::Unknown))
    }

    fn ends(&self, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
        self.log.fetch_watermarks(topic, partition, ANSWERS_WITHIN)
    }

    fn stable_end(&self, topic: &str, partition: i32) -> KafkaResult<i64> {
        self.committed().fetch_watermarks(topic, partition, ANSWERS_WITHIN).map(|(_, end)| end)
    }

    fn assign(&self, assignment: &TopicPartitionList) -> KafkaResult<()> {
        self.committed().assign(assignment)
    }

    fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.committed().poll(wait)
    }

    fn answering_since(&self) -> Option<Instant> {
        self.watch.answering_since()
    }

    fn outdated(&self) -> bool {
        self.watch.secrets() != self.secrets
    }
}

/// A reader of some partitions of one topic.
pub struct Changelog<L> {
    topic: String,
    log: L,
    partitions: BTreeMap<i32, Progress>,
    beyond_end: bool,
    stall: Stall,
    /// After a question that failed: not before, and the pause until then.
    ask_again: Option<(Instant, Duration)>,
}

/// How far one partition has been read.
struct Progress {
    next_offset: i64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The log's end is not known yet.
    Start,
    /// An older transaction may be open below the log's end.
    Unstable {
        end: i64,
        since: Instant,
    },
    Reading {
        end: i64,
    },
    Finished,
}

/// A record of the changelog.
pub struct Change<'a> {
    pub partition: i32,
    pub offset: i64,
    pub key: &'a [u8],
    /// None: a tombstone.
    pub value: Option<&'a [u8]>,
    pub timestamp: Option<i64>,
}

impl<L: Log> Changelog<L> {
    /// Reads each partition from the given offset on. Needs no broker to be there yet.
    pub fn open(log: L, topic: &str, from: &BTreeMap<i32, i64>) -> Self {
        let start = |(partition, next_offset): (&i32, &i64)| {
            (*partition, Progress { next_offset: *next_offset, phase: Phase::Start })
        };
        let stall = Stall::new(log.now());
        let partitions = from.iter().map(start).collect();
        Self { topic: topic.to_owned(), log, partitions, beyond_end: false, stall, ask_again: None }
    }

    /// Whether every partition has been read to the log's end as it was when its reading started.
    pub fn finished(&self) -> bool {
        self.partitions.values().all(|progress| progress.phase == Phase::Finished)
    }

    /// Whether the reader knew more of a partition than there is: the topic was deleted and made again.
    pub fn known_beyond_end(&self) -> bool {
        self.beyond_end
    }

    /// Records left, by partition and by the offsets; compaction and transaction markers make it an upper bound.
    pub fn remaining(&self) -> impl Iterator<Item = (i32, i64)> {
        let left = |progress: &Progress| match progress.phase {
            Phase::Unstable { end, .. } | Phase::Reading { end } => (end - progress.next_offset).max(0),
            Phase::Start | Phase::Finished => 0,
        };
        self.partitions.iter().map(move |(partition, progress)| (*partition, left(progress)))
    }

    /// Where to resume, by partition.
    pub fn next_offsets(&self) -> impl Iterator<Item = (i32, i64)> {
        self.partitions.iter().map(|(partition, progress)| (*partition, progress.next_offset))
    }

    /// Reads for at most this long, also behind the end, handing over each record. A broker that is away is tried again
    /// at the next call.
    pub fn read(&mut self, for_at_most: Duration, mut each: impl FnMut(Change<'_>)) -> Result<(), KafkaError> {
        let left = |at: Instant| at.saturating_duration_since(self.log.now());
        if let Some(left) = self.ask_again.map(|(at, _)| left(at)).filter(|left| !left.is_zero()) {
            self.log.sleep(left.min(for_at_most));
            return Ok(());
        }
        if let Err(error) = self.advance_phases() {
            if let Some(times) = said::again("the changelog's end is waited for") {
                warn!(error = %error, topic = %self.topic, times, "the changelog's end is waited for");
            }
            let pause = self.ask_again.map_or(ASK_AGAIN_AFTER, |(_, pause)| (pause * 2).min(ASK_AGAIN_AFTER_MAX));
            self.ask_again = Some((self.log.now() + pause, pause));
            self.log.sleep(pause.min(for_at_most));
            return Ok(());
        }
        self.ask_again = None;
        self.poll(for_at_most, &mut each)
    }

    /// Whether the reading does not get on although Kafka answers, or has to go on with other secrets. Who has read to the
    /// end gets on.
    pub fn stalled(&self) -> bool {
        self.log.outdated()
            || !self.finished() && self.stall.stalled(self.log.now(), self.log.answering_since(), self.limit())
    }

    /// How long nothing may get on. A transaction that a dead producer left open is aborted in its own time, and another
    /// client would wait for that as long.
    fn limit(&self) -> Duration {
        let unstable = self.partitions.values().any(|it| matches!(it.phase, Phase::Unstable { .. }));
        if unstable { UNSTABLE_FOR } else { STALLED_AFTER }
    }

    /// What is waited for where a transaction stays open for longer than one that is about to end.
    pub fn open_transaction(&self) -> Option<String> {
        let now = self.log.now();
        let open = self.partitions.iter().find(|(_, progress)| {
            matches!(progress.phase, Phase::Unstable { since, .. } if now.saturating_duration_since(since) >= OPEN_FOR)
        });
        open.map(|(partition, _)| format!("a transaction in {}/{partition} to end", self.topic))
    }

    pub fn now(&self) -> Instant {
        self.log.now()
    }

    pub fn log(&self) -> &L {
        &self.log
    }

    /// From now on finished means: read to the log's end as it is now.
    pub fn to_the_end_again(&mut self) {
        self.stall.moved(self.log.now());
        for progress in self.partitions.values_mut() {
            progress.phase = Phase::Start;
        }
    }

    fn poll(&mut self, for_at_most: Duration, each: &mut impl FnMut(Change<'_>)) -> Result<(), KafkaError> {
        let following = self.finished();
        let deadline = self.log.now() + for_at_most;
        let mut read = 0_u64;
        loop {
            // librdkafka waits for whole milliseconds, and rdkafka would spin through what is left of one.
            let left = deadline.saturating_duration_since(self.log.now()).as_millis();
            if left == 0 || self.finished() != following {
                if read > 0 {
                    self.stall.moved(self.log.now());
                }
                return Ok(());
            }
            match self.log.poll(Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX))) {
                None => {}
                Some(Ok(message)) => {
                    if let Some(progress) = self.partitions.get_mut(&message.partition()) {
                        progress.next_offset = message.offset() + 1;
                    }
                    read += 1;
                    each(change(&message));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    // One that is not being read to an end yet may be at the end of what it was read to before.
                    if let Some(progress) = self.partitions.get_mut(&partition)
                        && matches!(progress.phase, Phase::Reading { .. })
                    {
                        progress.phase = Phase::Finished;
                        self.stall.moved(self.log.now());
                    }
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => {
                    if let Some(times) = said::again("the changelog is waited for") {
                        warn!(error = %error, topic = %self.topic, times, "the changelog is waited for");
                    }
                }
            }
        }
    }

    /// Finds ends, and starts to read the partitions in which no older transaction is open any more.
    fn advance_phases(&mut self) -> Result<(), KafkaError> {
        let mut started = false;
        for (partition, progress) in &mut self.partitions {
            if progress.phase == Phase::Start {
                let (low, end) = self.log.ends(&self.topic, *partition)?;
                self.beyond_end |= progress.next_offset > end;
                progress.next_offset = progress.next_offset.max(low);
                progress.phase = Phase::Unstable { end, since: self.log.now() };
            }
            if let Phase::Unstable { end, .. } = progress.phase {
                let stable = self.log.stable_end(&self.topic, *partition)?;
                if stable >= end {
                    progress.phase = Phase::Reading { end };
                    started = true;
                    self.stall.moved(self.log.now());
                }
            }
        }
        if started { self.assign() } else { Ok(()) }
    }

    /// Partitions that are finished stay assigned, so that they can be followed.
    fn assign(&self) -> Result<(), KafkaError> {
        let mut assignment = TopicPartitionList::new();
        for (partition, progress) in &self.partitions {
            if matches!(progress.phase, Phase::Reading { .. } | Phase::Finished) {
                assignment.add_partition_offset(&self.topic, *partition, Offset::Offset(progress.next_offset))?;
            }
        }
        self.log.assign(&assignment)
    }
}

fn change(message: &impl Message) -> Change<'_> {
    Change {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().unwrap_or_default(),
        value: message.payload(),
        timestamp: message.timestamp().to_millis(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdkafka::error::RDKafkaErrorCode;
    use rdkafka::message::OwnedMessage;

    use super::*;

    /// A topic that is not there.
    struct Absent {
        now: Cell<Instant>,
        asked: Cell<u32>,
    }

    impl Clock for &Absent {
        fn now(&self) -> Instant {
            self.now.get()
        }

        fn sleep(&self, pause: Duration) {
            assert!(!pause.is_zero(), "it would spin");
            self.now.set(self.now.get() + pause);
        }
    }

    impl Absent {
        fn asked<T>(&self) -> KafkaResult<T> {
            self.asked.set(self.asked.get() + 1);
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))
        }
    }

    impl Log for &Absent {
        type Message<'m>
            = OwnedMessage
        where
            Self: 'm;

        fn describe(&self, _: &str) -> KafkaResult<Seen> {
            self.asked()
        }

        fn ends(&self, _: &str, _: i32) -> KafkaResult<(i64, i64)> {
            self.asked()
        }

        fn stable_end(&self, _: &str, _: i32) -> KafkaResult<i64> {
            self.asked()
        }

        fn assign(&self, _: &TopicPartitionList) -> KafkaResult<()> {
            self.asked()
        }

        fn poll(&self, _: Duration) -> Option<KafkaResult<OwnedMessage>> {
            Some(self.asked())
        }

        fn answering_since(&self) -> Option<Instant> {
            None
        }

        fn outdated(&self) -> bool {
            false
        }
    }

    /// It was 45 times a second.
    #[test]
    fn a_topic_that_is_absent_is_asked_for_at_once_and_then_ever_less_often() {
        let begun = Instant::now();
        let absent = Absent { now: Cell::new(begun), asked: Cell::new(0) };
        let mut changelog = Changelog::open(&absent, "rollbook.catalogue", &BTreeMap::from([(0, 0)]));
        let mut asked_by = |end: Duration| {
            while absent.now.get() < begun + end {
                changelog.read(Duration::from_millis(20), |_| ()).unwrap();
            }
            absent.asked.get()
        };
        assert_eq!(asked_by(Duration::from_millis(100)), 3, "a moment is no absence");
        let (soon, later) = (asked_by(Duration::from_secs(10)), asked_by(Duration::from_secs(70)));
        assert_eq!(later - soon, 60, "once a second");
    }
}
