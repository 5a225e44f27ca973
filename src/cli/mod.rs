//! The command line: one file per subcommand, and what they share.
//!
//! stdout is data, stderr is messages. Every subcommand ends in an [`Exit`], whose codes are in `--help` and
//! `docs/cli.md`: scripts branch on them, so a code never changes its meaning.

#[macro_use]
mod out;

mod check;
mod completions;
mod dead_letters;
mod demo;
mod doctor;
mod emulate;
mod gaps;
mod ignored;
mod log;
mod org;
mod produce;
mod run;
mod setup;
mod state;
mod status;
mod topics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, Invalid};
use crate::kafka::admin::AdminError;
use crate::kafka::scan::ScanError;
use crate::kafka::twins::Twin;
use crate::stage::fold;
use crate::store::DiskError;
use crate::time::Millis;

const EXIT_CODES: &str = "Exit codes:
  0   done
  1   failed
  2   wrong arguments
  3   done, but something was refused or will be ignored; it is listed
  4   the instance is not ready; what it waits for is listed
  5   what was waited for did not happen in time; what is open is listed
  75  failed for now, try again (a broker, Salesforce or the instance cannot be reached)
  78  the configuration or the topics are wrong; every problem is listed";

/// Folds what people do at events into one aggregate per campaign member and writes it to Salesforce.
#[derive(Debug, Parser)]
#[command(name = "rollbook", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every subcommand takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Configuration file
    #[arg(long, global = true, env = "ROLLBOOK_CONFIG", default_value = "rollbook.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Print data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Format of the log on stderr
    #[arg(long, global = true, env = "ROLLBOOK_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Level of the log: error, warn, info, debug, trace, or directives like `rollbook::stage=debug`
    #[arg(long, global = true, env = "ROLLBOOK_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the stages until SIGTERM or Ctrl-C
    Run(run::Arguments),
    /// Ask a running instance whether it is ready, how far behind it is, and how long the calls of the day last
    Status(status::Arguments),
    /// List which records a running instance has ignored, and why
    Ignored(ignored::Arguments),
    /// Check the configuration, list every problem, and print what is in effect, secrets masked
    Check(check::Arguments),
    /// Make the nine member statuses on campaigns
    Setup(setup::Arguments),
    /// Show which org is written to, or accept another one
    Org(org::Arguments),
    /// List what the Salesforce org lacks, and what mends it
    Doctor(doctor::Arguments),
    /// Create or check the topics
    Topics(topics::Arguments),
    /// Run a whole conference through a built-in broker and Salesforce emulator, and compare
    Demo(demo::Arguments),
    /// Check and send events of a file of JSON lines
    Produce(produce::Arguments),
    /// Show what is known of a member, and the rows derived of it
    State(state::Arguments),
    /// List, show and send again what was refused
    DeadLetters(dead_letters::Arguments),
    /// List what was passed over, and say that it is known
    Gaps(gaps::Arguments),
    /// Run a Salesforce emulator
    Emulate(Box<emulate::Arguments>),
    /// Print a completion script
    Completions(completions::Arguments),
}

/// How a subcommand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    Refusals,
    NotReady,
    NotIdle,
    Temporary,
    BadConfiguration,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refusals => 3,
            Self::NotReady => 4,
            Self::NotIdle => 5,
            Self::Temporary => 75,
            Self::BadConfiguration => 78,
        }
    }

    fn of(error: &anyhow::Error) -> Self {
        // A stage wraps what it failed of, so the whole chain is looked at.
        let admin = error.chain().find_map(|cause| cause.downcast_ref::<AdminError>());
        let disk = error.chain().find_map(|cause| cause.downcast_ref::<DiskError>());
        let fold = error.chain().find_map(|cause| cause.downcast_ref::<fold::Error>());
        let settings = error.chain().any(|cause| cause.is::<Invalid>() || cause.is::<Twin>())
            || matches!(admin, Some(AdminError::Problems(_)))
            || disk.is_some_and(DiskError::of_settings)
            || fold.is_some_and(fold::Error::topics_are_wrong);
        if settings {
            Self::BadConfiguration
        } else if matches!(admin, Some(AdminError::Unreachable { .. }))
            || error.downcast_ref::<ScanError>().is_some_and(ScanError::temporary)
        {
            Self::Temporary
        } else {
            Self::Failed
        }
    }
}

impl Cli {
    pub fn run(self) -> ExitCode {
        if let Err(error) = log::start(&self.global.log_level, self.global.log_format) {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
        let exit = self.command.run(&self.global).unwrap_or_else(|error| {
            eprintln!("error: {}", told(&error));
            Exit::of(&error)
        });
        ExitCode::from(exit.code())
    }
}

impl Command {
    fn run(self, global: &Global) -> anyhow::Result<Exit> {
        match self {
            Self::Run(arguments) => run::run(global, &arguments),
            Self::Status(arguments) => status::run(global, &arguments),
            Self::Ignored(arguments) => ignored::run(global, &arguments),
            Self::Check(arguments) => check::run(global, &arguments),
            Self::Setup(arguments) => setup::run(global, &arguments),
            Self::Org(arguments) => org::run(global, &arguments),
            Self::Doctor(arguments) => doctor::run(global, &arguments),
            Self::Topics(arguments) => topics::run(global, &arguments),
            Self::Demo(arguments) => demo::run(global, &arguments),
            Self::Produce(arguments) => produce::run(global, &arguments),
            Self::State(arguments) => state::run(global, &arguments),
            Self::DeadLetters(arguments) => dead_letters::run(global, &arguments),
            Self::Gaps(arguments) => gaps::run(global, &arguments),
            Self::Emulate(arguments) => emulate::run(global, &arguments),
            Self::Completions(arguments) => Ok(completions::run(&arguments)),
        }
    }
}

impl Global {
    pub fn load_config(&self) -> Result<Config, Invalid> {
        Config::load(&self.config)
    }
}

/// The chain of causes; one that only repeats what was said is left out.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

/// Prints one JSON value, indented.
fn print_json(value: &serde_json::Value) {
    say!("{value:#}");
}

/// A time as RFC 3339 in UTC; the bare number where it is beyond any calendar.
fn time(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}
