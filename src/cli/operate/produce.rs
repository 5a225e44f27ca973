//! `rollbook produce`: checks and sends hand-made events, and lists what is not sent or will be ignored.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Exit, Global, print_json};
use crate::event::Ignored;
use crate::lines::{Accepted, Checker, Error, Kind, Refused, send};

#[derive(Debug, Args)]
pub struct Arguments {
    /// JSON lines; `-` reads stdin
    file: PathBuf,
    /// Kind of every line that has no `kind` of its own: registration, attendance, poll, reaction, view, session
    #[arg(long, value_parser = Kind::from_str)]
    kind: Option<Kind>,
    /// Check every line, send nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let checker = Checker::new(&config, arguments.kind);
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for (number, line) in open(&arguments.file)?.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read line {} of the input", number + 1))?;
        if !line.trim().is_empty() {
            match checker.check(number + 1, &line) {
                Ok(line) => accepted.push(line),
                Err(line) => refused.push(line),
            }
        }
    }
    let failed = if arguments.dry_run { Vec::new() } else { send(&config, &accepted).map_err(cause)? };
    for (line, code) in &failed {
        eprintln!("line {line} was not acknowledged: {code}");
    }
    let failed = failed.len();
    report(arguments.dry_run, &accepted, &refused, (failed, global.json));
    // What changes nothing is not what somebody sends by hand on purpose.
    let counts = refused.is_empty() && accepted.iter().all(|line| line.ignored.is_none());
    Ok(match (failed, counts) {
        (1.., _) => Exit::Temporary,
        (0, false) => Exit::Refusals,
        (0, true) => Exit::Done,
    })
}

/// The exit code is that of what failed.
fn cause(error: Error) -> anyhow::Error {
    match error {
        Error::Scan(error) => error.into(),
        Error::Send(error) => error.into(),
    }
}

fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| format!("cannot open `{}`", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

fn report(dry_run: bool, accepted: &[Accepted], refused: &[Refused], (failed, as_json): (usize, bool)) {
    let mut by_topic: BTreeMap<&str, usize> = BTreeMap::new();
    for line in accepted {
        *by_topic.entry(line.kind.topic().label()).or_default() += 1;
    }
    let addresses_refused = accepted.iter().filter(|line| line.address_refused).map(|line| line.line);
    let ignored = accepted.iter().filter_map(|line| Some((line.line, line.ignored.as_ref()?)));
    if as_json {
        let refused = refused
            .iter()
            .map(|Refused { line, reason, detail }| json!({ "line": line, "reason": reason, "detail": detail }));
        print_json(&json!({
            "dry_run": dry_run,
            "accepted": by_topic,
            "not_acknowledged": failed,
            "addresses_refused": addresses_refused.collect::<Value>(),
            "ignored": ignored.map(|(line, ignored)| ignored_json(line, ignored)).collect::<Value>(),
            "refused": refused.collect::<Value>(),
        }));
        return;
    }
    for Refused { line, reason, detail } in refused {
        say!("line {line} refused: {reason}: {detail}");
    }
    let mut ignored_count = 0;
    for (line, ignored) in ignored {
        ignored_count += 1;
        say!("line {line} will be ignored: {}: {}", ignored.reason.code(), ignored.detail());
    }
    for line in addresses_refused {
        eprintln!("line {line}: warning: `email` is no address that Salesforce takes; the rows are written without it");
    }
    let verb = if dry_run { "would send" } else { "sent" };
    for (topic, count) in by_topic {
        say!("{verb} {count} to {topic}");
    }
    let will_be = if ignored_count > 0 { format!(" ({ignored_count} of them will be ignored)") } else { String::new() };
    say!("{} accepted{will_be}, {} refused", accepted.len(), refused.len());
}

fn ignored_json(line: usize, ignored: &Ignored) -> Value {
    let Ignored { reason, field, found, nearest, .. } = ignored;
    json!({
        "line": line,
        "reason": reason.code(),
        "field": field,
        "symbol": found.symbol(),
        "nearest": nearest,
        "detail": ignored.detail(),
    })
}
