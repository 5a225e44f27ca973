//! The aggregates of one partition.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::avro::{ReadError, Writer};
use crate::event::{Event, SessionKey};
use crate::fold::{Aggregate, Applied, MemberPiece, Piece, decode_piece};
use crate::id::{MemberKey, SalesforceId};
use crate::time::Millis;
use crate::upsert::Lane;

use super::birth::{BIRTH_KEY, Birth};
use super::error::DiskError;
use super::shelf::Shelf;
use super::stale::{About, Cause, DiskScan, Rounds, Stale};
use super::warm;

type Campaign = HashMap<SalesforceId, Slot, RandomState>;

/// Bytes of memory that are counted for a campaign and a member, beside what its pieces hold. A table is seven eighths full
/// when it doubles, and a list of members may be half full: counted is what they take at worst, nearly.
const CAMPAIGN_BYTES: usize = 800;
const SLOT_BYTES: usize = 2 * (size_of::<(SalesforceId, Slot)>() + 1) + 3 * size_of::<MemberKey>() / 2;

/// A sixteenth on top is what the allocator leaves between blocks: measured at several kinds of histories, it is 0 to 9 %.
const BETWEEN_BLOCKS: usize = 16;

/// Aggregates by campaign and person, and the members that a commit must look at.
#[derive(Default)]
pub struct Partition {
    pub(super) campaigns: HashMap<SalesforceId, Campaign, RandomState>,
    /// Members with new facts: every one of them belongs into the next commit, whose offsets answer for the facts.
    dirty: Vec<MemberKey>,
    /// How many pieces of these have new facts.
    dirty_pieces: usize,
    /// Members whose rows may have changed with the catalogue. They may wait: a restart derives everything again.
    pub(super) stale: Rounds,
    /// The same for members that are on disk only.
    pub(super) stale_on_disk: VecDeque<DiskScan>,
    pieces: usize,
    /// Bytes of the blocks in memory.
    memory: usize,
    /// What the states answer for. None: nothing of this version was committed yet.
    pub birth: Option<Birth>,
    /// Where the changelog has been read to.
    pub restored_to: i64,
    /// Digest of the catalogue with which the rows of the states on disk were derived; 0: not known.
    pub derived_with: u64,
    /// Where members go that memory has no room for. None: nowhere, or it is out of reach for a while.
    pub(super) shelf: Option<Shelf>,
    /// There is a shelf, within reach or not.
    pub(super) shelved: bool,
    /// Memory holds every member of the partition, so that the disk need not be asked.
    pub(super) complete: bool,
    /// Members in the order in which they are looked at for eviction.
    pub(super) clock: VecDeque<MemberKey>,
    /// Members that differ from what is on disk.
    pub(super) unsaved: Vec<MemberKey>,
}

#[derive(Default)]
pub(super) struct Slot {
    pub(super) aggregate: Aggregate,
    /// Among the dirty members; its dirty pieces say so themselves.
    pub(super) queued: bool,
    /// Among the unsaved members.
    pub(super) unsaved: bool,
    /// Used since the clock last came by.
    pub(super) used: bool,
    /// Number of the commit that carries what it holds now.
    pub(super) commit: u64,
    /// Kafka timestamp of the newest record behind the new facts.
    event_at: Millis,
}

impl Partition {
    pub fn pieces(&self) -> usize {
        self.pieces
    }

    pub fn memory(&self) -> usize {
        self.memory + self.memory / BETWEEN_BLOCKS
    }

    pub fn dirty_members(&self) -> usize {
        self.dirty.len()
    }

    pub fn dirty_pieces(&self) -> usize {
        self.dirty_pieces
    }

    pub fn stale_members(&self) -> usize {
        self.stale.left() + self.stale_on_disk.len()
    }

