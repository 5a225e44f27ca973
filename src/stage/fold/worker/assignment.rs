//! Taking over partitions and giving them up.
//!
//! Taking over, in this order: the offsets that are committed and stable (a predecessor's pending transaction is
//! waited for), the assignment at these offsets, paused; the changelog from what is still known in memory to its end,
//! and the session catalogue to its end, and the notes where gaps hold; then the places are settled where reading goes on (see `positions`), and the
//! inputs flow. The order matters: states or statements read before the offsets were stable could miss a predecessor's
//! last commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use crate::kafka::member::Member;
use crate::kafka::membership::TopicPartition;
use crate::kafka::said;
use crate::kafka::stall::Stall;
use crate::store::{DiskError, RestoreError};

use super::Worker;
use crate::stage::fold::inputs::input_of;
use crate::stage::fold::poll::may_pass;
use crate::stage::fold::progress::RestoreProgress;
use crate::stage::fold::{Error, attempt};

/// Pause between two tries; a member whose epoch moves on is refused at once.
const OFFSETS_PAUSE: Duration = Duration::from_millis(20);
/// While brokers answer the question for offsets takes less: twice the longest that a transaction may stay open.
const OFFSETS_WITHIN: Duration = Duration::from_secs(40);
/// States read back before the loop looks at anything else.
const RESTORE_FOR: Duration = Duration::from_millis(200);
/// The same where other partitions are folded meanwhile.
const RESTORE_FOR_BESIDE: Duration = Duration::from_millis(10);
/// Pause between two looks whether the catalogue is known, too.
const CATALOGUE_PAUSE: Duration = Duration::from_millis(5);

impl<M: Member> Worker<M> {
    pub(super) fn assign(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let owned = self.owned_by(partitions);
        info!(thread = %self.parts.name, partitions = ?owned, "partitions assigned");
        self.store.retain(&owned.iter().copied().collect::<Vec<_>>());
        self.store.forget_aged(self.parts.member.wall_clock());
        self.saving.retain(&owned);
        self.forget_question();
        self.positions.clear();
        let Some(offsets) = self.stable_offsets(partitions)? else { return Ok(()) };
        self.parts.catalogue_ear.catch_up();
        self.next_offsets.begin(&offsets, &self.parts.config.topics);
        attempt("take over partitions", self.parts.member.assign(&offsets))?;
        attempt("pause partitions", self.parts.member.pause(&offsets))?;
        self.lags_unknown(partitions);
        self.tenure.take(&owned, &owned);
        self.report_assigned();
        self.read_back()
    }

    /// Begins to read states back, from what is still known of them.
    pub(super) fn read_back(&mut self) -> Result<(), Error> {
        self.tenure.begin_round();
        // On the way pieces may be older than they were: nothing is derived of them, nor written, before the log's end. There
        // everything is derived that may have changed.
        for partition in self.tenure.taken() {
            self.store.partition(partition).forget_stale();
        }
        self.parts.health.ready(false, "states are read back");
        self.restoring_share.set(1);
        self.begin_restore()
    }

    /// States from disk and changelog. While the disk fails it is put off.
    pub(super) fn begin_restore(&mut self) -> Result<(), Error> {
        if !self.open_shelves()? {
            return Ok(());
        }
        let known = |partition: i32| (partition, self.store.partition(partition).restored_to);
        let from: BTreeMap<i32, i64> = self.tenure.taken().into_iter().map(known).collect();
        let config = &self.parts.config;
        self.parts.health.ready(false, "states are read back");
        self.progress = RestoreProgress::start(&self.parts.name);
        let log = attempt("read states back", self.parts.member.changelog(config, &config.topics.state, &from))?;
        self.tenure.read(log);
        Ok(())
    }

    /// Whoever reads `rollbook.resolved` *p* owns the states of *p*. What is read in *p* of other inputs may be somebody
    /// else's: they need not have the same number of partitions, and `range` divides each topic for itself. Where that
    /// topic was grown while we run, nobody is at home in what is new.
    pub(super) fn owned_by(&self, partitions: &[TopicPartition]) -> BTreeSet<i32> {
        let resolved = &self.parts.config.topics.resolved;
        let homes = partitions.iter().filter(|(topic, it)| topic == resolved && *it < self.parts.partitions);
        homes.map(|(_, partition)| *partition).collect()
    }

    /// Where to resume: committed and stable, else the beginning. None: the shutdown came first.
    pub(super) fn stable_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<Option<TopicPartitionList>, Error> {
        let mut wanted = TopicPartitionList::new();
        for (topic, partition) in partitions {
            wanted.add_partition(topic, *partition);
        }
        let asked = Stall::new(self.parts.member.now());
        let offsets = loop {
            // The answer as a whole may be right and that about one partition an error: no offset is not offset 0.
            let answer = self.parts.member.committed_offsets(wanted.clone());
            let failed = |offsets: &TopicPartitionList| offsets.elements().iter().find_map(|it| it.error().err());
            match answer.and_then(|offsets| failed(&offsets).map_or(Ok(offsets), Err)) {
                Ok(offsets) => break offsets,
                Err(error) => {
                    if let Some(times) = said::again("committed offsets are waited for") {
                        warn!(error = %error, times, "committed offsets are waited for");
                    }
                }
            }
            self.parts.member.sleep(OFFSETS_PAUSE);
            self.parts.health.beat();
            if self.parts.shutdown.requested() {
                return Ok(None);
            }
            // A predecessor's transaction may be open for as long as brokers let it.
            let member = &self.parts.member;
            if asked.stalled(member.now(), member.answering_since(), OFFSETS_WITHIN) {
                return Err(Error::Stalled { waited_for: "ask for committed offsets" });
            }
        };
        self.take_over(&offsets);
        for (topic, partition) in partitions {
            let mut element = offsets.find_partition(topic, *partition).expect("every partition asked for is answered");
            if !matches!(element.offset(), Offset::Offset(_)) {
                attempt("start at the beginning of a partition", element.set_offset(Offset::Beginning))?;
            }
        }
        Ok(Some(offsets))
    }

