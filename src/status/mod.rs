//! What an operator asks first of a running instance: is it ready, how far behind, why, and how long the calls last.
//!
//! Every number is read from the metrics that are exported, by name, so that the picture and an alert cannot disagree.
//! The instance reads its own registry and serves the result as JSON: a command that parsed the metrics' text would need
//! a parser of that format, and two questions for what is one moment.

mod gaps;
pub mod idle;
mod picture;

use std::collections::BTreeMap;
use std::sync::PoisonError;

use jiff::Timestamp;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde::{Deserialize, Serialize};

use crate::dead_letter::Stage;
use crate::event::Sample;
use crate::health::Health;
use crate::metrics::{Dependency, Metrics};

pub use gaps::Gaps;

/// The picture of one instance at one moment. Names and meanings are those of `docs/cli.md`, and stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub asked_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ready: bool,
    pub loops: Vec<Loop>,
    /// Dependencies that do not answer.
    pub waiting: Vec<String>,
    pub lag: Vec<Lag>,
    /// None where the process does not fold.
    pub fold: Option<Fold>,
    /// None where the process does not write to Salesforce.
    pub sink: Option<Sink>,
    pub salesforce: Option<Salesforce>,
    /// Letters written since the start, by the stage that wrote them.
    pub dead_letters: BTreeMap<String, i64>,
    /// None where the process does not fold.
    pub ignored: Option<Ignored>,
    #[serde(default)]
    pub gaps: Gaps,
}

/// Records that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// Since the start, by reason.
    pub records: BTreeMap<String, i64>,
    /// The newest of each reason, kind and symbol, the newest first.
    pub samples: Vec<Sample>,
}

/// One loop of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loop {
    pub name: String,
    /// None: it is ready.
    pub waits_for: Option<String>,
}

/// Records of a topic that this instance has not read yet, in the partitions that are its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    pub topic: String,
    /// None: not known of all of them.
    pub records: Option<i64>,
    /// Of which it is not known.
    pub unknown_partitions: i64,
    /// Of those of which it is known.
    pub worst_partition: Option<i32>,
    pub worst_records: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    pub partitions: i64,
    /// Changelog records to read before all states are there.
    pub restore_records: i64,
    pub last_commit_at: Option<Timestamp>,
    /// Threads that have read something, or derive rows again, and have not committed it.
    pub pending_commits: i64,
}

impl Lag {
    fn none(topic: &str) -> Self {
        let topic = topic.to_owned();
        Self { topic, records: Some(0), unknown_partitions: 0, worst_partition: None, worst_records: 0 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    pub pending_rows: i64,
    pub held_rows: i64,
    /// The same by the code that holds them.
    pub held_by_reason: BTreeMap<String, i64>,
    pub in_flight_requests: i64,
    pub window_requests: i64,
    pub bulk_jobs: i64,
}

/// The calls of the day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salesforce {
    /// None until Salesforce has told it.
    pub calls: Option<Calls>,
    pub forecast: Forecast,
    /// Kinds of rows for which no calls are made now: live, retry, backfill.
    pub lanes_stopped: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    pub used: i64,
    pub limit: i64,
    pub share: i64,
    pub reserve: i64,
    pub told_at: Timestamp,
}

/// How long our share of the calls lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "share", rename_all = "snake_case")]
pub enum Forecast {
    Unknown,
    Lasts,
    RunsOut { at: Timestamp },
    UsedUp,
}

impl Status {
    pub fn of(metrics: &Metrics, health: &Health, asked_at: Timestamp) -> Self {
        let asked_at = Timestamp::from_second(asked_at.as_second()).unwrap_or(asked_at);
        let exported = Exported(metrics.registry().gather());
        let (ready, loops) = health.waits();
        let loops: Vec<Loop> = loops.into_iter().map(|(name, waits_for)| Loop { name, waits_for }).collect();
        let folds = loops.iter().any(|it| it.name.starts_with(Stage::Fold.name()));
        let sink = exported.sink();
        let letters = exported.sums("rollbook_dead_letters_total", "stage");
        let ignored = folds.then(|| Ignored {
            records: exported.sums("rollbook_records_ignored_total", "reason"),
            samples: metrics.ignored_samples.lock().unwrap_or_else(PoisonError::into_inner).list(),
        });
        let stages = [(Stage::Fold, folds), (Stage::Sink, sink.is_some())].into_iter().filter(|(_, runs)| *runs);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            asked_at,
            started_at: exported.time("process_start_time_seconds"),
            ready,
            loops,
            waiting: exported.waiting(),
            lag: exported.lag(),
            fold: folds.then(|| exported.fold()),
            salesforce: sink.as_ref().map(|_| exported.salesforce(asked_at)),
            sink,
            dead_letters: stages
                .map(|(stage, _)| (stage.name().to_owned(), letters.get(stage.name()).copied().unwrap_or(0)))
                .collect(),
            ignored,
            gaps: exported.gaps(),
        }
    }
}

