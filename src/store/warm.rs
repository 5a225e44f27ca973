//! Reading ahead: what folding an event will need is asked for before it is needed.
//!
//! States lie all over the memory, and folding one event follows half a dozen pointers, each a wait of a tenth of a
//! microsecond: together more than all the work. Where some dozen events are looked at step by step, the waits overlap.
//! No step may branch on what it has just asked for, since a processor that guesses wrong waits for it after all: each
//! step touches what hangs on the one before. The sums mean nothing; they keep the reads from being optimised away.

use crate::event::Event;
use crate::fold::{Aggregate, EntryPiece};
use crate::lattice::IntervalSet;

/// What these events will touch. Aggregates that are not known yet cost nothing.
pub(super) fn events(events: &[(Option<&Aggregate>, &Event<'_>)]) -> u64 {
    let sum = lists(events.iter().filter_map(|(aggregate, _)| *aggregate));
    let entries = events.iter().filter_map(|(aggregate, event)| {
        let piece = &**(*aggregate)?.entries.get(event.entry_id.as_ref()?)?;
        Some((piece, piece.grown_by(&event.act)))
    });
    let entries: Vec<(&EntryPiece, Option<&IntervalSet>)> = entries.collect();
    let sum = entries.iter().fold(sum, |sum, (piece, grown)| sum ^ ends(piece) ^ grown.map_or(0, IntervalSet::warm));
    entries.iter().fold(sum, |sum, (_, grown)| sum ^ grown.map_or(0, IntervalSet::warm_last))
}

/// All that these aggregates hold.
pub(super) fn whole(aggregates: &[Option<&Aggregate>]) -> u64 {
    let known = || aggregates.iter().flatten().copied();
    let sum = lists(known());
    let entries: Vec<&EntryPiece> = known().flat_map(|it| it.entries.iter().map(|(_, piece)| &**piece)).collect();
    let sets = |piece: &EntryPiece, touch: fn(&IntervalSet) -> u64| {
        piece.intervals().into_iter().fold(0, |sum, set| sum ^ touch(set))
    };
    let sum = entries.iter().fold(sum, |sum, piece| sum ^ ends(piece) ^ sets(piece, IntervalSet::warm));
    entries.iter().fold(sum, |sum, piece| sum ^ sets(piece, IntervalSet::warm_last))
}

fn lists<'a>(aggregates: impl Iterator<Item = &'a Aggregate>) -> u64 {
    aggregates.fold(0, |sum, it| sum ^ it.member.warm() ^ it.entries.warm())
}

/// A piece lies on several cache lines: what every event looks at.
fn ends(piece: &EntryPiece) -> u64 {
    piece.last_sign_at.0.cast_unsigned() ^ piece.plays.warm() ^ u64::from(piece.dirty)
}
