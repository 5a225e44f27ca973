//! `rollbook org`: which org rows are written to, and the word that another one is right.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::runtime::Runtime;

use super::give_up;
use crate::cli::{Exit, Global, print_json, time};
use crate::config::Config;
use crate::id::SalesforceId;
use crate::kafka::notes;
use crate::note::{Note, ORG, ORG_ID};
use crate::salesforce::Client;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the org that rows are written to, and the one that the login leads to
    Show,
    /// Write to the org that the login leads to from now on; running instances forget what they remember of the other
    Accept,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let client = Client::new(config.require_salesforce()?)?;
    let found = match Runtime::new()?.block_on(client.log_in()) {
        Ok(Some(found)) => found,
        Ok(None) => bail!("the login does not say to which org it leads"),
        Err(error) => return give_up(error),
    };
    let note = notes::read(&config)?.remove(ORG);
    let recorded = note.as_ref().and_then(|note| SalesforceId::parse(note.get(ORG_ID)?));
    let accept = matches!(arguments.action, Action::Accept) && recorded != Some(found);
    if accept {
        let note = Note::new(ORG, jiff::Timestamp::now().as_millisecond()).with(ORG_ID, found.as_str());
        notes::write(&config, ORG, Some(&note))?;
    }
    if global.json {
        print_json(&json!({
            "recorded": recorded.map(|org| org.to_string()), "found": found.to_string(), "accepted": accept,
        }));
    } else {
        tell(&config, (recorded, found), note.as_ref(), accept);
    }
    let differ = recorded.is_some_and(|recorded| recorded != found);
    Ok(if differ && !accept { Exit::Refusals } else { Exit::Done })
}

fn tell(config: &Config, (recorded, found): (Option<SalesforceId>, SalesforceId), note: Option<&Note>, accept: bool) {
    let since = note.map(|note| format!(" (noted {})", time(note.at))).unwrap_or_default();
    match recorded {
        Some(recorded) => say!("recorded  {recorded}{since}"),
        None => say!("recorded  none on {}", config.topics.notes),
    }
    say!("found     {found}, where the login leads");
    if accept {
        say!("accepted  rows are written to {found} from now on: those that change");
        say!("          hint: if it lacks rows of before, see `RollbookOrgChanged` in deploy/runbook.md");
    } else if recorded.is_some_and(|recorded| recorded != found) {
        say!("nothing is written while they differ; if {found} is right: rollbook org accept");
    }
}
