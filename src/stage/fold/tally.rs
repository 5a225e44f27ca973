//! Counts of one commit: they reach the metrics when the commit is done, so that each record is counted where its
//! offset moved, and once.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tracing::{error, warn};

use crate::dead_letter::{RECORD_TOO_LARGE, Stage};
use crate::event::{IgnoreReason, Ignored, Place, RefusalReason, Sample, Samples};
use crate::gap::NotedGap;
use crate::metrics::{Metrics, RecordOutcome, RowOutcome};
use crate::topic_table::Topic;
use crate::upsert::Object;

use super::inputs::{INPUTS, index_of};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By input and outcome; an array, since it is counted up for every record.
    records: [[u64; RecordOutcome::ALL.len()]; INPUTS],
    pub ignored: BTreeMap<IgnoreReason, u64>,
    pub samples: Samples,
    pub dead_letters: BTreeMap<&'static str, u64>,
    pub rows: BTreeMap<(Object, RowOutcome), u64>,
    pub saturated: BTreeMap<Object, u64>,
    /// The same identity seen with other content.
    pub conflicts: u64,
    /// Gaps between stretches of viewing that were closed for want of room.
    pub closed_gaps: u64,
    /// Of the inputs, that the commit moves over.
    pub gaps: Vec<(Topic, NotedGap)>,
}

impl Tally {
    pub fn record(&mut self, input: Topic, outcome: RecordOutcome) {
        if let Some(count) = self.records.get_mut(index_of(input)).and_then(|counts| counts.get_mut(outcome as usize)) {
            *count += 1;
        }
    }

    /// Every count that is not zero.
    pub fn records(&self) -> impl Iterator<Item = (Topic, RecordOutcome, u64)> {
        Topic::CONSUMED.into_iter().zip(&self.records).flat_map(|(input, counts)| {
            let count = move |(outcome, count): (RecordOutcome, &u64)| (*count > 0).then_some((input, outcome, *count));
            RecordOutcome::ALL.into_iter().zip(counts).filter_map(count)
        })
    }

    pub fn ignore(&mut self, input: Topic, ignored: &Ignored, place: Place<'_>) {
        self.record(input, RecordOutcome::Ignored);
        *self.ignored.entry(ignored.reason).or_default() += 1;
        self.samples.add(ignored, place);
    }

    pub fn refuse(&mut self, input: Topic, reason: RefusalReason) {
        self.record(input, RecordOutcome::Refused);
        self.dead_letter(reason.code());
    }

    pub fn dead_letter(&mut self, code: &'static str) {
        *self.dead_letters.entry(code).or_default() += 1;
    }

    /// What was to be re-keyed from this input has become a dead letter. Of a letter that was cut nothing changes.
    pub fn too_large(&mut self, topic: Topic, input: Option<Topic>) {
        let Some(input) = input.filter(|_| topic == Topic::Resolved) else { return };
        let counts = self.records.get_mut(index_of(input));
        if let Some(rekeyed) = counts.and_then(|counts| counts.get_mut(RecordOutcome::Rerouted as usize)) {
            *rekeyed = rekeyed.saturating_sub(1);
        }
        self.record(input, RecordOutcome::Refused);
        self.dead_letter(RECORD_TOO_LARGE);
    }

    /// A row was written of a piece of which a set is full.
    pub fn saturated(&mut self, object: Object) {
        *self.saturated.entry(object).or_default() += 1;
    }

    pub fn row(&mut self, object: Object, outcome: RowOutcome) {
        *self.rows.entry((object, outcome)).or_default() += 1;
    }

    /// The commit is done: its records and rows count.
    pub fn add_to(self, metrics: &Metrics) {
        for (topic, outcome, count) in self.records() {
            metrics.consumed(topic).inc_by(count);
            metrics.records(topic, outcome).inc_by(count);
        }
        for (reason, count) in &self.ignored {
            metrics.ignored(*reason).inc_by(*count);
        }
        for (code, count) in &self.dead_letters {
            metrics.dead_letter(Stage::Fold, code).inc_by(*count);
        }
        for ((object, outcome), count) in &self.rows {
            metrics.aggregates_changed(*object, *outcome).inc_by(*count);
            if *outcome == RowOutcome::Written {
                metrics.upserts(*object).inc_by(*count);
            }
        }
        for (object, count) in &self.saturated {
            metrics.saturated(*object).inc_by(*count);
        }
        metrics.identity_conflicts.inc_by(self.conflicts);
        metrics.closed_gaps().inc_by(self.closed_gaps);
        for (input, gap) in &self.gaps {
            metrics.positions.passed_over(*input, gap.cause).inc_by(gap.passed_over.unsigned_abs());
            tell_gap(gap);
        }
        tell_ignored(self.samples, metrics);
    }
}

fn tell_gap(gap: &NotedGap) {
    let NotedGap { topic, partition, cause, next_offset: from, passed_over, counted, .. } = gap;
    let name = cause.name();
    if cause.loses() {
        error!(topic, partition, cause = name, passed_over, counted, from, "records were passed over");
    } else {
        warn!(topic, partition, cause = name, from, "the group's offset was not where reading had ended");
    }
}

/// A line in the log for each kind of mistake, once.
fn tell_ignored(samples: Samples, metrics: &Metrics) {
    let fresh = metrics.ignored_samples.lock().unwrap_or_else(PoisonError::into_inner).merge(samples);
    for it in fresh.iter().filter(|it| it.of_mistake()) {
        let Sample { reason, kind, detail, topic, partition, offset, .. } = it;
        warn!(reason, kind, detail, topic, partition, offset, "records are ignored; `rollbook ignored` lists them");
    }
}
