//! Makes a call of the outbox and turns Salesforce's answer into the outbox's terms.
//!
//! Messages of Salesforce end here: they decide a disposition and go no further, since they repeat values of the row.

use std::collections::BTreeMap;

use super::metrics::{Api, CallStatus};
use crate::disposition::{Disposition, Fault, Retry, Scope, disposition};
use crate::id::SalesforceId;
use crate::provision::setup::{CampaignStatuses, Correct, complete_statuses, ensure_statuses};
use crate::salesforce::bulk::RowEnd;
use crate::salesforce::query::{KEYS_MAX, quote, quote_all};
use crate::salesforce::wire::{Record, SaveResult};
use crate::salesforce::{Client, Collection, Error, Target, fields_of, safe_code};
use crate::upsert::{Object, Policy};

use super::found::{id, text};
use super::outbox::{
    Answer, Call, Class, Failure, FoundPerson, JobAnswer, JobCall, JobRow, Key, Parent, Part, RowResult, Statuses,
    Usage, reference,
};
use super::parents::find_parents;

pub fn api(call: &Call) -> Api {
    match call {
        Call::Save { parts } if parts.len() > 1 => Api::Composite,
        Call::Save { .. } => Api::Collections,
        Call::FindRecords { .. } | Call::FindPeople { .. } | Call::FindParents { .. } => Api::Query,
        Call::ReadStatuses { .. } | Call::EnsureStatuses { .. } => Api::Statuses,
        Call::Limits => Api::Limits,
        Call::Job(_) => Api::Bulk,
    }
}

pub fn status(result: &Result<Answer, Error>) -> CallStatus {
    match result {
        Ok(_) => CallStatus::Ok,
        Err(Error::Refused { status: 500.., .. }) => CallStatus::Refused5xx,
        Err(Error::Refused { .. }) => CallStatus::Refused4xx,
        Err(Error::Login(_) | Error::OtherOrg { .. }) => CallStatus::Login,
        Err(Error::Transport(_) | Error::Http(_) | Error::CaFile { .. }) => CallStatus::Transport,
        Err(Error::Body { .. }) => CallStatus::Body,
    }
}

pub async fn make(client: &Client, call: Call) -> Result<Answer, Error> {
    match call {
        Call::Save { parts } => save(client, parts).await,
        Call::FindRecords { object, keys } => find_records(client, object, &keys).await,
        Call::FindPeople { campaign, people } => find_people(client, campaign, &people).await,
        Call::FindParents { ids } => Ok(Answer::Parents(find_parents(client, &ids).await?)),
        Call::ReadStatuses { campaigns } => Ok(Answer::CompleteStatuses(complete_statuses(client, &campaigns).await?)),
        Call::EnsureStatuses { campaign } => {
            let report = ensure_statuses(client, campaign, Correct::No).await?;
            if report.campaign_found { Ok(statuses_answer(report)) } else { no_campaign(client, campaign).await }
        }
        Call::Limits => limits(client).await,
        Call::Job(call) => Ok(Answer::Job(job(client, call).await?)),
    }
}

async fn job(client: &Client, call: JobCall) -> Result<JobAnswer, Error> {
    match call {
        JobCall::Create { object } => {
            let external_id = object.def().external_id.name;
            return Ok(JobAnswer::Created(client.create_job(object.api_name(), external_id).await?));
        }
        JobCall::Upload { job, csv } => client.upload_job(job, csv).await?,
        JobCall::Close { job } => client.close_job(job).await?,
        JobCall::Abort { job } => client.abort_job(job).await?,
        JobCall::Look { job } => return Ok(JobAnswer::State(client.job(job).await?)),
        JobCall::Read { object, job, part } => {
            let rows = client.job_results(job, object.def().external_id.name, part).await?.into_iter();
            return Ok(JobAnswer::Rows(rows.map(|row| (row.external_id, job_row(row.result))).collect()));
        }
    }
    Ok(JobAnswer::Done)
}

