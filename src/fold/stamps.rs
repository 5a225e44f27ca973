//! The stamps of a piece's registers, each written in full once.
//!
//! One event states most of what a piece's registers hold, and few sources make all events. In full at every register,
//! times, sources and ids of events were more than half of a record.
//!
//! A register is null, a statement of an event that is named here, or one of an event that was named before. Writer and
//! reader meet the registers in the same order, so that no table of events has to stand before them.

use std::borrow::Cow;

use uuid::Uuid;

use crate::avro::{ReadError, Reader, Writer};
use crate::lattice::Stamp;
use crate::time::Millis;

/// So many of the last names are looked through for a name. All of them would be a great many where somebody floods an
/// entry with polls.
const LOOKED_THROUGH: usize = 64;

/// What a record has named so far.
pub(super) struct Stamps<'a> {
    /// Times are written since this one.
    base: Millis,
    sources: Vec<&'a str>,
    events: Vec<Named<'a>>,
}

struct Named<'a> {
    at: Millis,
    source: &'a str,
    event_id: Cow<'a, str>,
}

impl Named<'_> {
    fn stamp(&self) -> Stamp<'_> {
        Stamp { at: self.at, source: self.source, event_id: &self.event_id }
    }
}

impl<'a> Stamps<'a> {
    pub fn since(base: Millis) -> Self {
        Self { base, sources: Vec::new(), events: Vec::new() }
    }

