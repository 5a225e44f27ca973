//! A text that is kept in place where it is short, as ids of entries are.
//!
//! The keys of a member's entries are compared at every event: as boxed texts each comparison would wait for another
//! place in memory.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

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
        self.as_bytes() == other.as_bytes()
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
        self.as_bytes().cmp(other.as_bytes())
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
        assert!(Name::from("b") > Name::from("a longer text than fits in place"));
        assert_eq!(std::mem::size_of::<Name>(), 24);
    }
}
