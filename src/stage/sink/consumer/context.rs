//! What librdkafka calls back: rebalances, statistics, errors.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::Control;
use crate::kafka::membership::Lag;
use crate::kafka::{membership, said};
use crate::stage::sink::outbox::Source;
use crate::stage::sink::positions::Positions;

pub(super) struct Context {
    pub topic: String,
    pub control: mpsc::UnboundedSender<Control>,
    /// What this consumer was assigned.
    pub assigned: Mutex<Vec<i32>>,
    /// Records that the loop's channel had no room for, while the consumer is polled.
    pub held: Mutex<VecDeque<Source>>,
    /// Whether librdkafka says that the member has arrived in its group.
    pub arrived: AtomicBool,
    /// The thread has more than the loop takes: nothing is to come.
    pub paused: AtomicBool,
    pub closing: AtomicBool,
    pub reply_wait: Duration,
    pub positions: Arc<Positions>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        said::error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.arrived.store(membership::arrived(&statistics), Ordering::Release);
        let lags = as_read(membership::lags(&statistics), self.paused.load(Ordering::Acquire));
        let _loop_gone = self.control.send(Control::Lags(lags));
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            // Nobody listens to a consumer that is given up.
            _ if self.closing.load(Ordering::Acquire) => {}
            Rebalance::Assign(assigned) => {
                let partitions = partitions(assigned);
                lock(&self.assigned).clone_from(&partitions);
                info!(?partitions, "sink assigned");
                self.positions.place(assigned);
                let _loop_gone = self.control.send(Control::Assigned(partitions));
                self.tell_places();
            }
            Rebalance::Revoke(revoked) => {
                let partitions = partitions(revoked);
                info!(?partitions, "sink revoked");
                lock(&self.assigned).clear();
                let unread = std::mem::take(&mut *lock(&self.held)).into();
                let (reply, offsets) = std_mpsc::sync_channel(1);
                if self.control.send(Control::Revoked { partitions, unread, reply }).is_ok()
                    && let Ok((log, offsets)) = offsets.recv_timeout(self.reply_wait)
                {
                    commit(consumer, &self.topic, (log, &offsets), CommitMode::Sync);
                }
                self.positions.let_go();
            }
            Rebalance::Error(error) => warn!(%error, "sink rebalance"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // librdkafka keeps the pause of a partition that leaves. Without this, one that left while the sink was full
        // and came back when it no longer was would stay paused for ever.
        let Rebalance::Assign(assigned) = rebalance else { return };
        let resumed = consumer.resume(assigned).and_then(|()| consumer.pause(&self.positions.unplaced()));
        if let Err(error) = resumed {
            warn!(%error, "resuming partitions");
        }
        self.paused.store(false, Ordering::Release);
        self.positions.stamp_placed(consumer);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            debug!(%error, "commit");
        }
    }
}

impl Context {
    /// What is known of the assignment. Told before any of its records comes.
    pub fn tell_places(&self) {
        if let Some(places) = self.positions.places() {
            let _loop_gone = self.control.send(Control::Placed(places));
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
}

/// Commits offsets of a log, if that is the one that is read.
pub(super) fn commit(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    (log, offsets): (u32, &[(i32, i64)]),
    mode: CommitMode,
) {
    // A commit of what was lost is refused; one of a static member that joins again would even be taken for that of
    // somebody else with its name, which ends the consumer for good.
    let Ok(assigned) = consumer.assignment() else { return };
    let ours = |partition: i32| assigned.find_partition(topic, partition).is_some();
    let gone = consumer.context().positions.log() != log;
    if gone || consumer.assignment_lost() || !offsets.iter().any(|(partition, _)| ours(*partition)) {
        return;
    }
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, next_offset) in offsets.iter().filter(|(partition, _)| ours(*partition)) {
        if let Err(error) = list.add_partition_offset(topic, *partition, Offset::Offset(*next_offset)) {
            warn!(%error, partition, "committing");
        }
    }
    let stamp = consumer.context().positions.stamp();
    list.elements().iter_mut().for_each(|element| element.set_metadata(&stamp));
    // Crash here: the rows are read and sent again; harmless, they are upserts by external id.
    if let Err(error) = consumer.commit(&list, mode) {
        warn!(%error, "could not commit, the rows will be sent again");
    }
}

/// What is paused waits for nobody's record. Records that the loop has not taken yet say nothing of that: a sink that is
/// busy always has some, and a partition that stands still beside them would never be seen.
fn as_read(mut lags: Vec<Lag>, paused: bool) -> Vec<Lag> {
    if paused {
        for lag in &mut lags {
            lag.paused = true;
        }
    }
    lags
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_waits_for_its_next_record_unless_the_thread_has_paused_it() {
        let lag = Lag {
            topic: "rollbook.upserts".to_owned(),
            partition: 0,
            records: 7,
            waits_at: Some(42),
            idle: None,
            paused: false,
        };
        assert!(!as_read(vec![lag.clone()], false)[0].paused, "also where the loop has much to take");
        let paused = &as_read(vec![lag], true)[0];
        assert_eq!((paused.paused, paused.records), (true, 7));
    }
}
