//! The aggregates of one partition.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::avro::{ReadError, Writer};
use crate::event::{Event, MemberKey, Millis, SalesforceId, SessionKey};
use crate::fold::{Aggregate, Applied, MemberPiece, Piece, decode_piece};

use super::warm;

type Campaign = HashMap<SalesforceId, Slot, RandomState>;

/// Aggregates by campaign and person, and the members that a commit must look at.
#[derive(Default)]
pub struct Partition {
    campaigns: HashMap<SalesforceId, Campaign, RandomState>,
    /// Members with new facts: every one of them belongs into the next commit, whose offsets answer for the facts.
    dirty: Vec<MemberKey>,
    /// How many pieces of these have new facts.
    dirty_pieces: usize,
    /// Members whose rows may have changed with the catalogue. They may wait: a restart derives everything again.
    stale: VecDeque<Stale>,
    pieces: usize,
    /// Where the changelog has been read to.
    pub restored_to: i64,
}

#[derive(Default)]
struct Slot {
    aggregate: Aggregate,
    /// Among the dirty members; its dirty pieces say so themselves.
    queued: bool,
    /// Kafka timestamp of the newest record behind the new facts.
    event_at: Millis,
}

/// A member to derive again, where it depends on a statement of the catalogue.
pub struct Stale {
    pub member: MemberKey,
    pub about: Arc<SessionKey>,
    /// Kafka timestamp of the statement.
    pub event_at: Millis,
}

impl Partition {
    pub fn pieces(&self) -> usize {
        self.pieces
    }

    pub fn dirty_members(&self) -> usize {
        self.dirty.len()
    }

    pub fn dirty_pieces(&self) -> usize {
        self.dirty_pieces
    }

    pub fn stale_members(&self) -> usize {
        self.stale.len()
    }

    pub(super) fn aggregate(&self, member: &MemberKey) -> Option<&Aggregate> {
        Some(&self.campaigns.get(&member.campaign)?.get(&member.person)?.aggregate)
    }

    /// Reads the next `members` that a commit will take, and changes nothing.
    pub fn warm_dirty(&self, members: usize) -> u64 {
        let next = self.dirty.iter().rev().take(members).map(|member| self.aggregate(member));
        warm::whole(&next.collect::<Vec<_>>())
    }

    /// Joins one event.
    pub fn fold(&mut self, event: &Event<'_>, timestamp: Millis) -> Applied {
        let slot = self.campaigns.entry(event.member.campaign).or_default().entry(event.member.person).or_default();
        let known = slot.aggregate.entries.len();
        let applied = slot.aggregate.apply(event);
        self.pieces += slot.aggregate.entries.len() - known;
        self.dirty_pieces += applied.dirtied;
        if applied.changed() {
            slot.event_at = slot.event_at.max(timestamp);
            if !slot.queued {
                slot.queued = true;
                self.dirty.push(event.member);
            }
        }
        applied
    }

    /// Takes one record of the changelog: what it holds is joined to what is known.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let key = std::str::from_utf8(key).map_err(|_| RestoreError::Key)?;
        let (member, entry_id) = parse_piece_key(key).ok_or(RestoreError::Key)?;
        let piece = decode_piece(value)?;
        let slot = self.campaigns.entry(member.campaign).or_default().entry(member.person).or_default();
        let known = slot.aggregate.entries.len();
        // Of what was sent last, the log knows better than a memory that was put aside.
        match (&piece, entry_id) {
            (Piece::Member(read), None) => slot.aggregate.member.row_hash = read.row_hash,
            (Piece::Entry(read), Some(entry_id)) => {
                let piece = slot.aggregate.entry_mut(entry_id);
                piece.engagement_row_hash = read.engagement_row_hash;
                piece.polls_row_hash = read.polls_row_hash;
            }
            (Piece::Member(_), Some(_)) | (Piece::Entry(_), None) => return Err(RestoreError::Key),
        }
        slot.aggregate.join_piece(entry_id, piece);
        // What comes from the log need not be written to it.
        match entry_id {
            Some(entry_id) => slot.aggregate.entry_mut(entry_id).dirty = false,
            None => slot.aggregate.member.dirty = false,
        }
        self.pieces += slot.aggregate.entries.len() - known;
        Ok(())
    }

    /// Takes a tombstone of the changelog: the piece is as if it had never been.
    pub fn forget(&mut self, key: &[u8]) -> Result<(), RestoreError> {
        let key = std::str::from_utf8(key).map_err(|_| RestoreError::Key)?;
        let (member, entry_id) = parse_piece_key(key).ok_or(RestoreError::Key)?;
        if let Some(slot) = self.campaigns.get_mut(&member.campaign).and_then(|members| members.get_mut(&member.person))
        {
            let known = slot.aggregate.entries.len();
            match entry_id {
                Some(entry_id) => slot.aggregate.entries.remove(entry_id),
                None => slot.aggregate.member = MemberPiece::default(),
            }
            self.pieces -= known - slot.aggregate.entries.len();
        }
        Ok(())
    }

    /// Marks everything to be derived again.
    pub fn derive_all(&mut self, event_at: Millis) {
        let campaigns: Vec<SalesforceId> = self.campaigns.keys().copied().collect();
        for campaign in campaigns {
            self.derive_again(&Arc::new(SessionKey { campaign, entry_id: None }), event_at);
        }
    }

    /// Marks what a statement of the session catalogue is about to be derived again.
    pub fn derive_again(&mut self, about: &Arc<SessionKey>, event_at: Millis) {
        let Some(members) = self.campaigns.get(&about.campaign) else { return };
        self.stale.extend(members.keys().map(|person| {
            let member = MemberKey { campaign: about.campaign, person: *person };
            Stale { member, about: Arc::clone(about), event_at }
        }));
    }

    pub fn forget_stale(&mut self) {
        self.stale.clear();
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
    pub fn take_stale(&mut self) -> Option<(Stale, &mut Aggregate)> {
        let stale = self.stale.pop_front()?;
        let slot = self.campaigns.get_mut(&stale.member.campaign)?.get_mut(&stale.member.person)?;
        Some((stale, &mut slot.aggregate))
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
    #[error("the key names no piece of a member, or not the one that the value holds")]
    Key,
    #[error("the value is no state of this version")]
    Value(#[from] ReadError),
}
