//! The figures as two tables of Markdown: medians of the bursts, quantiles of the trickles.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::load::{Burst, Trickle};
use crate::loader::Loader;
use crate::machine::machine;
use crate::options::{Options, millis};

pub fn print(
    options: &Options,
    bursts: &BTreeMap<(u64, Loader), Vec<Burst>>,
    trickles: &BTreeMap<(u64, Loader), Trickle>,
) {
    let Options { rows, rounds, rate, seconds, .. } = options;
    println!("{}\n\nBurst: {rows} members of ten campaigns, medians of {rounds} round(s).\n", machine());
    println!(
        "| latency ms | | rows/s | loading s | whole s | API calls | calls per 1,000 rows | CPU s | org's CPU s |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|--:|--:|");
    for ((latency, loader), runs) in bursts {
        let time = |of: fn(&Burst) -> Duration| median(runs.iter().map(of).collect()).as_secs_f64();
        let (loading, calls) = (time(|run| run.loading), median(runs.iter().map(|run| run.calls).collect()));
        println!(
            "| {latency} | {} | {:.0} | {loading:.2} | {:.2} | {calls} | {:.2} | {:.2} | {:.2} |",
            loader.title(),
            float(*rows as u64) / loading,
            time(|run| run.whole),
            float(calls) * 1_000.0 / float(*rows as u64),
            time(|run| run.cpu),
            time(|run| run.org_cpu),
        );
    }
    println!("\nTrickle: {rate} rows a second for {seconds} s; a row's coming to its confirmation, in milliseconds.\n");
    println!("| latency ms | | p50 | p95 | p99 | max | API calls | calls per row |");
    println!("|--:|---|--:|--:|--:|--:|--:|--:|");
    for ((latency, loader), Trickle { latencies, calls }) in trickles {
        let [p50, p95, p99, max] = [50, 95, 99, 100].map(|percent| millis(percentile(latencies, percent)));
        let per_row = float(*calls) / float(latencies.len() as u64);
        let title = loader.title();
        println!("| {latency} | {title} | {p50} | {p95} | {p99} | {max} | {calls} | {per_row:.2} |");
    }
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("calls and rows are few"))
}

/// Of an even number, the greater of the two in the middle.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    *values.get(values.len() / 2).expect("every loader has run")
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    *sorted.get(rank.saturating_sub(1)).expect("there are rows")
}
