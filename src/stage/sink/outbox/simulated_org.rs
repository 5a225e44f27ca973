//! The simulation's org: as strict as Salesforce is about create-only parents, one member per campaign and person, and
//! dependants that need their member.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::simulated_jobs::OrgJobs;
use super::tests::{failure, id, label, labels, settings, version_of};
use super::*;
use crate::disposition::{Disposition, Fault, Retry, Scope, disposition};
use crate::id::MemberKey;
use crate::upsert::{Labels, Object};

pub(super) struct OrgMember {
    pub record: SalesforceId,
    pub external_id: Option<String>,
    pub version: Option<i64>,
    /// Its campaign lacked the status, and it has the default: of which life of the outbox the request was.
    pub defaulted: Option<u32>,
}

#[derive(Default)]
pub(super) struct Org {
    pub jobs: OrgJobs,
    /// By campaign and the person who is a member now.
    pub members: BTreeMap<MemberKey, OrgMember>,
    /// Leads who are contacts now.
    pub converted: BTreeMap<SalesforceId, SalesforceId>,
    pub deleted: BTreeSet<SalesforceId>,
    /// External id to version and campaign_member__c.
    pub dependants: BTreeMap<String, (i64, String)>,
    /// Labels of each campaign; all there are of one that is not in it.
    statuses: BTreeMap<SalesforceId, Labels>,
    records: u32,
    /// Lives of the outbox before this one, and the life whose request is carried out.
    pub life: u32,
    pub acting: u32,
}

impl Org {
    pub fn record(&mut self) -> SalesforceId {
        self.records += 1;
        id("00v", self.records)
    }

    /// The outbox forgets what it knew.
    pub fn next_life(&mut self) {
        self.life += 1;
        self.acting = self.life;
    }

    fn statuses(&mut self, campaign: SalesforceId) -> &mut Labels {
        self.statuses.entry(campaign).or_insert_with(labels)
    }

    pub fn delete_status(&mut self, campaign: SalesforceId, version: i64) {
        self.statuses(campaign).remove(&label(version));
    }

    fn make_statuses(&mut self, campaign: SalesforceId) -> Labels {
        let lacking = labels().into_keys().filter(|label| !self.statuses(campaign).contains_key(label));
        for label in lacking.collect::<Vec<_>>() {
            let made = self.record();
            self.statuses(campaign).insert(label, Some(made));
        }
        self.statuses(campaign).clone()
    }

    /// What a member has who is written with the row's status: a version, or the campaign's default.
    fn status_of(&mut self, row: &Map<String, Json>) -> (Option<i64>, Option<u32>) {
        let campaign = row["external_id__c"].as_str().and_then(|id| SalesforceId::parse(&id[..18])).unwrap();
        if self.statuses(campaign).contains_key(row["Status"].as_str().unwrap()) {
            (Some(version_of(row)), None)
        } else {
            (None, Some(self.acting))
        }
    }

    /// Carries the parts out in their order; the rows of a part see the records of those before it.
    pub fn save(&mut self, call: &Call) -> Vec<Result<Vec<RowResult>, Failure>> {
        let Call::Save { parts } = call else { panic!("a save") };
        assert!(parts.len() <= 5 && parts.iter().all(|part| part.rows.len() <= settings().batch_rows_max));
        let mut answers: Vec<Result<Vec<RowResult>, Failure>> = Vec::new();
        for part in parts {
            let mut rows = part.rows.clone();
            let answer = if rows.iter_mut().all(|row| resolve(row, &answers)) {
                Ok(rows.iter().map(|row| self.save_row(part.class, row)).collect())
            } else {
                Err(failure(Disposition::Retry(Retry::Busy), "PROCESSING_HALTED"))
            };
            answers.push(answer);
        }
        answers
    }

    pub fn save_row(&mut self, class: Class, row: &Map<String, Json>) -> RowResult {
        match class {
            Class::Adoption => self.adopt(row),
            Class::Row(Object::CAMPAIGN_MEMBER) => self.upsert_member(row),
            Class::Row(_) => self.upsert_dependant(row),
        }
    }

    fn upsert_member(&mut self, row: &Map<String, Json>) -> RowResult {
        let external_id = row["external_id__c"].as_str().unwrap();
        let (version, defaulted) = self.status_of(row);
        let found = self.members.values_mut().find(|it| it.external_id.as_deref() == Some(external_id));
        match (found, row.get("CampaignId")) {
            (Some(_), Some(_)) => refused("INVALID_FIELD_FOR_INSERT_UPDATE", "", &["CampaignId", "LeadId"]),
            (Some(found), None) => {
                (found.version, found.defaulted) = (version, defaulted);
                RowResult::Saved { id: found.record, created: false }
            }
            (None, None) => refused("REQUIRED_FIELD_MISSING", "", &["CampaignId"]),
            (None, Some(campaign)) => {
                let person = row.get("LeadId").or_else(|| row.get("ContactId")).unwrap();
                let [campaign, person] =
                    [campaign, person].map(|it| SalesforceId::parse(it.as_str().unwrap()).unwrap());
                if let Some(refused) = self.refuse_person(&person) {
                    return refused;
                }
                let key = MemberKey { campaign, person };
                if self.members.contains_key(&key) {
                    return refused("DUPLICATE_VALUE", "Already a campaign member.", &[]);
                }
                let record = self.record();
                self.members
                    .insert(key, OrgMember { record, external_id: Some(external_id.to_owned()), version, defaulted });
                RowResult::Saved { id: record, created: true }
            }
        }
    }

