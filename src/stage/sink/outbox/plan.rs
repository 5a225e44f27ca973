//! Which call is made next.

use std::collections::{BTreeMap, BTreeSet};

use super::end::hint;
use super::held::Obstacle;
use super::memory::{Known, Statuses};
use super::queue::Place;
use super::row::{Key, Priority, Version};
use super::trouble::Stuck;
use super::{AskedFor, Call, InFlight, Outbox, Questions, Request, millis};
use crate::disposition::{Reach, Retry};
use crate::id::SalesforceId;
use crate::salesforce::query;
use crate::time::Millis;

/// Keys that one call asks for: as many queries as a call takes, of [`query::KEYS_MAX`] each.
const KEYS_MAX: usize = query::QUERIES_MAX * query::KEYS_MAX;

/// What stands between a row and its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// Those of its campaign.
    Statuses,
    /// The record id of a parent.
    Lookup(Key),
    /// The outcome of a parent, which is pending itself.
    Parent(Key),
    /// The parent was looked up and is not there.
    MissingParent(Key),
    /// The campaign's statuses could not be made for want of a right.
    Right,
    Refusal(Refusal),
}

/// Reasons of our own to refuse a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    ParentMissing,
    CampaignMissing,
    CampaignDeleted,
    StatusUnknown,
}

impl Outbox {
    /// The call to make now, if any. Asked again until there is none.
    pub fn next_request(&mut self, now: Millis) -> Option<Request> {
        let calls = self.calls_in_flight();
        if self.queue.is_empty() {
            // Nothing is left that would show its end.
            self.outage = None;
        }
        if let Some(outage) = self.outage
            && (now < outage.until || calls > 0)
        {
            // One request at a time asks whether the org is back.
            return None;
        }
        if let Some(request) = self.ask_whether_it_answers(now) {
            return Some(request);
        }
        self.wake_due(now);
        self.release(now);
        // Jobs have a bound of their own: an upload of minutes is no sign of load, and no reason to hold up calls.
        if self.budget.allows(Priority::Live)
            && let Some(request) = self.job_request(now)
        {
            return Some(request);
        }
        if calls >= self.pace.window() {
            return None;
        }
        // Rows that are looked at for a save may turn out to need something first, and are asked about at once.
        self.ask_or_save(now).or_else(|| self.ask_or_save(now)).or_else(|| self.ask_limits(now))
    }

    fn ask_or_save(&mut self, now: Millis) -> Option<Request> {
        if !self.budget.allows(Priority::Live) {
            return None;
        }
        self.ask_statuses(now)
            .or_else(|| self.ask_people(now))
            .or_else(|| self.ask_parents(now))
            .or_else(|| self.ask_records(now))
            .or_else(|| self.save_isolated(now))
            .or_else(|| self.start_job(now))
            .or_else(|| self.save_batch(now))
    }

    /// When [`Outbox::next_request`] may have something without any input. What is due already waits for an answer.
    pub fn wake_at(&self, now: Millis) -> Option<Millis> {
        let later = self.queue.due_at();
        let outage = self.outage.map(|outage| outage.until);
        let filled = self.partial_since.map(|since| self.fill_until(since));
        later
            .into_iter()
            .chain(outage)
            .chain(filled)
            .chain(self.limits_at())
            .chain(self.jobs_at())
            .chain(self.holds_at())
            .chain(self.written.due_at())
            .filter(|at| *at > now)
            .min()
    }

    /// When to ask what is left of the day.
    fn limits_at(&self) -> Option<Millis> {
        let at = self.budget.ask_at(self.seldom())?;
        if !self.queue.is_empty() {
            return Some(at);
        }
        // What was written is looked after by a call, too.
        self.written.due_at().filter(|_| !self.budget.allows(Priority::Live)).map(|due| due.max(at))
    }

    /// How often something is tried that a person has to mend, or that takes hours.
    pub(super) fn seldom(&self) -> Millis {
        millis(self.settings.backoff_max) * 10
    }

    /// What is left of the day, where rows wait for it and no other call would tell.
    fn ask_limits(&mut self, now: Millis) -> Option<Request> {
        let due = self.limits_at().is_some_and(|at| at <= now) && self.calls_in_flight() == 0;
        due.then(|| self.start(Vec::new(), AskedFor::Limits, Call::Limits, now))
    }

