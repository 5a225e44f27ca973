//! The jobs of the Bulk API: what each is to do, how far it is, and what is kept of it.
//!
//! With a data directory ingest jobs outlive the process and go on where they were. Query jobs do not: so the ids of jobs
//! come from the clock, and after a restart an old id is unknown, not another job's.

mod content;
mod format;
mod job;
mod keep;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Notify;

use super::org::{Org, now, numbered_id};
use super::wire::Refusal;
use crate::id::SalesforceId;

pub use content::{Column, Operation, Table};
pub use format::{Format, choice, unknown_choice};
pub use job::{Ingest, Job, Kind, Outcome, Query, State, Task, wrong_state};
pub use keep::Keep;

/// Older jobs are gone, whatever their state.
const LIFETIME_MILLIS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// Of an upload. Salesforce takes 150 MB after its base64.
const CONTENT_BYTES_MAX: usize = 100_000_000;

/// Every job, and how they are carried out.
pub struct Jobs {
    /// Oldest first.
    all: Vec<Job>,
    /// Of the newest job's id.
    number: u64,
    /// The place among the jobs that run.
    turn: usize,
    pub batches: Allocation,
    pub queries: Allocation,
    /// How long each step of a job takes.
    pub delay: Duration,
    /// Jobs stand still, but for steps on order.
    pub held: bool,
    failure: Option<Failure>,
    keep: Keep,
    /// There may be something to do.
    ready: Arc<Notify>,
}

/// So many in 24 hours, counted from the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    pub max: u64,
    pub used: u64,
}

/// An order that the next job, or the one under way, fails.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// So many chunks of 200 rows are carried out before.
    #[serde(default)]
    pub after_chunks: usize,
    /// The job's error message.
    pub message: String,
}

/// A job in a worker's hands, and what its step needs.
pub struct Claimed<'a> {
    pub job: &'a mut Job,
    pub batches: &'a mut Allocation,
    pub failure: &'a mut Option<Failure>,
    pub keep: &'a Keep,
}

impl Allocation {
    /// Takes one, if there is one.
    pub fn take(&mut self) -> bool {
        let left = self.used < self.max;
        self.used += u64::from(left);
        left
    }

    pub fn remaining(self) -> u64 {
        self.max.saturating_sub(self.used)
    }
}

impl Jobs {
    /// Jobs of a data directory go on.
    pub fn open(data: Option<&Path>, org: &Org, delay: Duration) -> io::Result<Self> {
        let (keep, all) = Keep::open(data, org)?;
        Ok(Self {
            all,
            number: 0,
            turn: 0,
            batches: Allocation { max: 15_000, used: 0 },
            queries: Allocation { max: 10_000, used: 0 },
            delay,
            held: false,
            failure: None,
            keep,
            ready: Arc::new(Notify::new()),
        })
    }

    pub fn fail_next(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    pub fn set_held(&mut self, held: bool) {
        self.held = held;
        self.ready.notify_one();
    }

    /// Makes every job as old as jobs never get.
    pub fn expire(&mut self) {
        for job in &mut self.all {
            job.created -= LIFETIME_MILLIS;
        }
    }

    /// Takes away what is older than jobs get.
    pub fn forget_old(&mut self) {
        let oldest = now() - LIFETIME_MILLIS;
        for gone in self.all.extract_if(.., |job| job.created <= oldest) {
            self.keep.remove(gone.id);
        }
    }

    pub fn add(&mut self, job: impl FnOnce(SalesforceId, i64) -> Job) -> Result<&Job, Refusal> {
        let created = now();
        self.number = u64::try_from(created).unwrap_or_default().max(self.number + 1);
        let job = job(numbered_id("750", self.number), created);
        self.keep.add(&job)?;
        self.all.push(job);
        self.ready.notify_one();
        self.all.last().ok_or_else(Refusal::not_found)
    }

    /// The jobs of a kind, oldest first.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Job> {
        self.all.iter().filter(move |job| job.kind() == kind)
    }

    pub fn get(&self, kind: Kind, id: &str) -> Result<&Job, Refusal> {
        let id = SalesforceId::parse(id);
        self.of_kind(kind).find(|job| Some(job.id) == id).ok_or_else(Refusal::not_found)
    }

    /// Takes the rows of a job in, once.
    pub fn upload(&mut self, id: &str, content: &[u8]) -> Result<(), Refusal> {
        let Self { all, keep, .. } = self;
        let Job { id, state, task: Task::Ingest(ingest), .. } = find(all, Kind::Ingest, id)? else {
            return Err(Refusal::not_found());
        };
        if *state != State::Open {
            return Err(wrong_state(format!("Uploading data to a Job in state {} not allowed", state.name())));
        }
        if ingest.content.is_some() {
            return Err(wrong_state(format!(
                "Found multiple contents for job: <{id}>, please 'Close' / 'Abort' / 'Delete' the current Job then create a new \
                 Job and make sure you only do 'PUT' once on a given Job."
            )));
        }
        if content.len() > CONTENT_BYTES_MAX {
            let message = format!("the data of a job can be at most {CONTENT_BYTES_MAX} bytes");
            return Err(Refusal::new(413, "REQUEST_ENTITY_TOO_LARGE", message));
        }
        keep.content(*id, content)?;
        ingest.content = Some(content.to_owned());
        Ok(())
    }

    /// Closes or aborts a job, as a client asks.
    pub fn change(&mut self, kind: Kind, id: &str, asked: &str) -> Result<&Job, Refusal> {
        let Self { all, keep, ready, .. } = self;
        let job = find(all, kind, id)?;
        job.change(asked)?;
        job.modified = now();
        keep.state(job)?;
        ready.notify_one();
        Ok(job)
    }

    pub fn remove(&mut self, kind: Kind, id: &str) -> Result<(), Refusal> {
        let Job { id, state, .. } = *self.get(kind, id)?;
        if !(state.ended() || state == State::UploadComplete) {
            return Err(wrong_state(format!("Deleting {} Job not allowed", state.name())));
        }
        self.all.retain(|job| job.id != id);
        self.keep.remove(id);
        Ok(())
    }

    /// Tells when there may be something to do.
    pub fn ready(&self) -> Arc<Notify> {
        Arc::clone(&self.ready)
    }

    /// The running job whose turn it is; nobody else gets it until its step is done.
    pub fn claim(&mut self) -> Option<SalesforceId> {
        let mut running: Vec<&mut Job> = self.all.iter_mut().filter(|job| job.state.runs() && !job.claimed).collect();
        self.turn = self.turn.wrapping_add(1);
        let at = self.turn.checked_rem(running.len())?;
        if running.len() > 1 {
            // For another worker.
            self.ready.notify_one();
        }
        let job = running.get_mut(at)?;
        job.claimed = true;
        Some(job.id)
    }

    /// None: it was deleted since it was claimed.
    pub fn claimed(&mut self, id: SalesforceId) -> Option<Claimed<'_>> {
        let Self { all, batches, failure, keep, .. } = self;
        let job = all.iter_mut().find(|job| job.id == id)?;
        Some(Claimed { job, batches, failure, keep })
    }
}

fn find<'a>(all: &'a mut [Job], kind: Kind, id: &str) -> Result<&'a mut Job, Refusal> {
    let id = SalesforceId::parse(id);
    all.iter_mut().find(|job| Some(job.id) == id && job.kind() == kind).ok_or_else(Refusal::not_found)
}
