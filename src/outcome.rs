//! What became of one upsert: a record of `rollbook.outcomes`, the write log.

use std::sync::LazyLock;

use crate::avro::{self, Embedded, ReadError, Reader, Writer};
use crate::time::Millis;

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
    /// What the org did not take of the row, which was written without it.
    pub left_out: Vec<LeftOut>,
}

/// A field that a row was written without.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// API name.
    pub field: String,
    /// Salesforce's error code.
    pub code: String,
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
        out.array(self.left_out.iter(), |out, LeftOut { field, code }| {
            out.text(field);
            out.text(code);
        });
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let (mut from, first) = match Reader::object(&avro::OUTCOME, record) {
            Ok(from) => (from, false),
            Err(_) => (Reader::object(&FIRST, record)?, true),
        };
        let object = from.text()?.to_owned();
        let external_id = from.text()?.to_owned();
        let campaign_id = from.text()?.to_owned();
        let lead_id = from.text()?.to_owned();
        let symbol = from.long()?;
        let kind = OutcomeKind::ALL.into_iter().find(|kind| kind.symbol() == symbol).ok_or(ReadError::Branch)?;
        let mut outcome = Self {
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
            left_out: Vec::new(),
        };
        // The first version wrote each row whole or not at all.
        if !first {
            from.array(|from| {
                outcome.left_out.push(LeftOut { field: from.text()?.to_owned(), code: from.text()?.to_owned() });
                Ok(())
            })?;
        }
        Ok(outcome)
    }
}

static FIRST: LazyLock<Embedded> =
    LazyLock::new(|| avro::embed("outcome/1", include_str!("../schemas/earlier/outcome/1.avsc")));

#[cfg(test)]
mod tests {
    use apache_avro::{from_avro_datum, to_avro_datum};

    use super::*;

    #[test]
    fn an_outcome_is_read_as_it_was_written_in_every_version() {
        let written = Outcome {
            object: "UserSessionEngagement__c".to_owned(),
            external_id: "a_b_c".to_owned(),
            campaign_id: "a".to_owned(),
            lead_id: "b".to_owned(),
            kind: OutcomeKind::Created,
            record_id: Some("a00".to_owned()),
            code: None,
            attempts: 2,
            at: 1_767_225_600_000,
            upsert_partition: 3,
            upsert_offset: 17,
            left_out: vec![LeftOut { field: "email__c".to_owned(), code: "INVALID_EMAIL_ADDRESS".to_owned() }],
        };
        let bytes = written.encode();
        assert_eq!(Outcome::decode(&bytes), Ok(written.clone()));
        let body = bytes.strip_prefix(&avro::OUTCOME.header).expect("a header");
        let by_others = from_avro_datum(&avro::OUTCOME.schema, &mut &*body, None).expect("of the schema");
        let again = to_avro_datum(&avro::OUTCOME.schema, by_others).expect("of the schema");
        assert_eq!(Outcome::decode(&[&avro::OUTCOME.header[..], &again].concat()), Ok(written.clone()));

        let whole = Outcome { left_out: Vec::new(), ..written };
        let mut first = whole.encode();
        assert_eq!(first.pop(), Some(0), "the empty list at the end is what is new");
        first.splice(..avro::HEADER_LEN, FIRST.header);
        assert_eq!(Outcome::decode(&first), Ok(whole));
    }
}
