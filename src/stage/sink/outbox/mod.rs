//! Upserts in, requests out, answers in, outcomes out: the sink without Kafka, HTTP or a clock.
//!
//! Invariants:
//! - The newest version of a row wins: a version that has not been sent yet is superseded by the next one of its key.
//! - At most one save is in flight per campaign and per person, hence per row. Salesforce locks both for every row it
//!   writes, and two saves of one new external id race each other into an error.
//! - A dependant is sent only with its member's record id, or behind its member in the same call.
//! - Every upsert that was read ends in one outcome, and an offset may be committed only when all upserts below it
//!   have a *recorded* outcome, and those that are sent again, as they were written wrong, their second one. A superseded version may be passed at once: the version that superseded it has a
//!   higher offset, so it is read again after a crash.
//!
//! Rows wait in a lane per campaign, so that a stuck row or campaign holds up nobody else. The obvious single queue
//! would wait behind the first row whose campaign is busy. Where a row waits, and for what, is the [`queue`]'s to know.

mod again;
mod asked;
mod batch;
#[cfg(test)]
mod batch_tests;
mod budget;
mod choice;
mod end;
mod held;
#[cfg(test)]
mod held_tests;
mod hidden;
#[cfg(test)]
mod hidden_tests;
mod job_answers;
#[cfg(test)]
mod job_tests;
mod jobs;
mod left_out;
#[cfg(test)]
mod left_out_tests;
#[cfg(test)]
mod liveness;
mod memory;
mod offsets;
mod pace;
mod parked;
#[cfg(test)]
mod parked_tests;
mod people;
#[cfg(test)]
mod people_tests;
mod plan;
mod queue;
mod row;
mod settle;
#[cfg(test)]
mod simulated_jobs;
#[cfg(test)]
mod simulated_org;
#[cfg(test)]
mod simulation;
mod terms;
#[cfg(test)]
mod tests;
mod trouble;
#[cfg(test)]
mod trouble_tests;
mod written;
#[cfg(test)]
mod written_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use batch::reference;
pub use budget::{Budget, Forecast, Usage};
pub use held::{Cause, Of};
pub use memory::Statuses;
pub use parked::{Places, ReadFrom};
pub use people::Parent;
pub use row::{Class, Key, Priority, Source};
pub use terms::{
    Answer, Call, Effect, Failure, FoundPerson, JobAnswer, JobCall, JobFate, JobRow, Part, Position, Request,
    RequestId, RowResult, Settled,
};

use crate::config;
use crate::disposition::Wait;
use crate::id::SalesforceId;
use crate::salesforce::ROWS_MAX;
use crate::time::Millis;
pub use choice::Costs;
use held::Hold;
use jobs::{JobNumber, Jobs};
use memory::Memory;
use offsets::Offsets;
use pace::Pace;
use parked::Parked;
use people::Doubt;
use queue::Queue;
use row::{Tries, Version};
use trouble::{Outage, Proof, Stuck};
use written::Written;

/// So many times the pending rows may be done and wait for one that is not: 16 bytes each.
const OPEN_ROWS_FACTOR: usize = 20;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub batch_rows_max: usize,
    pub requests_in_flight_max: usize,
    pub attempts_max: u32,
    /// How long a row goes on meeting locks before it is given up.
    pub lock_wait: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// How long a save that is not full waits for company while another is under way; alone a twentieth of it.
    pub batch_wait: Duration,
    pub budget_reserve_percent: u8,
    /// Rows that are kept until their status is known to have been there.
    pub written_rows_max: usize,
    pub costs: Costs,
}

