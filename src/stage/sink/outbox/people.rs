//! What became of the people and campaigns that rows name: leads are converted, duplicates merged, records deleted.
//!
//! Salesforce tells a refused row only that something it names is wrong. Looking every person up first would cost a call
//! per thousand rows for what hardly ever happens, so the question comes after the refusal, for all refused rows at once.
//! The answer is remembered only where it changes how rows are written.

use std::collections::{BTreeMap, BTreeSet};

use super::end::{Reason, hint};
use super::memory::Known;
use super::queue::Place;
use super::row::{Key, Version};
use super::{AskedFor, Call, Failure, Outbox, Request, RequestId};
use crate::disposition::{Disposition, Retry, Wait};
use crate::id::{MemberKey, SalesforceId};
use crate::salesforce::query;
use crate::time::Millis;

/// Ids of one question. Of three kinds, in queries of [`query::KEYS_MAX`]: never more than a call takes.
const IDS_MAX: usize = (query::QUERIES_MAX - 2) * query::KEYS_MAX;

/// Codes by which Salesforce refuses what a row points to.
const REFERENCE_CODES: [&str; 4] = [
    "CANNOT_UPDATE_CONVERTED_LEAD",
    "ENTITY_IS_DELETED",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    "INVALID_CROSS_REFERENCE_KEY",
];

/// What Salesforce knows of a lead, a contact or a campaign. One that it does not answer is not there, or hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    There,
    /// The lead is this contact now; None where that one is gone.
    Converted(Option<SalesforceId>),
    /// It is deleted, and this one stands for it.
    Merged(SalesforceId),
    Deleted,
}

/// What a person is written as who may no longer be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    Contact(SalesforceId),
    /// Members stay what they are, and Salesforce has moved the lookups of their dependants.
    Merged,
}

/// A refused row that waits for what became of those it names.
#[derive(Debug)]
pub(super) struct Doubt {
    key: Key,
    failure: Failure,
}

/// What the answer says of a row.
enum Verdict {
    /// The refusal has another cause.
    Fine,
    /// Write the row so.
    Again(Became),
    Refused(&'static str, &'static str),
}

impl Outbox {
    /// Whether the row may have been refused for a person or campaign that it names.
    pub(super) fn doubtful(&self, key: &Key, failure: &Failure) -> bool {
        // What a job of before sent is not known, so a member may have been written with its parents in any case.
        let stamped = self.queue.get(key).is_none_or(|slot| slot.version.tries.adopt.is_some());
        !stamped && REFERENCE_CODES.contains(&failure.code.as_str())
    }

    pub(super) fn doubt(&mut self, key: &Key, failure: Failure, now: Millis) {
        self.promote(key, now);
        if !self.drop_leaving(key) {
            self.queue.put(key, Place::Doubted(failure));
        }
    }

    pub(super) fn ask_parents(&mut self, now: Millis) -> Option<Request> {
        let (mut ids, mut doubts) = (BTreeSet::new(), Vec::new());
        for (key, slot, failure) in self.queue.doubted() {
            if ids.len() + 3 > IDS_MAX {
                break;
            }
            let (member, person) = (slot.version.member, slot.version.person());
            ids.extend([member.campaign, member.person, person]);
            doubts.push(Doubt { key: key.clone(), failure: failure.clone() });
        }
        if doubts.is_empty() {
            return None;
        }
        let keys = doubts.iter().map(|doubt| doubt.key.clone()).collect();
        let call = Call::FindParents { ids: ids.into_iter().collect() };
        Some(self.start(keys, AskedFor::Parents(doubts), call, now))
    }

    pub(super) fn parents_found(
        &mut self,
        id: RequestId,
        doubts: Vec<Doubt>,
        found: Vec<(SalesforceId, Parent)>,
        now: Millis,
    ) {
        let found: BTreeMap<SalesforceId, Parent> = found.into_iter().collect();
        for Doubt { key, failure } in doubts {
            let Some(slot) = self.queue.get(&key).filter(|_| self.queue.in_request(&key, id)) else { continue };
            let (member, as_new) = (slot.version.member, slot.version.tries.as_new);
            match verdict(&slot.version, &found) {
                Verdict::Fine => self.row_at_fault(&key, failure, now),
                Verdict::Again(became) => {
                    self.memory.remember_person(member.person, became);
                    if as_new {
                        self.memory.remember(&key, Known::Absent);
                    }
                    self.retry(&key, Retry::PersonChanged, &failure.code, now);
                }
                Verdict::Refused(code, detail) => {
                    let into = found.get(&member.person).and_then(|parent| match parent {
                        Parent::Merged(into) => Some(format!("{detail}: into {into}")),
                        Parent::There | Parent::Converted(_) | Parent::Deleted => None,
                    });
                    let detail = into.as_deref().unwrap_or(detail);
                    let fields = failure.fields;
                    self.dead_letter(&key, Reason { code, detail, hint: hint(code), fields }, now);
                }
            }
        }
    }

