//! `rollbook setup`: the nine member statuses on campaigns.

use clap::Args;
use tokio::runtime::Runtime;

use super::{give_up, parse_campaign};
use crate::cli::{Exit, Global, print_json};
use crate::id::SalesforceId;
use crate::provision::setup::{CampaignStatuses, Correct, ensure_statuses};
use crate::salesforce::{self, Client};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Campaign to set up, by its 15- or 18-character id; may be given several times.
    #[arg(long = "campaign", value_name = "ID", required = true, value_parser = parse_campaign)]
    campaigns: Vec<SalesforceId>,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let client = Client::new(config.require_salesforce()?)?;
    match Runtime::new()?.block_on(set_up(&client, &arguments.campaigns)) {
        Ok(reports) => {
            print(global, &reports)?;
            let fine = reports.iter().all(|report| report.complete() && report.failed.is_empty());
            Ok(if fine { Exit::Done } else { Exit::Failed })
        }
        Err(error) => give_up(error),
    }
}

async fn set_up(client: &Client, campaigns: &[SalesforceId]) -> Result<Vec<CampaignStatuses>, salesforce::Error> {
    let mut reports = Vec::with_capacity(campaigns.len());
    for campaign in campaigns {
        reports.push(ensure_statuses(client, *campaign, Correct::Yes).await?);
    }
    Ok(reports)
}

fn print(global: &Global, reports: &[CampaignStatuses]) -> anyhow::Result<()> {
    if global.json {
        print_json(&serde_json::to_value(reports)?);
    } else {
        for report in reports {
            put!("{}", text(report));
        }
    }
    Ok(())
}

fn text(report: &CampaignStatuses) -> String {
    let campaign = report.campaign.as_str();
    if !report.campaign_found {
        return format!("{campaign}  not found, or the integration user may not see it\n");
    }
    let mut lines = Vec::new();
    if !report.created.is_empty() {
        lines.push(format!("created {}", report.created.join(", ")));
    }
    if !report.corrected.is_empty() {
        lines.push(format!("set \"responded\" right on {}", report.corrected.join(", ")));
    }
    for failure in &report.failed {
        lines.push(format!("could not write {}: {}", failure.label, failure.code));
    }
    if lines.is_empty() {
        lines.push("has all statuses already".to_owned());
    }
    lines.iter().flat_map(|line| [campaign, "  ", line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_says_that_nothing_was_to_do() {
        let report = CampaignStatuses {
            campaign: "70103000000cnFXAAY".to_owned(),
            campaign_found: true,
            ..CampaignStatuses::default()
        };
        assert_eq!(text(&report), "70103000000cnFXAAY  has all statuses already\n");
    }
}
