//! Makes a call of the outbox and turns Salesforce's answer into the outbox's terms.
//!
//! Messages of Salesforce end here: they decide a disposition and go no further, since they repeat values of the row.

use crate::disposition::{Disposition, Fault, Retry, Scope, disposition};
use crate::event::{MemberKey, SalesforceId};
use crate::salesforce::query::{quote, quote_all};
use crate::salesforce::setup::{CampaignStatuses, Correct, ensure_statuses};
use crate::salesforce::wire::{Record, SaveResult};
use crate::salesforce::{Client, EXTERNAL_ID_FIELD, Error, safe_code, safe_fields};
use crate::stage::sink_metrics::{Api, CallStatus};

use super::outbox::{Answer, Call, Failure, FoundPerson, RowResult, Statuses};

pub fn api(call: &Call) -> Api {
    match call {
        Call::Upsert { .. } => Api::CollectionsUpsert,
        Call::Update { .. } => Api::CollectionsUpdate,
        Call::FindMembers { .. } | Call::FindPeople { .. } => Api::Query,
        Call::EnsureStatuses { .. } => Api::Statuses,
    }
}

pub fn status(result: &Result<Answer, Error>) -> CallStatus {
    match result {
        Ok(_) => CallStatus::Ok,
        Err(Error::Refused { status: 500.., .. }) => CallStatus::Refused5xx,
        Err(Error::Refused { .. }) => CallStatus::Refused4xx,
        Err(Error::Login(_)) => CallStatus::Login,
        Err(Error::Transport(_) | Error::Http(_) | Error::CaFile { .. }) => CallStatus::Transport,
        Err(Error::Body { .. }) => CallStatus::Body,
    }
}

pub async fn make(client: &Client, call: Call) -> Result<Answer, Error> {
    match call {
        Call::Upsert { object, rows } => {
            Ok(Answer::Rows(client.upsert(object.api_name(), rows).await?.into_iter().map(row_result).collect()))
        }
        Call::Update { rows } => Ok(Answer::Rows(client.update(rows).await?.into_iter().map(row_result).collect())),
        Call::FindMembers { members } => find_members(client, &members).await,
        Call::FindPeople { campaign, people } => find_people(client, campaign, &people).await,
        Call::EnsureStatuses { campaign } => Ok(statuses_answer(ensure_statuses(client, campaign, Correct::No).await?)),
    }
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
    });
    RowResult::Refused(Failure { disposition, code: safe_code(fault.code), fields: safe_fields(fault.fields) })
}

fn unknown(code: &str) -> Failure {
    Failure { disposition: Disposition::Retry(Retry::Unknown), code: code.to_owned(), fields: Vec::new() }
}

async fn find_members(client: &Client, members: &[MemberKey]) -> Result<Answer, Error> {
    let external_ids: Vec<String> = members.iter().map(ToString::to_string).collect();
    let soql = format!(
        "SELECT Id, {EXTERNAL_ID_FIELD} FROM CampaignMember WHERE {EXTERNAL_ID_FIELD} IN ({})",
        quote_all(external_ids.iter().map(String::as_str))
    );
    let records = client.query(&soql).await?;
    let found = records.iter().filter_map(|record| {
        let external_id = text(record, EXTERNAL_ID_FIELD)?;
        // The field is compared without regard to case, so somebody may have stored it in another one.
        let at = external_ids.iter().position(|asked| asked.eq_ignore_ascii_case(external_id))?;
        Some((*members.get(at)?, id(record, "Id")?))
    });
    Ok(Answer::Members(found.collect()))
}

async fn find_people(client: &Client, campaign: SalesforceId, people: &[SalesforceId]) -> Result<Answer, Error> {
    let parent = if people.first().is_some_and(|person| person.has_prefix("00Q")) { "LeadId" } else { "ContactId" };
    let soql = format!(
        "SELECT Id, {parent} FROM CampaignMember WHERE CampaignId = {} AND {parent} IN ({})",
        quote(campaign.as_str()),
        quote_all(people.iter().map(SalesforceId::as_str))
    );
    let records = client.query(&soql).await?;
    let found = records
        .iter()
        .filter_map(|record| Some(FoundPerson { person: id(record, parent)?, record: id(record, "Id")? }));
    Ok(Answer::People(found.collect()))
}

fn statuses_answer(report: CampaignStatuses) -> Answer {
    for failure in &report.failed {
        let fault = Fault { scope: Scope::Row, status: 200, code: &failure.code, message: "", fields: &[] };
        match disposition(&fault) {
            // It may pass: the rows wait for it instead of ending as dead letters.
            disposition @ (Disposition::Retry(Retry::Lock | Retry::Busy | Retry::LookUpAgain | Retry::Automation)
            | Disposition::Wait(_)) => {
                return Answer::Failed(Failure { disposition, code: failure.code.clone(), fields: Vec::new() });
            }
            Disposition::Retry(Retry::Unknown | Retry::Adopt | Retry::MemberMissing)
            | Disposition::Delivered
            | Disposition::Isolate
            | Disposition::DeadLetter { .. }
            | Disposition::Halt { .. } => {}
        }
    }
    let complete = report.complete();
    let statuses = if report.campaign_found {
        Statuses::Labels(report.labels.into_iter().collect())
    } else {
        Statuses::CampaignMissing
    };
    Answer::Statuses { statuses, complete }
}

fn text<'a>(record: &'a Record, field: &str) -> Option<&'a str> {
    record.get(field)?.as_str()
}

fn id(record: &Record, field: &str) -> Option<SalesforceId> {
    SalesforceId::parse(text(record, field)?)
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
