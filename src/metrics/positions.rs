//! Whether what is read is what there was to read: what was passed over, what nobody has acknowledged, who else takes part.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Registration;
use crate::dead_letter::Stage;
use crate::gap::Cause;
use crate::topic_table::Topic;

pub struct PositionMetrics {
    passed_over: IntCounterVec,
    open_gaps: IntGaugeVec,
    /// Partitions that are not read until their gaps are acknowledged; see [`Share`].
    pub held: IntGauge,
    strangers: IntGaugeVec,
}

impl PositionMetrics {
    pub(super) fn new(add: &Registration<'_>) -> Self {
        let labels = &["topic", "cause"];
        let metrics = Self {
            passed_over: add.counters("offsets_passed_over_total", "Offsets never read, if known, by why.", labels),
            open_gaps: add.gauges("gaps_unacknowledged", "Gaps that nobody has acknowledged, by why.", labels),
            held: add.gauge("held_partitions", "Partitions that wait for `rollbook gaps ack`."),
            strangers: add.gauges("group_strangers", "Members of a group that are none of Rollbook's.", &["stage"]),
        };
        metrics.strangers(Stage::Fold);
        metrics.strangers(Stage::Sink);
        for topic in Topic::POSITIONED {
            for cause in Cause::ALL {
                metrics.passed_over(topic, cause);
                metrics.open_gaps(topic, cause);
            }
        }
        metrics
    }

    pub fn passed_over(&self, topic: Topic, cause: Cause) -> IntCounter {
        self.passed_over.with_label_values(&[topic.label(), cause.name()])
    }

    pub fn strangers(&self, stage: Stage) -> IntGauge {
        self.strangers.with_label_values(&[stage.name()])
    }

    pub fn open_gaps(&self, topic: Topic, cause: Cause) -> IntGauge {
        self.open_gaps.with_label_values(&[topic.label(), cause.name()])
    }
}
