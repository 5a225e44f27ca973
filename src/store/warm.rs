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
    let entries = events.iter().filter_map(|(aggregate, event)| (*aggregate)?.entry(event.entry_id.as_deref()?));
    let entries: Vec<&EntryPiece> = entries.collect();
    sum ^ pieces(&entries)
}

/// All that these aggregates hold.
pub(super) fn whole(aggregates: &[Option<&Aggregate>]) -> u64 {
    let known = || aggregates.iter().flatten().copied();
    let sum = lists(known());
    let entries: Vec<&EntryPiece> = known().flat_map(|it| it.entries.iter().map(|(_, piece)| &**piece)).collect();
    sum ^ pieces(&entries)
}

fn lists<'a>(aggregates: impl Iterator<Item = &'a Aggregate>) -> u64 {
    aggregates.fold(0, |sum, it| sum ^ it.member.warm() ^ it.entries.warm())
}

fn pieces(entries: &[&EntryPiece]) -> u64 {
    let sets = |entry: &EntryPiece, touch: fn(&IntervalSet) -> u64| {
        entry.intervals().into_iter().fold(entry.engagement_row_hash, |sum, set| sum ^ touch(set))
    };
    let sum = entries.iter().fold(0, |sum, entry| sum ^ sets(entry, IntervalSet::warm));
    entries.iter().fold(sum, |sum, entry| sum ^ sets(entry, IntervalSet::warm_last))
}
