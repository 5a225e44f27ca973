//! Data on stdout.
//!
//! Std's own `println!` panics where the reader has gone, as in `rollbook check | head -3`. Who closed the pipe has seen
//! enough: the process ends as those do that the signal SIGPIPE ends, without a word.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// What shells give a command that SIGPIPE ended.
const EXIT_NO_READER: i32 = 141;

/// `print!` for data.
macro_rules! put {
    ($($text:tt)*) => { $crate::cli::out::write(format_args!($($text)*)) };
}

/// `println!` for data.
macro_rules! say {
    () => { put!("\n") };
    ($format:literal $($rest:tt)*) => { put!("{}\n", format_args!($format $($rest)*)) };
}

#[expect(clippy::disallowed_methods, reason = "nobody reads what would follow")]
pub fn write(text: fmt::Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let Err(error) = stdout.write_fmt(text).and_then(|()| stdout.flush()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(EXIT_NO_READER);
    }
    eprintln!("error: cannot write to stdout: {error}");
    std::process::exit(1);
}
