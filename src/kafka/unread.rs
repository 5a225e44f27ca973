//! What a group has not committed of a topic, as the brokers know it: the only evidence that holds for all instances at
//! once, and that does not change in the moment between reading a record and being done with it.
//!
//! A committed offset below the high watermark is no proof of a record that is left: transactions end with marks, and
//! compaction leaves holes. So where they differ it is looked whether a record comes. Nor is one at the end a proof that
//! it was read: a member of the group that is none of ours commits, too, and what it takes reaches nobody. What we commit
//! has a stamp.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;

use super::ToTheEnd;
use super::native::topics::describe;
use super::positions::{Committed, committed, strangers};
use super::scan::{self, Next, ScanError, Span};
use crate::config::Config;

/// One request to the brokers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The same where whoever asks has no time left: a broker that is there answers sooner.
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Looks at the offsets of one group, without being its member, and with one client for all topics and partitions.
pub struct Group {
    application: String,
    name: String,
    consumer: BaseConsumer<ToTheEnd>,
    /// Nobody waits for an answer after that.
    until: Instant,
}

/// A partition with records of which the group does not say that we have read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub topic: String,
    pub partition: i32,
    /// None: nothing is committed.
    pub committed: Option<Committed>,
    pub end: i64,
}

impl Unread {
    /// What is there to be done, behind the name of the partition.
    pub fn why(&self) -> String {
        let end = self.end;
        match &self.committed {
            None => format!("nothing is committed, it ends at {end}"),
            Some(Committed { offset, stamp: None }) => {
                format!("{offset} was committed by another application, or by an earlier version, it ends at {end}")
            }
            // Or in a topic of this name that was deleted since; either way it was ours.
            Some(Committed { offset, stamp: Some(_) }) => format!("committed {offset}, it ends at {end}"),
        }
    }
}

/// What stood on the topics, by partition: where they end.
pub type Ends = Vec<(String, i32, i64)>;

impl Group {
    pub fn new(config: &Config, group: &str, until: Instant) -> Result<Self, ScanError> {
        let (application, name) = (config.application.clone(), group.to_owned());
        Ok(Self { application, name, consumer: scan::client(config, group)?, until })
    }

    fn timeout(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()).clamp(REQUEST_TIMEOUT_MIN, REQUEST_TIMEOUT)
    }

    /// Members that are none of ours: what they are assigned nobody reads.
    pub fn strangers(&self) -> Result<Vec<String>, KafkaError> {
        strangers(&self.consumer, (&self.name, &self.application), self.timeout())
    }

    /// The first partition that has a record which is not committed, and the ends of those before it.
    pub fn unread(&self, topic: &str) -> Result<(Option<Unread>, Ends), ScanError> {
        let failed = |source| ScanError::Unreachable { topic: topic.to_owned(), source };
        let mut list = TopicPartitionList::new();
        for partition in 0..scan::partitions(&self.consumer, topic)? {
            list.add_partition(topic, partition);
        }
        let offsets = self.consumer.committed_offsets(list, self.timeout()).map_err(failed)?;
        let mut committed = committed(&offsets);
        let described = describe(self.consumer.client(), &[topic], self.timeout()).map_err(failed)?;
        let topic_id = described.get(topic).and_then(|it| it.id.as_deref());
        let mut ends = Ends::new();
        for element in offsets.elements() {
            element.error().map_err(failed)?;
            let partition = element.partition();
            let committed = committed.remove(&(topic.to_owned(), partition));
            let (start, end) = self.watermarks(topic, partition).map_err(failed)?;
            let open = match to_be_read(committed.as_ref(), topic_id, (start, end)) {
                ToBeRead::Nothing => false,
                ToBeRead::All => true,
                ToBeRead::From(from) => self.record_between(topic, partition, (from, end))?,
            };
            if open {
                return Ok((Some(Unread { topic: topic.to_owned(), partition, committed, end }), ends));
            }
            ends.push((topic.to_owned(), partition, end));
        }
        Ok((None, ends))
    }

    fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.consumer.fetch_watermarks(topic, partition, self.timeout())
    }

    fn record_between(&self, topic: &str, partition: i32, offsets: (i64, i64)) -> Result<bool, ScanError> {
        let mut found = false;
        let any = |_: &BorrowedMessage| {
            found = true;
            Next::Enough
        };
        scan::read(&self.consumer, Span::one(topic, partition, offsets), any, |_| {})?;
        Ok(found)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToBeRead {
    Nothing,
    /// Whatever is committed: nobody knows that it was read.
    All,
    /// If there is a record.
    From(i64),
}

fn to_be_read(committed: Option<&Committed>, topic_id: Option<&str>, (start, end): (i64, i64)) -> ToBeRead {
    // One of a topic that was deleted since says nothing of this one.
    let committed = committed.filter(|it| !it.of_another(topic_id));
    let from = committed.map_or(start, |it| it.offset).max(start);
    if start == end {
        ToBeRead::Nothing
    } else if committed.is_some_and(|it| it.stamp.is_none()) {
        ToBeRead::All
    } else if from < end {
        ToBeRead::From(from)
    } else {
        ToBeRead::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::positions::Stamp;

    #[test]
    fn what_somebody_else_committed_is_not_taken_for_read() {
        let of = |offset, stamp| to_be_read(Some(&Committed { offset, stamp }), Some("one"), (10, 20));
        let ours = || Some(Stamp::default());
        assert_eq!((of(20, ours()), of(12, ours())), (ToBeRead::Nothing, ToBeRead::From(12)));
        assert_eq!((of(4, ours()), to_be_read(None, None, (10, 20))), (ToBeRead::From(10), ToBeRead::From(10)));
        let stamp = |id: &str| Some(Stamp { topic_id: Some(id.to_owned()), born: None });
        assert_eq!(of(20, stamp("one")), ToBeRead::Nothing);
        assert_eq!(of(20, stamp("another")), ToBeRead::From(10), "of a topic that was deleted since");
        assert_eq!((of(20, None), of(12, None)), (ToBeRead::All, ToBeRead::All));
        let nothing = Committed { offset: 10, stamp: None };
        assert_eq!(to_be_read(Some(&nothing), None, (10, 10)), ToBeRead::Nothing, "there is nothing to be read");
    }
}
