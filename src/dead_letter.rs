//! A record or row that could not be used: a record of `rollbook.dead-letters`.
//!
//! It is kept whole, unless it is larger than a letter may be: a batch that is tiny on the wire unpacks to any size. Then
//! the letter holds its beginning, what the whole is known by, and where it stands.

use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_128;

use crate::avro::{self, Embedded, ReadError, Reader, Writer};
use crate::time::Millis;

/// Header that counts how often a record was sent again.
pub const REDRIVES_HEADER: &str = "rollbook-redrives";

/// Reason of a record that could not be written to one of our own topics.
pub const RECORD_TOO_LARGE: &str = "record_too_large";

/// Reason of a row whose log is gone, and which nobody may write any more.
pub const LOG_GONE: &str = "log_gone";

/// Largest record that is kept whole. Its topic takes 10 MiB, and the key stands in a letter twice.
const WHOLE_BYTES_MAX: usize = 9 * 1024 * 1024;
/// What is kept of the key, the value and the headers of a larger one, each.
const HEAD_BYTES: usize = 64 * 1024;
/// What is kept of the detail, which may name something that the record holds.
const DETAIL_BYTES: usize = 4 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub stage: Stage,
    /// Out of the closed list in `docs/reason-codes.md`, or a Salesforce error code.
    pub reason: String,
    /// For people; holds no personal data.
    pub detail: String,
    pub hint: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<Millis>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Set where a row was refused, not a consumed record.
    pub object: Option<String>,
    pub external_id: Option<String>,
    /// API names of the fields that Salesforce complained about.
    pub fields: Vec<String>,
    /// From 1.
    pub attempts: i32,
    pub at: Millis,
    /// None: the record is whole.
    pub cut: Option<Cut>,
}

/// What a record is known by whose beginning alone is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub value_bytes: i64,
    /// XXH3 of the whole value, 128 bits, in hexadecimal digits: no proof against whoever wants two values to have the
    /// same one, but nobody gains by that.
    pub digest: String,
}

impl Cut {
    pub fn of(value: &[u8]) -> Self {
        let value_bytes = i64::try_from(value.len()).unwrap_or(i64::MAX);
        Self { value_bytes, digest: format!("{:032x}", xxh3_128(value)) }
    }
}

/// Without `cut`; else the same.
static FIRST: LazyLock<Embedded> =
    LazyLock::new(|| avro::embed("dead_letter/1", include_str!("../schemas/earlier/dead_letter/1.avsc")));

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    Fold,
    Sink,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fold => "fold",
            Self::Sink => "sink",
        }
    }
}

impl DeadLetter {
    /// The record. It is never larger than its topic takes: of too large a record it holds the beginning.
    pub fn encode(&self) -> Vec<u8> {
        if self.cut.is_none() && self.record_bytes() > WHOLE_BYTES_MAX {
            return self.beginning().write();
        }
        self.write()
    }

    /// The record's Kafka key.
    pub fn record_key(&self) -> Option<&[u8]> {
        self.key.as_deref().map(head)
    }

