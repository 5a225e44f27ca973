//! Which rows share a save: up to five collections of 200 rows in one call, put together from many campaigns.
//!
//! Calls are what an org has few of, so a call is filled: rows of old events take the room that live ones leave, and a
//! dependant rides with its member, whose record id it takes from the member's answer in the same call. A request that
//! would not be full waits while others are under way, as in Nagle's algorithm; alone, it goes as soon as no more rows
//! come.
//!
//! Rows of one request are sorted by their parents, and a person, like a campaign, is in one request at a time:
//! Salesforce locks both, and two requests that share one wait for each other or fail.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Need;
use super::queue::{Lane, Place};
use super::row::{Class, Key, Priority};
use super::{AskedFor, Call, Outbox, Part, Request, millis};
use crate::id::SalesforceId;
use crate::time::Millis;

/// Collections that one call takes.
const PARTS_MAX: usize = 5;

/// Keys that are looked at for one request: rows that cannot come along are passed over, but not without end.
const LOOKED_AT_MAX: usize = 10_000;

/// Every so many saves begin with what has been refused before, and every so many of those with old events: served
/// last must not mean never.
const RETRY_TURN: u64 = 4;
const BACKFILL_TURN: u64 = 16;

/// So many times the wait for company is a burst measured.
const BURST_WAITS: Millis = 3;

/// Rows of one commit are read together: no row for this part of the wait means that they are all here.
const SETTLE_PART: Millis = 20;

/// Rows that a full save holds.
pub(super) fn rows_max(batch_rows_max: usize) -> usize {
    batch_rows_max * PARTS_MAX
}

/// The reference of a save's collection, as its neighbours name it.
pub fn reference(part: usize) -> String {
    format!("part{part}")
}

/// A save that is being put together.
struct Batch {
    rows: BTreeMap<Class, Vec<Key>>,
    taken: BTreeSet<Key>,
    part_rows: usize,
    rows_max: usize,
    /// Whether its texts would not survive where references are resolved: such rows go without company.
    plain: Option<bool>,
    looked_at: usize,
}

/// What becomes of a key that was looked at.
enum Look {
    Taken,
    /// Not now, or it is somewhere else by now.
    Passed,
}

impl Batch {
    fn new(part_rows: usize, rows_max: usize) -> Self {
        Self { rows: BTreeMap::new(), taken: BTreeSet::new(), part_rows, rows_max, plain: None, looked_at: 0 }
    }

    fn closed(&self) -> bool {
        self.taken.len() >= self.rows_max || self.looked_at >= LOOKED_AT_MAX
    }

    fn add(&mut self, class: Class, key: &Key, plain: bool) -> bool {
        let parts: usize = self.rows.values().map(|rows| rows.len().div_ceil(self.part_rows)).sum();
        let count = self.rows.get(&class).map_or(0, Vec::len);
        let needs_part = count.is_multiple_of(self.part_rows);
        if self.taken.len() >= self.rows_max || self.plain.is_some_and(|all| all != plain) {
            return false;
        }
        if needs_part && parts >= if plain { 1 } else { PARTS_MAX } {
            return false;
        }
        self.plain = Some(plain);
        self.taken.insert(key.clone());
        self.rows.entry(class).or_default().push(key.clone());
        true
    }
}

impl Outbox {
    pub(super) fn save_batch(&mut self, now: Millis) -> Option<Request> {
        if self.waits_to_fill(now) {
            return None;
        }
        for priority in self.turn() {
            if !self.budget.allows(priority) {
                continue;
            }
            let batch = self.gather(priority, now);
            if !batch.rows.is_empty() {
                self.saves += 1;
                self.partial_since = None;
                self.last_save = Some(now);
                return Some(self.start_save(batch, false, now));
            }
        }
        None
    }

    fn turn(&self) -> [Priority; 3] {
        use Priority::{Backfill, Live, Retry};
        if self.saves % BACKFILL_TURN == BACKFILL_TURN - 1 {
            [Backfill, Retry, Live]
        } else if self.saves % RETRY_TURN == RETRY_TURN - 1 {
            [Retry, Live, Backfill]
        } else {
            [Live, Retry, Backfill]
        }
    }

