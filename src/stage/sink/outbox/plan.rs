//! Which call is made next.

use std::collections::BTreeSet;

use super::end::hint;
use super::memory::{Member, Statuses};
use super::row::{Key, Priority, Version};
use super::{AskedFor, Call, InFlight, Outbox, Phase, Request, millis};
use crate::disposition::Retry;
use crate::event::{MemberKey, Millis, SalesforceId};
use crate::salesforce::query;
use crate::upsert::Object;

/// Keys that one call asks for: as many queries as a call takes, of [`query::KEYS_MAX`] each.
const KEYS_MAX: usize = query::QUERIES_MAX * query::KEYS_MAX;

/// What stands between a row and its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Statuses(SalesforceId),
    Lookup(MemberKey),
    /// The outcome of the member, which is pending itself.
    Member(MemberKey),
    /// The member was looked up and is not there.
    MissingMember,
    /// The campaign's statuses could not be made for want of a right.
    Right,
    Refusal(Refusal),
}

/// Reasons of our own to refuse a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    MemberMissing,
    CampaignMissing,
    CampaignDeleted,
    StatusUnknown,
}

impl Outbox {
    /// The call to make now, if any. Asked again until there is none.
    pub fn next_request(&mut self, now: Millis) -> Option<Request> {
        let calls = self.calls_in_flight();
        if self.halted.is_some() {
            return None;
        }
        if let Some(outage) = self.outage
            && (now < outage.until || calls > 0)
        {
            // One request at a time asks whether the org is back.
            return None;
        }
        self.wake_due(now);
        // Jobs have a bound of their own: an upload of minutes is no sign of load, and no reason to hold up calls.
        if self.budget.allows(Priority::Live)
            && let Some(request) = self.job_request(now)
        {
            return Some(request);
        }
        if calls >= self.pace.window() {
            return None;
        }
        let request = if self.budget.allows(Priority::Live) {
            self.ask_statuses(now)
                .or_else(|| self.ask_people(now))
                .or_else(|| self.ask_parents(now))
                .or_else(|| self.ask_members(now))
                .or_else(|| self.save_isolated(now))
                .or_else(|| self.start_job(now))
                .or_else(|| self.save_batch(now))
        } else {
            None
        };
        request.or_else(|| self.ask_limits(now))
    }

    /// When [`Outbox::next_request`] may have something without any input. What is due already waits for an answer.
    pub fn wake_at(&self, now: Millis) -> Option<Millis> {
        let later = self.later.keys().next().map(|(at, _)| *at);
        let outage = self.outage.map(|outage| outage.until);
        let filled = self.partial_since.map(|since| self.fill_until(since));
        later
            .into_iter()
            .chain(outage)
            .chain(filled)
            .chain(self.limits_at())
            .chain(self.jobs_at())
            .filter(|at| *at > now)
            .min()
    }

    /// When to ask what is left of the day.
    fn limits_at(&self) -> Option<Millis> {
        self.budget.ask_at(self.seldom()).filter(|_| self.pending() > 0)
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
        let Some(slot) = self.slots.get(key) else { return };
        let (member, priority) = (slot.version.member, slot.version.priority());
        let need = self.need(key, &slot.version, now);
        let phase = match need {
            Need::Nothing => {
                let lane = self.lanes.entry(member.campaign).or_default();
                if let Some(queue) = lane.ready.get_mut(priority.index()) {
                    queue.push_back(key.clone());
                }
                Phase::Ready
            }
            Need::Statuses(campaign) => {
                self.awaiting_statuses.entry(campaign).or_default().push(key.clone());
                if self.asking_statuses.insert(campaign) {
                    self.statuses_wanted.push_back(campaign);
                }
                Phase::Waiting
            }
            Need::Lookup(member) => {
                self.awaiting_member.entry(member).or_default().push(key.clone());
                if self.looking_up.insert(member) {
                    self.lookups.push_back(member);
                }
                Phase::Waiting
            }
            Need::Member(member) => {
                self.awaiting_member.entry(member).or_default().push(key.clone());
                Phase::Waiting
            }
            // It may be on its way: the member's upsert may stand behind this one, and is looked for again.
            Need::MissingMember => {
                self.memory.forget(&member);
                return self.retry(key, Retry::MemberMissing, "member_missing", now);
            }
            Need::Right => return self.hold(key, "statuses_forbidden", hint("statuses_forbidden"), now),
            Need::Refusal(refusal) => return self.refuse_row(key, refusal, now),
        };
        self.set_phase(key, phase);
    }

    pub(super) fn need(&self, key: &Key, version: &Version, now: Millis) -> Need {
        let known = self.memory.member(&version.member);
        match (key.object, known) {
            (Object::CampaignMember, _) => self.need_of_status(version, now).unwrap_or(Need::Nothing),
            (Object::Engagement | Object::Polls, Some(Member::Present(_))) => Need::Nothing,
            (Object::Engagement | Object::Polls, known) => {
                if self.slots.contains_key(&member_row(&version.member)) {
                    return Need::Member(version.member);
                }
                match known {
                    Some(Member::Refused) => Need::Refusal(Refusal::MemberMissing),
                    Some(Member::Absent) => Need::MissingMember,
                    Some(Member::Present(_) | Member::Exists) | None => Need::Lookup(version.member),
                }
            }
        }
    }

