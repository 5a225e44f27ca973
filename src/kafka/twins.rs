//! Clients that are made anew: after which pause, and when not, as two processes hold one name. A group takes the newer of two members of one name and throws the other out.
//!
//! That a member is thrown out says little: a broker that dies between the answers to its two requests to join, or an
//! outage in which an answer is lost, makes the group take it for another one of its own name. So it joins again. Only
//! one that is thrown out again and again while brokers answer has a twin, and one of both has to end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::vigil::Vigil;

/// How often in [`WITHIN`] a member may be thrown out.
const FENCES_MAX: usize = 3;
const WITHIN: Duration = Duration::from_mins(5);

/// Another process holds the name of this instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{instance}` is the name of another process, too: {other}; hint: give each instance its own `kafka.instance`")]
pub struct Twin {
    pub instance: String,
    /// Client id and host of the other, as the group tells them.
    pub other: String,
}

/// When this member was thrown out.
#[derive(Debug, Default)]
pub struct Fences(VecDeque<Instant>);

impl Fences {
    /// Once more. True where that was too often. `undisturbed`: no outage explains it.
    pub fn fenced(&mut self, now: Instant, undisturbed: bool) -> bool {
        if !undisturbed {
            return false;
        }
        self.0.retain(|then| now.saturating_duration_since(*then) < WITHIN);
        self.0.push_back(now);
        self.0.len() >= FENCES_MAX
    }
}

/// Pause before clients are made anew; doubled with each time that nothing went well in between.
const PAUSE: Duration = Duration::from_secs(1);
/// The same after the member was thrown out for another one of its name, which may have come to stay.
const FENCED_PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is known of a member over the lives of its clients.
pub struct Mending {
    pub vigil: Vigil,
    pub fences: Fences,
    /// Times that clients were made anew since something went well.
    times: u32,
}

impl Mending {
    pub fn new(session_timeout: Duration, now: Instant) -> Self {
        Self { vigil: Vigil::new(session_timeout, now), fences: Fences::default(), times: 0 }
    }

    pub fn well(&mut self) {
        self.times = 0;
    }

    /// How long to wait before the next clients.
    pub fn next_pause(&mut self, fenced: bool) -> Duration {
        let pause = if fenced { FENCED_PAUSE } else { PAUSE };
        let pause = (pause * 2_u32.saturating_pow(self.times)).min(PAUSE_MAX);
        self.times = (self.times + 1).min(5);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_thrown_out_three_times_in_five_minutes_has_a_twin() {
        let (mut fences, start) = (Fences::default(), Instant::now());
        let minute = Duration::from_mins(1);
        for outage in 0..10 {
            assert!(!fences.fenced(start + minute * outage / 10, false), "outages explain it");
        }
        assert!(!fences.fenced(start + minute, true));
        assert!(!fences.fenced(start + minute * 5, true));
        assert!(!fences.fenced(start + minute * 7, true), "the first is long ago");
        assert!(fences.fenced(start + minute * 8, true));
    }
}
