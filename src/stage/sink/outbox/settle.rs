//! What an answer means for the rows that it is about.

use super::memory::Member;
use super::plan::Refusal;
use super::row::{Key, Unreadable, Version};
use super::{
    Answer, AskedFor, Effect, FoundPerson, Halted, InFlight, Outage, Outbox, Phase, RequestId, RowResult, Settled,
    Source,
};
use crate::dead_letter::{DeadLetter, Stage};
use crate::disposition::{Disposition, Retry, Wait};
use crate::event::{MemberKey, Millis, SalesforceId};
use crate::outcome::OutcomeKind;
use crate::upsert::Object;

/// Why a row is a dead letter: the parts of the record that differ.
struct Reason<'a> {
    code: &'a str,
    detail: &'a str,
    hint: &'a str,
    fields: Vec<String>,
}

impl Outbox {
    /// Takes the answer to a request.
    pub fn complete(&mut self, id: RequestId, answer: Answer, now: Millis) {
        let Some(request) = self.in_flight.remove(&id) else { return };
        for campaign in &request.campaigns {
            self.busy.remove(campaign);
        }
        if !matches!(answer, Answer::Failed { .. }) {
            self.outage = None;
        }
        match (request.call, answer) {
            (call, Answer::Failed { disposition, code }) => {
                let request = InFlight { call, ..request };
                self.request_failed(id, request, disposition, &code, now);
            }
            (AskedFor::Save { .. }, Answer::Rows(results)) => self.saved(id, request.keys, results, now),
            (AskedFor::Members(asked), Answer::Members(found)) => self.members_found(&asked, &found, now),
            (AskedFor::People, Answer::People(found)) => self.people_found(id, request.keys, &found, now),
            (AskedFor::Statuses(campaign), Answer::Statuses { statuses, complete }) => {
                self.asking_statuses.remove(&campaign);
                self.memory.remember_statuses(campaign, statuses, complete, now);
                self.wake_campaign(&campaign, now);
            }
            (_, Answer::Rows(_) | Answer::Members(_) | Answer::People(_) | Answer::Statuses { .. }) => {
                debug_assert!(false, "the shell answers each call in kind");
            }
        }
    }

    fn saved(&mut self, id: RequestId, keys: Vec<Key>, results: Vec<RowResult>, now: Millis) {
        for (key, result) in keys.into_iter().zip(results) {
            if self.phase(&key) != Some(Phase::InFlight(id)) {
                continue;
            }
            match result {
                RowResult::Saved { id, created } => self.row_saved(&key, id, created, now),
                RowResult::Refused { disposition, code, fields } => {
                    self.row_refused(&key, disposition, &code, fields, now);
                }
            }
        }
    }

    fn row_saved(&mut self, key: &Key, record: SalesforceId, created: bool, now: Millis) {
        let Some(version) = self.take_version(key) else { return };
        let member = version.member;
        if key.object == Object::CampaignMember {
            self.memory.remember(member, Member::Present(record));
        }
        let kind = if created { OutcomeKind::Created } else { OutcomeKind::Updated };
        let outcome = version.outcome(kind, Some(record), now);
        self.settle(Settled {
            position: version.source.position,
            object: Some(key.object),
            outcome: Some(outcome),
            dead_letter: None,
            event_at: Some(version.upsert.event_at),
        });
        self.go_on(key, member, now);
    }

