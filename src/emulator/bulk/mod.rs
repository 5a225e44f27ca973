//! Bulk API 2.0: jobs that write the rows of a CSV, and jobs that read rows into one.
//!
//! ```text
//!  POST ▶ Open ─ PUT csv ─ PATCH ▶ UploadComplete ─ worker ▶ InProgress ─ 200 rows ─ 200 rows ─ … ▶ JobComplete
//! ```
//!
//! A job moves on by itself, whether anybody asks for it or not, and other calls come between its chunks of 200 rows.
//! To carry it out inside of the call that closes it would be simpler, and would hide what a client does while a job is
//! under way: poll, give up, abort, or meet a quota.
//!
//! With a data directory ingest jobs outlive the process and go on where they were. Query jobs do not: so the ids of jobs
//! come from the clock, and after a restart an old id is unknown, not another job's.

mod content;
mod ingest;
mod job;
mod keep;
mod query;
mod results;
mod work;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::org::{Org, now, numbered_id};
use super::server::Service;
use super::wire::{DataCall, Method, Refusal, Reply};
use crate::event::SalesforceId;
use job::{Job, State, Task};
use keep::Keep;

pub use work::{run, step_once};

/// Jobs that are carried out at the same time.
pub const WORKERS: usize = 5;

/// Jobs on one page of their list.
const PAGE_JOBS: usize = 1_000;
/// Older jobs are gone, whatever their state.
const LIFETIME_MILLIS: i64 = 7 * 24 * 60 * 60 * 1_000;

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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ingest,
    Query,
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

impl Kind {
    fn of(job: &Job) -> Self {
        if matches!(job.task, Task::Ingest(_)) { Self::Ingest } else { Self::Query }
    }

    /// The API version that brought it.
    fn since(self) -> u32 {
        if self == Self::Ingest { 41 } else { 47 }
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

    fn forget_old(&mut self) {
        let oldest = now() - LIFETIME_MILLIS;
        for gone in self.all.extract_if(.., |job| job.created <= oldest) {
            self.keep.remove(gone.id);
        }
    }

    fn add(&mut self, job: impl FnOnce(SalesforceId, i64) -> Job) -> Result<&Job, Refusal> {
        let created = now();
        self.number = u64::try_from(created).unwrap_or_default().max(self.number + 1);
        let job = job(numbered_id("750", self.number), created);
        self.keep.add(&job)?;
        self.all.push(job);
        self.ready.notify_one();
        self.all.last().ok_or_else(Refusal::not_found)
    }
}

fn find<'a>(all: &'a mut [Job], kind: Kind, id: &str) -> Result<&'a mut Job, Refusal> {
    let id = SalesforceId::parse(id);
    all.iter_mut().find(|job| Some(job.id) == id && Kind::of(job) == kind).ok_or_else(Refusal::not_found)
}

