//! `rollbook gaps`: what was passed over and nobody has acknowledged; and the acknowledgement.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{Exit, Global, print_json, time};
use crate::gap::{NotedGap, open};
use crate::kafka::notes;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the gaps that nobody has acknowledged
    List,
    /// Say that gaps are known; a partition that is held for them is read on
    Ack {
        /// Keys of the gaps, as `list` shows them
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "KEY")]
        keys: Vec<String>,
        /// All that are listed now
        #[arg(long)]
        all: bool,
    },
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let known = notes::read(&config)?;
    let gaps = open(&known);
    match &arguments.action {
        Action::List => {
            if global.json {
                print_json(&gaps.iter().map(|(key, gap)| json_of(key, gap)).collect());
                return Ok(Exit::Done);
            }
            for (key, gap) in &gaps {
                say!("{key}");
                say!("  {}, noticed {}", told(gap), time(gap.at));
            }
            say!("{} not acknowledged", gaps.len());
        }
        Action::Ack { keys, all } => {
            if let Some(unknown) = keys.iter().find(|key| !gaps.contains_key(key.as_str())) {
                bail!("no gap has the key `{unknown}`; hint: rollbook gaps list");
            }
            let chosen: Vec<&str> =
                gaps.keys().copied().filter(|key| *all || keys.iter().any(|it| it == key)).collect();
            for key in &chosen {
                notes::write(&config, key, None)?;
            }
            if global.json {
                print_json(&json!({ "acknowledged": chosen }));
                return Ok(Exit::Done);
            }
            say!("{} acknowledged", chosen.len());
        }
    }
    Ok(Exit::Done)
}

fn told(gap: &NotedGap) -> String {
    let NotedGap { topic, partition, cause, next_offset, passed_over, counted, .. } = gap;
    let lost = match (cause.loses(), counted) {
        (false, _) => "nothing gone".to_owned(),
        (true, true) => format!("at most {passed_over} records gone"),
        (true, false) if *passed_over > 0 => {
            format!("{passed_over} records gone that were known, and nobody knows how many more")
        }
        (true, false) => "it is not known how many records are gone".to_owned(),
    };
    format!("{topic}/{partition}: {}, {lost}, read on from offset {next_offset}", cause.name())
}

fn json_of(key: &str, gap: &NotedGap) -> Value {
    json!({
        "key": key, "topic": gap.topic, "partition": gap.partition, "cause": gap.cause.name(),
        "passed_over": gap.counted.then_some(gap.passed_over), "next_offset": gap.next_offset, "noticed_at": time(gap.at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gap::Cause;

    #[test]
    fn a_number_that_nobody_knows_is_not_said_to_be_one() {
        let gap = |cause, counted| {
            let topic = "rollbook.upserts".to_owned();
            NotedGap { topic, partition: 0, cause, next_offset: 0, passed_over: 0, counted, at: 0 }
        };
        let known = NotedGap { passed_over: 7, ..gap(Cause::TopicRemade, false) };
        assert!(told(&known).contains("7 records gone that were known, and nobody knows how many more"));
        assert_eq!(json_of("key", &known)["passed_over"], Value::Null, "no bound");
        let remade = gap(Cause::TopicRemade, false);
        let said = "rollbook.upserts/0: topic_remade, it is not known how many records are gone, read on from offset 0";
        assert_eq!((told(&remade), json_of("key", &remade)["passed_over"].clone()), (said.to_owned(), Value::Null));
        assert!(told(&gap(Cause::BelowLogStart, true)).contains("at most 0 records gone"));
        assert!(told(&gap(Cause::ForeignCommit, true)).contains("nothing gone"));
    }
}
