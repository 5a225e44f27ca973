//! One run of one loader: all rows at once, or one by one.

use std::collections::HashMap;
use std::process;
use std::time::{Duration, Instant};

use crate::child::cpu_time;
use crate::loader::{Loader, Running};
use crate::org::Org;

/// Between two looks at whether the org was called; what a burst takes is known to this.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Far more than the slowest loader needs.
const WITHIN: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// From the first call after the login to the last row confirmed.
    pub loading: Duration,
    /// The same from the start of the process.
    pub whole: Duration,
    /// Time on a core of the loader from its start, and of the org meanwhile.
    pub cpu: Duration,
    pub org_cpu: Duration,
    pub calls: u64,
}

pub struct Trickle {
    /// From the row's coming to its confirmation.
    pub latencies: Vec<Duration>,
    pub calls: u64,
}

pub fn burst(loader: Loader, org: &Org) -> Burst {
    let mut running = Running::start(loader, org, &org.members);
    let (started, org_before) = (running.started(), cpu_time(process::id()));
    let (mut first, mut left) = (None, org.members.len());
    while left > 0 {
        assert!(started.elapsed() < WITHIN, "{}: {left} rows are not confirmed", loader.name());
        left -= running.confirmed(LOOK_EVERY).len();
        if first.is_none() && org.called() {
            // The org counts a call when it has spent its latency.
            first = Instant::now().checked_sub(org.latency);
        }
    }
    let (loading, whole) = (first.expect("the org was called").elapsed(), started.elapsed());
    Burst {
        loading,
        whole,
        cpu: cpu_time(running.process_id()),
        org_cpu: cpu_time(process::id()).saturating_sub(org_before),
        calls: org.calls(),
    }
}

pub fn trickle(loader: Loader, org: &Org, due: &[Duration]) -> Trickle {
    let mut running = Running::start(loader, org, &[]);
    running.ready();
    let (started, mut rows) = (Instant::now(), org.members.iter().zip(due).peekable());
    let (mut sent, mut latencies) = (HashMap::new(), Vec::new());
    while latencies.len() < due.len() {
        assert!(started.elapsed() < WITHIN, "{}: {} rows are confirmed", loader.name(), latencies.len());
        while let Some((row, _)) = rows.next_if(|(_, due)| **due <= started.elapsed()) {
            sent.insert(row.member.to_string(), Instant::now());
            running.send(*row);
        }
        let wait = rows.peek().map_or(LOOK_EVERY, |(_, due)| due.saturating_sub(started.elapsed()));
        for id in running.confirmed(wait) {
            latencies.push(sent.get(&id).expect("it was sent").elapsed());
        }
    }
    latencies.sort_unstable();
    Trickle { latencies, calls: org.calls() }
}
