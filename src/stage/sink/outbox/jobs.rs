//! Bulk jobs: which rows go into one, and which call it needs next.
//!
//! ```text
//!  create ─▶ record in Kafka ─▶ upload ─▶ close ─▶ poll … poll ─▶ read results ─▶ every row has an outcome
//! ```
//!
//! Which rows a job carries is on a topic before the first of them is uploaded. Whoever has the partitions after a crash
//! finds the job there, waits for its end, and takes the rows' results instead of sending them again; without that a
//! job of a dead process could write an old version of a row over a newer one, minutes later. Nothing else is sent to the
//! campaigns and people of a job until it has ended.
//!
//! A job whose upload is in doubt is aborted and its rows go again: to find out what of it has arrived would cost more.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::choice::{Backlog, by_bulk};
use super::plan::Need;
use super::queue::{Line, Place};
use super::row::{Key, Kind, Priority, Version};
use super::{AskedFor, Call, JobCall, Outbox, Request};
use crate::bulk_job::{BulkJob, key_of};
use crate::id::SalesforceId;
use crate::salesforce::bulk::{ResultKind, sheet};
use crate::time::Millis;
use crate::upsert::Object;

/// Rows that all jobs together may hold.
const JOB_ROWS_MAX: usize = 150_000;

/// Salesforce takes uploads of 100 MB; rows are measured before they are written, hence the distance.
const JOB_BYTES_MAX: usize = 90_000_000;

/// What a row takes in the CSV beside its texts: ids, separators and nulls.
const ROW_BYTES: usize = 400;

/// Jobs under way at once: they are few and large, and more would only wait for each other's locks.
const JOBS_MAX: usize = 4;

/// Rows that are still to be read are waited for so long, so that they share the job.
const FILL_MAX_MS: Millis = 60_000;

/// How long a choice stands.
const CHOICE_MS: Millis = 100;

/// A choice that came to nothing is not made again for so long.
const CHOICE_PAUSE_MS: Millis = 5_000;

/// A job that takes longer is aborted: its rows, and those behind them, have waited long enough.
const JOB_MAX_MS: Millis = 3_600_000;

/// Rows of a job of before are read from the topic again before its results are; so long at most.
const ROWS_WAIT_MS: Millis = 60_000;

pub(super) type JobNumber = u64;

#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub all: BTreeMap<JobNumber, Job>,
    /// Salesforce takes no jobs, or they fail.
    pub shut_until: Millis,
    /// Rows on the topic that were not read yet, as far as the shell knows.
    pub to_read: usize,
    chosen: Chosen,
    /// No choice before.
    choice_at: Millis,
}

/// Objects whose rows are kept back for a job.
#[derive(Debug, Default)]
struct Chosen {
    objects: Vec<Object>,
    at: Millis,
    ready: usize,
    /// How old most of the rows are.
    age: Millis,
    since: Option<Millis>,
}

#[derive(Debug)]
pub(super) struct Job {
    pub object: Object,
    /// None until Salesforce has made it.
    pub id: Option<SalesforceId>,
    pub keys: Vec<Key>,
    pub campaigns: BTreeSet<SalesforceId>,
    pub people: BTreeSet<SalesforceId>,
    /// Partitions in which it is recorded.
    pub partitions: BTreeSet<i32>,
    pub step: Step,
    /// No call before.
    pub due: Millis,
    pub calling: bool,
    pub csv: Vec<u8>,
    pub uploaded: bool,
    /// Salesforce has refused to abort it.
    pub unabortable: bool,
    pub polls: i32,
    /// When it is aborted.
    pub until: Millis,
    pub found: Option<Found>,
}

