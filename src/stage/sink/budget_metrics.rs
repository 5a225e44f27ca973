//! What is known of the calls of the day, beyond what Salesforce itself tells.
//!
//! The share and the lanes could be computed from the usage and the setting by whoever reads the metrics, and would then
//! say something else than what the sink does as soon as one of the two is changed.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use super::outbox::{Budget, Forecast, Priority};
use crate::time::Millis;

#[derive(Clone)]
pub struct BudgetMetrics {
    pub share: IntGauge,
    pub told_timestamp: IntGauge,
    pub forecast_known: IntGauge,
    lane_stopped: IntGaugeVec,
}

impl BudgetMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let lane_stopped = Opts::new(
            "rollbook_sink_lane_stopped",
            "1 while no calls are made for rows of this lane, because what is left of the calls is for others.",
        );
        let metrics = Self {
            share: IntGauge::new(
                "rollbook_salesforce_api_requests_share",
                "API calls of 24 hours that are ours: the limit less the reserve; 0 until Salesforce has told the limit.",
            )?,
            told_timestamp: IntGauge::new(
                "rollbook_salesforce_api_told_timestamp_seconds",
                "When Salesforce last told how many calls were made; 0: not yet.",
            )?,
            forecast_known: IntGauge::new(
                "rollbook_salesforce_api_forecast_known",
                "1 if it is known how long our share lasts; 0 before Salesforce has told a rate, and an hour after.",
            )?,
            lane_stopped: IntGaugeVec::new(lane_stopped, &["lane"])?,
        };
        for priority in Priority::ALL {
            metrics.stopped(priority);
        }
        Ok(metrics)
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        for gauge in [&self.share, &self.told_timestamp, &self.forecast_known] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(self.lane_stopped.clone()))
    }

    /// `spent`: Salesforce makes no calls for us, whatever the budget says.
    pub(super) fn tell(&self, budget: &Budget, spent: bool, now: Millis) {
        self.share.set(budget.ours().unwrap_or(0));
        self.forecast_known.set((budget.forecast(now) != Forecast::Unknown).into());
        for priority in Priority::ALL {
            self.stopped(priority).set((spent || !budget.allows(priority)).into());
        }
    }

    pub fn stopped(&self, priority: Priority) -> IntGauge {
        self.lane_stopped.with_label_values(&[priority.name()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::sink::outbox::Usage;

    #[test]
    fn the_share_the_forecast_and_the_lanes_are_those_of_the_budget() {
        const MINUTE: Millis = 60_000;
        let (metrics, mut budget) = (BudgetMetrics::new().unwrap(), Budget::new(20));
        let stopped = || Priority::ALL.map(|priority| metrics.stopped(priority).get());
        metrics.tell(&budget, false, 0);
        assert_eq!((metrics.share.get(), metrics.forecast_known.get(), stopped()), (0, 0, [0, 0, 0]));
        budget.tell(Usage { used: 7_000, limit: 10_000 }, 0);
        metrics.tell(&budget, false, 0);
        assert_eq!((metrics.share.get(), metrics.forecast_known.get(), stopped()), (8_000, 0, [0, 0, 0]));
        budget.tell(Usage { used: 7_300, limit: 10_000 }, MINUTE);
        metrics.tell(&budget, false, MINUTE);
        assert_eq!((metrics.forecast_known.get(), stopped()), (1, [0, 0, 1]));
        metrics.tell(&budget, true, MINUTE);
        assert_eq!(stopped(), [1, 1, 1]);
    }
}
