//! The schemas are a contract with other teams: documented in every field, and able to read what earlier versions of
//! them wrote.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, with what it saw"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::{Schema, from_avro_datum, to_avro_datum, types::Value};
use proptest::strategy::{Strategy, ValueTree};
use rollbook::avro::{self, embedded};
use rollbook::event::EARLIER;
use rollbook::fold::{Catalogue, EntryPiece};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::upsert::{
    self, CAUSES_MAX, Derived, Facts, FieldKind, Lane, Object, ReadUpsert, RowKey, Sending, Upsert, finish_upsert,
    row_hash, write_row,
};

use super::records::random_record;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// Calls `visit` with the path and the JSON of every type and field within a schema.
fn walk(path: &str, node: &serde_json::Value, visit: &mut impl FnMut(&str, &serde_json::Value)) {
    match node {
        serde_json::Value::Array(branches) => branches.iter().for_each(|branch| walk(path, branch, visit)),
        serde_json::Value::Object(members) => {
            visit(path, node);
            for field in members.get("fields").and_then(|fields| fields.as_array()).into_iter().flatten() {
                let path = format!("{path}.{}", field["name"].as_str().expect("a field has a name"));
                visit(&path, field);
                walk(&path, &field["type"], visit);
            }
            for inner in ["type", "items", "values"] {
                if let Some(inner) = members.get(inner).filter(|inner| !inner.is_string()) {
                    walk(path, inner, visit);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_schema_file_is_on_board_and_parses() {
    let on_board: BTreeSet<String> = embedded().iter().map(|schema| format!("{}.avsc", schema.name)).collect();
    let files: BTreeSet<String> = std::fs::read_dir(schemas())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "avsc"))
        .collect();
    assert_eq!(on_board, files);
    for schema in embedded() {
        assert!(matches!(schema.schema, Schema::Record(_)), "{} is a record", schema.name);
    }
}

#[test]
fn every_field_says_what_it_means() {
    for schema in embedded() {
        let json = serde_json::from_str(schema.text).unwrap();
        let mut fields = 0;
        walk(schema.name, &json, &mut |path, node| {
            let field_or_record = node.get("type").is_some_and(|kind| !kind.is_string() || kind == "record")
                || node.get("name").is_some() && node.get("symbols").is_none();
            if field_or_record {
                fields += 1;
                let doc = node.get("doc").and_then(|doc| doc.as_str()).unwrap_or_default();
                assert!(!doc.trim().is_empty(), "{path} has no doc");
            }
        });
        assert!(fields > 3, "{} was walked", schema.name);
    }
}

#[test]
fn times_are_logical_types() {
    for schema in embedded() {
        let json = serde_json::from_str(schema.text).unwrap();
        walk(schema.name, &json, &mut |path, node| {
            let name = node.get("name").and_then(|name| name.as_str()).unwrap_or_default();
            let says_time =
                name.ends_with("_at") || matches!(name, "at" | "timestamp") || name.starts_with("scheduled_");
            if says_time && node.get("type").is_some() && node.get("fields").is_none() {
                assert!(node["type"].to_string().contains("timestamp-millis"), "{path} is no timestamp");
            }
        });
    }
}

#[test]
fn every_enum_has_a_default_for_symbols_of_the_future() {
    let mut enums = 0;
    for schema in embedded() {
        let json = serde_json::from_str(schema.text).unwrap();
        walk(schema.name, &json, &mut |path, node| {
            if let Some(symbols) = node.get("symbols").and_then(|symbols| symbols.as_array()) {
                enums += 1;
                let default = node.get("default").unwrap_or_else(|| panic!("{path} has no default"));
                assert!(symbols.contains(default), "{path} has a default among its symbols");
            }
        });
    }
    assert!(enums >= 7, "{enums} enums were seen");
}

#[test]
fn the_rows_of_the_upsert_schema_are_the_fields_that_are_written() {
    let schema: serde_json::Value = serde_json::from_str(avro::UPSERT.text).unwrap();
    let row = schema["fields"].as_array().unwrap().iter().find(|field| field["name"] == "row").unwrap();
    let branches = row["type"].as_array().unwrap();
    let typed = |branch: usize| u8::try_from(branch).ok().and_then(Object::from_number);
    let has_one = Object::ALL.into_iter().filter(|object| object.def().typed > 0).count();
    assert_eq!(branches.len(), 1 + has_one, "null, and a record for each object that has one");
    for (branch, record) in branches.iter().enumerate().skip(1) {
        let object = typed(branch).expect("the branch is the object's number");
        let described: Vec<(&str, &str)> = record["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| (field["name"].as_str().unwrap(), field["type"][1].as_str().unwrap()))
            .collect();
        let of = |kind| match kind {
            FieldKind::Integer => "long",
            FieldKind::Decimal => "double",
            FieldKind::Text(_) | FieldKind::Email | FieldKind::LeadLookup | FieldKind::Picklist => "string",
        };
        let written: Vec<(&str, &str)> =
            object.def().typed_fields().iter().map(|field| (field.name, of(field.kind))).collect();
        assert_eq!(described, written, "{object:?}");
    }
}

/// By `apache-avro` and by the sink: a row as the fold writes it, and as earlier versions wrote it.
#[test]
fn an_upsert_is_read_as_it_was_written_in_every_version() {
    let id = |text| SalesforceId::parse(text).unwrap();
    let member = MemberKey { campaign: id("70103000000cnFX"), person: id("00Q0300000Aczgf") };
    let piece = EntryPiece { counted: true, ..EntryPiece::default() };
    let catalogue = Catalogue::default();
    let mut out = avro::Writer::default();
    let facts = Facts::Entry("1_entry", &piece);
    assert_eq!(write_row(&mut out, Object::ENGAGEMENT, &member, facts, &catalogue), Derived::Row);
    let hash = row_hash(&out.0);
    let causes: Vec<String> = (1..=CAUSES_MAX + 2).map(|number| format!("replay-{number}")).collect();
    let sending = Sending { event_at: 7, lane: Lane::Backfill, causes: &causes, first: true, minor: true };
    finish_upsert(&mut out, Object::ENGAGEMENT, &member, &sending);
    let body = out.0.strip_prefix(&avro::UPSERT.header).unwrap();
    let written = from_avro_datum(&avro::UPSERT.schema, &mut &*body, None).unwrap();
    let read = ReadUpsert::decode(&out.0).unwrap();
    assert_eq!((read.fields.len(), read.event_at, read.member()), (30, 7, Some(member)));
    assert_eq!((read.lane, read.object()), (Some(Lane::Backfill), Some(Object::ENGAGEMENT)));
    let parent = RowKey { object: Object::CAMPAIGN_MEMBER, external_id: member.text().into() };
    assert_eq!((&read.parents, read.first, read.minor), (&vec![parent], true, true));
    assert_eq!(read.causes, causes[2..], "the newest four");
    // The same values in a record without a row, by name.
    let Value::Record(members) = written else { panic!("a record") };
    let by_name = read.fields.iter().map(|(name, value)| {
        let value = match value {
            upsert::Value::Null => Value::Union(0, Box::new(Value::Null)),
            upsert::Value::Text(text) => Value::Union(1, Box::new(Value::String(text.clone()))),
            upsert::Value::Integer(number) => Value::Union(2, Box::new(Value::Long(*number))),
            upsert::Value::Decimal(number) => Value::Union(3, Box::new(Value::Double(*number))),
            upsert::Value::Bool(value) => Value::Union(4, Box::new(Value::Boolean(*value))),
        };
        let name = ("name".to_owned(), Value::String(name.to_string()));
        Value::Record(vec![name, ("value".to_owned(), value)])
    });
    let by_name = Value::Array(by_name.collect());
    let of_fourth = ["object_number", "parents", "causes", "first", "minor"];
    for (version, lacks) in [(1, &["row", "lane"][..]), (2, &["lane"]), (3, &[])] {
        let text = fs::read_to_string(schemas().join(format!("earlier/upsert/{version}.avsc"))).unwrap();
        let schema = Schema::parse_str(&text).unwrap();
        let lacks = [lacks, &of_fourth].concat();
        let has = members.iter().filter(|(name, _)| !lacks.contains(&name.as_str())).cloned();
        let has = has.map(|(name, value)| {
            let value = if name == "fields" && version == 1 { by_name.clone() } else { value };
            (name, value)
        });
        let datum = to_avro_datum(&schema, Value::Record(has.collect())).unwrap();
        let record = [avro::single_object_header(&schema).to_vec(), datum].concat();
        let earlier = ReadUpsert::decode(&record).unwrap();
        let lane = read.lane.filter(|_| version > 2);
        assert_eq!((&earlier.fields, earlier.event_at, earlier.lane), (&read.fields, 7, lane), "version {version}");
        assert_eq!((earlier.object(), earlier.member()), (read.object(), read.member()), "version {version}");
        assert_eq!(
            (&*earlier.parents, &*earlier.causes, earlier.first, earlier.minor),
            (&[][..], &[][..], false, false)
        );
    }
    // As golden as it gets: another hash would send every row of every org once more.
    assert_eq!(hash, GOLDEN, "the hash of a row says nothing of its version, time and lane");
}

/// What the second version of the schema, without a lane, had for the row above.
const GOLDEN: u64 = 1_802_620_978_754_497_062;

/// Values to a record as the fold writes one; tests and benches of the sink are fed with it.
#[test]
fn a_row_given_as_values_is_written_as_the_fold_writes_it() {
    let id = |text| SalesforceId::parse(text).unwrap();
    let member = MemberKey { campaign: id("70103000000cnFX"), person: id("00Q0300000Aczgf") };
    let piece = EntryPiece { counted: true, ..EntryPiece::default() };
    let catalogue = Catalogue::default();
    let (object, facts) = (Object::ENGAGEMENT, Facts::Entry("1_entry", &piece));
    let mut out = avro::Writer::default();
    assert_eq!(write_row(&mut out, object, &member, facts, &catalogue), Derived::Row);
    finish_upsert(&mut out, object, &member, &Sending { event_at: 7, ..Sending::default() });
    let row = upsert::row(object, &member, facts, &catalogue).unwrap().unwrap();
    assert_eq!(Upsert { row, member, event_at: 7, lane: Lane::Live }.encode(), out.0);
}

/// Name of the schema and text of every earlier version.
fn earlier() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(schemas().join("earlier")).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for file in std::fs::read_dir(&folder).unwrap() {
            found.push((name.clone(), std::fs::read_to_string(file.unwrap().path()).unwrap()));
        }
    }
    found
}

#[test]
fn each_schema_can_read_what_its_earlier_versions_wrote() {
    let earlier = earlier();
    for schema in embedded() {
        let versions: Vec<_> = earlier.iter().filter(|(name, _)| name == schema.name).collect();
        assert!(!versions.is_empty(), "schemas/earlier/{} holds no version", schema.name);
        for (name, text) in versions {
            let writer = Schema::parse_str(text).unwrap();
            SchemaCompatibility::can_read(&writer, &schema.schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn earlier_event_schemas_are_on_board_for_single_object_records() {
    let read_from_topics = ["registration", "attendance", "poll", "reaction", "view", "session"];
    for (name, text) in earlier() {
        let on_board = EARLIER.contains(&text.as_str());
        assert_eq!(on_board, read_from_topics.contains(&name.as_str()), "an earlier version of {name}");
    }
}

/// A record of an earlier version, written and read back through the current schema, by `apache-avro` alone.
#[test]
fn records_of_earlier_versions_resolve_to_the_current_schema() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for (name, text) in earlier() {
        let writer = Schema::parse_str(&text).unwrap();
        let current = embedded().into_iter().find(|schema| schema.name == name).unwrap();
        for _ in 0..20 {
            let record = random_record(&writer).new_tree(&mut runner).unwrap().current();
            let bytes = to_avro_datum(&writer, record).unwrap();
            let read = from_avro_datum(&writer, &mut bytes.as_slice(), Some(&current.schema)).unwrap();
            assert!(matches!(read, Value::Record(_)), "{name}");
        }
    }
}
