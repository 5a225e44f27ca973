//! Which call is made next.

use std::collections::BTreeSet;

use super::memory::{Member, Statuses};
use super::row::{Class, Key, Version};
use super::{AskedFor, Call, InFlight, Outbox, Phase, Request};
use crate::disposition::Retry;
use crate::event::{MemberKey, Millis, SalesforceId};
use crate::upsert::Object;

/// Keys of one query: 200 of 37 characters, quoted and encoded, stay below the 16,384 bytes that a URL may have.
const QUERY_KEYS_MAX: usize = 200;

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
    Refusal(Refusal),
}

/// Reasons of our own to refuse a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    MemberMissing,
    CampaignMissing,
    StatusUnknown,
}

impl Outbox {
    /// The call to make now, if any. Asked again until there is none.
    pub fn next_request(&mut self, now: Millis) -> Option<Request> {
        if self.halted.is_some() || self.in_flight.len() >= self.settings.requests_in_flight_max {
            return None;
        }
        if let Some(outage) = self.outage
            && (now < outage.until || !self.in_flight.is_empty())
        {
            // One request at a time asks whether the org is back.
            return None;
        }
        self.wake_due(now);
        self.ask_statuses()
            .or_else(|| self.ask_people())
            .or_else(|| self.ask_members())
            .or_else(|| self.save_isolated(now))
            .or_else(|| self.save_batch(now))
    }

