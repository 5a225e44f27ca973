//! Reading nothing for a while: the partitions are paused and the consumer is polled, so that the group does not give the
//! member up.

use std::time::Duration;

use rdkafka::Message;

use crate::kafka::member::Member;
use crate::kafka::transaction::Commits;

use super::{POLL_FOR_IN_FLIGHT, Worker};
use crate::stage::fold::poll::may_pass;
use crate::stage::fold::{Error, attempt};

/// Re-keyed events and dead letters between two commits. They stand in memory up to three times, as pieces do; with states
/// on disk they are a small part of the budget of states.
const RECORDS_BYTES_MAX: usize = 16 << 20;
const RECORDS_SHARE: usize = 16;

impl<M: Member> Worker<M> {
    /// Whether re-keyed events and dead letters take what they may.
    pub(super) fn records_are_full(&self) -> bool {
        let of_budget =
            self.parts.disk.as_ref().map_or(usize::MAX, |_| self.parts.config.state.memory_max / RECORDS_SHARE);
        self.records.bytes() >= of_budget.min(RECORDS_BYTES_MAX)
    }

    /// Reads nothing while what was read has no room and cannot be committed: a coordinator that is slow would let it grow
    /// without end. The group sees that the member lives. True while that is so.
    pub(super) fn commit_is_awaited(&mut self) -> Result<bool, Error> {
        let wanted = self.parts.committer.in_flight() && self.records_are_full();
        if wanted != self.held.is_some() {
            if wanted {
                self.parts.metrics.fold_holds.inc();
                let assignment = attempt("list the assignment", self.parts.member.assignment())?;
                attempt("pause partitions", self.parts.member.pause(&assignment))?;
            } else {
                self.resume_folding()?;
            }
            self.held = wanted.then(|| self.parts.member.now());
        }
        if wanted {
            self.poll_paused(POLL_FOR_IN_FLIGHT)?;
        }
        Ok(wanted)
    }

    /// Serves rebalances while the partitions are paused.
    pub(super) fn poll_paused(&self, wait: Duration) -> Result<(), Error> {
        match self.parts.member.poll(wait) {
            None => Ok(()),
            Some(Err(error)) => may_pass(error),
            // It was under way: it is read again.
            Some(Ok(record)) => {
                let (topic, partition) = (record.topic().to_owned(), record.partition());
                attempt("read a record again", self.parts.member.seek(&topic, partition, record.offset()))
            }
        }
    }

    /// What has a reason of its own to be paused stays so.
    pub(super) fn resume_folding(&mut self) -> Result<(), Error> {
        self.marks.clear();
        let assignment = attempt("list the assignment", self.parts.member.assignment())?;
        attempt("resume partitions", self.parts.member.resume(&self.readable(&assignment)))
    }
}
