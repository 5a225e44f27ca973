//! Looks after positions while partitions are read: nothing is passed over without a word.
//!
//! What is found that asks for another place to read from is settled by taking the partitions over anew, so that one
//! place decides (`positions`). Records that are gone are counted, said, and noted until somebody acknowledges it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaResult;
use tracing::{error, info, warn};

use crate::config::OnGap;
use crate::dead_letter::Stage;
use crate::kafka::member::Member;
use crate::kafka::membership::{TopicPartition, listed};
use crate::kafka::positions::{Cause, Ends};
use crate::kafka::topic_ids::Described;
use crate::kafka::topics::Topic;
use crate::kafka::transaction::Outgoing;
use crate::stage::gaps::{self, NotedGap};

use super::gap::Gap;
use super::inputs::Jump;
use super::worker::Worker;
use super::{Error, attempt};

/// Between two looks at the logs: a gap is noticed within 30 seconds, and the questions cost a few milliseconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

impl<M: Member> Worker<M> {
    /// Now and then compares what is read with what stands in the logs.
    pub(super) fn look(&mut self) -> Result<(), Error> {
        let due = self.positions.looked.is_some_and(|looked| self.since(looked) >= LOOK_INTERVAL);
        if !due || self.lost || self.taking_over || self.restoring.is_some() || self.parts.member.rebalance_pending() {
            return Ok(());
        }
        // An outage has nothing to compare with, and each question would wait for it.
        if self.parts.member.answering_since().is_none() {
            return Ok(());
        }
        self.positions.looked = Some(self.parts.member.now());
        match self.compare() {
            Ok(false) => Ok(()),
            Ok(true) => self.take_over_anew(),
            Err(error) => {
                warn!(thread = %self.parts.name, error = %error, "the ends of the inputs are not known");
                Ok(())
            }
        }
    }

    /// True where the partitions are to be taken over anew.
    fn compare(&mut self) -> KafkaResult<bool> {
        let found = self.describe()?;
        let positions: Vec<(Topic, i32, i64)> = self.next_offsets.positions().collect();
        let places: Vec<TopicPartition> = positions.iter().map(|it| self.place((it.0, it.1))).collect();
        let mut known = self.parts.member.log_ends(&places)?;
        let of = |(it, place): (&(Topic, i32, i64), &TopicPartition)| Some(((it.0, it.1), known.remove(place)?));
        let ends: BTreeMap<(Topic, i32), Ends> = positions.iter().zip(&places).filter_map(of).collect();
        self.judge_jumps(&ends);
        let mut beyond = BTreeSet::new();
        for (input, partition, position) in positions {
            let Some(ends) = ends.get(&(input, partition)) else { continue };
            if ends.start > position {
                let gap = Gap { cause: Cause::BelowLogStart, passed_over: ends.start - position };
                self.gap((input, partition), ends.start, gap);
            }
            self.held_lag((input, partition), ends.end - position);
            if ends.end < position {
                beyond.insert((input, partition));
            }
        }
        // Said twice, it is no answer of a broker that is about to catch up.
        let shorter = self.positions.beyond.intersection(&beyond).next().is_some();
        self.positions.beyond = beyond;
        self.look_for_strangers();
        self.release()?;
        let other = |(input, described): (&Topic, &Described)| {
            let (before, now) = (self.positions.id(*input), described.id.as_deref());
            before.is_some() && now.is_some() && before != now
        };
        Ok(shorter || found.iter().any(other))
    }

    /// What stands in the log and did not come is a mark of a transaction, or was compacted away.
    fn judge_jumps(&mut self, ends: &BTreeMap<(Topic, i32), Ends>) {
        for Jump { input, partition, from, to } in self.next_offsets.take_jumps() {
            if let Some(ends) = ends.get(&(input, partition)).filter(|ends| ends.start > from) {
                let position = self.next_offsets.position(input, partition).unwrap_or(to);
                let gap = Gap { cause: Cause::BelowLogStart, passed_over: ends.start.min(to) - from };
                self.gap((input, partition), position, gap);
            }
        }
    }

    fn place(&self, (input, partition): (Topic, i32)) -> TopicPartition {
        (input.name(&self.parts.config.topics).to_owned(), partition)
    }

    /// A member of our group that is none of ours takes partitions away, and reads for nobody.
    fn look_for_strangers(&mut self) {
        if self.incremental() {
            // These groups are not described to librdkafka; what such a member commits is noticed all the same.
            return;
        }
        let Ok(strangers) = self.parts.member.strangers(&self.parts.config) else { return };
        self.parts.metrics.positions.strangers(Stage::Fold).set(i64::try_from(strangers.len()).unwrap_or(i64::MAX));
        if strangers != self.positions.strangers {
            if strangers.is_empty() {
                info!("no other application is a member of the fold's group any more");
            } else {
                let members = strangers.join(", ");
                error!(members, "another application is a member of the fold's group; what it is assigned waits");
            }
            self.positions.strangers = strangers;
        }
    }

