//! The aggregates of one partition.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::event::{Event, SessionKey};
use crate::fold::{Aggregate, Applied, Arrival};
use crate::id::{MemberKey, SalesforceId};
use crate::time::Millis;
use crate::upsert::Lane;

use super::birth::Birth;
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
    pub(super) dirty: Vec<MemberKey>,
    /// How many pieces of these have new facts.
    pub(super) dirty_pieces: usize,
    /// Members whose rows may have changed with the catalogue. They may wait: a restart derives everything again.
    pub(super) stale: Rounds,
    /// The same for members that are on disk only.
    pub(super) stale_on_disk: VecDeque<DiskScan>,
    pub(super) pieces: usize,
    /// Bytes of the blocks in memory.
    pub(super) memory: usize,
    /// What the states answer for. None: nothing of this version was committed yet.
    pub birth: Option<Birth>,
    /// Pieces were written that no birth has counted yet.
    wrote: bool,
    /// Since when others may have written pieces that are not known here. None: they are known, or are read from the
    /// beginning.
    pub(super) known_at: Option<Millis>,
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
        self.wrote = true;
        if let Some(slot) = self.known(member) {
            slot.commit = commit;
        }
        self.mark_unsaved(member);
    }

    /// Number, in this partition, of the commit that is being made.
    pub fn commit_number(&self) -> u64 {
        self.birth.as_ref().map_or(0, |birth| birth.commit) + 1
    }

    /// Whether pieces were written that no birth has counted yet.
    pub fn wrote_pieces(&self) -> bool {
        self.wrote
    }

    /// The same; the birth that is written now counts the commit.
    pub fn take_wrote(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
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
        self.arrive(event, timestamp, Arrival { awaited: lane == Lane::Live, resolved: false })
    }

    /// The same of one that was re-keyed.
    pub fn fold_resolved(&mut self, event: &Event<'_>, timestamp: Millis, lane: Lane) -> Applied {
        self.arrive(event, timestamp, Arrival { awaited: lane == Lane::Live, resolved: true })
    }

    fn arrive(&mut self, event: &Event<'_>, timestamp: Millis, arrival: Arrival) -> Applied {
        let slot = self.slot(&event.member);
        let known = slot.aggregate.entries.len();
        let applied = slot.aggregate.apply_as(event, arrival);
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
