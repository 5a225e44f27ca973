//! What stands on the topics that are read whole, and what was met there that says nothing.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Registration;
use crate::note;
use crate::topic_table::{Reads, Topic};

/// Of notes that a later version has written.
const LATER: &str = "later";

pub struct NoteMetrics {
    standing: IntGaugeVec,
    foreign: IntCounterVec,
}

impl NoteMetrics {
    pub(super) fn new(add: &Registration<'_>) -> Self {
        let foreign = "Records of topics that are read whole that say nothing to this version.";
        let metrics = Self {
            standing: add.gauges("notes", "Notes that stand, by kind; of a kind of a later version, too.", &["kind"]),
            foreign: add.counters("foreign_records_total", foreign, &["topic"]),
        };
        for kind in note::KINDS.into_iter().map(Some).chain([None]) {
            metrics.standing(kind);
        }
        for topic in Topic::ALL.into_iter().filter(|topic| matches!(topic.row().reads, Reads::Whole(_))) {
            metrics.foreign(topic);
        }
        metrics
    }

    /// None: kinds that this version does not know.
    pub fn standing(&self, kind: Option<&'static str>) -> IntGauge {
        self.standing.with_label_values(&[kind.unwrap_or(LATER)])
    }

    pub fn foreign(&self, topic: Topic) -> IntCounter {
        self.foreign.with_label_values(&[topic.label()])
    }
}
