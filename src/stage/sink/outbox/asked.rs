//! What answers to questions tell: statuses of campaigns, records of parents, and which was made by somebody else.

use std::collections::BTreeMap;

use super::held::Obstacle;
use super::memory::{Known, Statuses};
use super::people::of_another;
use super::row::Key;
use super::trouble::Stuck;
use super::{AskedFor, Failure, FoundPerson, Outbox, RequestId};
use crate::disposition::{Disposition, Reach, Retry};
use crate::id::SalesforceId;
use crate::time::Millis;
use crate::upsert::Labels;

/// What a person can do about it.
const STATUSES: &str =
    "the campaign's member statuses cannot be read or made: if it lasts, look for its cause in the org";

/// Whether a question about many was refused for what one of them is.
pub(super) fn of_one(failure: &Failure) -> bool {
    matches!(failure.disposition, Disposition::DeadLetter { .. } | Disposition::Isolate)
}

impl Outbox {
    /// The statuses of campaigns could not be read. Whether no row waits for them: then that stands against nobody.
    pub(super) fn statuses_untold(&mut self, call: &AskedFor, failure: &Failure, now: Millis) -> bool {
        let asked = match call {
            // One of them is what it was refused for, and is looked for.
            AskedFor::ManyStatuses(_) if of_one(failure) => return false,
            AskedFor::ManyStatuses(asked) => asked.as_slice(),
            AskedFor::Statuses(campaign) => std::slice::from_ref(campaign),
            AskedFor::Save { .. }
            | AskedFor::Records(_)
            | AskedFor::People
            | AskedFor::Parents(_)
            | AskedFor::Limits
            | AskedFor::Job(_) => return false,
        };
        let later = now + self.seldom();
        for campaign in asked {
            self.written.put_off(*campaign, later);
        }
        !asked.iter().any(|campaign| self.queue.lacks_statuses(campaign))
    }

    pub(super) fn statuses_failed(&mut self, campaign: SalesforceId, failure: &Failure, now: Millis) {
        let passes = match failure.disposition {
            // What is busy or locked at one campaign is no reason to hold up the others.
            Disposition::Retry(_) => true,
            // Nor is one that nobody can be asked about.
            Disposition::DeadLetter { .. } => false,
            Disposition::Wait(_) | Disposition::Isolate | Disposition::Delivered | Disposition::Hold { .. } => {
                return self.statuses_wait(campaign, failure, now);
            }
        };
        let code = failure.code.as_str();
        for key in self.queue.of_statuses(&campaign) {
            if failure.disposition == Disposition::Retry(Retry::Lock) {
                self.retry(&key, Retry::Lock, code, now);
            } else {
                // No row was tried, so none has failed: they wait for as long as it takes.
                self.hold(&key, Obstacle { code, hint: STATUSES, reach: Reach::Campaign, passes }, now);
            }
        }
    }

    pub(super) fn statuses_read(
        &mut self,
        id: RequestId,
        asked: Vec<SalesforceId>,
        complete: Vec<(SalesforceId, Labels)>,
        now: Millis,
    ) {
        self.questions.many_stuck = Stuck::default();
        self.questions.statuses_told();
        let mut complete: BTreeMap<SalesforceId, Labels> = complete.into_iter().collect();
        for campaign in asked {
            let Some(labels) = complete.remove(&campaign) else {
                self.questions.lacking.insert(campaign);
                continue;
            };
            self.questions.stuck.remove(&campaign);
            self.memory.remember_statuses(campaign, Statuses::Labels(labels), true, now);
            self.wake_campaign(&campaign, now);
            self.judge_written(campaign, id, now);
        }
    }

    pub(super) fn records_found(&mut self, asked: &[Key], found: Vec<(Key, SalesforceId)>, now: Millis) {
        self.questions.records_told();
        let found: BTreeMap<Key, SalesforceId> = found.into_iter().collect();
        for key in asked {
            self.memory.remember(key, found.get(key).copied().map_or(Known::Absent, Known::Present));
        }
        for key in asked {
            self.wake_children(key, now);
        }
    }

    pub(super) fn people_found(&mut self, id: RequestId, keys: Vec<Key>, found: &[FoundPerson], now: Millis) {
        // Two leads who are one contact may both be here, or one of them on its way.
        let on_their_way = self.queue.slots().filter_map(|(key, slot)| Some((slot.version.tries.adopt?, key.clone())));
        let mut claimed: BTreeMap<SalesforceId, Key> = on_their_way.collect();
        for key in keys {
            let Some(slot) = self.queue.get(&key).filter(|_| self.queue.in_request(&key, id)) else { continue };
            let (member, person) = (slot.version.member, slot.version.person());
            let found = found.iter().find(|found| found.person == person);
            let claimer = found.and_then(|found| claimed.get(&found.record)).map(|key| key.external_id.to_string());
            let keeper = || found?.external_id.clone().filter(|other| of_another(other, &member));
            match (found, claimer.clone().or_else(keeper)) {
                // Taking it away from the contact's other lead would go to and fro.
                (Some(_), Some(keeper)) if person != member.person => self.refuse_taken(&key, &keeper, now),
                // Whatever its external id was: a campaign has one member per person, and this is that one's id.
                (Some(found), _) if claimer.is_none() => {
                    if let Some(tries) = self.queue.tries(&key) {
                        tries.adopt = Some(found.record);
                    }
                    claimed.insert(found.record, key.clone());
                    self.send_again(&key, now);
                }
                // Deleted meanwhile, hidden from us, or about to be another row's.
                (None | Some(_), _) => {
                    self.memory.forget(&key);
                    self.retry(&key, Retry::LookUpAgain, "DUPLICATE_VALUE", now);
                }
            }
        }
    }
}
