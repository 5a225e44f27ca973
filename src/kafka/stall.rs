//! Notices that something does not get on although Kafka answers.
//!
//! librdkafka gets over most outages by itself, and some of its calls come to no end after one: a transaction whose
//! coordinator went away is repeated for ever, or blocks beyond its own timeout. An outage itself is no reason to give
//! up: then the same would happen to whatever is made anew. So the time counts only while brokers answer somebody else.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing may get on while brokers answer. Longer than any single answer of a broker that is well; short, as
/// nothing is folded meanwhile.
pub const STALLED_AFTER: Duration = Duration::from_secs(15);

/// When it got on last.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    moved: Instant,
}

impl Stall {
    pub fn new(now: Instant) -> Self {
        Self { moved: now }
    }

    pub fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// `answering_since`: since when brokers have answered without a break.
    pub fn stalled(&self, now: Instant, answering_since: Option<Instant>, limit: Duration) -> bool {
        answering_since.is_some_and(|since| now.saturating_duration_since(since.max(self.moved)) >= limit)
    }
}

/// What the thread that carries out transactions and whoever waits for them tell each other.
pub struct Course {
    stall: Mutex<Stall>,
    given_up: Mutex<bool>,
    denied: Mutex<Option<String>>,
}

impl Course {
    pub fn new(now: Instant) -> Self {
        Self { stall: Mutex::new(Stall::new(now)), given_up: Mutex::default(), denied: Mutex::default() }
    }

    /// The right that is missing; None: all are there again.
    pub fn denied(&self, right: Option<String>) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = right;
    }

    pub fn missing_right(&self) -> Option<String> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A step of a transaction is done.
    pub fn moved(&self, now: Instant) {
        self.stall.lock().unwrap_or_else(PoisonError::into_inner).moved(now);
    }

    pub fn stalled(&self, now: Instant, answering_since: Option<Instant>) -> bool {
        let stall = *self.stall.lock().unwrap_or_else(PoisonError::into_inner);
        stall.stalled(now, answering_since, STALLED_AFTER)
    }

    /// Nobody waits any more: the thread makes no further call, as another has taken its place.
    pub fn give_up(&self) {
        *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub fn given_up(&self) -> bool {
        *self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_no_stall_and_begins_the_count_anew() {
        let start = Instant::now();
        let stall = Stall::new(start);
        let (second, limit) = (Duration::from_secs(1), Duration::from_secs(15));
        assert!(!stall.stalled(start + limit * 10, None, limit), "nobody is answered");
        assert!(!stall.stalled(start + second * 14, Some(start), limit));
        assert!(stall.stalled(start + second * 15, Some(start), limit));
        let back = start + second * 60;
        assert!(!stall.stalled(back + second * 14, Some(back), limit));
        assert!(stall.stalled(back + second * 15, Some(back), limit));
    }
}
