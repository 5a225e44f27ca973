//! What the command line says.

use std::time::Duration;

use clap::Parser;

use crate::loader::Loader;

/// The same gaps in every run.
const SEED: u64 = 7;

/// Rollbook's sink, simple-salesforce and jsforce write the same rows to equal orgs.
#[derive(Debug, Parser)]
pub struct Options {
    /// Members of a burst
    #[arg(default_value = "20_000", value_parser = count)]
    pub rows: usize,
    /// Loaders to run; all of them where none is named
    #[arg(long, value_enum, num_args = 1..)]
    only: Vec<Loader>,
    /// Milliseconds that the org adds to every call
    #[arg(long, default_value = "0,50,200", value_delimiter = ',')]
    latency: Vec<u64>,
    /// Bursts of each loader at each latency; the table has the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Rows a second of the trickle
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// How long it lasts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Passed by cargo
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    pub fn loaders(&self) -> Vec<Loader> {
        if self.only.is_empty() { Loader::ALL.to_vec() } else { self.only.clone() }
    }

    pub fn latencies(&self) -> impl Iterator<Item = Duration> {
        self.latency.iter().copied().map(Duration::from_millis)
    }

    /// When each row of the trickle is due. Gaps are random, as of people who know nothing of each other: even ones
    /// would meet a loader's own rhythm at a few fixed places.
    pub fn trickle(&self) -> Vec<Duration> {
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut due = Duration::ZERO;
        let next = move || {
            due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / f64::from(self.rate));
            due
        };
        std::iter::repeat_with(next).take((self.rate * self.seconds) as usize).collect()
    }
}

pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A number that may be written `20_000`.
fn count(text: &str) -> Result<usize, String> {
    let count = text.replace('_', "").parse().map_err(|_| "not a number".to_owned())?;
    if count == 0 { Err("nothing to do".to_owned()) } else { Ok(count) }
}