    pub(super) fn slot(&mut self, member: &MemberKey) -> &mut Slot {
        let campaign = self.campaigns.entry(member.campaign).or_insert_with(|| {
            self.memory += CAMPAIGN_BYTES;
            Campaign::default()
        });
        campaign.entry(member.person).or_insert_with(|| {
            self.clock.push_back(*member);
            self.memory += SLOT_BYTES;
            Slot::default()
        })
    }

    pub(super) fn known(&mut self, member: &MemberKey) -> Option<&mut Slot> {
        self.campaigns.get_mut(&member.campaign)?.get_mut(&member.person)
    }

    /// Takes a member's whole state, of which memory holds nothing.
    pub(super) fn put(&mut self, member: &MemberKey, aggregate: Aggregate) {
        self.pieces += aggregate.entries.len();
        self.memory += aggregate.memory();
        let slot = self.slot(member);
        slot.aggregate = aggregate;
        slot.used = true;
    }

    /// Gives a member's state up. Whoever calls has seen to it that it is not lost.
    pub(super) fn remove(&mut self, member: &MemberKey) {
        let Some(campaign) = self.campaigns.get_mut(&member.campaign) else { return };
        if let Some(slot) = campaign.remove(&member.person) {
            self.pieces -= slot.aggregate.entries.len();
            self.memory = self.memory.saturating_sub(SLOT_BYTES + slot.aggregate.memory());
        }
        if campaign.is_empty() {
            self.campaigns.remove(&member.campaign);
            self.memory = self.memory.saturating_sub(CAMPAIGN_BYTES);
        }
    }

    /// A commit has written pieces of the member, which have grown by so many bytes since they were counted last.
    pub fn wrote(&mut self, member: &MemberKey, commit: u64, grown: isize) {
        self.memory = self.memory.saturating_add_signed(grown);
        if let Some(slot) = self.known(member) {
            slot.commit = commit;
        }
        self.mark_unsaved(member);
    }

    pub(super) fn mark_unsaved(&mut self, member: &MemberKey) {
        if self.shelved
            && let Some(slot) = self.known(member)
            && !std::mem::replace(&mut slot.unsaved, true)
        {
            self.unsaved.push(*member);
        }
    }

    /// What memory holds of a member.
    pub fn aggregate(&self, member: &MemberKey) -> Option<&Aggregate> {
        Some(&self.campaigns.get(&member.campaign)?.get(&member.person)?.aggregate)
    }

    /// Reads the next `members` that a commit will take, and changes nothing.
    pub fn warm_dirty(&self, members: usize) -> u64 {
        let next = self.dirty.iter().rev().take(members).map(|member| self.aggregate(member));
        warm::whole(&next.collect::<Vec<_>>())
    }

    /// Joins one event that arrived then. What the disk holds of the member has been loaded.
    pub fn fold(&mut self, event: &Event<'_>, timestamp: Millis, lane: Lane) -> Applied {
        let slot = self.slot(&event.member);
        let known = slot.aggregate.entries.len();
        let applied = slot.aggregate.apply_as(event, lane == Lane::Live);
        let new = slot.aggregate.entries.len() - known;
        slot.used = true;
        let mut queue = false;
        if applied.changed() {
            slot.event_at = slot.event_at.max(timestamp);
            queue = !std::mem::replace(&mut slot.queued, true);
        }
        self.pieces += new;
        if new > 0 {
            self.memory += event.entry_id.as_deref().map_or(0, Aggregate::entry_memory);
        }
        self.dirty_pieces += applied.dirtied;
        if queue {
            self.dirty.push(event.member);
        }
        applied
    }

