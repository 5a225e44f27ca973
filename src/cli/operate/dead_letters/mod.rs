//! `rollbook dead-letters`: what was refused, why, and sending it again once the reason is gone.

mod left_out;
mod redrive;
mod shown;

use std::collections::BTreeMap;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::{Exit, Global, print_json, time};
use crate::letters::left_out::rows;
use crate::letters::{Filter, Letter, Position, letters, listed};
use crate::time::Millis;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count the dead letters by stage, reason and topic
    List {
        #[command(flatten)]
        meant: Meant,
        /// List each letter, not their counts
        #[arg(long)]
        each: bool,
        /// List rows that were written without some of their values, in place of letters
        #[arg(long, conflicts_with_all = ["topic", "stage"])]
        left_out: bool,
    },
    /// Show one letter in full; it may hold personal data
    Show {
        /// PARTITION/OFFSET of the letter, or TOPIC/PARTITION/OFFSET of the record that was refused
        position: Position,
    },
    /// Send what was refused again: events to their topic, rows to the sink
    Redrive(redrive::Arguments),
}

/// Which letters are meant.
#[derive(Debug, Default, Args)]
struct Meant {
    /// Only this reason code; may be repeated
    #[arg(long, value_name = "CODE")]
    reason: Vec<String>,
    /// Only letters of records of this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Only letters of this stage: fold or sink
    #[arg(long, value_parser = ["fold", "sink"])]
    stage: Option<String>,
    /// Only letters since this time, as in 2026-11-21T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Millis>,
}

fn parse_time(text: &str) -> Result<Millis, &'static str> {
    text.parse().map(jiff::Timestamp::as_millisecond).map_err(|_| "not a time like 2026-11-21T09:00:00Z")
}

impl Meant {
    fn filter(&self) -> Filter {
        let Self { reason, topic, stage, since } = self;
        Filter { reasons: reason.clone(), topic: topic.clone(), stage: stage.clone(), since: *since }
    }
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    match &arguments.action {
        Action::List { meant, each, left_out: true } => {
            let rows = rows(&config, &meant.filter())?;
            let list = if *each { left_out::list_each } else { left_out::list_counts };
            list(&rows, global.json);
            Ok(Exit::Done)
        }
        Action::List { meant, each, left_out: false } => {
            let letters = listed(&config, &meant.filter())?;
            let list = if *each { list_each } else { list_counts };
            list(&letters, global.json);
            Ok(Exit::Done)
        }
        Action::Show { position } => {
            let found = letters(&config, None, |letter| position.names(letter))?;
            let letter = found.last().ok_or_else(|| anyhow!("no dead letter stands at `{position}`"))?;
            print_json(&shown::whole_json(letter));
            Ok(Exit::Done)
        }
        Action::Redrive(arguments) => redrive::run(&config, arguments, global.json),
    }
}

/// Letters of the same stage, reason and topic.
struct Group<'a> {
    count: usize,
    newest: &'a Letter,
}

fn list_counts(letters: &[Letter], as_json: bool) {
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for letter in letters {
        let key = (letter.stage(), letter.reason(), letter.topic());
        let group = groups.entry(key).or_insert(Group { count: 0, newest: letter });
        group.count += 1;
        if letter.at() >= group.newest.at() {
            group.newest = letter;
        }
    }
    if as_json {
        let groups = groups.iter().map(|((stage, reason, topic), group)| {
            json!({
                "stage": stage, "reason": reason, "topic": topic, "count": group.count,
                "newest": { "position": group.newest.position(), "at": time(group.newest.at()) },
            })
        });
        print_json(&groups.collect());
        return;
    }
    for ((stage, reason, topic), Group { count, newest }) in &groups {
        say!("{count:>8}  {stage:<5} {reason:<28} {topic:<28} newest {} at {}", newest.position(), time(newest.at()));
    }
    if groups.is_empty() {
        eprintln!("no dead letters");
    }
}

fn list_each(letters: &[Letter], as_json: bool) {
    if as_json {
        print_json(&letters.iter().map(shown::line_json).collect());
        return;
    }
    for letter in letters {
        say!(
            "{:<12} {} {:<5} {:<28} {}",
            letter.position(),
            time(letter.at()),
            letter.stage(),
            letter.reason(),
            letter.source()
        );
    }
}
