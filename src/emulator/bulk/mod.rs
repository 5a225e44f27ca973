//! Bulk API 2.0: jobs that write the rows of a CSV, and jobs that read rows into one.
//!
//! ```text
//!  POST ▶ Open ─ PUT csv ─ PATCH ▶ UploadComplete ─ worker ▶ InProgress ─ 200 rows ─ 200 rows ─ … ▶ JobComplete
//! ```
//!
//! A job moves on by itself, whether anybody asks for it or not, and other calls come between its chunks of 200 rows.
//! To carry it out inside of the call that closes it would be simpler, and would hide what a client does while a job is
//! under way: poll, give up, abort, or meet a quota.

mod ingest;
mod query;
mod results;
mod work;

use serde_json::{Value, json};

use super::jobs::{Job, Kind, unknown_choice};
use super::service::Service;
use super::wire::{DataCall, Method, Refusal, Reply};
use crate::id::SalesforceId;

pub use work::{run, step_once};

/// Jobs that are carried out at the same time.
pub const WORKERS: usize = 5;

/// Jobs on one page of their list.
const PAGE_JOBS: usize = 1_000;

/// Everything below `/jobs`.
pub fn respond(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    service.jobs.forget_old();
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
        Some(other) => return Err(unknown_choice("jobType", other)),
    };
    // The locator is the id of the last job before the page.
    let after = call.call.param("queryLocator").map(|locator| {
        let invalid = || Refusal::bad("INVALID_QUERY_LOCATOR", "invalid query locator");
        SalesforceId::parse(locator).ok_or_else(invalid)
    });
    let after = after.transpose()?;
    let jobs = service.jobs.of_kind(kind).filter(|job| listed && Some(job.id) > after);
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
    let Service { org, jobs, .. } = service;
    let job = jobs.get(kind, id)?;
    match call.call.method {
        Method::Get | Method::Head => Ok(Reply::json(200, job.info(org.user_id()).into())),
        Method::Patch => {
            let body = call.call.json()?;
            let job = jobs.change(kind, id, body.get("state").and_then(Value::as_str).unwrap_or_default())?;
            Ok(Reply::json(200, job.summary(org.user_id()).into()))
        }
        Method::Delete => jobs.remove(kind, id).map(|()| Reply::empty(204)),
        other @ (Method::Post | Method::Put) => Err(Refusal::method(other, "GET,HEAD,PATCH,DELETE")),
    }
}
