//! What the sink counts. Every label is out of a closed list and starts at 0, so that an alert can tell "none" from
//! "not running".

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

use super::budget_metrics::BudgetMetrics;
use super::outbox::JobFate;
use crate::disposition::{Retry, Wait};
use crate::outcome::OutcomeKind;
use crate::upsert::Object;

/// Kinds of calls to Salesforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Several collections in one call.
    Composite,
    /// One collection.
    Collections,
    Query,
    Statuses,
    Limits,
    /// Everything about Bulk jobs.
    Bulk,
}

impl Api {
    pub const ALL: [Self; 6] =
        [Self::Composite, Self::Collections, Self::Query, Self::Statuses, Self::Limits, Self::Bulk];

    pub fn name(self) -> &'static str {
        match self {
            Self::Composite => "composite",
            Self::Collections => "collections",
            Self::Query => "query",
            Self::Statuses => "statuses",
            Self::Limits => "limits",
            Self::Bulk => "bulk",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStatus {
    Ok,
    Refused4xx,
    Refused5xx,
    Login,
    Transport,
    Body,
}

impl CallStatus {
    pub const ALL: [Self; 6] = [Self::Ok, Self::Refused4xx, Self::Refused5xx, Self::Login, Self::Transport, Self::Body];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused4xx => "4xx",
            Self::Refused5xx => "5xx",
            Self::Login => "login",
            Self::Transport => "transport",
            Self::Body => "body",
        }
    }
}

/// Buckets of the end-to-end latency: 10 ms to 90 minutes, fine around what light load makes of it (300 ms), with an edge
/// at what the alert waits for (300 s).
const END_TO_END_SECONDS: &[f64] = &[
    0.01, 0.02, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0, 600.0, 1800.0, 5400.0,
];

/// Label of a record of the upserts topic that is no upsert.
const NO_OBJECT: &str = "none";

fn held_by_reason() -> Result<IntGaugeVec, prometheus::Error> {
    let help = "The rows that are held, by the code that holds them.";
    IntGaugeVec::new(Opts::new("rollbook_sink_held_by_reason_rows", help), &["reason"])
}

/// Codes that are known to hold rows; others have a series from their first row on.
const HELD_BY: [&str; 3] = ["STORAGE_LIMIT_EXCEEDED", "UNABLE_TO_LOCK_ROW", "statuses_forbidden"];

/// Clones count into the same metrics.
#[derive(Clone)]
pub struct SinkMetrics {
    pub rows: IntCounterVec,
    pub requests: IntCounterVec,
    pub request_duration: HistogramVec,
    pub tombstones: IntCounter,
    pub retries: IntCounterVec,
    pub held: IntCounter,
    pub fields_left_out: IntCounterVec,
    pub waiting: IntGaugeVec,
    pub bulk_jobs_ended: IntCounterVec,
    pub bulk_jobs: IntGauge,
    pub pending_rows: IntGauge,
    pub held_rows: IntGauge,
    pub held_by_reason: IntGaugeVec,
    pub in_flight_requests: IntGauge,
    /// What the pace allows, by AIMD.
    pub window_requests: IntGauge,
    pub request_limit_rows: IntGauge,
    pub end_to_end_latency: Histogram,
    pub api_requests_used: IntGauge,
    pub api_requests_limit: IntGauge,
    pub api_exhausted_timestamp: IntGauge,
    pub budget_exhausted: IntGauge,
    pub budget: BudgetMetrics,
}

