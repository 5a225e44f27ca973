//! Where rows wait: each row that is known stands in one place, which it owns and which says for what it waits.
//!
//! Queues of keys, told apart by a flag of the row, look simpler. But whoever changes the lane of a row then leaves its key
//! in the queue of the other one, where nobody takes it: the row, and every later version of it, waits for ever without
//! a word. Here a row in no queue cannot be written down, one that moves takes its entry along, and no entry is left of a
//! row that is gone.

#[cfg(test)]
mod check;
mod lane;

use std::collections::BTreeMap;

pub(super) use self::lane::Lane;
use super::held::Cause;
use super::jobs::JobNumber;
use super::left_out::Omitted;
use super::row::{Key, Kind, Priority, Tries, Version};
use super::{Failure, RequestId};
use crate::id::SalesforceId;
use crate::time::Millis;

/// Rows in the order in which they came.
pub(super) type Line = BTreeMap<u64, Key>;

/// Rows that share a request or fail with it.
pub(super) type GroupNumber = u64;

/// A campaign, and whether the people are leads: one question can ask for the members of no more.
pub(super) type Kin = (SalesforceId, bool);

/// What a row waits for.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Its turn among the rows of its campaign, which its version's priority decides.
    Lane,
    /// Which statuses its campaign has.
    Statuses,
    /// Whether its parent's record is there.
    Lookup(Key),
    /// The end of its parent's row.
    Parent(Key),
    /// Whose the member is that it is to be stamped on.
    Adoption,
    Later(Millis),
    /// That its cause is gone.
    Held(Cause),
    /// A request with nobody but its group: they were refused as a whole.
    Isolated(GroupNumber),
    /// What became of those that it names; it was refused for this.
    Doubted(Failure),
    /// The answer to a request.
    Request(RequestId),
    /// The end of a Bulk job.
    Job(JobNumber),
}

/// The newest version of a row, and the one that came while it was in flight.
#[derive(Debug)]
pub(super) struct Slot {
    pub version: Version,
    next: Option<Version>,
    spot: Spot,
}

/// A place, and the entry there that stands for the row.
#[derive(Debug)]
pub(super) enum Spot {
    Lane(SalesforceId, Priority, Kind, u64),
    Statuses(SalesforceId, u64),
    Lookup(Key, u64),
    Parent(Key, u64),
    Adoption(Kin, u64),
    Later(Millis, u64),
    Held(Cause, u64),
    Isolated(GroupNumber, u64),
    Doubted(Box<Failure>, u64),
    Request(RequestId),
    Job(JobNumber),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Boxed, as a map moves its values about.
    rows: BTreeMap<Key, Box<Slot>>,
    lines: Lines,
}

/// The entries of all places but those in flight, whose request or job lists its rows.
#[derive(Debug, Default)]
struct Lines {
    lanes: BTreeMap<SalesforceId, Lane>,
    statuses: BTreeMap<SalesforceId, Line>,
    lookups: BTreeMap<Key, Line>,
    parents: BTreeMap<Key, Line>,
    adoptions: BTreeMap<Kin, Line>,
    later: BTreeMap<(Millis, u64), Key>,
    held: BTreeMap<Cause, Line>,
    isolated: BTreeMap<GroupNumber, Line>,
    doubted: Line,
    in_jobs: usize,
    counter: u64,
}

