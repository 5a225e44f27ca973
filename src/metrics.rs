//! Metrics of the process, in one place so that their names can be read, tested and listed.
//!
//! Invariants: every label is out of a closed list, or a partition number; every known combination exists from the
//! start with 0, so that the first failure is a rise and not a new series; no label ever holds a member, an id, an
//! address or an error text. Each record and each changed aggregate ends in exactly one outcome:
//! `rollbook_records_consumed_total` equals the sum of `rollbook_records_total` over its outcomes once caught up.
//!
//! A registry of its own, not the crate's global one: tests run several processes' worth of stages in one.

mod lags;
mod notes;
mod positions;
mod rows;

use std::sync::Mutex;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::dead_letter::{RECORD_TOO_LARGE, Stage};
use crate::event::{IgnoreReason, RefusalReason, Samples};
use crate::topic_table::Topic;
use crate::upsert::Object;

use lags::Lags;
use rows::Rows;

pub use notes::NoteMetrics;
pub use positions::PositionMetrics;

/// Buckets of everything that talks to Kafka: 1 ms to 30 s.
const KAFKA_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Buckets of a restore: 0.1 s to an hour.
const RESTORE_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// What became of a consumed record; exactly one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordOutcome {
    Changed,
    Unchanged,
    Ignored,
    Refused,
    /// Stood in the wrong partition: written to the resolved topic, where it gets another outcome.
    Rerouted,
}

impl RecordOutcome {
    pub const ALL: [Self; 5] = [Self::Changed, Self::Unchanged, Self::Ignored, Self::Refused, Self::Rerouted];

    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Rerouted => "rerouted",
        }
    }
}

/// What became of a row that was derived again; exactly one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowOutcome {
    Written,
    /// It is the one that was last written.
    Unchanged,
    DeadLettered,
}

impl RowOutcome {
    pub const ALL: [Self; 3] = [Self::Written, Self::Unchanged, Self::DeadLettered];

    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unchanged => "unchanged",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommitResult {
    Committed,
    Aborted,
}

impl CommitResult {
    pub const ALL: [Self; 2] = [Self::Committed, Self::Aborted];

    pub fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
        }
    }
}

/// What the process cannot work without, and waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    Kafka,
    Registry,
    Salesforce,
}

impl Dependency {
    pub const ALL: [Self; 3] = [Self::Kafka, Self::Registry, Self::Salesforce];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Registry => "registry",
            Self::Salesforce => "salesforce",
        }
    }
}

