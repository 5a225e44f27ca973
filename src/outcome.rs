//! What became of one upsert: a record of `rollbook.outcomes`, the write log.

use crate::avro::{self, ReadError, Reader, Writer};
use crate::event::Millis;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub object: String,
    pub external_id: String,
    pub campaign_id: String,
    pub lead_id: String,
    pub kind: OutcomeKind,
    pub record_id: Option<String>,
    /// Salesforce's error code, or the reason code of the dead letter.
    pub code: Option<String>,
    /// From 1.
    pub attempts: i32,
    pub at: Millis,
    pub upsert_partition: i32,
    pub upsert_offset: i64,
}

/// Every upsert ends in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutcomeKind {
    Created,
    Updated,
    /// A newer version of the row was sent in its place.
    Superseded,
    DeadLettered,
}

impl OutcomeKind {
    pub const ALL: [Self; 4] = [Self::Created, Self::Updated, Self::Superseded, Self::DeadLettered];

    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Superseded => "superseded",
            Self::DeadLettered => "dead_lettered",
        }
    }

    /// Position in the schema's enum, where 0 is UNKNOWN.
    fn symbol(self) -> i64 {
        match self {
            Self::Created => 1,
            Self::Updated => 2,
            Self::Superseded => 3,
            Self::DeadLettered => 4,
        }
    }
}

impl Outcome {
    pub fn key(&self) -> String {
        format!("{}/{}", self.object, self.external_id)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::object(&avro::OUTCOME);
        for text in [&self.object, &self.external_id, &self.campaign_id, &self.lead_id] {
            out.text(text);
        }
        out.long(self.kind.symbol());
        out.option(self.record_id.as_deref(), Writer::text);
        out.option(self.code.as_deref(), Writer::text);
        out.long(self.attempts.into());
        out.long(self.at);
        out.long(self.upsert_partition.into());
        out.long(self.upsert_offset);
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let mut from = Reader::object(&avro::OUTCOME, record)?;
        let object = from.text()?.to_owned();
        let external_id = from.text()?.to_owned();
        let campaign_id = from.text()?.to_owned();
        let lead_id = from.text()?.to_owned();
        let symbol = from.long()?;
        let kind = OutcomeKind::ALL.into_iter().find(|kind| kind.symbol() == symbol).ok_or(ReadError::Branch)?;
        Ok(Self {
            object,
            external_id,
            campaign_id,
            lead_id,
            kind,
            record_id: from.option(|from| Ok(from.text()?.to_owned()))?,
            code: from.option(|from| Ok(from.text()?.to_owned()))?,
            attempts: i32::try_from(from.long()?).map_err(|_| ReadError::LongOverflow)?,
            at: from.long()?,
            upsert_partition: i32::try_from(from.long()?).map_err(|_| ReadError::LongOverflow)?,
            upsert_offset: from.long()?,
        })
    }
}
