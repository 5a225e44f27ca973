//! What this member is to the partitions that it was assigned: whose states are here, whose are still to come, and what it
//! no longer is.
//!
//! A home is a partition of `rollbook.resolved`, and with it of the states. With KIP-848 some homes are folded while others
//! are read back; all that are read back are read together, in one round over the changelog. A member may be assigned
//! partitions of other inputs alone, and goes through an empty round then: the catalogue and the places to read from are
//! waited for all the same.
//!
//! The loop asks here and sets nothing beside: flags of their own for "taking over", "reading back" and "lost" had
//! combinations that mean nothing, each of which some chapter took for something.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::changelog::{Changelog, Log};

/// How far the states of a home are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Assigned; disk and changelog are read up to the log's end before anything is folded.
    Taken,
    /// The states are here, whole.
    Folded,
    /// The group has given it to somebody else, and the rebalance that says so is still to come. The states are gone.
    Lost,
}

/// The reading back of homes that were taken.
enum Round<L: Log> {
    /// Nothing is read back.
    Over,
    /// The disk is waited for.
    Awaited,
    Reading(Changelog<L>),
}

pub(super) struct Tenure<L: Log> {
    homes: BTreeMap<i32, Phase>,
    round: Round<L>,
    /// The group has given the partitions to others, and the rebalance that says so is still to come. Nothing is folded until
    /// then: offsets must not move over what was folded into states that are gone.
    lost: bool,
    /// Records were read and not folded, of partitions that may stay.
    skipped: bool,
    /// How often everything was taken over anew: records that were read before are read again.
    starts_over: u64,
}

impl<L: Log> Default for Tenure<L> {
    fn default() -> Self {
        Self { homes: BTreeMap::new(), round: Round::Over, lost: false, skipped: false, starts_over: 0 }
    }
}

/// What is asked.
impl<L: Log> Tenure<L> {
    /// Homes that are assigned, wherever their states are.
    pub fn homes(&self) -> impl Iterator<Item = i32> + use<'_, L> {
        self.homes.keys().copied()
    }

    pub fn len(&self) -> usize {
        self.homes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.homes.is_empty()
    }

    pub fn has(&self, home: i32) -> bool {
        self.homes.contains_key(&home)
    }

    /// Whether the states of a home are here, whole.
    pub fn folds(&self, home: i32) -> bool {
        self.homes.get(&home) == Some(&Phase::Folded)
    }

    /// Whether the states of a home are still to come.
    pub fn reads_back(&self, home: i32) -> bool {
        self.homes.get(&home) == Some(&Phase::Taken)
    }

    pub fn folded(&self) -> Vec<i32> {
        self.of(Phase::Folded)
    }

    /// Homes whose states are still to come.
    pub fn taken(&self) -> Vec<i32> {
        self.of(Phase::Taken)
    }

    fn of(&self, phase: Phase) -> Vec<i32> {
        self.homes.iter().filter(|(_, it)| **it == phase).map(|(home, _)| *home).collect()
    }

    /// Partitions are taken over and the disk is waited for.
    pub fn awaits_disk(&self) -> bool {
        matches!(self.round, Round::Awaited)
    }

    /// The changelog, while it is read.
    pub fn log(&self) -> Option<&Changelog<L>> {
        if let Round::Reading(log) = &self.round { Some(log) } else { None }
    }

    pub fn log_mut(&mut self) -> Option<&mut Changelog<L>> {
        if let Round::Reading(log) = &mut self.round { Some(log) } else { None }
    }

    /// Whether states are read back. The inputs of their homes are paused.
    pub fn restoring(&self) -> bool {
        self.log().is_some()
    }

    /// Whether a take-over is under way, at whichever step.
    pub fn taking_over(&self) -> bool {
        !matches!(self.round, Round::Over)
    }

    pub fn lost(&self) -> bool {
        self.lost
    }

    pub fn skipped(&self) -> bool {
        self.skipped
    }

    pub fn starts_over(&self) -> u64 {
        self.starts_over
    }
}

/// What happens.
impl<L: Log> Tenure<L> {
    /// These homes are assigned, and no others; the gained ones are taken over, the states of the others stand.
    pub fn take(&mut self, homes: &BTreeSet<i32>, gained: &BTreeSet<i32>) {
        (self.lost, self.skipped) = (false, false);
        let phase = |home: &i32| match self.homes.get(home) {
            Some(Phase::Folded) if !gained.contains(home) => Phase::Folded,
            Some(_) | None => Phase::Taken,
        };
        self.homes = homes.iter().map(|home| (*home, phase(home))).collect();
    }

    /// Homes that were taken are read back, from the beginning of the round.
    pub fn begin_round(&mut self) {
        self.round = Round::Awaited;
    }

    /// The disk is open.
    pub fn read(&mut self, log: Changelog<L>) {
        self.round = Round::Reading(log);
    }

    /// The states of all homes are here. None: nothing was read back.
    pub fn end_round(&mut self) -> Option<Changelog<L>> {
        let Round::Reading(log) = std::mem::replace(&mut self.round, Round::Over) else { return None };
        self.homes.values_mut().for_each(|phase| *phase = Phase::Folded);
        Some(log)
    }

    pub fn give_up(&mut self, homes: &BTreeSet<i32>) {
        self.homes.retain(|home, _| !homes.contains(home));
    }

    /// Nothing is left to be read back for.
    pub fn call_round_off(&mut self) {
        self.round = Round::Over;
    }

    /// Whoever owns the partitions now folds the events again.
    pub fn lose(&mut self) {
        self.lost = true;
        self.round = Round::Over;
        self.homes.values_mut().for_each(|phase| *phase = Phase::Lost);
    }

    /// Records were read and are not folded: what follows in their partitions must not move the offsets over them.
    pub fn skip(&mut self) {
        self.skipped = true;
    }

    /// Everything is taken over anew, where the last commit ended.
    pub fn start_over(&mut self) {
        self.round = Round::Over;
        self.starts_over += 1;
    }

    /// Nothing is assigned.
    pub fn clear(&mut self) {
        *self = Self { starts_over: self.starts_over, ..Self::default() };
    }
}
