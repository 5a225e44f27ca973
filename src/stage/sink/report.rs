//! What the sink tells: metrics, readiness, and a line in the log where something changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::Sink;
use super::access::Shut;
use super::outbox::{JobFate, Settled};
use crate::dead_letter::Stage;
use crate::disposition::Wait;
use crate::kafka::membership::Lag;
use crate::metrics::Dependency;
use crate::outcome::OutcomeKind;
use crate::time::Millis;
use crate::topic_table::Topic;
use crate::upsert::Object;

/// Between two reports of what changes with each row.
const REPORT_INTERVAL: Duration = Duration::from_millis(10);

/// A forecast is told again when it has moved by this much.
const FORECAST_MOVED_MS: Millis = 3_600_000;

/// What the log has said, so that it is not said again.
#[derive(Default)]
pub(super) struct Told {
    forecast: Option<Millis>,
    /// Codes that hold rows.
    codes: BTreeSet<String>,
}

impl Sink<'_> {
    pub(super) fn count(&self, settled: &Settled, now: Millis) {
        let kind = settled.outcome.as_ref().map_or(OutcomeKind::DeadLettered, |outcome| outcome.kind);
        self.metrics.row(settled.object, kind);
        if let Some(letter) = &settled.dead_letter {
            self.process.dead_letter(Stage::Sink, &letter.reason).inc();
        }
        for left_out in settled.outcome.iter().flat_map(|outcome| &outcome.left_out) {
            let object = settled.object.map_or("", Object::api_name);
            self.metrics.fields_left_out.with_label_values(&[object, &left_out.field, &left_out.code]).inc();
        }
        match (kind, settled.event_at) {
            (OutcomeKind::Created | OutcomeKind::Updated, Some(event_at)) => {
                let millis = u64::try_from(now.saturating_sub(event_at)).unwrap_or(0);
                self.metrics.end_to_end_latency.observe(Duration::from_millis(millis).as_secs_f64());
            }
            (OutcomeKind::Created | OutcomeKind::Updated, None)
            | (OutcomeKind::Superseded | OutcomeKind::DeadLettered, _) => {}
        }
    }

    /// Statistics may still tell of partitions that went to somebody else, who tells of them, too.
    pub(super) fn lags(&mut self, lags: &[Lag]) {
        let assigned = self.assigned.as_deref().unwrap_or_default();
        let upserts = (Topic::Upserts, self.config.topics.upserts.as_str());
        for lag in lags.iter().filter(|lag| assigned.contains(&lag.partition)) {
            self.process.set_lag(Topic::Upserts, lag.partition, lag.records);
            self.to_read.insert(lag.partition, usize::try_from(lag.records).unwrap_or(0));
            let stalled = self.fetches.look_at(upserts, lag, Instant::now());
            self.process.set_stalled(Topic::Upserts, lag.partition, stalled);
        }
        let reason = self.fetches.reason(|_, partition| assigned.contains(&partition));
        self.watch.waits("sink-upserts", reason);
    }

    /// A code that holds rows is told once, not once per row and attempt.
    pub(super) fn tell_held(&mut self, code: &str, hint: &'static str, passes: bool) {
        self.metrics.held.inc();
        if self.told.codes.insert(code.to_owned()) {
            if passes {
                warn!(code, hint, "rows are held until this passes; other rows go on");
            } else {
                error!(code, hint, "rows are held until this is mended; other rows go on");
            }
        }
    }

    pub(super) fn tell_job(&mut self, fate: JobFate, code: &str) {
        self.metrics.bulk_jobs_ended.with_label_values(&[fate.name()]).inc();
        match fate {
            JobFate::Complete => debug!("a Bulk job is complete"),
            JobFate::Refused | JobFate::Failed | JobFate::Aborted => {
                warn!(
                    fate = fate.name(),
                    code, "a Bulk job came to nothing; its rows go by composite calls for a while"
                );
            }
            JobFate::Unread => {
                warn!(code, "the results of a Bulk job do not tell of all its rows; these are sent again");
            }
            JobFate::Gone => warn!("Salesforce does not know a Bulk job any more; its rows are sent again"),
        }
    }

    /// What changes slowly.
    pub(super) fn report_budget(&mut self, now: Millis) {
        let held = self.outbox.held();
        let rows = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.held_rows.set(rows(held.values().sum()));
        for code in self.told.codes.extract_if(.., |code| !held.contains_key(code.as_str())) {
            info!(code, "no rows are held for this any more");
            self.metrics.held_by_reason.with_label_values(&[&code]).set(0);
        }
        for (code, number) in held {
            self.metrics.held_by_reason.with_label_values(&[&*code]).set(rows(number));
        }
        let spent = self.outbox.waiting() == Some(Wait::Quota);
        self.metrics.budget.tell(self.outbox.budget(), spent, now);
        let forecast = self.outbox.budget().forecast(now).at();
        self.metrics.api_exhausted_timestamp.set(forecast.unwrap_or(0) / 1_000);
        let moved = match (self.told.forecast, forecast) {
            (Some(told), Some(at)) => at.abs_diff(told) >= FORECAST_MOVED_MS.unsigned_abs(),
            (told, forecast) => told.is_some() != forecast.is_some(),
        };
        if moved {
            if let Some(Ok(at)) = forecast.map(jiff::Timestamp::from_millisecond) {
                warn!("at this rate our share of the day's calls is used up at {at:.0}");
            } else {
                info!("the calls of the day last");
            }
            self.told.forecast = forecast;
        }
    }

    /// A turn of the loop may be one outcome: not each of them tells all there is to tell.
    pub(super) fn report_now_and_then(&mut self) {
        let due = self.reported + REPORT_INTERVAL;
        if tokio::time::Instant::now() < due {
            self.report_at = Some(due);
            return;
        }
        (self.reported, self.report_at) = (tokio::time::Instant::now(), None);
        self.report();
    }

    fn report(&mut self) {
        let waiting = self.shut.map_or_else(|| self.outbox.waiting(), Shut::wait);
        self.health.beat();
        let spent = waiting == Some(Wait::Quota);
        let waits_for = match (waiting, &self.assigned) {
            _ if self.shut.is_some() => self.shut.map(Shut::waits_for),
            (Some(Wait::Quota), _) => Some("the calls of the day are used up"),
            (Some(Wait::Outage | Wait::Concurrency | Wait::Session), _) => Some("Salesforce is waited for"),
            (Some(Wait::Login), _) => Some(Shut::Refused.waits_for()),
            (Some(Wait::Org), _) => Some(Shut::OtherOrg.waits_for()),
            (None, None) => Some("partitions"),
            (None, Some(_)) if !self.takeover.is_empty() => Some("the Bulk jobs of its partitions"),
            (None, Some(_)) if self.outbox.waits_for_log() => Some("which log of its upserts is read"),
            (None, Some(_)) => None,
        };
        self.health.ready(waits_for.is_none(), waits_for.unwrap_or_default());
        self.health.knows_lag(self.process.lags_known(|topic, _| topic == Topic::Upserts));
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (window, rows) = self.outbox.pace();
        self.metrics.pending_rows.set(gauge(self.outbox.pending()));
        self.metrics.bulk_jobs.set(gauge(self.outbox.jobs()));
        self.metrics.in_flight_requests.set(gauge(self.outbox.in_flight()));
        self.metrics.window_requests.set(gauge(window));
        self.metrics.request_limit_rows.set(gauge(rows));
        self.metrics.budget_exhausted.set(spent.into());
        let waits = waiting.is_some() && !spent;
        for wait in Wait::ALL {
            self.metrics.waiting.with_label_values(&[wait.name()]).set((waiting == Some(wait)).into());
        }
        self.process.waiting(Dependency::Salesforce).set(waits.into());
        if waiting != self.waiting {
            match waiting {
                Some(Wait::Quota) => error!("our share of the day's calls is used up, waiting; nothing is lost"),
                // Said with its cause.
                Some(Wait::Login | Wait::Org) => {}
                Some(wait) => warn!(reason = wait.name(), "waiting for Salesforce"),
                None => {
                    self.said.all_over();
                    info!("Salesforce takes rows again");
                }
            }
            self.waiting = waiting;
        }
    }
}