/// What the topic says of a job of a process before this one.
#[derive(Debug)]
pub(super) struct Found {
    /// Offset of the version that it carries, by partition and row.
    pub offsets: HashMap<(i32, i64), i64>,
    /// The last of them in each partition.
    pub last: BTreeMap<i32, i64>,
    /// What was written later it does not carry, whatever its offset: the topic was made anew since.
    pub created_at: Millis,
    pub until: Millis,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Create,
    /// Until the topic has it.
    Record,
    Upload,
    Close,
    Poll,
    /// The last part first.
    Read(Vec<ResultKind>),
    Abort,
}

impl Found {
    /// Whether a version was there when the job was made.
    pub fn written_before(&self, version: &Version) -> bool {
        version.source.timestamp.is_none_or(|at| at <= self.created_at)
    }
}

impl Jobs {
    /// Rows in jobs.
    pub fn rows(&self) -> usize {
        self.all.values().map(|job| job.keys.len()).sum()
    }

    /// Whether rows of this kind are kept back.
    pub fn keeps(&self, kind: Kind) -> bool {
        kind.by_bulk && self.chosen.objects.contains(&kind.object)
    }

    /// The job of before that carries a version of this row.
    fn of(&self, partition: i32, key: &Key) -> Option<(JobNumber, i64)> {
        let mut found = self.all.iter().filter_map(|(number, job)| Some((number, job, job.found.as_ref()?)));
        found.find_map(|(number, job, found)| {
            let offset = found.offsets.get(&(partition, key_of(&key.external_id)))?;
            (job.object == key.object).then_some((*number, *offset))
        })
    }
}

impl Outbox {
    /// Jobs that the topic names: they were under way when their rows changed hands. `resumed` are the offsets from which
    /// the partitions are read.
    pub fn restore_jobs(&mut self, records: Vec<(i32, BulkJob)>, resumed: &BTreeMap<i32, i64>, now: Millis) {
        for (partition, record) in records {
            let Some(object) = Object::from_api_name(&record.object) else { continue };
            let known = self.jobs.all.iter().find(|(_, job)| job.id == Some(record.job)).map(|(number, _)| *number);
            let number = known.unwrap_or_else(|| self.next_number());
            let job = self.jobs.all.entry(number).or_insert_with(|| Job {
                id: Some(record.job),
                step: Step::Poll,
                due: now,
                until: now + JOB_MAX_MS,
                ..Job::new(object)
            });
            job.partitions.insert(partition);
            let until = now + ROWS_WAIT_MS;
            let new = Found { offsets: HashMap::new(), last: BTreeMap::new(), created_at: record.created_at, until };
            let found = job.found.get_or_insert(new);
            let last = record.rows.iter().map(|row| row.offset).max();
            let to_come = last.filter(|last| resumed.get(&partition).is_none_or(|resumed| last >= resumed));
            found.last.extend(to_come.map(|last| (partition, last)));
            found.offsets.extend(record.rows.into_iter().map(|row| ((partition, row.key), row.offset)));
        }
    }

    /// Jobs under way.
    pub fn jobs(&self) -> usize {
        self.jobs.all.len()
    }

    /// The job of before that carries a version of this row and has not said what became of it; the version's offset.
    pub(super) fn job_of(&self, partition: i32, key: &Key) -> Option<(JobNumber, i64)> {
        let found = self.jobs.of(partition, key)?;
        (!self.queue.contains(key) || self.queue.in_job(key, found.0)).then_some(found)
    }

    pub(super) fn push_found(&mut self, (number, carried): (JobNumber, i64), key: Key, version: Version, now: Millis) {
        let comparable = self.parked.comparable(version.source.position, self.offsets.log());
        let Some(job) = self.jobs.all.get_mut(&number) else { return };
        let written_before = job.found.as_ref().is_none_or(|found| found.written_before(&version));
        let carried = (comparable && written_before).then_some(carried);
        let offset = version.source.position.offset;
        let superseded = match self.queue.get(&key) {
            None => {
                let member = version.member;
                job.keys.push(key.clone());
                job.campaigns.insert(member.campaign);
                job.people.insert(member.person);
                self.busy.insert(member.campaign);
                self.busy_people.insert(member.person);
                self.queue.insert_at(key, version, Place::Job(number));
                None
            }
            Some(_) if carried.is_some_and(|carried| offset <= carried) => self.queue.supersede(&key, version),
            Some(_) => self.queue.update(&key, version),
        };
        if let Some(superseded) = superseded {
            self.supersede(&superseded, now);
        }
    }

