//! What an answer means for the rows that it is about.

use std::collections::BTreeMap;

use super::end::{Reason, hint};
use super::memory::{Member, Statuses};
use super::pace::Sample;
use super::row::{Key, Version};
use super::{
    Answer, AskedFor, Effect, Failure, FoundPerson, Halted, InFlight, Outage, Outbox, Phase, RequestId, RowResult,
    Settled,
};
use crate::disposition::{Disposition, Fault, Retry, Scope, Wait, disposition};
use crate::event::{MemberKey, Millis, SalesforceId};
use crate::outcome::OutcomeKind;
use crate::upsert::Object;

/// Corrections of what was taken for known that count as no attempt: of a guess, and of an answer from before it.
const CORRECTIONS_MAX: u32 = 3;

impl Outbox {
    /// Takes the answer to a request.
    pub fn complete(&mut self, id: RequestId, answer: Answer, now: Millis) {
        let Some(request) = self.in_flight.remove(&id) else { return };
        for campaign in &request.campaigns {
            self.busy.remove(campaign);
        }
        for person in &request.people {
            self.busy_people.remove(person);
        }
        self.pace.answered(&sample(&request, &answer, now));
        if !matches!(answer, Answer::Failed(_)) {
            self.outage = None;
        }
        match (request.call, answer) {
            (call, Answer::Failed(failure)) => {
                let request = InFlight { call, ..request };
                self.request_failed(id, request, &failure, now);
            }
            (AskedFor::Save { parts, .. }, Answer::Saved(answers)) => {
                self.saved(id, &request.keys, parts.into_iter().zip(answers), now);
            }
            (AskedFor::Members(asked), Answer::Members(found)) => self.members_found(&asked, &found, now),
            (AskedFor::People, Answer::People(found)) => self.people_found(id, request.keys, &found, now),
            (AskedFor::Statuses(campaign), Answer::Statuses { statuses, complete }) => {
                self.asking_statuses.remove(&campaign);
                self.memory.remember_statuses(campaign, statuses, complete, now);
                self.wake_campaign(&campaign, now);
            }
            (AskedFor::ManyStatuses(asked), Answer::CompleteStatuses(complete)) => {
                self.statuses_read(asked, complete, now);
            }
            (AskedFor::Limits, Answer::Limits(usage)) => self.budget.tell(usage, now),
            (
                _,
                Answer::Saved(_)
                | Answer::Members(_)
                | Answer::People(_)
                | Answer::Statuses { .. }
                | Answer::CompleteStatuses(_)
                | Answer::Limits(_),
            ) => {
                debug_assert!(false, "the shell answers each call in kind");
            }
        }
    }

    fn saved(
        &mut self,
        id: RequestId,
        mut keys: &[Key],
        answers: impl Iterator<Item = (usize, Result<Vec<RowResult>, Failure>)>,
        now: Millis,
    ) {
        let mut failed = Vec::new();
        for (length, answer) in answers {
            let (part, rest) = keys.split_at(length.min(keys.len()));
            keys = rest;
            let part: Vec<Key> =
                part.iter().filter(|key| self.phase(key) == Some(Phase::InFlight(id))).cloned().collect();
            match answer {
                Ok(results) => {
                    for (key, result) in part.iter().zip(results) {
                        match result {
                            RowResult::Saved { id, created } => self.row_saved(key, id, created, now),
                            RowResult::Refused(failure) => self.row_refused(key, failure, now),
                        }
                    }
                }
                Err(failure) => failed.push((part, failure)),
            }
        }
        // After all rows: what became of the members decides what becomes of those that rode with them.
        for (part, failure) in failed {
            self.part_failed(part, &failure, now);
        }
    }

