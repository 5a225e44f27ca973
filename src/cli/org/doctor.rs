//! `rollbook doctor`: what the org lacks, and what mends it.

use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{give_up, parse_campaign};
use crate::cli::{Exit, Global, print_json};
use crate::id::SalesforceId;
use crate::provision::doctor::{Problem, examine};
use crate::salesforce::Client;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Also check the member statuses of this campaign; may be given several times.
    #[arg(long = "campaign", value_name = "ID", value_parser = parse_campaign)]
    campaigns: Vec<SalesforceId>,
}

/// Done where nothing is missing, failed where something is.
pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let client = Client::new(config.require_salesforce()?)?;
    let problems = match Runtime::new()?.block_on(examine(&client, &arguments.campaigns)) {
        Ok(problems) => problems,
        Err(error) => return give_up(error),
    };
    if global.json {
        print_json(&json!({ "problems": problems }));
    } else {
        put!("{}", text(&problems));
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
}

fn text(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return "the org has everything that Rollbook writes\n".to_owned();
    }
    problems
        .iter()
        .flat_map(|problem| [&problem.subject, ": ", &problem.detail, "\n    mend: ", &problem.mend, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::doctor::ProblemKind;

    #[test]
    fn each_problem_comes_with_what_mends_it() {
        let problem = Problem {
            kind: ProblemKind::NotUnique,
            subject: "CampaignMember.external_id__c".to_owned(),
            detail: "it is not unique".to_owned(),
            mend: "deploy".to_owned(),
        };
        assert_eq!(text(&[problem]), "CampaignMember.external_id__c: it is not unique\n    mend: deploy\n");
        assert!(text(&[]).contains("everything"));
    }
}
