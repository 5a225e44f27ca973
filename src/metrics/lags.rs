//! How much there is to read of the partitions that are assigned here. What is not known is not zero: a script that waits
//! for the end would go on too early, and an alert would stay silent.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::IntGaugeVec;

use super::Registration;
use crate::kafka::topics::Topic;

pub(super) struct Lags {
    pub records: IntGaugeVec,
    known: IntGaugeVec,
    stalled: IntGaugeVec,
    /// Assigned partitions of which nobody has told.
    unknown: Mutex<BTreeSet<(Topic, i32)>>,
}

impl Lags {
    pub fn new(add: &Registration<'_>) -> Self {
        let labels = ["topic", "partition"];
        let records = "Records not yet read; absent as long as that is not known.";
        let known = "Whether it is known how many records of an assigned partition are not yet read.";
        Self {
            records: add.gauges("consumer_lag_records", records, &labels),
            known: add.gauges("consumer_lag_known", known, &labels),
            stalled: add.gauges("consumer_stalled", "1 while the next record of a partition does not come.", &labels),
            unknown: Mutex::default(),
        }
    }

    pub fn set(&self, topic: Topic, partition: i32, records: i64) {
        self.unknown().remove(&(topic, partition));
        let labels = [topic.label(), &partition.to_string()];
        for (gauge, value) in [(&self.records, records), (&self.known, 1)] {
            gauge.with_label_values(&labels).set(value);
        }
        // It exists from here on.
        self.stalled.with_label_values(&labels);
    }

    pub fn set_stalled(&self, topic: Topic, partition: i32, stalled: bool) {
        self.stalled.with_label_values(&[topic.label(), &partition.to_string()]).set(stalled.into());
    }

    pub fn set_unknown(&self, topic: Topic, partition: i32) {
        self.forget(topic, partition);
        self.unknown().insert((topic, partition));
        self.known.with_label_values(&[topic.label(), &partition.to_string()]).set(0);
    }

    pub fn all_known(&self, of: impl Fn(Topic, i32) -> bool) -> bool {
        !self.unknown().iter().any(|(topic, partition)| of(*topic, *partition))
    }

    pub fn forget(&self, topic: Topic, partition: i32) {
        self.unknown().remove(&(topic, partition));
        for gauge in [&self.records, &self.known, &self.stalled] {
            // An absent series is what is wanted, so its error is none.
            let _ = gauge.remove_label_values(&[topic.label(), &partition.to_string()]);
        }
    }

    fn unknown(&self) -> MutexGuard<'_, BTreeSet<(Topic, i32)>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
