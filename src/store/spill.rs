//! Between memory and disk: members come in when they are needed, and go out when memory is full.
//!
//! A member may leave memory only when everything that it holds has been committed, and the disk has it. Which members
//! leave is decided by a clock: those that were not used since it last came by.

use std::sync::Arc;

use crate::avro::Writer;
use crate::id::{MemberKey, SalesforceId};

use super::blob;
use super::error::DiskError;
use super::partition::Partition;
use super::shelf::{Marker, Shelf};
use super::stale::Stale;

/// Members that leave memory together: one batch of the disk.
const EVICTED_TOGETHER: usize = 1_000;
/// Keys that a scan of the disk takes at once.
const SCANNED_TOGETHER: usize = 1_000;

/// States as they are to stand on disk, taken when a commit is made and written when it is done.
#[derive(Default)]
pub struct Snapshot {
    /// Keys and states, end to end.
    bytes: Writer,
    /// Ends of a key and of its state.
    ends: Vec<(usize, usize)>,
}

impl Snapshot {
    fn add(&mut self, member: &MemberKey, write: impl FnOnce(&mut Writer)) {
        self.bytes.0.extend_from_slice(&member.bytes());
        let key_end = self.bytes.0.len();
        write(&mut self.bytes);
        self.ends.push((key_end, self.bytes.0.len()));
    }

    fn states(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(key_end, end)| {
            let part = |from: usize, to: usize| self.bytes.0.get(from..to).unwrap_or_default();
            let state = (part(start, *key_end), part(*key_end, *end));
            start = *end;
            state
        })
    }

    /// Writes it, and what it answers for.
    pub fn save(&self, shelf: &Shelf, marker: Option<Marker>) -> Result<(), DiskError> {
        shelf.save(self.states(), marker)
    }
}

impl Partition {
    /// From here on members go to this shelf, and those that stand on it are known. A partition that memory holds whole
    /// is still held whole.
    pub fn put_on(&mut self, shelf: Shelf, marker: Option<Marker>) {
        self.shelf = Some(shelf);
        self.shelved = true;
        self.complete = marker.is_none();
        if let Some(marker) = marker {
            self.restored_to = marker.next_offset;
            self.derived_with = marker.catalogue;
            self.known_at = Some(marker.saved_at);
        }
    }

    /// The handle is void.
    pub fn let_go(&mut self) {
        self.shelf = None;
    }

    /// The same states by another handle.
    pub fn reach_by(&mut self, shelf: Shelf) {
        self.shelf = Some(shelf);
    }

    pub fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref()
    }

    pub fn shelved(&self) -> bool {
        self.shelved
    }

    /// Whether there are members that cannot be had now.
    pub(super) fn out_of_reach(&self) -> bool {
        self.shelved && self.shelf.is_none() && !self.complete
    }

    /// Sees to it that what the disk holds of the member is in memory.
    pub fn load(&mut self, member: &MemberKey) -> Result<bool, DiskError> {
        if self.complete || self.known(member).is_some() {
            return Ok(false);
        }
        if self.out_of_reach() {
            return Err(DiskError::Write(fjall::Error::Poisoned));
        }
        let Some(state) = self.shelf.as_ref().map(|shelf| shelf.get(member)).transpose()?.flatten() else {
            return Ok(false);
        };
        self.put(member, blob::read(&state)?);
        Ok(true)
    }

    /// How many members differ from the disk, or did when it was last looked at.
    pub fn unsaved_members(&self) -> usize {
        self.unsaved.len()
    }

    /// Everything that differs from the disk. The commit that is made now carries the last of it; none of these members
    /// may leave before the snapshot is written.
    pub fn snapshot(&mut self, commit: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for member in std::mem::take(&mut self.unsaved) {
            if let Some(slot) = self.known(&member).filter(|slot| slot.unsaved) {
                slot.unsaved = false;
                slot.commit = commit;
                snapshot.add(&member, |out| blob::write(out, &slot.aggregate));
            }
        }
        snapshot
    }

    /// Moves some members out of memory that were not used lately and hold nothing newer than this commit. Returns how
    /// many.
    pub fn evict(&mut self, committed: u64) -> Result<usize, DiskError> {
        let Some(shelf) = self.shelf.clone() else { return Ok(0) };
        let mut snapshot = Snapshot::default();
        let mut leaving = Vec::with_capacity(EVICTED_TOGETHER);
        // Twice around at most: the first time takes the marks off.
        for _ in 0..2 * self.clock.len() {
            let Some(member) = self.clock.pop_front() else { break };
            let Some(slot) = self.known(&member) else { continue };
            if std::mem::take(&mut slot.used) || slot.queued || slot.commit > committed {
                self.clock.push_back(member);
                continue;
            }
            if std::mem::take(&mut slot.unsaved) {
                snapshot.add(&member, |out| blob::write(out, &slot.aggregate));
            }
            leaving.push(member);
            if leaving.len() == EVICTED_TOGETHER {
                break;
            }
        }
        if let Err(error) = snapshot.save(&shelf, None) {
            for member in leaving {
                self.mark_unsaved(&member);
                self.clock.push_back(member);
            }
            return Err(error);
        }
        self.complete &= leaving.is_empty();
        for member in &leaving {
            self.remove(member);
        }
        Ok(leaving.len())
    }

    /// The next members on disk that are to be derived again.
    pub(super) fn scan_disk(&mut self) -> Result<(), DiskError> {
        while let (Some(scan), Some(shelf), true) = (self.stale_on_disk.front_mut(), &self.shelf, self.stale.is_empty())
        {
            let prefix = scan.campaign.as_ref().map_or(&[][..], |campaign| campaign.as_str().as_bytes());
            let mut keys = shelf.members(prefix, &scan.after, SCANNED_TOGETHER)?;
            let goes_on = scan.look_at(&mut keys);
            for member in keys.iter().filter_map(|key| member_of(key)) {
                self.stale.found(Stale { member, about: Arc::clone(&scan.about) });
            }
            if !goes_on {
                self.stale_on_disk.pop_front();
            }
        }
        if !self.shelved {
            self.stale_on_disk.clear();
        }
        Ok(())
    }
}

fn member_of(key: &[u8]) -> Option<MemberKey> {
    let (campaign, person) = std::str::from_utf8(key).ok()?.split_once('_')?;
    Some(MemberKey { campaign: SalesforceId::parse(campaign)?, person: SalesforceId::parse(person)? })
}