    /// Whether what is ready may still gather company.
    fn waits_to_fill(&mut self, now: Millis) -> bool {
        let free = self.queue.lanes().filter(|(campaign, _)| !self.busy.contains(*campaign)).map(|(_, lane)| lane);
        let ready: usize = free.map(|lane| lane.rows(|kind| !self.jobs.keeps(kind))).sum();
        if ready < self.pace.rows() && !self.saving() {
            self.burst_since = None;
        }
        if ready == 0 || ready >= self.pace.rows() {
            self.partial_since = None;
            return ready > 0 && self.measures_burst(now);
        }
        let since = *self.partial_since.get_or_insert(now);
        now < self.fill_until(since)
    }

    /// How large a burst is shows while it is read. The first full save waits for that, or a backlog for a job would have
    /// cost calls before it is seen.
    fn measures_burst(&mut self, now: Millis) -> bool {
        let since = *self.burst_since.get_or_insert(now);
        let wait = millis(self.settings.batch_wait);
        self.settings.costs.job_rows_min > 0 && self.more_to_read && now < since + wait * BURST_WAITS
    }

    /// Until when a save that is not full waits, which was first seen at `since`.
    pub(super) fn fill_until(&self, since: Millis) -> Millis {
        let wait = millis(self.settings.batch_wait);
        let longest = since.saturating_add(wait);
        let settled = self.last_read.saturating_add(wait / SETTLE_PART);
        let filled = if self.saving() || self.more_to_read { longest } else { longest.min(settled) };
        filled.max(self.last_save.map_or(Millis::MIN, |at| at.saturating_add(self.budget.spacing())))
    }

    fn saving(&self) -> bool {
        self.in_flight.values().any(|request| matches!(request.call, AskedFor::Save { .. }))
    }

    /// Rows of this priority, campaign by campaign, beginning after the one that was served last.
    fn gather(&mut self, first: Priority, now: Millis) -> Batch {
        let retry = first == Priority::Retry;
        let part_rows = self.settings.batch_rows_max;
        let mut batch = Batch::new(part_rows, if retry { part_rows } else { self.pace.rows() });
        let company: &[Priority] = match first {
            Priority::Live => &[Priority::Live, Priority::Backfill],
            Priority::Retry => &[Priority::Retry],
            Priority::Backfill => &[Priority::Backfill, Priority::Live],
        };
        for priority in company {
            // There is no company without a host: a call of its own has its own turn and its own share of the budget.
            if *priority != first && batch.taken.is_empty() {
                break;
            }
            for campaign in self.free_campaigns(*priority) {
                if batch.closed() {
                    break;
                }
                self.gather_from(campaign, *priority, &mut batch, now);
                self.lane_cursor = Some(campaign);
            }
        }
        batch
    }

    fn free_campaigns(&self, priority: Priority) -> Vec<SalesforceId> {
        let cursor = self.lane_cursor;
        let after = self.queue.lanes().filter(|(campaign, _)| cursor.is_none_or(|cursor| **campaign > cursor));
        let before = self.queue.lanes().filter(|(campaign, _)| cursor.is_some_and(|cursor| **campaign <= cursor));
        let ready = |(campaign, lane): &(&SalesforceId, &Lane)| {
            !self.busy.contains(*campaign) && !lane.lines(priority).is_empty()
        };
        after
            .chain(before)
            .filter(ready)
            .map(|(campaign, _)| *campaign)
            .take(rows_max(self.settings.batch_rows_max))
            .collect()
    }

    fn gather_from(&mut self, campaign: SalesforceId, priority: Priority, batch: &mut Batch, now: Millis) {
        let mut last = 0;
        while !batch.closed()
            && let Some(lane) = self.queue.lane(&campaign)
            && let Some((number, key)) = lane.next(priority, last, |kind| !self.jobs.keeps(kind))
        {
            let key = key.clone();
            last = number;
            batch.looked_at += 1;
            if let Look::Taken = self.look(&key, priority, batch, now)
                && priority != Priority::Retry
            {
                self.take_riders(&key, batch, now);
            }
        }
        if batch.looked_at >= LOOKED_AT_MAX
            && let Some(lane) = self.queue.lane(&campaign)
        {
            // What stands behind so many is looked at next.
            let passed = lane.up_to(priority, last, |kind| !self.jobs.keeps(kind));
            self.queue.put_behind(&passed);
        }
    }

