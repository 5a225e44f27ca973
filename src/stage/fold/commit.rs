//! What changed since the last commit, as the records of one transaction.
//!
//! A row is sent where it differs from the one that was last sent, which the piece remembers as a hash. The hash is
//! written with the piece in the same transaction as the row, so that neither a crash nor a late catalogue can lose
//! or repeat a change.

use std::hint::black_box;

use crate::avro::Writer;
use crate::config::Topics;
use crate::dead_letter::{DeadLetter, Stage};
use crate::fold::{Aggregate, Catalogue, EntryPiece, Marks, RowMark};
use crate::id::MemberKey;
use crate::kafka::transaction::{Outgoing, Records};
use crate::metrics::RowOutcome;
use crate::store::{Cause, DiskError, Partition, Stale, Store, write_piece_key};
use crate::time::Millis;
use crate::topic_table::Topic;
use crate::upsert::{self, Derived, Facts, Lane, Object, RowRefusal, Sending};

use super::tally::Tally;

/// Members that are derived again for the catalogue in one commit, so that a large campaign does not hold up the
/// facts that arrive meanwhile.
pub const STALE_MEMBERS_PER_COMMIT: usize = 20_000;
/// Bytes of their rows and states in one commit.
const STALE_BYTES_PER_COMMIT: usize = 16 << 20;
/// Members of a partition that are derived again in a commit, whatever memory they need: it comes to an end.
const STALE_MEMBERS_MIN: usize = 8;

/// Largest piece: its topic takes 10 MiB.
const PIECE_BYTES_MAX: usize = 9 << 20;

/// Members that are read ahead of their turn; so many fit into a core's own cache.
const MEMBERS_AHEAD: usize = 32;

/// Collects the records of one commit.
pub struct Changes<'a> {
    pub topics: &'a Topics,
    pub catalogue: &'a Catalogue,
    pub tally: &'a mut Tally,
    pub records: &'a mut Records,
    pub now: Millis,
    /// Number of the commit.
    pub commit: u64,
    pub again: Again,
}

/// How much is derived again in one commit.
#[derive(Clone, Copy)]
pub struct Again {
    pub members_max: usize,
    /// Bytes of states in memory. Members come from disk to be derived, and leave again only behind the commit.
    pub memory_max: usize,
}

impl Default for Again {
    fn default() -> Self {
        Self { members_max: STALE_MEMBERS_PER_COMMIT, memory_max: usize::MAX }
    }
}

/// Whose piece is looked at.
struct Whose<'a> {
    partition: i32,
    member: &'a MemberKey,
    event_at: Millis,
    lane: Lane,
    /// Number of the commit in the partition.
    commit: u64,
}

