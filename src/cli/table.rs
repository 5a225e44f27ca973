//! The subcommands, a line each.
//!
//! Clap's derive would have a variant of an enum for each of them, and an arm of a match that runs it. Here a line is all
//! that a subcommand needs beside its own file.

use std::fmt;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::{Exit, Global, completions, look, operate, org, run};

/// In the order in which `--help` lists them.
fn table() -> [Entry; 15] {
    [
        entry("run", "Run the stages until SIGTERM or Ctrl-C", run::stages::run),
        entry(
            "status",
            "Ask a running instance whether it is ready, how far behind it is, and how long the calls of the day last",
            look::status::run,
        ),
        entry("ignored", "List which records a running instance has ignored, and why", look::ignored::run),
        entry(
            "check",
            "Check the configuration, list every problem, and print what is in effect, secrets masked",
            look::check::run,
        ),
        entry("setup", "Make the nine member statuses on campaigns", org::setup::run),
        entry("org", "Show which org is written to, or accept another one", org::target::run),
        entry("doctor", "List what the Salesforce org lacks, and what mends it", org::doctor::run),
        entry("topics", "Create or check the topics", operate::topics::run),
        entry(
            "demo",
            "Run a whole conference through a built-in broker and Salesforce emulator, and compare",
            run::demo::run,
        ),
        entry("produce", "Check and send events of a file of JSON lines", operate::produce::run),
        entry("state", "Show what is known of a member, and the rows derived of it", look::state::run),
        entry("dead-letters", "List, show and send again what was refused", operate::dead_letters::run),
        entry("gaps", "List what was passed over, and say that it is known", operate::gaps::run),
        entry("emulate", "Run a Salesforce emulator", run::emulate::run),
        entry("completions", "Print a completion script", |_, arguments| Ok(completions::run(arguments))),
    ]
}

/// Reads the arguments of a subcommand that was named.
type Read = Box<dyn Fn(&ArgMatches) -> Result<Chosen, clap::Error>>;
/// Does what they ask for.
type Run = Box<dyn FnOnce(&Global) -> anyhow::Result<Exit>>;

/// A line of the table.
struct Entry {
    name: &'static str,
    about: &'static str,
    arguments: fn(Command) -> Command,
    read: Read,
}

fn entry<A: Args + 'static>(
    name: &'static str,
    about: &'static str,
    run: fn(&Global, &A) -> anyhow::Result<Exit>,
) -> Entry {
    let read = move |matches: &ArgMatches| {
        let arguments = A::from_arg_matches(matches)?;
        Ok(Chosen { name, run: Box::new(move |global| run(global, &arguments)) })
    };
    Entry { name, about, arguments: A::augment_args, read: Box::new(read) }
}

/// The subcommand that was named, with its arguments.
pub struct Chosen {
    name: &'static str,
    run: Run,
}

impl Chosen {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        (self.run)(global)
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let named = matches.subcommand().and_then(|(name, matches)| {
            let entry = table().into_iter().find(|entry| entry.name == name)?;
            Some((entry.read)(matches))
        });
        named.unwrap_or_else(|| Err(clap::Error::new(ErrorKind::MissingSubcommand)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Chosen {
    fn augment_subcommands(command: Command) -> Command {
        table().into_iter().fold(command, |command, Entry { name, about, arguments, read: _ }| {
            command.subcommand(arguments(Command::new(name)).about(about))
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        table().iter().any(|entry| entry.name == name)
    }
}