fn job_row(end: RowEnd) -> JobRow {
    let (id, created, errors) = match end {
        RowEnd::Unprocessed => return JobRow::Unprocessed,
        RowEnd::Saved { id, created } => (id, Some(created), Vec::new()),
        RowEnd::Refused(fault) => (None, None, vec![fault]),
    };
    JobRow::Ended(row_result(SaveResult { id, success: errors.is_empty(), created, errors }))
}

async fn save(client: &Client, parts: Vec<Part>) -> Result<Answer, Error> {
    let collections = parts.into_iter().enumerate().map(|(number, Part { class, rows })| {
        let target = match class {
            Class::Adoption => Target::Update,
            Class::Row(object) => match object.def().policy {
                Policy::Upsert => {
                    Target::Upsert { object: object.api_name(), external_id: object.def().external_id.name }
                }
            },
        };
        Collection { target, rows, reference: reference(number) }
    });
    let answers = client.save(collections.collect()).await?;
    let answer = |answer: Result<Vec<SaveResult>, Error>| match answer {
        Ok(results) => Ok(results.into_iter().map(row_result).collect()),
        Err(error) => Err(failure(&error)),
    };
    Ok(Answer::Saved(answers.into_iter().map(answer).collect()))
}

async fn limits(client: &Client) -> Result<Answer, Error> {
    let limits = client.limits().await?;
    let daily = limits.get("DailyApiRequests").ok_or(Error::Body { status: 200 })?;
    Ok(Answer::Limits(Usage { used: daily.max - daily.remaining, limit: daily.max }))
}

/// What the outbox needs to know of an error.
pub fn failure(error: &Error) -> Failure {
    let fields = match error {
        Error::Refused { fields, .. } => fields.clone(),
        Error::Http(_)
        | Error::CaFile { .. }
        | Error::Login(_)
        | Error::OtherOrg { .. }
        | Error::Transport(_)
        | Error::Body { .. } => Vec::new(),
    };
    Failure { disposition: error.disposition(), code: error.code().to_owned(), fields }
}

fn row_result(result: SaveResult) -> RowResult {
    if result.success {
        return match result.id.as_deref().and_then(SalesforceId::parse) {
            Some(id) => RowResult::Saved { id, created: result.created.unwrap_or(false) },
            None => RowResult::Refused(unknown("no_record_id")),
        };
    }
    let Some(fault) = result.errors.into_iter().next() else {
        return RowResult::Refused(unknown("no_code"));
    };
    let disposition = disposition(&Fault {
        scope: Scope::Row,
        status: 200,
        code: &fault.code,
        message: &fault.message,
        fields: &fault.fields,
        exhausted: None,
    });
    RowResult::Refused(Failure {
        disposition,
        code: safe_code(fault.code),
        fields: fields_of(fault.fields, &fault.message),
    })
}

fn unknown(code: &str) -> Failure {
    Failure { disposition: Disposition::Retry(Retry::Unknown), code: code.to_owned(), fields: Vec::new() }
}

async fn find_records(client: &Client, object: Object, keys: &[Key]) -> Result<Answer, Error> {
    let (name, external_id) = (object.api_name(), object.def().external_id.name);
    let query = |keys: &[Key]| {
        let ids = quote_all(keys.iter().map(|key| &*key.external_id));
        format!("SELECT Id, {external_id} FROM {name} WHERE {external_id} IN ({ids})")
    };
    let records = client.query_all(&keys.chunks(KEYS_MAX).map(query).collect::<Vec<_>>()).await?;
    // The field is compared without regard to case, so somebody may have stored it in another one.
    let asked: BTreeMap<String, &Key> = keys.iter().map(|key| (key.external_id.to_ascii_lowercase(), key)).collect();
    let found = records.iter().filter_map(|record| {
        let key = asked.get(&text(record, external_id)?.to_ascii_lowercase())?;
        Some(((*key).clone(), id(record, "Id")?))
    });
    Ok(Answer::Records(found.collect()))
}

