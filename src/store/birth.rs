//! What the states of a partition answer for: a record beside them in the changelog, written in the transaction that
//! commits the offsets.
//!
//! Offsets of the group alone would not do: anybody can commit there, and they expire. The record says how far each
//! input was folded into these very states, of which topics, and among how many partitions the members are divided. Its
//! key is no member's, and stands behind every marker of a disk: a commit that a snapshot waits for writes it again.

use std::collections::BTreeMap;

use crate::avro::{BIRTH, ReadError, Reader, Writer};

/// Its key in the changelog.
pub const BIRTH_KEY: &[u8] = b"rollbook.birth";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Birth {
    /// Among which members are divided.
    pub partitions: i32,
    /// By the topic's name; and the topic of the states itself, of which only the id says something.
    pub inputs: BTreeMap<String, Folded>,
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
        out.array(self.inputs.iter(), |out, (topic, folded)| {
            out.text(topic);
            out.option(folded.topic_id.as_deref(), Writer::text);
            out.long(folded.next_offset);
        });
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let mut from = Reader::object(&BIRTH, record)?;
        let partitions = i32::try_from(from.long()?).map_err(|_| ReadError::LongOverflow)?;
        let mut inputs = BTreeMap::new();
        from.array(|from| {
            let topic = from.text()?.to_owned();
            let topic_id = from.option(|from| Ok(from.text()?.to_owned()))?;
            inputs.insert(topic, Folded { topic_id, next_offset: from.long()? });
            Ok(())
        })?;
        Ok(Self { partitions, inputs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_also_by_the_schema() {
        let known = Folded { topic_id: Some("p8CPbUq8R_CXm1hSRgTzJg".to_owned()), next_offset: 7 };
        let inputs = BTreeMap::from([("views".to_owned(), known), ("polls".to_owned(), Folded::default())]);
        let birth = Birth { partitions: 6, inputs };
        let record = birth.encode();
        assert_eq!(Birth::decode(&record).unwrap(), birth);
        let mut body = record.strip_prefix(&BIRTH.header).unwrap();
        let read = apache_avro::from_avro_datum(&BIRTH.schema, &mut body, None).unwrap();
        assert!(body.is_empty() && format!("{read:?}").contains("p8CPbUq8R_CXm1hSRgTzJg"), "{read:?}");
        for end in 0..record.len() {
            assert!(Birth::decode(&record[..end]).is_err());
        }
    }
}
