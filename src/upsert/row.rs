//! Raw values and field definitions to a row: the one place where lengths and ranges are enforced.

use xxhash_rust::xxh3::xxh3_64;

use crate::avro::{self, Writer};
use crate::id::MemberKey;
use crate::time::Millis;

use super::field::{EMAIL_LENGTH, EXTERNAL_ID_LENGTH, FieldDef, FieldKind};
use super::number::Hundredths;
use super::text::{fitted, utf16_units};
use super::{Lane, Object};

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

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Derived {
    /// There is none.
    Nothing,
    /// Its record was appended, but for time and lane at its end (`finish_upsert`).
    Row,
    /// Nothing was appended.
    Refused(RowRefusal),
}

/// Whose row: a member's own, or that of a member and an entry. The entry id is not cut in the external id.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    pub member: &'a MemberKey,
    pub entry_id: Option<&'a str>,
}

impl Whose<'_> {
    fn external_id(self) -> String {
        let mut id = self.member.text();
        for text in self.entry_id.into_iter().flat_map(|entry_id| ["_", entry_id]) {
            id.push_str(text);
        }
        id
    }

    fn external_id_len(self) -> usize {
        MemberKey::LEN + self.entry_id.map_or(0, |entry_id| 1 + entry_id.len())
    }

    fn write_external_id(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.member.bytes());
        for text in self.entry_id.into_iter().flat_map(|entry_id| ["_", entry_id]) {
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Appends the record of a row, each value made to fit its field, straight to the buffer that goes to Kafka: a vector of
/// values and a text for each would cost more than all the rest.
pub(super) fn write_row<const N: usize>(
    out: &mut Writer,
    object: Object,
    whose: Whose<'_>,
    fields: &'static [FieldDef; N],
    values: [Raw<'_>; N],
) -> Derived {
    let refused = |reason, field, detail| {
        Derived::Refused(RowRefusal { reason, object, external_id: whose.external_id(), field, detail })
    };
    let external_id_len = whose.external_id_len();
    if external_id_len > EXTERNAL_ID_LENGTH {
        let units = utf16_units(&whose.external_id());
        if units > EXTERNAL_ID_LENGTH {
            let detail = format!("the external id has {units} characters, the field holds {EXTERNAL_ID_LENGTH}");
            return refused(RowRefusalReason::ExternalIdTooLong, EXTERNAL_ID, detail);
        }
    }
    let start = out.0.len();
    out.0.extend_from_slice(&avro::UPSERT.header);
    out.text(object.api_name());
    out.length(external_id_len);
    whose.write_external_id(&mut out.0);
    out.text(whose.member.campaign.as_str());
    out.text(whose.member.person.as_str());
    out.long(object.branch());
    for (field, raw) in fields.iter().zip(values) {
        if let Err(detail) = write_fitted(out, field, raw) {
            out.0.truncate(start);
            return refused(RowRefusalReason::NumberTooLarge, field.name, detail);
        }
    }
    // No fields beside those of the object.
    out.long(0);
    Derived::Row
}

/// Hash of a row, from its record without time and lane. It is kept in the state, and a row is sent when it differs: where
/// the schema of rows changes, each is sent once more. Never 0, which stands for "nothing sent".
pub fn row_hash(record: &[u8]) -> u64 {
    xxh3_64(record.get(avro::HEADER_LEN..).unwrap_or_default()).max(1)
}

/// Ends a row's record. `event_at` is the Kafka timestamp of the newest record that changed the row. Neither is part of what
/// the row says: the hash must not tell two lanes apart, or a start would send the org whole.
pub fn finish_upsert(out: &mut Writer, event_at: Millis, lane: Lane) {
    out.long(event_at);
    out.long(lane.symbol());
}

/// Appends a row's Kafka key: newer records of the same key supersede older ones.
pub fn write_upsert_key(out: &mut Writer, object: Object, member: &MemberKey, entry_id: Option<&str>) {
    out.0.extend_from_slice(object.api_name().as_bytes());
    out.0.push(b'/');
    Whose { member, entry_id }.write_external_id(&mut out.0);
}

/// Name of the external id field of every object.
pub const EXTERNAL_ID: &str = "external_id__c";

/// Digits before the point: of Number(18, 0), and of Number(16, 2).
const INTEGER_DIGITS: u32 = 18;
const DECIMAL_DIGITS: u32 = 16;

fn write_fitted(out: &mut Writer, field: &FieldDef, raw: Raw<'_>) -> Result<(), String> {
    let text_length = match field.kind {
        FieldKind::Text(length) => length,
        FieldKind::Email => EMAIL_LENGTH,
        FieldKind::Integer | FieldKind::Decimal | FieldKind::LeadLookup | FieldKind::Picklist => usize::MAX,
    };
    match raw {
        Raw::Text(text) => out.option(text.and_then(|text| fitted(text, text_length)), Writer::text),
        Raw::Integer(Some(value)) if value.unsigned_abs() >= 10_u64.pow(INTEGER_DIGITS) => {
            return Err(format!("a number has more than {INTEGER_DIGITS} digits"));
        }
        Raw::Integer(value) => out.option(value, Writer::long),
        Raw::Decimal(Some(Hundredths(value))) if value / 100 >= 10_u64.pow(DECIMAL_DIGITS) => {
            return Err(format!("a number has more than {DECIMAL_DIGITS} digits before the point"));
        }
        Raw::Decimal(value) => out.option(value.map(Hundredths::to_f64), Writer::double),
    }
    Ok(())
}