    /// Puts a row where it belongs next.
    pub(super) fn admit(&mut self, key: &Key, now: Millis) {
        let Some(slot) = self.slots.get(key) else { return };
        let (member, class) = (slot.version.member, slot.version.class(key));
        let need = self.need(key, &slot.version, now);
        let phase = match need {
            Need::Nothing => {
                let lane = self.lanes.entry(member.campaign).or_default();
                if let Some(queue) = lane.ready.get_mut(class.index()) {
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
            Need::Refusal(refusal) => return self.refuse_row(key, refusal, now),
        };
        self.set_phase(key, phase);
    }

    fn need(&self, key: &Key, version: &Version, now: Millis) -> Need {
        let known = self.memory.member(&version.member);
        match (key.object, known) {
            (Object::CampaignMember, known) => {
                if let Some(need) = self.need_of_status(version, now) {
                    need
                } else if known.is_none() && version.adopt.is_none() {
                    Need::Lookup(version.member)
                } else {
                    Need::Nothing
                }
            }
            (Object::Engagement | Object::Polls, Some(Member::Present(_))) => Need::Nothing,
            (Object::Engagement | Object::Polls, known) => {
                if self.slots.contains_key(&member_row(&version.member)) {
                    return Need::Member(version.member);
                }
                match known {
                    Some(Member::Refused) => Need::Refusal(Refusal::MemberMissing),
                    Some(Member::Absent | Member::Present(_)) => Need::MissingMember,
                    None => Need::Lookup(version.member),
                }
            }
        }
    }

    fn need_of_status(&self, version: &Version, now: Millis) -> Option<Need> {
        let label = version.status()?;
        let campaign = version.member.campaign;
        match self.memory.statuses(&campaign, now) {
            None => Some(Need::Statuses(campaign)),
            Some(Statuses::CampaignMissing) => Some(Need::Refusal(Refusal::CampaignMissing)),
            Some(statuses) if !statuses.has(label) => Some(Need::Refusal(Refusal::StatusUnknown)),
            Some(Statuses::Labels(_)) => None,
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

    fn ask_statuses(&mut self) -> Option<Request> {
        let campaign = self.statuses_wanted.pop_front()?;
        Some(self.start(Vec::new(), AskedFor::Statuses(campaign), Call::EnsureStatuses { campaign }))
    }

    fn ask_members(&mut self) -> Option<Request> {
        let count = self.lookups.len().min(QUERY_KEYS_MAX);
        let members: Vec<MemberKey> = self.lookups.drain(..count).collect();
        if members.is_empty() {
            return None;
        }
        Some(self.start(Vec::new(), AskedFor::Members(members.clone()), Call::FindMembers { members }))
    }

    fn ask_people(&mut self) -> Option<Request> {
        let mut entry = self.adoptions.first_entry()?;
        let (campaign, _) = *entry.key();
        let rest = entry.get().len().saturating_sub(QUERY_KEYS_MAX);
        let keys = entry.get_mut().split_off(rest);
        if rest == 0 {
            entry.remove();
        }
        let keys: Vec<Key> = keys.into_iter().filter(|key| self.phase(key) == Some(Phase::Waiting)).collect();
        if keys.is_empty() {
            return self.ask_people();
        }
        let people = keys.iter().filter_map(|key| self.slots.get(key)).map(|slot| slot.version.member.person);
        let people = people.collect();
        Some(self.start(keys, AskedFor::People, Call::FindPeople { campaign, people }))
    }

    /// A half of a request that was refused as a whole, alone.
    fn save_isolated(&mut self, now: Millis) -> Option<Request> {
        for _ in 0..self.isolated.len() {
            let group = self.isolated.pop_front()?;
            let campaigns = self.campaigns_of(&group);
            if campaigns.iter().any(|campaign| self.busy.contains(campaign)) {
                self.isolated.push_back(group);
                continue;
            }
            let group = self.still_sendable(group, Phase::Isolated, None, now);
            if !group.is_empty() {
                return Some(self.start_save(group, true));
            }
        }
        None
    }

    fn save_batch(&mut self, now: Millis) -> Option<Request> {
        for step in 0..Class::ALL.len() {
            let class = (self.class_cursor + step) % Class::ALL.len();
            let keys = self.take_ready(class, now);
            if !keys.is_empty() {
                self.class_cursor = class + 1;
                return Some(self.start_save(keys, false));
            }
        }
        None
    }

    /// Up to a batch of rows of one class, campaign by campaign, beginning after the campaign that was served last.
    fn take_ready(&mut self, class: usize, now: Millis) -> Vec<Key> {
        let mut keys = Vec::new();
        for campaign in self.free_campaigns(class) {
            let room = self.settings.batch_rows_max - keys.len();
            let Some(lane) = self.lanes.get_mut(&campaign) else { continue };
            let Some(queue) = lane.ready.get_mut(class) else { continue };
            let taken: Vec<Key> = queue.drain(..queue.len().min(room)).collect();
            if lane.ready.iter().all(std::collections::VecDeque::is_empty) {
                self.lanes.remove(&campaign);
            }
            keys.extend(self.still_sendable(taken, Phase::Ready, Some(class), now));
            if keys.len() >= self.settings.batch_rows_max {
                self.lane_cursor = Some(campaign);
                break;
            }
        }
        keys
    }

    fn free_campaigns(&self, class: usize) -> Vec<SalesforceId> {
        let cursor = self.lane_cursor;
        let after = self.lanes.iter().filter(|(campaign, _)| cursor.is_none_or(|cursor| **campaign > cursor));
        let before = self.lanes.iter().filter(|(campaign, _)| cursor.is_some_and(|cursor| **campaign <= cursor));
        after
            .chain(before)
            .filter(|(campaign, lane)| {
                !self.busy.contains(*campaign) && lane.ready.get(class).is_some_and(|queue| !queue.is_empty())
            })
            .map(|(campaign, _)| *campaign)
            .take(self.settings.batch_rows_max)
            .collect()
    }

    /// Drops keys that are elsewhere by now, and sends those back whose needs have changed while they waited.
    fn still_sendable(&mut self, keys: Vec<Key>, phase: Phase, class: Option<usize>, now: Millis) -> Vec<Key> {
        let mut sendable = Vec::with_capacity(keys.len());
        let mut seen = BTreeSet::new();
        for key in keys {
            let Some(slot) = self.slots.get(&key).filter(|slot| slot.phase == phase) else { continue };
            if class.is_some_and(|class| class != slot.version.class(&key).index()) {
                continue;
            }
            if self.need(&key, &slot.version, now) != Need::Nothing {
                self.admit(&key, now);
            } else if seen.insert(key.clone()) {
                sendable.push(key);
            }
        }
        sendable
    }

    fn start_save(&mut self, keys: Vec<Key>, isolated: bool) -> Request {
        let mut adopted = false;
        let mut object = Object::CampaignMember;
        let mut rows = Vec::with_capacity(keys.len());
        for key in &keys {
            if let Some(slot) = self.slots.get(key) {
                adopted = slot.version.adopt.is_some();
                object = key.object;
                rows.push(slot.version.record(key, self.memory.member(&slot.version.member)));
            }
        }
        let call = if adopted { Call::Update { rows } } else { Call::Upsert { object, rows } };
        self.start(keys, AskedFor::Save { isolated }, call)
    }

    fn start(&mut self, keys: Vec<Key>, asked_for: AskedFor, call: Call) -> Request {
        let id = self.next_number();
        // Only saves lock a campaign.
        let campaigns = match asked_for {
            AskedFor::Save { .. } => self.campaigns_of(&keys),
            AskedFor::Members(_) | AskedFor::People | AskedFor::Statuses(_) => BTreeSet::new(),
        };
        for key in &keys {
            self.set_phase(key, Phase::InFlight(id));
        }
        self.busy.extend(&campaigns);
        self.in_flight.insert(id, InFlight { keys, campaigns, call: asked_for });
        Request { id, call }
    }

    fn campaigns_of(&self, keys: &[Key]) -> BTreeSet<SalesforceId> {
        keys.iter().filter_map(|key| self.slots.get(key)).map(|slot| slot.version.member.campaign).collect()
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
