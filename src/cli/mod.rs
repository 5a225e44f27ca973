//! The command line: one file per subcommand, in rooms by what they are for, and what they share.
//!
//! A subcommand reads its arguments, has the room that knows do the work, and prints what came of it. `table` lists them.
//!
//! stdout is data, stderr is messages. Every subcommand ends in an [`Exit`], whose codes are in `--help` and
//! `docs/cli.md`: scripts branch on them, so a code never changes its meaning.

#[macro_use]
mod out;

mod completions;
mod log;
mod look;
mod operate;
mod org;
mod run;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, ValueEnum};

use crate::config::{Config, Invalid};
use crate::dead_letter::Stage;
use crate::kafka::admin::AdminError;
use crate::kafka::scan::ScanError;
use crate::kafka::twins::Twin;
use crate::stage::fold;
use crate::store::DiskError;
use crate::time::Millis;

pub use table::Chosen;

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
    pub command: Chosen,
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

/// A stage as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StageName {
    Fold,
    Sink,
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

impl Global {
    pub fn load_config(&self) -> Result<Config, Invalid> {
        Config::load(&self.config)
    }
}

impl StageName {
    fn stage(self) -> Stage {
        match self {
            Self::Fold => Stage::Fold,
            Self::Sink => Stage::Sink,
        }
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