impl Changes<'_> {
    /// Every piece with new facts, and some of those that the catalogue made stale.
    pub fn collect(&mut self, store: &mut Store) -> Result<(), DiskError> {
        for (partition, pieces) in store.partitions() {
            while self.collect_dirty(partition, pieces) {}
        }
        let stale = store.partitions().filter(|(_, pieces)| pieces.stale_members() > 0).count();
        let share = (self.again.members_max / stale.max(1)).max(STALE_MEMBERS_MIN);
        let bytes_max = self.records.bytes() + STALE_BYTES_PER_COMMIT;
        let mut memory = store.memory();
        for (partition, pieces) in store.partitions() {
            memory -= pieces.memory();
            for taken in 0..share {
                let full = memory + pieces.memory() > self.again.memory_max || self.records.bytes() > bytes_max;
                if (full && taken >= STALE_MEMBERS_MIN) || !self.collect_stale(partition, pieces)? {
                    break;
                }
            }
            memory += pieces.memory();
        }
        Ok(())
    }

    /// One of the members that are to be derived again. False where there are no more.
    fn collect_stale(&mut self, partition: i32, pieces: &mut Partition) -> Result<bool, DiskError> {
        let (now, commit) = (self.now, pieces.commit_number());
        let Some((Stale { member, about }, aggregate)) = pieces.take_stale()? else { return Ok(false) };
        if aggregate.holds_nothing() {
            return Ok(true);
        }
        let whose = |cause: Cause| {
            let lane = if cause.brought { Lane::Backfill } else { Lane::of(cause.event_at, now) };
            Whose { partition, member: &member, event_at: cause.event_at, lane, commit }
        };
        let mut grown = None;
        if let Some(cause) = about.member() {
            grown = self.member(&whose(cause), aggregate);
        }
        for (entry_id, piece) in aggregate.entries.values_mut() {
            if let Some(cause) = about.entry(entry_id) {
                grown = add(grown, self.entry(&whose(cause), entry_id, piece));
            }
        }
        self.wrote(pieces, &member, grown);
        Ok(true)
    }

    /// Some of the members with new facts. False where there are no more.
    fn collect_dirty(&mut self, partition: i32, pieces: &mut Partition) -> bool {
        black_box(pieces.warm_dirty(MEMBERS_AHEAD));
        let commit = pieces.commit_number();
        for _ in 0..MEMBERS_AHEAD {
            let Some((member, aggregate, event_at)) = pieces.take_dirty() else { return false };
            // What was new was taken back.
            if aggregate.holds_nothing() {
                continue;
            }
            let mut whose = Whose { partition, member: &member, event_at, lane: Lane::Live, commit };
            let mut grown = None;
            // A member's row exists from its first event on, whatever that event was about.
            let first = aggregate.member.marks.hash(Object::CAMPAIGN_MEMBER.number()) == 0;
            if aggregate.member.dirty || first {
                let live =
                    aggregate.member.awaited || first && aggregate.entries.iter().any(|(_, piece)| piece.awaited);
                whose.lane = lane(live);
                grown = self.member(&whose, aggregate);
            }
            for (entry_id, piece) in aggregate.entries.values_mut().filter(|(_, piece)| piece.dirty) {
                whose.lane = lane(piece.awaited);
                grown = add(grown, self.entry(&whose, entry_id, piece));
            }
            self.wrote(pieces, &member, grown);
        }
        true
    }

    fn wrote(&self, pieces: &mut Partition, member: &MemberKey, grown: Option<isize>) {
        if let Some(grown) = grown {
            pieces.wrote(member, self.commit, grown);
        }
    }

    /// By how many bytes of memory the piece has grown since it was counted last; None where it was not written.
    fn member(&mut self, whose: &Whose<'_>, aggregate: &mut Aggregate) -> Option<isize> {
        let piece = &mut aggregate.member;
        let mut written = std::mem::take(&mut piece.dirty);
        for object in Facts::Member(piece).objects() {
            let Some(row) = self.row(whose, object, Facts::Member(piece), &piece.marks) else { continue };
            piece.marks.note_row(object.number(), row);
            if piece.saturated() {
                self.tally.saturated(object);
            }
            written = true;
        }
        piece.awaited = false;
        if !written {
            return None;
        }
        piece.marks.written_by(whose.commit);
        let mut bytes_max = PIECE_BYTES_MAX;
        while !self.state(whose, None, bytes_max, |out| piece.write(out)) {
            bytes_max = if piece.shed() { bytes_max } else { usize::MAX };
        }
        Some(piece.count_memory())
    }

    /// See [`Self::member`].
    fn entry(&mut self, whose: &Whose<'_>, entry_id: &str, piece: &mut EntryPiece) -> Option<isize> {
        let mut written = std::mem::take(&mut piece.dirty);
        for object in Facts::Entry(entry_id, piece).objects() {
            let Some(row) = self.row(whose, object, Facts::Entry(entry_id, piece), &piece.marks) else { continue };
            piece.marks.note_row(object.number(), row);
            if piece.saturated() {
                self.tally.saturated(object);
            }
            written = true;
        }
        piece.awaited = false;
        if !written {
            return None;
        }
        piece.marks.written_by(whose.commit);
        let mut bytes_max = PIECE_BYTES_MAX;
        while !self.state(whose, Some(entry_id), bytes_max, |out| piece.write(out)) {
            bytes_max = if piece.shed() { bytes_max } else { usize::MAX };
        }
        Some(piece.count_memory())
    }

    /// Sends a row, or its refusal, if it is not what was last sent. None: nothing was.
    fn row<const FIRST: u8, const COUNT: usize>(
        &mut self,
        whose: &Whose<'_>,
        object: Object,
        facts: Facts<'_>,
        marks: &Marks<FIRST, COUNT>,
    ) -> Option<RowMark> {
        let Whose { member, event_at, lane, .. } = *whose;
        let last_sent = marks.hash(object.number());
        let catalogue = self.catalogue;
        let mut refused = None;
        let mut unchanged = false;
        let value = |out: &mut Writer| {
            let start = out.0.len();
            match upsert::write_row(out, object, member, facts, catalogue) {
                Derived::Nothing => return None,
                Derived::Refused(refusal) => {
                    refused = Some(refusal);
                    return None;
                }
                Derived::Row => {}
            }
            let hash = upsert::row_hash(out.0.get(start..).unwrap_or_default());
            unchanged = hash == last_sent;
            if unchanged {
                return None;
            }
            let first = !marks.row(object.number()).sent;
            let sending = Sending { event_at, lane, first, ..Sending::default() };
            upsert::finish_upsert(out, object, member, &sending);
            Some(hash)
        };
        let key = |out: &mut Writer| upsert::write_upsert_key(out, object, member, facts.entry_id());
        if let Some(hash) = self.records.write((Topic::Upserts, whose.partition), value, key) {
            self.tally.row(object, RowOutcome::Written);
            return Some(RowMark { hash, sent: true });
        }
        match refused {
            Some(refusal) if refusal.hash() != last_sent => {
                self.tally.row(object, RowOutcome::DeadLettered);
                self.refusal(whose, &refusal);
                return Some(RowMark { hash: refusal.hash(), sent: false });
            }
            Some(_) => self.tally.row(object, RowOutcome::Unchanged),
            None if unchanged => self.tally.row(object, RowOutcome::Unchanged),
            None => {}
        }
        None
    }

    /// False where no record has room for the piece. Its sets are bounded by their counts; texts and ids of a length that
    /// nobody means well with may still be too much together.
    fn state(
        &mut self,
        whose: &Whose<'_>,
        entry_id: Option<&str>,
        bytes_max: usize,
        value: impl FnOnce(&mut Writer),
    ) -> bool {
        let value = |out: &mut Writer| {
            let start = out.0.len();
            value(out);
            (out.0.len() - start <= bytes_max).then_some(())
        };
        let key = |out: &mut Writer| write_piece_key(out, whose.member, entry_id);
        self.records.write((Topic::State, whose.partition), value, key).is_some()
    }

    fn refusal(&mut self, whose: &Whose<'_>, refusal: &RowRefusal) {
        let key = whose.member.bytes().to_vec();
        let letter = DeadLetter {
            stage: Stage::Fold,
            reason: refusal.code().to_owned(),
            detail: refusal.detail.clone(),
            hint: "correct the value at its producer; the next change of the row is tried again".to_owned(),
            topic: self.topics.state.clone(),
            partition: whose.partition,
            offset: -1,
            timestamp: Some(whose.event_at),
            key: Some(key.clone()),
            value: None,
            headers: Vec::new(),
            object: Some(refusal.object.api_name().to_owned()),
            external_id: Some(refusal.external_id.clone()),
            fields: vec![refusal.field.to_owned()],
            attempts: 1,
            at: self.now,
            cut: None,
        };
        self.tally.dead_letter(refusal.code());
        let value = letter.encode();
        self.records.push(Topic::DeadLetters, Outgoing { key: Some(&key), value: Some(&value), ..Outgoing::default() });
    }
}

fn lane(live: bool) -> Lane {
    if live { Lane::Live } else { Lane::Backfill }
}

fn add(grown: Option<isize>, more: Option<isize>) -> Option<isize> {
    if grown.is_none() && more.is_none() { None } else { Some(grown.unwrap_or(0) + more.unwrap_or(0)) }
}
