//! JSON for hand-made events: the members are named as the fields of the schemas.
//!
//! Lenient where a person types (times as text, symbols in any case, numbers as text), strict about types otherwise.
//! Errors never repeat what serde says of a value, since a value may be an email address: they name the member, the
//! kind of problem and the place.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::slots::{Field, Shape, Slot, Slots, Symbol, TextSlot, blank, trimmed};
use super::validate::refusal;
use super::{Refusal, RefusalReason};
use crate::time::Millis;

/// Reads a record of this shape; with `enveloped` as the data of a structured CloudEvent.
pub(super) fn read<'r>(shape: Shape, value: &'r [u8], enveloped: bool, slots: &mut Slots<'r>) -> Result<(), Refusal> {
    let mut reading = Reading { shape, slots, at: None, kind_differs: false, data_read: false };
    let mut from = serde_json::Deserializer::from_slice(value);
    let read = if enveloped {
        from.deserialize_map(Envelope(&mut reading))
    } else {
        from.deserialize_map(Members(&mut reading))
    };
    read.and_then(|()| from.end()).map_err(|error| undecodable(&error, reading.at))?;
    if reading.kind_differs {
        let detail = format!("member `kind` names another kind than `{}`", shape.name());
        return Err(refusal(RefusalReason::UnknownKind, detail));
    }
    if enveloped && !reading.data_read {
        return Err(refusal(RefusalReason::Undecodable, "the CloudEvent has no `data`"));
    }
    Ok(())
}

fn undecodable(error: &serde_json::Error, at: Option<&'static str>) -> Refusal {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a value of the wrong type or form",
        serde_json::error::Category::Eof => "the JSON ends early",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
    };
    let place = at.map(|name| format!(" in member `{name}`")).unwrap_or_default();
    let detail = format!("{what}{place}, line {} column {}", error.line(), error.column());
    refusal(RefusalReason::Undecodable, detail)
}

/// What is known while a record is being read.
struct Reading<'s, 'r> {
    shape: Shape,
    slots: &'s mut Slots<'r>,
    /// The member that is being read, where it is a known one.
    at: Option<&'static str>,
    kind_differs: bool,
    data_read: bool,
}

/// The envelope of a structured CloudEvent: its id and source fill what the data lacks.
struct Envelope<'a, 's, 'r>(&'a mut Reading<'s, 'r>);

impl<'r> Visitor<'r> for Envelope<'_, '_, 'r> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a CloudEvent")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut id, mut source) = (None, None);
        while let Some(Text(name)) = map.next_key()? {
            match name.as_ref() {
                "id" => id = map.next_value::<Option<Text<'r>>>()?,
                "source" => source = map.next_value::<Option<Text<'r>>>()?,
                "data" => {
                    self.0.data_read = true;
                    map.next_value_seed(Members(&mut *self.0))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.0.slots.fill_text("event_id", TextSlot::EventId, id.map(|Text(text)| text));
        self.0.slots.fill_text("source", TextSlot::Source, source.map(|Text(text)| text));
        Ok(())
    }
}

/// The members of the record itself.
struct Members<'a, 's, 'r>(&'a mut Reading<'s, 'r>);

impl<'r> DeserializeSeed<'r> for Members<'_, '_, 'r> {
    type Value = ();

    fn deserialize<D: Deserializer<'r>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'r> Visitor<'r> for Members<'_, '_, 'r> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.0;
        while let Some(Text(name)) = map.next_key()? {
            if name == "kind" {
                let kind: Option<Text<'r>> = map.next_value()?;
                reading.kind_differs = kind.is_some_and(|Text(kind)| !kind.eq_ignore_ascii_case(reading.shape.name()));
                continue;
            }
            let Some(field) = reading.shape.field(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            reading.at = Some(field.name);
            let value = map.next_value()?;
            put(reading.shape, field, value, reading.slots)
                .map_err(|WrongForm| serde::de::Error::custom("a value of the wrong type or form"))?;
            reading.at = None;
        }
        Ok(())
    }
}

/// A value is not of its slot's type.
struct WrongForm;

/// Puts a member's value into its slot.
fn put<'r>(shape: Shape, field: &Field, value: Value<'r>, slots: &mut Slots<'r>) -> Result<(), WrongForm> {
    match (field.slot, value) {
        (Slot::Text(slot), Value::Null) => slots.set_text(field.name, slot, None),
        (Slot::Text(slot), Value::Text(text)) => slots.set_text(field.name, slot, Some(text)),
        (Slot::Integer(slot), value) => slots.set_number(slot, integer(value)?),
        (Slot::Time(slot), value) => slots.set_number(slot, time(value)?),
        (Slot::Flag(slot), Value::Null) => slots.set_flag(slot, false),
        (Slot::Flag(slot), Value::Flag(flag)) => slots.set_flag(slot, flag),
        (Slot::Symbol, Value::Null) => (slots.symbol, slots.unknown_symbol) = (Symbol::Unknown, None),
        (Slot::Symbol, Value::Text(name)) => slots.set_symbol(shape, trimmed(name)),
        (Slot::Phase, Value::Text(name)) if !blank(&name) => slots.set_phase(trimmed(name)),
        (Slot::Phase, Value::Null | Value::Text(_)) => slots.phase = None,
        (Slot::Answer, Value::Null) => slots.answer = None,
        (Slot::Answer, Value::Text(text)) => {
            slots.check_length(field.name, &text);
            slots.answer = Some(text);
        }
        (Slot::Answer, Value::Texts(choices)) => slots.set_choices(field.name, &choices),
        (Slot::Fields, Value::Null) => {}
        (Slot::Fields, Value::Fields(texts)) => texts.iter().for_each(|text| slots.check_length(field.name, text)),
        _ => return Err(WrongForm),
    }
    Ok(())
}

