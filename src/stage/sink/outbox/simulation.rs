//! Random upserts, random answers, crashes and hand-overs against an org in memory, by seed.
//!
//! Leads are converted or deleted meanwhile. At the end the org must hold the newest version of every row; and whenever
//! nothing is under way and nothing is due, each row that was read must wait for something that comes.

mod faults;
mod topic;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use self::topic::new_log;
use super::simulated_jobs::{OrgJob, read};
use super::simulated_org::{Org, OrgMember, refused};
use super::tests::{failure, id, member, settings, source, upsert, version_of};
use super::*;
use crate::bulk_job::BulkJob;
use crate::disposition::{Disposition, Retry};
use crate::outcome::OutcomeKind;
use crate::upsert::{Lane, Object, ReadUpsert, Upsert};

const PARTITIONS: i32 = 2;
pub(super) const CAMPAIGNS: u32 = 3;
const PEOPLE: u32 = 4;

/// The upserts topic, the committed offsets and the org outlive the outbox.
struct World {
    random: fastrand::Rng,
    log: Vec<Vec<Upsert>>,
    /// Which log that is, and whether nobody has committed an offset of it.
    number: u32,
    unread: [bool; 2],
    made_at: Millis,
    /// What was read of logs that are gone.
    gone: Vec<(Position, Upsert)>,
    read: Vec<usize>,
    /// By any life of the outbox.
    furthest: [usize; 2],
    committed: Vec<usize>,
    recorded: BTreeSet<Position>,
    dead: BTreeMap<Position, String>,
    in_flight: Vec<Request>,
    to_record: Vec<Position>,
    /// Records of jobs on their way to the topic, and those that are there.
    jobs_to_record: Vec<(u64, Vec<(i32, BulkJob)>)>,
    job_records: BTreeMap<(i32, SalesforceId), BulkJob>,
    jobs_done: usize,
    settings: Settings,
    /// A row that breaks every request that it is in, while there are faults.
    poisoned: Option<String>,
    /// One that somebody locks, so that no request gets through that it is in.
    contended: Option<String>,
    /// Upserts that have an outcome of this life of the outbox.
    settled: BTreeSet<Position>,
    written_again: usize,
    org: Org,
    now: Millis,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut org = Org::default();
        let versions = 1..=i64::from(random.u32(20..120));
        let log = new_log(&mut random, versions);
        // Some members were made by people.
        for person in 1..=2 {
            let record = org.record();
            org.members
                .insert(member(1, person), OrgMember { record, external_id: None, version: None, defaulted: None });
        }
        let poisoned =
            (random.u32(0..4) == 0).then(|| member(random.u32(1..=CAMPAIGNS), random.u32(1..=PEOPLE)).to_string());
        let contended =
            (random.u32(0..4) == 0).then(|| member(random.u32(1..=CAMPAIGNS), random.u32(1..=PEOPLE)).to_string());
        let written_rows_max = random.usize(1..20);
        Self {
            poisoned,
            contended,
            settled: BTreeSet::new(),
            written_again: 0,
            random,
            log,
            number: 0,
            unread: [false; 2],
            made_at: 0,
            gone: Vec::new(),
            read: vec![0; 2],
            furthest: [0; 2],
            committed: vec![0; 2],
            recorded: BTreeSet::new(),
            dead: BTreeMap::new(),
            in_flight: Vec::new(),
            to_record: Vec::new(),
            jobs_to_record: Vec::new(),
            job_records: BTreeMap::new(),
            jobs_done: 0,
            // Every other history has jobs.
            settings: Settings {
                costs: Costs {
                    call_rows: 1,
                    job_calls: 1,
                    job_rows_min: if seed.is_multiple_of(2) { 0 } else { 2 },
                    patience: 0,
                },
                // The org has trouble more often than a few attempts would last.
                attempts_max: 20,
                lock_wait: Duration::from_secs(1_000_000_000),
                written_rows_max,
                ..settings()
            },
            org,
            now: 0,
        }
    }

    fn step(&mut self, outbox: &mut Outbox, faults: bool) {
        match self.random.u32(0..100) {
            0..30 => self.read_one(outbox),
            30..60 => self.answer_one(outbox, faults),
            60..75 => self.record_one(outbox),
            75..80 => self.org.run_jobs(&mut self.random, faults),
            // Now and then minutes pass, as between two readings of statuses.
            80..90 if faults && self.random.u32(0..50) == 0 => self.now += 600_000,
            80..90 => self.now += i64::from(self.random.u32(1..50)),
            _ => self.commit(outbox),
        }
        self.plan(outbox);
    }

    fn read_one(&mut self, outbox: &mut Outbox) {
        let partition = self.random.usize(0..2);
        if let Some(upsert) = self.log[partition].get(self.read[partition]) {
            let offset = i64::try_from(self.read[partition]).unwrap();
            let mut source = source(i32::try_from(partition).unwrap(), offset, upsert);
            (source.position.log, source.timestamp) = (self.number, Some(self.made_at));
            outbox.push(source, self.now);
            self.read[partition] += 1;
            self.furthest[partition] = self.furthest[partition].max(self.read[partition]);
        }
    }

    fn plan(&mut self, outbox: &mut Outbox) {
        while let Some(request) = outbox.next_request(self.now) {
            let parents = parents(&request);
            for other in &self.in_flight {
                assert!(parents.is_disjoint(&self::parents(other)), "one save or job per campaign and per person");
            }
            let written = self.org.jobs.all.values().flat_map(OrgJob::to_write).map(str::to_owned).collect();
            assert!(external_ids(&request).is_disjoint(&written), "no version of a row beside one in a job");
            self.in_flight.push(request);
        }
        for effect in outbox.take_effects() {
            let settled = match effect {
                Effect::Settled(settled) => settled,
                Effect::RecordJob { number, records } => {
                    self.jobs_to_record.push((number, records));
                    continue;
                }
                Effect::ForgetJob { job, partitions } => {
                    self.jobs_to_record.retain(|(_, records)| records.iter().all(|(_, record)| record.job != job));
                    self.job_records.retain(|(partition, of), _| *of != job || !partitions.contains(partition));
                    continue;
                }
                Effect::JobEnded { fate, .. } => {
                    self.jobs_done += usize::from(fate == JobFate::Complete);
                    continue;
                }
                Effect::Tombstone | Effect::Retried(_) | Effect::Held { .. } => continue,
            };
            let outcome = settled.outcome.unwrap();
            let first = self.settled.insert(settled.position);
            assert!(first || outcome.kind != OutcomeKind::Superseded, "{outcome:?} has another outcome");
            self.written_again += usize::from(!first);
            if outcome.kind == OutcomeKind::DeadLettered {
                self.dead.insert(settled.position, outcome.code.unwrap());
            }
            self.to_record.push(settled.position);
        }
        if self.in_flight.is_empty() && self.jobs_to_record.is_empty() {
            outbox.check_liveness(self.now);
        }
    }

    fn answer_one(&mut self, outbox: &mut Outbox, faults: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        let request = self.in_flight.swap_remove(self.random.usize(0..self.in_flight.len()));
        let save = matches!(request.call, Call::Save { .. });
        let fate = if faults { self.random.u32(0..20) } else { 20 };
        if faults && self.random.u32(0..40) == 0 {
            // Somebody deletes a member.
            let key = member(self.random.u32(1..=CAMPAIGNS), self.random.u32(1..=PEOPLE));
            if self.org.members.get(&key).is_some_and(|it| it.version.is_some()) {
                self.org.members.remove(&key);
            }
        }
        if let Call::Job(call) = &request.call {
            let answer = self.job_answer(call, fate);
            return outbox.complete(request.id, answer, self.now);
        }
        if faults && self.random.u32(0..40) == 0 {
            // Two leads become one contact, one becomes another, one is deleted.
            match self.random.u32(1..=PEOPLE) {
                lead @ (1 | 2) => self.org.convert(id("00Q", lead), id("003", 1)),
                3 => self.org.convert(id("00Q", 3), id("003", 3)),
                _ if self.random.u32(0..4) == 0 => self.org.delete(id("00Q", PEOPLE)),
                _ => {}
            }
        }
        if faults && self.random.u32(0..40) == 0 {
            self.delete_status();
        }
        let wait = |wait, code| Answer::Failed(failure(Disposition::Wait(wait), code));
        let contended = self.contended.as_ref().is_some_and(|row| external_ids(&request).contains(row));
        if faults && save && contended {
            let locked = Answer::Failed(failure(Disposition::Retry(Retry::Lock), "UNABLE_TO_LOCK_ROW"));
            return outbox.complete(request.id, locked, self.now);
        }
        let poisoned = self.poisoned.as_ref().is_some_and(|row| external_ids(&request).contains(row));
        if faults && save && poisoned {
            return outbox.complete(request.id, wait(Wait::Outage, "UNKNOWN_EXCEPTION"), self.now);
        }
        let answer = match fate {
            0 => wait(Wait::Outage, "transport"),
            1 if save => {
                // Written, but the answer is lost.
                let _lost = self.org.save(&request.call);
                wait(Wait::Outage, "transport")
            }
            2 => wait(Wait::Quota, "REQUEST_LIMIT_EXCEEDED"),
            3 => wait(Wait::Concurrency, "REQUEST_LIMIT_EXCEEDED"),
            4 if save => Answer::Failed(failure(Disposition::Isolate, "no_code")),
            5..8 if save => self.save_in_part(&request.call, fate),
            8 => {
                // Other applications spend calls, too; they come back with time.
                outbox.tell_usage(Usage { used: self.random.i64(0..10_000), limit: 10_000 }, self.now);
                if save { Answer::Saved(self.org.save(&request.call)) } else { self.org.ask(&request.call) }
            }
            _ if save => Answer::Saved(self.org.save(&request.call)),
            _ => self.org.ask(&request.call),
        };
        outbox.complete(request.id, answer, self.now);
    }

    fn write_job_record(&mut self) -> Option<u64> {
        let at = self.random.usize(0..self.jobs_to_record.len().max(1));
        if at >= self.jobs_to_record.len() {
            return None;
        }
        let (number, records) = self.jobs_to_record.swap_remove(at);
        self.job_records.extend(records.into_iter().map(|(partition, record)| ((partition, record.job), record)));
        Some(number)
    }

    fn record_one(&mut self, outbox: &mut Outbox) {
        if !self.to_record.is_empty() {
            let position = self.to_record.swap_remove(self.random.usize(0..self.to_record.len()));
            self.recorded.insert(position);
            outbox.recorded(position);
        }
        if let Some(number) = self.write_job_record() {
            outbox.job_recorded(number);
        }
    }

    fn commit(&mut self, outbox: &mut Outbox) {
        let offsets = outbox.take_committable();
        self.check_and_commit(&offsets);
        // Also what was written before, and is to be written again.
        for (key, slot) in outbox.queue.slots() {
            let Position { log, partition, offset } = slot.version.source.position;
            if log != self.number {
                continue;
            }
            let committed = self.committed[usize::try_from(partition).unwrap()];
            assert!(committed <= usize::try_from(offset).unwrap(), "{key:?} at {offset} would be lost: {committed}");
        }
    }

    fn check_and_commit(&mut self, offsets: &[(i32, i64)]) {
        for (partition, next_offset) in offsets {
            for offset in 0..*next_offset {
                let position = Position { log: self.number, partition: *partition, offset };
                assert!(self.recorded.contains(&position), "{position:?} is passed without an outcome");
            }
            let partition = usize::try_from(*partition).unwrap();
            (self.committed[partition], self.unread[partition]) = (usize::try_from(*next_offset).unwrap(), false);
        }
    }

    /// Requests in flight may still be carried out by Salesforce; nobody hears of it.
    fn crash(&mut self) -> Outbox {
        for request in std::mem::take(&mut self.in_flight) {
            if self.random.bool() {
                continue;
            }
            match &request.call {
                Call::Save { .. } => drop(self.org.save(&request.call)),
                Call::Job(call) => drop(self.org.job_call(call)),
                Call::FindRecords { .. }
                | Call::FindPeople { .. }
                | Call::FindParents { .. }
                | Call::ReadStatuses { .. }
                | Call::EnsureStatuses { .. }
                | Call::Limits => {}
            }
        }
        // Some records were on their way.
        while self.random.bool() && self.write_job_record().is_some() {}
        self.jobs_to_record.clear();
        self.to_record.clear();
        self.read.clone_from(&self.committed);
        self.org.next_life();
        self.settled.clear();
        self.new_outbox()
    }

    fn new_outbox(&self) -> Outbox {
        let mut outbox = Outbox::new(self.settings);
        self.restore(&mut outbox, &[0, 1]);
        outbox
    }

    fn hand_over_and_back(&mut self, outbox: &mut Outbox) {
        let all: Vec<i32> = (0..PARTITIONS).collect();
        outbox.revoke(&all, self.now);
        for step in 0.. {
            if outbox.quiet(&all) {
                break;
            }
            assert!(step < 10_000, "the partitions do not become quiet: {outbox:?}");
            self.answer_one(outbox, true);
            self.plan(outbox);
            self.record_one(outbox);
        }
        let offsets = outbox.leave(&all, self.now);
        self.check_and_commit(&offsets);
        // What an earlier life has read, and nobody can read any more, may stand in the org all the same.
        let remade = self.number < 2 && self.read == self.furthest && self.random.u32(0..2) == 0;
        if remade {
            self.remake_topic();
        }
        if self.random.u32(0..4) == 0 {
            self.tell_late(outbox);
        }
        if remade && self.random.u32(0..8) == 0 {
            // Somebody else has one of the partitions for a while.
            self.restore(outbox, &[0]);
        }
        self.read.clone_from(&self.committed);
        // Calls for a job are not waited for, but for the one that closes it.
        let (jobs, others) = std::mem::take(&mut self.in_flight).into_iter().partition(is_job);
        self.in_flight = others;
        let jobs: Vec<Request> = jobs;
        self.restore(outbox, &[0, 1]);
        for request in &jobs {
            let Call::Job(call) = &request.call else { continue };
            let fate = self.random.u32(0..20);
            let late = self.job_answer(call, fate);
            outbox.complete(request.id, late, self.now);
        }
        self.org.next_life();
        self.settled.clear();
    }

    fn finish(&mut self, outbox: &mut Outbox) {
        for _ in 0..100_000 {
            self.step(outbox, false);
            self.commit(outbox);
            let read_all = (0..2).all(|it| self.read[it] == self.log[it].len());
            if read_all && outbox.pending() == 0 && outbox.queue.is_empty() && outbox.written.rows() == 0 {
                outbox.check_liveness(self.now);
                return;
            }
            // Minutes pass where calls are spread over the day.
            if self.in_flight.is_empty() {
                self.now = outbox.wake_at(self.now).unwrap_or(self.now);
            }
        }
        panic!("the outbox does not come to an end: {outbox:?}");
    }

    fn dead_of(&self, code: &str) -> usize {
        self.dead.values().filter(|dead| *dead == code).count()
    }
}

