//! A JSON value to a cell: type, length, range and form of one field, in Salesforce's words.
//!
//! A wrong JSON *type* is another kind of error than a wrong value: it fails the whole request, however many good
//! rows stand beside it.

use serde_json::Value;

use super::table::Cell;
use super::time::timestamp;
use crate::emulator::schema::{FieldDef, FieldKind};
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

/// Checks `value` for `field`. Whether a reference exists is the caller's to find out.
pub fn cell_of(field: &FieldDef, value: &Value) -> Result<Cell, Refusal> {
    if value.is_null() {
        return Ok(if field.kind == FieldKind::Boolean { Cell::Bool(false) } else { Cell::Null });
    }
    match field.kind {
        FieldKind::Boolean => boolean(value),
        FieldKind::Number { precision, scale } => number(field, value, precision.saturating_sub(scale)),
        FieldKind::Int => whole_number(field, value),
        FieldKind::Date => date(value),
        FieldKind::DateTime => date_time(value),
        FieldKind::Id | FieldKind::Reference => record_id(field, value),
        FieldKind::Email => email(field, value),
        FieldKind::Picklist => picklist(field, value),
        FieldKind::Text | FieldKind::TextArea | FieldKind::Phone | FieldKind::Url => text(field, value),
    }
}

fn wrong_type(wanted: &str, value: &Value) -> Refusal {
    let (token, shown) = match value {
        Value::Null => ("VALUE_NULL", "null".to_owned()),
        Value::Bool(value) => (if *value { "VALUE_TRUE" } else { "VALUE_FALSE" }, value.to_string()),
        Value::Number(number) if number.is_f64() => ("VALUE_NUMBER_FLOAT", number.to_string()),
        Value::Number(number) => ("VALUE_NUMBER_INT", number.to_string()),
        Value::String(text) => ("VALUE_STRING", text.clone()),
        Value::Array(_) => ("START_ARRAY", "[".to_owned()),
        Value::Object(_) => ("START_OBJECT", "{".to_owned()),
    };
    Refusal::bad(
        "JSON_PARSER_ERROR",
        format!(
            "Cannot deserialize instance of {wanted} from {token} value {shown} or request may be missing a required \
             field at [line:1, column:2]"
        ),
    )
}

fn string<'a>(wanted: &str, value: &'a Value) -> Result<&'a str, Refusal> {
    value.as_str().ok_or_else(|| wrong_type(wanted, value))
}

fn boolean(value: &Value) -> Result<Cell, Refusal> {
    match value {
        Value::Bool(value) => Ok(Cell::Bool(*value)),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Cell::Bool(true)),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Cell::Bool(false)),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong_type("boolean", value))
        }
    }
}

fn number(field: &FieldDef, value: &Value, whole_digits: u8) -> Result<Cell, Refusal> {
    let number =
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok().filter(|number: &f64| number.is_finite()));
    let Some(number) = number else { return Err(wrong_type("double", value)) };
    if number.abs() >= 10_f64.powi(whole_digits.into()) {
        return Err(Refusal::bad(
            "NUMBER_OUTSIDE_VALID_RANGE",
            format!("{}: value outside of valid range on numeric field: {number}", field.label),
        )
        .on(&field.name));
    }
    Ok(Cell::Number(number))
}

fn whole_number(field: &FieldDef, value: &Value) -> Result<Cell, Refusal> {
    let cell = number(field, value, 9).map_err(|refusal| match refusal.code {
        "JSON_PARSER_ERROR" => wrong_type("int", value),
        _ => refusal,
    })?;
    let whole = matches!(cell, Cell::Number(number) if number.fract() == 0.0);
    if whole { Ok(cell) } else { Err(wrong_type("int", value)) }
}

fn date(value: &Value) -> Result<Cell, Refusal> {
    let text = string("date", value)?;
    // A point in time is taken too, and cut to its day.
    let day: Option<jiff::civil::Date> = text.get(..10).and_then(|day| day.parse().ok());
    match day {
        _ if text.is_empty() => Ok(Cell::Null),
        Some(day) if text.len() == 10 || date_time(value).is_ok() => Ok(Cell::text(&day.to_string())),
        _ => Err(wrong_type("date", value)),
    }
}

fn date_time(value: &Value) -> Result<Cell, Refusal> {
    let text = string("datetime", value)?;
    if text.is_empty() {
        return Ok(Cell::Null);
    }
    let time = parse_time(text).ok_or_else(|| wrong_type("datetime", value))?;
    Ok(Cell::text(&timestamp(time.as_millisecond())))
}

/// RFC 3339, and Salesforce's own `+0000` without a colon.
fn parse_time(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok().or_else(|| {
        let (time, offset) = text.split_at_checked(text.len().checked_sub(5)?)?;
        let (hours, minutes) = offset.split_at_checked(3)?;
        format!("{time}{hours}:{minutes}").parse().ok()
    })
}