    fn row_refused(&mut self, key: &Key, disposition: Disposition, code: &str, fields: Vec<String>, now: Millis) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.version.adopt = None;
        let member = slot.version.member;
        let dependant = key.object != Object::CampaignMember;
        let first = slot.version.failures == 0;
        match disposition {
            // A dependant's member may have been deleted since it was remembered.
            Disposition::DeadLetter { reason: "INVALID_CROSS_REFERENCE_KEY" } if dependant && first => {
                self.memory.forget(&member);
                self.retry(key, Retry::LookUpAgain, code, now);
            }
            Disposition::Retry(retry) => {
                if retry == Retry::LookUpAgain {
                    self.memory.forget(&member);
                }
                self.retry(key, retry, code, now);
            }
            Disposition::Isolate | Disposition::Delivered => self.retry(key, Retry::Unknown, code, now),
            Disposition::Wait(wait) => {
                self.begin_outage(wait, now);
                self.send_again(key, now);
            }
            Disposition::DeadLetter { reason } => {
                let detail = "Salesforce refused the row";
                self.dead_letter(key, Reason { code: reason, detail, hint: hint(reason), fields }, now);
            }
            Disposition::Halt { hint } => {
                self.halt(code, hint);
                self.send_again(key, now);
            }
        }
    }

    /// Nobody knows what became of a request without an answer. Its rows are sent again: they are upserts by external
    /// id, so a second time changes nothing.
    fn request_failed(&mut self, id: RequestId, request: InFlight, disposition: Disposition, code: &str, now: Millis) {
        match disposition {
            Disposition::Wait(wait) => self.begin_outage(wait, now),
            Disposition::Halt { hint } => self.halt(code, hint),
            Disposition::Delivered | Disposition::Retry(_) | Disposition::Isolate | Disposition::DeadLetter { .. } => {}
        }
        let keys: Vec<Key> =
            request.keys.into_iter().filter(|key| self.phase(key) == Some(Phase::InFlight(id))).collect();
        match request.call {
            AskedFor::Save { isolated } => self.save_failed(keys, isolated, disposition, code, now),
            AskedFor::People => {
                self.hold_query(disposition, now);
                keys.iter().for_each(|key| self.await_adoption(key));
            }
            AskedFor::Members(asked) => {
                self.hold_query(disposition, now);
                asked.into_iter().rev().for_each(|member| self.lookups.push_front(member));
            }
            AskedFor::Statuses(campaign) => self.statuses_failed(campaign, disposition, code, now),
        }
    }

    fn save_failed(&mut self, keys: Vec<Key>, isolated: bool, disposition: Disposition, code: &str, now: Millis) {
        match disposition {
            Disposition::Wait(_) | Disposition::Halt { .. } if isolated => self.isolate(keys, now),
            Disposition::Wait(_) | Disposition::Halt { .. } => keys.iter().for_each(|key| self.send_again(key, now)),
            Disposition::Retry(retry) => keys.iter().for_each(|key| self.retry(key, retry, code, now)),
            Disposition::Isolate | Disposition::DeadLetter { .. } | Disposition::Delivered => match keys.as_slice() {
                [key] if code == "JSON_PARSER_ERROR" || matches!(disposition, Disposition::DeadLetter { .. }) => {
                    let detail = "Salesforce refused the request that held this row alone";
                    self.dead_letter(key, Reason { code, detail, hint: hint(code), fields: Vec::new() }, now);
                }
                [key] => self.retry(key, Retry::Unknown, code, now),
                keys => {
                    let (left, right) = keys.split_at(keys.len() / 2);
                    self.isolate(left.to_vec(), now);
                    self.isolate(right.to_vec(), now);
                }
            },
        }
    }

    fn isolate(&mut self, keys: Vec<Key>, now: Millis) {
        for key in &keys {
            self.promote(key, now);
            if !self.drop_leaving(key) {
                self.set_phase(key, Phase::Isolated);
            }
        }
        self.isolated.push_back(keys);
    }

    /// A query that fails for whatever reason is asked again: no row is at fault.
    fn hold_query(&mut self, disposition: Disposition, now: Millis) {
        match disposition {
            Disposition::Wait(_) | Disposition::Halt { .. } => {}
            Disposition::Delivered | Disposition::Retry(_) | Disposition::Isolate | Disposition::DeadLetter { .. } => {
                self.begin_outage(Wait::Outage, now)
            }
        }
    }

    fn statuses_failed(&mut self, campaign: SalesforceId, disposition: Disposition, code: &str, now: Millis) {
        // A lock on one campaign is no reason to hold up the others: its rows come back one by one.
        if let Disposition::Retry(retry) = disposition {
            self.asking_statuses.remove(&campaign);
            let keys = self.awaiting_statuses.remove(&campaign).unwrap_or_default();
            for key in keys {
                if self.phase(&key) == Some(Phase::Waiting) {
                    self.retry(&key, retry, code, now);
                }
            }
        } else {
            self.hold_query(disposition, now);
            self.statuses_wanted.push_back(campaign);
        }
    }

    fn members_found(&mut self, asked: &[MemberKey], found: &[(MemberKey, SalesforceId)], now: Millis) {
        for member in asked {
            self.looking_up.remove(member);
            let record = found.iter().find(|(key, _)| key == member).map(|(_, record)| *record);
            self.memory.remember(*member, record.map_or(Member::Absent, Member::Present));
        }
        asked.iter().for_each(|member| self.wake_member(member, now));
    }

    fn people_found(&mut self, id: RequestId, keys: Vec<Key>, found: &[FoundPerson], now: Millis) {
        for key in keys {
            let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.phase == Phase::InFlight(id)) else {
                continue;
            };
            let person = slot.version.member.person;
            match found.iter().find(|found| found.person == person) {
                // Deleted meanwhile, or hidden from us.
                None => {
                    let member = slot.version.member;
                    self.memory.forget(&member);
                    self.retry(&key, Retry::LookUpAgain, "DUPLICATE_VALUE", now);
                }
                Some(FoundPerson { external_id: Some(other), .. }) if !other.eq_ignore_ascii_case(&key.external_id) => {
                    let detail = "the campaign already has a member for this person, with another external id";
                    let hint = "clear external_id__c of that member, or delete it, then redrive this row";
                    self.dead_letter(&key, Reason { code: "DUPLICATE_VALUE", detail, hint, fields: Vec::new() }, now);
                }
                Some(found) => {
                    slot.version.adopt = Some(found.record);
                    self.send_again(&key, now);
                }
            }
        }
    }

    /// Sends a row again after a backoff, unless it has had its attempts.
    pub(super) fn retry(&mut self, key: &Key, retry: Retry, code: &str, now: Millis) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.version.failures += 1;
        let failures = slot.version.failures;
        if failures >= self.settings.attempts_max {
            let code = if code.is_empty() { "no_code" } else { code };
            let detail = "the row was refused at every attempt";
            return self.dead_letter(key, Reason { code, detail, hint: hint(code), fields: Vec::new() }, now);
        }
        self.effects.push(Effect::Retried(retry));
        self.promote(key, now);
        if self.drop_leaving(key) {
            return;
        }
        if retry == Retry::Adopt {
            return self.await_adoption(key);
        }
        let at = now + self.backoff(failures);
        let number = self.next_number();
        self.later.insert((at, number), key.clone());
        self.set_phase(key, Phase::Later);
    }

    fn await_adoption(&mut self, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.phase = Phase::Waiting;
        let group = (slot.version.member.campaign, slot.version.member.person_is_lead());
        self.adoptions.entry(group).or_default().push(key.clone());
    }

    /// Sends a row again, as if it had not been sent.
    fn send_again(&mut self, key: &Key, now: Millis) {
        self.promote(key, now);
        if !self.drop_leaving(key) {
            self.admit(key, now);
        }
    }

    /// Where a newer version came meanwhile, it takes the place of the one that was in flight.
    fn promote(&mut self, key: &Key, now: Millis) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(next) = slot.next.take() {
            let next = Version { failures: slot.version.failures, adopt: slot.version.adopt, ..next };
            let superseded = std::mem::replace(&mut slot.version, next);
            self.supersede(superseded, now);
        }
    }

    /// A row of a partition that is being handed over is not sent again here.
    fn drop_leaving(&mut self, key: &Key) -> bool {
        let leaving =
            self.slots.get(key).is_some_and(|slot| self.leaving.contains(&slot.version.source.position.partition));
        if leaving {
            self.slots.remove(key);
        }
        leaving
    }

    /// Takes the version that is done; a newer one stays in its place.
    fn take_version(&mut self, key: &Key) -> Option<Version> {
        let mut slot = self.slots.remove(key)?;
        if let Some(next) = slot.next.take() {
            let done = std::mem::replace(&mut slot.version, next);
            slot.phase = Phase::Waiting;
            self.slots.insert(key.clone(), slot);
            return Some(done);
        }
        Some(slot.version)
    }

    /// After a version is done: the newer one of its row, and the rows that waited for the member.
    fn go_on(&mut self, key: &Key, member: MemberKey, now: Millis) {
        self.admit(key, now);
        if key.object == Object::CampaignMember {
            self.wake_member(&member, now);
        }
    }

    pub(super) fn supersede(&mut self, version: Version, now: Millis) {
        let outcome = version.outcome(OutcomeKind::Superseded, None, now);
        self.settle(Settled {
            position: version.source.position,
            object: crate::upsert::Object::from_api_name(&version.upsert.object),
            outcome: Some(outcome),
            dead_letter: None,
            event_at: Some(version.upsert.event_at),
        });
    }

    pub(super) fn refuse_row(&mut self, key: &Key, refusal: Refusal, now: Millis) {
        let (code, detail) = match refusal {
            Refusal::MemberMissing => ("member_missing", "the campaign member of this row does not exist"),
            Refusal::CampaignMissing => ("campaign_missing", "the campaign of this member does not exist"),
            Refusal::StatusUnknown => ("status_unknown", "the campaign has no such member status"),
        };
        self.dead_letter(key, Reason { code, detail, hint: hint(code), fields: Vec::new() }, now);
    }

    /// Ends a row that Salesforce will not take; where a newer version waits, that one is tried instead.
    fn dead_letter(&mut self, key: &Key, reason: Reason<'_>, now: Millis) {
        if self.slots.get(key).is_some_and(|slot| slot.next.is_some()) {
            return self.send_again(key, now);
        }
        let Some(version) = self.take_version(key) else { return };
        let member = version.member;
        if key.object == Object::CampaignMember && self.memory.member(&member) == Some(Member::Absent) {
            self.memory.remember(member, Member::Refused);
        }
        let mut outcome = version.outcome(OutcomeKind::DeadLettered, None, now);
        outcome.code = Some(reason.code.to_owned());
        let (object, external_id) = (version.upsert.object.clone(), version.upsert.external_id.clone());
        let (event_at, attempts) = (version.upsert.event_at, version.attempts());
        let mut dead_letter = dead_letter(version.source, reason, now);
        dead_letter.object = Some(object);
        dead_letter.external_id = Some(external_id);
        dead_letter.attempts = attempts;
        self.settle(Settled {
            position: super::Position { partition: dead_letter.partition, offset: dead_letter.offset },
            object: Some(key.object),
            outcome: Some(outcome),
            dead_letter: Some(dead_letter),
            event_at: Some(event_at),
        });
        self.go_on(key, member, now);
    }

    pub(super) fn refuse_record(&mut self, source: Source, why: Unreadable, now: Millis) {
        let (code, detail) = match why {
            Unreadable::NoValue => ("no_value", "the record has no value"),
            Unreadable::Undecodable => ("undecodable", "the record is no upsert of this version"),
            Unreadable::Invalid => ("upsert_invalid", "the upsert names no object or member that can be written"),
        };
        let position = source.position;
        let reason = Reason { code, detail, hint: "only Rollbook writes this topic", fields: Vec::new() };
        let dead_letter = Some(dead_letter(source, reason, now));
        self.settle(Settled { position, object: None, outcome: None, dead_letter, event_at: None });
    }

    fn settle(&mut self, settled: Settled) {
        self.unrecorded.insert(settled.position);
        self.effects.push(Effect::Settled(Box::new(settled)));
    }

    fn begin_outage(&mut self, wait: Wait, now: Millis) {
        // Requests that were in flight when it began say nothing new.
        if self.outage.is_some_and(|outage| now < outage.until) {
            return;
        }
        let failures = self.outage.map_or(0, |outage| outage.failures) + 1;
        let pause = match wait {
            Wait::Outage | Wait::Session => self.backoff(failures),
            // A budget of 24 hours does not come back in a moment.
            Wait::Quota => Millis::try_from(self.settings.backoff_max.as_millis()).unwrap_or(Millis::MAX / 2),
        };
        self.outage = Some(Outage { wait, failures, until: now + pause });
    }

    fn halt(&mut self, code: &str, hint: &'static str) {
        self.halted.get_or_insert(Halted { code: code.to_owned(), hint });
    }
}

