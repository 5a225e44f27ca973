//! Grow-only sets of ids, kept as 64-bit hashes.
//!
//! The ids themselves would take four times the room and are never shown. Two of a million ids share a hash with a
//! probability of 3 in 10⁸. The hash is XXH3, whose value is fixed: it is kept in the state for years.

use std::collections::BTreeSet;
use std::io::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::KEYS_MAX;
use super::few::Few;

/// What a hash is of. Part of what is hashed: an event's identity never equals a message id that happens to read so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Domain {
    /// Source and event id, within one kind of event.
    Event = 1,
    Play = 2,
    Message = 3,
    Thread = 4,
    Connection = 5,
}

/// Longer texts than this are rare; they are hashed by way of an allocation.
const STACK_BYTES: usize = 256;

/// Each part is preceded by its length, so that `("ab", "c")` and `("a", "bc")` differ.
pub fn hash(domain: Domain, parts: &[&str]) -> u64 {
    let mut buffer = [0; STACK_BYTES];
    let mut free = buffer.as_mut_slice();
    if write_parts(&mut free, domain, parts).is_ok() {
        let unused = free.len();
        return xxh3_64(buffer.get(..STACK_BYTES - unused).unwrap_or_default());
    }
    let mut long = Vec::new();
    write_parts(&mut long, domain, parts).expect("a vector takes every write");
    xxh3_64(&long)
}

fn write_parts(to: &mut impl Write, domain: Domain, parts: &[&str]) -> std::io::Result<()> {
    to.write_all(&[domain as u8])?;
    for part in parts {
        to.write_all(&(part.len() as u64).to_le_bytes())?;
        to.write_all(part.as_bytes())?;
    }
    Ok(())
}

/// A set of hashes.
///
/// Nearly all sets hold a handful, for which a sorted list is smallest and fastest. One that grows without end (a key that
/// somebody floods) would move half of it at every insertion, so that from a size on it is a tree.
#[derive(Clone, Debug)]
pub struct IdSet(Repr);

#[expect(clippy::box_collection, reason = "keeps the sets of all others at the size of a list")]
#[derive(Clone, Debug)]
enum Repr {
    /// Ascending, each hash once; at most `LIST_MAX`.
    List(Few<u64>),
    Tree(Box<BTreeSet<u64>>),
}

/// Longest list: moving half of it costs what a search in a tree costs.
const LIST_MAX: usize = 1_024;
/// Of an id in a tree.
const TREE_ID_BYTES: usize = 18;

impl Default for IdSet {
    fn default() -> Self {
        Self(Repr::List(Few::default()))
    }
}

impl IdSet {
    /// Returns whether the id is new, and among the smallest.
    pub fn insert(&mut self, id: u64) -> bool {
        self.insert_within(id, KEYS_MAX)
    }

    #[inline]
    pub(super) fn insert_within(&mut self, id: u64, max: usize) -> bool {
        match &mut self.0 {
            Repr::Tree(ids) if ids.len() < max => ids.insert(id),
            Repr::Tree(ids) => {
                let new = ids.last().is_none_or(|last| id < *last) && ids.insert(id);
                if new {
                    ids.pop_last();
                }
                new
            }
            Repr::List(ids) => match ids.as_slice().binary_search(&id) {
                Ok(_) => false,
                Err(place) if place >= max => false,
                Err(place) if ids.as_slice().len() < LIST_MAX => {
                    ids.insert(place, id);
                    if ids.as_slice().len() > max {
                        ids.change(|ids| ids.truncate(max));
                    }
                    true
                }
                Err(_) => {
                    *self = Self::smallest(self.iter().chain([id]), max);
                    true
                }
            },
        }
    }

    /// The smallest of the union. Returns whether one of them was new.
    pub fn join(&mut self, other: &Self) -> bool {
        self.join_within(other, KEYS_MAX)
    }

    pub(super) fn join_within(&mut self, other: &Self, max: usize) -> bool {
        let full = self.len() >= max;
        let largest = if full { self.last() } else { None };
        let grows = other.iter().any(|id| largest.is_none_or(|largest| id < largest) && !self.contains(id));
        if grows {
            *self = Self::smallest(self.iter().chain(other.iter()), max);
        }
        grows
    }

    pub(super) fn smallest(ids: impl IntoIterator<Item = u64>, max: usize) -> Self {
        let mut ids: Vec<u64> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(max);
        ids.shrink_to_fit();
        let large = ids.len() > LIST_MAX;
        Self(if large { Repr::Tree(Box::new(ids.into_iter().collect())) } else { Repr::List(ids.into()) })
    }