impl SinkMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::new()?;
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.request_duration.clone()))?;
        registry.register(Box::new(metrics.tombstones.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        registry.register(Box::new(metrics.held.clone()))?;
        registry.register(Box::new(metrics.fields_left_out.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        registry.register(Box::new(metrics.held_by_reason.clone()))?;
        registry.register(Box::new(metrics.bulk_jobs_ended.clone()))?;
        registry.register(Box::new(metrics.end_to_end_latency.clone()))?;
        for gauge in [
            &metrics.pending_rows,
            &metrics.held_rows,
            &metrics.bulk_jobs,
            &metrics.in_flight_requests,
            &metrics.window_requests,
            &metrics.request_limit_rows,
            &metrics.api_requests_used,
            &metrics.api_requests_limit,
            &metrics.api_exhausted_timestamp,
            &metrics.budget_exhausted,
        ] {
            registry.register(Box::new(gauge.clone()))?;
        }
        metrics.budget.register(registry)?;
        metrics.start_at_zero();
        Ok(metrics)
    }

    fn new() -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let (duration, latency) = (request_duration()?, end_to_end_latency());
        Ok(Self {
            rows: counter(
                "rollbook_sink_rows_total",
                "Upserts by object and outcome, counted when the outcome is recorded.",
                &["object", "outcome"],
            )?,
            requests: counter("rollbook_sink_requests_total", "Calls to Salesforce.", &["api", "status"])?,
            request_duration: HistogramVec::new(duration, &["api"])?,
            tombstones: IntCounter::new(
                "rollbook_sink_tombstones_total",
                "Records of the upserts topic without a value: nothing is written for them.",
            )?,
            retries: counter("rollbook_sink_retries_total", "Rows sent again, by reason.", &["reason"])?,
            held: IntCounter::new(
                "rollbook_sink_held_total",
                "Attempts after which a row was held: an unknown code, or one that a person must mend.",
            )?,
            fields_left_out: counter(
                "rollbook_sink_fields_left_out_total",
                "Values that rows were written without, since the org does not take them.",
                &["object", "field", "code"],
            )?,
            waiting: IntGaugeVec::new(
                Opts::new("rollbook_sink_waiting", "1 while no row is sent at all, by reason."),
                &["reason"],
            )?,
            bulk_jobs_ended: counter("rollbook_sink_bulk_jobs_ended_total", "Bulk jobs, by how they ended.", &["end"])?,
            bulk_jobs: IntGauge::new("rollbook_sink_bulk_jobs", "Bulk jobs under way.")?,
            pending_rows: IntGauge::new("rollbook_sink_pending_rows", "Upserts read whose outcome is not recorded.")?,
            held_rows: IntGauge::new(
                "rollbook_sink_held_rows",
                "Rows that are held until something is mended or passes.",
            )?,
            held_by_reason: held_by_reason()?,
            window_requests: IntGauge::new(
                "rollbook_sink_window_requests",
                "Calls that may be under way at once: grows by one per round, halves at trouble (AIMD).",
            )?,
            request_limit_rows: IntGauge::new(
                "rollbook_sink_request_limit_rows",
                "Rows that one call may hold: halves where calls take long.",
            )?,
            api_exhausted_timestamp: IntGauge::new(
                "rollbook_salesforce_api_exhausted_timestamp_seconds",
                "When our share of the calls of 24 hours is used up at the rate of the last hour; 0: not within a day.",
            )?,
            budget_exhausted: IntGauge::new(
                "rollbook_salesforce_budget_exhausted",
                "1 while rows wait because the calls of 24 hours, less the reserve, are used up.",
            )?,
            in_flight_requests: IntGauge::new("rollbook_sink_in_flight_requests", "Calls without an answer yet.")?,
            end_to_end_latency: Histogram::with_opts(latency)?,
            api_requests_used: IntGauge::new(
                "rollbook_salesforce_api_requests_used",
                "API calls of the last 24 hours, as Salesforce last reported them.",
            )?,
            api_requests_limit: IntGauge::new(
                "rollbook_salesforce_api_requests_limit",
                "API calls that the org may make in 24 hours.",
            )?,
            budget: BudgetMetrics::new()?,
        })
    }

    fn start_at_zero(&self) {
        for code in HELD_BY {
            self.held_by_reason.with_label_values(&[code]).set(0);
        }
        for outcome in OutcomeKind::ALL {
            for object in Object::ALL {
                self.rows.with_label_values(&[object.api_name(), outcome.name()]);
            }
        }
        self.rows.with_label_values(&[NO_OBJECT, OutcomeKind::DeadLettered.name()]);
        for api in Api::ALL {
            self.request_duration.with_label_values(&[api.name()]);
            for status in CallStatus::ALL {
                self.requests.with_label_values(&[api.name(), status.name()]);
            }
        }
        for fate in JobFate::ALL {
            self.bulk_jobs_ended.with_label_values(&[fate.name()]);
        }
        for wait in Wait::ALL {
            self.waiting.with_label_values(&[wait.name()]);
        }
        for retry in Retry::ALL {
            self.retries.with_label_values(&[retry.name()]);
        }
    }

    pub(super) fn row(&self, object: Option<Object>, outcome: OutcomeKind) {
        let object = object.map_or(NO_OBJECT, Object::api_name);
        self.rows.with_label_values(&[object, outcome.name()]).inc();
    }
}

fn request_duration() -> Result<HistogramOpts, prometheus::Error> {
    let opts =
        HistogramOpts::new("rollbook_sink_request_duration_seconds", "Duration of calls to Salesforce, in seconds.");
    // 5 ms to 3 minutes.
    Ok(opts.buckets(exponential_buckets(0.005, 2.0, 16)?))
}

fn end_to_end_latency() -> HistogramOpts {
    HistogramOpts::new(
        "rollbook_end_to_end_latency_seconds",
        "From the Kafka timestamp of the newest record of a row to Salesforce's confirmation, in seconds.",
    )
    .buckets(END_TO_END_SECONDS.to_vec())
}
