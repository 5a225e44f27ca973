//! `rollbook setup`: the nine member statuses on campaigns.

use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Exit, Global, print_json};
use crate::event::SalesforceId;
use crate::salesforce::Client;
use crate::salesforce::setup::{CampaignStatuses, Correct, ensure_statuses};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Campaign to set up, by its 15- or 18-character id; may be given several times.
    #[arg(long = "campaign", value_name = "ID", required = true, value_parser = parse_campaign)]
    pub campaigns: Vec<SalesforceId>,
}

/// A campaign's id starts with 701.
pub(super) fn parse_campaign(text: &str) -> Result<SalesforceId, String> {
    SalesforceId::parse(text)
        .filter(|id| id.has_prefix("701"))
        .ok_or_else(|| "not a campaign id: 15 or 18 letters and digits that start with 701".to_owned())
}

/// Fails where a campaign does not have all its statuses afterwards.
pub(super) fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let client = Client::new(config.require_salesforce()?)?;
    let runtime = Runtime::new()?;
    let mut reports = Vec::new();
    for campaign in &arguments.campaigns {
        reports.push(runtime.block_on(ensure_statuses(&client, *campaign, Correct::Yes))?);
    }
    if global.json {
        print_json(&json!(reports));
    } else {
        for report in &reports {
            print!("{}", text(report));
        }
    }
    let fine = reports.iter().all(|report| report.complete() && report.failed.is_empty());
    Ok(if fine { Exit::Done } else { Exit::Failed })
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
    fn a_campaign_id_of_15_characters_is_completed_and_a_lead_is_no_campaign() {
        assert_eq!(parse_campaign("70103000000cnFX").unwrap().as_str(), "70103000000cnFXAAY");
        assert!(parse_campaign("00Q0300000Aczgf").is_err());
    }

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
