//! Events to aggregates: what is known of one member, as a join-semilattice.
//!
//! `apply(event)` is the join with what that event alone says, so order, repetition and the cut between two states do
//! not matter (`tests/it/properties.rs`). Nothing is ever taken back: what *falls* (a rate, a status) falls in the room
//! `upsert`, which derives the written values from the whole state.
//!
//! A text that says nothing (a blank, an email that is none) is left out here and not when rows are made, so that it does
//! not displace an older one.
//!
//! An aggregate comes in pieces, one of the member and one per entry: a commit writes only the pieces that changed.
//! The flags `dirty` and `awaited` and the marks are the caller's notes on a piece and no part of the lattice.

mod catalogue;
mod connection;
mod earlier;
mod entry;
mod facts;
mod marks;
mod member;
mod piece;
mod poll;
mod sets;
mod stamps;

pub use catalogue::Catalogue;
pub use connection::{Connection, Pairing};
pub use entry::{EntryPiece, LiveLevels, ReactionSets, Reactions};
pub use facts::Piece;
pub use marks::{Counted, Marks, RowMark};
pub use member::{FactKind, MemberPiece};
pub use piece::decode_piece;
pub use poll::PollPiece;

use crate::event::Event;
use crate::lattice::heap::block_of;
use crate::lattice::{Keyed, Name, Put};

/// Everything known of one member.
#[derive(Clone, Debug, Default)]
pub struct Aggregate {
    pub member: MemberPiece,
    /// By entry id.
    pub entries: Keyed<Name, Box<EntryPiece>>,
}

/// How an event came here, which its facts do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Somebody waits for what it says.
    pub awaited: bool,
    /// It was re-keyed.
    pub resolved: bool,
}

/// What an event or another aggregate did to this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub member_changed: bool,
    pub entry_changed: bool,
    /// The same event had said something else before: a producer's fault, seen where the two meet.
    pub conflict: bool,
    /// Pieces that have become dirty.
    pub dirtied: usize,
    /// Gaps between stretches of viewing that were closed, as there are too many.
    pub closed: u32,
}

impl Applied {
    pub fn changed(self) -> bool {
        self.member_changed || self.entry_changed
    }
}

impl Aggregate {
    /// The join with what this event says. Allocates only where the state grows.
    pub fn apply(&mut self, event: &Event<'_>) -> Applied {
        self.apply_as(event, Arrival { awaited: true, resolved: false })
    }

    /// The same, noting with the pieces that it changes how it came.
    pub fn apply_as(&mut self, event: &Event<'_>, arrival: Arrival) -> Applied {
        let Arrival { awaited, resolved } = arrival;
        let clean = !self.member.dirty;
        let member_changed = self.member.apply(event);
        self.member.awaited |= awaited && member_changed;
        if resolved && member_changed {
            self.member.marks.took_resolved();
        }
        let mut dirtied = usize::from(clean && member_changed);
        let entry = match &event.entry_id {
            Some(id) => {
                let piece = self.entries.at(id, Name::clone);
                let clean = !piece.dirty;
                let put = piece.apply(event);
                piece.awaited |= awaited && put.changed;
                if resolved && put.changed {
                    piece.marks.took_resolved();
                }
                dirtied += usize::from(clean && put.changed);
                put
            }
            None => Put::default(),
        };
        let Put { changed: entry_changed, conflict, closed } = entry;
        Applied { member_changed, entry_changed, conflict, dirtied, closed }
    }

    /// Joins another aggregate of the same member.
    pub fn join(&mut self, other: Self) -> Applied {
        let member_changed = self.member.join(other.member);
        let mut conflict = false;
        let entry_changed = self.entries.join(other.entries, |ours, theirs| {
            let put = ours.join(*theirs);
            conflict |= put.conflict;
            put.changed
        });
        Applied { member_changed, entry_changed, conflict, ..Applied::default() }
    }

    /// Joins a piece that was read back.
    pub fn join_piece(&mut self, entry_id: Option<&str>, piece: Piece) -> Applied {
        match (piece, entry_id) {
            (Piece::Member(piece), _) => Applied { member_changed: self.member.join(piece), ..Applied::default() },
            (Piece::Entry(piece), Some(id)) => {
                let put = self.entry_mut(id).join(*piece);
                Applied { entry_changed: put.changed, conflict: put.conflict, ..Applied::default() }
            }
            (Piece::Entry(_), None) => Applied::default(),
        }
    }

    /// Whether a state of it says nothing.
    pub fn holds_nothing(&self) -> bool {
        self.entries.is_empty() && self.member.holds_nothing()
    }

    /// Bytes of the heap, as far as its pieces have been counted.
    pub fn memory(&self) -> usize {
        let entries = self.entries.iter().map(|(id, piece)| Self::entry_memory(id) + piece.memory as usize);
        self.member.memory as usize + entries.sum::<usize>()
    }

    /// Bytes of an entry, beside what its piece counts: the piece, and its place in the list.
    pub fn entry_memory(id: &str) -> usize {
        block_of::<EntryPiece>(1) + block_of::<(Name, Box<EntryPiece>)>(1) + Name::heap(id.len())
    }

    pub fn entry(&self, id: &str) -> Option<&EntryPiece> {
        self.entries.get(id).map(|piece| &**piece)
    }

    pub fn entry_mut(&mut self, id: &str) -> &mut EntryPiece {
        self.entries.at(id, |id| id.into())
    }
}
