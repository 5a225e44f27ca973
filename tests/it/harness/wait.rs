//! The one way in which tests wait: poll with a deadline, and say what was waited for.

use std::thread;
use std::time::{Duration, Instant};

/// First and longest pause between two looks; what is waited for here takes milliseconds to seconds.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Calls `probe` until it succeeds. At the deadline the test fails with the probe's last reason.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, probe: impl FnMut() -> Result<T, String>) -> T {
    match poll(within, probe) {
        Ok(value) => value,
        Err(why) => panic!("waited {within:?} for {what}: {why}"),
    }
}

/// As [`until`], with the last reason as an error.
pub fn poll<T>(within: Duration, mut probe: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Instant::now() + within;
    let mut pause = PAUSE_MIN;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() >= deadline => return Err(why),
            Err(_) => {}
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// As [`until`], for a probe on the runtime that answers it.
pub async fn until_async<T>(what: &str, within: Duration, probe: impl AsyncFn() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    let mut pause = PAUSE_MIN;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(why) if Instant::now() >= deadline => panic!("waited {within:?} for {what}: {why}"),
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
