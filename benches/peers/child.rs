//! What the kernel says about a process.

use std::fs;
use std::time::Duration;

/// Of every Linux: the unit of times in /proc, whatever the kernel counts in.
const TICKS_PER_SECOND: u32 = 100;
/// Places in `/proc/PID/stat`, counted behind the name, which may hold blanks.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;

/// Time on a core of all its threads, those that have ended included.
pub fn cpu_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in brackets");
    let ticks = |place| fields.split_whitespace().nth(place).and_then(|ticks| ticks.parse::<u32>().ok());
    let together = ticks(USER_TICKS).zip(ticks(SYSTEM_TICKS)).map(|(user, system)| user + system);
    Duration::from_secs(1) / TICKS_PER_SECOND * together.expect("times are numbers")
}

/// The most memory that it has had, in bytes.
pub fn memory_peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("every process has memory");
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("memory is a number");
    kilobytes << 10
}
