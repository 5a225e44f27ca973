//! What an org lacks before Rollbook can write to it, and what mends each point.
//!
//! A field that the integration user may not see is not in `describe` at all, so "missing" and "invisible" look the
//! same from here: the advice names both remedies.

use serde::Serialize;

use super::setup;
use crate::disposition::{Disposition, Wait};
use crate::id::SalesforceId;
use crate::salesforce::wire::{Describe, FieldDescribe};
use crate::salesforce::{Client, Error};
use crate::upsert::{FieldKind, Object, ObjectDef, When};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// At least this long.
    Text(usize),
    Email,
    /// Integer digits and decimals.
    Number(u32, u32),
    LeadLookup,
    /// A text of at least this length that is External ID and unique.
    ExternalId(usize),
    /// A standard field that only has to be writable.
    Standard,
}

/// Length of a record id.
const RECORD_ID_LENGTH: usize = 18;

/// The fields that are written to an object.
fn expected_fields(object: Object) -> Vec<(&'static str, Expected)> {
    let ObjectDef { external_id, fields, parents, .. } = object.def();
    let fields = fields.iter().map(|field| (field.name, expected(field.kind)));
    // What is written at creation alone is the object's own.
    let parents = parents.iter().filter(|parent| parent.when == When::Always);
    let parents = parents.map(|parent| (parent.field, Expected::Text(RECORD_ID_LENGTH)));
    fields.chain([(external_id.name, Expected::ExternalId(external_id.length))]).chain(parents).collect()
}

fn expected(kind: FieldKind) -> Expected {
    match kind {
        FieldKind::Text(length) => Expected::Text(length),
        FieldKind::Integer => Expected::Number(18, 0),
        FieldKind::Decimal => Expected::Number(16, 2),
        FieldKind::Email => Expected::Email,
        FieldKind::LeadLookup => Expected::LeadLookup,
        FieldKind::Picklist => Expected::Standard,
    }
}

/// Looks at the org. An error only where Salesforce could not be asked at all.
pub async fn examine(client: &Client, campaigns: &[SalesforceId]) -> Result<Vec<Problem>, Error> {
    match client.log_in().await {
        Ok(_) => {}
        Err(error) if error.disposition() == Disposition::Wait(Wait::Login) => return Ok(vec![login_problem(&error)]),
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
    for (name, expected) in expected_fields(object) {
        let subject = format!("{}.{name}", object.api_name());
        let found = describe.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let faults = match found {
            Some(found) => field_faults(expected, found),
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

fn field_faults(expected: Expected, found: &FieldDescribe) -> Vec<(ProblemKind, String, String)> {
    let mut faults = Vec::new();
    let mut fault = |kind, detail: String, mend: &str| faults.push((kind, detail, mend.to_owned()));
    let (types, length): (&[&str], usize) = match expected {
        Expected::Text(length) | Expected::ExternalId(length) => (&["string", "textarea"], length),
        Expected::Email => (&["email"], 0),
        Expected::Number(..) => (&["double", "int", "long"], 0),
        Expected::LeadLookup => (&["reference"], 0),
        Expected::Standard => (&[], 0),
    };
    if !types.is_empty() && !types.contains(&found.kind.as_str()) {
        fault(ProblemKind::FieldType, format!("its type is {}, expected {}", found.kind, types.join(" or ")), DEPLOY);
    } else if usize::try_from(found.length).unwrap_or(usize::MAX) < length {
        fault(ProblemKind::FieldTooShort, format!("its length is {}, needed {length}", found.length), DEPLOY);
    }
    if let Expected::Number(integers, decimals) = expected
        && found.kind == "double"
        && (found.scale < decimals || found.precision < integers.saturating_add(decimals).min(18))
    {
        let is = format!("it is Number({},{})", found.precision.saturating_sub(found.scale), found.scale);
        fault(ProblemKind::FieldTooShort, format!("{is}, needed Number({integers},{decimals})"), DEPLOY);
    }
    if expected == Expected::LeadLookup && !found.reference_to.iter().any(|to| to == "Lead") {
        fault(ProblemKind::FieldType, "it does not refer to Lead".to_owned(), DEPLOY);
    }
    if let Expected::ExternalId(_) = expected {
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
