//! What became of rows that were derived.

use prometheus::IntCounterVec;

use super::Registration;

pub(super) struct Rows {
    pub changed: IntCounterVec,
    pub saturated: IntCounterVec,
}

impl Rows {
    pub fn new(add: &Registration<'_>) -> Self {
        let changed = "Rows derived of a changed aggregate, by whether they differ from the last one written.";
        let saturated = "Rows written of a piece with a full set.";
        Self {
            changed: add.counters("aggregates_changed_total", changed, &["object", "outcome"]),
            saturated: add.counters("saturated_rows_total", saturated, &["object"]),
        }
    }
}
