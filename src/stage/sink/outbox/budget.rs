//! The calls of the day: what is left of them, who may have them, and how long they last.
//!
//! Salesforce counts the calls of all applications over the last 24 hours and says so with every answer. A sink that
//! only stops when it is refused has taken the last call from everybody else. So a share is kept in reserve, what can
//! wait stops before what cannot, and the calls for requests that are not full are spread out once half of the share
//! is gone: rows then come later and more of them share a call, instead of all of them standing still at some hour.

use std::collections::VecDeque;

use super::row::Priority;
use crate::time::Millis;

const MINUTE_MS: Millis = 60_000;
const DAY_MS: Millis = 24 * 60 * MINUTE_MS;

/// The rate is that of the last hour: longer than a burst, shorter than a day's shape.
const RATE_WINDOW_MS: Millis = 60 * MINUTE_MS;

/// No row waits longer than this to save a call.
const SPACING_MAX_MS: Millis = MINUTE_MS;

/// A day's calls, as Salesforce counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub used: i64,
    pub limit: i64,
}

/// How long the calls last at the rate of the last hour, all applications together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// Salesforce has told too little, or nothing for an hour.
    Unknown,
    /// For a day and more.
    Lasts,
    /// Our share is used up then; it may be now.
    UsedUp(Millis),
}

impl Forecast {
    /// When our share is used up.
    pub fn at(self) -> Option<Millis> {
        match self {
            Self::UsedUp(at) => Some(at),
            Self::Unknown | Self::Lasts => None,
        }
    }
}

#[derive(Debug)]
pub struct Budget {
    reserve_percent: i64,
    /// None until Salesforce has said anything. Own calls since then are added.
    usage: Option<Usage>,
    /// When the usage was last asked for or told.
    told_at: Millis,
    /// What was told, at most once a minute, over the window of the rate.
    told: VecDeque<(Millis, i64)>,
}

impl Budget {
    pub fn new(reserve_percent: u8) -> Self {
        Self { reserve_percent: reserve_percent.into(), usage: None, told_at: 0, told: VecDeque::new() }
    }

    /// A call is made.
    pub fn spend(&mut self, now: Millis) {
        if let Some(usage) = &mut self.usage {
            usage.used += 1;
        }
        self.told_at = self.told_at.max(now);
    }

    pub fn tell(&mut self, usage: Usage, now: Millis) {
        self.usage = Some(usage);
        self.told_at = now;
        if self.told.back().is_none_or(|(at, _)| now - at >= MINUTE_MS) {
            self.told.push_back((now, usage.used));
        }
        while self.told.front().is_some_and(|(at, _)| now - at > RATE_WINDOW_MS) {
            self.told.pop_front();
        }
    }

    /// What is ours and not spent; None where Salesforce has told nothing, as before the first answer.
    pub fn left(&self) -> Option<i64> {
        self.usage.map(|usage| self.share(usage) - usage.used)
    }

    /// Whether a call for rows of this priority may be made: what can wait stops earlier.
    pub fn allows(&self, priority: Priority) -> bool {
        let kept_percent = match priority {
            Priority::Live => 0,
            Priority::Retry => 2,
            Priority::Backfill => 10,
        };
        self.usage.is_none_or(|usage| {
            let share = self.share(usage);
            usage.used < share - share * kept_percent / 100
        })
    }

    /// When to ask for the usage where something may not be sent, and nothing else is that would tell it.
    pub fn ask_at(&self, interval: Millis) -> Option<Millis> {
        let all = Priority::ALL.into_iter().all(|priority| self.allows(priority));
        (!all).then(|| self.told_at.saturating_add(interval))
    }

    /// Time between two calls that are not full, so that what is left lasts a day; none while half is left.
    pub fn spacing(&self) -> Millis {
        let Some((usage, left)) = self.usage.zip(self.left()) else { return 0 };
        if left * 2 > self.share(usage) { 0 } else { (DAY_MS / left.max(1)).min(SPACING_MAX_MS) }
    }