/// Campaigns and people that a save locks.
fn parents(request: &Request) -> BTreeSet<String> {
    let ids = external_ids(request).into_iter().flat_map(|id| [id[..18].to_owned(), id[19..37].to_owned()]);
    let Call::Save { parts } = &request.call else { return ids.collect() };
    let rows = parts.iter().flat_map(|part| &part.rows);
    ids.chain(rows.filter_map(|row| row.get("ContactId")?.as_str()).map(str::to_owned)).collect()
}

fn is_job(request: &Request) -> bool {
    matches!(request.call, Call::Job(_))
}

/// Of the rows that a save or a job carries.
fn external_ids(request: &Request) -> BTreeSet<String> {
    let id = |row: &serde_json::Map<String, Json>| row["external_id__c"].as_str().unwrap().to_owned();
    match &request.call {
        Call::Save { parts } => parts.iter().flat_map(|part| &part.rows).map(id).collect(),
        Call::Job(JobCall::Upload { csv, .. }) => read(csv).iter().map(id).collect(),
        Call::Job(_)
        | Call::FindRecords { .. }
        | Call::FindPeople { .. }
        | Call::FindParents { .. }
        | Call::ReadStatuses { .. }
        | Call::EnsureStatuses { .. }
        | Call::Limits => BTreeSet::new(),
    }
}

