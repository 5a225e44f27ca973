//! Taking over and giving up single partitions, by the consumer protocol (KIP-848), while the others go on.
//!
//! The order of taking over is that of the classic protocol (see `assignment`), for what is gained alone: stable offsets,
//! then the changelog and the catalogue to their ends, then the records. Giving up is: commit, forget, say so. The states
//! of a partition that was given up leave memory, unlike those of the classic protocol: a commit of what stays would
//! save them to disk as if they were up to date. The disk has them as of the last commit.

use std::collections::BTreeSet;

use rdkafka::TopicPartitionList;
use tracing::info;

use crate::config::GroupProtocol;
use crate::kafka::member::Member;
use crate::kafka::membership::{TopicPartition, listed};

use super::Worker;
use crate::stage::fold::inputs::input_of;
use crate::stage::fold::{Error, attempt};

impl<M: Member> Worker<M> {
    /// Whether the group says what changes, not what is.
    pub(super) fn incremental(&self) -> bool {
        self.parts.config.fold.group_protocol == GroupProtocol::Consumer
    }

    /// Takes over partitions beside those that are owned.
    pub(super) fn gain(&mut self, gained: &[TopicPartition]) -> Result<(), Error> {
        if gained.is_empty() && !self.tenure.skipped() && !self.tenure.lost() {
            // Something was given up, or nothing is left to give.
            return attempt("take over nothing", self.parts.member.incremental_assign(&TopicPartitionList::new()));
        }
        let mut kept = self.owned()?;
        let mut gained = gained.to_vec();
        if self.tenure.skipped() || self.tenure.lost() {
            // Records of what is kept were read and not folded: it is taken over anew, where the last commit ends.
            self.flush()?;
            self.unassign(&kept)?;
            gained.append(&mut kept);
        }
        let owned = self.owned_by(&[kept.as_slice(), gained.as_slice()].concat());
        info!(thread = %self.parts.name, partitions = ?owned, "partitions assigned");
        self.store.retain(&owned.iter().copied().collect::<Vec<_>>());
        let Some(offsets) = self.offsets_of(&gained)? else { return Ok(()) };
        self.parts.catalogue_ear.catch_up();
        self.next_offsets.gain(&offsets, &self.parts.config.topics);
        attempt("take over partitions", self.parts.member.incremental_assign(&offsets))?;
        attempt("pause partitions", self.parts.member.pause(&offsets))?;
        self.lags_unknown(&gained);
        self.tenure.take(&owned, &self.owned_by(&gained));
        self.report_assigned();
        self.read_back()
    }

    /// Commits what was folded and lets these partitions go.
    pub(super) fn give_up(&mut self, revoked: &[TopicPartition]) -> Result<(), Error> {
        let numbers = self.owned_by(revoked);
        info!(thread = %self.parts.name, partitions = ?numbers, "partitions revoked");
        self.saving.hurry_for(&numbers);
        self.flush()?;
        for (topic, partition) in revoked {
            if let Some(input) = input_of(topic, &self.parts.config.topics) {
                self.next_offsets.give_up(input, *partition);
                self.parts.metrics.forget_partition(input, *partition);
                self.positions.give_up(input, *partition);
            }
        }
        self.tenure.give_up(&numbers);
        let stay: BTreeSet<i32> = self.tenure.homes().collect();
        self.saving.retain(&stay);
        self.store.retain(&stay.into_iter().collect::<Vec<_>>());
        self.report_assigned();
        self.unassign(revoked)?;
        // Partitions of other inputs may stay where none of the re-keyed events does: inputs may have more of them.
        if self.next_offsets.assigned().next().is_none() {
            self.tenure.call_round_off();
            self.progress.end();
            self.parts.health.ready(false, "no partitions are assigned");
            return Ok(());
        }
        if self.tenure.skipped() && !self.tenure.lost() {
            return self.gain(&[]);
        }
        if self.tenure.restoring() { self.read_back() } else { Ok(()) }
    }

    fn owned(&self) -> Result<Vec<TopicPartition>, Error> {
        Ok(listed(&attempt("list the assignment", self.parts.member.assignment())?))
    }

    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        attempt("give up partitions", self.parts.member.incremental_unassign(&list))
    }

    /// None: the shutdown came first.
    fn offsets_of(&mut self, gained: &[TopicPartition]) -> Result<Option<TopicPartitionList>, Error> {
        if gained.is_empty() { Ok(Some(TopicPartitionList::new())) } else { self.stable_offsets(gained) }
    }
}