    fn record_bytes(&self) -> usize {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(key, value)| key.len() + bytes(value));
        self.detail.len() + 2 * bytes(&self.key) + bytes(&self.value) + headers.sum::<usize>()
    }

    /// The letter with the beginning of its record.
    #[must_use]
    pub fn beginning(&self) -> Self {
        let mut room = HEAD_BYTES;
        let mut fits = |(key, value): &&(String, Option<Vec<u8>>)| {
            let left = room.checked_sub(key.len() + value.as_ref().map_or(0, Vec::len));
            room = left.unwrap_or(0);
            left.is_some()
        };
        let of = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| head(bytes).to_vec());
        Self {
            detail: self.detail.get(..self.detail.floor_char_boundary(DETAIL_BYTES)).unwrap_or_default().to_owned(),
            key: of(&self.key),
            value: of(&self.value),
            headers: self.headers.iter().take_while(&mut fits).cloned().collect(),
            cut: Some(self.cut.clone().unwrap_or_else(|| Cut::of(self.value.as_deref().unwrap_or_default()))),
            reason: self.reason.clone(),
            hint: self.hint.clone(),
            topic: self.topic.clone(),
            object: self.object.clone(),
            external_id: self.external_id.clone(),
            fields: self.fields.clone(),
            ..*self
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Writer::object(&avro::DEAD_LETTER);
        out.long(match self.stage {
            Stage::Fold => 1,
            Stage::Sink => 2,
        });
        for text in [&self.reason, &self.detail, &self.hint, &self.topic] {
            out.text(text);
        }
        out.long(self.partition.into());
        out.long(self.offset);
        out.option(self.timestamp, Writer::long);
        out.option(self.key.as_deref(), Writer::bytes);
        out.option(self.value.as_deref(), Writer::bytes);
        out.array(self.headers.iter(), |out, (key, value)| {
            out.text(key);
            out.option(value.as_deref(), Writer::bytes);
        });
        out.option(self.object.as_deref(), Writer::text);
        out.option(self.external_id.as_deref(), Writer::text);
        out.array(self.fields.iter(), |out, field| out.text(field));
        out.long(self.attempts.into());
        out.long(self.at);
        out.option(self.cut.as_ref(), |out, cut| {
            out.long(cut.value_bytes);
            out.text(&cut.digest);
        });
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let (mut from, first) = match Reader::object(&avro::DEAD_LETTER, record) {
            Ok(from) => (from, false),
            Err(_) => (Reader::object(&FIRST, record)?, true),
        };
        let stage = match from.long()? {
            1 => Stage::Fold,
            2 => Stage::Sink,
            _ => return Err(ReadError::Branch),
        };
        Ok(Self {
            stage,
            reason: from.text()?.to_owned(),
            detail: from.text()?.to_owned(),
            hint: from.text()?.to_owned(),
            topic: from.text()?.to_owned(),
            partition: i32::try_from(from.long()?).map_err(|_| ReadError::LongOverflow)?,
            offset: from.long()?,
            timestamp: from.option(Reader::long)?,
            key: from.option(|from| Ok(from.bytes()?.to_vec()))?,
            value: from.option(|from| Ok(from.bytes()?.to_vec()))?,
            headers: read_list(&mut from, |from| {
                Ok((from.text()?.to_owned(), from.option(|from| Ok(from.bytes()?.to_vec()))?))
            })?,
            object: from.option(|from| Ok(from.text()?.to_owned()))?,
            external_id: from.option(|from| Ok(from.text()?.to_owned()))?,
            fields: read_list(&mut from, |from| Ok(from.text()?.to_owned()))?,
            attempts: i32::try_from(from.long()?).map_err(|_| ReadError::LongOverflow)?,
            at: from.long()?,
            cut: if first { None } else { from.option(read_cut)? },
        })
    }
}

fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..HEAD_BYTES).unwrap_or(bytes)
}

fn read_cut(from: &mut Reader<'_>) -> Result<Cut, ReadError> {
    Ok(Cut { value_bytes: from.long()?, digest: from.text()?.to_owned() })
}

fn read_list<'a, T>(
    from: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, ReadError>,
) -> Result<Vec<T>, ReadError> {
    let mut list = Vec::new();
    from.array(|from| {
        list.push(item(from)?);
        Ok(())
    })?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(value: Vec<u8>) -> DeadLetter {
        DeadLetter {
            stage: Stage::Fold,
            reason: "undecodable".to_owned(),
            detail: "detail".to_owned(),
            hint: "hint".to_owned(),
            topic: "views".to_owned(),
            partition: 1,
            offset: 7,
            timestamp: Some(5),
            key: Some(b"key".to_vec()),
            value: Some(value),
            headers: vec![("ce_id".to_owned(), Some(b"1".to_vec()))],
            object: None,
            external_id: None,
            fields: Vec::new(),
            attempts: 1,
            at: 9,
            cut: None,
        }
    }

    #[test]
    fn what_fits_is_kept_whole() {
        let whole = letter(vec![b'x'; WHOLE_BYTES_MAX - 1_000]);
        assert_eq!(DeadLetter::decode(&whole.encode()), Ok(whole));
    }

    #[test]
    fn of_what_does_not_fit_the_beginning_is_kept_and_what_it_is_known_by() {
        let value: Vec<u8> = (0..20_000_000_u32).map(|place| place.to_le_bytes()[0]).collect();
        let mut large = letter(value.clone());
        large.key = Some(vec![b'k'; 11_000_000]);
        large.headers.push(("second".to_owned(), Some(vec![0; 11_000_000])));
        large.detail = "é".repeat(11_000_000);
        let encoded = large.encode();
        assert!(encoded.len() < 4 * HEAD_BYTES && large.record_key().unwrap().len() == HEAD_BYTES);
        let read = DeadLetter::decode(&encoded).unwrap();
        assert_eq!((read.topic.as_str(), read.partition, read.offset), ("views", 1, 7));
        assert_eq!(read.value.as_deref(), value.get(..HEAD_BYTES));
        assert_eq!(read.headers, letter(Vec::new()).headers, "the headers that fit, in order");
        let cut = read.cut.clone().unwrap();
        assert_eq!((cut.value_bytes, &cut), (20_000_000, &Cut::of(&value)));
        assert_eq!(cut.digest.len(), 32);
        assert_eq!(read.beginning(), read, "cutting it again changes nothing");
    }

    #[test]
    fn a_letter_of_the_first_version_is_whole() {
        let letter = letter(b"value".to_vec());
        let mut first = letter.encode();
        first.splice(..avro::HEADER_LEN, FIRST.header);
        first.pop();
        assert_eq!(DeadLetter::decode(&first), Ok(letter));
    }
}
