//! What the metrics of the stages say, as the demo's table and its waiting need it.
//!
//! Read from the registry that `/metrics` serves, so that the demo shows what an operator would see.

use prometheus::proto::{LabelPair, Metric, MetricFamily};
use serde::Serialize;

use crate::metrics::{Metrics, RecordOutcome};
use crate::outcome::OutcomeKind;
use crate::topic_table::Topic;

const UPSERTS: &str = "rollbook_upserts_total";
const ROWS: &str = "rollbook_sink_rows_total";
const DEAD_LETTERS: &str = "rollbook_dead_letters_total";
const LATENCY: &str = "rollbook_end_to_end_latency_seconds";

/// Counters over all topics and objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// Read from the inputs; a rerouted record is read twice.
    pub consumed: u64,
    pub changed: u64,
    pub unchanged: u64,
    pub ignored: u64,
    pub refused: u64,
    pub rerouted: u64,
    /// Records of the event topics that have one of the first four outcomes.
    pub events_done: u64,
    /// Rows given to the sink.
    pub upserts: u64,
    pub rows_created: u64,
    pub rows_updated: u64,
    pub rows_superseded: u64,
    pub rows_dead_lettered: u64,
    /// Of both stages, records and rows.
    pub dead_letters: u64,
}

impl Numbers {
    pub fn read(metrics: &Metrics) -> Self {
        let of = |topics: &[Topic], outcome| topics.iter().map(|topic| metrics.records(*topic, outcome).get()).sum();
        let all = |outcome| -> u64 { of(&Topic::CONSUMED, outcome) };
        let done = [RecordOutcome::Changed, RecordOutcome::Unchanged, RecordOutcome::Ignored, RecordOutcome::Refused];
        let rows = |outcome: OutcomeKind| counter(metrics, ROWS, &[("outcome", outcome.name())]);
        Self {
            consumed: Topic::CONSUMED.iter().map(|topic| metrics.consumed(*topic).get()).sum(),
            changed: all(RecordOutcome::Changed),
            unchanged: all(RecordOutcome::Unchanged),
            ignored: all(RecordOutcome::Ignored),
            refused: all(RecordOutcome::Refused),
            rerouted: all(RecordOutcome::Rerouted),
            events_done: done.iter().map(|outcome| -> u64 { of(&Topic::EVENTS, *outcome) }).sum(),
            upserts: counter(metrics, UPSERTS, &[]),
            rows_created: rows(OutcomeKind::Created),
            rows_updated: rows(OutcomeKind::Updated),
            rows_superseded: rows(OutcomeKind::Superseded),
            rows_dead_lettered: rows(OutcomeKind::DeadLettered),
            dead_letters: counter(metrics, DEAD_LETTERS, &[]),
        }
    }

    /// Upserts that have an outcome.
    pub fn rows_done(&self) -> u64 {
        self.rows_created + self.rows_updated + self.rows_superseded + self.rows_dead_lettered
    }

    /// Events and rows under way.
    pub fn behind(&self, events_sent: u64) -> u64 {
        events_sent.saturating_sub(self.events_done) + self.upserts.saturating_sub(self.rows_done())
    }

    /// Whether nothing is known to be under way. A commit may still be: its rows are not counted yet.
    pub fn drained(&self, events_sent: u64) -> bool {
        self.events_done >= events_sent && self.rows_done() >= self.upserts
    }

    /// Every record that was read ended in exactly one outcome.
    pub fn balance(&self) -> bool {
        self.consumed == self.rerouted + self.changed + self.unchanged + self.ignored + self.refused
    }
}

/// End-to-end latency in seconds; None where nothing was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

pub fn latency(metrics: &Metrics) -> Latency {
    let families = metrics.registry().gather();
    let series = families.iter().filter(|family| family.name() == LATENCY).flat_map(MetricFamily::get_metric);
    let buckets: Vec<(f64, u64)> = series
        .flat_map(|metric| metric.get_histogram().get_bucket())
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .collect();
    Latency { p50: quantile(&buckets, 50), p99: quantile(&buckets, 99) }
}

/// As Prometheus' `histogram_quantile`: evenly spread within a bucket.
fn quantile(buckets: &[(f64, u64)], percent: u32) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0)?;
    let rank = as_f64(total) * f64::from(percent) / 100.0;
    let (mut lower, mut below) = (0.0, 0);
    for (upper, count) in buckets {
        if as_f64(*count) >= rank && *count > below {
            let share = (rank - as_f64(below)) / as_f64(count - below);
            return Some(if upper.is_finite() { lower + (upper - lower) * share } else { lower });
        }
        (lower, below) = (*upper, *count);
    }
    None
}

/// Counts of rows are far below 2^32.
fn as_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The sum of a counter's series that have all of these labels.
fn counter(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    let families = metrics.registry().gather();
    let series = families.iter().filter(|family| family.name() == name).flat_map(MetricFamily::get_metric);
    let chosen = series.filter(|metric| labels.iter().all(|(name, value)| label(metric, name) == Some(value)));
    chosen.map(|metric| metric.get_counter().get_value()).map(whole).sum()
}

fn label<'m>(metric: &'m Metric, name: &str) -> Option<&'m str> {
    metric.get_label().iter().find(|label| label.name() == name).map(LabelPair::value)
}

/// Counters are kept as floating-point numbers, and count whole things.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is whole, positive and small")]
fn whole(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = [(0.1, 50), (0.2, 90), (0.4, 100), (f64::INFINITY, 100)];
        assert_eq!(quantile(&buckets, 50), Some(0.1));
        assert!(quantile(&buckets, 99).is_some_and(|seconds| (0.37..0.4).contains(&seconds)));
        assert_eq!(quantile(&[(0.1, 0), (f64::INFINITY, 0)], 50), None);
        assert_eq!(quantile(&[(0.1, 1), (f64::INFINITY, 100)], 99), Some(0.1));
    }

    #[test]
    fn counters_are_summed_over_the_labels_that_are_not_asked_for() {
        let metrics = Metrics::new();
        metrics.consumed(Topic::Views).inc_by(7);
        metrics.records(Topic::Views, RecordOutcome::Changed).inc_by(4);
        metrics.records(Topic::Views, RecordOutcome::Rerouted).inc_by(2);
        let numbers = Numbers::read(&metrics);
        assert_eq!((numbers.changed, numbers.events_done), (4, 4));
        assert!(!numbers.balance());
        metrics.records(Topic::Sessions, RecordOutcome::Unchanged).inc();
        assert!(Numbers::read(&metrics).balance());
        assert_eq!(counter(&metrics, "rollbook_records_total", &[("topic", "views")]), 6);
        assert_eq!(numbers.behind(10), 6);
    }
}