impl Queue {
    pub fn get(&self, key: &Key) -> Option<&Slot> {
        self.rows.get(key).map(|slot| &**slot)
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.rows.contains_key(key)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn slots(&self) -> impl Iterator<Item = (&Key, &Slot)> {
        self.rows.iter().map(|(key, slot)| (key, &**slot))
    }

    /// What is noted of the tries to write a row. Where its notes change its priority, it keeps its turn until it is put
    /// somewhere.
    pub fn tries(&mut self, key: &Key) -> Option<&mut Tries> {
        self.rows.get_mut(key).map(|slot| &mut slot.version.tries)
    }

    /// What was tried to write a row says nothing any more.
    pub fn forget_tries(&mut self, key: &Key) {
        if let Some(slot) = self.rows.get_mut(key) {
            (slot.version.tries, slot.version.omitted) = (Tries::default(), Vec::new());
        }
    }

    /// Notes what a row is sent without.
    pub fn omit(&mut self, key: &Key, omitted: Vec<Omitted>) {
        if let Some(slot) = self.rows.get_mut(key) {
            slot.version.omitted = omitted;
        }
    }

    /// A row that was not known, at the end of its lane.
    pub fn insert(&mut self, key: Key, version: Version) {
        self.insert_at(key, version, Place::Lane);
    }

    pub fn insert_at(&mut self, key: Key, version: Version, place: Place) {
        let spot = self.lines.enter(&key, &version, place);
        if let Some(replaced) = self.rows.insert(key, Box::new(Slot { version, next: None, spot })) {
            self.lines.leave(&replaced.spot);
        }
    }

    /// Moves a row.
    pub fn put(&mut self, key: &Key, place: Place) {
        let Some(slot) = self.rows.get_mut(key) else { return };
        let spot = self.lines.enter(key, &slot.version, place);
        self.lines.leave(&std::mem::replace(&mut slot.spot, spot));
    }

    /// Takes a newer version of a row that is known; the one that it supersedes. One that is in flight stays until it is
    /// answered.
    pub fn update(&mut self, key: &Key, version: Version) -> Option<Version> {
        let slot = self.rows.get_mut(key)?;
        // A version that came meanwhile is never passed by one that comes later.
        if slot.in_flight() || slot.newer() {
            let newer = version.behind(slot.next.as_ref());
            return slot.next.replace(newer);
        }
        self.supersede(key, version)
    }

    /// Takes a version in the place of the one that is known, wherever that is.
    pub fn supersede(&mut self, key: &Key, version: Version) -> Option<Version> {
        let slot = self.rows.get_mut(key)?;
        let newer = Version { tries: slot.version.tries, ..version.behind(Some(&slot.version)) };
        let superseded = std::mem::replace(&mut slot.version, newer);
        let moves = match &slot.spot {
            Spot::Lane(campaign, priority, kind, _) => {
                let version = &slot.version;
                (*campaign, *priority, *kind) != (version.member.campaign, version.priority(), version.kind(key))
            }
            Spot::Request(_) | Spot::Job(_) => false,
            // What it waits for may not be what it needs now.
            Spot::Statuses(..)
            | Spot::Lookup(..)
            | Spot::Parent(..)
            | Spot::Adoption(..)
            | Spot::Later(..)
            | Spot::Held(..)
            | Spot::Isolated(..)
            | Spot::Doubted(..) => slot.version.member != superseded.member,
        };
        if moves {
            self.put(key, Place::Lane);
        }
        Some(superseded)
    }

    /// The version that came meanwhile takes the place of the one that was in flight, which it supersedes.
    pub fn promote(&mut self, key: &Key) -> Option<Version> {
        let next = self.rows.get_mut(key)?.next.take()?;
        self.supersede(key, next)
    }

    /// Takes the version that is done. One that came meanwhile is the row from now on, and is to be put somewhere.
    pub fn finish(&mut self, key: &Key) -> Option<Version> {
        if let Some(slot) = self.rows.get_mut(key)
            && let Some(next) = slot.next.take()
        {
            return Some(std::mem::replace(&mut slot.version, next));
        }
        self.remove(key)
    }

    pub fn remove(&mut self, key: &Key) -> Option<Version> {
        let slot = self.rows.remove(key)?;
        self.lines.leave(&slot.spot);
        Some(slot.version)
    }

    /// Takes out the rows and newer versions of these partitions; of rows in flight only the newer versions, unless `sent`
    /// says otherwise.
    pub fn take_partitions(&mut self, leaves: impl Fn(i32) -> bool, sent: bool) -> Vec<Version> {
        let leaves = |version: &Version| leaves(version.source.position.partition);
        let (mut keys, mut taken) = (Vec::new(), Vec::new());
        for (key, slot) in &mut self.rows {
            taken.extend(slot.next.take_if(|next| leaves(next)));
            if leaves(&slot.version) && (sent || !slot.in_flight()) {
                keys.push(key.clone());
            }
        }
        taken.extend(keys.iter().filter_map(|key| self.remove(key)));
        taken
    }

    /// Rows that a job carries, none of which has an outcome.
    pub fn in_jobs(&self) -> usize {
        self.lines.in_jobs
    }

    pub fn in_request(&self, key: &Key, id: RequestId) -> bool {
        self.rows.get(key).is_some_and(|slot| matches!(slot.spot, Spot::Request(of) if of == id))
    }

    pub fn in_job(&self, key: &Key, number: JobNumber) -> bool {
        self.rows.get(key).is_some_and(|slot| matches!(slot.spot, Spot::Job(of) if of == number))
    }

    pub fn lanes(&self) -> impl Iterator<Item = (&SalesforceId, &Lane)> {
        self.lines.lanes.iter()
    }

    pub fn lane(&self, campaign: &SalesforceId) -> Option<&Lane> {
        self.lines.lanes.get(campaign)
    }

    /// Puts rows behind the others of their lanes.
    pub fn put_behind(&mut self, keys: &[Key]) {
        for key in keys {
            self.put(key, Place::Lane);
        }
    }

    /// Takes a row whose pause is over out of it, to the end of its lane.
    pub fn take_due(&mut self, now: Millis) -> Option<Key> {
        let ((at, _), key) = self.lines.later.first_key_value()?;
        let key = (*at <= now).then(|| key.clone())?;
        self.put(&key, Place::Lane);
        Some(key)
    }

    /// When the next pause is over.
    pub fn due_at(&self) -> Option<Millis> {
        self.lines.later.keys().next().map(|(at, _)| *at)
    }

    /// The first rows that a cause holds.
    pub fn held(&self, cause: &Cause, rows_max: usize) -> Vec<Key> {
        self.lines.held.get(cause).into_iter().flat_map(Line::values).take(rows_max).cloned().collect()
    }

    pub fn held_rows(&self, cause: &Cause) -> usize {
        self.lines.held.get(cause).map_or(0, Line::len)
    }

    /// Campaigns whose statuses rows wait for.
    pub fn lack_statuses(&self) -> impl Iterator<Item = SalesforceId> {
        self.lines.statuses.keys().copied()
    }

    pub fn lacks_statuses(&self, campaign: &SalesforceId) -> bool {
        self.lines.statuses.contains_key(campaign)
    }

    pub fn of_statuses(&self, campaign: &SalesforceId) -> Vec<Key> {
        self.lines.statuses.get(campaign).into_iter().flat_map(Line::values).cloned().collect()
    }

    /// Parents that rows wait to have looked up, object by object.
    pub fn lack_records(&self) -> impl Iterator<Item = &Key> {
        self.lines.lookups.keys()
    }

    /// Rows that wait to have a parent looked up, or for the end of its row.
    pub fn of_parent(&self, parent: &Key) -> Vec<Key> {
        let waiting = [&self.lines.lookups, &self.lines.parents];
        waiting.into_iter().filter_map(|lines| lines.get(parent)).flat_map(Line::values).cloned().collect()
    }

    /// Rows whose member somebody else made, the first of one campaign and kind.
    pub fn adoptions(&self, rows_max: usize) -> Option<(Kin, Vec<Key>)> {
        let (kin, line) = self.lines.adoptions.first_key_value()?;
        Some((*kin, line.values().take(rows_max).cloned().collect()))
    }

    /// Each group of rows that were refused as a whole.
    pub fn groups(&self) -> impl Iterator<Item = Vec<Key>> {
        self.lines.isolated.values().map(|line| line.values().cloned().collect())
    }

    pub fn doubted(&self) -> impl Iterator<Item = (&Key, &Slot, &Failure)> {
        self.lines.doubted.values().filter_map(|key| {
            let slot = self.rows.get(key)?;
            if let Spot::Doubted(failure, _) = &slot.spot { Some((key, &**slot, &**failure)) } else { None }
        })
    }

    /// Whether no row goes before its cause is gone, or the parent that it waits for has an end. Not of rows in flight.
    pub fn goes_nowhere(&self) -> bool {
        let Lines { lanes, statuses, lookups, adoptions, later, isolated, doubted, .. } = &self.lines;
        lanes.is_empty()
            && statuses.is_empty()
            && lookups.is_empty()
            && adoptions.is_empty()
            && later.is_empty()
            && isolated.is_empty()
            && doubted.is_empty()
    }

    /// Number of a new group.
    pub fn new_group(&mut self) -> GroupNumber {
        self.lines.next_number()
    }
}

impl Slot {
    pub fn in_flight(&self) -> bool {
        matches!(self.spot, Spot::Request(_) | Spot::Job(_))
    }

