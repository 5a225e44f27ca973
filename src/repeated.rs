//! What the log says of trouble that lasts: once when it begins, then every minute, with how often it came.
//!
//! A line for every failed try is how two hours of an outage become a gigabyte of log, in which its cause is not found.
//! Who keeps this decides what one trouble is: the sink has its own, the clients of Kafka share one (`kafka::said`), as
//! they all meet the same outage.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two lines of one kind.
const EVERY: Duration = Duration::from_mins(1);
/// Kinds that are told apart; more are one kind. A line that says its own number would be a kind each time.
const KINDS_MAX: usize = 256;

/// When each kind was said, and how often it has come since. Kinds are codes or constant texts, never data.
#[derive(Default)]
pub struct Repeated {
    kinds: BTreeMap<String, (Instant, u64)>,
}

impl Repeated {
    /// How often it came since it was said, itself counted, if it is to be said now.
    pub fn again(&mut self, what: &str, now: Instant) -> Option<u64> {
        if let Some((said_at, since)) = self.kinds.get_mut(what) {
            *since += 1;
            if now.saturating_duration_since(*said_at) < EVERY {
                return None;
            }
            *said_at = now;
            return Some(std::mem::take(since));
        }
        if self.kinds.len() >= KINDS_MAX {
            self.kinds.retain(|_, (said_at, _)| now.saturating_duration_since(*said_at) < EVERY);
        }
        if self.kinds.len() >= KINDS_MAX {
            return None;
        }
        self.kinds.insert(what.to_owned(), (now, 0));
        Some(1)
    }

    /// This trouble is over: the next is said at once. Whether anything was said of it.
    pub fn over(&mut self, what: &str) -> bool {
        self.kinds.remove(what).is_some()
    }

    /// All trouble is over.
    pub fn all_over(&mut self) {
        self.kinds.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_said_once_and_then_every_minute_with_its_count() {
        let (mut said, start) = (Repeated::default(), Instant::now());
        assert_eq!(said.again("away", start), Some(1));
        for second in 1..60 {
            assert_eq!(said.again("away", start + Duration::from_secs(second)), None);
        }
        assert_eq!(said.again("other", start + Duration::from_secs(5)), Some(1));
        assert_eq!(said.again("away", start + EVERY), Some(60));
        assert_eq!(said.again("away", start + EVERY), None);
    }

    #[test]
    fn what_is_over_is_said_at_once_when_it_comes_again() {
        let (mut said, start) = (Repeated::default(), Instant::now());
        assert!(!said.over("away"), "nothing was said of it");
        assert_eq!((said.again("away", start), said.again("other", start)), (Some(1), Some(1)));
        assert!(said.over("away"));
        assert_eq!((said.again("away", start), said.again("other", start)), (Some(1), None));
        said.all_over();
        assert_eq!(said.again("other", start), Some(1));
    }

    #[test]
    fn kinds_are_bounded_and_old_ones_make_room() {
        let (mut said, start) = (Repeated::default(), Instant::now());
        for number in 0..KINDS_MAX {
            assert_eq!(said.again(&number.to_string(), start), Some(1));
        }
        assert_eq!(said.again("one too many", start), None);
        assert_eq!(said.again("one too many", start + EVERY), Some(1));
    }
}