#[test]
fn the_org_ends_with_the_newest_version_of_every_row_whatever_happens() {
    let (mut jobs, mut again, mut people, mut logs, mut given_up) = (0, 0, [0; 2], 0, 0);
    let setting = |name: &str| std::env::var_os(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
    let histories = setting("ROLLBOOK_HISTORIES").unwrap_or(400);
    let first = setting("ROLLBOOK_HISTORIES_FROM").unwrap_or(0);
    for seed in first..first + histories {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            let mut outbox = world.new_outbox();
            for _ in 0..world.random.u32(50..800) {
                world.step(&mut outbox, true);
                match world.random.u32(0..200) {
                    0 if world.may_crash() => outbox = world.crash(),
                    1 => world.hand_over_and_back(&mut outbox),
                    _ => {}
                }
            }
            world.finish(&mut outbox);
            world.check_org();
            let dead = ["contact_taken", "person_deleted"].map(|code| world.dead_of(code));
            (world.jobs_done, world.written_again, dead, (world.number, world.dead_of("log_gone")))
        });
        let (done, written, dead, (remade, gone)) = result.unwrap_or_else(|_| panic!("seed {seed}"));
        jobs += done;
        again += written;
        logs += remade;
        given_up += gone;
        people.iter_mut().zip(dead).for_each(|(all, more)| *all += more);
    }
    // Fewer may not have met everything.
    if histories < 400 {
        return;
    }
    assert!(jobs > 100, "{jobs} jobs were carried out");
    assert!(again > 40, "{again} rows were written while their status was gone");
    assert!(logs > 100 && given_up > 0, "{logs} topics were made anew, {given_up} rows were somebody else's by then");
    assert!(people.iter().all(|count| *count > 0), "{people:?}: both happened");
}
