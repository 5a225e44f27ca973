//! What an org lacks before Rollbook can write to it, and what mends each point.
//!
//! A field that the integration user may not see is not in `describe` at all, so "missing" and "invisible" look the
//! same from here: the advice names both remedies.

use serde::Serialize;

use super::wire::{Describe, FieldDescribe};
use super::{Client, EXTERNAL_ID_FIELD, Error, setup};
use crate::event::SalesforceId;
use crate::upsert::Object;

const DEPLOY: &str = "sf project deploy start -d deploy/salesforce";
const PERMIT: &str = "sf org assign permset --name Rollbook_Integration";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// `Object`, `Object.Field` or a campaign's id.
    pub subject: String,
    pub detail: String,
    /// What mends it.
    pub mend: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    Login,
    ObjectMissing,
    ObjectPermission,
    FieldMissing,
    FieldType,
    FieldTooShort,
    ExternalIdFlag,
    NotUnique,
    FieldPermission,
    CampaignMissing,
    StatusMissing,
    StatusResponded,
}

/// What a field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedField {
    pub name: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At least this long.
    Text(u32),
    Email,
    /// Integer digits and decimals.
    Number(u32, u32),
    LeadLookup,
    /// A text of at least this length that is External ID and unique.
    ExternalId(u32),
    /// A standard field that only has to be writable.
    Standard,
}

/// The fields that are written to an object.
pub fn expected_fields(object: Object) -> Vec<ExpectedField> {
    let mut fields = match object {
        Object::CampaignMember => {
            return vec![field("Status", Kind::Standard), field(EXTERNAL_ID_FIELD, Kind::ExternalId(50))];
        }
        Object::Engagement => engagement_fields(),
        Object::Polls => (1..=10)
            .flat_map(|poll| ["type", "answer", "question"].map(|part| (poll, part)))
            .map(|(poll, part)| field(&format!("poll_{poll}_{part}__c"), Kind::Text(255)))
            .collect(),
    };
    fields.extend([
        field(EXTERNAL_ID_FIELD, Kind::ExternalId(255)),
        field("campaign_member__c", Kind::Text(18)),
        field("Lead__c", Kind::LeadLookup),
        field("entry_id__c", Kind::Text(11)),
        field("entry_name__c", Kind::Text(200)),
        field("email__c", Kind::Email),
    ]);
    fields
}

fn engagement_fields() -> Vec<ExpectedField> {
    const COUNTS: [&str; 12] = [
        "channel_id",
        "plays",
        "clap_clicked_count",
        "heart_clicked_count",
        "think_clicked_count",
        "wow_clicked_count",
        "smile_clicked_count",
        "answered_polls",
        "messages_sent_group",
        "qna_threads",
        "add_to_calendar",
        "total_reactions_activity",
    ];
    const DECIMALS: [&str; 11] = [
        "vod_minutes_viewed",
        "live_minutes_viewed",
        "total_vod_completion_rate",
        "no_live_engagement_rate",
        "low_live_engagement_rate",
        "fair_live_engagement_rate",
        "good_live_engagement_rate",
        "high_live_engagement_rate",
        "combined_live_engaged_users_play_time_ratio",
        "mic_on",
        "cam_on",
    ];
    let counts = COUNTS.into_iter().chain(["raise_hand"]).map(|name| (name, Kind::Number(18, 0)));
    let decimals = DECIMALS.into_iter().map(|name| (name, Kind::Number(16, 2)));
    let texts = [("user", Kind::Text(200)), ("channel_name", Kind::Text(200))];
    counts.chain(decimals).chain(texts).map(|(name, kind)| field(&format!("{name}__c"), kind)).collect()
}

fn field(name: &str, kind: Kind) -> ExpectedField {
    ExpectedField { name: name.to_owned(), kind }
}

/// Looks at the org. An error only where Salesforce could not be asked at all.
pub async fn examine(client: &Client, campaigns: &[SalesforceId]) -> Result<Vec<Problem>, Error> {
    match client.log_in().await {
        Ok(()) => {}
        Err(error @ Error::Login(super::LoginError::Refused { .. })) => return Ok(vec![login_problem(&error)]),
        Err(error) => return Err(error),
    }
    let mut problems = Vec::new();
    for object in Object::ALL {
        match client.describe(object.api_name()).await {
            Ok(describe) => check_object(object, &describe, &mut problems),
            Err(Error::Refused { status: 404, .. }) => problems.push(object_missing(object)),
            Err(error) => return Err(error),
        }
    }
    for campaign in campaigns {
        check_campaign(&setup::read_statuses(client, *campaign).await?, &mut problems);
    }
    Ok(problems)
}

