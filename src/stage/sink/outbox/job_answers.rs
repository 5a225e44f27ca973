//! What the answer to a job's call means: for the job, and at its end for each row.

use std::collections::BTreeMap;

use super::jobs::{Job, JobNumber, Step};
use super::row::Key;
use super::{Effect, Failure, JobAnswer, JobFate, JobRow, Outbox, RowResult, Settings, millis};
use crate::bulk_job::{BulkJob, BulkJobRow, key_of};
use crate::disposition::{Disposition, Reach, Retry, same};
use crate::id::SalesforceId;
use crate::salesforce::bulk::{JobInfo, JobState, ResultKind};
use crate::time::Millis;

/// Rows that Salesforce writes in a millisecond at best: a job is not asked for before.
const ROWS_PER_MILLI: usize = 20;

/// Attempts at a part of the results: with the pauses between them a quarter of an hour.
const READS_MAX: i32 = 20;

impl Outbox {
    pub(super) fn job_answered(&mut self, number: JobNumber, answer: JobAnswer, now: Millis) {
        let Some(job) = self.jobs.all.get_mut(&number) else { return };
        job.calling = false;
        match answer {
            JobAnswer::Created(id) => {
                job.id = Some(id);
                job.step = Step::Record;
                self.record_job(number, id, now);
            }
            JobAnswer::Done => match job.step {
                Step::Upload => {
                    job.uploaded = true;
                    job.step = Step::Close;
                }
                Step::Close => {
                    job.step = Step::Poll;
                    job.ask_later(self.settings, now);
                }
                // It may have done something before.
                Step::Abort => {
                    job.step = Step::Poll;
                    job.until = Millis::MAX;
                }
                Step::Create | Step::Record | Step::Poll | Step::Read(_) => {}
            },
            JobAnswer::State(info) => self.job_looked_at(number, &info, now),
            JobAnswer::Rows(rows) => self.job_read(number, rows, now),
        }
        self.detach_leaving(now);
    }

    /// Nothing of this stops the sink: what is wrong with more than the job, composite calls meet as well.
    pub(super) fn job_failed(&mut self, number: JobNumber, failure: &Failure, now: Millis) {
        let waits = matches!(failure.disposition, Disposition::Wait(_));
        if let Disposition::Wait(wait) = failure.disposition {
            self.begin_outage(wait, now);
        }
        let Some(job) = self.jobs.all.get_mut(&number) else { return };
        job.calling = false;
        match job.step.clone() {
            // A job that was made all the same stays empty.
            Step::Create if waits => {}
            Step::Create => {
                self.job_ended(JobFate::Refused, &failure.code);
                self.shut_jobs(now);
                self.end_job(number, false, now);
            }
            Step::Poll | Step::Read(_) if same("NOT_FOUND", &failure.code) => {
                self.job_ended(JobFate::Gone, "");
                self.end_job(number, false, now);
            }
            // It has ended, so that sending its rows again is safe.
            Step::Read(_) if job.polls >= READS_MAX => {
                self.job_ended(JobFate::Unread, &failure.code);
                self.end_job(number, false, now);
            }
            // How much of it has arrived is not known: the job's own state decides.
            step @ (Step::Upload | Step::Close | Step::Abort) => {
                job.step = Step::Poll;
                job.ask_later(self.settings, now);
                job.uploaded &= waits || step != Step::Close;
                job.unabortable |= !waits && step == Step::Abort;
                // One that does not get through would not get through the next time.
                if !waits || step == Step::Upload {
                    self.shut_jobs(now);
                }
            }
            Step::Poll | Step::Read(_) | Step::Record => job.ask_later(self.settings, now),
        }
        self.detach_leaving(now);
    }

    fn detach_leaving(&mut self, now: Millis) {
        if !self.leaving.is_empty() {
            let leaving = self.leaving.clone();
            self.detach_jobs(&leaving, false, now);
        }
    }

    /// By partition, as that is how rows change hands.
    fn record_job(&mut self, number: JobNumber, id: SalesforceId, now: Millis) {
        let Some(job) = self.jobs.all.get_mut(&number) else { return };
        let mut records: BTreeMap<i32, BulkJob> = BTreeMap::new();
        for key in &job.keys {
            let Some(slot) = self.queue.get(key) else { continue };
            let position = slot.version.source.position;
            let record = records.entry(position.partition).or_insert_with(|| BulkJob {
                job: id,
                object: job.object.api_name().to_owned(),
                created_at: now,
                rows: Vec::new(),
            });
            record.rows.push(BulkJobRow { offset: position.offset, key: key_of(&key.external_id) });
        }
        job.partitions = records.keys().copied().collect();
        self.effects.push(Effect::RecordJob { number, records: records.into_iter().collect() });
    }

