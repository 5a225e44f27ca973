//! A short list that keeps a single item in place.
//!
//! Most sets of a piece hold nothing or one thing: one play, one stretch of viewing. A vector would put that one thing
//! elsewhere in memory, and with a million pieces every such detour is a wait for the memory. Nor does a list of two have
//! the room for four that a vector would begin with.

use super::heap::block_of;

/// Invariant: one item is never `Many`. As large as a vector.
#[derive(Clone, Debug, Default)]
pub(super) enum Few<T> {
    #[default]
    Nothing,
    One(T),
    Many(Vec<T>),
}

impl<T: Copy> Few<T> {
    pub fn is_many(&self) -> bool {
        matches!(self, Self::Many(_))
    }

    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::Nothing => &[],
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }

    pub fn last_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Nothing => None,
            Self::One(item) => Some(item),
            Self::Many(items) => items.last_mut(),
        }
    }

    pub fn insert(&mut self, place: usize, item: T) {
        match self {
            Self::Nothing => *self = Self::One(item),
            Self::One(first) => {
                let mut items = Vec::with_capacity(2);
                items.push(*first);
                items.insert(place, item);
                *self = Self::Many(items);
            }
            Self::Many(items) => {
                if items.len() == items.capacity() {
                    items.reserve_exact(1 + items.len() / 2);
                }
                items.insert(place, item);
            }
        }
    }

    /// Bytes of the heap.
    pub fn heap(&self) -> usize {
        match self {
            Self::Nothing | Self::One(_) => 0,
            Self::Many(items) => block_of::<T>(items.capacity()),
        }
    }

    /// Changes the list as a vector.
    pub fn change(&mut self, change: impl FnOnce(&mut Vec<T>)) {
        let mut items = match std::mem::take(self) {
            Self::Nothing => Vec::new(),
            Self::One(item) => vec![item],
            Self::Many(items) => items,
        };
        change(&mut items);
        *self = Self::from(items);
    }
}

impl<T: Copy> From<Vec<T>> for Few<T> {
    fn from(items: Vec<T>) -> Self {
        match items.as_slice() {
            [] => Self::Nothing,
            [item] => Self::One(*item),
            _ => Self::Many(items),
        }
    }
}

impl<T: Copy + PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Copy + Eq> Eq for Few<T> {}
