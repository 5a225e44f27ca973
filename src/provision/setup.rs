//! The nine statuses on a campaign.
//!
//! Salesforce does not refuse a status that a campaign lacks: it silently writes the campaign's default instead. So
//! each campaign must have them before the first member is written. The command `setup` and the sink make them with
//! this one function.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::id::SalesforceId;
use crate::salesforce::query::{quote, quote_all};
use crate::salesforce::wire::{Record, SaveResult};
use crate::salesforce::{Client, Error, safe_code};
use crate::upsert::{Labels, STATUSES, StatusDef};

/// What to do about a status that is there with another HasResponded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correct {
    /// An administrator's choice: the sink leaves it.
    No,
    Yes,
}

/// What was found and done on one campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CampaignStatuses {
    pub campaign: String,
    pub campaign_found: bool,
    pub created: Vec<&'static str>,
    /// There with another HasResponded, and now right.
    pub corrected: Vec<&'static str>,
    /// There with another HasResponded, left so.
    pub differing: Vec<&'static str>,
    pub failed: Vec<StatusFailure>,
    /// All labels that the campaign has now.
    #[serde(serialize_with = "names")]
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusFailure {
    pub label: &'static str,
    /// Salesforce's error code.
    pub code: String,
}

impl CampaignStatuses {
    pub fn complete(&self) -> bool {
        self.campaign_found && STATUSES.iter().all(|status| has(&self.labels, status.label))
    }

    pub fn missing(&self) -> Vec<&'static str> {
        STATUSES.iter().map(|status| status.label).filter(|label| !has(&self.labels, label)).collect()
    }
}

/// A status that the campaign has.
struct Found {
    id: String,
    label: String,
    has_responded: bool,
    sort_order: i64,
}

/// Reads a campaign's statuses, changes nothing.
pub async fn read_statuses(client: &Client, campaign: SalesforceId) -> Result<CampaignStatuses, Error> {
    let found = find(client, campaign).await?;
    let mut report = CampaignStatuses { campaign: campaign.to_string(), ..CampaignStatuses::default() };
    report.campaign_found = !found.is_empty() || campaign_exists(client, campaign).await?;
    report.differing = differing(&found).map(|(status, _)| status.label).collect();
    report.labels = labels(&found);
    Ok(report)
}

/// The statuses of those campaigns that have all nine, in one query: what most campaigns need.
pub async fn complete_statuses(
    client: &Client,
    campaigns: &[SalesforceId],
) -> Result<Vec<(SalesforceId, Labels)>, Error> {
    let soql = format!(
        "SELECT Id, CampaignId, Label FROM CampaignMemberStatus WHERE CampaignId IN ({})",
        quote_all(campaigns.iter().map(SalesforceId::as_str))
    );
    let mut labels: BTreeMap<SalesforceId, Labels> = BTreeMap::new();
    for record in client.query(&soql).await? {
        let text = |field| record.get(field).and_then(serde_json::Value::as_str);
        if let (Some(campaign), Some(label)) = (text("CampaignId").and_then(SalesforceId::parse), text("Label")) {
            let id = text("Id").and_then(SalesforceId::parse);
            labels.entry(campaign).or_default().insert(label.to_owned(), id);
        }
    }
    let complete = |labels: &Labels| STATUSES.iter().all(|status| has(labels, status.label));
    Ok(labels.into_iter().filter(|(_, labels)| complete(labels)).collect())
}

/// Makes the statuses that a campaign lacks. Doing it twice changes nothing.
pub async fn ensure_statuses(
    client: &Client,
    campaign: SalesforceId,
    correct: Correct,
) -> Result<CampaignStatuses, Error> {
    let found = find(client, campaign).await?;
    let mut report = CampaignStatuses { campaign: campaign.to_string(), ..CampaignStatuses::default() };
    report.campaign_found = !found.is_empty() || campaign_exists(client, campaign).await?;
    report.labels = labels(&found);
    if !report.campaign_found {
        return Ok(report);
    }
    create_missing(client, campaign, &found, &mut report).await?;
    match correct {
        Correct::No => report.differing = differing(&found).map(|(status, _)| status.label).collect(),
        Correct::Yes => correct_responded(client, &found, &mut report).await?,
    }
    if !report.failed.is_empty() {
        // Another instance may have made them at the same moment.
        report.labels = labels(&find(client, campaign).await?);
        let labels = &report.labels;
        report.failed.retain(|failure| !has(labels, failure.label));
    }
    Ok(report)
}