    /// Puts a row where it belongs next.
    pub(super) fn admit(&mut self, key: &Key, now: Millis) {
        let Some(slot) = self.queue.get(key) else { return };
        let place = match self.need(&slot.version, now) {
            Need::Nothing => self.held_back(key).map_or(Place::Lane, Place::Held),
            Need::Statuses => Place::Statuses,
            Need::Lookup(parent) => Place::Lookup(parent),
            Need::Parent(parent) => Place::Parent(parent),
            // It may be on its way: the parent's upsert may stand behind this one, and is looked for again.
            Need::MissingParent(parent) => {
                self.memory.forget(&parent);
                return self.retry(key, Retry::MemberMissing, "member_missing", now);
            }
            Need::Right => {
                let code = "statuses_forbidden";
                let obstacle = Obstacle { code, hint: hint(code), reach: Reach::Campaign, passes: false };
                return self.hold(key, obstacle, now);
            }
            Need::Refusal(refusal) => return self.refuse_row(key, refusal, now),
        };
        self.queue.put(key, place);
    }

    pub(super) fn need(&self, version: &Version, now: Millis) -> Need {
        for parent in &version.parents {
            let known = self.memory.known(parent);
            if let Some(Known::Present(_)) = known {
                continue;
            }
            let waits = self.queue.contains(parent);
            return match known {
                _ if waits => Need::Parent(parent.clone()),
                Some(Known::Refused) => Need::Refusal(Refusal::ParentMissing),
                Some(Known::Absent) => Need::MissingParent(parent.clone()),
                Some(Known::Present(_) | Known::Exists) | None => Need::Lookup(parent.clone()),
            };
        }
        self.need_of_status(version, now).unwrap_or(Need::Nothing)
    }

    fn need_of_status(&self, version: &Version, now: Millis) -> Option<Need> {
        let label = version.status.as_deref()?;
        let campaign = version.member.campaign;
        match self.memory.statuses(&campaign, now) {
            None => Some(Need::Statuses),
            Some(Statuses::CampaignMissing) => Some(Need::Refusal(Refusal::CampaignMissing)),
            Some(Statuses::CampaignDeleted) => Some(Need::Refusal(Refusal::CampaignDeleted)),
            Some(statuses) if statuses.has(label) => None,
            Some(Statuses::Forbidden(_)) => Some(Need::Right),
            Some(Statuses::Labels(_)) => Some(Need::Refusal(Refusal::StatusUnknown)),
        }
    }

    /// Rows that waited for what is known of a parent, or for its row's end.
    pub(super) fn wake_children(&mut self, parent: &Key, now: Millis) {
        self.wake(self.queue.of_parent(parent), now);
    }

    pub(super) fn wake_campaign(&mut self, campaign: &SalesforceId, now: Millis) {
        self.wake(self.queue.of_statuses(campaign), now);
    }

    fn wake(&mut self, keys: Vec<Key>, now: Millis) {
        for key in keys {
            self.admit(&key, now);
        }
    }

    fn wake_due(&mut self, now: Millis) {
        while let Some(key) = self.queue.take_due(now) {
            self.admit(&key, now);
        }
    }

    /// Of several campaigns at once, since most have what they need; then of each that does not.
    fn ask_statuses(&mut self, now: Millis) -> Option<Request> {
        let Questions { statuses: asked, lacking, campaigns_max, .. } = &mut self.questions;
        // What was written is looked after though no more rows come.
        let written = || self.written.due(now).filter(|campaign| !self.queue.lacks_statuses(campaign));
        let wanted = || self.queue.lack_statuses().chain(written()).filter(|campaign| !asked.contains(campaign));
        let many: Vec<SalesforceId> =
            wanted().filter(|campaign| !lacking.contains(campaign)).take(*campaigns_max).collect();
        if many.len() > 1 {
            asked.extend(&many);
            let asked_for = AskedFor::ManyStatuses(many.clone());
            return Some(self.start(Vec::new(), asked_for, Call::ReadStatuses { campaigns: many }, now));
        }
        let campaign = wanted().find(|campaign| lacking.contains(campaign)).or_else(|| many.first().copied())?;
        asked.insert(campaign);
        lacking.remove(&campaign);
        Some(self.start(Vec::new(), AskedFor::Statuses(campaign), Call::EnsureStatuses { campaign }, now))
    }

    /// Of one object at once.
    fn ask_records(&mut self, now: Millis) -> Option<Request> {
        let mut wanted = self.queue.lack_records().filter(|key| !self.questions.records.contains(*key)).peekable();
        let object = wanted.peek()?.object;
        let of_object = wanted.take_while(|key| key.object == object);
        let keys: Vec<Key> = of_object.take(self.questions.records_max).cloned().collect();
        self.questions.records.extend(keys.iter().cloned());
        Some(self.start(Vec::new(), AskedFor::Records(keys.clone()), Call::FindRecords { object, keys }, now))
    }

    fn ask_people(&mut self, now: Millis) -> Option<Request> {
        let ((campaign, _), keys) = self.queue.adoptions(KEYS_MAX)?;
        let people = keys.iter().filter_map(|key| self.queue.get(key)).map(|slot| slot.version.person());
        let people = people.collect();
        Some(self.start(keys, AskedFor::People, Call::FindPeople { campaign, people }, now))
    }

