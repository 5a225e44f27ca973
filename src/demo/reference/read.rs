//! The fields of a record as they count: texts, times, numbers and symbols, told apart by the contract.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Record;
use super::contract::{self, Registered, Type};
use super::event::Millis;

/// Longest text, in bytes.
const TEXT_BYTES_MAX: usize = 32_768;

/// A value that was sent, as it counts.
#[derive(Clone, Debug)]
enum Held {
    Text(String),
    Time(Millis),
    Number(i64),
    Flag(bool),
    /// Known, by the name that the schema has; or as it was sent.
    Symbol(Result<String, String>),
}

/// Fields by name, without those that are absent.
#[derive(Debug, Default)]
pub struct Read {
    fields: BTreeMap<&'static str, Held>,
    /// One of the texts, whether it counts or not.
    pub too_long: bool,
}

impl Read {
    /// As it was sent; None where it is blank.
    pub fn as_sent(&self, name: &str) -> Option<&str> {
        let Some(Held::Text(text)) = self.fields.get(name) else { return None };
        (!text.trim().is_empty()).then_some(text)
    }

    /// Trimmed, never blank.
    pub fn text(&self, name: &str) -> Option<String> {
        self.as_sent(name).map(|text| text.trim().to_owned())
    }

    pub fn time(&self, name: &str) -> Option<Millis> {
        if let Some(Held::Time(at)) = self.fields.get(name) { Some(*at) } else { None }
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        if let Some(Held::Number(number)) = self.fields.get(name) { Some(*number) } else { None }
    }

    /// What is unknown is false.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.fields.get(name), Some(Held::Flag(true)))
    }

    /// None: nothing was sent. Err: no symbol that is known.
    pub fn symbol(&self, name: &str) -> Option<Result<&str, &str>> {
        let Some(Held::Symbol(symbol)) = self.fields.get(name) else { return None };
        Some(symbol.as_ref().map(String::as_str).map_err(String::as_str))
    }
}

/// The record's fields, or the code of its refusal.
pub fn read(record: &Record<'_>, value: &[u8], registered: &Registered) -> Result<Read, &'static str> {
    let told = contract::told(record, value, registered)?;
    let mut read = Read::default();
    for (name, value) in &told.members {
        if let Some((name, of)) = contract::field(record.feed, name)
            && !take(&mut read, name, of, value)
        {
            return Err("undecodable");
        }
    }
    match told.members.get("kind") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case(contract::schema_of(record.feed)) => {}
        Some(Value::String(_)) => return Err("unknown_kind"),
        Some(_) => return Err("undecodable"),
    }
    for (name, text) in ["event_id", "source"].into_iter().zip(told.envelope) {
        if let (None, Some(text)) = (read.as_sent(name), text) {
            read.too_long |= text.len() > TEXT_BYTES_MAX;
            read.fields.insert(name, Held::Text(text));
        }
    }
    Ok(read)
}

/// False: no value of this type. Null is none.
fn take(read: &mut Read, name: &'static str, of: &Type, value: &Value) -> bool {
    let mut long = |text: &str| read.too_long |= text.len() > TEXT_BYTES_MAX;
    let held = match (of, value) {
        (_, Value::Null) => return true,
        (Type::Flag, Value::Bool(on)) => Held::Flag(*on),
        (Type::Text | Type::Answer, Value::String(text)) => {
            long(text);
            Held::Text(text.clone())
        }
        (Type::Answer, Value::Array(choices)) => {
            let texts: Option<Vec<&str>> = choices.iter().map(Value::as_str).collect();
            let Some(texts) = texts else { return false };
            for text in &texts {
                long(text);
            }
            let chosen: Vec<&str> = texts.into_iter().map(str::trim).filter(|text| !text.is_empty()).collect();
            let joined = chosen.join("; ");
            long(&joined);
            Held::Text(joined)
        }
        (Type::Texts, Value::Object(texts)) => {
            return texts.iter().all(|(key, value)| {
                long(key);
                value.as_str().map(&mut long);
                value.is_string() || value.is_null()
            });
        }
        (Type::Symbol(known), Value::String(symbol)) => {
            let found = known.iter().find(|known| known.eq_ignore_ascii_case(symbol.trim()));
            Held::Symbol(found.cloned().ok_or_else(|| symbol.clone()))
        }
        (Type::Time | Type::Number, Value::String(text)) if text.trim().is_empty() => return true,
        (Type::Number, value) => match whole(value) {
            Some(number) => Held::Number(number),
            None => return false,
        },
        (Type::Time, value) => match time(value) {
            Some(at) => Held::Time(at),
            None => return false,
        },
        _ => return false,
    };
    read.fields.insert(name, held);
    true
}

fn whole(value: &Value) -> Option<i64> {
    let text = || value.as_str()?.trim().parse::<i64>().ok();
    let whole = real(value).filter(|real| real.fract() == 0.0).and_then(floor);
    value.as_i64().or_else(text).or(whole)
}

/// Finer times are cut towards the past, however fine they are.
fn time(value: &Value) -> Option<Millis> {
    let text = || in_nanoseconds(value.as_str()?.trim()).parse::<jiff::Timestamp>().ok();
    let at = || i64::try_from(text()?.as_nanosecond().div_euclid(1_000_000)).ok();
    real(value).map_or_else(|| whole(value), floor).or_else(at)
}

/// Without the digits of a second that no clock tells.
fn in_nanoseconds(text: &str) -> String {
    let Some((whole, rest)) = text.split_once('.') else { return text.to_owned() };
    let zone = rest.trim_start_matches(|it: char| it.is_ascii_digit());
    let digits = rest.strip_suffix(zone).unwrap_or(rest);
    format!("{whole}.{digits:.9}{zone}")
}

/// A number that was written with a point or an exponent.
fn real(value: &Value) -> Option<f64> {
    value.as_number().filter(|number| number.is_f64()).and_then(serde_json::Number::as_f64)
}

#[expect(clippy::cast_possible_truncation, reason = "the bound is below what the type holds")]
fn floor(real: f64) -> Option<i64> {
    (real.abs() < 9.2e18).then(|| real.floor() as i64)
}
