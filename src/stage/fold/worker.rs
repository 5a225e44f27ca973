//! One fold thread: the loop.

mod asking;
mod assignment;
mod held;
mod holds;
mod incremental;
mod look;
mod marks;
mod positions;
pub(super) mod rebuild;
mod record;
mod report;
mod saving;
mod statements;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::config::Config;
use crate::event::Decoder;
use crate::fold::Catalogue;
use crate::health::Pulse;
use crate::kafka::fetches::Fetches;
use crate::kafka::foreign::Foreign;
use crate::kafka::member::Member;
use crate::kafka::membership::Rebalance;
use crate::kafka::noted::Noted;
use crate::kafka::registry::Registry;
use crate::kafka::session_timeout;
use crate::kafka::transaction::{Commits, Committed, Over, Records, Transaction};
use crate::kafka::twins::Mending;
use crate::metrics::{CommitResult, Metrics, Share};
use crate::stage::Shutdown;
use crate::stage::catalogue::{Ear, Outdated};
use crate::store::{Disk, Store};
use crate::time::Millis;

use self::asking::Asking;
use self::marks::Marks;
use self::positions::Positions;
use self::rebuild::Join;
use self::record::Progress;
use self::report::Shares;
use self::saving::Saving;
use self::statements::Statements;
use super::Error;
use super::commit::{Again, Changes, STALE_MEMBERS_PER_COMMIT};
use super::inputs::{NextOffsets, input_of};
use super::poll::{BATCH_RECORDS, poll_batch};
use super::progress::RestoreProgress;
use super::tally::Tally;
use super::tenure::Tenure;

/// Batches folded before the loop looks at anything else; bounds the answer to a rebalance.
pub const BATCHES_PER_TURN: usize = 80;
/// Of the budget of states, for each piece of a commit. Its state and row are some 600 bytes, and stand in memory up to
/// three times: in this commit, in the one in flight, and in librdkafka's queue.
const COMMIT_PIECE_BYTES: usize = 2_048;
/// Longest wait for a record; bounds the answer to a shutdown and to a change of the catalogue.
const POLL_FOR: Duration = Duration::from_millis(50);
/// The same while a commit is in flight, so that its end is noticed soon.
pub(super) const POLL_FOR_IN_FLIGHT: Duration = Duration::from_millis(2);
/// Shortest wait for a record.
const POLL_FOR_MIN: Duration = Duration::from_millis(1);

/// A schema id that the registry does not have is not asked for again for so long. Short, as whoever registers the schema
/// sends the dead letters again right away; long enough that a flood of them is no flood of questions.
const UNKNOWN_KEPT: Duration = Duration::from_secs(5);

/// What a fold thread is made of.
pub struct WorkerParts<M: Member> {
    pub name: String,
    /// Of the instance that it is a thread of.
    pub instance: String,
    /// Makes the next member and committer, should these come to an end.
    pub join: Join<M>,
    pub config: Arc<Config>,
    /// Among which members are divided: those of `rollbook.resolved`.
    pub partitions: i32,
    pub member: Arc<M>,
    pub committer: M::Committer,
    /// With what waits for its answers.
    pub registry: Option<(Registry, tokio::runtime::Handle)>,
    /// None: states are held in memory whole.
    pub disk: Option<Disk>,
    pub catalogue: Catalogue,
    pub catalogue_ear: Ear,
    /// None: nobody notes anything.
    pub noted: Option<Noted>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Pulse>,
    pub shutdown: Shutdown,
}

