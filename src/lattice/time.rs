//! Latest time, earliest time, set of times.

use super::KEYS_MAX;
use super::few::Few;
use crate::time::Millis;

/// The latest time seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest(pub Millis);

impl Default for Latest {
    fn default() -> Self {
        Self(Millis::MIN)
    }
}

impl Latest {
    /// Returns whether it moved.
    pub fn join(&mut self, at: Millis) -> bool {
        let later = at > self.0;
        self.0 = self.0.max(at);
        later
    }
}

/// The earliest time seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earliest(pub Millis);

impl Default for Earliest {
    fn default() -> Self {
        Self(Millis::MAX)
    }
}

impl Earliest {
    /// Returns whether it moved.
    pub fn join(&mut self, at: Millis) -> bool {
        let earlier = at < self.0;
        self.0 = self.0.min(at);
        earlier
    }
}

/// A set of times, of which it keeps the first. Invariant: ascending, each time once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeSet(Few<Millis>);

impl TimeSet {
    /// Returns whether the time is new, and among the first.
    pub fn insert(&mut self, at: Millis) -> bool {
        self.insert_within(at, KEYS_MAX)
    }

    #[inline]
    pub(super) fn insert_within(&mut self, at: Millis, max: usize) -> bool {
        match self.0.as_slice().binary_search(&at) {
            Ok(_) => false,
            Err(place) if place >= max => false,
            Err(place) => {
                self.0.insert(place, at);
                if self.0.as_slice().len() > max {
                    self.0.change(|times| times.truncate(max));
                }
                true
            }
        }
    }

    /// The first of the union. Returns whether one of them was new.
    pub fn join(&mut self, other: &Self) -> bool {
        self.join_within(other, KEYS_MAX)
    }

    /// Those of the other come in order, so that none that is taken is given up for one that follows.
    pub(super) fn join_within(&mut self, other: &Self, max: usize) -> bool {
        let mut grew = false;
        for at in other.iter() {
            grew |= self.insert_within(at, max);
        }
        grew
    }

    /// Whether it keeps no more: there may have been others.
    pub fn full(&self) -> bool {
        self.0.as_slice().len() >= KEYS_MAX
    }

    /// The first time at `from` or after it.
    pub fn first_since(&self, from: Millis) -> Option<Millis> {
        let times = self.0.as_slice();
        times.get(times.partition_point(|at| *at < from)).copied()
    }

    /// Ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Millis> + '_ {
        self.0.as_slice().iter().copied()
    }

    /// Bytes of the heap.
    pub fn heap(&self) -> usize {
        self.0.heap()
    }
}

impl FromIterator<Millis> for TimeSet {
    fn from_iter<I: IntoIterator<Item = Millis>>(times: I) -> Self {
        let mut times: Vec<Millis> = times.into_iter().collect();
        times.sort_unstable();
        times.dedup();
        times.truncate(KEYS_MAX);
        times.shrink_to_fit();
        Self(times.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_since_includes_the_time_itself() {
        let times: TimeSet = [30, 10].into_iter().collect();
        assert_eq!(times.first_since(10), Some(10));
        assert_eq!(times.first_since(11), Some(30));
        assert_eq!(times.first_since(31), None);
    }
}
