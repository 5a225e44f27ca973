//! What the states of a partition answer for: a record beside them in the changelog, written in the transaction that
//! commits the offsets.
//!
//! Offsets of the group alone would not do: anybody can commit there, and they expire. The record says how far each
//! input was folded into these very states, of which topics, and among how many partitions the members are divided. Its
//! key is no member's, and stands behind every marker of a disk: a commit that a snapshot waits for writes it again.
//!
//! It also counts the commits that write pieces of the partition, whoever makes them: pieces are marked with the number.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::avro::{self, BIRTH, Embedded, ReadError, Reader, Writer};
use crate::time::Millis;

/// Without the number of the commit.
static FIRST: LazyLock<Embedded> =
    LazyLock::new(|| avro::embed("birth/1", include_str!("../../schemas/earlier/birth/1.avsc")));

/// Its key in the changelog.
pub const BIRTH_KEY: &[u8] = b"rollbook.birth";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Birth {
    /// Among which members are divided.
    pub partitions: i32,
    /// By the topic's name; and the topic of the states itself, of which only the id says something.
    pub inputs: BTreeMap<String, Folded>,
    /// Number of the newest commit that wrote pieces; 0: none has been counted.
    pub commit: u64,
    /// When offsets were last kept; 0: never.
    pub offsets_at: Millis,
}

/// How far an input was folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// None: the broker does not tell.
    pub topic_id: Option<String>,
    pub next_offset: i64,
}

impl Birth {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::object(&BIRTH);
        out.long(self.partitions.into());
        write_inputs(&mut out, &self.inputs);
        out.long(self.commit.cast_signed());
        out.long(self.offsets_at);
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let now = Reader::object(&BIRTH, record);
        let counts = now.is_ok();
        let mut from = now.or_else(|_| Reader::object(&FIRST, record))?;
        let partitions = i32::try_from(from.long()?).map_err(|_| ReadError::LongOverflow)?;
        let inputs = read_inputs(&mut from)?;
        let (mut commit, mut offsets_at) = (0, 0);
        if counts {
            commit = u64::try_from(from.long()?).map_err(|_| ReadError::LongOverflow)?;
            offsets_at = from.long()?;
        }
        Ok(Self { partitions, inputs, commit, offsets_at })
    }
}

pub(super) fn write_inputs(out: &mut Writer, inputs: &BTreeMap<String, Folded>) {
    out.array(inputs.iter(), |out, (topic, folded)| {
        out.text(topic);
        out.option(folded.topic_id.as_deref(), Writer::text);
        out.long(folded.next_offset);
    });
}

pub(super) fn read_inputs(from: &mut Reader<'_>) -> Result<BTreeMap<String, Folded>, ReadError> {
    let mut inputs = BTreeMap::new();
    from.array(|from| {
        let topic = from.text()?.to_owned();
        let topic_id = from.option(|from| Ok(from.text()?.to_owned()))?;
        inputs.insert(topic, Folded { topic_id, next_offset: from.long()? });
        Ok(())
    })?;
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_also_by_the_schema() {
        let known = Folded { topic_id: Some("p8CPbUq8R_CXm1hSRgTzJg".to_owned()), next_offset: 7 };
        let inputs = BTreeMap::from([("views".to_owned(), known), ("polls".to_owned(), Folded::default())]);
        let birth = Birth { partitions: 6, inputs, commit: 7, offsets_at: 1_780_000_000_000 };
        let record = birth.encode();
        assert_eq!(Birth::decode(&record).unwrap(), birth);
        let mut body = record.strip_prefix(&BIRTH.header).unwrap();
        let read = apache_avro::from_avro_datum(&BIRTH.schema, &mut body, None).unwrap();
        assert!(body.is_empty() && format!("{read:?}").contains("p8CPbUq8R_CXm1hSRgTzJg"), "{read:?}");
        for end in 0..record.len() {
            assert!(Birth::decode(&record[..end]).is_err());
        }
    }

    #[test]
    fn one_of_the_version_before_is_read_and_has_counted_nothing() {
        // As that version wrote it.
        let record = "wwFlNvO8PBKA0wwECnBvbGxzAA4Kdmlld3MCLHA4Q1BiVXE4Ul9DWG0xaFNSZ1R6SmekEwA=";
        let birth = Birth::decode(&BASE64_STANDARD.decode(record).unwrap()).unwrap();
        let views = Folded { topic_id: Some("p8CPbUq8R_CXm1hSRgTzJg".to_owned()), next_offset: 1_234 };
        let polls = Folded { topic_id: None, next_offset: 7 };
        let inputs = BTreeMap::from([("views".to_owned(), views), ("polls".to_owned(), polls)]);
        assert_eq!(birth, Birth { partitions: 6, inputs, commit: 0, offsets_at: 0 });
    }
}
