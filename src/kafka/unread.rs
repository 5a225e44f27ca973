//! What a group has not committed of a topic, as the brokers know it: the only evidence that holds for all instances at
//! once, and that does not change in the moment between reading a record and being done with it.
//!
//! A committed offset below the high watermark is no proof of a record that is left: transactions end with marks, and
//! compaction leaves holes. So where they differ it is looked whether a record comes.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::ToTheEnd;
use super::scan::{self, Next, ScanError};
use crate::config::Config;

/// One request to the brokers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Looks at the offsets of one group, without being its member, and with one client for all topics and partitions.
pub struct Group {
    consumer: BaseConsumer<ToTheEnd>,
}

/// A partition with records that the group has not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub topic: String,
    pub partition: i32,
    /// None: nothing is committed.
    pub committed: Option<i64>,
    pub end: i64,
}

/// What stood on the topics, by partition: where they end.
pub type Ends = Vec<(String, i32, i64)>;

impl Group {
    pub fn new(config: &Config, group: &str) -> Result<Self, ScanError> {
        Ok(Self { consumer: scan::client(config, group)? })
    }

    /// The first partition that has a record which is not committed, and the ends of those before it.
    pub fn unread(&self, topic: &str) -> Result<(Option<Unread>, Ends), ScanError> {
        let failed = |source| ScanError::Unreachable { topic: topic.to_owned(), source };
        let mut list = TopicPartitionList::new();
        for partition in 0..scan::partitions(&self.consumer, topic)? {
            list.add_partition(topic, partition);
        }
        let committed = self.consumer.committed_offsets(list, REQUEST_TIMEOUT).map_err(failed)?;
        let mut ends = Ends::new();
        for element in committed.elements() {
            element.error().map_err(failed)?;
            let partition = element.partition();
            let committed = element.offset().to_raw().filter(|offset| *offset >= 0);
            let (start, end) = self.watermarks(topic, partition).map_err(failed)?;
            let from = committed.unwrap_or(start).max(start);
            if from < end && self.record_from(topic, partition, from)? {
                return Ok((Some(Unread { topic: topic.to_owned(), partition, committed, end }), ends));
            }
            ends.push((topic.to_owned(), partition, end));
        }
        Ok((None, ends))
    }

    fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)
    }

    fn record_from(&self, topic: &str, partition: i32, from: i64) -> Result<bool, ScanError> {
        let mut found = false;
        scan::read(&self.consumer, (topic, [partition].into()), Offset::Offset(from), |_| {
            found = true;
            Next::Enough
        })?;
        Ok(found)
    }
}