    /// Until the first statistics with known ends tell how much there is to read.
    pub(super) fn lags_unknown(&self, partitions: &[TopicPartition]) {
        for (topic, partition) in partitions {
            if let Some(input) = input_of(topic, &self.parts.config.topics) {
                self.parts.metrics.lag_unknown(input, *partition);
            }
        }
    }

    /// The metric is the sum over threads.
    pub(super) fn report_assigned(&mut self) {
        let assigned = i64::try_from(self.tenure.len()).unwrap_or(i64::MAX);
        self.parts.metrics.assigned_partitions.add(assigned - self.reported_assigned);
        self.reported_assigned = assigned;
    }

    /// Reads states back for a while. True where the inputs flow again, so that nothing hinders a commit.
    pub(super) fn restore(&mut self) -> Result<bool, Error> {
        let beside = self.incremental();
        let Some(changelog) = self.tenure.log_mut() else { return Ok(true) };
        let read_back = changelog.finished();
        if !beside {
            // Serves rebalances; the inputs are paused, so that no record comes.
            let wait = if read_back { CATALOGUE_PAUSE } else { Duration::ZERO };
            if let Some(Err(error)) = self.parts.member.poll(wait) {
                may_pass(error)?;
            }
        }
        if read_back {
            if !self.parts.catalogue_ear.caught_up() {
                self.parts.health.ready(false, "the session catalogue is read to its end");
            } else if !self.gaps_are_known() {
                self.parts.health.ready(false, "the notes are read to their end");
            } else if self.settle()? {
                self.resume()?;
            }
            return Ok(!self.tenure.restoring());
        }
        let mut failed = None;
        let mut restored = 0;
        let (store, foreign) = (&mut self.store, &mut self.foreign);
        let read = changelog.read(if beside { RESTORE_FOR_BESIDE } else { RESTORE_FOR }, |change| {
            restored += 1;
            let partition = store.partition(change.partition);
            let result = match change.value {
                Some(value) => partition.restore(change.key, value),
                None => partition.forget(change.key),
            };
            match result {
                Ok(()) => {}
                Err(why @ RestoreError::Foreign) => foreign.add(change.partition, change.offset, why),
                Err(source) => {
                    failed.get_or_insert((change.partition, change.offset, source));
                }
            }
        });
        attempt("read states back", read)?;
        if changelog.stalled() {
            return Err(Error::Stalled { waited_for: "read states back" });
        }
        if changelog.known_beyond_end() {
            self.start_over(&DiskError::Foreign)?;
            return Ok(false);
        }
        if let Some((.., RestoreError::Disk(error))) = failed {
            self.start_over(&error)?;
            return Ok(false);
        }
        if let Some((partition, offset, source)) = failed {
            let topic = self.parts.config.topics.state.clone();
            return Err(Error::Restore { topic, partition, offset, source });
        }
        self.parts.metrics.state_restored_records.inc_by(restored);
        let mut remaining_of_all = 0;
        for (partition, remaining) in changelog.remaining() {
            self.parts.metrics.restore_remaining(partition).set(remaining);
            remaining_of_all += remaining;
        }
        self.progress.report(restored, remaining_of_all.unsigned_abs());
        Ok(false)
    }

    fn resume(&mut self) -> Result<(), Error> {
        let Some(changelog) = self.tenure.end_round() else { return Ok(()) };
        self.parts.metrics.state_foreign_records.inc_by(self.foreign.tell(&self.parts.config.topics.state));
        let derivation = self.derivation();
        for (partition, next_offset) in changelog.next_offsets() {
            let state = self.store.partition(partition);
            state.read_to_the_end(next_offset);
            // The catalogue may have changed since the rows were sent. Where it is that of the states on disk, rows may
            // have been sent with another one in between, but only those of members that were read back just now.
            if state.derived_with == derivation {
                state.derive_unsaved(self.parts.member.wall_clock());
            } else {
                state.derive_all(self.parts.member.wall_clock());
            }
        }
        let assignment = attempt("list the assignment", self.parts.member.assignment())?;
        attempt("resume partitions", self.parts.member.resume(&self.readable(&assignment)))?;
        let took = self.progress.end();
        let (records, pieces) = (self.progress.records(), self.store.pieces());
        info!(thread = %self.parts.name, records, pieces, seconds = took.as_secs_f64(), "states read back, folding");
        self.restoring_share.set(0);
        self.parts.metrics.restore_duration.observe(took.as_secs_f64());
        self.parts.health.ready(true, "");
        Ok(())
    }

    /// Commits what was folded and lets the partitions go. States stay, in case that they come back; what happened
    /// to them in between is then read from the changelog.
    pub(super) fn revoke(&mut self) -> Result<(), Error> {
        info!(thread = %self.parts.name, partitions = ?self.tenure.homes().collect::<Vec<_>>(), "partitions revoked");
        self.saving.hurry();
        self.flush()?;
        self.progress.end();
        self.tenure.clear();
        // Rows that are still to be derived again are the next owner's, who derives everything.
        self.store.forget_stale();
        self.store.put_aside(self.parts.member.wall_clock());
        for (input, partition) in self.next_offsets.assigned() {
            self.parts.metrics.forget_partition(input, partition);
        }
        self.forget_question();
        self.positions.clear();
        self.report_assigned();
        self.next_offsets.clear();
        self.parts.health.ready(false, "no partitions are assigned");
        attempt("give up partitions", self.parts.member.unassign())
    }
}