/// Everything below `/jobs`.
pub fn respond(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    service.bulk.forget_old();
    let names: Vec<String> = call.path.iter().skip(1).map(|name| name.to_ascii_lowercase()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let kind = match names.first() {
        Some(&"ingest") => Kind::Ingest,
        Some(&"query") => Kind::Query,
        _ => return Err(Refusal::not_found()),
    };
    if call.version < kind.since() {
        return Err(Refusal::not_found());
    }
    let id = call.path.get(2).copied().unwrap_or_default();
    match (kind, names.get(2..).unwrap_or_default()) {
        _ if names.len() == 1 => all(service, call, kind),
        (_, []) => one(service, call, kind, id),
        (Kind::Ingest, ["batches"]) => ingest::upload(service, call, id),
        (Kind::Ingest, [part]) => results::ingest(service, call, id, part),
        (Kind::Query, ["results"]) => results::query(service, call, id),
        _ => Err(Refusal::not_found()),
    }
}

/// `/jobs/ingest`, `/jobs/query`: a new job, or all of them.
fn all(service: &mut Service, call: &DataCall<'_>, kind: Kind) -> Result<Reply, Refusal> {
    match (call.call.method, kind) {
        (Method::Get | Method::Head, _) => list(service, call, kind),
        (Method::Post, Kind::Ingest) => ingest::create(service, call),
        (Method::Post, Kind::Query) => query::create(service, call),
        (other @ (Method::Put | Method::Patch | Method::Delete), _) => Err(Refusal::method(other, "GET,HEAD,POST")),
    }
}

fn list(service: &Service, call: &DataCall<'_>, kind: Kind) -> Result<Reply, Refusal> {
    let own = if kind == Kind::Ingest { "V2Ingest" } else { "V2Query" };
    let listed = match call.call.param("jobType") {
        None => true,
        Some("Classic" | "V2Ingest" | "V2Query" | "BigObjectIngest") => call.call.param("jobType") == Some(own),
        Some(other) => return Err(job::unknown_choice("jobType", other)),
    };
    // The locator is the id of the last job before the page.
    let after = call.call.param("queryLocator").map(|locator| {
        let invalid = || Refusal::bad("INVALID_QUERY_LOCATOR", "invalid query locator");
        SalesforceId::parse(locator).ok_or_else(invalid)
    });
    let after = after.transpose()?;
    let jobs = service.bulk.all.iter().filter(|job| listed && Kind::of(job) == kind && Some(job.id) > after);
    let mut jobs: Vec<&Job> = jobs.take(PAGE_JOBS + 1).collect();
    let done = jobs.len() <= PAGE_JOBS;
    jobs.truncate(PAGE_JOBS);
    let name = if kind == Kind::Ingest { "ingest" } else { "query" };
    let next = jobs.last().filter(|_| !done);
    let next = next.map(|last| format!("{}/jobs/{name}?queryLocator={}", call.base(), last.id));
    let records: Vec<Value> = jobs.iter().map(|job| job.summary(service.org.user_id()).into()).collect();
    Ok(Reply::json(200, json!({ "done": done, "records": records, "nextRecordsUrl": next })))
}

/// `/jobs/ingest/ID`, `/jobs/query/ID`
fn one(service: &mut Service, call: &DataCall<'_>, kind: Kind, id: &str) -> Result<Reply, Refusal> {
    let Service { org, bulk: Jobs { all, keep, ready, .. }, .. } = service;
    let job = find(all, kind, id)?;
    match call.call.method {
        Method::Get | Method::Head => {}
        Method::Patch => {
            change(job, kind, call.call.json()?.get("state").and_then(Value::as_str).unwrap_or_default())?;
            job.modified = now();
            let summary = job.summary(org.user_id());
            keep.state(job)?;
            ready.notify_one();
            return Ok(Reply::json(200, summary.into()));
        }
        Method::Delete => {
            let deletable = job.state.ended() || job.state == State::UploadComplete;
            if !deletable {
                return Err(wrong_state(format!("Deleting {} Job not allowed", job.state.name())));
            }
            let id = job.id;
            all.retain(|job| job.id != id);
            keep.remove(id);
            return Ok(Reply::empty(204));
        }
        other @ (Method::Post | Method::Put) => return Err(Refusal::method(other, "GET,HEAD,PATCH,DELETE")),
    }
    Ok(Reply::json(200, job.info(org.user_id()).into()))
}

/// What a client may ask of a job: to close it, or to abort it.
fn change(job: &mut Job, kind: Kind, asked: &str) -> Result<(), Refusal> {
    let verb = match asked {
        "UploadComplete" if kind == Kind::Ingest => "Closing",
        "Aborted" => "Aborting",
        _ => return Err(wrong_state(format!("Job state cannot be set to '{asked}'"))),
    };
    let already = match job.state {
        State::Open => {
            job.state = if verb == "Closing" { State::UploadComplete } else { State::Aborted };
            return Ok(());
        }
        State::UploadComplete | State::InProgress if verb == "Aborting" => {
            job.state = State::Aborted;
            return Ok(());
        }
        State::UploadComplete | State::InProgress => "closed",
        State::JobComplete => "Completed",
        State::Failed => "failed",
        State::Aborted => "aborted",
    };
    Err(wrong_state(format!("{verb} already {already} Job not allowed")))
}

fn wrong_state(message: String) -> Refusal {
    Refusal::bad("INVALIDJOBSTATE", message)
}