    /// The question failed. Where the integration user may not see what it asks for, there is no answer to wait for.
    pub(super) fn parents_unknown(&mut self, id: RequestId, doubts: Vec<Doubt>, failure: &Failure, now: Millis) {
        let hidden = matches!(failure.disposition, Disposition::Hold { .. });
        let mut stuck = BTreeSet::new();
        for Doubt { key, .. } in &doubts {
            if !hidden && self.queue.in_request(key, id) && self.suspect(key, Wait::Outage) {
                stuck.insert(key.clone());
            }
        }
        if !hidden && stuck.is_empty() {
            self.question_waits(failure, now);
        }
        let code = &failure.code;
        for Doubt { key, failure } in doubts {
            if !self.queue.in_request(&key, id) {
                continue;
            }
            if hidden {
                self.row_at_fault(&key, failure, now);
            } else if stuck.contains(&key) {
                self.hold_stuck(&key, code, now);
            } else {
                self.doubt(&key, failure, now);
            }
        }
    }

    /// Whether it was written with the record id of a parent that turned out to be deleted, and is made anew.
    pub(super) fn lost_a_parent(&self, key: &Key) -> bool {
        let lost = |parent: &Key| self.memory.known(parent) == Some(Known::Absent) && self.queue.contains(parent);
        self.queue.get(key).is_some_and(|slot| slot.version.parents.iter().any(lost))
    }

    /// The contact's member is kept by the row that has it.
    pub(super) fn refuse_taken(&mut self, key: &Key, keeper: &str, now: Millis) {
        if self.queue.contains(key) {
            self.memory.remember(key, Known::Refused);
        }
        let code = "contact_taken";
        let detail = format!("the lead's contact is a member already, kept by the row of {keeper}");
        self.dead_letter(key, Reason { code, detail: &detail, hint: hint(code), fields: Vec::new() }, now);
    }

    /// Everybody whom the row of a member locks.
    pub(super) fn people_of(&self, member: &MemberKey) -> impl Iterator<Item = SalesforceId> {
        let contact = match self.memory.became(&member.person) {
            Some(Became::Contact(contact)) => Some(contact),
            Some(Became::Merged) | None => None,
        };
        std::iter::once(member.person).chain(contact)
    }
}

impl Version {
    /// The person as Salesforce was told.
    pub fn person(&self) -> SalesforceId {
        match self.tries.became {
            Some(Became::Contact(contact)) => contact,
            Some(Became::Merged) | None => self.member.person,
        }
    }
}

fn verdict(version: &Version, found: &BTreeMap<SalesforceId, Parent>) -> Verdict {
    const DELETED: Verdict = Verdict::Refused("person_deleted", "the lead or contact is deleted");
    const MERGED: Verdict = Verdict::Refused("person_merged", "the lead or contact was merged");
    const MISSING: Verdict = Verdict::Refused("person_missing", "the lead or contact does not exist");
    let told = version.tries.became;
    let dependant = !version.parents.is_empty();
    match found.get(&version.member.person) {
        None => return MISSING,
        Some(Parent::Deleted | Parent::Converted(None)) => return DELETED,
        Some(Parent::Merged(_)) if !dependant => return MERGED,
        Some(Parent::Merged(_)) if told != Some(Became::Merged) => return Verdict::Again(Became::Merged),
        Some(Parent::Converted(Some(contact))) if told != Some(Became::Contact(*contact)) => {
            return Verdict::Again(Became::Contact(*contact));
        }
        Some(Parent::Converted(Some(contact))) => match found.get(contact) {
            None => return MISSING,
            Some(Parent::Deleted) => return DELETED,
            Some(Parent::Merged(_)) => return MERGED,
            Some(Parent::There | Parent::Converted(_)) => {}
        },
        Some(Parent::There | Parent::Merged(_)) => {}
    }
    match found.get(&version.member.campaign) {
        // Dependants do not name it.
        _ if dependant => Verdict::Fine,
        None => Verdict::Refused("campaign_missing", "the campaign of this member does not exist"),
        Some(Parent::Deleted) => Verdict::Refused("campaign_deleted", "the campaign of this member is deleted"),
        Some(Parent::There | Parent::Converted(_) | Parent::Merged(_)) => Verdict::Fine,
    }
}

/// Whether this is the external id of another member of the campaign that we write.
pub(super) fn of_another(external_id: &str, member: &MemberKey) -> bool {
    let ids = external_id.split_once('_');
    let ids = ids.and_then(|(campaign, person)| Some((SalesforceId::parse(campaign)?, SalesforceId::parse(person)?)));
    ids.is_some_and(|(campaign, person)| campaign == member.campaign && person != member.person)
}
