//! The figures as a table of Markdown: medians over the rounds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::input::Input;
use crate::machine::machine;
use crate::measure::{Figures, per_second};
use crate::options::Options;
use crate::output::Written;
use crate::peer::Peer;

pub fn print(options: &Options, input: &Input, figures: &BTreeMap<Peer, Vec<Figures>>) {
    let Options { events, rounds, members, commit_ms, threads, .. } = options;
    println!("{}", machine());
    println!(
        "{events} view events of {} bytes, {members} members with three entries, {} partitions, lz4; a commit every \
         {commit_ms} ms, {threads} folding thread(s); medians of {rounds} round(s).\n",
        input.event_bytes,
        input.ends.len()
    );
    println!(
        "| | k events/s | k events/CPU-s | CPU s | broker CPU s | memory MB | changelog | rows | restore s | warm restore s |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (peer, runs) in figures {
        println!("| {} | {} |", peer.title(), cells(*events, runs).join(" | "));
    }
}

fn cells(events: u64, runs: &[Figures]) -> [String; 9] {
    let thousands = |time: Duration| format!("{:.0}", per_second(events, time) / 1_000.0);
    let time = |of: fn(&Figures) -> Duration| median(runs.iter().map(of).collect());
    let some_time = |of: fn(&Figures) -> Option<Duration>| {
        let median = median(runs.iter().map(of).collect());
        median.map_or_else(|| "–".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
    };
    let cpu = time(|run| run.cpu);
    [
        thousands(time(|run| run.wall)),
        thousands(cpu),
        format!("{:.1}", cpu.as_secs_f64()),
        format!("{:.1}", time(|run| run.broker_cpu).as_secs_f64()),
        format!("{}", median(runs.iter().map(|run| run.memory_peak).collect()) >> 20),
        written(&runs.iter().map(|run| run.changelog).collect::<Vec<_>>()),
        written(&runs.iter().map(|run| run.output).collect::<Vec<_>>()),
        some_time(|run| run.restore),
        some_time(|run| run.warm_restore),
    ]
}

/// Records and bytes of the round with the median of bytes.
fn written(rounds: &[Written]) -> String {
    let (bytes, records) = median(rounds.iter().map(|written| (written.bytes, written.records)).collect());
    if records == 0 { "–".to_owned() } else { format!("{} k, {} MB", records / 1_000, bytes / 1_000_000) }
}

/// Of an even number, the greater of the two in the middle.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    *values.get(values.len() / 2).expect("every peer has run")
}
