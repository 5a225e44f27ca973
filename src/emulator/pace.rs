//! How long calls take, and how long they keep and wait for locks.
//!
//! The work itself is done under one mutex and takes no time to speak of. What takes time, a call's latency and the
//! duration of its writes, is spent outside of it, so calls overlap as they do in a real org.

use std::time::Duration;

use tokio::time::sleep;

/// What is added to the time that the work takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Of every call.
    pub latency: Duration,
    /// How long a write keeps its locks, and with them its answer.
    pub write: Duration,
    /// How long a write waits for the locks of others, before its rows fail.
    pub lock_wait: Duration,
}

/// Which try of a transaction this is.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub first: bool,
    /// No more waiting: rows that meet a lock fail.
    pub last: bool,
}

impl Default for Pace {
    /// Nothing takes longer than it has to; locks are waited for as long as Salesforce does.
    fn default() -> Self {
        Self { latency: Duration::ZERO, write: Duration::ZERO, lock_wait: Duration::from_secs(10) }
    }
}

/// Even a sleep of no time waits for the next tick of the timer.
pub async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}
