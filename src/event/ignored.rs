//! What is known of a record that changes nothing, so that whoever sends such records can be told: the field, what stands
//! in it, and what it may have been meant to be.
//!
//! A symbol is no personal data, but what stands in its place may be anything. So a text is only repeated where it looks
//! like a symbol, and is short.

use super::slots::{Shape, Slot, Slots, Symbol, TextSlot, blank};
use super::{EventKind, IgnoreReason};

/// Longest symbol that is repeated, and that a nearest one is looked for.
const SYMBOL_LEN_MAX: usize = 40;

/// A valid record that changes nothing and makes no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    pub reason: IgnoreReason,
    pub kind: EventKind,
    /// Why it is ignored stands here.
    pub field: &'static str,
    pub found: Found,
    /// The symbol of this field that looks most like what was found, where one looks like it at all.
    pub nearest: Option<&'static str>,
}

/// What stands in a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    Nothing,
    /// ASCII letters, digits, `_` and `-`, at most 40.
    Symbol(String),
    /// Something that is not repeated.
    Other,
}

impl Ignored {
    pub(super) fn of(reason: IgnoreReason, kind: EventKind, slots: &Slots<'_>) -> Self {
        let plain = |field, symbol: &str| Self { reason, kind, field, found: Found::of(symbol), nearest: None };
        match reason {
            IgnoreReason::NoEntry => plain("entry_id", slots.text(TextSlot::EntryId).unwrap_or_default()),
            IgnoreReason::LoweredHand => plain("reaction", "LOWER_HAND"),
            IgnoreReason::DocumentView => plain("mode", "DOCUMENT"),
            IgnoreReason::UnknownSymbol => {
                let shape = Shape::Event(kind);
                let (slot, text) = if slots.symbol == Symbol::Visit {
                    (Slot::Phase, &slots.unknown_phase)
                } else {
                    (Slot::Symbol, &slots.unknown_symbol)
                };
                let field = shape.fields().iter().find(|field| field.slot == slot).map_or("", |field| field.name);
                let text = text.as_deref().unwrap_or_default();
                Self { nearest: nearest(text, shape.symbols(slot)), ..plain(field, text) }
            }
        }
    }

    /// In a sentence, for a person.
    pub fn detail(&self) -> String {
        let Self { reason, field, found, nearest, .. } = self;
        let found = match (found, reason) {
            (Found::Nothing, _) => return format!("`{field}` is absent or blank"),
            (Found::Symbol(symbol), IgnoreReason::UnknownSymbol) => {
                format!("`{field}` is `{symbol}`, which is not known")
            }
            (Found::Symbol(symbol), _) => format!("`{field}` is `{symbol}`"),
            (Found::Other, _) => format!("`{field}` holds what is no symbol"),
        };
        nearest.map_or_else(|| found.clone(), |nearest| format!("{found}; the nearest is `{nearest}`"))
    }
}

impl Found {
    fn of(text: &str) -> Self {
        let like_a_symbol = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if blank(text) {
            Self::Nothing
        } else if text.len() <= SYMBOL_LEN_MAX && text.bytes().all(like_a_symbol) {
            Self::Symbol(text.to_owned())
        } else {
            Self::Other
        }
    }

    /// The symbol, where there is one that can be shown.
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Symbol(symbol) => Some(symbol),
            Self::Nothing | Self::Other => None,
        }
    }
}

/// The symbol that takes the fewest letters to come to, if those are no more than half of what was sent.
fn nearest(text: &str, symbols: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let sent: Vec<u8> = text.bytes().map(|byte| byte.to_ascii_uppercase()).collect();
    if sent.len() > SYMBOL_LEN_MAX {
        return None;
    }
    let (distance, symbol) = symbols.map(|symbol| (distance(&sent, symbol.as_bytes()), symbol)).min()?;
    (distance * 2 <= sent.len()).then_some(symbol)
}

/// How many letters have to be put in, taken out or replaced (Levenshtein).
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.iter().enumerate() {
        let mut above_left = line;
        let mut before = line + 1;
        let (first, rest) = row.split_first_mut().expect("it has one place more than the other text");
        *first = before;
        for (place, right) in rest.iter_mut().zip(other) {
            let replaced = above_left + usize::from(left != right);
            above_left = *place;
            before = replaced.min(above_left + 1).min(before + 1);
            *place = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters() {
        for (one, other, letters) in
            [("", "", 0), ("", "AB", 2), ("AB", "", 2), ("KITTEN", "SITTING", 3), ("REGISTERD", "REGISTERED", 1)]
        {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), letters, "{one} {other}");
        }
    }

    #[test]
    fn a_misspelt_symbol_has_a_nearest_one_and_another_word_has_none() {
        let symbols = || ["CREATED", "REGISTERED", "UNREGISTERED"].into_iter();
        for (sent, expected) in [
            ("REGISTERD", Some("REGISTERED")),
            ("registered ", Some("REGISTERED")),
            ("UNREGISTRED", Some("UNREGISTERED")),
            ("creatd", Some("CREATED")),
            ("CONFETTI", None),
            ("", None),
        ] {
            assert_eq!(nearest(sent, symbols()), expected, "{sent}");
        }
        assert_eq!(nearest(&"R".repeat(100_000), symbols()), None);
    }

    #[test]
    fn only_what_looks_like_a_symbol_is_repeated() {
        assert_eq!(Found::of("WAIT-LISTED_2"), Found::Symbol("WAIT-LISTED_2".to_owned()));
        for other in ["ann@example.org", "Ann Example", "Änn", &"A".repeat(41)] {
            assert_eq!(Found::of(other), Found::Other, "{other}");
        }
        assert_eq!(Found::of(" \u{3000}"), Found::Nothing);
    }
}
