//! Keyed state: the aggregates of the partitions that a fold thread owns, and which of them a commit must write.
//!
//! The truth is the compacted changelog; this is its image, plus what was folded since the last commit. Members that are
//! used stand in memory, the others on disk. What is read back from the changelog replaces what is known (see `restore`).
//! Aggregates stand by campaign, so that a change of the session catalogue finds a campaign's members without a
//! scan of the rest.

mod birth;
mod blob;
pub mod disk;
mod error;
pub mod folder;
mod offsets;
mod partition;
mod restore;
mod shelf;
mod spill;
mod stale;
mod warm;

use std::collections::BTreeMap;

use crate::event::Event;
use crate::time::Millis;

pub use birth::{BIRTH_KEY, Birth, Folded};
pub use disk::{BESIDE_BYTES, Disk};
pub use error::DiskError;
pub use offsets::Offsets;
pub use partition::Partition;
pub use restore::{OWN_KEYS, RestoreError, parse_piece_key, piece_key, write_piece_key};
pub use shelf::{Identity, Marker, Shelf};
pub use spill::Snapshot;
pub use stale::{About, Cause, Stale};

/// The aggregates of all partitions that one fold thread owns.
#[derive(Default)]
pub struct Store {
    partitions: BTreeMap<i32, Partition>,
}

impl Store {
    pub fn partition(&mut self, partition: i32) -> &mut Partition {
        self.partitions.entry(partition).or_default()
    }

    pub fn partitions(&mut self) -> impl Iterator<Item = (i32, &mut Partition)> {
        self.partitions.iter_mut().map(|(number, partition)| (*number, partition))
    }

    /// A partition that is here already.
    pub fn owned(&mut self, partition: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(&partition)
    }

    /// Whether the partition has a place for members that memory has no room for.
    pub fn shelved(&self, partition: i32) -> bool {
        self.partitions.get(&partition).is_some_and(Partition::shelved)
    }

    /// Forgets every partition but these.
    pub fn retain(&mut self, kept: &[i32]) {
        self.partitions.retain(|number, _| kept.contains(number));
    }

    pub fn clear(&mut self) {
        self.partitions.clear();
    }

    /// The partitions are somebody else's from now on.
    pub fn put_aside(&mut self, now: Millis) {
        self.partitions.values_mut().for_each(|partition| partition.put_aside(now));
    }

    /// Forgets what was put aside for so long that records which took pieces back may be gone from the changelog.
    pub fn forget_aged(&mut self, now: Millis) {
        self.partitions.retain(|_, partition| !partition.aged(now));
    }

    /// Nothing is to be derived again any more: the partitions belong to somebody else, or are read back first.
    pub fn forget_stale(&mut self) {
        self.partitions.values_mut().for_each(Partition::forget_stale);
    }

    /// Reads what folding these events of these partitions will need, and changes nothing.
    pub fn warm(&self, events: &[(i32, &Event<'_>)]) -> u64 {
        let known = |partition: &i32, event: &Event<'_>| self.partitions.get(partition)?.aggregate(&event.member);
        let events = events.iter().map(|(partition, event)| (known(partition, event), *event));
        warm::events(&events.collect::<Vec<_>>())
    }

    /// Sees to it that what is known of these events' members is in memory. Returns how many came from disk.
    pub fn load(&mut self, events: &[(i32, &Event<'_>)]) -> Result<u64, DiskError> {
        let mut loaded = 0;
        for (partition, event) in events {
            if let Some(partition) = self.partitions.get_mut(partition) {
                loaded += u64::from(partition.load(&event.member)?);
            }
        }
        Ok(loaded)
    }

    /// Estimate of the bytes in memory.
    pub fn memory(&self) -> usize {
        self.partitions.values().map(Partition::memory).sum()
    }

    /// Moves members out of memory until it holds no more than so many bytes, or none may leave. Returns how many left.
    pub fn evict(&mut self, memory_max: usize, committed: u64) -> Result<usize, DiskError> {
        let mut left = 0;
        while self.memory() > memory_max {
            let Some(largest) = self.partitions.values_mut().max_by_key(|partition| partition.memory()) else { break };
            match largest.evict(committed)? {
                0 => break,
                evicted => left += evicted,
            }
        }
        Ok(left)
    }

    /// Pieces in memory, for the metric.
    pub fn pieces(&self) -> usize {
        self.partitions.values().map(Partition::pieces).sum()
    }

    pub fn unsaved_members(&self) -> usize {
        self.partitions.values().map(Partition::unsaved_members).sum()
    }

    pub fn dirty_pieces(&self) -> usize {
        self.partitions.values().map(Partition::dirty_pieces).sum()
    }

    pub fn stale_members(&self) -> usize {
        self.partitions.values().map(Partition::stale_members).sum()
    }
}
