//! A map of joinable values by key, sorted.
//!
//! A member has few entries, an entry few connections and polls: a sorted vector finds them faster than a tree and
//! takes half the room. Iteration order is the key's, so that equal maps encode to equal bytes.

use std::borrow::Borrow;

/// Invariant: ascending by key, each key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed<K, V>(Vec<(K, V)>);

impl<K, V> Default for Keyed<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A key that can be touched without following it.
pub trait Warm {
    fn warm(&self) -> u64;
}

impl<K: Ord, V: Default> Keyed<K, V> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().and_then(|place| self.0.get(place)).map(|(_, value)| value)
    }

    /// The key's value; an identity where there was none. `own` makes the key that is then kept.
    pub fn at<Q: Ord + ?Sized>(&mut self, key: &Q, own: impl FnOnce(&Q) -> K) -> &mut V
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).unwrap_or_else(|place| {
            self.0.insert(place, (own(key), V::default()));
            place
        });
        &mut self.0.get_mut(place).expect("found or just put there").1
    }

    /// Touches the first and the last key.
    pub fn warm(&self) -> u64
    where
        K: Warm,
    {
        let ends = self.0.first().into_iter().chain(self.0.last());
        ends.fold(0, |sum, (key, _)| sum ^ key.warm())
    }

    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(key))
    }

    /// Joins the values key by key. Returns whether a key was new or a value changed.
    pub fn join(&mut self, other: Self, mut join: impl FnMut(&mut V, V) -> bool) -> bool {
        let mut changed = false;
        for (key, value) in other.0 {
            match self.place(&key) {
                Ok(place) => {
                    let (_, ours) = self.0.get_mut(place).expect("just found there");
                    changed |= join(ours, value);
                }
                Err(place) => {
                    self.0.insert(place, (key, value));
                    changed = true;
                }
            }
        }
        changed
    }

    /// Ascending by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> + '_ {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> + '_ {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// Forgets a key: no join does this, only a tombstone of the changelog.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Ok(place) = self.place(key) {
            self.0.remove(place);
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
