//! Time, as the loops see it. A simulation has its own, in which a minute passes in a millisecond.

use std::thread;
use std::time::{Duration, Instant};

use crate::time::Millis;

pub trait Clock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, pause: Duration) {
        thread::sleep(pause);
    }

    /// The wall clock, for timestamps of what is written; no computed value depends on it.
    fn wall_clock(&self) -> Millis {
        jiff::Timestamp::now().as_millisecond()
    }
}
