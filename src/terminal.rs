//! What a person sees on stderr: lines of the log, and bars below them that stay below.
//!
//! There is one terminal and several threads that write to it, so this is one of the few places where something is
//! shared by the whole process. Bars are hidden until a subcommand wants them, and where stderr is no terminal.

use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

static BARS: LazyLock<MultiProgress> = LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::hidden()));

/// From now on bars are drawn, if there is a terminal to draw them on.
pub fn show_bars() {
    if io::stderr().is_terminal() {
        BARS.set_draw_target(ProgressDrawTarget::stderr());
    }
}

pub fn shows_bars() -> bool {
    !BARS.is_hidden()
}

/// Draws the bar below the others.
pub fn bar(bar: ProgressBar) -> ProgressBar {
    BARS.add(bar)
}

/// stderr for the log: takes the bars away while it writes.
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