    /// The record of a job is on its topic.
    pub fn job_recorded(&mut self, number: JobNumber) {
        if let Some(job) = self.jobs.all.get_mut(&number).filter(|job| job.step == Step::Record) {
            job.step = Step::Upload;
        }
    }

    /// The next call of a job under way.
    pub(super) fn job_request(&mut self, now: Millis) -> Option<Request> {
        let (number, _) = self.jobs.all.iter().find(|(_, job)| self.may_call(job, now))?;
        let number = *number;
        let job = self.jobs.all.get_mut(&number)?;
        if job.step == Step::Poll && now >= job.until && !job.unabortable {
            job.step = Step::Abort;
        }
        let call = match (&job.step, job.id) {
            (Step::Create, _) => JobCall::Create { object: job.object },
            (Step::Upload, Some(job_id)) => JobCall::Upload { job: job_id, csv: std::mem::take(&mut job.csv) },
            (Step::Close, Some(job)) => JobCall::Close { job },
            (Step::Abort, Some(job)) => JobCall::Abort { job },
            (Step::Poll, Some(job)) => JobCall::Look { job },
            (Step::Read(parts), Some(id)) => JobCall::Read { object: job.object, job: id, part: *parts.last()? },
            (Step::Record, _) | (Step::Upload | Step::Close | Step::Abort | Step::Poll | Step::Read(_), None) => {
                return None;
            }
        };
        job.calling = true;
        Some(self.start(Vec::new(), AskedFor::Job(number), Call::Job(call), now))
    }

    fn may_call(&self, job: &Job, now: Millis) -> bool {
        let rows_read = job.found.as_ref().is_none_or(|found| {
            let read = |(partition, last): (&i32, &i64)| self.offsets.last_read(*partition) >= Some(*last);
            now >= found.until || found.last.iter().all(read)
        });
        let ready = match job.step {
            Step::Record => false,
            Step::Read(_) => rows_read,
            Step::Create | Step::Upload | Step::Close | Step::Poll | Step::Abort => true,
        };
        ready && !job.calling && job.due <= now
    }

    /// When a job has something to do without any input.
    pub(super) fn jobs_at(&self) -> impl Iterator<Item = Millis> {
        let due = self.jobs.all.values().filter(|job| !job.calling).map(|job| job.due);
        let found = self.jobs.all.values().filter_map(|job| job.found.as_ref()).map(|found| found.until);
        let filled = self.jobs.chosen.since.map(|since| since + FILL_MAX_MS);
        due.chain(found).chain(filled)
    }

    /// A job of the rows that wait, where that is the cheaper way.
    pub(super) fn start_job(&mut self, now: Millis) -> Option<Request> {
        self.choose(now);
        if self.jobs.chosen.since.is_none() || self.job_fills(now) {
            return None;
        }
        let age = self.jobs.chosen.age;
        for object in self.jobs.chosen.objects.clone() {
            let (keys, others) = self.job_keys(object, now);
            for key in others {
                self.admit(&key, now);
            }
            if self.job_fills(now) {
                return None;
            }
            let rows = BTreeMap::from([(object, keys.len())]);
            let backlog = Backlog { rows, age, calls_left: self.budget.left() };
            if by_bulk(&backlog, self.settings.costs).contains(&object) {
                self.jobs.chosen = Chosen::default();
                self.begin_job(object, keys, now);
                return self.job_request(now);
            }
        }
        // They are less than was thought, or not to be had now: they go as the others do.
        self.jobs.chosen = Chosen::default();
        self.jobs.choice_at = now + CHOICE_PAUSE_MS;
        None
    }