    /// Commits what was folded, and takes everything over once more.
    fn take_over_anew(&mut self) -> Result<(), Error> {
        warn!(thread = %self.parts.name, "an input is not what it was; its partitions are taken over anew");
        self.flush()?;
        if self.lost {
            return Ok(());
        }
        self.starts_over += 1;
        if self.incremental() {
            self.skipped = true;
            return self.gain(&[]);
        }
        let assignment = attempt("list the assignment", self.parts.member.assignment())?;
        self.assign(&listed(&assignment))
    }

    /// Something was passed over, or nearly: it is counted, said, and noted in the commit that moves over it.
    pub(super) fn gap(&mut self, (input, partition): (Topic, i32), from: i64, gap: Gap) {
        let Gap { cause, passed_over } = gap;
        let config = Arc::clone(&self.parts.config);
        self.parts.metrics.positions.passed_over(input, cause).inc_by(passed_over.unsigned_abs());
        let (topic, cause_name) = (input.name(&config.topics), cause.name());
        if cause.loses() {
            error!(topic, partition, cause = cause_name, passed_over, from, "records were passed over");
        } else {
            warn!(topic, partition, cause = cause_name, from, "the group's offset was not where reading had ended");
        }
        let at = self.parts.member.wall_clock();
        let noted = NotedGap { topic: topic.to_owned(), partition, cause, next_offset: from, passed_over, at };
        let (key, value) = (noted.key(), noted.note().encode());
        let (key, value) = (Some(key.as_bytes()), Some(value.as_slice()));
        self.records.push(Topic::Notes, Outgoing { partition: Some(0), key, value, ..Outgoing::default() });
        self.next_offsets.go_on_at(input, partition, from);
        if cause.loses() && self.holds() {
            self.hold(input, partition, false);
        }
    }

    pub(super) fn holds(&self) -> bool {
        self.parts.config.fold.on_gap == OnGap::Hold
    }

    pub(super) fn notes_are_known(&self) -> bool {
        self.parts.notes.as_ref().is_none_or(|notes| notes.known().is_some())
    }

    /// A partition that was held before it was taken over stays so.
    pub(super) fn hold_again(&mut self, input: Topic, partition: i32) {
        if self.holds() && self.noted_gap(input, partition) == Some(true) {
            self.hold(input, partition, true);
        }
    }

    /// Whether a gap of the partition waits to be acknowledged. None: nobody knows.
    fn noted_gap(&self, input: Topic, partition: i32) -> Option<bool> {
        let known = self.parts.notes.as_ref()?.known()?;
        Some(gaps::holds(&known, input.name(&self.parts.config.topics), partition))
    }

    fn hold(&mut self, input: Topic, partition: i32, noted: bool) {
        self.positions.held.insert((input, partition), noted);
        self.positions.held_share.set(i64::try_from(self.positions.held.len()).unwrap_or(i64::MAX));
        if let Err(error) = self.parts.member.pause(&self.list_of(input, partition)) {
            warn!(error = %error, "a partition with a gap is not paused");
        }
    }

    /// librdkafka tells no lag of what it does not read.
    pub(super) fn held_lag(&self, (input, partition): (Topic, i32), records: i64) {
        if self.positions.held.contains_key(&(input, partition)) {
            self.parts.metrics.set_lag(input, partition, records.max(0));
        }
    }

    fn list_of(&self, input: Topic, partition: i32) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(input.name(&self.parts.config.topics), partition);
        list
    }

    /// Reads on what somebody has acknowledged.
    fn release(&mut self) -> KafkaResult<()> {
        for ((input, partition), heard) in self.positions.held.clone() {
            match self.noted_gap(input, partition) {
                // It was there, so that somebody has taken it away.
                Some(false) if heard => {
                    info!(
                        topic = input.name(&self.parts.config.topics),
                        partition, "the gap is acknowledged; reading on"
                    );
                    self.parts.member.resume(&self.list_of(input, partition))?;
                    self.positions.held.remove(&(input, partition));
                }
                Some(true) => {
                    self.positions.held.insert((input, partition), true);
                }
                Some(false) | None => {}
            }
        }
        self.positions.held_share.set(i64::try_from(self.positions.held.len()).unwrap_or(i64::MAX));
        Ok(())
    }
}
