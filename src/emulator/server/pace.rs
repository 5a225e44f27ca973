//! How long calls take, and what that means for the locks they hold.
//!
//! The work itself is done under one mutex and takes no time to speak of. What takes time, a call's latency and the
//! duration of its writes, is spent outside of it, so calls overlap as they do in a real org.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{Service, Shared};

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

impl Shared {
    /// Carries out one transaction. `work` takes back what it did and returns None when it meets a lock of another
    /// request; it is called again when locks were released. On the last turn it has to come to an end.
    pub async fn transact<T>(&self, mut work: impl FnMut(&mut Service, Turn) -> Option<T>) -> T {
        let deadline = Instant::now() + self.pace.lock_wait;
        let mut turn = Turn { first: true, last: false };
        loop {
            // Made before the look at the locks: a release in between wakes it too.
            let released = self.released.notified();
            let ended = {
                let mut service = self.lock();
                service.org.begin();
                let ended = work(&mut service, turn);
                service.count_changes();
                let keep = !self.pace.write.is_zero();
                ended.map(|ended| (ended, if keep { service.org.keep_locks() } else { Vec::new() }))
            };
            if let Some((ended, locks)) = ended {
                if !locks.is_empty() {
                    sleep(self.pace.write).await;
                    self.lock().org.release_locks(&locks);
                    self.released.notify_waiters();
                }
                return ended;
            }
            turn = Turn { first: false, last: timeout_at(deadline, released).await.is_err() };
        }
    }
}
