//! The org against the expectation, field by field.

use serde_json::Value;

use super::{Fields, Rows};
use crate::upsert::Object;

/// What differs, one line each, the first row first. Empty: the org holds exactly what is expected.
///
/// `actual` may hold more fields than are expected (a record id, names, dates; see [`unexpected_fields`]) but not more rows.
pub fn differences(expected: &Rows, actual: &Rows) -> Vec<String> {
    let mut found = Vec::new();
    for (key, fields) in expected {
        let Some(held) = actual.get(key) else {
            found.push(format!("{} {}: missing in the org", key.0, key.1));
            continue;
        };
        for (name, value) in fields {
            let value = if name == "campaign_member__c" { &record_id(value, actual) } else { value };
            let held_value = held.get(name).unwrap_or(&Value::Null);
            if !same(value, held_value) {
                found.push(format!("{} {}: {name} {}", key.0, key.1, unlike(name, value, held_value)));
            }
        }
    }
    let unexpected = actual.keys().filter(|key| !expected.contains_key(*key));
    found.extend(unexpected.map(|(object, external_id)| format!("{object} {external_id}: not expected in the org")));
    found
}

/// What rows hold beyond the expectation, null aside, one line each. For rows as the fold makes them, whose fields are all
/// meant; an org adds names, dates, and a status of its own where none is sent.
pub fn unexpected_fields(expected: &Rows, actual: &Rows) -> Vec<String> {
    let of_row = |(key, held): (&(String, String), &Fields)| {
        let Some(fields) = expected.get(key) else { return Vec::new() };
        let more = held.iter().filter(|(name, value)| !value.is_null() && *name != "Id" && !fields.contains_key(*name));
        more.map(|(name, _)| format!("{} {}: {name} is not expected", key.0, key.1)).collect()
    };
    actual.iter().flat_map(of_row).collect()
}

/// The record id that the org gave to the member with this external id.
fn record_id(member: &Value, actual: &Rows) -> Value {
    let key = (Object::CAMPAIGN_MEMBER.api_name().to_owned(), member.as_str().unwrap_or_default().to_owned());
    let id = actual.get(&key).and_then(|held: &Fields| held.get("Id"));
    id.cloned().unwrap_or_else(|| "the record id of a member that is missing".into())
}

/// Equal as Salesforce means it: 5 and 5.0 are one number.
fn same(expected: &Value, actual: &Value) -> bool {
    if let (Some(expected), Some(actual)) = (expected.as_i64(), actual.as_i64()) {
        return expected == actual;
    }
    if let (Some(expected), Some(actual)) = (expected.as_f64(), actual.as_f64()) {
        // Both were read from the same few digits, so equal numbers are equal bits; and -0.0 is never right.
        return expected.to_bits() == actual.to_bits();
    }
    expected == actual
}

/// An address, a name or an answer is nobody's business but the org's.
fn unlike(name: &str, expected: &Value, actual: &Value) -> String {
    let personal = ["email__c", "user__c"].contains(&name) || name.ends_with("_answer__c");
    if personal { "differs".to_owned() } else { format!("should be {expected} and is {actual}") }
}