    /// Takes one record of the changelog: what it holds is joined to what is known.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        if key == BIRTH_KEY {
            self.birth = Some(Birth::decode(value)?);
            return Ok(());
        }
        let key = std::str::from_utf8(key).map_err(|_| RestoreError::Foreign)?;
        let (member, entry_id) = parse_piece_key(key).ok_or(RestoreError::Foreign)?;
        let piece = decode_piece(value)?;
        self.load(&member)?;
        let kept = self.shelf.is_some();
        let slot = self.slot(&member);
        let known = slot.aggregate.entries.len();
        // Of what was sent last, the log knows better than a memory that was put aside; and what comes from it need not
        // be written to it.
        let grown = match (piece, entry_id) {
            (Piece::Member(read), None) => {
                let ours = &mut slot.aggregate.member;
                ours.row_hash = read.row_hash;
                ours.join(read);
                (ours.dirty, ours.awaited) = (false, false);
                ours.count_memory()
            }
            (Piece::Entry(read), Some(entry_id)) => {
                let ours = slot.aggregate.entries.join_at(
                    entry_id,
                    read,
                    |id| id.into(),
                    |ours, read| {
                        (ours.engagement_row_hash, ours.polls_row_hash) =
                            (read.engagement_row_hash, read.polls_row_hash);
                        ours.join(*read);
                    },
                );
                (ours.dirty, ours.awaited) = (false, false);
                ours.count_memory()
            }
            (Piece::Member(_), Some(_)) | (Piece::Entry(_), None) => return Err(RestoreError::Piece),
        };
        slot.commit = 0;
        let new = slot.aggregate.entries.len() - known;
        let unsaved = kept && !std::mem::replace(&mut slot.unsaved, true);
        self.pieces += new;
        if new > 0 {
            self.memory += entry_id.map_or(0, Aggregate::entry_memory);
        }
        self.memory = self.memory.saturating_add_signed(grown);
        if unsaved {
            self.unsaved.push(member);
        }
        Ok(())
    }

    /// Takes a tombstone of the changelog: the piece is as if it had never been.
    pub fn forget(&mut self, key: &[u8]) -> Result<(), RestoreError> {
        if key == BIRTH_KEY {
            self.birth = None;
            return Ok(());
        }
        let key = std::str::from_utf8(key).map_err(|_| RestoreError::Foreign)?;
        let (member, entry_id) = parse_piece_key(key).ok_or(RestoreError::Foreign)?;
        self.load(&member)?;
        if let Some(slot) = self.known(&member) {
            let (known, bytes) = (slot.aggregate.entries.len(), slot.aggregate.memory());
            match entry_id {
                Some(entry_id) => slot.aggregate.entries.remove(entry_id),
                None => slot.aggregate.member = MemberPiece::default(),
            }
            let gone = known - slot.aggregate.entries.len();
            let freed = bytes - slot.aggregate.memory();
            self.pieces -= gone;
            self.memory = self.memory.saturating_sub(freed);
            self.mark_unsaved(&member);
        }
        Ok(())
    }

    /// Marks everything to be derived again, at a start.
    pub fn derive_all(&mut self, event_at: Millis) {
        let about = About::everything(Cause { event_at, brought: true });
        let campaigns: Vec<SalesforceId> = self.campaigns.keys().copied().collect();
        for campaign in campaigns {
            self.derive_known_again(campaign, about.clone());
        }
        if !self.complete {
            // It finds those of every campaign.
            self.stale_on_disk.clear();
            self.stale_on_disk.push_back(DiskScan::new(None, about));
        }
    }

    /// Marks the members to be derived again, at a start, that differ from what is on disk.
    pub fn derive_unsaved(&mut self, event_at: Millis) {
        let mut by_campaign: BTreeMap<SalesforceId, Vec<SalesforceId>> = BTreeMap::new();
        for member in &self.unsaved {
            by_campaign.entry(member.campaign).or_default().push(member.person);
        }
        for (campaign, members) in by_campaign {
            let about = About::everything(Cause { event_at, brought: true });
            if self.stale.knows(campaign) {
                self.derive_known_again(campaign, about);
            } else {
                self.stale.add(campaign, about, members);
            }
        }
    }

    /// Marks what a statement of the session catalogue is about to be derived again.
    pub fn derive_again(&mut self, key: &SessionKey, event_at: Millis) {
        let about = About::of(key, Cause { event_at, brought: false });
        self.derive_known_again(key.campaign, about.clone());
        if self.complete {
            return;
        }
        match self.stale_on_disk.iter_mut().find(|scan| scan.campaign == Some(key.campaign)) {
            Some(scan) => scan.again(about),
            None => self.stale_on_disk.push_back(DiskScan::new(Some(key.campaign), about)),
        }
    }

    fn derive_known_again(&mut self, campaign: SalesforceId, about: About) {
        let Some(members) = self.campaigns.get(&campaign) else { return };
        self.stale.add(campaign, about, members.keys().copied().collect());
    }

    pub fn forget_stale(&mut self) {
        self.stale.clear();
        self.stale_on_disk.clear();
    }

    /// The next member with new facts, and the Kafka timestamp of the newest of them.
    pub fn take_dirty(&mut self) -> Option<(MemberKey, &mut Aggregate, Millis)> {
        let Some(key) = self.dirty.pop() else {
            self.dirty_pieces = 0;
            return None;
        };
        let slot = self.campaigns.get_mut(&key.campaign)?.get_mut(&key.person)?;
        slot.queued = false;
        Some((key, &mut slot.aggregate, std::mem::take(&mut slot.event_at)))
    }

    /// The next member to derive again.
    pub fn take_stale(&mut self) -> Result<Option<(Stale, &mut Aggregate)>, DiskError> {
        loop {
            if self.out_of_reach() {
                return Ok(None);
            }
            if self.stale.is_empty() {
                self.scan_disk()?;
            }
            let Some(stale) = self.stale.next() else { return Ok(None) };
            self.load(&stale.member)?;
            if self.known(&stale.member).is_some() {
                let aggregate = &mut self.slot(&stale.member).aggregate;
                return Ok(Some((stale, aggregate)));
            }
        }
    }
}

