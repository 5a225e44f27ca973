//! Bulk jobs of the simulation's org: they go on by themselves, whoever made them.

use std::collections::BTreeMap;

use csv::Reader;
use serde_json::{Map, Value as Json};

use super::simulated_org::Org;
use super::tests::{failure, id};
use super::*;
use crate::disposition::{Disposition, Reach};
use crate::salesforce::bulk::{JobInfo, JobState, ResultKind};
use crate::upsert::Object;

pub(super) struct OrgJob {
    object: Object,
    pub state: JobState,
    rows: Vec<Map<String, Json>>,
    /// Of the rows that were carried out, in their order.
    results: Vec<RowResult>,
    /// Of the outbox that made it.
    life: u32,
}

#[derive(Default)]
pub(super) struct OrgJobs {
    pub all: BTreeMap<SalesforceId, OrgJob>,
    made: u32,
}

impl OrgJob {
    fn runs(&self) -> bool {
        matches!(self.state, JobState::UploadComplete | JobState::InProgress)
    }

    /// External ids that it may still write.
    pub fn to_write(&self) -> impl Iterator<Item = &str> {
        let rows = self.rows.iter().skip(self.results.len()).filter(|_| self.runs());
        rows.map(|row| row["external_id__c"].as_str().unwrap())
    }
}

impl Org {
    /// A few rows of each job, in an order of the org's own; now and then a job fails in the middle.
    pub fn run_jobs(&mut self, random: &mut fastrand::Rng, faults: bool) {
        for job in self.jobs.all.keys().copied().collect::<Vec<_>>() {
            for _ in 0..random.u32(1..4) {
                self.run_row(job);
            }
            let job = self.jobs.all.get_mut(&job).unwrap();
            if faults && job.runs() && random.u32(0..60) == 0 {
                job.state = JobState::Failed;
            }
        }
    }

    fn run_row(&mut self, number: SalesforceId) {
        let job = &self.jobs.all[&number];
        if !job.runs() {
            return;
        }
        let (object, row) = (job.object, job.rows.get(job.results.len()).cloned());
        self.acting = job.life;
        let result = row.map(|row| self.save_row(Class::Row(object), &row));
        self.acting = self.life;
        let job = self.jobs.all.get_mut(&number).unwrap();
        job.state = JobState::InProgress;
        job.results.extend(result);
        if job.results.len() == job.rows.len() {
            job.state = JobState::JobComplete;
        }
    }

    pub fn job_call(&mut self, call: &JobCall) -> Answer {
        let wrong_state = || Answer::Failed(failure(Disposition::Isolate, "INVALIDJOBSTATE"));
        let (number, answer) = match call {
            JobCall::Create { object } => {
                self.jobs.made += 1;
                let number = id("750", self.jobs.made);
                let (state, rows, results) = (JobState::Open, Vec::new(), Vec::new());
                let job = OrgJob { object: *object, state, rows, results, life: self.life };
                self.jobs.all.insert(number, job);
                return Answer::Job(JobAnswer::Created(number));
            }
            JobCall::Upload { job, .. }
            | JobCall::Close { job }
            | JobCall::Abort { job }
            | JobCall::Look { job }
            | JobCall::Read { job, .. } => (*job, Answer::Job(JobAnswer::Done)),
        };
        let Some(job) = self.jobs.all.get_mut(&number) else {
            return Answer::Failed(failure(Disposition::Hold { hint: "", reach: Reach::Object }, "NOT_FOUND"));
        };
        match call {
            JobCall::Create { .. } => unreachable!(),
            JobCall::Upload { csv, .. } if job.state == JobState::Open && job.rows.is_empty() => job.rows = read(csv),
            JobCall::Close { .. } if job.state == JobState::Open => job.state = JobState::UploadComplete,
            JobCall::Abort { .. } if job.state == JobState::Open || job.runs() => job.state = JobState::Aborted,
            JobCall::Upload { .. } | JobCall::Close { .. } | JobCall::Abort { .. } => return wrong_state(),
            JobCall::Look { .. } => {
                let refused = job.results.iter().filter(|result| matches!(result, RowResult::Refused(_))).count();
                let (processed, failed) = (job.results.len() as u64, refused as u64);
                return Answer::Job(JobAnswer::State(JobInfo { state: job.state, processed, failed, error: None }));
            }
            JobCall::Read { part, .. } => return Answer::Job(JobAnswer::Rows(results(job, *part))),
        }
        answer
    }
}

/// In an order that is not that of the rows.
fn results(job: &OrgJob, part: ResultKind) -> Vec<(String, JobRow)> {
    let name = |row: &Map<String, Json>| row["external_id__c"].as_str().unwrap().to_owned();
    if part == ResultKind::Unprocessed {
        return job.rows.iter().skip(job.results.len()).map(|row| (name(row), JobRow::Unprocessed)).collect();
    }
    let of_part = |result: &RowResult| matches!(result, RowResult::Saved { .. }) == (part == ResultKind::Successful);
    let rows = job.rows.iter().zip(&job.results).filter(|(_, result)| of_part(result));
    rows.rev().map(|(row, result)| (name(row), JobRow::Ended(result.clone()))).collect()
}

/// An empty cell says nothing.
pub(super) fn read(csv: &[u8]) -> Vec<Map<String, Json>> {
    let mut reader = Reader::from_reader(csv);
    let header = reader.headers().unwrap().clone();
    let value = |text: &str| match text.parse::<i64>() {
        Ok(number) => number.into(),
        Err(_) if text == "#N/A" => Json::Null,
        Err(_) => text.into(),
    };
    let row = |row: csv::StringRecord| {
        let cells = header.iter().zip(&row).filter(|(_, text)| !text.is_empty());
        cells.map(|(name, text)| (name.to_owned(), value(text))).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}
