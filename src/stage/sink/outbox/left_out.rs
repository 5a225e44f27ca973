//! Rows that are written without a value that the org does not take.
//!
//! A value that comes from people must never cost a row its numbers: where a refusal names fields that a row may go without,
//! the row is sent again without them. What was refused is the value, so that is what is remembered; another one is
//! tried. Sending rows without what our own rules doubt would be simpler, but which values an org takes only the org knows.

use std::borrow::Cow;
use std::fmt::Write as _;

use xxhash_rust::xxh3::xxh3_64;

use super::hidden::of_object;
use super::row::{Key, Version};
use super::{Effect, Failure, Outbox};
use crate::disposition::{Retry, of_a_value};
use crate::outcome::LeftOut;
use crate::time::Millis;
use crate::upsert::{FieldDef, ReadUpsert, Value};

/// A field that a row is sent without, and Salesforce's code.
pub(super) type Omitted = (&'static str, &'static str);

impl Outbox {
    /// Sends the row again without the fields that it was refused for, where it may go without all of them. Each time at
    /// least one field more is left out, so this ends.
    pub(super) fn leave_out(&mut self, key: &Key, failure: &Failure, now: Millis) -> bool {
        // A field that is hidden is not refused for its value.
        let Some(code) = of_a_value(&failure.code).filter(|_| !of_object(failure.disposition)) else { return false };
        let named: Option<Vec<&FieldDef>> = failure.fields.iter().map(|name| key.object.optional_field(name)).collect();
        let Some(named) = named.filter(|named| !named.is_empty()) else { return false };
        let Some(slot) = self.queue.get(key) else { return false };
        let values = slot.version.values();
        let refused = |field: &FieldDef| {
            let omitted = slot.version.omitted.iter().any(|(name, _)| *name == field.name);
            let value = values.iter().find(|(name, _)| name == field.name).map(|(_, value)| value);
            // Refused though it was not sent, or empties the field: it is not the value.
            value.filter(|value| !omitted && **value != Value::Null).map(|value| hash(key, field.name, value))
        };
        let Some(hashes) = named.into_iter().map(refused).collect::<Option<Vec<u64>>>() else { return false };
        for hash in hashes {
            self.memory.refuse_value(hash, code);
        }
        self.effects.push(Effect::Retried(Retry::WithoutFields));
        self.send_again(key, now);
        true
    }

    /// What the row is to be sent without, as far as is known.
    pub(super) fn omit(&self, key: &Key, version: &Version) -> Vec<Omitted> {
        if !self.memory.refuses_values() {
            return Vec::new();
        }
        let omitted = |name: &str, value: &Value| {
            let field = key.object.optional_field(name)?;
            Some((field.name, self.memory.refused_value(hash(key, field.name, value))?))
        };
        version.values().iter().filter_map(|(name, value)| omitted(name, value)).collect()
    }
}

impl Version {
    fn values(&self) -> Vec<(Cow<'static, str>, Value)> {
        let upsert = self.source.value.as_deref().and_then(|value| ReadUpsert::decode(value).ok());
        upsert.map(|upsert| upsert.fields).unwrap_or_default()
    }

    /// For the outcome.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        let left_out = |(field, code): &Omitted| LeftOut { field: (*field).to_owned(), code: (*code).to_owned() };
        self.omitted.iter().map(left_out).collect()
    }
}

/// Of a row's value: a hash, so that no value of a person is kept.
fn hash(key: &Key, field: &str, value: &Value) -> u64 {
    let mut text = format!("{}/{}/{field}/", key.object.api_name(), key.external_id);
    write!(text, "{value:?}").expect("a text takes what is written to it");
    xxh3_64(text.as_bytes())
}