    /// A half of a request that was refused as a whole, alone.
    fn save_isolated(&mut self, now: Millis) -> Option<Request> {
        let groups: Vec<Vec<Key>> = self.queue.groups().collect();
        for group in groups {
            let (campaigns, people) = self.parents_of(&group);
            if !campaigns.is_disjoint(&self.busy) || !people.is_disjoint(&self.busy_people) {
                continue;
            }
            let group = self.still_alike(group, now);
            if let Some(request) = self.save_group(&group, now) {
                return Some(request);
            }
        }
        None
    }

    /// Sends those back whose needs have changed while they waited.
    fn still_alike(&mut self, keys: Vec<Key>, now: Millis) -> Vec<Key> {
        let mut sendable = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(slot) = self.queue.get(&key) else { continue };
            if self.need(&slot.version, now) == Need::Nothing {
                sendable.push(key);
            } else {
                self.admit(&key, now);
            }
        }
        sendable
    }

    pub(super) fn start(&mut self, keys: Vec<Key>, asked_for: AskedFor, call: Call, now: Millis) -> Request {
        let id = self.next_number();
        // Only saves lock anything.
        let (campaigns, people) = match asked_for {
            AskedFor::Save { .. } => self.parents_of(&keys),
            AskedFor::Records(_)
            | AskedFor::People
            | AskedFor::Parents(_)
            | AskedFor::ManyStatuses(_)
            | AskedFor::Statuses(_)
            | AskedFor::Limits
            | AskedFor::Job(_) => Default::default(),
        };
        for key in &keys {
            self.queue.put(key, Place::Request(id));
        }
        self.budget.spend(now);
        self.busy.extend(&campaigns);
        self.busy_people.extend(&people);
        self.in_flight.insert(id, InFlight { keys, campaigns, people, call: asked_for, sent_at: now });
        Request { id, call }
    }

    pub(super) fn calls_in_flight(&self) -> usize {
        self.in_flight.values().filter(|request| !matches!(request.call, AskedFor::Job(_))).count()
    }

    /// Sets those free whom no other request and no other job holds.
    pub(super) fn set_free(&mut self, campaigns: &BTreeSet<SalesforceId>, people: &BTreeSet<SalesforceId>) {
        let requests = || self.in_flight.values().filter(|request| !request.campaigns.is_empty());
        let jobs = || self.jobs.all.values();
        for campaign in campaigns {
            let held = jobs().any(|job| job.campaigns.contains(campaign))
                || requests().any(|request| request.campaigns.contains(campaign));
            if !held {
                self.busy.remove(campaign);
            }
        }
        for person in people {
            let held = jobs().any(|job| job.people.contains(person)) || requests().any(|it| it.people.contains(person));
            if !held {
                self.busy_people.remove(person);
            }
        }
    }

    pub(super) fn parents_of(&self, keys: &[Key]) -> (BTreeSet<SalesforceId>, BTreeSet<SalesforceId>) {
        let members = || keys.iter().filter_map(|key| self.queue.get(key)).map(|slot| &slot.version.member);
        (members().map(|member| member.campaign).collect(), members().flat_map(|it| self.people_of(it)).collect())
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            records: BTreeSet::new(),
            statuses: BTreeSet::new(),
            lacking: BTreeSet::new(),
            stuck: BTreeMap::new(),
            many_stuck: Stuck::default(),
            records_stuck: Stuck::default(),
            records_max: KEYS_MAX,
            campaigns_max: query::KEYS_MAX,
        }
    }
}

impl Questions {
    /// Records were looked up: more may be the next time.
    pub fn records_told(&mut self) {
        if self.records_max >= KEYS_MAX {
            self.records_stuck = Stuck::default();
        }
        self.records_max = self.records_max.saturating_mul(2).min(KEYS_MAX);
    }

    /// Statuses were read: of more campaigns at once the next time.
    pub fn statuses_told(&mut self) {
        self.campaigns_max = self.campaigns_max.saturating_mul(2).min(query::KEYS_MAX);
    }

    /// Whatever the answer is: where it tells nothing, rows go on waiting and it is asked again.
    pub fn answered(&mut self, call: &AskedFor) {
        match call {
            AskedFor::Records(asked) => self.records.retain(|key| !asked.contains(key)),
            AskedFor::ManyStatuses(asked) => self.statuses.retain(|campaign| !asked.contains(campaign)),
            AskedFor::Statuses(asked) => self.statuses.retain(|campaign| campaign != asked),
            AskedFor::Save { .. } | AskedFor::People | AskedFor::Parents(_) | AskedFor::Limits | AskedFor::Job(_) => {}
        }
    }
}