    /// Whether it keeps no more: there may have been others.
    pub fn full(&self) -> bool {
        self.len() >= KEYS_MAX
    }

    fn last(&self) -> Option<u64> {
        match &self.0 {
            Repr::List(ids) => ids.as_slice().last().copied(),
            Repr::Tree(ids) => ids.last().copied(),
        }
    }

    fn contains(&self, id: u64) -> bool {
        match &self.0 {
            Repr::List(ids) => ids.as_slice().binary_search(&id).is_ok(),
            Repr::Tree(ids) => ids.contains(&id),
        }
    }

    /// Touches the set itself.
    pub fn warm(&self) -> u64 {
        u64::from(matches!(&self.0, Repr::List(ids) if ids.is_many()))
    }

    /// Bytes of the heap. The nodes of a tree that grows in disorder are two thirds full, of hashes and of pointers.
    pub fn heap(&self) -> usize {
        match &self.0 {
            Repr::List(ids) => ids.heap(),
            Repr::Tree(ids) => ids.len() * TREE_ID_BYTES,
        }
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::List(ids) => ids.as_slice().len(),
            Repr::Tree(ids) => ids.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let (list, tree) = match &self.0 {
            Repr::List(ids) => (Some(ids.as_slice()), None),
            Repr::Tree(ids) => (None, Some(&**ids)),
        };
        list.into_iter().flatten().chain(tree.into_iter().flatten()).copied()
    }
}

impl PartialEq for IdSet {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for IdSet {}

impl FromIterator<u64> for IdSet {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        Self::smallest(ids, KEYS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash(Domain::Event, &["ab", "c"]), hash(Domain::Event, &["a", "bc"]));
        assert_ne!(hash(Domain::Event, &["a", "b"]), hash(Domain::Message, &["a", "b"]));
    }

    #[test]
    fn hashes_stay_what_they_are() {
        // They stand in the states of running installations. Compared with another implementation of XXH3.
        assert_eq!(hash(Domain::Play, &["play-1"]), 3_671_107_742_096_658_386);
        let long = "x".repeat(STACK_BYTES);
        assert_eq!(hash(Domain::Play, &[&long]), 200_820_897_756_099_681);
    }

    #[test]
    fn a_set_is_the_same_whatever_its_form() {
        let many = 3 * LIST_MAX as u64;
        // 7 has no factor in common with the number, so that every id comes once, in disorder.
        let mut one_by_one = IdSet::default();
        for number in 0..many {
            assert!(one_by_one.insert(number * 7 % many), "{number}");
            assert!(!one_by_one.insert(number * 7 % many), "{number}");
        }
        assert!(one_by_one.iter().eq(0..many));
        assert_eq!(one_by_one.len() as u64, many);
        assert_eq!((0..many).collect::<IdSet>(), one_by_one);
        let (mut even, odd): (IdSet, IdSet) = ((0..many).step_by(2).collect(), (1..many).step_by(2).collect());
        assert!(even.join(&odd) && !even.join(&odd) && even == one_by_one);
        assert_eq!(std::mem::size_of::<IdSet>(), 24);
    }

    #[test]
    fn a_set_keeps_the_smallest_whatever_its_form() {
        for max in [1, 7, LIST_MAX, LIST_MAX + 1, 2 * LIST_MAX] {
            let many = 3 * LIST_MAX as u64;
            let mut one_by_one = IdSet::default();
            for number in 0..many {
                let before = one_by_one.clone();
                let said = one_by_one.insert_within(number * 7 % many, max);
                assert_eq!(said, one_by_one != before, "{number} of {max}");
            }
            assert!(one_by_one.iter().eq(0..max as u64), "{max}");
            assert!(!one_by_one.join_within(&(0..many).collect(), max), "{max}");
        }
    }

    #[test]
    fn what_has_more_than_there_may_be_is_cut_where_it_is_read() {
        let many: IdSet = (0..KEYS_MAX as u64 + 5).rev().collect();
        assert!(many.full() && many.iter().eq(0..KEYS_MAX as u64));
    }

    #[test]
    fn an_id_counts_once() {
        let mut ids = IdSet::default();
        assert!(ids.insert(3) && ids.insert(1) && !ids.insert(3));
        assert_eq!(ids.iter().collect::<Vec<_>>(), [1, 3]);
    }
}
