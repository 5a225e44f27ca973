//! Joins, leaves and device switches of one connection (a tab, a device), and the time between them.
//!
//! The switches are kept, not the time: which leave ends a join is known only once every event is there, and a late
//! one may shorten what seemed settled.

use crate::event::Device;
use crate::lattice::{IntervalSet, Keyed, TimeSet};
use crate::time::Millis;

/// What happened on one connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub joins: TimeSet,
    pub leaves: TimeSet,
    pub mic_on: TimeSet,
    pub mic_off: TimeSet,
    pub cam_on: TimeSet,
    pub cam_off: TimeSet,
}

/// What is paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    Presence,
    Mic,
    Cam,
}

impl Connection {
    pub(super) fn switch(&mut self, device: Device, on: bool) -> &mut TimeSet {
        match (device, on) {
            (Device::Mic, true) => &mut self.mic_on,
            (Device::Mic, false) => &mut self.mic_off,
            (Device::Cam, true) => &mut self.cam_on,
            (Device::Cam, false) => &mut self.cam_off,
        }
    }

    pub(super) fn join(&mut self, other: &Self) -> bool {
        self.sets_mut().into_iter().zip(other.sets()).fold(false, |grew, (ours, theirs)| ours.join(theirs) || grew)
    }

    pub(super) fn heap(&self) -> usize {
        self.sets().iter().map(|times| times.heap()).sum()
    }

    /// In the order of the schema.
    pub(super) fn sets(&self) -> [&TimeSet; 6] {
        [&self.joins, &self.leaves, &self.mic_on, &self.mic_off, &self.cam_on, &self.cam_off]
    }

    /// In the order of the schema.
    pub(super) fn sets_mut(&mut self) -> [&mut TimeSet; 6] {
        [&mut self.joins, &mut self.leaves, &mut self.mic_on, &mut self.mic_off, &mut self.cam_on, &mut self.cam_off]
    }

    /// Every start, with the first end at or after it: a leave, or for a device its off too.
    fn pairs(&self, pairing: Pairing) -> impl Iterator<Item = (Millis, Option<Millis>)> + '_ {
        let (ons, offs) = match pairing {
            Pairing::Presence => (&self.joins, None),
            Pairing::Mic => (&self.mic_on, Some(&self.mic_off)),
            Pairing::Cam => (&self.cam_on, Some(&self.cam_off)),
        };
        ons.iter().map(move |on| {
            let off = offs.and_then(|offs| offs.first_since(on));
            (on, self.leaves.first_since(on).into_iter().chain(off).min())
        })
    }
}

/// Time on, over all connections. What never ended lasts until `open_end`.
pub fn paired(connections: &Keyed<u64, Connection>, pairing: Pairing, open_end: Millis) -> IntervalSet {
    let mut time = IntervalSet::default();
    for (_, connection) in connections.iter() {
        for (on, off) in connection.pairs(pairing) {
            time.insert(on, off.unwrap_or(open_end));
        }
    }
    time
}
