//! Raw values and field definitions to a row: the one place where lengths and ranges are enforced.

use xxhash_rust::xxh3::xxh3_64;

use crate::avro::{self, Writer};
use crate::event::{MemberKey, Millis};

use super::field::{EMAIL_LENGTH, EXTERNAL_ID_LENGTH, FieldDef, FieldKind};
use super::number::Hundredths;
use super::text::{fitted, utf16_units};
use super::{Object, Row, Value};

/// A value before it is made to fit its field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Text(Option<&'a str>),
    Integer(Option<i64>),
    Decimal(Option<Hundredths>),
}

/// A row that cannot be written. The event it came from is not to blame: the other rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRefusal {
    pub reason: RowRefusalReason,
    pub object: Object,
    pub external_id: String,
    /// API name of the field that does not fit.
    pub field: &'static str,
    /// For people; holds no personal data.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowRefusalReason {
    ExternalIdTooLong,
    NumberTooLarge,
}

impl RowRefusalReason {
    pub const ALL: [Self; 2] = [Self::ExternalIdTooLong, Self::NumberTooLarge];

    pub fn code(self) -> &'static str {
        match self {
            Self::ExternalIdTooLong => "external_id_too_long",
            Self::NumberTooLarge => "number_too_large",
        }
    }
}

impl RowRefusal {
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// As a row's hash: the same refusal need not be reported twice. Never 0.
    pub fn hash(&self) -> u64 {
        let mut content = Writer::default();
        for text in ["refused", self.code(), self.object.api_name(), &self.external_id, self.field, &self.detail] {
            content.text(text);
        }
        xxh3_64(&content.0).max(1)
    }
}

/// A row as bytes, made once: for its hash and for its record.
pub struct Content {
    /// Object and external id, then the fields.
    bytes: Vec<u8>,
    fields_at: usize,
}

impl Row {
    pub fn content(&self) -> Content {
        let mut content = Writer(Vec::with_capacity(1024));
        content.text(self.object.api_name());
        content.text(&self.external_id);
        let fields_at = content.0.len();
        content.array(self.fields.iter(), |out, (name, value)| {
            out.text(name);
            value.write(out);
        });
        Content { bytes: content.0, fields_at }
    }
}

impl Content {
    /// Stable over versions: it is kept in the state, and a row is sent when it differs. Never 0, which stands for
    /// "nothing sent".
    pub fn hash(&self) -> u64 {
        xxh3_64(&self.bytes).max(1)
    }

    /// The record that carries the row to the sink; fields in the order of the schema `upsert`. `event_at` is the
    /// Kafka timestamp of the newest record that changed the row.
    pub fn upsert(&self, member: &MemberKey, event_at: Millis) -> Vec<u8> {
        let (row, fields) = self.bytes.split_at(self.fields_at);
        let mut out = Writer(Vec::with_capacity(self.bytes.len() + ENVELOPE));
        out.0.extend_from_slice(&avro::UPSERT.header);
        out.0.extend_from_slice(row);
        out.text(member.campaign.as_str());
        out.text(member.person.as_str());
        out.0.extend_from_slice(fields);
        out.long(event_at);
        out.0
    }
}

/// Room for what a record has beside the row.
const ENVELOPE: usize = 64;

/// External id of the rows of a member and an entry; the entry id is not cut.
pub(super) fn entry_external_id(key: &MemberKey, entry_id: &str) -> String {
    let mut id = String::with_capacity(MemberKey::LEN + 1 + entry_id.len());
    for text in [key.campaign.as_str(), "_", key.person.as_str(), "_", entry_id] {
        id.push_str(text);
    }
    id
}

/// The row of a member and an entry: each value made to fit its field.
pub(super) fn entry_row<const N: usize>(
    object: Object,
    (key, entry_id): (&MemberKey, &str),
    fields: &'static [FieldDef; N],
    values: [Raw<'_>; N],
) -> Result<Row, RowRefusal> {
    let external_id = entry_external_id(key, entry_id);
    let refuse = |reason, external_id, field, detail| RowRefusal { reason, object, external_id, field, detail };
    if external_id.len() > EXTERNAL_ID_LENGTH {
        let units = utf16_units(&external_id);
        if units > EXTERNAL_ID_LENGTH {
            let detail = format!("the external id has {units} characters, the field holds {EXTERNAL_ID_LENGTH}");
            return Err(refuse(RowRefusalReason::ExternalIdTooLong, external_id, EXTERNAL_ID, detail));
        }
    }
    let mut row = Row { object, external_id, fields: Vec::with_capacity(N) };
    for (field, raw) in fields.iter().zip(values) {
        match fit(field, raw) {
            Ok(value) => row.fields.push((field.name, value)),
            Err(detail) => {
                return Err(refuse(RowRefusalReason::NumberTooLarge, row.external_id, field.name, detail));
            }
        }
    }
    Ok(row)
}

/// Name of the external id field of every object.
pub const EXTERNAL_ID: &str = "external_id__c";

/// Digits before the point: of Number(18, 0), and of Number(16, 2).
const INTEGER_DIGITS: u32 = 18;
const DECIMAL_DIGITS: u32 = 16;

fn fit(field: &FieldDef, raw: Raw<'_>) -> Result<Value, String> {
    let text_length = match field.kind {
        FieldKind::Text(length) => length,
        FieldKind::Email => EMAIL_LENGTH,
        FieldKind::Integer | FieldKind::Decimal | FieldKind::LeadLookup | FieldKind::Picklist => usize::MAX,
    };
    let value = match raw {
        Raw::Text(text) => text.and_then(|text| fitted(text, text_length)).map(|text| Value::Text(text.to_owned())),
        Raw::Integer(Some(value)) if value.unsigned_abs() >= 10_u64.pow(INTEGER_DIGITS) => {
            return Err(format!("a number has more than {INTEGER_DIGITS} digits"));
        }
        Raw::Integer(value) => value.map(Value::Integer),
        Raw::Decimal(Some(Hundredths(value))) if value / 100 >= 10_u64.pow(DECIMAL_DIGITS) => {
            return Err(format!("a number has more than {DECIMAL_DIGITS} digits before the point"));
        }
        Raw::Decimal(value) => value.map(|value| Value::Decimal(value.to_f64())),
    };
    Ok(value.unwrap_or(Value::Null))
}
