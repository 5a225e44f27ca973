//! Rebalances as data.
//!
//! librdkafka calls back in the middle of a poll. Acting there would run the loop's own code inside its own poll, on
//! borrowed state. Here the callback only notes what happened; the loop acknowledges it by assigning or unassigning
//! when it has committed what it must. Until then the group waits, which is what makes a hand-over tidy.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::statistics::Partition;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use tracing::warn;

/// A topic's partition.
pub type TopicPartition = (String, i32);

/// What the group decided; the loop must answer with `assign` or `unassign`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    Assigned(Vec<TopicPartition>),
    Revoked,
}

/// Records behind the end, of one partition.
#[derive(Clone, Debug)]
pub struct Lag {
    pub topic: String,
    pub partition: i32,
    pub records: i64,
}

/// Context of a group consumer.
#[derive(Default)]
pub struct Membership {
    rebalances: Mutex<VecDeque<Rebalance>>,
    lags: Mutex<Vec<Lag>>,
    leaving: AtomicBool,
}

/// To be called before a group consumer is dropped: nobody takes rebalances any more, and a consumer that is closed
/// waits for the acknowledgement of its last one. So they are acknowledged at once from now on, and so is one that
/// has been noted and not been taken.
pub fn leave(consumer: &BaseConsumer<Membership>) {
    consumer.context().leaving.store(true, Ordering::Release);
    give_up(consumer);
}

fn give_up(consumer: &BaseConsumer<Membership>) {
    if let Err(error) = consumer.unassign() {
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
            Some(Lag { topic: topic.clone(), partition: stats.partition, records })
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

impl ClientContext for Membership {
    fn stats(&self, statistics: Statistics) {
        *self.lags.lock().expect("no holder of the lock panics") = lags(&statistics);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.leaving.load(Ordering::Acquire) {
            return give_up(consumer);
        }
        let rebalance = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let of = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
                (element.topic().to_owned(), element.partition())
            };
            Rebalance::Assigned(partitions.elements().into_iter().map(of).collect())
        } else {
            Rebalance::Revoked
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
