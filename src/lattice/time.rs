//! Latest time, earliest time, set of times.

use crate::event::Millis;

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

/// A set of times. Invariant: ascending, each time once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeSet(Vec<Millis>);

impl TimeSet {
    /// Returns whether the time is new.
    pub fn insert(&mut self, at: Millis) -> bool {
        match self.0.binary_search(&at) {
            Ok(_) => false,
            Err(place) => {
                self.0.insert(place, at);
                true
            }
        }
    }

    /// Union. Returns whether a time was new.
    pub fn join(&mut self, other: &Self) -> bool {
        let mut grew = false;
        for &at in &other.0 {
            grew |= self.insert(at);
        }
        grew
    }

    /// The first time at `from` or after it.
    pub fn first_since(&self, from: Millis) -> Option<Millis> {
        self.0.get(self.0.partition_point(|at| *at < from)).copied()
    }

    /// Ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Millis> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Millis> for TimeSet {
    fn from_iter<I: IntoIterator<Item = Millis>>(times: I) -> Self {
        let mut times: Vec<Millis> = times.into_iter().collect();
        times.sort_unstable();
        times.dedup();
        Self(times)
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
