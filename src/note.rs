//! What instances must remember and tell each other beside states and rows: a record of `rollbook.notes`.
//!
//! A key says what a note is about (`org`, `gap/views/3`), its newest record what is known of it, a tombstone that it is
//! done with. A kind and fields by name: a version that knows more writes more, and what a version does not know it
//! keeps and passes on (`rollbook_notes{kind="later"}`), so that instances of two versions may run side by side. What says of a
//! person or a row something of its own has a topic of its own: everybody holds all notes in memory. A schema of its own for each kind would be ten
//! files for ten notes a year.

use std::collections::BTreeMap;

use crate::avro::{self, ReadError, Reader, Writer};
use crate::time::Millis;

/// Kinds that this version knows. A note of another one is kept and told like all, for it is the truth of whoever wrote it.
pub const KINDS: [&str; 3] = [ORG, GAP, STAMPED];

/// Kind of the notes of gaps that nobody has acknowledged.
pub const GAP: &str = "gap";
/// Kind of the notes of partitions whose committed offsets have stamps.
pub const STAMPED: &str = "stamped";
/// Key and kind of the note of the org that rows are written to.
pub const ORG: &str = "org";
/// Its field: the org's Salesforce id.
pub const ORG_ID: &str = "id";

/// The newest note of each key.
pub type NoteBook = BTreeMap<String, Note>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: String,
    pub at: Millis,
    /// No personal data.
    pub fields: BTreeMap<String, String>,
}

impl Note {
    pub fn new(kind: &str, at: Millis) -> Self {
        Self { kind: kind.to_owned(), at, fields: BTreeMap::new() }
    }

    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<String>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    /// Its kind, if this version knows it.
    pub fn known_kind(&self) -> Option<&'static str> {
        KINDS.into_iter().find(|known| *known == self.kind)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::object(&avro::NOTE);
        out.text(&self.kind);
        out.long(self.at);
        // A map is written as an array of names and values.
        out.array(self.fields.iter(), |out, (name, value)| {
            out.text(name);
            out.text(value);
        });
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let mut from = Reader::object(&avro::NOTE, record)?;
        let (kind, at) = (from.text()?.to_owned(), from.long()?);
        let mut fields = BTreeMap::new();
        from.array(|from| {
            fields.insert(from.text()?.to_owned(), from.text()?.to_owned());
            Ok(())
        })?;
        Ok(Self { kind, at, fields })
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Value;
    use apache_avro::{from_avro_datum, to_avro_datum};

    use super::*;

    fn note() -> Note {
        Note::new("gap", 1_767_225_600_000).with("cause", "retention").with("offsets", "12")
    }

    #[test]
    fn a_note_is_read_as_it_was_written_by_us_and_by_others() {
        let bytes = note().encode();
        assert_eq!(Note::decode(&bytes), Ok(note()));
        let mut body = bytes.strip_prefix(&avro::NOTE.header).expect("a header");
        let read = from_avro_datum(&avro::NOTE.schema, &mut body, None).expect("of the schema");
        assert!(body.is_empty());
        let Value::Record(members) = &read else { panic!("a record") };
        let Some((_, Value::Map(fields))) = members.last() else { panic!("fields") };
        assert_eq!(fields.len(), 2);
        let again = [avro::NOTE.header.to_vec(), to_avro_datum(&avro::NOTE.schema, read).expect("of the schema")];
        assert_eq!(Note::decode(&again.concat()), Ok(note()));
    }

    #[test]
    fn what_is_no_note_is_an_error() {
        let good = note().encode();
        for end in 0..good.len() {
            assert!(Note::decode(&good[..end]).is_err(), "{end} bytes of it");
        }
    }
}
