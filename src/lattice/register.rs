//! Registers in which the newest statement wins.
//!
//! "Newest" is a total order that every reader of the same events agrees on: time, then source, then event id, the
//! texts compared as UTF-8 bytes, and on a tie in all three the greater value. Wall-clock order of arrival would be
//! simpler and would depend on it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::BitOrAssign;

use super::heap::{block, block_of};
use crate::time::Millis;

/// When a statement was made, and by which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp<'a> {
    pub at: Millis,
    pub source: &'a str,
    pub event_id: &'a str,
}

/// The newest statement, if one was made. Boxed: most registers stay empty, and a piece has many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register<V>(Option<Box<Stated<V>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stated<V> {
    at: Millis,
    /// Source and event id, end to end: one block of memory instead of two.
    by: String,
    source_len: usize,
    value: V,
}

impl<V> Stated<V> {
    fn stamp(&self) -> Stamp<'_> {
        let (source, event_id) = self.by.split_at(self.source_len);
        Stamp { at: self.at, source, event_id }
    }
}

/// What a statement did to a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Put {
    pub changed: bool,
    /// The same event had said something else: a producer's fault.
    pub conflict: bool,
    /// Gaps that it closed for want of room.
    pub closed: u32,
}

impl BitOrAssign for Put {
    fn bitor_assign(&mut self, other: Self) {
        self.changed |= other.changed;
        self.conflict |= other.conflict;
        self.closed += other.closed;
    }
}

impl<V: Ord> Register<V> {
    /// Reuses the register's own memory, so that a statement newer than the last allocates nothing.
    pub fn put<B>(&mut self, stamp: Stamp<'_>, value: &B) -> Put
    where
        B: ?Sized + Ord + ToOwned<Owned = V>,
        V: Borrow<B>,
    {
        let Some(stated) = &mut self.0 else {
            let (by, source_len) = ([stamp.source, stamp.event_id].concat(), stamp.source.len());
            self.0 = Some(Box::new(Stated { at: stamp.at, by, source_len, value: value.to_owned() }));
            return Put { changed: true, ..Put::default() };
        };
        let (newer, greater) = (stamp.cmp(&stated.stamp()), value.cmp(stated.value.borrow()));
        let changed = newer.then(greater) == Ordering::Greater;
        if changed {
            stated.at = stamp.at;
            stamp.source.clone_into(&mut stated.by);
            stated.by.push_str(stamp.event_id);
            stated.source_len = stamp.source.len();
            value.clone_into(&mut stated.value);
        }
        Put { changed, conflict: newer.is_eq() && greater.is_ne(), closed: 0 }
    }

    pub fn join(&mut self, other: Self) -> Put {
        let Some(theirs) = other.0 else { return Put::default() };
        let Some(ours) = &mut self.0 else {
            self.0 = Some(theirs);
            return Put { changed: true, ..Put::default() };
        };
        let (newer, greater) = (theirs.stamp().cmp(&ours.stamp()), theirs.value.cmp(&ours.value));
        let changed = newer.then(greater) == Ordering::Greater;
        if changed {
            *ours = theirs;
        }
        Put { changed, conflict: newer.is_eq() && greater.is_ne(), closed: 0 }
    }

    /// The newest value.
    pub fn get(&self) -> Option<&V> {
        self.0.as_ref().map(|stated| &stated.value)
    }

    /// Bytes of the heap, of which the value has so many.
    pub fn heap(&self, value: impl FnOnce(&V) -> usize) -> usize {
        let of_statement =
            |stated: &Stated<V>| block_of::<Stated<V>>(1) + block(stated.by.capacity()) + value(&stated.value);
        self.0.as_deref().map_or(0, of_statement)
    }

    pub fn stated(&self) -> Option<(Stamp<'_>, &V)> {
        self.0.as_ref().map(|stated| (stated.stamp(), &stated.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp<'a>(at: Millis, source: &'a str, event_id: &'a str) -> Stamp<'a> {
        Stamp { at, source, event_id }
    }

    #[test]
    fn the_order_is_time_then_source_then_event_id_then_value() {
        let steps = [
            (stamp(1, "z", "z"), "z"),
            (stamp(2, "a", "z"), "z"),
            (stamp(2, "b", "a"), "z"),
            (stamp(2, "b", "b"), "a"),
            (stamp(2, "b", "b"), "b"),
        ];
        for (at, (newer, value)) in steps.iter().enumerate() {
            for (older, other) in &steps[..at] {
                let mut register = Register::<String>::default();
                register.put(*older, *other);
                assert!(register.put(*newer, *value).changed);
                assert!(!register.put(*older, *other).changed);
                assert_eq!(register.stated(), Some((*newer, &(*value).to_owned())));
            }
        }
    }

    #[test]
    fn texts_compare_as_utf_8_bytes() {
        // By UTF-16 units it would be the other way round.
        let mut register = Register::<String>::default();
        register.put(stamp(1, "\u{1F600}", ""), "emoji");
        assert!(!register.put(stamp(1, "\u{FF5E}", ""), "wave").changed);
    }

    #[test]
    fn the_same_event_with_another_value_is_a_conflict() {
        let mut register = Register::<String>::default();
        assert_eq!(register.put(stamp(1, "s", "e"), "b"), Put { changed: true, conflict: false, closed: 0 });
        assert_eq!(register.put(stamp(1, "s", "e"), "b"), Put { changed: false, conflict: false, closed: 0 });
        assert_eq!(register.put(stamp(1, "s", "e"), "a"), Put { changed: false, conflict: true, closed: 0 });
        assert_eq!(register.put(stamp(1, "s", "e"), "c"), Put { changed: true, conflict: true, closed: 0 });
    }

    #[test]
    fn a_newer_statement_reuses_the_memory() {
        let mut register = Register::<String>::default();
        register.put(stamp(1, "source", "event-1"), "a longer value");
        let place = register.get().map(|value| value.as_ptr());
        register.put(stamp(2, "source", "event-2"), "short");
        assert_eq!(register.get().map(|value| value.as_ptr()), place);
    }
}