/// All metrics but the sink's own, which it adds with [`Metrics::register`].
pub struct Metrics {
    registry: Registry,
    records_consumed: IntCounterVec,
    records: IntCounterVec,
    records_ignored: IntCounterVec,
    dead_letters: IntCounterVec,
    upserts: IntCounterVec,
    rows: Rows,
    lags: Lags,
    commits: IntCounterVec,
    waiting: IntGaugeVec,
    restore_remaining: IntGaugeVec,
    pub positions: PositionMetrics,
    pub notes: NoteMetrics,
    /// From the end of folding to the broker's acknowledgement of the transaction.
    pub commit_duration: Histogram,
    /// Unix time of the last commit that went through.
    pub last_commit_timestamp: Gauge,
    /// From the assignment of partitions until their state is complete.
    pub restore_duration: Histogram,
    pub state_entries: IntGauge,
    /// Fold threads with an assigned partition that is not restored; see [`Share`].
    pub state_restoring: IntGauge,
    pub state_memory: IntGauge,
    pub state_evicted: IntCounter,
    /// Times that a thread stopped reading, since what it had read took its room and could not be committed.
    pub fold_holds: IntCounter,
    pub state_loaded: IntCounter,
    pub state_disk_failing: IntGauge,
    /// Fold threads that are not done with what they have read; see [`Share`].
    pub commit_pending: IntGauge,
    pub state_restored_records: IntCounter,
    pub state_foreign_records: IntCounter,
    pub rebalances: IntCounter,
    /// Kafka clients that were made anew, as librdkafka had given them up or they did not get on.
    pub clients_rebuilt: IntCounter,
    /// 1 while every loop does its work; set when it is asked for.
    pub ready: IntGauge,
    pub assigned_partitions: IntGauge,
    /// The same event identity with other content: a producer's fault.
    pub identity_conflicts: IntCounter,
    pub catalogue_sessions: IntGauge,
    /// Of the records that are counted as ignored: what no label may hold.
    pub ignored_samples: Mutex<Samples>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let add = Registration(&registry);
        let inputs = Topic::CONSUMED.map(Topic::label);
        let objects = Object::ALL.map(Object::api_name);
        let metrics = Self {
            records_consumed: add.counters("records_consumed_total", "Records read from an input topic.", &["topic"]),
            records: add.counters(
                "records_total",
                "Records by what became of them; exactly one outcome each.",
                &["topic", "outcome"],
            ),
            records_ignored: add.counters("records_ignored_total", "Ignored records, by reason.", &["reason"]),
            dead_letters: add.counters("dead_letters_total", "Dead letters written, by reason.", &["stage", "reason"]),
            upserts: add.counters("upserts_total", "Upserts written for the sink.", &["object"]),
            rows: Rows::new(&add),
            lags: Lags::new(&add),
            commits: add.counters("commits_total", "Transactions of the fold, by result.", &["result"]),
            waiting: add.gauges("waiting", "Above 0 while the process waits for a dependency.", &["dependency"]),
            restore_remaining: add.gauges(
                "state_restore_remaining_records",
                "Changelog records that an assigned partition still has to read.",
                &["partition"],
            ),
            positions: PositionMetrics::new(&add),
            notes: NoteMetrics::new(&add),
            commit_duration: add.histogram("commit_duration_seconds", "Duration of a commit.", KAFKA_SECONDS),
            last_commit_timestamp: add.timestamp(
                "last_commit_timestamp_seconds",
                "Unix time of the last commit that went through; 0 before the first.",
            ),
            restore_duration: add.histogram(
                "restore_duration_seconds",
                "Time from an assignment to complete state.",
                RESTORE_SECONDS,
            ),
            state_entries: add.gauge("state_entries", "Pieces of state held by this instance."),
            state_restoring: add.gauge("state_restoring", "Fold threads that restore state from the changelog."),
            state_memory: add.gauge("state_memory_bytes", "Estimate of the memory that states take."),
            fold_holds: add.counter("fold_holds_total", "Times that reading stopped until a commit was done."),
            state_evicted: add.counter("state_evicted_members_total", "Members moved from memory to disk."),
            state_loaded: add
                .counter("state_loaded_members_total", "Members read from disk because an event needed them."),
            state_disk_failing: add
                .gauge("state_disk_failing", "Fold threads that wait until states can be written to disk."),
            commit_pending: add.gauge("commit_pending", "Fold threads that have something to commit."),
            state_restored_records: add.counter("state_restored_records_total", "Changelog records read at restore."),
            state_foreign_records: add.counter("state_foreign_records_total", "Changelog records of others' making."),
            rebalances: add.counter("rebalances_total", "Changes of the assignment."),
            clients_rebuilt: add.counter("kafka_clients_rebuilt_total", "Kafka clients that were made anew."),
            ready: add.gauge("ready", "1 while every loop of the instance does its work, as /readyz says."),
            assigned_partitions: add.gauge("assigned_partitions", "Partition numbers that this instance folds."),
            identity_conflicts: add
                .counter("identity_conflicts_total", "Known identities with other content: the producer's fault."),
            catalogue_sessions: add.gauge("catalogue_sessions", "Entries and campaigns in the session catalogue."),
            ignored_samples: Mutex::default(),
            registry: registry.clone(),
        };
        add.process();
        metrics.start_at_zero(&inputs, &objects);
        metrics
    }

    /// Every known combination of labels exists from the start.
    fn start_at_zero(&self, inputs: &[&str], objects: &[&str]) {
        for topic in inputs {
            self.records_consumed.with_label_values(&[topic]);
            for outcome in RecordOutcome::ALL {
                self.records.with_label_values(&[topic, outcome.name()]);
            }
        }
        for reason in IgnoreReason::ALL {
            self.ignored(reason);
        }
        for reason in RefusalReason::ALL {
            self.dead_letter(Stage::Fold, reason.code());
        }
        self.dead_letter(Stage::Fold, RECORD_TOO_LARGE);
        for object in objects {
            self.upserts.with_label_values(&[object]);
            self.rows.saturated.with_label_values(&[object]);
            for outcome in RowOutcome::ALL {
                self.rows.changed.with_label_values(&[object, outcome.name()]);
            }
        }
        for result in CommitResult::ALL {
            self.commits(result);
        }
        for dependency in Dependency::ALL {
            self.waiting(dependency);
        }
    }

    pub fn consumed(&self, topic: Topic) -> IntCounter {
        self.records_consumed.with_label_values(&[topic.label()])
    }

    pub fn records(&self, topic: Topic, outcome: RecordOutcome) -> IntCounter {
        self.records.with_label_values(&[topic.label(), outcome.name()])
    }

    pub fn ignored(&self, reason: IgnoreReason) -> IntCounter {
        self.records_ignored.with_label_values(&[reason.code()])
    }

    /// `reason` is a refusal's code, or one of Salesforce's error codes: a bounded list either way.
    pub fn dead_letter(&self, stage: Stage, reason: &str) -> IntCounter {
        self.dead_letters.with_label_values(&[stage.name(), reason])
    }

    /// Upserts written to the outbox.
    pub fn upserts(&self, object: Object) -> IntCounter {
        self.upserts.with_label_values(&[object.api_name()])
    }

    /// Rows derived of a changed aggregate: one that differs from the last one is written, the others need no call.
    pub fn aggregates_changed(&self, object: Object, outcome: RowOutcome) -> IntCounter {
        self.rows.changed.with_label_values(&[object.api_name(), outcome.name()])
    }

    /// Rows written of a piece of which a set is full: its counts stop there.
    pub fn saturated(&self, object: Object) -> IntCounter {
        self.rows.saturated.with_label_values(&[object.api_name()])
    }

    pub fn commits(&self, result: CommitResult) -> IntCounter {
        self.commits.with_label_values(&[result.name()])
    }

    /// Above 0 while the process waits for it: several threads may.
    pub fn waiting(&self, dependency: Dependency) -> IntGauge {
        self.waiting.with_label_values(&[dependency.name()])
    }

    /// What is known now of a partition that is assigned here.
    pub fn set_lag(&self, topic: Topic, partition: i32, records: i64) {
        self.lags.set(topic, partition, records);
    }

    /// Whether the next record of a partition that is read does not come.
    pub fn set_stalled(&self, topic: Topic, partition: i32, stalled: bool) {
        self.lags.set_stalled(topic, partition, stalled);
    }

    /// Nobody can say how much there is to read: not yet, or no longer.
    pub fn lag_unknown(&self, topic: Topic, partition: i32) {
        self.lags.set_unknown(topic, partition);
    }

    /// In an outage nobody can tell any lag.
    pub fn lags_unknown(&self, outage: bool) {
        self.lags.outage(outage);
    }

    /// Whether the lags of all of these are known.
    pub fn lags_known(&self, of: impl Fn(Topic, i32) -> bool) -> bool {
        self.lags.all_known(of)
    }

    pub fn restore_remaining(&self, partition: i32) -> IntGauge {
        self.restore_remaining.with_label_values(&[&partition.to_string()])
    }

    /// A partition that is no longer this instance's has no lag here: its series end.
    pub fn forget_partition(&self, topic: Topic, partition: i32) {
        self.forget_lag(topic, partition);
        // An absent series is what is wanted, so its error is none.
        let _ = self.restore_remaining.remove_label_values(&[&partition.to_string()]);
    }

    /// The same, of a topic that has no state to restore.
    pub fn forget_lag(&self, topic: Topic, partition: i32) {
        self.lags.forget(topic, partition);
    }

    /// Adds a room's own metrics.
    pub fn register(&self, collector: impl Collector + 'static) {
        Registration(&self.registry).put(collector);
    }

    /// The registry itself, for rooms that make their own metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out).expect("a vector takes every byte");
        String::from_utf8(out).expect("the text format is UTF-8")
    }
}