    pub fn forecast(&self, now: Millis) -> Forecast {
        let Some(left) = self.left() else { return Forecast::Unknown };
        if left <= 0 {
            return Forecast::UsedUp(now);
        }
        let Some(((first_at, first), (last_at, last))) = self.told.front().zip(self.told.back()) else {
            return Forecast::Unknown;
        };
        let (took, spent) = (last_at - first_at, last - first);
        if took < MINUTE_MS || now - last_at > RATE_WINDOW_MS {
            return Forecast::Unknown;
        }
        let lasts = if spent > 0 { left.saturating_mul(took) / spent } else { DAY_MS };
        if lasts < DAY_MS { Forecast::UsedUp(now + lasts) } else { Forecast::Lasts }
    }

    /// The calls of the day that are ours.
    pub fn ours(&self) -> Option<i64> {
        self.usage.map(|usage| self.share(usage))
    }

    fn share(&self, usage: Usage) -> i64 {
        usage.limit.saturating_mul(100 - self.reserve_percent) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(used: i64) -> Budget {
        let mut budget = Budget::new(20);
        budget.tell(Usage { used, limit: 10_000 }, 0);
        budget
    }

    fn allowed(budget: &Budget) -> Vec<Priority> {
        Priority::ALL.into_iter().filter(|priority| budget.allows(*priority)).collect()
    }

    #[test]
    fn the_reserve_is_never_touched_and_what_can_wait_stops_first() {
        assert_eq!(allowed(&Budget::new(20)), Priority::ALL, "nothing is known, nothing is held back");
        assert_eq!(allowed(&told(7_199)), Priority::ALL);
        assert_eq!(allowed(&told(7_200)), [Priority::Live, Priority::Retry]);
        assert_eq!(allowed(&told(7_840)), [Priority::Live]);
        assert_eq!(told(7_199).ask_at(MINUTE_MS), None);
        assert_eq!(told(7_200).ask_at(MINUTE_MS), Some(MINUTE_MS), "old rows wait for the answer");
        let mut budget = told(7_999);
        budget.spend(5);
        assert_eq!((allowed(&budget), budget.ask_at(MINUTE_MS)), (vec![], Some(MINUTE_MS + 5)));
        budget.tell(Usage { used: 100, limit: 10_000 }, 10);
        assert_eq!(allowed(&budget), Priority::ALL);
    }

    #[test]
    fn calls_that_are_not_full_are_spread_over_the_day_once_half_is_gone() {
        assert_eq!(told(3_999).spacing(), 0);
        assert_eq!(told(4_000).spacing(), DAY_MS / 4_000);
        assert_eq!(told(6_000).spacing(), DAY_MS / 2_000);
        assert_eq!(told(7_999).spacing(), SPACING_MAX_MS);
        assert_eq!(Budget::new(20).spacing(), 0);
    }

    #[test]
    fn the_forecast_is_that_of_the_last_hour() {
        let mut budget = told(1_000);
        assert_eq!(Budget::new(20).forecast(0), Forecast::Unknown);
        assert_eq!(budget.forecast(0), Forecast::Unknown, "one number is no rate");
        for minute in 1..=120 {
            // Slow for an hour, then ten calls a minute.
            let used = 1_000 + (minute - 60).max(0) * 10;
            budget.tell(Usage { used, limit: 10_000 }, minute * MINUTE_MS);
        }
        let now = 120 * MINUTE_MS;
        assert_eq!(budget.forecast(now), Forecast::UsedUp(now + 640 * MINUTE_MS), "6,400 left, 600 an hour");
        assert_eq!(budget.forecast(now + 61 * MINUTE_MS), Forecast::Unknown, "told too long ago");
        budget.tell(Usage { used: 8_000, limit: 10_000 }, now);
        assert_eq!(budget.forecast(now + DAY_MS), Forecast::UsedUp(now + DAY_MS), "used up already");
        let mut calm = told(1_000);
        calm.tell(Usage { used: 1_001, limit: 10_000 }, 60 * MINUTE_MS);
        assert_eq!(calm.forecast(60 * MINUTE_MS), Forecast::Lasts, "a day or more away");
        calm.tell(Usage { used: 900, limit: 10_000 }, 61 * MINUTE_MS);
        assert_eq!(calm.forecast(61 * MINUTE_MS), Forecast::Lasts, "more is forgotten than made");
    }
}
