//! Records of the changelog to what is known, and pieces that are taken back.
//!
//! The later record of a key replaces what memory and disk hold, and an empty one takes the piece back. A partition has one
//! writer of whole pieces at a time, which the group fences, and a commit carries every piece that its offsets answer for:
//! so the last record is the piece. To join it with what is known would be as right for facts that only grow, and would
//! bring back what was taken back.
//!
//! What replaces relies on this:
//! - Nothing that is read back is dirty: a partition is read back behind a flush, or with an empty memory, and nobody folds
//!   into it or derives of it until it is at the log's end. So nothing is replaced that a commit still had to write.
//! - On the way to the end a piece may be an older one than was known before. It leaves memory, if it has to, as what stands
//!   in the log at some offset behind the disk's marker; whoever begins at the marker again replaces it again.
//! - Whoever was away may have missed an empty record that is gone from the log: disks and memories of others' partitions
//!   are forgotten before that can be (see `disk`).

use crate::avro::{ReadError, Writer};
use crate::fold::{Aggregate, EntryPiece, Marks, Piece, decode_piece};
use crate::id::MemberKey;
use crate::time::Millis;

use super::birth::{BIRTH_KEY, Birth};
use super::disk::AGE_MAX;
use super::error::DiskError;
use super::offsets::KEY_PREFIX;
use super::partition::Partition;

/// Begins the keys of records that say something of the partition. No key of a piece begins so.
pub const OWN_KEYS: &[u8] = b"rollbook.";

