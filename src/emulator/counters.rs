//! What the emulator counts: calls, rows, refusals, faults, and the daily allocation that calls are taken from.

use prometheus::core::Collector as _;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::fault::FaultAction;
use super::org::Change;
use super::wire::{Call, Method, Refusal};

/// What the emulator counts, and the daily allocation.
pub struct Counters {
    registry: Registry,
    calls: IntCounterVec,
    rows: IntCounterVec,
    refusals: IntCounterVec,
    faults: IntCounterVec,
    api_requests: IntCounter,
    /// Of the call under way, which may have to begin again.
    reserved: u64,
    daily_limit: IntGauge,
}

impl Counters {
    pub fn new(daily_limit: u64) -> Self {
        let registry = Registry::new();
        let vector = |name: &str, help: &str, labels: &[&str]| {
            let vector = IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are well-formed");
            registry.register(Box::new(vector.clone())).expect("each name is used once");
            vector
        };
        let calls = vector("emulator_calls_total", "Calls by kind and HTTP status.", &["kind", "status"]);
        let rows = vector("emulator_rows_total", "Rows changed, by object and outcome.", &["object", "outcome"]);
        let refusals = vector("emulator_refusals_total", "Calls and rows refused, by error code.", &["code"]);
        let faults = vector("emulator_faults_total", "Faults that hit a call, by action.", &["action"]);
        let api_requests = IntCounter::new("emulator_api_requests_total", "Calls taken from the daily allocation.");
        let api_requests = api_requests.expect("the name is well-formed");
        registry.register(Box::new(api_requests.clone())).expect("each name is used once");
        let limit = IntGauge::new("emulator_api_requests_limit", "The daily allocation.");
        let limit = limit.expect("the name is well-formed");
        registry.register(Box::new(limit.clone())).expect("each name is used once");
        let counters = Self { registry, calls, rows, refusals, faults, api_requests, reserved: 0, daily_limit: limit };
        counters.set_limit(daily_limit);
        counters
    }

    /// Takes one call from the allocation.
    pub fn charge(&mut self) -> Result<(), Refusal> {
        self.reserve()?;
        self.take_reserved();
        Ok(())
    }

    /// As [`Counters::charge`], but the call is taken only if the transaction under way comes to its end.
    pub fn reserve(&mut self) -> Result<(), Refusal> {
        if self.api_calls() + self.reserved >= self.daily_limit() {
            return Err(Refusal::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."));
        }
        self.reserved += 1;
        Ok(())
    }

    pub fn take_reserved(&mut self) {
        self.api_requests.inc_by(std::mem::take(&mut self.reserved));
    }

    pub fn drop_reserved(&mut self) {
        self.reserved = 0;
    }

    pub fn answered(&self, call: &Call, status: u16) {
        self.calls.with_label_values(&[kind(call), &status.to_string()]).inc();
    }

    pub fn refused(&self, code: &str) {
        self.refusals.with_label_values(&[code]).inc();
    }

    pub fn changed(&self, object: &str, change: Change) {
        self.rows.with_label_values(&[object, change.name()]).inc();
    }

    pub fn hit(&self, action: &FaultAction) {
        self.faults.with_label_values(&[action.name()]).inc();
    }

    pub fn api_calls(&self) -> u64 {
        self.api_requests.get()
    }

    pub fn of_kind(&self, wanted: &str) -> u64 {
        let families = self.calls.collect();
        let series = families.iter().flat_map(MetricFamily::get_metric);
        let of_kind =
            |metric: &&Metric| metric.get_label().iter().any(|label| label.name() == "kind" && label.value() == wanted);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole and small")]
        let count = |metric: &Metric| metric.get_counter().get_value() as u64;
        series.filter(of_kind).map(count).sum()
    }

    pub fn set_limit(&self, limit: u64) {
        self.daily_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    pub fn daily_limit(&self) -> u64 {
        self.daily_limit.get().unsigned_abs()
    }

    /// Value of `Sforce-Limit-Info`.
    pub fn limit_info(&self) -> String {
        format!("api-usage={}/{}", self.api_calls(), self.daily_limit())
    }

    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).expect("a string takes what is written to it")
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