    /// Whether the job that is to come waits for more rows.
    fn job_fills(&self, now: Millis) -> bool {
        let more = self.jobs.to_read > 0 || self.queue.lack_statuses().next().is_some();
        more && self.jobs.chosen.since.is_some_and(|since| now < since + FILL_MAX_MS)
    }

    fn choose(&mut self, now: Millis) {
        let costs = self.settings.costs;
        let ready = self.free_lines().map(|(_, line)| line.len()).sum();
        let chosen = &self.jobs.chosen;
        // A choice that found nothing is made again at once when there is twice as much.
        if now < chosen.at + CHOICE_MS && ready <= chosen.ready * 2 {
            return;
        }
        let possible = costs.job_rows_min > 0
            && now >= self.jobs.shut_until.max(self.jobs.choice_at)
            && self.jobs.all.len() < JOBS_MAX
            && self.jobs.rows() + costs.job_rows_min <= JOB_ROWS_MAX;
        let mut rows: BTreeMap<Object, usize> = BTreeMap::new();
        let least = costs.job_rows_min.max(costs.patience.min(1) * costs.job_calls * costs.call_rows);
        if possible && ready + self.jobs.to_read >= least {
            self.free_lines().for_each(|(kind, line)| *rows.entry(kind.object).or_default() += line.len());
        }
        // What is to be read is taken for a mixture like what was.
        for count in rows.values_mut() {
            *count += self.jobs.to_read * *count / std::cmp::max(ready, 1);
        }
        let age = if rows.is_empty() { 0 } else { self.age(now) };
        let objects = by_bulk(&Backlog { rows, age, calls_left: self.budget.left() }, costs);
        let since = if objects.is_empty() { None } else { Some(self.jobs.chosen.since.unwrap_or(now)) };
        self.jobs.chosen = Chosen { objects, at: now, ready, age, since };
    }

    /// The age that half of the rows have, by the first of each line.
    fn age(&self, now: Millis) -> Millis {
        let ages = self.free_lines().filter_map(|(_, line)| {
            let event_at = self.queue.get(line.values().next()?)?.version.upsert.event_at;
            Some((now.saturating_sub(event_at), line.len()))
        });
        let mut ages: Vec<(Millis, usize)> = ages.collect();
        ages.sort_unstable();
        let all: usize = ages.iter().map(|(_, rows)| rows).sum();
        let mut rows = 0;
        let half = ages.into_iter().find(|(_, more)| {
            rows += more;
            rows * 2 >= all
        });
        half.map_or(0, |(age, _)| age)
    }

    /// Rows that may go in a job, campaign by campaign.
    fn free_lines(&self) -> impl Iterator<Item = (&Kind, &Line)> {
        let allowed = [Priority::Live, Priority::Backfill].map(|priority| (priority, self.budget.allows(priority)));
        let free = self.queue.lanes().filter(|(campaign, _)| !self.busy.contains(*campaign));
        free.flat_map(move |(_, lane)| {
            allowed.into_iter().filter(|(_, allowed)| *allowed).flat_map(|(priority, _)| lane.lines(priority))
        })
    }