impl Partition {
    /// Takes one record of the changelog: what it holds replaces what is known.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        if key.starts_with(OWN_KEYS) {
            return self.restore_own(key, Some(value));
        }
        let (member, entry_id) = piece_of(key)?;
        let piece = decode_piece(value)?;
        self.load(&member)?;
        let kept = self.shelf.is_some();
        let slot = self.slot(&member);
        debug_assert!(!slot.queued, "nothing is read back that a commit is still to write");
        let known = slot.aggregate.entries.len();
        let grown = match (piece, entry_id) {
            (Piece::Member(mut read), None) => {
                read.count_memory();
                let before = std::mem::replace(&mut slot.aggregate.member, read).memory;
                difference(slot.aggregate.member.memory, before)
            }
            (Piece::Entry(mut read), Some(entry_id)) => {
                read.count_memory();
                let (now, mut before) = (read.memory, 0);
                let replace = |ours: &mut Box<EntryPiece>, read| before = std::mem::replace(ours, read).memory;
                slot.aggregate.entries.join_at(entry_id, read, |id| id.into(), replace);
                difference(now, before)
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

    /// Takes an empty record of the changelog: the piece is as if it had never been.
    pub fn forget(&mut self, key: &[u8]) -> Result<(), RestoreError> {
        if key.starts_with(OWN_KEYS) {
            return self.restore_own(key, None);
        }
        let (member, entry_id) = piece_of(key)?;
        self.blank(&member, entry_id)?;
        Ok(())
    }

    /// What says something of the partition. None: it says nothing any more.
    fn restore_own(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        if key == BIRTH_KEY {
            self.birth = value.map(Birth::decode).transpose()?;
        } else if !key.starts_with(KEY_PREFIX) {
            return Err(RestoreError::Foreign);
        }
        Ok(())
    }

    /// Takes a piece back: whoever calls writes the empty record, in the commit of this number. False where there is none.
    pub fn take_back(&mut self, member: &MemberKey, entry_id: Option<&str>, commit: u64) -> Result<bool, DiskError> {
        let known = self.blank(member, entry_id)?;
        if known {
            self.wrote(member, commit, 0);
        }
        Ok(known)
    }

    /// Puts another piece in the place of one that is in memory: the next commit writes it, whatever it says.
    pub fn replace(&mut self, member: &MemberKey, entry_id: &str, mut piece: EntryPiece) {
        let Some(slot) = self.known(member) else { return };
        let Some((_, ours)) = slot.aggregate.entries.values_mut().find(|(id, _)| &***id == entry_id) else { return };
        let was_dirty = ours.dirty;
        // What is counted of memory is counted again when it is written.
        (piece.dirty, piece.memory) = (true, ours.memory);
        **ours = piece;
        let queued = std::mem::replace(&mut slot.queued, true);
        self.dirty_pieces += usize::from(!was_dirty);
        if !queued {
            self.dirty.push(*member);
        }
    }

    /// Of a member that holds nothing any more the place stays, for as long as it is to be looked at or saved.
    fn blank(&mut self, member: &MemberKey, entry_id: Option<&str>) -> Result<bool, DiskError> {
        self.load(member)?;
        let Some(slot) = self.known(member) else { return Ok(false) };
        let (known, bytes) = (slot.aggregate.entries.len(), slot.aggregate.memory());
        let (there, dirty) = if let Some(entry_id) = entry_id {
            let piece = slot.aggregate.entry(entry_id);
            let found = (piece.is_some(), piece.is_some_and(|piece| piece.dirty));
            slot.aggregate.entries.remove(entry_id);
            found
        } else {
            let member = std::mem::take(&mut slot.aggregate.member);
            (!member.holds_nothing() || member.marks != Marks::default(), member.dirty)
        };
        let gone = known - slot.aggregate.entries.len();
        let freed = bytes - slot.aggregate.memory();
        self.pieces -= gone;
        self.memory = self.memory.saturating_sub(freed);
        self.dirty_pieces = self.dirty_pieces.saturating_sub(usize::from(dirty));
        self.mark_unsaved(member);
        Ok(there)
    }

    /// From now on others may write.
    pub(super) fn put_aside(&mut self, now: Millis) {
        self.known_at.get_or_insert(now);
    }

    /// Everything is known that was written.
    pub fn read_to_the_end(&mut self, next_offset: i64) {
        self.restored_to = next_offset;
        self.known_at = None;
    }

    pub(super) fn aged(&self, now: Millis) -> bool {
        self.known_at.is_some_and(|known_at| now - known_at >= AGE_MAX)
    }
}

fn difference(now: u32, before: u32) -> isize {
    (now as usize).cast_signed() - (before as usize).cast_signed()
}

fn piece_of(key: &[u8]) -> Result<(MemberKey, Option<&str>), RestoreError> {
    std::str::from_utf8(key).ok().and_then(parse_piece_key).ok_or(RestoreError::Foreign)
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
    let (member, rest) = MemberKey::split(key)?;
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
    use crate::event::{Act, Event, EventKind, Reaction};
    use crate::lattice::Name;
    use crate::upsert::Lane;

    const KEY: &[u8] = b"70103000000cnFXAAY_00Q0300000AczgfEAB";

    fn clap(number: u8) -> Event<'static> {
        let (member, _) = piece_of(KEY).unwrap();
        Event {
            member,
            kind: EventKind::Reaction,
            source: "s".into(),
            event_id: number.to_string().into(),
            occurred_at: 1_780_000_000_000,
            entry_id: Some(Name::from("1_e")),
            entry_name: None,
            channel_id: None,
            channel_name: None,
            email: None,
            user: None,
            act: Act::Reaction(Reaction::Clap),
        }
    }

    /// The records of a member who clapped so often.
    fn clapped(times: u8) -> [(Vec<u8>, Vec<u8>); 2] {
        let mut aggregate = Aggregate::default();
        for number in 0..times {
            aggregate.apply(&clap(number));
        }
        let (member, _) = piece_of(KEY).unwrap();
        let entry = aggregate.entry("1_e").unwrap().encode();
        [(piece_key(&member, None), aggregate.member.encode()), (piece_key(&member, Some("1_e")), entry)]
    }

    fn read(partition: &mut Partition, records: &[(Vec<u8>, Vec<u8>)]) {
        for (key, value) in records {
            partition.restore(key, value).unwrap();
        }
    }

    fn restored(records: &[(Vec<u8>, Vec<u8>)]) -> Partition {
        let mut partition = Partition::default();
        read(&mut partition, records);
        partition
    }

    fn claps(partition: &Partition) -> usize {
        let (member, _) = piece_of(KEY).unwrap();
        let aggregate = partition.aggregate(&member).unwrap();
        aggregate.entry("1_e").map_or(0, |piece| piece.reactions.claps.len())
    }

    #[test]
    fn a_key_that_is_none_of_ours_is_told_apart_from_a_state_that_cannot_be_read() {
        let mut partition = Partition::default();
        let foreign = [&b"k"[..], b"", b"\xff", &KEY[1..], b"rollbook.", b"rollbook.another", b"person:1:a"];
        for key in foreign {
            assert!(matches!(partition.restore(key, b"{}"), Err(RestoreError::Foreign)));
            assert!(matches!(partition.forget(key), Err(RestoreError::Foreign)));
        }
        for key in [KEY, BIRTH_KEY] {
            assert!(matches!(partition.restore(key, b"{}"), Err(RestoreError::Value(_))));
            partition.forget(key).unwrap();
        }
        partition.restore(b"rollbook.offsets.7", b"{}").unwrap();
        partition.forget(b"rollbook.offsets.7").unwrap();
    }

    #[test]
    fn the_later_record_replaces_what_is_known_and_memory_is_counted_as_if_it_alone_had_come() {
        let (few, many) = (clapped(2), clapped(200));
        let mut partition = restored(&[many.clone(), few.clone()].concat());
        assert_eq!((claps(&partition), partition.memory()), (2, restored(&few).memory()));
        read(&mut partition, &many);
        assert_eq!((claps(&partition), partition.memory()), (200, restored(&many).memory()));
        let (dirty, pieces) = (partition.dirty_pieces(), partition.pieces());
        assert_eq!((dirty, partition.dirty_members(), pieces), (0, 0, 1));
    }

    #[test]
    fn an_empty_record_takes_a_piece_back_and_a_later_one_brings_what_it_says_alone() {
        let [member, entry] = clapped(200);
        let mut partition = restored(&[member.clone(), entry.clone()]);
        partition.forget(&entry.0).unwrap();
        assert_eq!((claps(&partition), partition.pieces()), (0, 0));
        assert_eq!(partition.memory(), restored(std::slice::from_ref(&member)).memory());
        partition.forget(&member.0).unwrap();
        let [_, few] = clapped(2);
        partition.restore(&few.0, &few.1).unwrap();
        assert_eq!(claps(&partition), 2);
    }

    #[test]
    fn a_member_that_was_taken_back_is_not_written_nor_derived_unless_something_new_is_known() {
        let (member, _) = piece_of(KEY).unwrap();
        let mut partition = restored(&clapped(2));
        partition.fold(&clap(7), 0, Lane::Live);
        assert!(
            partition.take_back(&member, None, 1).unwrap() && partition.take_back(&member, Some("1_e"), 1).unwrap()
        );
        assert!(!partition.take_back(&member, Some("1_e"), 1).unwrap(), "it is not there");
        assert_eq!(partition.dirty_pieces(), 0);
        partition.derive_all(0);
        assert!(partition.take_dirty().is_some_and(|(_, aggregate, _)| aggregate.holds_nothing()));
        assert!(partition.take_stale().unwrap().is_some_and(|(_, aggregate)| aggregate.holds_nothing()));
        partition.fold(&clap(8), 0, Lane::Live);
        assert_eq!((claps(&partition), partition.dirty_pieces()), (1, 1));
    }

    #[test]
    fn what_was_put_aside_is_forgotten_before_an_empty_record_can_have_been_missed() {
        let mut partition = restored(&clapped(2));
        partition.read_to_the_end(10);
        assert!(!partition.aged(i64::MAX), "ours");
        partition.put_aside(1_000);
        partition.put_aside(2_000);
        assert!(!partition.aged(AGE_MAX) && partition.aged(1_000 + AGE_MAX), "since it was put aside first");
        partition.read_to_the_end(20);
        assert!(!partition.aged(i64::MAX));
    }
}
