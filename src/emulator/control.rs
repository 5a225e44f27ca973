//! What only an emulator has: counters of its calls, and the control surface under `/emulator/`.
//!
//! The surface can break the org at will, so it wants a token of its own in `x-emulator-token`; only the metrics are
//! open, as they hold counts and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::server::Shared;
use super::wire::{Body, Call, Method, Refusal, Reply};

/// Calls by kind and status, and the daily allocation.
pub struct Counters {
    daily_limit: u64,
    api_calls: u64,
    by_kind: BTreeMap<(&'static str, u16), u64>,
}

impl Counters {
    pub fn new(daily_limit: u64) -> Self {
        Self { daily_limit, api_calls: 0, by_kind: BTreeMap::new() }
    }

    /// Takes one call from the allocation.
    pub fn charge(&mut self) -> Result<(), Refusal> {
        if self.api_calls >= self.daily_limit {
            return Err(Refusal::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."));
        }
        self.api_calls += 1;
        Ok(())
    }

    pub fn answered(&mut self, call: &Call, status: u16) {
        *self.by_kind.entry((kind(call), status)).or_default() += 1;
    }

    pub fn api_calls(&self) -> u64 {
        self.api_calls
    }

    pub fn of_kind(&self, wanted: &str) -> u64 {
        self.by_kind.iter().filter(|((kind, _), _)| *kind == wanted).map(|(_, count)| count).sum()
    }

    pub fn set_limit(&mut self, limit: u64) {
        self.daily_limit = limit;
    }

    pub fn daily_limit(&self) -> u64 {
        self.daily_limit
    }

    /// Value of `Sforce-Limit-Info`.
    pub fn limit_info(&self) -> String {
        format!("api-usage={}/{}", self.api_calls, self.daily_limit)
    }

    fn prometheus(&self) -> String {
        let mut text = String::from("# TYPE emulator_calls_total counter\n");
        for ((kind, status), count) in &self.by_kind {
            writeln!(text, "emulator_calls_total{{kind=\"{kind}\",status=\"{status}\"}} {count}")
                .expect("a string takes what is written to it");
        }
        let (used, limit) = (self.api_calls, self.daily_limit);
        write!(
            text,
            "# TYPE emulator_api_requests_total counter\nemulator_api_requests_total {used}\n\
             # TYPE emulator_api_requests_limit gauge\nemulator_api_requests_limit {limit}\n"
        )
        .expect("a string takes what is written to it");
        text
    }
}

/// The kind of a call, a closed set that is fit for a metric's label.
fn kind(call: &Call) -> &'static str {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let resource = match path.as_slice() {
        ["services", "oauth2", "token"] => return "token",
        ["services", "Soap", "m", ..] => return "metadata_soap",
        ["services", "data", _, resource @ ..] => resource,
        _ => return "other",
    };
    match (call.method, resource) {
        (_, ["query" | "queryAll", ..]) => "query",
        (_, ["limits"]) => "limits",
        (Method::Put, ["jobs", "ingest", _, _]) => "bulk_upload",
        (_, ["jobs", "ingest", ..]) => "bulk_ingest",
        (_, ["jobs", "query", ..]) => "bulk_query",
        (_, ["metadata", ..]) => "metadata_rest",
        (_, ["composite"]) => "composite",
        (_, ["composite", "batch"]) => "composite_batch",
        (_, ["composite", "graph"]) => "composite_graph",
        (_, ["composite", "tree", _]) => "composite_tree",
        (Method::Patch, ["composite", "sobjects", _, _]) => "collections_upsert",
        (Method::Post, ["composite", "sobjects"]) => "collections_create",
        (Method::Patch, ["composite", "sobjects"]) => "collections_update",
        (Method::Get | Method::Post, ["composite", "sobjects", _]) => "collections_retrieve",
        (Method::Delete, ["composite", "sobjects"]) => "collections_delete",
        (_, ["sobjects"] | ["sobjects", _, "describe"]) => "describe",
        (Method::Patch, ["sobjects", _, _, _]) => "upsert",
        (Method::Post, ["sobjects", _]) => "create",
        (Method::Patch, ["sobjects", _, _]) => "update",
        (Method::Delete, ["sobjects", ..]) => "delete",
        (Method::Get | Method::Head, ["sobjects", ..]) => "retrieve",
        _ => "other",
    }
}

pub fn respond(shared: &Shared, call: &Call) -> Reply {
    let path: Vec<&str> = call.path.iter().skip(1).map(String::as_str).collect();
    if let (Method::Get, ["metrics"]) = (call.method, path.as_slice()) {
        return Reply::text(200, "text/plain; version=0.0.4", shared.lock().counters.prometheus());
    }
    let given = call.header("x-emulator-token").unwrap_or_default();
    if !super::auth::same(given, shared.control_token.expose_secret()) {
        return Refusal::new(403, "CONTROL_TOKEN", "the header x-emulator-token is missing or wrong").reply();
    }
    command(shared, call, &path).unwrap_or_else(|refusal| refusal.reply())
}

fn command(shared: &Shared, call: &Call, path: &[&str]) -> Result<Reply, Refusal> {
    let mut service = shared.lock();
    match (call.method, path) {
        (Method::Post, ["faults"]) => {
            let fault = serde_json::from_slice(&call.body);
            service.faults.add(fault.map_err(|error| Refusal::bad("JSON_PARSER_ERROR", error.to_string()))?);
        }
        (Method::Delete, ["faults"]) => service.faults.clear(),
        (Method::Post, ["tokens", "expire"]) => service.sessions.expire_all(),
        (Method::Put, ["bulk", "hold"]) => service.bulk.set_held(true),
        (Method::Delete, ["bulk", "hold"]) => service.bulk.set_held(false),
        (Method::Post, ["bulk", "step"]) => {
            let stepped = super::bulk::step_once(&mut service);
            return Ok(Reply { body: Body::Json(json!({ "stepped": stepped })), ..Reply::empty(200) });
        }
        (Method::Post, ["bulk", "fail"]) => {
            let failure = serde_json::from_slice(&call.body);
            service.bulk.fail_next(failure.map_err(|error| Refusal::bad("JSON_PARSER_ERROR", error.to_string()))?);
        }
        (Method::Post, ["bulk", "expire"]) => service.bulk.expire(),
        (Method::Post, ["locks", record]) => service.org.lock_record(record),
        (Method::Delete, ["locks", record]) => service.org.unlock_record(record),
        (Method::Put, ["limits", name, limit]) => {
            let limit = limit.parse().map_err(|_| Refusal::bad("JSON_PARSER_ERROR", "the limit is no number"))?;
            match *name {
                "DailyApiRequests" => service.counters.set_limit(limit),
                "DailyBulkApiBatches" => service.bulk.batches.max = limit,
                "DailyBulkV2QueryJobs" => service.bulk.queries.max = limit,
                _ => return Err(Refusal::not_found()),
            }
        }
        (Method::Get, ["rows", object]) => {
            let rows = service.org.dump(object).ok_or_else(Refusal::not_found)?;
            return Ok(Reply { body: Body::Json(json!(rows)), ..Reply::empty(200) });
        }
        _ => return Err(Refusal::not_found()),
    }
    Ok(Reply::empty(204))
}
