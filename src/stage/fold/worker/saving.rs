//! States to disk: saved now and then, moved there when memory is full, and waited for when the disk is.
//!
//! A snapshot is taken when a commit is made, and written when it is done, so that the disk never holds what is not
//! committed. It answers for the changelog up to its end before that commit: that the commit was done shows that nobody
//! else owned the partition by then. An end that is read later may be that of somebody who took the partition over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use xxhash_rust::xxh3::xxh3_64;

use crate::kafka::member::Member;
use crate::kafka::membership::listed;
use crate::kafka::said;
use crate::kafka::transaction::Commits as _;
use crate::store::{DiskError, Identity, Marker, Snapshot};

use super::Worker;
use crate::stage::fold::refusals::Refusals;
use crate::stage::fold::{Error, attempt};

/// Questions for the cluster's name, which a broker need not have.
const CLUSTER_QUESTIONS: usize = 6;
/// Pause between two tries to write to a disk that does not take it.
const MEND_EVERY: Duration = Duration::from_secs(1);
/// Of the memory's budget, what is left after members have moved out, so that they do so in batches.
const KEPT_PERCENT: usize = 97;

/// How far states have been committed and saved.
#[derive(Default)]
pub(super) struct Saving {
    /// Number of the newest commit that was made.
    commit: u64,
    /// Number of the newest commit that is done.
    committed: u64,
    /// What is to be written when the commit is done.
    snapshots: Vec<Pending>,
    /// When the last snapshot was taken.
    last: Option<Instant>,
    /// The next commit takes one, whenever the last was.
    urgent: bool,
    /// The next commit takes one of these partitions, which are given up.
    leaving: BTreeSet<i32>,
    refusals: Refusals,
    /// Whose the states are, once it is known.
    identity: Option<Identity>,
}

/// A snapshot of a partition.
struct Pending {
    partition: i32,
    states: Snapshot,
    /// None: the commit shows nothing of what the states answer for.
    marker: Option<Marker>,
}

impl Saving {
    /// The next commit may be the last.
    pub fn hurry(&mut self) {
        self.urgent = true;
    }

    /// The next commit may be the last of these partitions.
    pub fn hurry_for(&mut self, partitions: &BTreeSet<i32>) {
        self.leaving.clone_from(partitions);
    }

    /// Whether the commit that is being made carries a snapshot.
    pub fn waits_for_commit(&self) -> bool {
        !self.snapshots.is_empty()
    }

    /// Partitions of which the commit that is being made carries a snapshot.
    pub fn pending(&self) -> impl Iterator<Item = i32> {
        self.snapshots.iter().map(|pending| pending.partition)
    }

    /// Nothing was committed, so that nothing shows who owns the partitions.
    pub fn unproven(&mut self) {
        self.snapshots.iter_mut().for_each(|pending| pending.marker = None);
    }

    pub fn begin_commit(&mut self) -> u64 {
        self.commit += 1;
        self.commit
    }

    pub fn committed(&mut self) {
        self.committed = self.commit;
    }

    /// Whose members may leave memory: those of done commits, unless a snapshot of them is still to be written.
    fn settled(&self) -> u64 {
        if self.snapshots.is_empty() { self.committed } else { self.committed.saturating_sub(1) }
    }

    pub fn failing(&self) -> bool {
        self.refusals.failing()
    }

    /// What is still to be saved of other partitions is somebody else's.
    pub fn retain(&mut self, kept: &BTreeSet<i32>) {
        self.snapshots.retain(|pending| kept.contains(&pending.partition));
    }

    /// The states are gone, and with them what was to be saved of them.
    pub fn forget(&mut self) {
        self.snapshots.clear();
    }
}

impl<M: Member> Worker<M> {
    /// Opens what the disk holds of partitions that are taken over. False where it cannot be had now: they are taken over
    /// as soon as it can.
    pub(super) fn open_shelves(&mut self) -> Result<bool, Error> {
        if self.parts.disk.is_none() {
            return Ok(true);
        }
        let identity = self.identity();
        let mut discarded = false;
        while !self.saving.failing() {
            let Some(partition) = self.tenure.homes().find(|it| !self.store.shelved(*it)) else {
                return Ok(true);
            };
            let Some(disk) = &self.parts.disk else { return Ok(true) };
            match disk.shelf(partition, &identity, self.parts.member.wall_clock()) {
                Ok((shelf, marker)) => self.store.partition(partition).put_on(shelf, marker),
                Err(error) if error.may_pass() => self.disk_fails(&error),
                // States of partitions that are kept would go with it, and nobody would read them back.
                Err(error) if !self.tenure.folded().is_empty() => {
                    self.start_over(&error)?;
                    return Ok(false);
                }
                // One that is empty and torn at once is none.
                Err(error) if discarded => return Err(error.into()),
                Err(error) => {
                    warn!(error = %error, partition, "the disk is torn, every state is read from the changelog");
                    discarded = true;
                    self.discard_disk()?;
                }
            }
        }
        Ok(false)
    }