    /// Appends a register: its stamp, and the value as `value` writes it.
    pub fn write<V>(&mut self, out: &mut Writer, stated: Option<(Stamp<'a>, V)>, value: impl FnOnce(&mut Writer, V)) {
        let Some((stamp, stated)) = stated else { return out.long(0) };
        if let Some(place) = place(&self.events, |known| known.stamp() == stamp) {
            out.long(2);
            out.length(place);
        } else {
            out.long(1);
            self.write_stamp(out, stamp);
        }
        value(out, stated);
    }

    fn write_stamp(&mut self, out: &mut Writer, stamp: Stamp<'a>) {
        let Stamp { at, source, event_id } = stamp;
        out.long(at.wrapping_sub(self.base));
        if let Some(place) = place(&self.sources, |known| *known == source) {
            out.long(1);
            out.length(place);
        } else {
            out.long(0);
            out.text(source);
            self.sources.push(source);
        }
        write_id(out, event_id);
        self.events.push(Named { at, source, event_id: event_id.into() });
    }

    /// Reads a register. `put` reads the value, and puts it with its stamp.
    pub fn read(
        &mut self,
        from: &mut Reader<'a>,
        put: impl FnOnce(&mut Reader<'a>, Stamp<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let known = match from.long()? {
            0 => return Ok(()),
            1 => {
                let named = self.read_stamp(from)?;
                self.events.push(named);
                self.events.last()
            }
            2 => named(&self.events, from)?,
            _ => None,
        };
        put(from, known.ok_or(ReadError::Branch)?.stamp())
    }

    fn read_stamp(&mut self, from: &mut Reader<'a>) -> Result<Named<'a>, ReadError> {
        let at = self.base.wrapping_add(from.long()?);
        let source = match from.long()? {
            0 => {
                let source = from.text()?;
                self.sources.push(source);
                source
            }
            1 => named(&self.sources, from)?.ok_or(ReadError::Branch)?,
            _ => return Err(ReadError::Branch),
        };
        Ok(Named { at, source, event_id: read_id(from)? })
    }
}

fn place<T>(known: &[T], wanted: impl Fn(&T) -> bool) -> Option<usize> {
    let mut last = known.iter().enumerate().rev().take(LOOKED_THROUGH);
    last.find(|(_, known)| wanted(known)).map(|(place, _)| place)
}

fn named<'k, T>(known: &'k [T], from: &mut Reader<'_>) -> Result<Option<&'k T>, ReadError> {
    Ok(usize::try_from(from.long()?).ok().and_then(|place| known.get(place)))
}

/// A UUID in one of its usual forms as its 16 bytes; anything else, and a UUID written otherwise, as the text that it is.
fn write_id(out: &mut Writer, id: &str) {
    let uuid = Uuid::try_parse(id).unwrap_or_default();
    let mut buffer = Uuid::encode_buffer();
    if uuid.hyphenated().encode_lower(&mut buffer) == id {
        out.long(1);
        out.0.extend_from_slice(uuid.as_bytes());
    } else if uuid.simple().encode_lower(&mut buffer) == id {
        out.long(2);
        out.0.extend_from_slice(uuid.as_bytes());
    } else {
        out.long(0);
        out.text(id);
    }
}

fn read_id<'a>(from: &mut Reader<'a>) -> Result<Cow<'a, str>, ReadError> {
    let branch = from.long()?;
    if branch == 0 {
        return Ok(from.text()?.into());
    }
    let uuid = Uuid::from_bytes(*from.take(size_of::<Uuid>())?.first_chunk().ok_or(ReadError::Short)?);
    match branch {
        1 => Ok(uuid.hyphenated().to_string().into()),
        2 => Ok(uuid.simple().to_string().into()),
        _ => Err(ReadError::Branch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(statements: &[(Stamp<'_>, &str)]) -> Vec<u8> {
        let (mut out, mut stamps) = (Writer::default(), Stamps::since(1_000));
        for (stamp, value) in statements {
            stamps.write(&mut out, Some((*stamp, value)), |out, value| out.text(value));
        }
        out.0
    }

    fn stamp<'a>(at: Millis, source: &'a str, event_id: &'a str) -> Stamp<'a> {
        Stamp { at, source, event_id }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let ids = [
            "",
            "e-1",
            "018f6b1e-7c5a-7d11-9a3b-0242ac120002",
            "018F6B1E-7C5A-7D11-9A3B-0242AC120002",
            "018f6b1e7c5a7d119a3b0242ac120002",
            "{018f6b1e-7c5a-7d11-9a3b-0242ac120002}",
            "00000000-0000-0000-0000-000000000000",
            "00000000000000000000000000000000",
        ];
        let mut statements = Vec::new();
        for at in [i64::MIN, 999, 1_000, i64::MAX, 999] {
            for source in ["", "a", "b"] {
                statements.extend(ids.iter().map(|id| (stamp(at, source, id), *id)));
            }
        }
        let bytes = written(&statements);
        let (mut from, mut stamps) = (Reader(&bytes), Stamps::since(1_000));
        for (expected, value) in &statements {
            let read = stamps.read(&mut from, |from, stamp| {
                assert_eq!((stamp, from.text()), (*expected, Ok(*value)));
                Ok(())
            });
            assert_eq!(read, Ok(()));
        }
        assert!(from.0.is_empty());
    }

    #[test]
    fn an_event_is_named_once_and_a_uuid_takes_sixteen_bytes() {
        let one = stamp(1_000, "source", "018f6b1e-7c5a-7d11-9a3b-0242ac120002");
        let first = written(&[(one, "")]);
        // Branch, time, source as a text, id as a UUID, value.
        assert_eq!(first.len(), 1 + 1 + (1 + 1 + 6) + (1 + 16) + 1);
        let again = written(&[(one, ""), (one, "")]);
        assert_eq!(again.len() - first.len(), 3, "branch, place, value");
        let other = written(&[(one, ""), (stamp(1_000, "source", "e"), "")]);
        assert_eq!(other.len() - first.len(), 8, "branch, time, place of the source, `e`, value");
    }

    #[test]
    fn a_place_that_nothing_was_named_at_is_an_error() {
        for bytes in [&[4, 0, 0][..], &[4, 1, 0], &[2, 0, 2, 0, 0, 0], &[6, 0], &[2, 0, 0, 0, 6, 0]] {
            let read = Stamps::since(0).read(&mut Reader(bytes), |_, _| Ok(()));
            assert!(read.is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_flood_of_events_is_written_in_time_that_grows_with_it_alone() {
        let ids: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
        let known: Vec<&str> = ids.iter().map(String::as_str).collect();
        let looked = std::cell::Cell::new(0);
        assert_eq!(
            place(&known, |_| {
                looked.set(looked.get() + 1);
                false
            }),
            None
        );
        assert_eq!(looked.get(), LOOKED_THROUGH);
    }
}
