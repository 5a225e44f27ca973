//! What the log says of trouble that lasts: once when it begins, then every minute.
//!
//! A line for every failed try is how two hours of an outage become a gigabyte of log, in which its cause is not found.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

const EVERY: Duration = Duration::from_mins(1);

/// When each thing was last said; a few codes, never a text with data in it.
#[derive(Default)]
pub struct Repeated {
    said: BTreeMap<String, Instant>,
}

impl Repeated {
    /// Whether to say this now.
    pub fn due(&mut self, what: &str, now: Instant) -> bool {
        let due = self.said.get(what).is_none_or(|said| now.duration_since(*said) >= EVERY);
        if due {
            self.said.insert(what.to_owned(), now);
        }
        due
    }

    /// The trouble is over: the next is said at once.
    pub fn over(&mut self) {
        self.said.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_when_it_begins_and_then_every_minute() {
        let start = Instant::now();
        let mut said = Repeated::default();
        let lines = (0..=600).filter(|second| said.due("transport", start + Duration::from_secs(*second))).count();
        assert_eq!(lines, 11);
        assert!(said.due("body", start), "another cause");
        said.over();
        assert!(said.due("transport", start));
    }
}
