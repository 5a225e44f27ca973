//! Grow-only sets of ids, kept as 64-bit hashes.
//!
//! The ids themselves would take four times the room and are never shown. Two of a million ids share a hash with a
//! probability of 3 in 10⁸. The hash is XXH3, whose value is fixed: it is kept in the state for years.

use std::io::Write;

use xxhash_rust::xxh3::xxh3_64;

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

/// Invariant: ascending, each hash once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdSet(Few<u64>);

impl IdSet {
    /// Returns whether the id is new.
    pub fn insert(&mut self, id: u64) -> bool {
        match self.0.as_slice().binary_search(&id) {
            Ok(_) => false,
            Err(place) => {
                self.0.insert(place, id);
                true
            }
        }
    }

    /// Union. Returns whether an id was new.
    pub fn join(&mut self, other: &Self) -> bool {
        let ours = self.0.as_slice();
        let grows = other.iter().any(|id| ours.binary_search(&id).is_err());
        if grows {
            *self = self.iter().chain(other.iter()).collect();
        }
        grows
    }

    /// Touches the set itself.
    pub fn warm(&self) -> u64 {
        u64::from(self.0.is_many())
    }

    pub fn len(&self) -> usize {
        self.0.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    /// Ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.as_slice().iter().copied()
    }
}

impl FromIterator<u64> for IdSet {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        let mut ids: Vec<u64> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids.into())
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
    fn an_id_counts_once() {
        let mut ids = IdSet::default();
        assert!(ids.insert(3) && ids.insert(1) && !ids.insert(3));
        assert_eq!(ids.iter().collect::<Vec<_>>(), [1, 3]);
    }
}
