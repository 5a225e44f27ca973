//! What became of rows that were derived.

use prometheus::{IntCounter, IntCounterVec};

use super::{Metrics, Registration};

pub(super) struct Rows {
    pub changed: IntCounterVec,
    pub saturated: IntCounterVec,
    closed_gaps: IntCounter,
}

impl Metrics {
    /// Gaps of pieces with too many stretches of viewing: the numbers made of them are a little too large.
    pub fn closed_gaps(&self) -> &IntCounter {
        &self.rows.closed_gaps
    }
}

impl Rows {
    pub fn new(add: &Registration<'_>) -> Self {
        let changed = "Rows derived of a changed aggregate, by whether they differ from the last one written.";
        let saturated = "Rows written of a piece with a full set.";
        let closed = "Gaps between stretches of viewing that were closed, where a piece had too many of them.";
        Self {
            closed_gaps: add.counter("viewing_gaps_closed_total", closed),
            changed: add.counters("aggregates_changed_total", changed, &["object", "outcome"]),
            saturated: add.counters("saturated_rows_total", saturated, &["object"]),
        }
    }
}
