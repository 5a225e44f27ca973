//! Parses the arguments, runs a subcommand, and turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use rollbook::cli::Cli;

fn main() -> ExitCode {
    // Wrong arguments end here, with exit code 2.
    Cli::parse().run()
}
