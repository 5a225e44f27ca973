//! `rollbook doctor`: what the org lacks, and what mends it.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::setup::parse_campaign;
use crate::config::Config;
use crate::event::SalesforceId;
use crate::salesforce::Client;
use crate::salesforce::doctor::{Problem, examine};

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Also check the member statuses of this campaign; may be given several times.
    #[arg(long = "campaign", value_name = "ID", value_parser = parse_campaign)]
    pub campaigns: Vec<SalesforceId>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Exit code 0: nothing is missing; 1: something is.
pub async fn run(args: &DoctorArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::new(&config.salesforce)?;
    let problems = examine(&client, &args.campaigns).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "problems": problems }))?);
    } else {
        print!("{}", text(&problems));
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
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
    use crate::salesforce::doctor::ProblemKind;

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