/// All metrics of the process, at one moment.
struct Exported(Vec<MetricFamily>);

impl Exported {
    fn series(&self, name: &str) -> impl Iterator<Item = (&Metric, i64)> {
        let families = self.0.iter().filter(move |family| family.name() == name);
        families.flat_map(|family| family.get_metric().iter().map(|it| (it, value(it, family.get_field_type()))))
    }

    /// The sum over all series; None where nothing of this name is exported.
    fn find(&self, name: &str) -> Option<i64> {
        self.series(name).map(|(_, value)| value).reduce(|sum, value| sum + value)
    }

    fn sum(&self, name: &str) -> i64 {
        self.find(name).unwrap_or(0)
    }

    /// The sums of the series that share a label's value.
    fn sums(&self, name: &str, label: &str) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for (metric, value) in self.series(name) {
            *sums.entry(label_of(metric, label).to_owned()).or_default() += value;
        }
        sums
    }

    /// A gauge that holds a time; 0 is none.
    fn time(&self, name: &str) -> Option<Timestamp> {
        self.find(name).filter(|at| *at > 0).and_then(|at| Timestamp::from_second(at).ok())
    }

    fn waiting(&self) -> Vec<String> {
        let waiting = self.sums("rollbook_waiting", "dependency");
        let name = |dependency: Dependency| dependency.name();
        let dependencies = Dependency::ALL.map(name).into_iter().filter(|it| waiting.get(*it) > Some(&0));
        let stalled = self.series("rollbook_consumer_stalled").filter(|(_, stalled)| *stalled > 0);
        let records = stalled.map(|(metric, _)| {
            format!("the next record of {}/{}", label_of(metric, "topic"), label_of(metric, "partition"))
        });
        dependencies.map(str::to_owned).chain(records).collect()
    }

    fn lag(&self) -> Vec<Lag> {
        let mut topics: BTreeMap<&str, Lag> = BTreeMap::new();
        for (metric, records) in self.series("rollbook_consumer_lag_records") {
            let topic = label_of(metric, "topic");
            let Ok(partition) = label_of(metric, "partition").parse() else { continue };
            let lag = topics.entry(topic).or_insert_with(|| Lag::none(topic));
            lag.records = lag.records.map(|sum| sum + records);
            if lag.worst_partition.is_none() || records > lag.worst_records {
                (lag.worst_partition, lag.worst_records) = (Some(partition), records);
            }
        }
        for (metric, _) in self.series("rollbook_consumer_lag_known").filter(|(_, known)| *known == 0) {
            let topic = label_of(metric, "topic");
            let lag = topics.entry(topic).or_insert_with(|| Lag::none(topic));
            lag.unknown_partitions += 1;
            lag.records = None;
        }
        topics.into_values().collect()
    }

    fn gaps(&self) -> Gaps {
        let mut unacknowledged = BTreeMap::new();
        for (metric, count) in self.series("rollbook_gaps_unacknowledged").filter(|(_, count)| *count > 0) {
            let what = format!("{} {}", label_of(metric, "topic"), label_of(metric, "cause"));
            unacknowledged.insert(what, count);
        }
        Gaps {
            unacknowledged,
            held_partitions: self.sum("rollbook_held_partitions"),
            strangers: self.sum("rollbook_group_strangers"),
        }
    }

    fn fold(&self) -> Fold {
        Fold {
            partitions: self.sum("rollbook_assigned_partitions"),
            restore_records: self.sum("rollbook_state_restore_remaining_records"),
            last_commit_at: self.time("rollbook_last_commit_timestamp_seconds"),
            pending_commits: self.sum("rollbook_commit_pending"),
        }
    }

    fn sink(&self) -> Option<Sink> {
        let held = self.sums("rollbook_sink_held_by_reason_rows", "reason").into_iter();
        Some(Sink {
            pending_rows: self.find("rollbook_sink_pending_rows")?,
            held_rows: self.sum("rollbook_sink_held_rows"),
            held_by_reason: held.filter(|(_, rows)| *rows > 0).collect(),
            in_flight_requests: self.sum("rollbook_sink_in_flight_requests"),
            window_requests: self.sum("rollbook_sink_window_requests"),
            bulk_jobs: self.sum("rollbook_sink_bulk_jobs"),
        })
    }

    fn salesforce(&self, now: Timestamp) -> Salesforce {
        let (limit, share) =
            (self.sum("rollbook_salesforce_api_requests_limit"), self.sum("rollbook_salesforce_api_requests_share"));
        let calls = self.time("rollbook_salesforce_api_told_timestamp_seconds").map(|told_at| Calls {
            used: self.sum("rollbook_salesforce_api_requests_used"),
            limit,
            share,
            reserve: limit - share,
            told_at,
        });
        let forecast = match self.time("rollbook_salesforce_api_exhausted_timestamp_seconds") {
            Some(at) if at <= now => Forecast::UsedUp,
            Some(at) => Forecast::RunsOut { at },
            None if self.sum("rollbook_salesforce_api_forecast_known") > 0 => Forecast::Lasts,
            None => Forecast::Unknown,
        };
        let stopped = self.sums("rollbook_sink_lane_stopped", "lane").into_iter().filter(|(_, stopped)| *stopped > 0);
        Salesforce { calls, forecast, lanes_stopped: stopped.map(|(lane, _)| lane).collect() }
    }
}

