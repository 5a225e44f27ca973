//! Partitions that are not read on until somebody has acknowledged what was passed over (`fold.on_gap = "hold"`).
//!
//! A gap is acknowledged where its note is gone. That there is none may also mean that it has not been heard yet, as it is
//! written with the commit that moves over the gap: so the note must have been heard first. It may be heard and be gone
//! between two looks. Its key does not tell it: a log that ends early twice is read on at the same place twice.
//!
//! Whoever takes partitions over has committed no such note, and what it knows of the notes is a moment old, in which its
//! predecessor may have committed one: it reads them to their end first, behind the stable offsets, as the states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use tracing::{info, warn};

use crate::config::OnGap;
use crate::gap;
use crate::kafka::member::Member;
use crate::kafka::noted::{CatchUp, Expected, Noted};
use crate::metrics::{Metrics, Share};
use crate::topic_table::Topic;

use super::Worker;
use crate::stage::fold::{Error, attempt};

/// Between two looks whether somebody has acknowledged.
const LISTEN_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Held {
    /// With the note that must be heard first; none where one was heard already.
    partitions: BTreeMap<(Topic, i32), Option<Arc<Expected>>>,
    /// All that stood in the notes when partitions were taken over last.
    behind: Option<Arc<CatchUp>>,
    share: Share,
    listened: Option<Instant>,
}

impl Held {
    pub fn new(metrics: &Metrics) -> Self {
        Self { partitions: BTreeMap::new(), behind: None, share: Share::of(&metrics.positions.held), listened: None }
    }

    pub fn holds(&self, partition: (Topic, i32)) -> bool {
        self.partitions.contains_key(&partition)
    }

    pub fn clear(&mut self) {
        self.partitions.clear();
        self.count();
    }

    pub fn remove(&mut self, partition: (Topic, i32)) {
        self.partitions.remove(&partition);
        self.count();
    }

    fn insert(&mut self, partition: (Topic, i32), note: Option<Arc<Expected>>) {
        self.partitions.insert(partition, note);
        self.count();
    }

    fn count(&mut self) {
        self.share.set(i64::try_from(self.partitions.len()).unwrap_or(i64::MAX));
    }
}

/// Whether a partition is read on. The note is asked for first: what is open is then known as of later than that.
fn acknowledged(heard: bool, open: impl FnOnce() -> Option<bool>) -> bool {
    heard && open() == Some(false)
}

impl<M: Member> Worker<M> {
    pub(super) fn holds(&self) -> bool {
        self.parts.config.fold.on_gap == OnGap::Hold
    }

    /// Offsets are stable: what their commits have noted is still to be heard.
    pub(super) fn catch_up_on_gaps(&mut self) {
        if self.holds() {
            self.positions.held.behind = self.parts.noted.as_ref().map(Noted::catch_up);
        }
    }

    /// Whether every gap is known that holds what is taken over.
    pub(super) fn gaps_are_known(&self) -> bool {
        self.positions.held.behind.as_ref().is_none_or(|behind| behind.done())
    }

    /// A partition that was held before it was taken over stays so.
    pub(super) fn hold_again(&mut self, input: Topic, partition: i32) {
        if self.holds() && self.gap_is_open(input, partition) == Some(true) {
            self.hold(input, partition, None);
        }
    }

    /// Whether a gap of the partition waits to be acknowledged. None: nobody knows.
    fn gap_is_open(&self, input: Topic, partition: i32) -> Option<bool> {
        let known = self.parts.noted.as_ref()?.known()?;
        Some(gap::holds(&known, input.name(&self.parts.config.topics), partition))
    }

    /// `note`: key and value of the one that is written for it.
    pub(super) fn hold(&mut self, input: Topic, partition: i32, note: Option<(&str, &[u8])>) {
        let expected = note.zip(self.parts.noted.as_ref()).map(|((key, value), noted)| noted.expect(key, value));
        self.positions.held.insert((input, partition), expected);
        let topic = input.name(&self.parts.config.topics);
        warn!(topic, partition, "the partition is held until its gap is acknowledged; hint: rollbook gaps list");
        if let Err(error) = self.parts.member.pause(&self.list_of(input, partition)) {
            warn!(error = %error, "a partition with a gap is not paused");
        }
    }

    /// librdkafka tells no lag of what it does not read.
    pub(super) fn held_lag(&self, (input, partition): (Topic, i32), records: i64) {
        if self.positions.held.holds((input, partition)) {
            self.parts.metrics.set_lag(input, partition, records.max(0));
        }
    }

    fn list_of(&self, input: Topic, partition: i32) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(input.name(&self.parts.config.topics), partition);
        list
    }

    /// Reads on what somebody has acknowledged.
    pub(super) fn release(&mut self) -> Result<(), Error> {
        let held = &self.positions.held;
        if held.partitions.is_empty() || held.listened.is_some_and(|then| self.since(then) < LISTEN_INTERVAL) {
            return Ok(());
        }
        self.positions.held.listened = Some(self.parts.member.now());
        for ((input, partition), note) in self.positions.held.partitions.clone() {
            let heard = note.is_none_or(|note| note.heard());
            if acknowledged(heard, || self.gap_is_open(input, partition)) {
                let topic = input.name(&self.parts.config.topics);
                info!(topic, partition, "the gap is acknowledged; reading on");
                attempt("resume a partition", self.parts.member.resume(&self.list_of(input, partition)))?;
                self.positions.held.remove((input, partition));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_acknowledged_once_its_note_was_heard_and_is_gone() {
        assert!(!acknowledged(false, || Some(false)), "the note is still to be heard");
        assert!(!acknowledged(true, || Some(true)));
        assert!(!acknowledged(true, || None), "the notes are read anew");
        assert!(acknowledged(true, || Some(false)), "it came and went, be it between two looks");
    }
}
