//! A map of joinable values by key, sorted.
//!
//! A member has few entries, an entry few connections and polls: a sorted vector finds them faster than a tree and
//! takes half the room. It has room for what it holds and no more: most have one key, and a vector that grows by doubling
//! begins with room for four. Iteration order is the key's, so that equal maps encode to equal bytes.

use std::borrow::Borrow;
use std::mem;

use super::heap::block_of;

/// Invariant: ascending by key, each key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed<K, V>(Box<[(K, V)]>);

impl<K, V> Default for Keyed<K, V> {
    fn default() -> Self {
        Self(Box::default())
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

    /// The key's value; an identity where there was none. None: the map is full of smaller keys. `own` makes the key that
    /// is then kept.
    pub fn at_within<Q: Ord + ?Sized>(&mut self, key: &Q, max: usize, own: impl FnOnce(&Q) -> K) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let place = match self.place(key) {
            Ok(place) => place,
            Err(place) if place >= max => return None,
            Err(place) => {
                self.insert(place, (own(key), V::default()));
                self.keep(max);
                place
            }
        };
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// The key's value; an identity where there was none. `own` makes the key that is then kept.
    pub fn at<Q: Ord + ?Sized>(&mut self, key: &Q, own: impl FnOnce(&Q) -> K) -> &mut V
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).unwrap_or_else(|place| {
            self.insert(place, (own(key), V::default()));
            place
        });
        &mut self.0.get_mut(place).expect("found or just put there").1
    }

    /// Joins one value; one whose key is new is kept as it is. Returns the key's value.
    pub fn join_at<Q: Ord + ?Sized>(
        &mut self,
        key: &Q,
        value: V,
        own: impl FnOnce(&Q) -> K,
        join: impl FnOnce(&mut V, V),
    ) -> &mut V
    where
        K: Borrow<Q>,
    {
        let (place, left) = match self.place(key) {
            Ok(place) => (place, Some(value)),
            Err(place) => {
                self.insert(place, (own(key), value));
                (place, None)
            }
        };
        let ours = &mut self.0.get_mut(place).expect("found or just put there").1;
        if let Some(value) = left {
            join(ours, value);
        }
        ours
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

    fn insert(&mut self, place: usize, item: (K, V)) {
        self.change(|items| {
            items.reserve_exact(1);
            items.insert(place, item);
        });
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<(K, V)>)) {
        let mut items = mem::take(&mut self.0).into_vec();
        change(&mut items);
        self.0 = items.into_boxed_slice();
    }

    /// Forgets all but the smallest keys.
    pub fn keep(&mut self, max: usize) {
        if self.len() > max {
            self.change(|items| items.truncate(max));
        }
    }

    /// Joins the values key by key. Returns whether a key was new or a value changed.
    pub fn join(&mut self, other: Self, join: impl FnMut(&mut V, V) -> bool) -> bool {
        self.join_within(other, usize::MAX, join)
    }

    /// The same, of the smallest keys. Those of the other come in order, so that none that is taken is given up for one that
    /// follows.
    pub fn join_within(&mut self, other: Self, max: usize, mut join: impl FnMut(&mut V, V) -> bool) -> bool {
        let mut changed = false;
        for (key, value) in other.0 {
            match self.place(&key) {
                Err(place) if place >= max => {}
                Ok(place) => {
                    let (_, ours) = self.0.get_mut(place).expect("just found there");
                    changed |= join(ours, value);
                }
                Err(place) => {
                    self.insert(place, (key, value));
                    self.keep(max);
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
            self.change(|items| drop(items.remove(place)));
        }
    }

    /// Bytes of the heap, where each item has so many of its own.
    pub fn heap(&self, own: impl Fn(&K, &V) -> usize) -> usize {
        block_of::<(K, V)>(self.0.len()) + self.iter().map(|(key, value)| own(key, value)).sum::<usize>()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