fn label_of<'a>(metric: &'a Metric, name: &str) -> &'a str {
    metric.get_label().iter().find(|label| label.name() == name).map_or("", |label| label.value())
}

/// Counters and gauges, which is all that is asked for here.
#[expect(clippy::cast_possible_truncation, reason = "counts and seconds, far below 2^53")]
fn value(metric: &Metric, kind: MetricType) -> i64 {
    if kind == MetricType::COUNTER {
        metric.get_counter().get_value() as i64
    } else {
        metric.get_gauge().get_value() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gap::Cause;
    use crate::stage::sink::metrics::SinkMetrics;
    use crate::stage::sink::outbox::Priority;
    use crate::topic_table::Topic;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const NOW: &str = "2026-11-22T07:38:12Z";

    #[test]
    fn the_numbers_are_those_of_the_metrics() {
        let (metrics, health) = (Metrics::new(), Health::default());
        let sink = SinkMetrics::register(metrics.registry()).unwrap();
        health.fold(0).ready(true, "");
        health.sink().ready(false, "a token from Salesforce");
        for (partition, records) in [(0, 3), (1, 8), (2, 1)] {
            metrics.set_lag(Topic::Views, partition, records);
        }
        metrics.dead_letter(Stage::Fold, "undecodable").inc_by(2);
        metrics.dead_letter(Stage::Fold, "no_value").inc();
        metrics.waiting(Dependency::Salesforce).set(1);
        metrics.set_stalled(Topic::Views, 1, true);
        metrics.set_stalled(Topic::Views, 0, false);
        metrics.positions.open_gaps(Topic::Views, Cause::BelowLogStart).set(2);
        metrics.positions.held.set(1);
        metrics.assigned_partitions.set(4);
        metrics.restore_remaining(1).set(70);
        metrics.restore_remaining(2).set(7);
        metrics.commit_pending.set(1);
        metrics.last_commit_timestamp.set(1_700_000_000.25);
        sink.pending_rows.set(12);
        sink.held_rows.set(2);
        sink.held_by_reason.with_label_values(&["STORAGE_LIMIT_EXCEEDED"]).set(2);
        sink.in_flight_requests.set(1);
        sink.window_requests.set(8);
        sink.bulk_jobs.set(3);
        sink.api_requests_used.set(1_204);
        sink.api_requests_limit.set(15_000);
        sink.budget.share.set(12_000);
        sink.budget.told_timestamp.set(at("2026-11-22T07:38:00Z").as_second());
        sink.budget.stopped(Priority::Backfill).set(1);

        let status = Status::of(&metrics, &health, at(NOW));
        assert!(!status.ready);
        let waits_for: Vec<_> = status.loops.iter().map(|it| (it.name.as_str(), it.waits_for.as_deref())).collect();
        assert_eq!(waits_for, [("fold-0", None), ("sink", Some("a token from Salesforce"))]);
        let views = Lag { records: Some(12), worst_partition: Some(1), worst_records: 8, ..Lag::none("views") };
        let unacknowledged = BTreeMap::from([("views below_log_start".to_owned(), 2)]);
        assert_eq!(status.gaps, Gaps { unacknowledged, held_partitions: 1, strangers: 0 });
        assert_eq!(
            (status.lag, status.waiting),
            (vec![views], vec!["salesforce".to_owned(), "the next record of views/1".to_owned()])
        );
        assert_eq!(status.dead_letters, BTreeMap::from([("fold".to_owned(), 3), ("sink".to_owned(), 0)]));
        let last_commit_at = Timestamp::from_second(1_700_000_000).ok();
        assert_eq!(status.fold, Some(Fold { partitions: 4, restore_records: 77, last_commit_at, pending_commits: 1 }));
        let held_by_reason = BTreeMap::from([("STORAGE_LIMIT_EXCEEDED".to_owned(), 2)]);
        let sink = Sink {
            pending_rows: 12,
            held_rows: 2,
            held_by_reason,
            in_flight_requests: 1,
            window_requests: 8,
            bulk_jobs: 3,
        };
        assert_eq!(status.sink, Some(sink));
        let salesforce = status.salesforce.unwrap();
        let calls = salesforce.calls.unwrap();
        assert_eq!((calls.used, calls.share, calls.reserve), (1_204, 12_000, 3_000));
        assert_eq!((salesforce.forecast, salesforce.lanes_stopped), (Forecast::Unknown, vec!["backfill".to_owned()]));
    }

    #[test]
    fn a_lag_that_nobody_has_told_is_not_zero() {
        let (metrics, health) = (Metrics::new(), Health::default());
        health.fold(0).ready(true, "");
        let lag = || Status::of(&metrics, &health, at(NOW)).lag;
        metrics.set_lag(Topic::Polls, 0, 0);
        metrics.lag_unknown(Topic::Views, 0);
        metrics.lag_unknown(Topic::Views, 1);
        metrics.set_lag(Topic::Views, 1, 7);
        let [polls, views] = <[Lag; 2]>::try_from(lag()).unwrap();
        assert_eq!((polls.records, polls.unknown_partitions), (Some(0), 0));
        assert_eq!((views.records, views.unknown_partitions, views.worst_records), (None, 1, 7));
        assert!(!metrics.lags_known(|topic, _| topic == Topic::Views) && metrics.lags_known(|_, it| it == 1));
        metrics.forget_lag(Topic::Views, 0);
        assert_eq!(lag()[1].records, Some(7), "a partition that is not ours any more has no lag here");
    }

    #[test]
    fn the_forecast_is_unknown_lasts_runs_out_or_has_run_out() {
        let (metrics, health) = (Metrics::new(), Health::default());
        let sink = SinkMetrics::register(metrics.registry()).unwrap();
        let forecast = || Status::of(&metrics, &health, at(NOW)).salesforce.unwrap().forecast;
        assert_eq!(forecast(), Forecast::Unknown);
        sink.budget.forecast_known.set(1);
        assert_eq!(forecast(), Forecast::Lasts);
        let later = at("2026-11-22T16:40:59Z");
        sink.api_exhausted_timestamp.set(later.as_second());
        assert_eq!(forecast(), Forecast::RunsOut { at: later });
        sink.api_exhausted_timestamp.set(at(NOW).as_second());
        assert_eq!(forecast(), Forecast::UsedUp);
    }

    #[test]
    fn what_does_not_run_is_absent() {
        let (metrics, health) = (Metrics::new(), Health::default());
        let status = Status::of(&metrics, &health, at(NOW));
        assert_eq!((status.fold, status.sink, status.salesforce), (None, None, None));
        assert!(!status.ready && status.dead_letters.is_empty());
    }
}
