//! What the sink counts. Every label is out of a closed list and starts at 0, so that an alert can tell "none" from
//! "not running".

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};

use crate::disposition::Retry;
use crate::outcome::OutcomeKind;
use crate::upsert::Object;

/// Kinds of calls to Salesforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    CollectionsUpsert,
    CollectionsUpdate,
    Query,
    Statuses,
}

impl Api {
    pub const ALL: [Self; 4] = [Self::CollectionsUpsert, Self::CollectionsUpdate, Self::Query, Self::Statuses];

    pub fn name(self) -> &'static str {
        match self {
            Self::CollectionsUpsert => "collections_upsert",
            Self::CollectionsUpdate => "collections_update",
            Self::Query => "query",
            Self::Statuses => "statuses",
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

/// Clones count into the same metrics.
#[derive(Clone)]
pub struct SinkMetrics {
    pub rows: IntCounterVec,
    pub requests: IntCounterVec,
    pub request_duration: HistogramVec,
    pub retries: IntCounterVec,
    pub pending_rows: IntGauge,
    pub in_flight_requests: IntGauge,
    pub end_to_end_latency: Histogram,
    pub api_requests_used: IntGauge,
    pub api_requests_limit: IntGauge,
}

impl SinkMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::new()?;
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.request_duration.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        registry.register(Box::new(metrics.end_to_end_latency.clone()))?;
        for gauge in [
            &metrics.pending_rows,
            &metrics.in_flight_requests,
            &metrics.api_requests_used,
            &metrics.api_requests_limit,
        ] {
            registry.register(Box::new(gauge.clone()))?;
        }
        metrics.start_at_zero();
        Ok(metrics)
    }

    fn new() -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let duration = HistogramOpts::new(
            "rollbook_sink_request_duration_seconds",
            "Duration of calls to Salesforce, in seconds.",
        )
        // 5 ms to 3 minutes.
        .buckets(exponential_buckets(0.005, 2.0, 16)?);
        let latency = HistogramOpts::new(
            "rollbook_end_to_end_latency_seconds",
            "From the Kafka timestamp of the newest record of a row to Salesforce's confirmation, in seconds.",
        )
        .buckets(END_TO_END_SECONDS.to_vec());
        Ok(Self {
            rows: counter(
                "rollbook_sink_rows_total",
                "Upserts by object and outcome, counted when the outcome is recorded.",
                &["object", "outcome"],
            )?,
            requests: counter("rollbook_sink_requests_total", "Calls to Salesforce.", &["api", "status"])?,
            request_duration: HistogramVec::new(duration, &["api"])?,
            retries: counter("rollbook_sink_retries_total", "Rows sent again, by reason.", &["reason"])?,
            pending_rows: IntGauge::new("rollbook_sink_pending_rows", "Upserts read whose outcome is not recorded.")?,
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
        })
    }

    fn start_at_zero(&self) {
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
        for retry in Retry::ALL {
            self.retries.with_label_values(&[retry.name()]);
        }
    }

    pub(super) fn row(&self, object: Option<Object>, outcome: OutcomeKind) {
        let object = object.map_or(NO_OBJECT, Object::api_name);
        self.rows.with_label_values(&[object, outcome.name()]).inc();
    }
}
