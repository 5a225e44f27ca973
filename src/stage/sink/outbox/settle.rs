//! What an answer means for the rows that it is about.

use super::end::{Reason, hint};
use super::held::Obstacle;
use super::hidden::of_object;
use super::memory::Known;
use super::pace::Sample;
use super::row::Key;
use super::{Answer, AskedFor, Failure, InFlight, Outbox, RequestId, RowResult, Settled};
use crate::disposition::{Disposition, Fault, Retry, Scope, Wait, disposition};
use crate::id::SalesforceId;
use crate::outcome::OutcomeKind;
use crate::time::Millis;

impl Outbox {
    /// Takes the answer to a request.
    pub fn complete(&mut self, id: RequestId, answer: Answer, now: Millis) {
        let Some(request) = self.in_flight.remove(&id) else { return };
        self.questions.answered(&request.call);
        self.set_free(&request.campaigns, &request.people);
        if !matches!(request.call, AskedFor::Job(_)) {
            self.pace.answered(&Sample { at_once: self.calls_in_flight() + 1, ..sample(&request, &answer, now) });
        }
        self.heard(id, &answer);
        match (request.call, answer) {
            (AskedFor::Job(number), Answer::Failed(failure)) => self.job_failed(number, &failure, now),
            (AskedFor::Job(number), Answer::Job(answer)) => self.job_answered(number, answer, now),
            (call, Answer::Failed(failure)) => {
                let request = InFlight { call, ..request };
                self.request_failed(id, request, &failure, now);
            }
            (AskedFor::Save { parts, .. }, Answer::Saved(answers)) => {
                self.saved(id, &request.keys, parts.into_iter().zip(answers), now);
            }
            (AskedFor::Records(asked), Answer::Records(found)) => self.records_found(&asked, found, now),
            (AskedFor::People, Answer::People(found)) => self.people_found(id, request.keys, &found, now),
            (AskedFor::Parents(doubts), Answer::Parents(found)) => self.parents_found(id, doubts, found, now),
            (AskedFor::Statuses(campaign), Answer::Statuses { statuses, complete }) => {
                self.questions.stuck.remove(&campaign);
                self.questions.statuses_told();
                self.memory.remember_statuses(campaign, statuses, complete, now);
                self.wake_campaign(&campaign, now);
                self.judge_written(campaign, id, now);
            }
            (AskedFor::ManyStatuses(asked), Answer::CompleteStatuses(complete)) => {
                self.statuses_read(id, asked, complete, now);
            }
            (AskedFor::Limits, Answer::Limits(usage)) => self.budget.tell(usage, now),
            (
                _,
                Answer::Saved(_)
                | Answer::Records(_)
                | Answer::People(_)
                | Answer::Parents(_)
                | Answer::Statuses { .. }
                | Answer::CompleteStatuses(_)
                | Answer::Limits(_)
                | Answer::Job(_),
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
            let part: Vec<Key> = part.iter().filter(|key| self.queue.in_request(key, id)).cloned().collect();
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
        // After all rows: what became of the parents decides what becomes of those that rode with them.
        for (part, failure) in failed {
            self.part_failed(part, &failure, now);
        }
    }

    fn part_failed(&mut self, keys: Vec<Key>, failure: &Failure, now: Millis) {
        // One member that was refused fails all that rode with it or its neighbours. They are judged when they are
        // sent with a record id, or end with their member.
        let rode = |key: &Key| self.queue.get(key).is_some_and(|slot| slot.version.tries.rode);
        let (riders, others): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(rode);
        for key in &riders {
            self.send_again(key, now);
        }
        self.save_failed(&others, false, failure, now);
    }

    pub(super) fn row_saved(&mut self, key: &Key, record: SalesforceId, created: bool, now: Millis) {
        if self.lost_a_parent(key) {
            return self.send_again(key, now);
        }
        let Some(version) = self.queue.finish(key) else { return };
        if version.tries.probe {
            self.got_through(key);
        }
        if key.object.is_parent() || key.object.def().makes() {
            self.memory.remember(key, Known::Present(record));
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
        self.keep_written(key, version, now);
        self.go_on(key, now);
    }

    pub(super) fn row_refused(&mut self, key: &Key, failure: Failure, now: Millis) {
        if self.doubtful(key, &failure) {
            self.doubt(key, failure, now);
        } else {
            self.row_at_fault(key, failure, now);
        }
    }

    /// The row is to blame, or its parent, or the moment.
    pub(super) fn row_at_fault(&mut self, key: &Key, failure: Failure, now: Millis) {
        if self.leave_out(key, &failure, now) {
            return;
        }
        if of_object(failure.disposition) {
            self.hold_all(std::slice::from_ref(key), &failure, now);
            return;
        }
        let Failure { disposition, code, fields } = failure;
        let code = code.as_str();
        let Some(version) = self.queue.get(key).map(|slot| &slot.version) else { return };
        let (campaign, names_rows) = (version.member.campaign, !version.parents.is_empty());
        let known_by = version.known_by(key).clone();
        let Some(tries) = self.queue.tries(key) else { return };
        tries.adopt = None;
        let first = tries.failures == 0;
        match disposition {
            // A parent may have been deleted since it was remembered; Salesforce says so in either way.
            Disposition::DeadLetter {
                reason: "INVALID_CROSS_REFERENCE_KEY" | "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
            } if names_rows && first => {
                self.memory.forget(&known_by);
                self.retry(key, Retry::LookUpAgain, code, now);
            }
            Disposition::Retry(retry) => {
                match retry {
                    Retry::LookUpAgain => self.memory.forget(&known_by),
                    Retry::MemberExists | Retry::Adopt => self.memory.correct(&known_by, campaign, true),
                    Retry::MemberAbsent => self.memory.correct(&known_by, campaign, false),
                    Retry::Lock
                    | Retry::Automation
                    | Retry::Busy
                    | Retry::Unknown
                    | Retry::MemberMissing
                    | Retry::PersonChanged
                    | Retry::Job
                    | Retry::StatusGone
                    | Retry::WithoutFields => {}
                }
                self.retry(key, retry, code, now);
            }
            Disposition::Isolate | Disposition::Delivered => self.retry(key, Retry::Unknown, code, now),
            Disposition::Wait(wait) => self.row_waits(key, (wait, code), now),
            Disposition::DeadLetter { reason } => {
                let detail = "Salesforce refused the row";
                self.dead_letter(key, Reason { code: reason, detail, hint: hint(reason), fields }, now);
            }
            Disposition::Hold { hint, reach } => self.hold(key, Obstacle { code, hint, reach, passes: false }, now),
        }
    }

    /// Nobody knows what became of a request without an answer. Its rows are sent again: they are upserts by external
    /// id, so a second time changes nothing.
    fn request_failed(&mut self, id: RequestId, request: InFlight, failure: &Failure, now: Millis) {
        if self.statuses_untold(&request.call, failure, now) || self.hold_asking(id, &request, failure, now) {
            return;
        }
        let keys: Vec<Key> = request.keys.into_iter().filter(|key| self.queue.in_request(key, id)).collect();
        match request.call {
            AskedFor::Save { isolated, .. } => self.save_failed(&keys, isolated, failure, now),
            AskedFor::Limits => self.limits_failed(id, failure, now),
            AskedFor::Job(_) => {}
            AskedFor::Parents(doubts) => self.parents_unknown(id, doubts, failure, now),
            AskedFor::People => self.people_wait(&keys, failure, now),
            AskedFor::Records(asked) => self.records_wait(&asked, failure, now),
            AskedFor::ManyStatuses(asked) => self.many_statuses_wait(asked, failure, now),
            AskedFor::Statuses(campaign) => self.statuses_failed(campaign, failure, now),
        }
    }

    fn save_failed(&mut self, keys: &[Key], isolated: bool, failure: &Failure, now: Millis) {
        if self.hold_all(keys, failure, now) {
            return;
        }
        let code = failure.code.as_str();
        match failure.disposition {
            Disposition::Wait(wait) => self.save_waits(keys, isolated, (wait, code), now),
            Disposition::Retry(retry) => {
                for key in keys {
                    self.retry(key, retry, code, now);
                }
            }
            Disposition::Isolate
            | Disposition::DeadLetter { .. }
            | Disposition::Hold { .. }
            | Disposition::Delivered => match keys {
                [] => {}
                [key] => self.single_failed(key, failure, now),
                _ => self.isolate_halves(keys, now),
            },
        }
    }

    /// The row at fault has been found.
    fn single_failed(&mut self, key: &Key, failure: &Failure, now: Millis) {
        if self.leave_out(key, failure, now) {
            return;
        }
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
            (_, Disposition::Hold { hint, reach }) => {
                self.hold(key, Obstacle { code, hint, reach, passes: false }, now);
            }
            _ => self.retry(key, Retry::Unknown, code, now),
        }
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
        Answer::Records(_)
        | Answer::People(_)
        | Answer::Parents(_)
        | Answer::Statuses { .. }
        | Answer::CompleteStatuses(_)
        | Answer::Limits(_)
        | Answer::Job(_) => (false, 0),
    };
    Sample { sent_at: request.sent_at, answered_at: now, rows: request.keys.len(), at_once: 1, locked, refused }
}
