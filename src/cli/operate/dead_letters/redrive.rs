//! `rollbook dead-letters redrive`: which letters are meant, and what came of sending them.

use anyhow::anyhow;
use clap::{ArgGroup, Args};
use serde_json::json;

use super::Meant;
use crate::cli::{Exit, print_json};
use crate::config::Config;
use crate::letters::redrive::{Error, Redrive, Verdict, chosen, send};
use crate::letters::{Letter, Position, letters};

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("meant").args(["positions", "all", "reason", "topic", "stage", "since"]).required(true).multiple(true)
))]
pub(super) struct Arguments {
    #[command(flatten)]
    meant: Meant,
    /// Only these letters: PARTITION/OFFSET of the letter or TOPIC/PARTITION/OFFSET of the record
    #[arg(value_name = "POSITION")]
    positions: Vec<Position>,
    /// Every letter there is
    #[arg(long)]
    all: bool,
    /// Say what would be sent, send nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(config: &Config, arguments: &Arguments, as_json: bool) -> anyhow::Result<Exit> {
    let named = |letter: &Letter| {
        arguments.positions.is_empty() || arguments.positions.iter().any(|position| position.names(letter))
    };
    let filter = arguments.meant.filter();
    let letters = letters(config, filter.since, |letter| filter.takes(letter) && named(letter))?;
    if let Some(unknown) = arguments.positions.iter().find(|at| !letters.iter().any(|letter| at.names(letter))) {
        return Err(anyhow!("no dead letter stands at `{unknown}`; nothing was sent"));
    }
    let redrive = Redrive::of(config, letters)?;
    let verdicts = redrive.verdicts();
    let sent = chosen(&verdicts);
    let failed = if arguments.dry_run { 0 } else { send(config, &sent).map_err(cause)? };
    report(&verdicts, &Sending { dry_run: arguments.dry_run, sent: sent.len() - failed, failed }, as_json);
    Ok(match (failed, verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Leave(_)))) {
        (1.., _) => Exit::Temporary,
        (0, true) => Exit::Refusals,
        (0, false) => Exit::Done,
    })
}

/// The exit code is that of what failed.
fn cause(error: Error) -> anyhow::Error {
    match error {
        Error::Scan(error) => error.into(),
        Error::Send(error) => error.into(),
        Error::Overtaken => error.into(),
    }
}

fn listed(letter: &Letter, name: &str, value: &str) -> serde_json::Value {
    json!({ "position": letter.position(), "source": letter.source(), name: value })
}

/// How the sending went.
struct Sending {
    dry_run: bool,
    sent: usize,
    failed: usize,
}

fn report(verdicts: &[(&Letter, Verdict)], sending: &Sending, as_json: bool) {
    let (mut left, mut superseded) = (Vec::new(), Vec::new());
    for (letter, verdict) in verdicts {
        match verdict {
            Verdict::Leave(why) => left.push((*letter, *why)),
            Verdict::Send(sent) if sent.position() != letter.position() => superseded.push((*letter, sent.position())),
            Verdict::Send(_) => {}
        }
    }
    let Sending { dry_run, sent, failed } = sending;
    if as_json {
        print_json(&json!({
            "dry_run": dry_run, "sent": sent, "failed": failed,
            "superseded": superseded.iter().map(|(letter, by)| listed(letter, "by", by)).collect::<Vec<_>>(),
            "left": left.iter().map(|(letter, why)| listed(letter, "why", why)).collect::<Vec<_>>(),
        }));
        return;
    }
    for (letter, why) in left {
        say!("left {} (of {}): {why}", letter.position(), letter.source());
    }
    let verb = if *dry_run { "would send" } else { "sent" };
    for (letter, by) in superseded {
        say!("{verb} for {} (of {}) the newest version of the row, letter {by}", letter.position(), letter.source());
    }
    say!("{verb} {sent}");
    if *failed > 0 {
        eprintln!("{failed} were not acknowledged by Kafka; sending them again is harmless");
    }
}