/// Key of a piece in the changelog.
pub fn piece_key(member: &MemberKey, entry_id: Option<&str>) -> Vec<u8> {
    let mut key = Writer::default();
    write_piece_key(&mut key, member, entry_id);
    key.0
}

/// Appends the key of a piece.
pub fn write_piece_key(out: &mut Writer, member: &MemberKey, entry_id: Option<&str>) {
    out.0.extend_from_slice(&member.bytes());
    if let Some(entry_id) = entry_id {
        out.0.push(b'_');
        out.0.extend_from_slice(entry_id.as_bytes());
    }
}

/// `{campaign_id}_{lead_id}`, with `_{entry_id}` for the piece of an entry.
pub fn parse_piece_key(key: &str) -> Option<(MemberKey, Option<&str>)> {
    let (member, rest) = key.split_at_checked(MemberKey::LEN)?;
    let (campaign, person) = member.split_once('_')?;
    let member = MemberKey { campaign: SalesforceId::parse(campaign)?, person: SalesforceId::parse(person)? };
    if rest.is_empty() { Some((member, None)) } else { Some((member, Some(rest.strip_prefix('_')?))) }
}

/// Why a record of the changelog cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It says nothing of what is known here.
    #[error("its key names no piece of a member")]
    Foreign,
    #[error("its key names another piece than the one that the value holds")]
    Piece,
    #[error("the value is no state of this version")]
    Value(#[from] ReadError),
    #[error("the disk cannot be read")]
    Disk(#[from] DiskError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_none_of_ours_is_told_apart_from_a_state_that_cannot_be_read() {
        let mut partition = Partition::default();
        let ours = b"7011t000000RvXoAAK_00Q1t000000abcdEAA";
        for key in [&b"k"[..], b"", b"\xff", &ours[1..]] {
            assert!(matches!(partition.restore(key, b"{}"), Err(RestoreError::Foreign)));
            assert!(matches!(partition.forget(key), Err(RestoreError::Foreign)));
        }
        assert!(matches!(partition.restore(ours, b"{}"), Err(RestoreError::Value(_))));
        assert!(matches!(partition.restore(BIRTH_KEY, b"{}"), Err(RestoreError::Value(_))));
        partition.forget(ours).unwrap();
    }
}