    fn need_of_status(&self, version: &Version, now: Millis) -> Option<Need> {
        let label = version.status.as_deref()?;
        let campaign = version.member.campaign;
        match self.memory.statuses(&campaign, now) {
            None => Some(Need::Statuses(campaign)),
            Some(Statuses::CampaignMissing) => Some(Need::Refusal(Refusal::CampaignMissing)),
            Some(Statuses::CampaignDeleted) => Some(Need::Refusal(Refusal::CampaignDeleted)),
            Some(statuses) if statuses.has(label) => None,
            Some(Statuses::Forbidden(_)) => Some(Need::Right),
            Some(Statuses::Labels(_)) => Some(Need::Refusal(Refusal::StatusUnknown)),
        }
    }

    /// Rows that waited for what is known of a member, or for its row's end.
    pub(super) fn wake_member(&mut self, member: &MemberKey, now: Millis) {
        let keys = self.awaiting_member.remove(member).unwrap_or_default();
        self.wake(keys, now);
    }

    pub(super) fn wake_campaign(&mut self, campaign: &SalesforceId, now: Millis) {
        let keys = self.awaiting_statuses.remove(campaign).unwrap_or_default();
        self.wake(keys, now);
    }

    fn wake(&mut self, keys: Vec<Key>, now: Millis) {
        for key in keys {
            if self.phase(&key) == Some(Phase::Waiting) {
                self.admit(&key, now);
            }
        }
    }

    fn wake_due(&mut self, now: Millis) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            if self.phase(&key) == Some(Phase::Later) {
                self.admit(&key, now);
            }
        }
    }

    /// Of several campaigns at once, since most have what they need; then of each that does not.
    fn ask_statuses(&mut self, now: Millis) -> Option<Request> {
        if self.statuses_wanted.len() > 1 {
            let count = self.statuses_wanted.len().min(query::KEYS_MAX);
            let campaigns: Vec<SalesforceId> = self.statuses_wanted.drain(..count).collect();
            let asked_for = AskedFor::ManyStatuses(campaigns.clone());
            return Some(self.start(Vec::new(), asked_for, Call::ReadStatuses { campaigns }, now));
        }
        let campaign = self.statuses_lacking.pop_front().or_else(|| self.statuses_wanted.pop_front())?;
        Some(self.start(Vec::new(), AskedFor::Statuses(campaign), Call::EnsureStatuses { campaign }, now))
    }

    fn ask_members(&mut self, now: Millis) -> Option<Request> {
        let count = self.lookups.len().min(KEYS_MAX);
        let members: Vec<MemberKey> = self.lookups.drain(..count).collect();
        if members.is_empty() {
            return None;
        }
        Some(self.start(Vec::new(), AskedFor::Members(members.clone()), Call::FindMembers { members }, now))
    }

    fn ask_people(&mut self, now: Millis) -> Option<Request> {
        let mut entry = self.adoptions.first_entry()?;
        let (campaign, _) = *entry.key();
        let rest = entry.get().len().saturating_sub(KEYS_MAX);
        let keys = entry.get_mut().split_off(rest);
        if rest == 0 {
            entry.remove();
        }
        let keys: Vec<Key> = keys.into_iter().filter(|key| self.phase(key) == Some(Phase::Waiting)).collect();
        if keys.is_empty() {
            return self.ask_people(now);
        }
        let people = keys.iter().filter_map(|key| self.slots.get(key)).map(|slot| slot.version.person());
        let people = people.collect();
        Some(self.start(keys, AskedFor::People, Call::FindPeople { campaign, people }, now))
    }

    /// A half of a request that was refused as a whole, alone.
    fn save_isolated(&mut self, now: Millis) -> Option<Request> {
        for _ in 0..self.isolated.len() {
            let group = self.isolated.pop_front()?;
            let (campaigns, people) = self.parents_of(&group);
            if !campaigns.is_disjoint(&self.busy) || !people.is_disjoint(&self.busy_people) {
                self.isolated.push_back(group);
                continue;
            }
            let group = self.still_isolated(group, now);
            if let Some(request) = self.save_group(&group, now) {
                return Some(request);
            }
        }
        None
    }

    /// Drops keys that are elsewhere by now, and sends those back whose needs have changed while they waited.
    fn still_isolated(&mut self, keys: Vec<Key>, now: Millis) -> Vec<Key> {
        let mut sendable = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(slot) = self.slots.get(&key).filter(|slot| slot.phase == Phase::Isolated) else { continue };
            if self.need(&key, &slot.version, now) == Need::Nothing {
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
            AskedFor::Members(_)
            | AskedFor::People
            | AskedFor::Parents(_)
            | AskedFor::ManyStatuses(_)
            | AskedFor::Statuses(_)
            | AskedFor::Limits
            | AskedFor::Job(_) => Default::default(),
        };
        for key in &keys {
            self.set_phase(key, Phase::InFlight(id));
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
        let members = || keys.iter().filter_map(|key| self.slots.get(key)).map(|slot| &slot.version.member);
        (members().map(|member| member.campaign).collect(), members().flat_map(|it| self.people_of(it)).collect())
    }

    pub(super) fn phase(&self, key: &Key) -> Option<Phase> {
        self.slots.get(key).map(|slot| slot.phase)
    }

    pub(super) fn set_phase(&mut self, key: &Key, phase: Phase) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.phase = phase;
        }
    }
}

/// The row of a member.
pub(super) fn member_row(member: &MemberKey) -> Key {
    Key { object: Object::CampaignMember, external_id: member.to_string().into() }
}