pub struct Worker<M: Member> {
    pub(super) parts: WorkerParts<M>,
    pub(super) decoder: Decoder,
    pub(super) store: Store,
    /// What it is to the partitions that it was assigned.
    pub(super) tenure: Tenure<M::Log>,
    /// What was met on the way in the changelog.
    pub(super) foreign: Foreign,
    pub(super) next_offsets: NextOffsets,
    positions: Positions,
    asking: Asking,
    /// Dead letters, re-keyed events and catalogue records of the next commit.
    pub(super) records: Records,
    pub(super) tally: Tally,
    pub(super) statements: Statements,
    /// Keys of the catalogue whose last record says something older than is known.
    pub(super) outdated: Outdated,
    saving: Saving,
    /// Counts of the commit in flight.
    pub(super) committing: Tally,
    last_commit: Instant,
    /// When the ids that the registry did not have were last forgotten.
    unknown_forgotten: Instant,
    pub(super) reported_assigned: i64,
    /// 1 while states are read back, or wait to be.
    pub(super) restoring_share: Share,
    shares: Shares,
    pub(super) fetches: Fetches,
    marks: Marks,
    /// Nothing is read since then: the commit in flight is waited for.
    pub(super) held: Option<Instant>,
    pub(super) progress: RestoreProgress,
    pub(super) mending: Mending,
}

impl<M: Member> Worker<M> {
    pub fn new(parts: WorkerParts<M>) -> Self {
        let now = parts.member.now();
        let positions = Positions::new(&parts.metrics);
        let outdated = parts.catalogue_ear.outdated();
        let restoring_share = Share::of(&parts.metrics.state_restoring);
        let shares = Shares::of(&parts.metrics);
        let session_timeout = session_timeout(&parts.config);
        Self {
            decoder: Decoder::new(parts.config.fold.value_bytes_max),
            parts,
            store: Store::default(),
            tenure: Tenure::default(),
            foreign: Foreign::default(),
            next_offsets: NextOffsets::default(),
            positions,
            asking: Asking::default(),
            records: Records::default(),
            tally: Tally::default(),
            statements: Statements::default(),
            outdated,
            saving: Saving::default(),
            committing: Tally::default(),
            last_commit: now,
            unknown_forgotten: now,
            reported_assigned: 0,
            restoring_share,
            shares,
            fetches: Fetches::default(),
            marks: Marks::default(),
            held: None,
            progress: RestoreProgress::default(),
            mending: Mending::new(session_timeout, now),
        }
    }