async fn find_people(client: &Client, campaign: SalesforceId, people: &[SalesforceId]) -> Result<Answer, Error> {
    let parent = if people.first().is_some_and(|person| person.has_prefix("00Q")) { "LeadId" } else { "ContactId" };
    // Who is of a campaign already is a question about members.
    let (members, external_id) = (Object::CAMPAIGN_MEMBER.api_name(), Object::CAMPAIGN_MEMBER.def().external_id.name);
    let query = |people: &[SalesforceId]| {
        format!(
            "SELECT Id, {parent}, {external_id} FROM {members} WHERE CampaignId = {} AND {parent} IN ({})",
            quote(campaign.as_str()),
            quote_all(people.iter().map(SalesforceId::as_str))
        )
    };
    let records = client.query_all(&people.chunks(KEYS_MAX).map(query).collect::<Vec<_>>()).await?;
    let found = |record: &Record| {
        let external_id = text(record, external_id).map(str::to_owned);
        Some(FoundPerson { person: id(record, parent)?, record: id(record, "Id")?, external_id })
    };
    Ok(Answer::People(records.iter().filter_map(found).collect()))
}

async fn no_campaign(client: &Client, campaign: SalesforceId) -> Result<Answer, Error> {
    let deleted = find_parents(client, &[campaign]).await?.contains(&(campaign, Parent::Deleted));
    let statuses = if deleted { Statuses::CampaignDeleted } else { Statuses::CampaignMissing };
    Ok(Answer::Statuses { statuses, complete: false })
}

fn statuses_answer(report: CampaignStatuses) -> Answer {
    let mut forbidden = false;
    for failure in &report.failed {
        let fault =
            Fault { scope: Scope::Row, status: 200, code: &failure.code, message: "", fields: &[], exhausted: None };
        match disposition(&fault) {
            // It may pass: the rows wait for it instead of ending as dead letters.
            disposition @ (Disposition::Retry(Retry::Lock | Retry::Busy | Retry::LookUpAgain | Retry::Automation)
            | Disposition::Wait(_)) => {
                return Answer::Failed(Failure { disposition, code: failure.code.clone(), fields: Vec::new() });
            }
            // A right, or something that a person has to look at: the rows wait for that.
            Disposition::Hold { .. }
            | Disposition::DeadLetter {
                reason:
                    "INSUFFICIENT_ACCESS" | "INSUFFICIENT_ACCESS_OR_READONLY" | "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            } => forbidden = true,
            Disposition::Retry(
                Retry::Unknown
                | Retry::Adopt
                | Retry::MemberMissing
                | Retry::MemberExists
                | Retry::MemberAbsent
                | Retry::PersonChanged
                | Retry::Job
                | Retry::StatusGone
                | Retry::WithoutFields,
            )
            | Disposition::Delivered
            | Disposition::Isolate
            | Disposition::DeadLetter { .. } => {}
        }
    }
    let complete = report.complete();
    let labels = report.labels;
    let statuses = if forbidden { Statuses::Forbidden(labels) } else { Statuses::Labels(labels) };
    Answer::Statuses { statuses, complete }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_says_too_little_has_a_code_of_our_own() {
        let answer = |success| SaveResult { id: None, success, created: None, errors: Vec::new() };
        for (answer, expected) in [(answer(true), "no_record_id"), (answer(false), "no_code")] {
            let RowResult::Refused(Failure { disposition, code, .. }) = row_result(answer) else {
                panic!("{expected}: not saved, as far as anybody knows");
            };
            assert_eq!((disposition, code.as_str()), (Disposition::Retry(Retry::Unknown), expected));
            let listed = include_str!("../../../docs/reason-codes.md");
            assert!(listed.contains(&format!("| `{code}` |")), "docs/reason-codes.md lacks {code}");
        }
    }
}
