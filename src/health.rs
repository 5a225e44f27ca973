//! How the loops of the process are: whether each one still turns, and what it waits for.
//!
//! *Live* means that every loop still turns. It does not ask whether Kafka or Salesforce can be reached: an outage
//! there would restart every instance, and restarting mends nothing. *Ready* means that this instance has its
//! partitions, their state and a token.
//!
//! Loops report by atomics; whoever asks only reads them. It is told here and asked for elsewhere (`http`, `status`), so
//! that a loop which reports knows nothing of those who look.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::metrics::Dependency;

/// A loop that has not turned for so long is dead. Longer than any single call a loop makes: a commit's timeout is
/// 60 s.
pub const BEAT_INTERVAL_MAX: Duration = Duration::from_secs(90);

/// How the loops of the process are.
pub struct Health {
    started: Instant,
    loops: Mutex<BTreeMap<String, Arc<Pulse>>>,
    /// What no loop can work without, and why it cannot be had.
    outages: Mutex<BTreeMap<Dependency, String>>,
}

/// One loop's own part of [`Health`]; it keeps the `Arc` and reports without a lock.
pub struct Pulse {
    started: Instant,
    /// Milliseconds since `started`.
    beat_at: AtomicU64,
    /// None: ready. Else why not.
    waits_for: Mutex<Option<String>>,
    /// Of all that is assigned it is known how much there is to read.
    knows_lag: AtomicBool,
    /// What it waits for otherwise may be mended, and would not help.
    disk_fails: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        Self { started: Instant::now(), loops: Mutex::default(), outages: Mutex::default() }
    }
}

impl Health {
    /// The loop of this name, made at the first call; it starts alive and not ready.
    pub fn pulse(&self, name: &str) -> Arc<Pulse> {
        let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let pulse = loops.entry(name.to_owned()).or_insert_with(|| {
            let beat_at = AtomicU64::new(millis(self.started.elapsed()));
            Arc::new(Pulse {
                started: self.started,
                beat_at,
                waits_for: Mutex::new(Some("starting".to_owned())),
                knows_lag: AtomicBool::new(true),
                disk_fails: AtomicBool::new(false),
            })
        });
        Arc::clone(pulse)
    }

    /// One consumer thread of the fold.
    pub fn fold(&self, thread: usize) -> Arc<Pulse> {
        self.pulse(&format!("fold-{thread}"))
    }

    pub fn sink(&self) -> Arc<Pulse> {
        self.pulse("sink")
    }

    /// Something that every loop needs cannot be had, or is back.
    pub fn outage(&self, dependency: Dependency, why: Option<String>) {
        let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => outages.insert(dependency, why),
            None => outages.remove(&dependency),
        };
    }

    /// Whether every loop has turned lately, and the age of each beat in milliseconds.
    pub fn live(&self) -> (bool, serde_json::Value) {
        self.live_at(self.started.elapsed())
    }

    fn live_at(&self, now: Duration) -> (bool, serde_json::Value) {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let ages = loops.iter().map(|(name, pulse)| (name, pulse.age(now)));
        let live = ages.clone().all(|(_, age)| age <= millis(BEAT_INTERVAL_MAX));
        (live, ages.map(|(name, age)| (name.clone(), json!({ "beat_age_ms": age }))).collect())
    }

    /// Whether every loop does its work, and what each one waits for. Without a loop: not ready.
    pub fn ready(&self) -> (bool, serde_json::Value) {
        let (ready, loops) = self.waits();
        let loops = loops
            .into_iter()
            .map(|(name, waits_for)| (name, json!({ "ready": waits_for.is_none(), "waits_for": waits_for })));
        (ready, loops.collect())
    }

    /// The same, for the rest of the process.
    pub fn waits(&self) -> (bool, Vec<(String, Option<String>)>) {
        let outage = self.outages.lock().unwrap_or_else(PoisonError::into_inner).values().next().cloned();
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let waits_for = |pulse: &Pulse| outage.clone().or_else(|| pulse.waits_for());
        let loops: Vec<_> = loops.iter().map(|(name, pulse)| (name.clone(), waits_for(pulse))).collect();
        let ready = !loops.is_empty() && loops.iter().all(|(_, waits_for)| waits_for.is_none());
        (ready, loops)
    }
}

impl Pulse {
    /// The loop has turned once more.
    pub fn beat(&self) {
        self.beat_at.store(millis(self.started.elapsed()), Ordering::Relaxed);
    }

    /// Whether the loop does its work now; `why` says what it waits for, in a text without data of people.
    pub fn ready(&self, ready: bool, why: &str) {
        let mut waits_for = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        if waits_for.as_deref() != (!ready).then_some(why) {
            *waits_for = (!ready).then(|| why.to_owned());
        }
    }

    /// Whoever does not know what there is to read cannot say that all is well.
    pub fn knows_lag(&self, known: bool) {
        self.knows_lag.store(known, Ordering::Relaxed);
    }

    /// Whether the disk refuses states, or did a moment ago: whatever `ready` is told meanwhile.
    pub fn disk_fails(&self, fails: bool) {
        self.disk_fails.store(fails, Ordering::Relaxed);
    }

    /// What `ready` was told last.
    pub fn own_reason(&self) -> Option<String> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the loop itself waits for.
    fn waits_for(&self) -> Option<String> {
        if self.disk_fails.load(Ordering::Relaxed) {
            return Some("states cannot be written to disk".to_owned());
        }
        let waits_for = self.own_reason();
        let knows_lag = self.knows_lag.load(Ordering::Relaxed);
        waits_for.or_else(|| (!knows_lag).then(|| "the brokers have not told how much there is to read".to_owned()))
    }

    fn age(&self, now: Duration) -> u64 {
        millis(now).saturating_sub(self.beat_at.load(Ordering::Relaxed))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stopped_is_not_live_and_one_that_waits_is() {
        let health = Health::default();
        let pulse = health.fold(0);
        pulse.ready(false, "restoring");
        assert!(health.live().0, "waiting is no death");
        assert!(!health.live_at(health.started.elapsed() + BEAT_INTERVAL_MAX + Duration::from_secs(1)).0);
    }

    #[test]
    fn whoever_does_not_know_what_there_is_to_read_is_not_ready() {
        let health = Health::default();
        let pulse = health.fold(0);
        pulse.ready(true, "");
        assert!(health.ready().0);
        pulse.knows_lag(false);
        let (ready, detail) = health.ready();
        assert!(!ready && detail["fold-0"]["waits_for"].as_str().unwrap().contains("how much there is to read"));
        pulse.ready(false, "states are read back");
        assert_eq!(health.ready().1["fold-0"]["waits_for"], "states are read back", "what comes first is said first");
    }

    #[test]
    fn ready_needs_every_loop_and_says_what_is_missing() {
        let health = Health::default();
        assert!(!health.ready().0, "a process without loops does nothing");
        health.fold(0).ready(true, "");
        assert!(health.ready().0);
        health.sink().ready(false, "a token");
        let (ready, detail) = health.ready();
        assert!(!ready);
        assert_eq!(detail["sink"], json!({ "ready": false, "waits_for": "a token" }));
    }

    #[test]
    fn an_outage_of_what_every_loop_needs_is_what_each_waits_for() {
        let health = Health::default();
        health.fold(0).ready(true, "");
        health.outage(Dependency::Kafka, Some("Kafka does not answer".to_owned()));
        let (ready, loops) = health.waits();
        assert!(!ready);
        assert_eq!(loops, [("fold-0".to_owned(), Some("Kafka does not answer".to_owned()))]);
        health.outage(Dependency::Kafka, None);
        assert!(health.ready().0);
    }
}
