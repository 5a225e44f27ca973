//! How much there is to read of the partitions that are assigned here. What is not known is not zero: a script that waits
//! for the end would go on too early, and an alert would stay silent.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::IntGaugeVec;

use super::Registration;
use crate::topic_table::Topic;

pub(super) struct Lags {
    pub records: IntGaugeVec,
    known: IntGaugeVec,
    stalled: IntGaugeVec,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// Assigned partitions, and whether somebody has told.
    partitions: BTreeMap<(Topic, i32), bool>,
    /// What clients tell of an outage is what they knew before.
    outage: bool,
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
            told: Mutex::default(),
        }
    }

    pub fn set(&self, topic: Topic, partition: i32, records: i64) {
        let mut told = self.told();
        if told.outage {
            return;
        }
        told.partitions.insert((topic, partition), true);
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
        self.told().partitions.insert((topic, partition), false);
        self.say_unknown(topic, partition);
    }

    /// Nobody tells anything from now on, or somebody may again.
    pub fn outage(&self, outage: bool) {
        let mut told = self.told();
        told.outage = outage;
        for ((topic, partition), known) in told.partitions.iter_mut().filter(|_| outage) {
            *known = false;
            self.say_unknown(*topic, *partition);
        }
    }

    fn say_unknown(&self, topic: Topic, partition: i32) {
        let labels = [topic.label(), &partition.to_string()];
        // An absent series is what is wanted, so its error is none.
        let _ = self.records.remove_label_values(&labels);
        self.known.with_label_values(&labels).set(0);
    }

    pub fn all_known(&self, of: impl Fn(Topic, i32) -> bool) -> bool {
        self.told().partitions.iter().all(|((topic, partition), known)| *known || !of(*topic, *partition))
    }

    pub fn forget(&self, topic: Topic, partition: i32) {
        self.told().partitions.remove(&(topic, partition));
        for gauge in [&self.records, &self.known, &self.stalled] {
            // As above.
            let _ = gauge.remove_label_values(&[topic.label(), &partition.to_string()]);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;
    use crate::topic_table::Topic;

    #[test]
    fn in_an_outage_no_lag_is_known_whatever_clients_remember() {
        let metrics = Metrics::new();
        metrics.set_lag(Topic::Views, 1, 7);
        assert!(metrics.lags_known(|_, _| true));
        metrics.lags_unknown(true);
        metrics.set_lag(Topic::Views, 1, 0);
        assert!(!metrics.lags_known(|_, _| true));
        let text = metrics.render();
        assert!(!text.contains("rollbook_consumer_lag_records{"), "{text}");
        assert!(text.contains("rollbook_consumer_lag_known{partition=\"1\",topic=\"views\"} 0"));
        metrics.lags_unknown(false);
        metrics.set_lag(Topic::Views, 1, 9);
        assert!(metrics.render().contains("rollbook_consumer_lag_records{partition=\"1\",topic=\"views\"} 9"));
    }
}