    fn look(&mut self, key: &Key, priority: Priority, batch: &mut Batch, now: Millis) -> Look {
        let Some(slot) = self.queue.get(key).filter(|_| !batch.taken.contains(key)) else { return Look::Passed };
        let (class, plain, halvings) = (slot.version.class(key), slot.version.plain, slot.version.halvings());
        if self.need(&slot.version, now) != Need::Nothing {
            self.admit(key, now);
            return Look::Passed;
        }
        if let Some(cause) = self.held_back(key) {
            self.queue.put(key, Place::Held(cause));
            return Look::Passed;
        }
        if self.people_of(&slot.version.member).any(|person| self.busy_people.contains(&person)) {
            return Look::Passed;
        }
        // Each refusal halves the company that the row comes back in.
        let company = (self.settings.batch_rows_max >> halvings.min(16)).clamp(1, batch.rows_max);
        if priority == Priority::Retry && batch.taken.len() >= company || !batch.add(class, key, plain) {
            return Look::Passed;
        }
        if priority == Priority::Retry {
            batch.rows_max = company;
        }
        Look::Taken
    }

    /// Rows that wait for this one go in the same call, as far as there is room, and those that wait for them.
    fn take_riders(&mut self, key: &Key, batch: &mut Batch, now: Millis) {
        if !key.object.is_parent() {
            return;
        }
        for rider in self.queue.of_parent(key) {
            let Some(slot) = self.queue.get(&rider) else { continue };
            let rides = !batch.taken.contains(&rider)
                && slot.version.priority() != Priority::Retry
                && !slot.version.plain
                && matches!(self.need(&slot.version, now), Need::Parent(parent) if parent == *key);
            if rides && batch.add(slot.version.class(&rider), &rider, false) {
                self.take_riders(&rider, batch, now);
            }
        }
    }

    /// A group of rows as one save. What no longer fits in goes its own way: a newer version may have other needs.
    pub(super) fn save_group(&mut self, keys: &[Key], now: Millis) -> Option<Request> {
        let mut batch = Batch::new(self.settings.batch_rows_max, usize::MAX);
        for key in keys {
            let Some(slot) = self.queue.get(key) else { continue };
            if !batch.add(slot.version.class(key), key, slot.version.plain) {
                self.admit(key, now);
            }
        }
        (!batch.rows.is_empty()).then(|| self.start_save(batch, true, now))
    }

    fn start_save(&mut self, batch: Batch, isolated: bool, now: Millis) -> Request {
        let mut groups: Vec<(Class, Vec<Key>)> = Vec::new();
        for (class, mut keys) in batch.rows {
            keys.sort_by_cached_key(|key| self.queue.get(key).map(|slot| slot.version.member));
            groups.extend(keys.chunks(batch.part_rows).map(|chunk| (class, chunk.to_vec())));
        }
        let mut references: BTreeMap<Key, String> = BTreeMap::new();
        let (mut parts, mut lengths, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (class, keys) in groups {
            let mut rows = Vec::with_capacity(keys.len());
            for key in &keys {
                let place = (parts.len(), rows.len());
                rows.extend(self.row_to_send(key, place, &mut references));
            }
            parts.push(Part { class, rows });
            lengths.push(keys.len());
            all.extend(keys);
        }
        self.start(all, AskedFor::Save { isolated, parts: lengths }, Call::Save { parts }, now)
    }

    /// Notes where a parent stands, for its riders behind it.
    fn row_to_send(
        &mut self,
        key: &Key,
        (part, place): (usize, usize),
        references: &mut BTreeMap<Key, String>,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        self.prepare(key);
        let version = &self.queue.get(key)?.version;
        let rides = version.parents.iter().any(|parent| self.memory.record(parent).is_none());
        self.queue.tries(key)?.rode = rides;
        if key.object.is_parent() {
            references.insert(key.clone(), format!("@{{{}[{place}].id}}", reference(part)));
        }
        let version = &self.queue.get(key)?.version;
        let id = |parent: &Key| self.memory.record(parent).map(|id| id.as_str().into());
        Some(version.record(key, |parent| id(parent).or_else(|| references.get(parent).map(|it| it.as_str().into()))))
    }

    /// Notes with a row what is known now of those whom it names, and of its values.
    pub(super) fn prepare(&mut self, key: &Key) {
        let Some(slot) = self.queue.get(key) else { return };
        let version = &slot.version;
        let (member, omitted) = (version.member, self.omit(key, version));
        let statuses = self.memory.last_statuses(&member.campaign);
        let status = statuses.zip(version.status.as_deref()).and_then(|(statuses, label)| statuses.record(label));
        self.queue.omit(key, omitted);
        let Some(tries) = self.queue.tries(key) else { return };
        tries.became = self.memory.became(&member.person);
        tries.status = status;
        tries.rode = false;
        tries.as_new =
            tries.adopt.is_none() && key.object.def().makes() && self.memory.takes_for_new(key, &member.campaign);
    }
}