async fn create_missing(
    client: &Client,
    campaign: SalesforceId,
    found: &[Found],
    report: &mut CampaignStatuses,
) -> Result<(), Error> {
    let missing: Vec<&StatusDef> = STATUSES.iter().filter(|status| !has(&report.labels, status.label)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Sort orders are unique in a campaign: above its own where one of ours is taken.
    let taken = missing.iter().any(|status| found.iter().any(|other| other.sort_order == i64::from(status.sort_order)));
    let base = if taken { found.iter().map(|status| status.sort_order).max().unwrap_or(0) } else { 0 };
    let rows = missing.iter().map(|status| status_row(campaign, status, base)).collect();
    let results = client.create(rows).await?;
    for (status, result) in missing.into_iter().zip(results) {
        if result.success {
            report.created.push(status.label);
            report.labels.insert(status.label.to_owned(), result.id.as_deref().and_then(SalesforceId::parse));
        } else {
            report.failed.push(failure(status.label, result));
        }
    }
    Ok(())
}

async fn correct_responded(client: &Client, found: &[Found], report: &mut CampaignStatuses) -> Result<(), Error> {
    let wrong: Vec<(&StatusDef, &Found)> = differing(found).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let rows = wrong
        .iter()
        .map(|(status, found)| {
            record(json!({
                "attributes": { "type": "CampaignMemberStatus" },
                "id": found.id,
                "HasResponded": status.has_responded,
            }))
        })
        .collect();
    let results = client.update(rows).await?;
    for ((status, _), result) in wrong.into_iter().zip(results) {
        if result.success {
            report.corrected.push(status.label);
        } else {
            report.differing.push(status.label);
            report.failed.push(failure(status.label, result));
        }
    }
    Ok(())
}

async fn find(client: &Client, campaign: SalesforceId) -> Result<Vec<Found>, Error> {
    let soql = format!(
        "SELECT Id, Label, HasResponded, SortOrder FROM CampaignMemberStatus WHERE CampaignId = {}",
        quote(campaign.as_str())
    );
    let records = client.query(&soql).await?;
    Ok(records.iter().filter_map(read).collect())
}

fn read(record: &Record) -> Option<Found> {
    Some(Found {
        id: record.get("Id")?.as_str()?.to_owned(),
        label: record.get("Label")?.as_str()?.to_owned(),
        has_responded: record.get("HasResponded")?.as_bool()?,
        // Whole numbers may be written as 1.0.
        sort_order: record.get("SortOrder").and_then(|order| order.as_i64().or_else(|| whole(order.as_f64()?)))?,
    })
}

fn whole(number: f64) -> Option<i64> {
    format!("{number:.0}").parse().ok()
}

async fn campaign_exists(client: &Client, campaign: SalesforceId) -> Result<bool, Error> {
    let soql = format!("SELECT Id FROM Campaign WHERE Id = {}", quote(campaign.as_str()));
    Ok(!client.query(&soql).await?.is_empty())
}

fn differing(found: &[Found]) -> impl Iterator<Item = (&'static StatusDef, &Found)> {
    STATUSES.iter().filter_map(move |status| {
        let found = found.iter().find(|other| other.label.eq_ignore_ascii_case(status.label))?;
        (found.has_responded != status.has_responded).then_some((status, found))
    })
}

fn labels(found: &[Found]) -> Labels {
    found.iter().map(|status| (status.label.clone(), SalesforceId::parse(&status.id))).collect()
}

/// For people, who know statuses by their names.
fn names<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(labels.keys())
}

/// Salesforce compares labels without regard to case.
fn has(labels: &Labels, label: &str) -> bool {
    labels.keys().any(|other| other.eq_ignore_ascii_case(label))
}

fn failure(label: &'static str, result: SaveResult) -> StatusFailure {
    let code = result.errors.into_iter().next().map(|error| safe_code(error.code)).unwrap_or_default();
    StatusFailure { label, code }
}

fn status_row(campaign: SalesforceId, status: &StatusDef, base: i64) -> Record {
    record(json!({
        "attributes": { "type": "CampaignMemberStatus" },
        "CampaignId": campaign.as_str(),
        "Label": status.label,
        "HasResponded": status.has_responded,
        "IsDefault": false,
        "SortOrder": base + i64::from(status.sort_order),
    }))
}

fn record(value: serde_json::Value) -> Record {
    match value {
        serde_json::Value::Object(record) => record,
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_)
        | serde_json::Value::Array(_) => Record::new(),
    }
}
