//! Random records of a schema, and the same records as JSON.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, with what it saw"
)]

use apache_avro::Schema;
use apache_avro::schema::{NamesRef, ResolvedSchema};
use apache_avro::types::Value;
use proptest::prelude::*;

pub const CAMPAIGN: &str = "70103000000cnFXAAY";
pub const LEAD: &str = "00Q0300000AczgfEAB";
/// 2026-01-01T00:00:00Z.
pub const NOW: i64 = 1_767_225_600_000;

/// A record of this schema. Fields that Rollbook knows mostly hold what it accepts, so that not all are refused.
pub fn random_record(schema: &Schema) -> BoxedStrategy<Value> {
    let resolved = ResolvedSchema::try_from(schema).unwrap();
    random_value("", schema, resolved.get_names())
}

fn random_value(field: &str, schema: &Schema, names: &NamesRef<'_>) -> BoxedStrategy<Value> {
    match schema {
        Schema::Null => Just(Value::Null).boxed(),
        Schema::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Schema::Int => any::<i32>().prop_map(Value::Int).boxed(),
        Schema::Long => any::<i64>().prop_map(Value::Long).boxed(),
        Schema::Double => (-1e9..1e9).prop_map(Value::Double).boxed(),
        Schema::Float => (-1e9f32..1e9).prop_map(Value::Float).boxed(),
        Schema::TimestampMillis => time(1).prop_map(Value::TimestampMillis).boxed(),
        Schema::TimestampMicros => time(1_000).prop_map(Value::TimestampMicros).boxed(),
        Schema::LocalTimestampNanos => time(1_000_000).prop_map(Value::LocalTimestampNanos).boxed(),
        Schema::String => text(field).prop_map(Value::String).boxed(),
        Schema::Bytes => text(field).prop_map(|text| Value::Bytes(text.into_bytes())).boxed(),
        Schema::Fixed(fixed) => {
            let size = fixed.size;
            proptest::collection::vec(any::<u8>(), size).prop_map(move |bytes| Value::Fixed(size, bytes)).boxed()
        }
        Schema::Enum(symbols) => {
            let symbols = symbols.symbols.clone();
            (0..symbols.len()).prop_map(move |at| Value::Enum(u32::try_from(at).unwrap(), symbols[at].clone())).boxed()
        }
        Schema::Array(array) => {
            proptest::collection::vec(random_value(field, &array.items, names), 0..3).prop_map(Value::Array).boxed()
        }
        Schema::Map(map) => proptest::collection::hash_map("[a-z]{0,3}", random_value(field, &map.types, names), 0..3)
            .prop_map(Value::Map)
            .boxed(),
        Schema::Union(union) => {
            let branches = union.variants().iter().enumerate().map(|(at, branch)| {
                let at = u32::try_from(at).unwrap();
                let value = random_value(field, branch, names).prop_map(move |value| Value::Union(at, Box::new(value)));
                (if *branch == Schema::Null { 1 } else { 8 }, value.boxed())
            });
            proptest::strategy::Union::new_weighted(branches.collect()).boxed()
        }
        Schema::Record(record) => record
            .fields
            .iter()
            .map(|field| {
                let name = field.name.clone();
                random_value(&name, &field.schema, names).prop_map(move |value| (name.clone(), value))
            })
            .collect::<Vec<_>>()
            .prop_map(Value::Record)
            .boxed(),
        Schema::Ref { name } => random_value(field, names[name], names),
        other => panic!("no random value for {other:?}"),
    }
}

/// Within two days around now, with rare outliers, in units of which so many make a millisecond.
fn time(per_milli: i64) -> BoxedStrategy<i64> {
    let day = 86_400_000 * per_milli;
    let now = NOW * per_milli;
    prop_oneof![20 => now - day / 48..now + day / 48, 1 => now - 2 * day..now + 2 * day, 1 => any::<i64>()].boxed()
}

fn text(field: &str) -> BoxedStrategy<String> {
    let usual = match field {
        "campaign_id" => CAMPAIGN,
        "lead_id" => LEAD,
        "email" => " jane@example.org ",
        "event_id" | "source" | "entry_id" | "poll_id" => "e-1",
        _ => "x",
    };
    prop_oneof![20 => Just(usual.to_owned()), 1 => "\\PC{0,12}", 1 => Just(" \u{3000}".to_owned())].boxed()
}

/// The record as a hand would write it: union branches without their type, times in milliseconds.
pub fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Long(number) | Value::TimestampMillis(number) => (*number).into(),
        Value::TimestampMicros(number) => number.div_euclid(1_000).into(),
        Value::LocalTimestampNanos(number) => number.div_euclid(1_000_000).into(),
        Value::Double(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) | Value::Enum(_, text) => text.as_str().into(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Fixed(_, bytes) => bytes.as_slice().into(),
        Value::Array(items) => items.iter().map(to_json).collect::<Vec<_>>().into(),
        Value::Map(items) => {
            items.iter().map(|(name, value)| (name.clone(), to_json(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Record(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), to_json(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Union(_, value) => to_json(value),
        other => panic!("no JSON for {other:?}"),
    }
}
