//! `rollbook completions`: a script that completes subcommands and options.

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "rollbook", &mut io::stdout());
    Exit::Done
}