    /// Nothing on the disk can be trusted: it is made anew, empty.
    fn discard_disk(&mut self) -> Result<(), Error> {
        self.store.clear();
        let Some(disk) = &mut self.parts.disk else { return Ok(()) };
        match disk.discard() {
            Ok(()) if self.saving.failing() => self.saving.refusals.taken(self.parts.member.now()),
            Err(error) if error.may_pass() => self.disk_fails(&error),
            discarded => discarded?,
        }
        Ok(())
    }

    fn identity(&mut self) -> Identity {
        if let Some(known) = &self.saving.identity {
            return known.clone();
        }
        let mut cluster = None;
        for _ in 0..CLUSTER_QUESTIONS {
            self.parts.health.beat();
            cluster = self.parts.member.cluster_id();
            if cluster.is_some() || self.parts.shutdown.requested() {
                break;
            }
        }
        let identity = Identity { cluster: cluster.unwrap_or_default(), topic: self.parts.config.topics.state.clone() };
        self.saving.identity.insert(identity).clone()
    }

    /// Whether states take more memory than they may.
    pub(super) fn memory_is_full(&self) -> bool {
        self.parts.disk.is_some() && self.store.memory() > self.parts.config.state.memory_max
    }

    /// Moves members out of memory where it is full. Those of the commit in flight are waited for.
    pub(super) fn make_room(&mut self) -> Result<(), Error> {
        match self.move_out() {
            Ok(true) if self.memory_is_full() && !self.tenure.restoring() => {
                // What is left is new: the next commit lets it go.
                self.wait_for_commit()
            }
            Ok(_) => Ok(()),
            Err(error) if error.may_pass() => {
                self.disk_fails(&error);
                Ok(())
            }
            Err(error) => self.start_over(&error),
        }
    }

    /// True where memory was full.
    fn move_out(&mut self) -> Result<bool, DiskError> {
        if !self.memory_is_full() {
            return Ok(false);
        }
        let kept = self.parts.config.state.memory_max / 100 * KEPT_PERCENT;
        let evicted = self.store.evict(kept, self.saving.settled())?;
        self.parts.metrics.state_evicted.inc_by(evicted as u64);
        Ok(true)
    }

    /// Whether the commit before partitions are given up has something to save, if nothing else.
    pub(super) fn anything_to_save(&mut self) -> bool {
        let wanted = self.saving.urgent || !self.saving.leaving.is_empty();
        wanted
            && self.parts.disk.is_some()
            && !self.tenure.lost()
            && !self.tenure.restoring()
            && self.store.unsaved_members() > 0
    }

    /// What is to be saved with the commit that is being made, if it is time.
    pub(super) fn take_snapshots(&mut self) {
        let interval = self.parts.config.state.save_interval;
        // The first interval begins with the first commit.
        let now = self.parts.member.now();
        let last = *self.saving.last.get_or_insert(now);
        let due = self.saving.urgent || self.since(last) >= interval;
        let leaving = std::mem::take(&mut self.saving.leaving);
        let wanted = (due || !leaving.is_empty()) && !self.saving.failing();
        if self.parts.disk.is_none() || !wanted || !self.saving.snapshots.is_empty() {
            return;
        }
        if due {
            self.saving.urgent = false;
            self.saving.last = Some(now);
        }
        // Rows that are still to be derived again are derived after a restart, whatever the catalogue is then.
        let settled = self.store.stale_members() == 0;
        let (catalogue, saved_at) = (if settled { self.derivation() } else { 0 }, self.parts.member.wall_clock());
        let topic = &self.parts.config.topics.state;
        let mut answers = true;
        for (number, partition) in self.store.partitions() {
            if self.tenure.reads_back(number) || !(due || leaving.contains(&number)) {
                continue;
            }
            // Without the log's end the states are saved all the same, and the next start reads more than it need. A
            // broker that is away is asked once.
            let end = if answers { self.parts.member.log_end(topic, number) } else { None };
            answers = end.is_some();
            let marker = end.map(|next_offset| Marker { next_offset, catalogue, saved_at });
            let states = partition.snapshot(self.saving.commit);
            self.saving.snapshots.push(Pending { partition: number, states, marker });
        }
    }