fn dead_letter(source: Source, reason: Reason<'_>, now: Millis) -> DeadLetter {
    DeadLetter {
        stage: Stage::Sink,
        reason: reason.code.to_owned(),
        detail: reason.detail.to_owned(),
        hint: reason.hint.to_owned(),
        topic: source.topic.to_string(),
        partition: source.position.partition,
        offset: source.position.offset,
        timestamp: source.timestamp,
        key: source.key,
        value: source.value,
        headers: source.headers,
        object: None,
        external_id: None,
        fields: reason.fields,
        attempts: 1,
        at: now,
    }
}

/// What a person can do about a dead letter.
fn hint(code: &str) -> &'static str {
    match code {
        "member_missing" => "see the dead letter of the member, mend that one, then redrive both",
        "campaign_missing" => "check the campaign's id, and that the integration user may see it, then redrive",
        "status_unknown" => "run `rollbook setup --campaign ID`, then redrive",
        "CANNOT_UPDATE_CONVERTED_LEAD" => "the lead was converted: send events under its contact's id",
        "INVALID_CROSS_REFERENCE_KEY" => "the campaign, lead or contact does not exist: restore it, then redrive",
        "DUPLICATE_EXTERNAL_ID" => "several records have this external id: keep one, then redrive",
        "DUPLICATES_DETECTED" => "a duplicate rule of the org stands against it: exempt the integration user",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION" => {
            "a validation rule of the org stands against it: exempt the integration user"
        }
        "STRING_TOO_LONG" | "NUMBER_OUTSIDE_VALID_RANGE" => "the field is smaller than shipped: run `rollbook doctor`",
        _ => "mend it in Salesforce, then redrive",
    }
}
