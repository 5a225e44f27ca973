//! Rebalances as data.
//!
//! librdkafka calls back in the middle of a poll. Acting there would run the loop's own code inside its own poll, on
//! borrowed state. Here the callback only notes what happened; the loop acknowledges it by assigning or unassigning
//! when it has committed what it must. Until then the group waits, which is what makes a hand-over tidy.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Partition;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use tracing::warn;

use super::said;

/// A topic's partition.
pub type TopicPartition = (String, i32);

/// What the group decided; the loop must answer by assigning or unassigning. By the classic protocol the whole assignment,
/// by the consumer protocol (KIP-848) what is added to it and what is taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

/// Records behind the end, of one partition.
#[derive(Clone, Debug)]
pub struct Lag {
    pub topic: String,
    pub partition: i32,
    pub records: i64,
    /// The offset that is to be fetched next, where there is something to fetch and nothing is on its way to be read.
    pub waits_at: Option<i64>,
    /// What was given to the application and where the fetcher is, where nothing is between them but what nobody gets:
    /// marks of transactions, and what was compacted away.
    pub idle: Option<Idle>,
    /// Whoever reads does not fetch from it for the time being.
    pub paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Behind the last record that was given; negative: none was since the assignment.
    pub given: i64,
    pub fetcher: i64,
}

/// Context of a group consumer.
#[derive(Default)]
pub struct Membership {
    rebalances: Mutex<VecDeque<Rebalance>>,
    lags: Mutex<Vec<Lag>>,
    leaving: AtomicBool,
    arrived: AtomicBool,
}

/// What a list of librdkafka's names.
pub fn listed(partitions: &TopicPartitionList) -> Vec<TopicPartition> {
    partitions.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

/// To be called before a group consumer is dropped: nobody takes rebalances any more, and a consumer that is closed
/// waits for the acknowledgement of its last one. So they are acknowledged at once from now on, and so is one that
/// has been noted and not been taken.
pub fn leave(consumer: &BaseConsumer<Membership>) {
    consumer.context().leaving.store(true, Ordering::Release);
    give_up(consumer);
}

fn give_up(consumer: &BaseConsumer<Membership>) {
    let given_up = match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.assignment().and_then(|all| consumer.incremental_unassign(&all)),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    };
    if let Err(error) = given_up {
        warn!(error = %error, "partitions were not given up; the group takes them after the session timeout");
    }
}

impl Membership {
    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().expect("no holder of the lock panics").pop_front()
    }

    pub fn rebalance_pending(&self) -> bool {
        !self.rebalances.lock().expect("no holder of the lock panics").is_empty()
    }

    /// Whether the member knew what it has, as of the last statistics.
    pub fn arrived(&self) -> bool {
        self.arrived.load(Ordering::Acquire)
    }

    /// Lags as of the last statistics; empty if they were taken already.
    pub fn take_lags(&self) -> Vec<Lag> {
        std::mem::take(&mut *self.lags.lock().expect("no holder of the lock panics"))
    }
}

/// How far a consumer's application is behind the ends of its partitions.
pub fn lags(statistics: &Statistics) -> Vec<Lag> {
    let partitions =
        statistics.topics.iter().flat_map(|(topic, stats)| stats.partitions.values().map(move |it| (topic, it)));
    let known = partitions.filter(|(_, stats)| stats.partition >= 0);
    known
        .filter_map(|(topic, stats)| {
            let records = behind(stats)?;
            let waits_at = (records > 0 && stats.fetchq_cnt == 0).then_some(stats.next_offset);
            let idle = (stats.fetchq_cnt == 0).then_some(Idle { given: stats.app_offset, fetcher: stats.next_offset });
            Some(Lag { topic: topic.clone(), partition: stats.partition, records, waits_at, idle, paused: false })
        })
        .collect()
}

/// None: not known yet. The reader sees committed records only, so the end is the last stable one.
fn behind(stats: &Partition) -> Option<i64> {
    // What was fetched is with the application: then the fetcher's place counts, which is beyond the marks that end
    // transactions, and is there before the first record. Else what the application has read.
    let read = if stats.fetchq_cnt == 0 { stats.next_offset } else { stats.app_offset };
    (stats.ls_offset >= 0 && read >= 0).then(|| (stats.ls_offset - read).max(0))
}

/// Whether librdkafka says of its member that it has arrived in the group.
pub fn arrived(statistics: &Statistics) -> bool {
    statistics.cgrp.as_ref().is_some_and(|group| group.state == "up" && group.join_state == "steady")
}

impl ClientContext for Membership {
    fn error(&self, error: KafkaError, reason: &str) {
        said::error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.arrived.store(arrived(&statistics), Ordering::Release);
        *self.lags.lock().expect("no holder of the lock panics") = lags(&statistics);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.leaving.load(Ordering::Acquire) {
            return give_up(consumer);
        }
        let partitions = listed(partitions);
        let rebalance = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Rebalance::Assigned(partitions)
        } else {
            Rebalance::Revoked(partitions)
        };
        self.rebalances.lock().expect("no holder of the lock panics").push_back(rebalance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_at_the_end_of_a_transaction_is_no_lag_and_an_unread_partition_is() {
        let of = |fetchq_cnt, next_offset, app_offset| {
            behind(&Partition { fetchq_cnt, next_offset, app_offset, ls_offset: 10, ..Partition::default() })
        };
        assert_eq!(of(0, 10, 9), Some(0), "9 is a mark");
        assert_eq!(of(3, 10, 7), Some(3), "three wait in the queue");
        assert_eq!(of(0, 4, -1001), Some(6), "nothing has come yet");
        assert_eq!(of(0, -1001, -1001), None);
    }
}