fn record_id(field: &FieldDef, value: &Value) -> Result<Cell, Refusal> {
    let text = string("reference", value)?;
    if text.is_empty() {
        return Ok(Cell::Null);
    }
    match SalesforceId::parse(text) {
        Some(id) => Ok(Cell::text(id.as_str())),
        None => Err(Refusal::bad("MALFORMED_ID", format!("{}: id value of incorrect type: {text}", field.label))
            .on(&field.name)),
    }
}

fn text(field: &FieldDef, value: &Value) -> Result<Cell, Refusal> {
    let text = string("string", value)?;
    if text.encode_utf16().count() > field.length {
        return Err(Refusal::bad(
            "STRING_TOO_LONG",
            format!("{}: data value too large: {text} (max length={})", field.label, field.length),
        )
        .on(&field.name));
    }
    Ok(Cell::text(text))
}

fn email(field: &FieldDef, value: &Value) -> Result<Cell, Refusal> {
    let cell = text(field, value)?;
    match cell.as_str() {
        Some(address) if !looks_like_email(address) => {
            let message = format!("{}: invalid email address: {address}", field.label);
            Err(Refusal::bad("INVALID_EMAIL_ADDRESS", message).on(&field.name))
        }
        _ => Ok(cell),
    }
}

/// As Salesforce documents it: the characters of the RFCs before the at sign, a period not the first of them, and a domain
/// of labels of letters, digits and hyphens after it, no hyphen at an end of one.
fn looks_like_email(address: &str) -> bool {
    let Some((local, domain)) = address.split_once('@') else { return false };
    let local_fits = !matches!(local.chars().next(), None | Some('.'))
        && local.chars().all(|c| c.is_alphanumeric() || "!#$%&'*/=?^_+-`{|}~.".contains(c));
    let label_fits = |label: &str| {
        let hyphens = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && !hyphens && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    local_fits && domain.contains('.') && domain.split('.').all(label_fits)
}

fn picklist(field: &FieldDef, value: &Value) -> Result<Cell, Refusal> {
    let cell = text(field, value)?;
    match cell.as_str() {
        Some(choice) if field.restricted && !field.picklist.iter().any(|known| known == choice) => {
            let message = format!("{}: bad value for restricted picklist field: {choice}", field.label);
            Err(Refusal::bad("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message).on(&field.name))
        }
        _ => Ok(cell),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::schema::Schema;

    fn check(object: &str, field: &str, value: &Value) -> Result<Cell, (&'static str, String)> {
        let schema = Schema::load_embedded();
        let field = schema.object(object).and_then(|object| object.field(field)).expect("a known field");
        cell_of(field, value).map_err(|refusal| (refusal.code, refusal.message))
    }

    #[test]
    fn length_is_counted_in_utf16_units() {
        let fits = "😀".repeat(40);
        assert!(check("Lead", "FirstName", &json!("x".repeat(40))).is_ok());
        assert!(check("Lead", "LastName", &json!(fits)).is_ok());
        let (code, message) = check("Lead", "FirstName", &json!(fits)).expect_err("80 units");
        assert_eq!(code, "STRING_TOO_LONG");
        assert!(message.ends_with("(max length=40)"), "{message}");
    }

    #[test]
    fn emails_are_checked_for_their_form() {
        for good in ["a@b.example", "a.b+c@d-e.co", "a..b.@c.example", "ü@exämple.org"] {
            assert!(check("Lead", "Email", &json!(good)).is_ok(), "{good}");
        }
        let bad = [
            "a",
            "a@b",
            "a b@c.example",
            "a@b@c.example",
            "@c.example",
            "a@b,org",
            ".a@b.org",
            "a@-b.org",
            "a(b)@c.org",
        ];
        for bad in bad {
            assert_eq!(check("Lead", "Email", &json!(bad)).expect_err(bad).0, "INVALID_EMAIL_ADDRESS");
        }
    }

    #[test]
    fn a_wrong_json_type_is_a_parser_error() {
        let (code, message) = check("Lead", "FirstName", &json!(5)).expect_err("a number for a text");
        assert_eq!(code, "JSON_PARSER_ERROR");
        assert!(
            message.starts_with("Cannot deserialize instance of string from VALUE_NUMBER_INT value 5"),
            "{message}"
        );
    }

    #[test]
    fn dates_and_times_are_taken_in_salesforces_forms() {
        let text = |text: &str| Ok(Cell::text(text));
        assert_eq!(check("Campaign", "StartDate", &json!("2026-02-28")), text("2026-02-28"));
        assert_eq!(check("Campaign", "StartDate", &json!("2026-02-28T10:00:00.000+0000")), text("2026-02-28"));
        assert!(check("Campaign", "StartDate", &json!("2026-02-30")).is_err());
    }
}