impl From<&config::Sink> for Settings {
    fn from(sink: &config::Sink) -> Self {
        Self {
            batch_rows_max: sink.batch_rows_max.clamp(1, ROWS_MAX),
            requests_in_flight_max: sink.requests_in_flight_max.max(1),
            attempts_max: sink.attempts_max,
            lock_wait: sink.lock_wait,
            backoff_min: sink.backoff_min,
            backoff_max: sink.backoff_max,
            batch_wait: sink.batch_wait,
            budget_reserve_percent: sink.budget_reserve_percent,
            written_rows_max: written::ROWS_MAX,
            costs: Costs {
                call_rows: batch::rows_max(sink.batch_rows_max.clamp(1, ROWS_MAX)),
                job_calls: choice::JOB_CALLS,
                job_rows_min: sink.bulk_rows_min,
                patience: sink.bulk_patience,
            },
        }
    }
}

#[derive(Debug)]
struct InFlight {
    /// Rows of a save, in the order in which they were sent.
    keys: Vec<Key>,
    /// Busy until the answer is in.
    campaigns: BTreeSet<SalesforceId>,
    people: BTreeSet<SalesforceId>,
    call: AskedFor,
    sent_at: Millis,
}

/// What an answer is an answer to.
#[derive(Debug)]
enum AskedFor {
    Save {
        isolated: bool,
        /// Rows of each part.
        parts: Vec<usize>,
    },
    Records(Vec<Key>),
    /// The rows are those of `InFlight::keys`.
    People,
    Parents(Vec<Doubt>),
    ManyStatuses(Vec<SalesforceId>),
    Statuses(SalesforceId),
    Limits,
    Job(JobNumber),
}

/// What was asked and is not answered. What is to be asked is what rows wait for.
#[derive(Debug)]
struct Questions {
    records: BTreeSet<Key>,
    statuses: BTreeSet<SalesforceId>,
    /// Campaigns that were found to lack some: each is asked for by itself.
    lacking: BTreeSet<SalesforceId>,
    /// Campaigns whose statuses could not be read.
    stuck: BTreeMap<SalesforceId, Stuck>,
    many_stuck: Stuck,
    records_stuck: Stuck,
    /// Records that are looked up at once.
    records_max: usize,
    /// Campaigns whose statuses are read at once.
    campaigns_max: usize,
}

#[derive(Debug)]
pub struct Outbox {
    settings: Settings,
    queue: Queue,
    /// The campaign that was last given a full turn.
    lane_cursor: Option<SalesforceId>,
    /// Saves so far, which decides whose turn is next.
    saves: u64,
    last_save: Option<Millis>,
    /// Since when there is something to send, but not a full request of it.
    partial_since: Option<Millis>,
    /// Since when there is more than a full request to send.
    burst_since: Option<Millis>,
    last_read: Millis,
    more_to_read: bool,
    questions: Questions,
    in_flight: BTreeMap<RequestId, InFlight>,
    busy: BTreeSet<SalesforceId>,
    busy_people: BTreeSet<SalesforceId>,
    pace: Pace,
    budget: Budget,
    jobs: Jobs,
    memory: Memory,
    written: Written,
    holds: BTreeMap<Cause, Hold>,
    offsets: Offsets,
    parked: Parked,
    /// Settled, not yet recorded.
    unrecorded: BTreeSet<Position>,
    leaving: BTreeSet<i32>,
    effects: Vec<Effect>,
    outage: Option<Outage>,
    proof: Proof,
    /// Source of request ids, of the order of timers and of jitter.
    counter: u64,
}

impl Outbox {
    pub fn new(settings: Settings) -> Self {
        Self {
            pace: Pace::new(
                settings.requests_in_flight_max,
                settings.batch_rows_max,
                batch::rows_max(settings.batch_rows_max),
            ),
            budget: Budget::new(settings.budget_reserve_percent),
            settings,
            queue: Queue::default(),
            lane_cursor: None,
            saves: 0,
            last_save: None,
            partial_since: None,
            burst_since: None,
            last_read: Millis::MIN,
            more_to_read: false,
            questions: Questions::default(),
            in_flight: BTreeMap::new(),
            busy: BTreeSet::new(),
            busy_people: BTreeSet::new(),
            jobs: Jobs::default(),
            memory: Memory::default(),
            written: Written::default(),
            holds: BTreeMap::new(),
            offsets: Offsets::default(),
            parked: Parked::default(),
            unrecorded: BTreeSet::new(),
            leaving: BTreeSet::new(),
            effects: Vec::new(),
            outage: None,
            proof: Proof::default(),
            counter: 0,
        }
    }