fn login_problem(error: &Error) -> Problem {
    use std::error::Error as _;
    Problem {
        kind: ProblemKind::Login,
        subject: "login".to_owned(),
        detail: error.source().map_or_else(|| error.to_string(), ToString::to_string),
        mend: "correct salesforce.login_url and the credentials in the configuration".to_owned(),
    }
}

fn object_missing(object: Object) -> Problem {
    Problem {
        kind: ProblemKind::ObjectMissing,
        subject: object.api_name().to_owned(),
        detail: "the object does not exist, or the integration user may not see it".to_owned(),
        mend: format!("{DEPLOY}; then {PERMIT}"),
    }
}

fn check_object(object: Object, describe: &Describe, problems: &mut Vec<Problem>) {
    if !(describe.createable && describe.updateable) {
        problems.push(Problem {
            kind: ProblemKind::ObjectPermission,
            subject: object.api_name().to_owned(),
            detail: "the integration user may not create and update records".to_owned(),
            mend: PERMIT.to_owned(),
        });
    }
    for expected in expected_fields(object) {
        let subject = format!("{}.{}", object.api_name(), expected.name);
        let found = describe.fields.iter().find(|field| field.name.eq_ignore_ascii_case(&expected.name));
        let faults = match found {
            Some(found) => field_faults(expected.kind, found),
            None => vec![(
                ProblemKind::FieldMissing,
                "the field does not exist, or the integration user may not see it".to_owned(),
                format!("{DEPLOY}; then {PERMIT}"),
            )],
        };
        problems.extend(faults.into_iter().map(|(kind, detail, mend)| Problem {
            kind,
            subject: subject.clone(),
            detail,
            mend,
        }));
    }
}

fn field_faults(expected: Kind, found: &FieldDescribe) -> Vec<(ProblemKind, String, String)> {
    let mut faults = Vec::new();
    let mut fault = |kind, detail: String, mend: &str| faults.push((kind, detail, mend.to_owned()));
    let (types, length): (&[&str], u32) = match expected {
        Kind::Text(length) | Kind::ExternalId(length) => (&["string", "textarea"], length),
        Kind::Email => (&["email"], 0),
        Kind::Number(..) => (&["double", "int", "long"], 0),
        Kind::LeadLookup => (&["reference"], 0),
        Kind::Standard => (&[], 0),
    };
    if !types.is_empty() && !types.contains(&found.kind.as_str()) {
        fault(ProblemKind::FieldType, format!("its type is {}, expected {}", found.kind, types.join(" or ")), DEPLOY);
    } else if found.length < length {
        fault(ProblemKind::FieldTooShort, format!("its length is {}, needed {length}", found.length), DEPLOY);
    }
    if let Kind::Number(integers, decimals) = expected
        && found.kind == "double"
        && (found.scale < decimals || found.precision < integers.saturating_add(decimals).min(18))
    {
        let is = format!("it is Number({},{})", found.precision.saturating_sub(found.scale), found.scale);
        fault(ProblemKind::FieldTooShort, format!("{is}, needed Number({integers},{decimals})"), DEPLOY);
    }
    if expected == Kind::LeadLookup && !found.reference_to.iter().any(|to| to == "Lead") {
        fault(ProblemKind::FieldType, "it does not refer to Lead".to_owned(), DEPLOY);
    }
    if let Kind::ExternalId(_) = expected {
        if !found.external_id {
            fault(ProblemKind::ExternalIdFlag, "it is not marked External ID".to_owned(), DEPLOY);
        }
        if !found.unique {
            let detail = "it is not unique: two writers can make two records of one row";
            fault(ProblemKind::NotUnique, detail.to_owned(), DEPLOY);
        }
    }
    if !(found.createable && found.updateable) {
        fault(ProblemKind::FieldPermission, "the integration user may not write it".to_owned(), PERMIT);
    }
    faults
}

fn check_campaign(statuses: &setup::CampaignStatuses, problems: &mut Vec<Problem>) {
    let subject = statuses.campaign.clone();
    let mend = format!("rollbook setup --campaign {subject}");
    if !statuses.campaign_found {
        problems.push(Problem {
            kind: ProblemKind::CampaignMissing,
            subject,
            detail: "the campaign does not exist, or the integration user may not see it".to_owned(),
            mend: "check the id; share the campaign with the integration user".to_owned(),
        });
        return;
    }
    let missing = statuses.missing();
    if !missing.is_empty() {
        problems.push(Problem {
            kind: ProblemKind::StatusMissing,
            subject: subject.clone(),
            detail: format!("statuses are missing: {}", missing.join(", ")),
            mend: mend.clone(),
        });
    }
    if !statuses.differing.is_empty() {
        problems.push(Problem {
            kind: ProblemKind::StatusResponded,
            subject,
            detail: format!("\"responded\" is not as expected: {}", statuses.differing.join(", ")),
            mend,
        });
    }
}
