//! A record or row that could not be used, kept whole: a record of `rollbook.dead-letters`.

use crate::avro::{self, ReadError, Reader, Writer};
use crate::event::Millis;

/// Header that counts how often a record was sent again.
pub const REDRIVES_HEADER: &str = "rollbook-redrives";

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
}

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
    pub fn encode(&self) -> Vec<u8> {
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
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let mut from = Reader::object(&avro::DEAD_LETTER, record)?;
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
        })
    }
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