    /// Takes a record of the upserts topic.
    pub fn push(&mut self, source: Source, now: Millis) {
        let position = source.position;
        let leaves = self.leaving.contains(&position.partition);
        if leaves || self.parked.holds(position.partition) {
            return self.parked.add_read(source, !leaves);
        }
        if self.offsets.read(position) {
            self.last_read = now;
            self.take(source, false, now);
        }
    }

    /// Takes what stands behind all that was taken of its partition before. `again`: it has had its outcome.
    fn take(&mut self, source: Source, again: bool, now: Millis) {
        let position = source.position;
        // Says that a row's upserts are no longer kept, as whoever erases a member does. There is nothing to write, so
        // nothing to wait for; a version that was read before goes its way.
        if source.value.is_none() {
            self.offsets.recorded(position);
            self.forget_written(source.key.as_deref());
            return self.effects.push(Effect::Tombstone);
        }
        let (key, version) = match Version::read(source) {
            Ok((key, version)) => {
                // What is noted of a job is offsets, which say nothing once their log is gone.
                let by_call = position.log != self.offsets.log();
                (key, Version { again, tries: Tries { by_call, ..version.tries }, ..version })
            }
            Err(unreadable) => {
                let (source, why) = *unreadable;
                return self.refuse_record(source, why, now);
            }
        };
        self.written.forget(&version.member, &key);
        if let Some(found) = self.job_of(position.partition, &key) {
            return self.push_found(found, key, version, now);
        }
        if !self.queue.contains(&key) {
            self.queue.insert(key.clone(), version);
            return self.admit(&key, now);
        }
        let superseded = self.queue.update(&key, version);
        if let Some(superseded) = superseded {
            self.supersede(&superseded, now);
        }
    }

    /// What there is to do since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The outcome of this upsert is on its topic.
    pub fn recorded(&mut self, position: Position) {
        self.unrecorded.remove(&position);
        self.offsets.recorded(position);
    }

    /// The log that is read, as far as was told.
    pub fn log(&self) -> u32 {
        self.offsets.log()
    }

    /// Partitions and offsets to resume at, where they have moved: forward, or back below a row that is sent again.
    pub fn take_committable(&mut self) -> Vec<(i32, i64)> {
        self.offsets.take_committable()
    }

    /// Sends no more rows of these partitions, keeps those in flight.
    pub fn revoke(&mut self, partitions: &[i32], now: Millis) {
        self.leaving.extend(partitions);
        for version in self.queue.take_partitions(|partition| self.leaving.contains(&partition), false) {
            self.park(version);
        }
        self.written.drop_partitions(|partition| self.leaving.contains(&partition));
        self.detach_jobs(&self.leaving.clone(), false, now);
    }

    /// Whether nothing of these partitions is in flight or waits to be recorded.
    pub fn quiet(&self, partitions: &[i32]) -> bool {
        let of_them = |position: &Position| partitions.contains(&position.partition);
        !self.queue.slots().any(|(_, slot)| of_them(&slot.version.source.position))
            && !self.unrecorded.iter().any(of_them)
    }