    /// A newer version came while it was in flight.
    pub fn newer(&self) -> bool {
        self.next.is_some()
    }
}

impl Lines {
    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn enter(&mut self, key: &Key, version: &Version, place: Place) -> Spot {
        let number = self.next_number();
        let member = version.member;
        match place {
            Place::Lane => {
                let (priority, kind) = (version.priority(), version.kind(key));
                let lines = self.lanes.entry(member.campaign).or_default().lines_mut(priority);
                lines.entry(kind).or_default().insert(number, key.clone());
                Spot::Lane(member.campaign, priority, kind, number)
            }
            Place::Statuses => {
                self.statuses.entry(member.campaign).or_default().insert(number, key.clone());
                Spot::Statuses(member.campaign, number)
            }
            Place::Lookup(parent) => {
                self.lookups.entry(parent.clone()).or_default().insert(number, key.clone());
                Spot::Lookup(parent, number)
            }
            Place::Parent(parent) => {
                self.parents.entry(parent.clone()).or_default().insert(number, key.clone());
                Spot::Parent(parent, number)
            }
            Place::Adoption => {
                let kin = (member.campaign, version.person().has_prefix("00Q"));
                self.adoptions.entry(kin).or_default().insert(number, key.clone());
                Spot::Adoption(kin, number)
            }
            Place::Later(at) => {
                self.later.insert((at, number), key.clone());
                Spot::Later(at, number)
            }
            Place::Held(cause) => {
                self.held.entry(cause.clone()).or_default().insert(number, key.clone());
                Spot::Held(cause, number)
            }
            Place::Isolated(group) => {
                self.isolated.entry(group).or_default().insert(number, key.clone());
                Spot::Isolated(group, number)
            }
            Place::Doubted(failure) => {
                self.doubted.insert(number, key.clone());
                Spot::Doubted(Box::new(failure), number)
            }
            Place::Request(id) => Spot::Request(id),
            Place::Job(job) => {
                self.in_jobs += 1;
                Spot::Job(job)
            }
        }
    }

