//! `rollbook check`: is the configuration right, and what is in effect?

use clap::Args;

use super::{Exit, Global, print_json};
use crate::dead_letter::Stage;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Stages that shall run with it
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [super::run::StageName::Fold, super::run::StageName::Sink])]
    stages: Vec<super::run::StageName>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let checked = global.load_config().and_then(|config| {
        if arguments.stages.iter().any(|name| name.stage() == Stage::Sink) {
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