    /// What rows depend on beside the states: the catalogue, and the program that makes them.
    pub(super) fn derivation(&self) -> u64 {
        let program = xxh3_64(env!("CARGO_PKG_VERSION").as_bytes());
        self.parts.catalogue.digest().wrapping_add(program).max(1)
    }

    /// Writes what was taken with the commit that is now done.
    pub(super) fn save_snapshots(&mut self) {
        if self.saving.failing() {
            return;
        }
        if let Err(error) = self.try_to_save() {
            self.disk_fails(&error);
        }
    }

    fn try_to_save(&mut self) -> Result<(), DiskError> {
        while let Some(Pending { partition, states, marker }) = self.saving.snapshots.last() {
            if let Some(partition) = self.store.owned(*partition) {
                if let Some(shelf) = partition.shelf() {
                    states.save(shelf, *marker)?;
                }
                if let Some(marker) = marker {
                    partition.restored_to = marker.next_offset;
                    partition.derived_with = marker.catalogue;
                }
            }
            self.saving.snapshots.pop();
        }
        Ok(())
    }

    fn disk_fails(&mut self, error: &DiskError) {
        if self.saving.refusals.refused(self.parts.member.now()) {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            error!(thread = %self.parts.name, cause, "{error}; nothing is folded until they can");
            self.parts.metrics.state_disk_failing.inc();
            self.parts.health.disk_fails(true);
        }
    }

    /// Tries again what the disk has refused; until then nothing is folded or committed, and the group knows that the
    /// instance lives.
    pub(super) fn mend_disk(&mut self) -> Result<(), Error> {
        let assignment = attempt("list the assignment", self.parts.member.assignment())?;
        attempt("pause partitions", self.parts.member.pause(&assignment))?;
        // Paused, so that no record comes; serves rebalances and is the pause between two tries.
        self.poll_paused(MEND_EVERY)?;
        // What is to be saved with a commit waits for its end: it may still be refused.
        let waits = self.saving.refusals.tried().is_some_and(|tried| self.since(tried) < MEND_EVERY);
        if waits || self.parts.committer.in_flight() {
            return Ok(());
        }
        self.saving.refusals.refused(self.parts.member.now());
        // Also what memory has no room for, or more and more would be folded into it between two tries.
        match self.reach_shelves().and_then(|()| self.try_to_save()).and_then(|()| self.move_out()) {
            Ok(_) => self.saving.refusals.taken(self.parts.member.now()),
            Err(error) if error.may_pass() => {
                if let Some(times) = said::again("the disk is waited for") {
                    warn!(thread = %self.parts.name, error = %error, times, "the disk is waited for");
                }
                return Ok(());
            }
            Err(error) => return self.start_over(&error),
        }
        if self.tenure.awaits_disk() {
            return self.begin_restore();
        }
        if self.tenure.restoring() {
            self.parts.health.ready(false, "states are read back");
        } else if !self.tenure.lost() && !self.tenure.is_empty() {
            attempt("resume partitions", self.parts.member.resume(&self.readable(&assignment)))?;
            self.parts.health.ready(true, "");
        }
        Ok(())
    }

    /// Says that the disk is well again when it is.
    pub(super) fn believe_disk(&mut self) {
        if self.saving.refusals.well_again(self.parts.member.now()) {
            self.parts.metrics.state_disk_failing.dec();
            self.parts.health.disk_fails(false);
            info!(thread = %self.parts.name, "states can be written to disk again");
        }
    }

    /// A database that failed to write takes nothing more: it is opened again.
    fn reach_shelves(&mut self) -> Result<(), DiskError> {
        let identity = self.identity();
        let Some(disk) = &mut self.parts.disk else { return Ok(()) };
        for (_, partition) in self.store.partitions() {
            partition.let_go();
        }
        disk.reopen()?;
        for (number, partition) in self.store.partitions().filter(|(_, partition)| partition.shelved()) {
            partition.reach_by(disk.reach(number, &identity)?);
        }
        Ok(())
    }

    /// What the disk holds cannot be read: every state is taken from the changelog, and events since the last commit are
    /// read again.
    pub(super) fn start_over(&mut self, error: &DiskError) -> Result<(), Error> {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        warn!(thread = %self.parts.name, cause, "{error}; all of them are read from the changelog");
        self.wait_for_commit()?;
        if self.tenure.lost() {
            return Ok(());
        }
        self.forget_uncommitted();
        self.tenure.start_over();
        self.discard_disk()?;
        if self.incremental() {
            self.tenure.skip();
            return self.gain(&[]);
        }
        let assignment = attempt("list the assignment", self.parts.member.assignment())?;
        self.assign(&listed(&assignment))
    }
}
