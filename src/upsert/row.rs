//! Raw values and field definitions to a row: the one place where lengths and ranges are enforced.

use xxhash_rust::xxh3::xxh3_64;

use crate::avro::{self, Writer};
use crate::id::MemberKey;

use super::def::{Derived, ObjectDef};
use super::field::{EMAIL_LENGTH, FieldDef, FieldKind, Mode};
use super::number::Hundredths;
use super::object::Object;
use super::refusal::{RowRefusal, RowRefusalReason};
use super::sending::Sending;
use super::text::{fitted, utf16_units};
use super::value::{DECIMAL, INTEGER, NULL, TEXT};

/// A value before it is made to fit its field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Text(Option<&'a str>),
    Integer(Option<i64>),
    Decimal(Option<Hundredths>),
}

impl Raw<'_> {
    fn is_none(self) -> bool {
        matches!(self, Self::Text(None) | Self::Integer(None) | Self::Decimal(None))
    }

    /// As a value of any kind.
    fn write(self, out: &mut Writer) {
        match self {
            Self::Text(Some(text)) => {
                out.long(TEXT);
                out.text(text);
            }
            Self::Integer(Some(value)) => {
                out.long(INTEGER);
                out.long(value);
            }
            Self::Decimal(Some(value)) => {
                out.long(DECIMAL);
                out.double(value.to_f64());
            }
            Self::Text(None) | Self::Integer(None) | Self::Decimal(None) => out.long(NULL),
        }
    }
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
/// values and a text for each would cost more than all the rest. The fields are those of the definition; their number is
/// that of the values.
pub(super) fn write_row<const N: usize>(
    out: &mut Writer,
    def: &ObjectDef,
    whose: Whose<'_>,
    fields: &'static [FieldDef; N],
    values: [Raw<'_>; N],
) -> Derived {
    let refused = |reason, field, detail| {
        Derived::Refused(RowRefusal { reason, object: def.object, external_id: whose.external_id(), field, detail })
    };
    let external_id_len = whose.external_id_len();
    let length = def.external_id.length;
    if external_id_len > length {
        let units = utf16_units(&whose.external_id());
        if units > length {
            let detail = format!("the external id has {units} characters, the field holds {length}");
            return refused(RowRefusalReason::ExternalIdTooLong, def.external_id.name, detail);
        }
    }
    let start = out.0.len();
    out.0.extend_from_slice(&avro::UPSERT.header);
    out.text(def.name);
    out.length(external_id_len);
    whose.write_external_id(&mut out.0);
    out.text(whose.member.campaign.as_str());
    out.text(whose.member.person.as_str());
    out.long(def.branch());
    let mut typed = fields.iter().zip(values).take(def.typed);
    let written = typed.try_for_each(|(field, raw)| write_fitted(out, field, raw).map_err(|it| (field, it)));
    let written = written.and_then(|()| {
        if def.typed < N {
            return write_by_name(out, def.typed, fields, values);
        }
        out.long(0);
        Ok(())
    });
    if let Err((field, detail)) = written {
        out.0.truncate(start);
        return refused(RowRefusalReason::NumberTooLarge, field.name, detail);
    }
    Derived::Row
}

/// Hash of a row, from its record without header and end: of what the row says, whatever the version of the schema that it
/// is written by. It is kept in the state, and a row is sent when it differs, so that its bytes are for ever: where they
/// change, every row of every org is sent once more. Never 0, which stands for "nothing sent".
pub fn row_hash(record: &[u8]) -> u64 {
    xxh3_64(record.get(avro::HEADER_LEN..).unwrap_or_default()).max(1)
}

/// Ends a row's record with its parents, which follow from whose it is, and with what is said of its sending. None of it is
/// part of what the row says: the hash must not tell two lanes apart, or a start would send the org whole.
pub fn finish_upsert(out: &mut Writer, object: Object, member: &MemberKey, sending: &Sending<'_>) {
    out.long(sending.event_at);
    out.long(sending.lane.symbol());
    out.long(i64::from(object.number()));
    for parent in object.def().parent_rows() {
        out.long(1);
        out.long(i64::from(parent.number()));
        out.bytes(&member.bytes());
    }
    out.long(0);
    out.array(sending.newest_causes().iter(), |out, cause| out.text(cause));
    out.bool(sending.first);
    out.bool(sending.minor);
}

/// Appends a row's Kafka key: newer records of the same key supersede older ones.
pub fn write_upsert_key(out: &mut Writer, object: Object, member: &MemberKey, entry_id: Option<&str>) {
    out.0.extend_from_slice(object.api_name().as_bytes());
    out.0.push(b'/');
    Whose { member, entry_id }.write_external_id(&mut out.0);
}

/// Digits before the point: of Number(18, 0), and of Number(16, 2).
const INTEGER_DIGITS: u32 = 18;
const DECIMAL_DIGITS: u32 = 16;

/// As the field's own in the record of its object.
fn write_fitted(out: &mut Writer, field: &FieldDef, raw: Raw<'_>) -> Result<(), String> {
    match fit(field, raw)? {
        Raw::Text(text) => out.option(text, Writer::text),
        Raw::Integer(value) => out.option(value, Writer::long),
        Raw::Decimal(value) => out.option(value.map(Hundredths::to_f64), Writer::double),
    }
    Ok(())
}

/// The fields from this one on, which stand in no record. The array's length comes first, so that all are made to fit before
/// one is written.
fn write_by_name<const N: usize>(
    out: &mut Writer,
    from: usize,
    fields: &'static [FieldDef; N],
    mut values: [Raw<'_>; N],
) -> Result<(), (&'static FieldDef, String)> {
    for (field, raw) in fields.iter().zip(&mut values).skip(from) {
        *raw = fit(field, *raw).map_err(|detail| (field, detail))?;
    }
    let of_value = |(field, raw): &(&FieldDef, &Raw<'_>)| field.mode == Mode::Replace || !raw.is_none();
    let kept = || fields.iter().zip(&values).skip(from).filter(of_value);
    let count = kept().count();
    if count > 0 {
        out.length(count);
        for (field, raw) in kept() {
            out.text(field.name);
            raw.write(out);
        }
    }
    out.long(0);
    Ok(())
}

fn fit<'a>(field: &FieldDef, raw: Raw<'a>) -> Result<Raw<'a>, String> {
    let text_length = match field.kind {
        FieldKind::Text(length) => length,
        FieldKind::Email => EMAIL_LENGTH,
        FieldKind::Integer | FieldKind::Decimal | FieldKind::LeadLookup | FieldKind::Picklist => usize::MAX,
    };
    match raw {
        Raw::Text(text) => Ok(Raw::Text(text.and_then(|text| fitted(text, text_length)))),
        Raw::Integer(Some(value)) if value.unsigned_abs() >= 10_u64.pow(INTEGER_DIGITS) => {
            Err(format!("a number has more than {INTEGER_DIGITS} digits"))
        }
        Raw::Decimal(Some(Hundredths(value))) if value / 100 >= 10_u64.pow(DECIMAL_DIGITS) => {
            Err(format!("a number has more than {DECIMAL_DIGITS} digits before the point"))
        }
        Raw::Integer(_) | Raw::Decimal(_) => Ok(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SalesforceId;
    use crate::upsert::field::{integer, text};
    use crate::upsert::{ReadUpsert, Value};

    const FIELDS: [FieldDef; 4] = [
        text("entry_name__c", 3),
        text("Empty__c", 3),
        FieldDef { mode: Mode::ReplaceIfAny, ..text("Left_Out__c", 3) },
        integer("Number__c"),
    ];
    const GROWN: [FieldDef; 2] = [text("Status", 40), integer("Number__c")];

    #[test]
    fn fields_that_the_schema_has_no_record_for_stand_by_name() {
        let id = |text| SalesforceId::parse(text).unwrap();
        let member = MemberKey { campaign: id("70103000000cnFX"), person: id("00Q0300000Aczgf") };
        let polls = Object::POLLS.def();
        let (fields, parents, external_id) = (&FIELDS, polls.parents, polls.external_id);
        let def = ObjectDef { fields, parents, external_id, typed: 0, ..*polls };
        let write = |out: &mut Writer, number| {
            let values = [Raw::Text(Some(" abcd ")), Raw::Text(Some(" ")), Raw::Text(None), Raw::Integer(Some(number))];
            write_row(out, &def, Whose { member: &member, entry_id: Some("1") }, &FIELDS, values)
        };
        let mut out = Writer::default();
        assert_eq!(write(&mut out, 7), Derived::Row);
        finish_upsert(&mut out, Object::POLLS, &member, &Sending::default());
        let read = ReadUpsert::decode(&out.0).unwrap();
        let expected =
            [("entry_name__c", Value::Text("abc".into())), ("Empty__c", Value::Null), ("Number__c", Value::Integer(7))];
        assert_eq!(read.fields, expected.map(|(name, value)| (name.into(), value)));
        let before = out.0.len();
        assert!(matches!(write(&mut out, i64::MAX), Derived::Refused(refusal) if refusal.field == "Number__c"));
        assert_eq!(out.0.len(), before, "nothing is left of a row that is refused");
        // An object that has a record, and one field more than that.
        let def = ObjectDef { fields: &GROWN, ..*Object::CAMPAIGN_MEMBER.def() };
        let (whose, mut out) = (Whose { member: &member, entry_id: None }, Writer::default());
        let values = [Raw::Text(Some("Attended")), Raw::Integer(Some(7))];
        assert_eq!(write_row(&mut out, &def, whose, &GROWN, values), Derived::Row);
        finish_upsert(&mut out, def.object, &member, &Sending::default());
        let read = ReadUpsert::decode(&out.0).unwrap();
        let expected = [("Status", Value::Text("Attended".into())), ("Number__c", Value::Integer(7))];
        assert_eq!(read.fields, expected.map(|(name, value)| (name.into(), value)));
    }
}
