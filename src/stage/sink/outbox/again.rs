//! Rows that go again: after a pause, in smaller company, alone, or not before a person has looked.

use std::sync::Arc;

use super::end::{Reason, hint};
use super::held::{Cause, Obstacle, Of};
use super::queue::Place;
use super::row::Key;
use super::{Effect, Outbox, millis};
use crate::disposition::{Reach, Retry};
use crate::time::Millis;

/// Corrections of what was taken for known that count as no attempt: of a guess, and of an answer from before it.
const CORRECTIONS_MAX: u32 = 3;

/// Attempts of a row that meets what passes by itself, each in half the company; most locks are over by then.
pub(super) const ATTEMPTS_APART: u32 = 3;

/// What a person can do about what passes, where the code says no more.
const PASSES: &str = "Salesforce could not finish it now: if it lasts, look for its cause in the org's automation";

impl Outbox {
    pub(super) fn isolate(&mut self, keys: &[Key], now: Millis) {
        let group = self.queue.new_group();
        for key in keys {
            self.promote(key, now);
            if !self.drop_leaving(key) {
                self.queue.put(key, Place::Isolated(group));
            }
        }
    }

    pub(super) fn isolate_halves(&mut self, keys: &[Key], now: Millis) {
        let (left, right) = keys.split_at(keys.len() / 2);
        self.isolate(left, now);
        self.isolate(right, now);
    }

    /// Sends a row again after a backoff, unless it has had its attempts.
    pub(super) fn retry(&mut self, key: &Key, retry: Retry, code: &str, now: Millis) {
        if matches!(retry, Retry::Lock | Retry::Busy | Retry::Automation) {
            return self.wait_for_end(key, retry, code, now);
        }
        let Some(tries) = self.queue.tries(key) else { return };
        (tries.passing, tries.passing_at, tries.passing_for, tries.apart) = (0, None, 0, false);
        let learnt = matches!(retry, Retry::MemberExists | Retry::MemberAbsent | Retry::Adopt | Retry::PersonChanged);
        let corrected = learnt && tries.corrections < CORRECTIONS_MAX;
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
            return self.queue.put(key, Place::Adoption);
        }
        if corrected {
            return self.admit(key, now);
        }
        let at = now + self.backoff(failures);
        self.queue.put(key, Place::Later(at));
    }

    /// What passes ends by time: the row goes again a few times by itself, then with the others of its campaign, until the
    /// time is over.
    fn wait_for_end(&mut self, key: &Key, retry: Retry, code: &str, now: Millis) {
        // What lies between two attempts may have been an outage of hours.
        let gap_max = self.seldom();
        let Some(campaign) = self.queue.get(key).map(|slot| slot.version.member.campaign) else { return };
        // One of many rows has its turn seldom; what it waits for is tried with others meanwhile.
        let in_vain = self.in_vain(&Cause { code: Arc::from(code), of: Of::Campaign(campaign) }, now);
        let Some(tries) = self.queue.tries(key) else { return };
        let gap = tries.passing_at.replace(now).map_or(0, |last| now - last).max(0);
        let vain = (in_vain - std::mem::replace(&mut tries.passing_vain, in_vain)).min(gap);
        tries.passing = tries.passing.saturating_add(1);
        tries.passing_for += gap.min(gap_max).max(vain);
        tries.apart = retry == Retry::Automation;
        tries.halved = tries.passing.min(ATTEMPTS_APART);
        let (attempts, passing_for) = (tries.passing, tries.passing_for);
        let (hint, detail) = if retry == Retry::Lock {
            (hint(code), "the row, its campaign or its person was locked for as long as `sink.lock_wait`")
        } else {
            (PASSES, "Salesforce could not finish the row for as long as `sink.lock_wait`")
        };
        if passing_for >= millis(self.settings.lock_wait) {
            return self.dead_letter(key, Reason { code, detail, hint, fields: Vec::new() }, now);
        }
        self.effects.push(Effect::Retried(retry));
        if attempts > ATTEMPTS_APART {
            return self.hold(key, Obstacle { code, hint, reach: Reach::Campaign, passes: true }, now);
        }
        self.promote(key, now);
        if self.drop_leaving(key) {
            return;
        }
        let at = now + self.backoff(attempts);
        self.queue.put(key, Place::Later(at));
    }

    /// Sends a row of a job again after a pause, by a call. No attempt counts: many rows at once are what a job may stumble
    /// over.
    pub(super) fn send_by_call(&mut self, key: &Key, now: Millis) {
        self.effects.push(Effect::Retried(Retry::Job));
        self.promote(key, now);
        if self.drop_leaving(key) {
            return;
        }
        if let Some(tries) = self.queue.tries(key) {
            tries.by_call = true;
        }
        // All of a job at once, so that they share calls.
        self.queue.put(key, Place::Later(now + millis(self.settings.backoff_min)));
    }

    /// Sends a row again, as if it had not been sent.
    pub(super) fn send_again(&mut self, key: &Key, now: Millis) {
        self.promote(key, now);
        if !self.drop_leaving(key) {
            self.admit(key, now);
        }
    }

    /// Where a newer version came meanwhile, it takes the place of the one that was in flight.
    pub(super) fn promote(&mut self, key: &Key, now: Millis) {
        if let Some(superseded) = self.queue.promote(key) {
            self.supersede(&superseded, now);
        }
    }

    /// A row of a partition that is being handed over is not sent again here.
    pub(super) fn drop_leaving(&mut self, key: &Key) -> bool {
        let partition = self.queue.get(key).map(|slot| slot.version.source.position.partition);
        let leaving = partition.is_some_and(|partition| self.leaving.contains(&partition));
        if leaving && let Some(version) = self.queue.remove(key) {
            self.park(version);
        }
        leaving
    }

    /// After a version is done: the newer one of its row, and the rows that waited for it.
    pub(super) fn go_on(&mut self, key: &Key, now: Millis) {
        self.admit(key, now);
        if key.object.is_parent() {
            self.wake_children(key, now);
        }
    }
}