/// Makes metrics with the prefix and registers them.
struct Registration<'a>(&'a Registry);

impl Registration<'_> {
    fn put(&self, collector: impl Collector + 'static) {
        self.0.register(Box::new(collector)).expect("every metric has its own name, as a test shows");
    }

    fn made<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("names and labels are constants of this file");
        self.put(metric.clone());
        metric
    }

    /// What is told of every process.
    fn process(&self) {
        let build = self.gauges("build_info", "1; the version is a label.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        self.put(ProcessCollector::for_self());
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.made(IntCounter::with_opts(opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.made(IntCounterVec::new(opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.made(IntGauge::with_opts(opts(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.made(IntGaugeVec::new(opts(name, help), labels))
    }

    fn timestamp(&self, name: &str, help: &str) -> Gauge {
        self.made(Gauge::with_opts(opts(name, help)))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.made(Histogram::with_opts(opts))
    }
}

/// What one thread adds to a gauge that is the sum over threads: set by each of them, it would be what the last one said.
/// A thread that ends takes its share back.
pub struct Share {
    gauge: IntGauge,
    share: i64,
}

impl Share {
    pub fn of(gauge: &IntGauge) -> Self {
        Self { gauge: gauge.clone(), share: 0 }
    }

    pub fn set(&mut self, share: i64) {
        self.gauge.add(share - self.share);
        self.share = share;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("rollbook")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_whoever_speaks_last() {
        let metrics = Metrics::new();
        let gauge = &metrics.state_restoring;
        let (mut one, mut two) = (Share::of(gauge), Share::of(gauge));
        one.set(1);
        two.set(1);
        two.set(1);
        assert_eq!(gauge.get(), 2);
        two.set(0);
        assert_eq!(gauge.get(), 1, "the other one is not done");
        drop(one);
        assert_eq!(gauge.get(), 0);
    }
}
