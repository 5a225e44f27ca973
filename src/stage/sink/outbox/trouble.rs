//! What stands against everybody, and what only looks like it.
//!
//! An outage is waited for: one request at a time asks whether the org is back, with a growing pause. But a request that one
//! of its own rows breaks looks the same, "unknown exception", again and again for the same rows; to wait for that holds
//! its campaign, and with one campaign the whole sink, for ever. So what fails so a few times while other calls succeed is
//! the fault of what it is about: it is taken apart until the row is found. Where nothing else is under way that could
//! succeed, the usage of the day is asked for, to see whether the org answers at all.

use super::asked::of_one;
use super::held::Obstacle;
use super::queue::Place;
use super::row::Key;
use super::{Answer, AskedFor, Call, Failure, Outbox, Request, RequestId, RowResult, millis};
use crate::disposition::{Disposition, Reach, Retry, Wait};
use crate::id::SalesforceId;
use crate::time::Millis;

/// So many times is believed that it is the org.
const STUCK_MAX: u32 = 3;

/// Every so many failures it is asked whether the org answers at all.
const ASK_TURN: u32 = 2;

/// So many calls must have written for each one that failed, before a failure is a row's own: an org that fails most calls
/// fails any row again and again.
const WRITES_PER_FAILURE: u64 = 2;

/// What a person can do about it.
pub(super) const STUCK: &str =
    "Salesforce fails whenever it gets this, and takes other calls: look for its cause in the org";

#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub wait: Wait,
    pub failures: u32,
    pub until: Millis,
    /// What failed was a save: answers to questions do not end it.
    of_saves: bool,
    /// At which failure it was last asked whether the org answers.
    asked_at: u32,
}

/// What shows that the org is there: the newest call that it has answered, and the newest that has written a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    answered: RequestId,
    wrote: RequestId,
    /// Calls that have written a row, and calls that failed as if the org were away.
    writes: u64,
    failures: u64,
}

/// What came of other calls between two failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Between {
    #[default]
    Nothing,
    Answered,
    Wrote,
    /// And few failed, the one that it is about among them.
    MostlyWrote,
}

/// How often something has failed in a way that is waited for, and what else came of calls since the time before. Older
/// proof says nothing: the org may have gone away since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stuck {
    times: u32,
    /// The newest call at the last failure, and what was known then.
    newest: RequestId,
    known: Proof,
    between: Between,
    /// Held, as what cannot be done.
    held: bool,
}

impl Stuck {
    /// Once more. `newest` is the number of the newest call. What fails while nothing is answered shows an outage alone.
    fn again(&mut self, newest: RequestId, proof: Proof) {
        let (writes, failures) = (proof.writes - self.known.writes, proof.failures - self.known.failures);
        self.between = if self.times == 0 || proof.answered <= self.newest {
            Between::Nothing
        } else if proof.wrote <= self.newest {
            Between::Answered
        } else if writes < failures * WRITES_PER_FAILURE {
            Between::Wrote
        } else {
            Between::MostlyWrote
        };
        if self.times == 0 || self.between != Between::Nothing {
            self.times = self.times.saturating_add(1);
        }
        (self.newest, self.known) = (newest, proof);
    }

    /// Whether it is no outage.
    fn beside(self) -> bool {
        self.times >= STUCK_MAX && self.between >= Between::Answered
    }

    /// Whether it is its own fault, as other rows are written.
    fn at_fault(self) -> bool {
        self.times >= STUCK_MAX && self.between >= Between::Wrote
    }

    /// The same of a call, which an org that fails most of them fails with any row.
    fn breaks_calls(self) -> bool {
        self.times >= STUCK_MAX && self.between == Between::MostlyWrote
    }
}

impl Outbox {
    /// What an answer says of the org.
    pub(super) fn heard(&mut self, id: RequestId, answer: &Answer) {
        let (answered, wrote, ends) = match answer {
            Answer::Failed(failure) => {
                self.proof.failures += u64::from(matches!(failure.disposition, Disposition::Wait(_)));
                return;
            }
            Answer::Saved(parts) => {
                let waits = |failure: &Failure| matches!(failure.disposition, Disposition::Wait(_));
                let rows = || parts.iter().flatten().flatten();
                let refused = rows().any(|row| matches!(row, RowResult::Refused(failure) if waits(failure)));
                let failed = parts.iter().filter_map(|part| part.as_ref().err()).any(waits);
                let wrote = rows().any(|row| matches!(row, RowResult::Saved { .. }));
                self.proof.failures += u64::from(!wrote && (refused || failed));
                (parts.iter().any(Result::is_ok), wrote, !refused && !failed)
            }
            // The rows that are held wait for what holds them, not for its end, and no others would show it.
            Answer::Limits(_) => {
                (true, false, self.outage.is_some_and(|outage| outage.wait == Wait::Quota) || self.nothing_goes())
            }
            Answer::Records(_)
            | Answer::People(_)
            | Answer::Parents(_)
            | Answer::Statuses { .. }
            | Answer::CompleteStatuses(_)
            | Answer::Job(_) => (true, false, self.outage.is_some_and(|outage| !outage.of_saves)),
        };
        if answered {
            self.proof.answered = self.proof.answered.max(id);
        }
        if wrote {
            self.proof.wrote = self.proof.wrote.max(id);
            self.proof.writes += 1;
        }
        if ends {
            self.outage = None;
        }
    }