    /// Lets go of revoked partitions; returns the last offsets to commit. See [`parked`] for what becomes of their rows.
    // Crash here, or a partition that leaves with rows in flight: the new owner sends them again; harmless, they are
    // upserts of the same rows by external id, and newer versions stand behind them in the partition.
    pub fn leave(&mut self, partitions: &[i32], now: Millis) -> Vec<(i32, i64)> {
        self.detach_jobs(&partitions.iter().copied().collect(), true, now);
        let of_them = |position: &Position| partitions.contains(&position.partition);
        for version in self.queue.take_partitions(|partition| partitions.contains(&partition), true) {
            self.park(version);
        }
        let log = self.offsets.log();
        for id in partitions {
            if let Some(next_offset) = self.offsets.next_offset(*id) {
                self.parked.reached(*id, log, next_offset);
            }
        }
        self.parked.left();
        self.unrecorded.retain(|position| !of_them(position));
        self.leaving.retain(|partition| !partitions.contains(partition));
        self.questions.lacking.clear();
        partitions.iter().filter_map(|id| self.offsets.leave(*id).map(|next| (*id, next))).collect()
    }

    /// Partitions of which rows were read.
    pub fn partitions(&self) -> Vec<i32> {
        let all: BTreeSet<i32> = self.offsets.partitions().chain(self.parked.partitions()).collect();
        all.into_iter().collect()
    }

    /// Rows read whose outcome is not recorded.
    pub fn pending(&self) -> usize {
        // What is about to leave is counted as what it was.
        self.offsets.pending() + if self.leaving.is_empty() { self.parked.rows() } else { 0 }
    }

    /// Whether more rows may be read. Those in jobs have a bound of their own; rows behind one that is stuck are done and
    /// go on to be read, up to a bound: a crash has them all sent again.
    pub fn has_room(&self, pending_max: usize) -> bool {
        // What is parked stood in memory when its partition left, and may wait for long.
        let waiting = self.offsets.pending() + self.parked.came_since();
        waiting.saturating_sub(self.queue.in_jobs()) < pending_max
            && self.open() < pending_max.saturating_mul(OPEN_ROWS_FACTOR)
    }

    /// Rows read that would be read again after a crash.
    pub fn open(&self) -> usize {
        self.offsets.open()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Requests that may be under way at once, and rows that one may hold.
    pub fn pace(&self) -> (usize, usize) {
        (self.pace.window(), self.pace.rows())
    }

    /// Whether rows are at hand that were not taken yet, and how many are on the topic, as far as anybody told.
    pub fn expect_more(&mut self, more: bool, rows: usize) {
        self.more_to_read = more;
        self.jobs.to_read = rows;
    }

    /// What Salesforce last said of the calls of the day.
    pub fn tell_usage(&mut self, usage: Usage, now: Millis) {
        self.budget.tell(usage, now);
    }

    /// Rows go to another org from now on: nothing that is remembered is true of it. Only while nothing is in flight.
    pub fn forget_org(&mut self, now: Millis) {
        self.memory = Memory::default();
        self.written = Written::default();
        self.questions = Questions::default();
        self.budget = Budget::new(self.settings.budget_reserve_percent);
        (self.outage, self.proof) = (None, Proof::default());
        self.holds.clear();
        self.forget_jobs(now);
        for key in self.queue.slots().map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.queue.forget_tries(&key);
            self.admit(&key, now);
        }
    }

    /// What is known of the calls of the day.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Why the whole org is waited for, where it is.
    pub fn waiting(&self) -> Option<Wait> {
        let spent = !self.budget.allows(Priority::Live) && !self.queue.is_empty();
        self.outage.map(|outage| outage.wait).or_else(|| spent.then_some(Wait::Quota))
    }

    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Doubles with every failure up to the maximum; the spread keeps many rows from coming back as one.
    fn backoff(&mut self, failures: u32) -> Millis {
        let (min, max) = (millis(self.settings.backoff_min), millis(self.settings.backoff_max));
        let full = min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
        let number = self.next_number();
        let spread = xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes()) % 512;
        let spread = Millis::try_from(spread).unwrap_or(0);
        (full / 2).saturating_add(full / 2 * spread / 511).max(1)
    }
}

/// Of a setting: small enough to be multiplied and added to a time.
fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX).min(Millis::MAX / 64)
}
