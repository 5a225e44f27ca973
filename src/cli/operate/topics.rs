//! `rollbook topics`: creates absent topics, and says what is wrong with existing ones.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::{Exit, Global, print_json};
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::retention;
use crate::kafka::topics::setting_note;
use crate::topic_table::Topic;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create the topics that are absent, then check all
    Create,
    /// Check partition counts and settings; every problem is listed with the command that mends it
    Check,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let admin = Admin::new(&config)?;
    let mut survey = admin.survey()?;
    let mut created = Vec::new();
    if let Action::Create = arguments.action {
        (created, survey) = admin.create(survey)?;
    }
    let problems = admin.problems(&survey);
    let notes = [retention::note(&config.topics, &survey), setting_note(&config.topics, &survey)];
    for note in notes.into_iter().flatten() {
        eprintln!("note: {note}");
    }
    if global.json {
        let created: Vec<&str> = created.iter().map(|topic| topic.name(&config.topics)).collect();
        print_json(&json!({ "created": created, "problems": problems }));
        return Ok(if problems.is_empty() { Exit::Done } else { Exit::BadConfiguration });
    }
    for topic in created {
        say!("created {}", topic.name(&config.topics));
    }
    if !problems.is_empty() {
        return Err(AdminError::Problems(problems).into());
    }
    say!("all {} topics are right", Topic::ALL.len());
    Ok(Exit::Done)
}