    fn leave(&mut self, spot: &Spot) {
        match spot {
            Spot::Lane(campaign, priority, kind, number) => {
                let Some(lane) = self.lanes.get_mut(campaign) else { return };
                take_out(lane.lines_mut(*priority), kind, *number);
                if lane.is_empty() {
                    self.lanes.remove(campaign);
                }
            }
            Spot::Statuses(campaign, number) => take_out(&mut self.statuses, campaign, *number),
            Spot::Lookup(parent, number) => take_out(&mut self.lookups, parent, *number),
            Spot::Parent(parent, number) => take_out(&mut self.parents, parent, *number),
            Spot::Adoption(kin, number) => take_out(&mut self.adoptions, kin, *number),
            Spot::Later(at, number) => drop(self.later.remove(&(*at, *number))),
            Spot::Held(cause, number) => take_out(&mut self.held, cause, *number),
            Spot::Isolated(group, number) => take_out(&mut self.isolated, group, *number),
            Spot::Doubted(_, number) => drop(self.doubted.remove(number)),
            Spot::Request(_) => {}
            Spot::Job(_) => self.in_jobs -= 1,
        }
    }
}

fn take_out<K: Ord>(lines: &mut BTreeMap<K, Line>, of: &K, number: u64) {
    let Some(line) = lines.get_mut(of) else { return };
    line.remove(&number);
    if line.is_empty() {
        lines.remove(of);
    }
}