    pub(super) fn begin_outage(&mut self, wait: Wait, now: Millis) {
        // Requests that were in flight when it began say nothing new.
        if self.outage.is_some_and(|outage| now < outage.until) {
            return;
        }
        let failures = self.outage.map_or(0, |outage| outage.failures) + 1;
        let pause = match wait {
            Wait::Outage | Wait::Session | Wait::Concurrency | Wait::Login | Wait::Org => self.backoff(failures),
            // A budget of 24 hours does not come back in a moment.
            Wait::Quota => millis(self.settings.backoff_max),
        };
        let (of_saves, asked_at) = self.outage.map_or((false, 0), |outage| (outage.of_saves, outage.asked_at));
        self.outage = Some(Outage { wait, failures, until: now + pause, of_saves, asked_at });
    }

    fn saves_wait(&mut self, wait: Wait, now: Millis) {
        self.begin_outage(wait, now);
        if let Some(outage) = &mut self.outage {
            outage.of_saves = true;
        }
    }

    /// Whether no row waits for the end of an outage.
    fn nothing_goes(&self) -> bool {
        self.in_flight.is_empty() && self.jobs.all.is_empty() && self.queue.goes_nowhere()
    }

    /// Where the outage goes on: whether the org answers at all.
    pub(super) fn ask_whether_it_answers(&mut self, now: Millis) -> Option<Request> {
        let nothing_goes = self.nothing_goes();
        let outage = self.outage.as_mut()?;
        let turn = outage.wait == Wait::Outage && outage.failures > ASK_TURN && outage.failures % ASK_TURN == 1;
        let due = turn || nothing_goes && outage.wait != Wait::Quota;
        if !due || outage.asked_at == outage.failures {
            return None;
        }
        outage.asked_at = outage.failures;
        Some(self.start(Vec::new(), AskedFor::Limits, Call::Limits, now))
    }

    /// The usage could not be told. A refusal is an answer, too.
    pub(super) fn limits_failed(&mut self, id: RequestId, failure: &Failure, now: Millis) {
        match failure.disposition {
            Disposition::Wait(wait) if self.outage.is_some() => self.begin_outage(wait, now),
            Disposition::Wait(_) => {}
            Disposition::Delivered
            | Disposition::Retry(_)
            | Disposition::Isolate
            | Disposition::DeadLetter { .. }
            | Disposition::Hold { .. } => {
                self.proof.answered = self.proof.answered.max(id);
                if self.nothing_goes() {
                    self.outage = None;
                }
            }
        }
    }

    /// A save of these rows failed as if the org were away.
    pub(super) fn save_waits(&mut self, keys: &[Key], isolated: bool, (wait, code): (Wait, &str), now: Millis) {
        let (suspects, others): (Vec<Key>, Vec<Key>) = keys.iter().cloned().partition(|key| self.suspect(key, wait));
        let at_fault = suspects.iter().all(|key| self.stuck(key).breaks_calls());
        // What is held for it says nothing new of the org.
        let known = keys.iter().all(|key| self.stuck(key).held);
        if !known && (suspects.is_empty() || !at_fault) {
            self.saves_wait(wait, now);
        }
        // They have been found before, which an outage does not change.
        let (found, others): (Vec<Key>, Vec<Key>) = others.into_iter().partition(|key| self.stuck(key).held);
        for key in &found {
            self.hold_stuck(key, code, now);
        }
        if isolated {
            self.isolate(&others, now);
        } else {
            for key in &others {
                self.send_again(key, now);
            }
        }
        match suspects.as_slice() {
            [] => {}
            [key] if at_fault => {
                // It breaks whatever request it is in.
                if let Some(tries) = self.queue.tries(key) {
                    tries.alone = true;
                }
                self.retry(key, Retry::Unknown, code, now);
            }
            // Too little was written since: it may be that nothing can be.
            [key] => self.hold_stuck(key, code, now),
            _ => self.isolate_halves(&suspects, now),
        }
    }

