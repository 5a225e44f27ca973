//! `rollbook dead-letters`: what was refused, why, and sending it again once the reason is gone.

mod filter;
mod left_out;
mod letter;
mod redrive;

use std::collections::BTreeMap;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::json;

use self::filter::{Filter, Position};
use self::letter::{Letter, letters};
use crate::cli::{Exit, Global, print_json, time};

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
        filter: Filter,
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

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    match &arguments.action {
        Action::List { filter, each, left_out: true } => {
            left_out::list(&config, filter.of_rows(), *each, global.json)?;
            Ok(Exit::Done)
        }
        Action::List { filter, each, left_out: false } => {
            let letters = letters(&config, |letter| filter.takes(letter))?;
            let list = if *each { list_each } else { list_counts };
            list(&letters, global.json);
            Ok(Exit::Done)
        }
        Action::Show { position } => {
            let found = letters(&config, |letter| position.names(letter))?;
            let letter = found.last().ok_or_else(|| anyhow!("no dead letter stands at `{position}`"))?;
            print_json(&letter.to_json());
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
        print_json(&letters.iter().map(Letter::to_line_json).collect());
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