    /// The rows of a job; and those that belong elsewhere by now: nobody looks at rows that are kept back.
    fn job_keys(&self, object: Object, now: Millis) -> (Vec<Key>, Vec<Key>) {
        let (mut keys, mut others, mut bytes) = (BTreeSet::new(), Vec::new(), 0);
        let rows_max = JOB_ROWS_MAX.saturating_sub(self.jobs.rows());
        let lines = self.free_lines().filter(|(kind, _)| **kind == Kind { object, by_bulk: true });
        for key in lines.flat_map(|(_, line)| line.values()) {
            let Some(slot) = self.queue.get(key) else { continue };
            let version = &slot.version;
            let size = ROW_BYTES + version.source.value.as_ref().map_or(0, Vec::len);
            if keys.len() >= rows_max || bytes + size > JOB_BYTES_MAX {
                break;
            }
            if self.need(version, now) != Need::Nothing || self.held_back(key).is_some() {
                others.push(key.clone());
                continue;
            }
            let free = !self.people_of(&version.member).any(|person| self.busy_people.contains(&person));
            if free && keys.insert((version.member, key.clone())) {
                bytes += size;
            }
        }
        // Sorted by campaign and person, whom Salesforce locks.
        (keys.into_iter().map(|(_, key)| key).collect(), others)
    }

    fn begin_job(&mut self, object: Object, keys: Vec<Key>, now: Millis) {
        let number = self.next_number();
        let (campaigns, people) = self.parents_of(&keys);
        for key in &keys {
            self.prepare(key);
            self.queue.put(key, Place::Job(number));
        }
        let (queue, memory) = (&self.queue, &self.memory);
        let record = |key: &Key| {
            let version = &queue.get(key)?.version;
            Some(version.record(key, |parent| memory.record(parent).map(|id| id.as_str().into())))
        };
        let csv = sheet(|| keys.iter().filter_map(record));
        self.busy.extend(&campaigns);
        self.busy_people.extend(&people);
        self.jobs.all.insert(number, Job { keys, campaigns, people, csv, until: now + JOB_MAX_MS, ..Job::new(object) });
    }

    /// Those of another org: their rows go to this one.
    pub(super) fn forget_jobs(&mut self, now: Millis) {
        for number in self.jobs.all.keys().copied().collect::<Vec<_>>() {
            self.end_job(number, false, now);
        }
        self.jobs = Jobs::default();
    }

    /// Lets go of the rows of partitions that leave: their next owner finds the job on the topic. One that is just being
    /// closed is waited for, unless there is no time left: the next owner would take it for open.
    pub(super) fn detach_jobs(&mut self, leaving: &BTreeSet<i32>, at_once: bool, now: Millis) {
        for number in self.jobs.all.keys().copied().collect::<Vec<_>>() {
            let Some(job) = self.jobs.all.get_mut(&number) else { continue };
            if job.calling && job.step == Step::Close && !at_once {
                continue;
            }
            let (queue, mut taken) = (&mut self.queue, Vec::new());
            let mut left = job.partitions.iter().any(|partition| leaving.contains(partition));
            job.keys.retain(|key| {
                let Some(slot) = queue.get(key) else { return false };
                let leaves = leaving.contains(&slot.version.source.position.partition);
                if leaves && queue.in_job(key, number) {
                    taken.extend(queue.remove(key));
                }
                left |= leaves;
                !leaves
            });
            for version in taken {
                self.offsets.forgive(version.source.position);
                self.parked.add(version);
            }
            job.partitions.retain(|partition| !leaving.contains(partition));
            if let Some(found) = &mut job.found {
                found.last.retain(|partition, _| !leaving.contains(partition));
                found.offsets.retain(|(partition, _), _| !leaving.contains(partition));
            }
            // What was not uploaded is not: its CSV holds rows of others.
            let begun = !matches!(job.step, Step::Create | Step::Record | Step::Upload);
            if left && (!begun || job.keys.is_empty() && job.partitions.is_empty()) {
                self.end_job(number, false, now);
            }
        }
    }
}

impl Job {
    fn new(object: Object) -> Self {
        Self {
            object,
            id: None,
            keys: Vec::new(),
            campaigns: BTreeSet::new(),
            people: BTreeSet::new(),
            partitions: BTreeSet::new(),
            step: Step::Create,
            due: Millis::MIN,
            calling: false,
            csv: Vec::new(),
            uploaded: false,
            unabortable: false,
            polls: 0,
            until: Millis::MAX,
            found: None,
        }
    }
}