    /// A row was refused as if the org were away.
    pub(super) fn row_waits(&mut self, key: &Key, (wait, code): (Wait, &str), now: Millis) {
        self.suspect(key, wait);
        if self.stuck(key).at_fault() {
            return self.retry(key, Retry::Unknown, code, now);
        }
        self.saves_wait(wait, now);
        self.send_again(key, now);
    }

    /// Counts one more failure of a row's request. Whether that is likely to be the row's fault.
    pub(super) fn suspect(&mut self, key: &Key, wait: Wait) -> bool {
        let (newest, proof) = (self.counter, self.proof);
        let Some(tries) = self.queue.tries(key) else { return false };
        tries.stuck.again(newest, proof);
        wait == Wait::Outage && tries.stuck.beside()
    }

    fn stuck(&self, key: &Key) -> Stuck {
        self.queue.get(key).map(|slot| slot.version.tries.stuck).unwrap_or_default()
    }

    /// Holds a row that nothing can be done with, so that it is tried seldom.
    pub(super) fn hold_stuck(&mut self, key: &Key, code: &str, now: Millis) {
        if let Some(tries) = self.queue.tries(key) {
            tries.stuck.held = true;
        }
        self.hold(key, Obstacle { code, hint: STUCK, reach: Reach::Row, passes: false }, now);
    }

    /// The statuses of a campaign could not be read. Its rows are held where those of others can.
    pub(super) fn statuses_wait(&mut self, campaign: SalesforceId, failure: &Failure, now: Millis) {
        let stuck = self.questions.stuck.entry(campaign).or_default();
        stuck.again(self.counter, self.proof);
        let beside = stuck.beside();
        stuck.held |= beside;
        let held = stuck.held;
        if !beside {
            self.question_waits(failure, now);
        }
        if held {
            let obstacle = Obstacle { code: &failure.code, hint: STUCK, reach: Reach::Campaign, passes: false };
            for key in self.queue.of_statuses(&campaign) {
                self.hold(&key, obstacle, now);
            }
        }
    }

    /// The statuses of many campaigns could not be read: each is asked for by itself.
    pub(super) fn many_statuses_wait(&mut self, asked: Vec<SalesforceId>, failure: &Failure, now: Millis) {
        if of_one(failure) {
            self.questions.campaigns_max = (asked.len() / 2).max(1);
            return;
        }
        self.questions.many_stuck.again(self.counter, self.proof);
        if self.questions.many_stuck.beside() {
            self.questions.many_stuck = Stuck::default();
            self.questions.lacking.extend(asked);
        } else {
            self.question_waits(failure, now);
        }
    }

    /// Records could not be looked up: fewer are, until the one is found that cannot.
    pub(super) fn records_wait(&mut self, asked: &[Key], failure: &Failure, now: Millis) {
        self.questions.records_stuck.again(self.counter, self.proof);
        if !self.questions.records_stuck.beside() {
            return self.question_waits(failure, now);
        }
        let [parent] = asked else {
            self.questions.records_max = (asked.len() / 2).max(1);
            return;
        };
        self.questions.records_stuck = Stuck::default();
        for key in self.queue.of_parent(parent) {
            self.hold_stuck(&key, &failure.code, now);
        }
    }

    /// It could not be asked whose members these are.
    pub(super) fn people_wait(&mut self, keys: &[Key], failure: &Failure, now: Millis) {
        let suspects: Vec<&Key> = keys.iter().filter(|key| self.suspect(key, Wait::Outage)).collect();
        if suspects.is_empty() {
            self.question_waits(failure, now);
        }
        for key in keys {
            self.promote(key, now);
            if suspects.contains(&key) {
                self.hold_stuck(key, &failure.code, now);
            } else if !self.drop_leaving(key) {
                self.queue.put(key, Place::Adoption);
            }
        }
    }

    /// A query that fails for whatever reason is asked again: no row is at fault.
    pub(super) fn question_waits(&mut self, failure: &Failure, now: Millis) {
        match failure.disposition {
            Disposition::Wait(wait) => self.begin_outage(wait, now),
            Disposition::Delivered
            | Disposition::Retry(_)
            | Disposition::Isolate
            | Disposition::DeadLetter { .. }
            | Disposition::Hold { .. } => self.begin_outage(Wait::Outage, now),
        }
    }
}
