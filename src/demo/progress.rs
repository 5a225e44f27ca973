//! How far the demo is, on stderr: a bar for a person at a terminal, else a line every few seconds.

use std::cell::Cell;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::numbers::Numbers;

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
    last_line: Cell<Instant>,
}

impl Progress {
    pub fn new(records: usize) -> Self {
        let terminal = stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} records sent, {msg} [{elapsed}]");
        bar.set_style(style.expect("the template is a constant"));
        bar.set_length(u64::try_from(records).unwrap_or(u64::MAX));
        Self { bar, terminal, last_line: Cell::new(Instant::now()) }
    }

    /// So many more records are sent, and the stages are so far.
    pub fn fed(&self, records: usize, numbers: &Numbers) {
        self.bar.inc(u64::try_from(records).unwrap_or(u64::MAX));
        let message =
            format!("{} folded, {} of {} rows done", numbers.events_done, numbers.rows_done(), numbers.upserts);
        if !self.terminal && self.last_line.get().elapsed() >= LINE_INTERVAL {
            self.last_line.set(Instant::now());
            eprintln!("{} of {} records sent, {message}", self.bar.position(), self.bar.length().unwrap_or(0));
        }
        self.bar.set_message(message);
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