    /// Until the shutdown. What was folded is committed before it returns, if Kafka answers.
    pub fn run(mut self) -> Result<(), Error> {
        self.report_sessions();
        // It may have joined long ago: the other threads' disks are opened in between.
        self.mending.vigil.heard(self.parts.member.now());
        while !self.parts.shutdown.requested() {
            if let Err(error) = self.turn()
                && let Err(error) = self.mend(error)
            {
                // What was given up must not be followed by a commit of what was folded later.
                return self.after_shutdown(error);
            }
        }
        self.saving.hurry();
        self.flush().or_else(|error| self.after_shutdown(error))?;
        info!(thread = %self.parts.name, "fold stopped");
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Error> {
        self.parts.health.beat();
        while let Some(rebalance) = self.parts.member.next_rebalance() {
            self.mending.vigil.heard(self.parts.member.now());
            self.rebalance(rebalance)?;
            self.mending.vigil.heard(self.parts.member.now());
        }
        self.watch_over()?;
        self.catalogue_changes();
        if let Some(result) = self.parts.committer.try_result() {
            self.committed(result)?;
        }
        if self.saving.failing() {
            return self.mend_disk();
        }
        let mut idle = true;
        if self.tenure.restoring() {
            idle = self.restore()?;
        }
        if !self.tenure.restoring() || self.incremental() {
            idle = if self.commit_is_awaited()? { false } else { self.fold_some()? };
        }
        if self.commit_due(idle) {
            self.commit()?;
        }
        self.make_room()?;
        self.believe_disk();
        self.look()?;
        if self.since(self.unknown_forgotten) >= UNKNOWN_KEPT {
            self.unknown_forgotten = self.parts.member.now();
            self.decoder.forget_unknown();
        }
        self.report();
        Ok(())
    }

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<(), Error> {
        self.parts.metrics.rebalances.inc();
        match rebalance {
            Rebalance::Assigned(gained) if self.incremental() => self.gain(&gained),
            Rebalance::Revoked(revoked) if self.incremental() => self.give_up(&revoked),
            Rebalance::Assigned(partitions) => self.assign(&partitions),
            Rebalance::Revoked(_) => self.revoke(),
        }
    }

    /// Folds what is ready, up to a bound. True where nothing is left to fold.
    fn fold_some(&mut self) -> Result<bool, Error> {
        // The record is borrowed from the member, the rest of the worker is changed by it.
        let member = Arc::clone(&self.parts.member);
        let mut wait = if self.tenure.restoring() { POLL_FOR_IN_FLIGHT } else { self.poll_for() };
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        for _ in 0..BATCHES_PER_TURN {
            let idle = poll_batch(&*member, wait, &mut batch)?;
            let rebalancing = member.rebalance_pending();
            if self.tenure.lost() || (rebalancing && !self.incremental()) {
                // The partitions may be revoked; their next owner folds the records.
                return Ok(false);
            }
            let before = self.tenure.starts_over();
            if let Progress::Left = self.records(&batch)? {
                // What follows in its partition must not move the offset over it.
                if before == self.tenure.starts_over() {
                    self.tenure.skip();
                }
                return Ok(false);
            }
            if rebalancing || self.records_are_full() {
                return Ok(false);
            }
            if idle {
                return Ok(true);
            }
            batch.clear();
            wait = Duration::ZERO;
        }
        Ok(false)
    }

    pub(super) fn since(&self, then: Instant) -> Duration {
        self.parts.member.now().saturating_duration_since(then)
    }

    /// How long a record is waited for; no longer than until a commit is due.
    fn poll_for(&self) -> Duration {
        if self.parts.committer.in_flight() {
            POLL_FOR_IN_FLIGHT
        } else if self.anything_to_commit() {
            let left = self.parts.config.fold.commit_interval.saturating_sub(self.since(self.last_commit));
            // The consumer waits whole milliseconds; less than one would be none, again and again.
            left.min(POLL_FOR).max(POLL_FOR_MIN)
        } else {
            POLL_FOR
        }
    }

    fn commit_due(&self, idle: bool) -> bool {
        if self.parts.committer.in_flight() || !self.anything_to_commit() {
            return false;
        }
        let fold = &self.parts.config.fold;
        let since = self.since(self.last_commit);
        since >= fold.commit_interval_behind
            || (idle && since >= fold.commit_interval)
            || self.store.dirty_pieces() >= fold.commit_pieces_max.min(self.pieces_for_memory())
            || self.records_are_full()
            || self.memory_is_full()
    }

    /// Records of a commit take memory beside the states: a small budget makes small commits.
    fn pieces_for_memory(&self) -> usize {
        match self.parts.disk {
            Some(_) => (self.parts.config.state.memory_max / COMMIT_PIECE_BYTES).max(1),
            None => usize::MAX,
        }
    }

    pub(super) fn anything_to_commit(&self) -> bool {
        self.next_offsets.moved() || !self.records.is_empty() || self.store.stale_members() > 0
    }

    /// Hands the changes since the last commit to the committing thread.
    fn commit(&mut self) -> Result<(), Error> {
        // Asked in this order: if the membership is lost after the first question, the broker refuses the commit, and
        // if before, librdkafka may have forgotten the member already, whose commit would not be refused.
        let epoch = self.parts.member.epoch(self.incremental());
        if self.parts.member.assignment_lost() {
            self.lose();
            return Ok(());
        }
        let config = Arc::clone(&self.parts.config);
        let commit = self.saving.begin_commit();
        let again = Again {
            members_max: STALE_MEMBERS_PER_COMMIT.min(self.pieces_for_memory()),
            memory_max: if self.parts.disk.is_some() { config.state.memory_max } else { usize::MAX },
        };
        let mut records = std::mem::replace(&mut self.records, self.parts.committer.take_spare());
        #[cfg(test)]
        {
            if let Err(error) = self.take_back(commit, &mut records) {
                return self.start_over(&error);
            }
        }
        let collected = Changes {
            topics: &config.topics,
            catalogue: &self.parts.catalogue,
            tally: &mut self.tally,
            records: &mut records,
            now: self.parts.member.wall_clock(),
            commit,
            again,
        }
        .collect(&mut self.store);
        if let Err(error) = collected {
            return self.start_over(&error);
        }
        self.take_snapshots();
        let moved = self.next_offsets.moved();
        let next_offsets = self.stamped_offsets(&mut records)?;
        self.committing = std::mem::take(&mut self.tally);
        self.statements.commit();
        self.last_commit = self.parts.member.now();
        // Offsets that are committed once more show who owns the partitions, which a snapshot waits for.
        let proves = self.saving.waits_for_commit() && next_offsets.count() > 0;
        if records.is_empty() && !moved && !proves {
            // Rows were derived again and are what they were.
            std::mem::take(&mut self.committing).add_to(&self.parts.metrics);
            self.saving.committed();
            self.saving.unproven();
            self.save_snapshots();
            return Ok(());
        }
        self.parts.committer.send(Transaction { records, next_offsets, epoch });
        Ok(())
    }

    pub(super) fn committed(&mut self, result: Committed) -> Result<(), Error> {
        let mut tally = std::mem::take(&mut self.committing);
        match result {
            Committed::Done { took, aborts, too_large } => {
                for (topic, about) in too_large {
                    tally.too_large(topic, input_of(&about, &self.parts.config.topics));
                }
                let metrics = &self.parts.metrics;
                metrics.commit_duration.observe(took.as_secs_f64());
                metrics.commits(CommitResult::Committed).inc();
                metrics.commits(CommitResult::Aborted).inc_by(aborts);
                metrics.last_commit_timestamp.set(seconds(self.parts.member.wall_clock()));
                tally.add_to(metrics);
                self.statements.done();
                self.saving.committed();
                self.save_snapshots();
                self.mending.well();
                Ok(())
            }
            Committed::MembershipLost => {
                self.parts.metrics.commits(CommitResult::Aborted).inc();
                self.lose();
                Ok(())
            }
            Committed::Over(Over::Stalled | Over::GivenUp) => {
                Err(Error::Stalled { waited_for: "commit a transaction" })
            }
            Committed::Over(Over::WornOut(source)) => Err(Error::WornOut(source)),
        }
    }

    /// Commits everything that was folded and waits for it.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.wait_for_commit()?;
        if self.next_offsets.moved() || !self.records.is_empty() || self.anything_to_save() {
            self.commit()?;
            self.wait_for_commit()?;
        }
        Ok(())
    }

    /// Crash-like: whoever owns the partitions now folds the events again; what was folded here and not written is
    /// forgotten, and read back at the next assignment.
    fn lose(&mut self) {
        warn!(thread = %self.parts.name, "the partitions belong to another instance; nothing was written");
        self.tenure.lose();
        self.forget_question();
        self.positions.clear();
        self.parts.health.ready(false, "the consumer group is joined again");
        // They are no longer known to be ours, so their lag is nobody's to tell here.
        for (input, partition) in self.next_offsets.assigned() {
            self.parts.metrics.forget_partition(input, partition);
        }
        self.forget_uncommitted();
    }

    /// What was folded and not committed is as if it had not been read.
    pub(super) fn forget_uncommitted(&mut self) {
        self.statements.take_back(&mut self.parts.catalogue);
        self.outdated.unsay();
        self.report_sessions();
        self.store.clear();
        self.saving.forget();
        self.records.clear();
        self.next_offsets.clear();
        self.tally = Tally::default();
    }
}

impl<M: Member> Drop for Worker<M> {
    fn drop(&mut self) {
        self.parts.member.leave();
    }
}

fn seconds(at: Millis) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this millennium are exact in a double")]
    let millis = at as f64;
    millis / 1000.0
}