    fn job_looked_at(&mut self, number: JobNumber, info: &JobInfo, now: Millis) {
        let Some(job) = self.jobs.all.get_mut(&number) else { return };
        match info.state {
            JobState::Open if job.uploaded => job.step = Step::Close,
            // It never runs.
            JobState::Open if job.unabortable => self.end_job(number, false, now),
            JobState::Open => job.step = Step::Abort,
            JobState::UploadComplete | JobState::InProgress => {
                job.step = Step::Poll;
                job.ask_later(self.settings, now);
            }
            JobState::JobComplete => {
                let parts =
                    [(ResultKind::Failed, info.failed > 0), (ResultKind::Successful, info.processed > info.failed)];
                let parts: Vec<ResultKind> = parts.into_iter().filter(|(_, any)| *any).map(|(part, _)| part).collect();
                self.job_ended(JobFate::Complete, "");
                self.read_job(number, parts, now);
            }
            // What it has done is done; the other rows go again.
            JobState::Failed | JobState::Aborted => {
                self.shut_jobs(now);
                let fate = if info.state == JobState::Failed { JobFate::Failed } else { JobFate::Aborted };
                self.job_ended(fate, info.error.as_deref().unwrap_or_default());
                if info.processed == 0 {
                    return self.end_job(number, false, now);
                }
                self.read_job(number, vec![ResultKind::Unprocessed, ResultKind::Failed, ResultKind::Successful], now);
            }
        }
    }

    fn read_job(&mut self, number: JobNumber, parts: Vec<ResultKind>, now: Millis) {
        let Some(job) = self.jobs.all.get_mut(&number) else { return };
        job.polls = 0;
        job.due = now;
        if parts.is_empty() {
            return self.end_job(number, true, now);
        }
        job.step = Step::Read(parts);
    }

    fn job_read(&mut self, number: JobNumber, rows: Vec<(String, JobRow)>, now: Millis) {
        let Some(job) = self.jobs.all.get_mut(&number) else { return };
        let Step::Read(parts) = &mut job.step else { return };
        parts.pop();
        let (last, object) = (parts.is_empty(), job.object);
        for (external_id, end) in rows {
            let key = Key::new(object, &external_id);
            if !self.queue.in_job(&key, number) {
                continue;
            }
            match end {
                // Of a version that the topic no longer has, and a newer one took its place.
                _ if !self.carried(number, &key) => self.send_again(&key, now),
                JobRow::Unprocessed => self.send_again(&key, now),
                JobRow::Ended(RowResult::Refused(failure)) if of_the_moment(failure.disposition) => {
                    self.send_by_call(&key, now);
                }
                JobRow::Ended(RowResult::Saved { id, created }) => self.row_saved(&key, id, created, now),
                JobRow::Ended(RowResult::Refused(failure)) => self.row_refused(&key, failure, now),
            }
        }
        if last {
            self.end_job(number, true, now);
        }
    }

    /// Whether the job carries the version that we hold of a row.
    pub(super) fn carried(&self, number: JobNumber, key: &Key) -> bool {
        let found = self.jobs.all.get(&number).and_then(|job| job.found.as_ref());
        let Some((found, slot)) = found.zip(self.queue.get(key)) else { return true };
        let position = slot.version.source.position;
        self.parked.comparable(position, self.offsets.log())
            && found.written_before(&slot.version)
            && found.offsets.get(&(position.partition, key_of(&key.external_id))) == Some(&position.offset)
    }

    /// The job is done with. Rows of it that have no result go again.
    pub(super) fn end_job(&mut self, number: JobNumber, resolved: bool, now: Millis) {
        let Some(Job { id, keys, campaigns, people, partitions, found, .. }) = self.jobs.all.remove(&number) else {
            return;
        };
        self.set_free(&campaigns, &people);
        let mut left = 0;
        for key in keys {
            if self.queue.in_job(&key, number) {
                left += 1;
                self.send_again(&key, now);
            }
        }
        // Results that do not say what became of all rows would not the next time. Rows of a job of before may have been
        // read too late for them.
        if resolved && left > 0 && found.is_none() {
            self.job_ended(JobFate::Unread, "");
            self.shut_jobs(now);
        }
        if let Some(job) = id {
            self.effects.push(Effect::ForgetJob { job, partitions: partitions.into_iter().collect() });
        }
    }

    /// Composite calls go on meanwhile: a job that fails once fails again.
    fn shut_jobs(&mut self, now: Millis) {
        self.jobs.shut_until = now + self.seldom();
    }

    fn job_ended(&mut self, fate: JobFate, code: &str) {
        self.effects.push(Effect::JobEnded { fate, code: code.to_owned() });
    }
}

/// Whether another way, or another time, may do for the row: what a job makes of a lock or of a type is not what a call
/// makes of it.
fn of_the_moment(disposition: Disposition) -> bool {
    match disposition {
        Disposition::Retry(Retry::Lock | Retry::Automation | Retry::Busy | Retry::Unknown)
        | Disposition::Isolate
        | Disposition::Wait(_)
        | Disposition::Hold { reach: Reach::Object, .. } => true,
        Disposition::Retry(
            Retry::LookUpAgain
            | Retry::MemberExists
            | Retry::MemberAbsent
            | Retry::Adopt
            | Retry::MemberMissing
            | Retry::PersonChanged
            | Retry::Job
            | Retry::StatusGone
            | Retry::WithoutFields,
        )
        | Disposition::Delivered
        | Disposition::DeadLetter { .. }
        | Disposition::Hold { .. } => false,
    }
}

impl Job {
    /// Half as long again every time: a job of seconds is seen soon, one of an hour costs few calls.
    fn ask_later(&mut self, settings: Settings, now: Millis) {
        let expected = Millis::try_from(self.keys.len() / ROWS_PER_MILLI).unwrap_or(0);
        let first = (millis(settings.backoff_min) * 10).max(expected);
        let longest = (millis(settings.backoff_max) * 10).max(first);
        let wait = (0..self.polls).fold(first, |wait, _| (wait * 3 / 2).min(longest));
        self.polls += 1;
        self.due = now + wait;
    }
}
