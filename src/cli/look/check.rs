//! `rollbook check`: is the configuration right, and what is in effect?

use std::error::Error;

use clap::Args;

use crate::cli::{Exit, Global, StageName, print_json};
use crate::config::{Config, Invalid, Problem};
use crate::dead_letter::Stage;
use crate::store::folder;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Stages that shall run with it
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [StageName::Fold, StageName::Sink])]
    stages: Vec<StageName>,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let checked = global.load_config().and_then(|config| {
        let runs = |stage| arguments.stages.iter().any(|name| name.stage() == stage);
        if runs(Stage::Fold) {
            require_state_dir(&config)?;
        }
        if runs(Stage::Sink) {
            config.require_salesforce()?;
        }
        Ok(config)
    });
    match checked {
        Ok(config) if global.json => print_json(&config.to_json()),
        Ok(config) => put!("{}", config.to_toml()),
        Err(invalid) if global.json => {
            print_json(&serde_json::json!({ "problems": invalid.0 }));
            return Ok(Exit::BadConfiguration);
        }
        Err(invalid) => return Err(invalid.into()),
    }
    Ok(Exit::Done)
}

/// A folder that states cannot be kept in ends a start: so it is said here.
fn require_state_dir(config: &Config) -> Result<(), Invalid> {
    let Some(Err(error)) = config.state.dir.as_deref().map(folder::examine) else { return Ok(()) };
    let text = error.to_string();
    let (message, hint) = text.split_once("; hint: ").unwrap_or((&text, ""));
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Err(Invalid(vec![Problem {
        path: "state.dir".to_owned(),
        message: format!("{message}{cause}"),
        hint: hint.to_owned(),
    }]))
}
