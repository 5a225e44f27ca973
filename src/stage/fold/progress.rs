//! How far states are read back: a bar for a person at a terminal, else a line every few seconds.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use crate::terminal;

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

pub struct RestoreProgress {
    thread: String,
    /// None before the first record, so that a start with nothing to read shows nothing.
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    records: u64,
}

impl Default for RestoreProgress {
    fn default() -> Self {
        Self::start("")
    }
}

impl RestoreProgress {
    pub fn start(thread: &str) -> Self {
        let now = Instant::now();
        Self { thread: thread.to_owned(), bar: None, started: now, last_line: now, records: 0 }
    }

    /// So many more records are read, and so many are left at most.
    pub fn report(&mut self, records: u64, remaining: u64) {
        self.records += records;
        if self.records == 0 {
            return;
        }
        if terminal::shows_bars() {
            let bar = self.bar.get_or_insert_with(|| terminal::bar(bar(&self.thread)));
            bar.set_length(self.records + remaining);
            bar.set_position(self.records);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            let per_second = self.records.saturating_mul(1000) / millis;
            info!(thread = %self.thread, records = self.records, remaining, per_second, "reading states back");
        }
    }

    /// Takes the bar away. Returns how long it took.
    pub fn end(&mut self) -> Duration {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }

    pub fn records(&self) -> u64 {
        self.records
    }
}

fn bar(thread: &str) -> ProgressBar {
    let template = "{prefix} {bar:30} {pos}/{len} records of the state read back, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    ProgressBar::hidden().with_style(style).with_prefix(thread.to_owned())
}