    fn upsert_dependant(&mut self, row: &Map<String, Json>) -> RowResult {
        let parent = row["campaign_member__c"].as_str().expect("a dependant is never sent without its member");
        if !self.members.values().any(|it| it.record.as_str() == parent) {
            return refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[]);
        }
        let lead = row["Lead__c"].as_str().and_then(SalesforceId::parse);
        if let Some(refused) = lead.and_then(|lead| self.refuse_person(&lead)) {
            return refused;
        }
        let external_id = row["external_id__c"].as_str().unwrap().to_owned();
        let value = (version_of(row), parent.to_owned());
        let created = self.dependants.insert(external_id, value).is_none();
        RowResult::Saved { id: self.record(), created }
    }

    fn refuse_person(&self, person: &SalesforceId) -> Option<RowResult> {
        if self.converted.contains_key(person) {
            return Some(refused("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", &[]));
        }
        self.deleted.contains(person).then(|| refused("ENTITY_IS_DELETED", "entity is deleted", &[]))
    }

    /// The memberships move to the contact, but for those beside one of the contact's.
    pub fn convert(&mut self, lead: SalesforceId, contact: SalesforceId) {
        if self.deleted.contains(&lead) || self.converted.insert(lead, contact).is_some() {
            return;
        }
        for campaign in 1..=super::simulation::CAMPAIGNS {
            let campaign = id("701", campaign);
            if let Some(moved) = self.members.remove(&MemberKey { campaign, person: lead }) {
                self.members.entry(MemberKey { campaign, person: contact }).or_insert(moved);
            }
        }
    }

    pub fn delete(&mut self, person: SalesforceId) {
        if !self.converted.contains_key(&person) {
            self.deleted.insert(person);
            self.members.retain(|key, _| key.person != person);
        }
    }

    pub fn of_external_id(&self, external_id: &str) -> Option<&OrgMember> {
        self.members.values().find(|it| it.external_id.as_deref() == Some(external_id))
    }

    pub fn parent(&self, id: SalesforceId) -> Parent {
        match self.converted.get(&id) {
            Some(contact) => Parent::Converted(Some(*contact)),
            None if self.deleted.contains(&id) => Parent::Deleted,
            None => Parent::There,
        }
    }

    fn adopt(&mut self, row: &Map<String, Json>) -> RowResult {
        let record = row["id"].as_str().unwrap();
        let (version, defaulted) = self.status_of(row);
        let Some(found) = self.members.values_mut().find(|it| it.record.as_str() == record) else {
            return refused("ENTITY_IS_DELETED", "", &[]);
        };
        found.external_id = Some(row["external_id__c"].as_str().unwrap().to_owned());
        (found.version, found.defaulted) = (version, defaulted);
        RowResult::Saved { id: found.record, created: false }
    }

    pub fn ask(&mut self, call: &Call) -> Answer {
        match call {
            Call::FindRecords { keys, .. } => {
                let record = |key: &Key| Some((key.clone(), self.of_external_id(&key.external_id)?.record));
                Answer::Records(keys.iter().filter_map(record).collect())
            }
            Call::FindPeople { campaign, people } => {
                let key = |person: &SalesforceId| MemberKey { campaign: *campaign, person: *person };
                let found = people.iter().filter_map(|person| Some((person, self.members.get(&key(person))?)));
                let found = found.map(|(person, it)| {
                    let external_id = it.external_id.clone();
                    FoundPerson { person: *person, record: it.record, external_id }
                });
                Answer::People(found.collect())
            }
            Call::FindParents { ids } => Answer::Parents(ids.iter().map(|id| (*id, self.parent(*id))).collect()),
            // Whether a campaign lacks any is made up, so that both ways are gone.
            Call::ReadStatuses { campaigns } => {
                let first = self.records as usize % 2;
                let of = |campaign: &SalesforceId| (*campaign, self.statuses(*campaign).clone());
                let told: Vec<_> = campaigns[first..].iter().map(of).collect();
                let complete = told.into_iter().filter(|(_, of_campaign)| of_campaign.len() == labels().len());
                Answer::CompleteStatuses(complete.collect())
            }
            Call::EnsureStatuses { campaign } => {
                let statuses = Statuses::Labels(self.make_statuses(*campaign));
                Answer::Statuses { statuses, complete: true }
            }
            Call::Limits => Answer::Limits(Usage { used: 0, limit: 10_000 }),
            Call::Save { .. } | Call::Job(_) => panic!("a question"),
        }
    }
}

/// Puts record ids in the place of references. False where one has none.
fn resolve(row: &mut Map<String, Json>, answers: &[Result<Vec<RowResult>, Failure>]) -> bool {
    let Some(value) = row.get_mut("campaign_member__c") else { return true };
    let Some(text) = value.as_str().unwrap().strip_prefix("@{part") else { return true };
    let (part, rest) = text.split_once('[').unwrap();
    let place: usize = rest.strip_suffix("].id}").unwrap().parse().unwrap();
    let earlier = answers[part.parse::<usize>().unwrap()].as_ref();
    let Some(RowResult::Saved { id, .. }) = earlier.ok().map(|results| &results[place]) else { return false };
    *value = id.as_str().into();
    true
}

pub(super) fn refused(code: &str, message: &str, fields: &[&str]) -> RowResult {
    let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
    let fault = Fault { scope: Scope::Row, status: 200, code, message, fields: &fields, exhausted: None };
    RowResult::Refused(Failure { disposition: disposition(&fault), code: code.to_owned(), fields })
}