/// A whole number, as number or text.
fn integer(value: Value<'_>) -> Result<Option<i64>, WrongForm> {
    match value {
        Value::Null => Ok(None),
        Value::Integer(number) => Ok(Some(number)),
        Value::Real(number) if number.fract() == 0.0 => floor(number).map(Some).ok_or(WrongForm),
        Value::Text(text) if blank(&text) => Ok(None),
        Value::Text(text) => text.trim().parse().map(Some).map_err(|_| WrongForm),
        Value::Real(_) | Value::Flag(_) | Value::Texts(_) | Value::Fields(_) => Err(WrongForm),
    }
}

/// A time in milliseconds, as number or text, or as RFC 3339 text.
fn time(value: Value<'_>) -> Result<Option<Millis>, WrongForm> {
    match value {
        Value::Null => Ok(None),
        Value::Integer(number) => Ok(Some(number)),
        Value::Real(number) => floor(number).map(Some).ok_or(WrongForm),
        Value::Text(text) if blank(&text) => Ok(None),
        Value::Text(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| rfc3339(text)).map(Some).ok_or(WrongForm)
        }
        Value::Flag(_) | Value::Texts(_) | Value::Fields(_) => Err(WrongForm),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the bound keeps the number within 64 bits")]
fn floor(number: f64) -> Option<i64> {
    const BOUND: f64 = 9.2e18;
    (number.abs() < BOUND).then(|| number.floor() as i64)
}

fn rfc3339(text: &str) -> Option<Millis> {
    let time: jiff::Timestamp = nine_digits(text).parse().ok()?;
    // Not `as_millisecond`, which cuts towards 1970.
    i64::try_from(time.as_nanosecond().div_euclid(1_000_000)).ok()
}

/// The text with at most nine digits of a second, as many as a timestamp here holds. Dropping digits goes towards the
/// past.
fn nine_digits(text: &str) -> Cow<'_, str> {
    const DIGITS: usize = 9;
    let Some((whole, fraction)) = text.split_once('.') else { return Cow::Borrowed(text) };
    let digits = fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    match (fraction.get(..DIGITS), fraction.get(digits..)) {
        (Some(kept), Some(rest)) if digits > DIGITS => Cow::Owned(format!("{whole}.{kept}{rest}")),
        _ => Cow::Borrowed(text),
    }
}

/// A text that borrows from the record where it holds no escapes.
struct Text<'r>(Cow<'r, str>);

impl<'r> Deserialize<'r> for Text<'r> {
    fn deserialize<D: Deserializer<'r>>(from: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'r> Visitor<'r> for TextVisitor {
            type Value = Text<'r>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'r str) -> Result<Text<'r>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'r>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(TextVisitor)
    }
}

/// What may stand as the value of a known member.
enum Value<'r> {
    Null,
    Flag(bool),
    Integer(i64),
    Real(f64),
    Text(Cow<'r, str>),
    Texts(Vec<Cow<'r, str>>),
    /// Keys and values of an object of texts.
    Fields(Vec<Cow<'r, str>>),
}

impl<'r> Deserialize<'r> for Value<'r> {
    fn deserialize<D: Deserializer<'r>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'r> Visitor<'r> for ValueVisitor {
    type Value = Value<'r>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value of the schema")
    }

    fn visit_unit<E>(self) -> Result<Value<'r>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value<'r>, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'r>, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value<'r>, E> {
        i64::try_from(number).map(Value::Integer).map_err(|_| E::custom("a number beyond 64 bits"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'r>, E> {
        Ok(Value::Real(number))
    }

    fn visit_borrowed_str<E>(self, text: &'r str) -> Result<Value<'r>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'r>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'r>>(self, mut seq: A) -> Result<Value<'r>, A::Error> {
        let mut texts = Vec::new();
        while let Some(Text(text)) = seq.next_element()? {
            texts.push(text);
        }
        Ok(Value::Texts(texts))
    }

    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<Value<'r>, A::Error> {
        let mut texts = Vec::new();
        while let Some((Text(name), value)) = map.next_entry::<Text<'r>, Option<Text<'r>>>()? {
            texts.push(name);
            texts.extend(value.map(|Text(text)| text));
        }
        Ok(Value::Fields(texts))
    }
}