    fn part_failed(&mut self, keys: Vec<Key>, failure: &Failure, now: Millis) {
        self.wait_or_halt(failure, now);
        // One member that was refused fails all that rode with it or its neighbours. They are judged when they are
        // sent with a record id, or end with their member.
        let rode = |key: &Key| self.slots.get(key).is_some_and(|slot| slot.version.tries.rode);
        let (riders, others): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(rode);
        for key in &riders {
            self.send_again(key, now);
        }
        if !others.is_empty() {
            self.save_failed(&others, false, failure, now);
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

    fn row_refused(&mut self, key: &Key, failure: Failure, now: Millis) {
        let Failure { disposition, code, fields } = failure;
        let code = code.as_str();
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.version.tries.adopt = None;
        let member = slot.version.member;
        let dependant = key.object != Object::CampaignMember;
        let first = slot.version.tries.failures == 0;
        match disposition {
            // A dependant's member may have been deleted since it was remembered; Salesforce says so in either way.
            Disposition::DeadLetter {
                reason: "INVALID_CROSS_REFERENCE_KEY" | "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
            } if dependant && first => {
                self.memory.forget(&member);
                self.retry(key, Retry::LookUpAgain, code, now);
            }
            Disposition::Retry(retry) => {
                match retry {
                    Retry::LookUpAgain => self.memory.forget(&member),
                    Retry::MemberExists | Retry::Adopt => self.memory.correct(member, true),
                    Retry::MemberAbsent => self.memory.correct(member, false),
                    Retry::Lock | Retry::Automation | Retry::Busy | Retry::Unknown | Retry::MemberMissing => {}
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
            Disposition::Hold { hint } => self.hold(key, code, hint, now),
            Disposition::Halt { hint } => {
                self.halt(code, hint);
                self.send_again(key, now);
            }
        }
    }

    /// Nobody knows what became of a request without an answer. Its rows are sent again: they are upserts by external
    /// id, so a second time changes nothing.
    fn request_failed(&mut self, id: RequestId, request: InFlight, failure: &Failure, now: Millis) {
        let disposition = failure.disposition;
        self.wait_or_halt(failure, now);
        let keys: Vec<Key> =
            request.keys.into_iter().filter(|key| self.phase(key) == Some(Phase::InFlight(id))).collect();
        match request.call {
            AskedFor::Save { isolated, .. } => self.save_failed(&keys, isolated, failure, now),
            // Asked again when it is due.
            AskedFor::Limits => {}
            AskedFor::People => {
                self.hold_query(disposition, now);
                for key in &keys {
                    if !self.drop_leaving(key) {
                        self.await_adoption(key);
                    }
                }
            }
            AskedFor::Members(asked) => {
                self.hold_query(disposition, now);
                asked.into_iter().rev().for_each(|member| self.lookups.push_front(member));
            }
            AskedFor::ManyStatuses(asked) => {
                self.hold_query(disposition, now);
                self.statuses_wanted.extend(asked);
            }
            AskedFor::Statuses(campaign) => self.statuses_failed(campaign, failure, now),
        }
    }

    fn wait_or_halt(&mut self, failure: &Failure, now: Millis) {
        match failure.disposition {
            Disposition::Wait(wait) => self.begin_outage(wait, now),
            Disposition::Halt { hint } => self.halt(&failure.code, hint),
            Disposition::Delivered
            | Disposition::Retry(_)
            | Disposition::Isolate
            | Disposition::DeadLetter { .. }
            | Disposition::Hold { .. } => {}
        }
    }

    fn save_failed(&mut self, keys: &[Key], isolated: bool, failure: &Failure, now: Millis) {
        let code = failure.code.as_str();
        match failure.disposition {
            Disposition::Wait(_) | Disposition::Halt { .. } if isolated => self.isolate(keys, now),
            Disposition::Wait(_) | Disposition::Halt { .. } => {
                for key in keys {
                    self.send_again(key, now);
                }
            }
            Disposition::Retry(retry) => {
                for key in keys {
                    self.retry(key, retry, code, now);
                }
            }
            Disposition::Isolate
            | Disposition::DeadLetter { .. }
            | Disposition::Hold { .. }
            | Disposition::Delivered => {
                if let [key] = keys {
                    self.single_failed(key, failure, now);
                } else {
                    let (left, right) = keys.split_at(keys.len() / 2);
                    self.isolate(left, now);
                    self.isolate(right, now);
                }
            }
        }
    }

    /// The row at fault has been found.
    fn single_failed(&mut self, key: &Key, failure: &Failure, now: Millis) {
        let code = failure.code.as_str();
        let named = if code == "no_code" { "" } else { code };
        let row = Fault {
            scope: Scope::Row,
            status: 200,
            code: named,
            message: "",
            fields: &failure.fields,
            exhausted: None,
        };
        match (failure.disposition, disposition(&row)) {
            (Disposition::DeadLetter { .. }, _) => {
                let detail = "Salesforce refused the request that held this row alone";
                let fields = failure.fields.clone();
                self.dead_letter(key, Reason { code, detail, hint: hint(code), fields }, now);
            }
            (_, Disposition::Hold { hint }) => self.hold(key, code, hint, now),
            _ => self.retry(key, Retry::Unknown, code, now),
        }
    }

    /// Halts a row, and no other: it is tried again now and then, for as long as it takes.
    pub(super) fn hold(&mut self, key: &Key, code: &str, hint: &'static str, now: Millis) {
        self.promote(key, now);
        if self.drop_leaving(key) {
            return;
        }
        let at = now + self.seldom();
        let number = self.next_number();
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.version.tries.held = true;
        slot.phase = Phase::Later;
        self.later.insert((at, number), key.clone());
        self.effects.push(Effect::Held { code: code.to_owned(), hint });
    }

    fn isolate(&mut self, keys: &[Key], now: Millis) {
        for key in keys {
            self.promote(key, now);
            if !self.drop_leaving(key) {
                self.set_phase(key, Phase::Isolated);
            }
        }
        if !keys.is_empty() {
            self.isolated.push_back(keys.to_vec());
        }
    }

    /// A query that fails for whatever reason is asked again: no row is at fault.
    fn hold_query(&mut self, disposition: Disposition, now: Millis) {
        match disposition {
            Disposition::Wait(_) | Disposition::Halt { .. } => {}
            Disposition::Delivered
            | Disposition::Retry(_)
            | Disposition::Isolate
            | Disposition::DeadLetter { .. }
            | Disposition::Hold { .. } => self.begin_outage(Wait::Outage, now),
        }
    }

    fn statuses_failed(&mut self, campaign: SalesforceId, failure: &Failure, now: Millis) {
        // A lock on one campaign is no reason to hold up the others: its rows come back one by one.
        if let Disposition::Retry(retry) = failure.disposition {
            self.asking_statuses.remove(&campaign);
            let keys = self.awaiting_statuses.remove(&campaign).unwrap_or_default();
            for key in keys {
                if self.phase(&key) == Some(Phase::Waiting) {
                    self.retry(&key, retry, &failure.code, now);
                }
            }
        } else {
            self.hold_query(failure.disposition, now);
            self.statuses_lacking.push_back(campaign);
        }
    }

    fn statuses_read(&mut self, asked: Vec<SalesforceId>, complete: Vec<(SalesforceId, Vec<String>)>, now: Millis) {
        let mut complete: BTreeMap<SalesforceId, Vec<String>> = complete.into_iter().collect();
        for campaign in asked {
            let Some(labels) = complete.remove(&campaign) else {
                self.statuses_lacking.push_back(campaign);
                continue;
            };
            self.asking_statuses.remove(&campaign);
            self.memory.remember_statuses(campaign, Statuses::Labels(labels), true, now);
            self.wake_campaign(&campaign, now);
        }
    }

    fn members_found(&mut self, asked: &[MemberKey], found: &[(MemberKey, SalesforceId)], now: Millis) {
        for member in asked {
            self.looking_up.remove(member);
            let record = found.iter().find(|(key, _)| key == member).map(|(_, record)| *record);
            self.memory.remember(*member, record.map_or(Member::Absent, Member::Present));
        }
        for member in asked {
            self.wake_member(member, now);
        }
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
                // Whatever its external id was: a campaign has one member per person, and this is that one's id.
                Some(found) => {
                    slot.version.tries.adopt = Some(found.record);
                    self.send_again(&key, now);
                }
            }
        }
    }

    /// Sends a row again after a backoff, unless it has had its attempts.
    pub(super) fn retry(&mut self, key: &Key, retry: Retry, code: &str, now: Millis) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let tries = &mut slot.version.tries;
        let corrected = matches!(retry, Retry::MemberExists | Retry::MemberAbsent | Retry::Adopt)
            && tries.corrections < CORRECTIONS_MAX;
        if corrected {
            tries.corrections += 1;
        } else {
            tries.failures += 1;
        }
        let failures = tries.failures;
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
        if corrected {
            return self.admit(key, now);
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
    pub(super) fn send_again(&mut self, key: &Key, now: Millis) {
        self.promote(key, now);
        if !self.drop_leaving(key) {
            self.admit(key, now);
        }
    }

    /// Where a newer version came meanwhile, it takes the place of the one that was in flight.
    fn promote(&mut self, key: &Key, now: Millis) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(next) = slot.next.take() {
            let next = Version { tries: slot.version.tries, ..next };
            let superseded = std::mem::replace(&mut slot.version, next);
            self.supersede(&superseded, now);
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
    pub(super) fn take_version(&mut self, key: &Key) -> Option<Version> {
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
    pub(super) fn go_on(&mut self, key: &Key, member: MemberKey, now: Millis) {
        self.admit(key, now);
        if key.object == Object::CampaignMember {
            self.wake_member(&member, now);
        }
    }

    fn begin_outage(&mut self, wait: Wait, now: Millis) {
        // Requests that were in flight when it began say nothing new.
        if self.outage.is_some_and(|outage| now < outage.until) {
            return;
        }
        let failures = self.outage.map_or(0, |outage| outage.failures) + 1;
        let pause = match wait {
            Wait::Outage | Wait::Session | Wait::Concurrency => self.backoff(failures),
            // A budget of 24 hours does not come back in a moment.
            Wait::Quota => Millis::try_from(self.settings.backoff_max.as_millis()).unwrap_or(Millis::MAX / 2),
        };
        self.outage = Some(Outage { wait, failures, until: now + pause });
    }

    fn halt(&mut self, code: &str, hint: &'static str) {
        self.halted.get_or_insert(Halted { code: code.to_owned(), hint });
    }
}

/// What an answer says of the load.
fn sample(request: &InFlight, answer: &Answer, now: Millis) -> Sample {
    let heavy = |disposition: Disposition| {
        matches!(disposition, Disposition::Wait(Wait::Outage | Wait::Concurrency) | Disposition::Retry(Retry::Lock))
    };
    let (refused, locked) = match answer {
        Answer::Failed(failure) => (heavy(failure.disposition), 0),
        Answer::Saved(parts) => {
            let lock = Disposition::Retry(Retry::Lock);
            let is_locked =
                |row: &&RowResult| matches!(row, RowResult::Refused(failure) if failure.disposition == lock);
            let refused = parts.iter().filter_map(|part| part.as_ref().err()).any(|failure| heavy(failure.disposition));
            (refused, parts.iter().flatten().flatten().filter(is_locked).count())
        }
        Answer::Members(_)
        | Answer::People(_)
        | Answer::Statuses { .. }
        | Answer::CompleteStatuses(_)
        | Answer::Limits(_) => (false, 0),
    };
    Sample { sent_at: request.sent_at, answered_at: now, rows: request.keys.len(), locked, refused }
}
