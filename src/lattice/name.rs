//! A text that is kept in place where it is short, as ids of entries are.
//!
//! The keys of a member's entries are compared at every event: as boxed texts each comparison would wait for another
//! place in memory.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use super::heap::block;
use super::keyed::Warm;

/// What fits beside a length into the room of a `String`.
const SHORT: usize = 22;

/// An immutable text. Compares and orders as its UTF-8 bytes.
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    Short(u8, [u8; SHORT]),
    Long(Box<str>),
}

impl Name {
    pub const EMPTY: Self = Self(Repr::Short(0, [0; SHORT]));

    /// Bytes of the heap that a text of so many takes as a name.
    pub fn heap(len: usize) -> usize {
        if len > SHORT { block(len) } else { 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Long(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                Self(Repr::Short(len, bytes))
            }
            _ => Self(Repr::Long(text.into())),
        }
    }
}

/// In the order of the bytes; the last word overlaps the one before.
fn words(bytes: &[u8; SHORT]) -> [u64; 3] {
    let word = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_be_bytes(*word));
    [word(0), word(8), word(SHORT - 8)]
}

impl Warm for Name {
    fn warm(&self) -> u64 {
        u64::from(matches!(self.0, Repr::Long(_)))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Repr::Short(..) => std::str::from_utf8(self.as_bytes()).expect("made of a text"),
            Repr::Long(text) => text,
        }
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            // Words instead of a call that compares bytes. The rest of the room is zeros, so that a text and its
            // beginning differ in their words or in their lengths alone.
            (Repr::Short(our_len, ours), Repr::Short(their_len, theirs)) => {
                (words(ours), our_len).cmp(&(words(theirs), their_len))
            }
            _ => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_text() {
        for len in [0, 1, SHORT - 2, SHORT - 1, SHORT, SHORT + 1, 300] {
            let text = "é".repeat(len / 2) + &"x".repeat(len % 2);
            assert_eq!(&*Name::from(text.as_str()), text);
        }
        let mut texts =
            ["", "\0", "a", "a\0", "a\0b", "ab", "b", "exactly twenty-two byte", "exactly twenty-two bytes", "é"];
        texts.sort_unstable();
        let mut names = texts.map(Name::from);
        names.reverse();
        names.sort_unstable();
        assert_eq!(names.each_ref().map(|name| &**name), texts);
        assert_eq!(std::mem::size_of::<Name>(), 24);
    }
}
