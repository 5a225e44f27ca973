//! Records of the state that earlier versions wrote: today's reader makes the same rows of them.
//!
//! `tests/data/records/state/{version}.jsonl` holds pieces of a small conference as that version wrote them, in base64, and
//! the rows that they make; `schemas/earlier/state/{version}.avsc` is what the version wrote by. A version that writes another
//! form adds both; none is ever changed. `stories/{version}.jsonl` holds the pieces that it wrote of golden stories, with
//! the hashes of their rows: no row is sent again for another version of the state.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use apache_avro::{Schema, from_avro_datum};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rollbook::avro::single_object_header;
use rollbook::config::Topics;
use rollbook::fold::{Aggregate, Catalogue, Piece, decode_piece};
use rollbook::id::MemberKey;
use rollbook::kafka::transaction::Records;
use rollbook::stage::fold::commit::{Again, Changes};
use rollbook::stage::fold::tally::Tally;
use rollbook::store::{Store, parse_piece_key};
use rollbook::upsert::{self, Row};
use serde_json::{Map, Value, json};

use super::golden;

const NOON: i64 = 1_780_000_000_000;

/// The rows of a member's pieces, by object and external id.
fn rows(member: &MemberKey, aggregate: &Aggregate) -> Value {
    let rows: Vec<Row> = upsert::rows(member, aggregate, &Catalogue::default()).into_iter().flatten().collect();
    let fields = |row: &Row| -> Map<String, Value> {
        let said = row.fields.iter().filter(|(_, value)| !value.to_json().is_null());
        said.map(|(name, value)| ((*name).to_owned(), value.to_json())).collect()
    };
    let named = rows.iter().map(|row| (format!("{} {}", row.object.api_name(), row.external_id), fields(row)));
    json!(named.collect::<BTreeMap<_, _>>())
}

#[test]
fn states_of_every_version_are_read_today() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut versions = 0;
    for file in fs::read_dir(project.join("schemas/earlier/state")).expect("the folder is there") {
        versions += 1;
        let file = file.expect("a readable folder").path();
        let schema = Schema::parse_str(&fs::read_to_string(&file).expect("a text")).expect("a schema");
        let version = file.file_stem().expect("a name").to_str().expect("a text");
        let text = fs::read_to_string(project.join(format!("tests/data/records/state/{version}.jsonl")))
            .unwrap_or_else(|error| panic!("records of version {version}: {error}"));
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            let mut read = None;
            for (key, record) in line["records"].as_object().expect("records by key") {
                let record = BASE64_STANDARD.decode(record.as_str().expect("a text")).expect("base64");
                is_of(&schema, &record);
                let (member, entry_id) = parse_piece_key(key).expect("the key of a piece");
                let (_, aggregate) = read.get_or_insert_with(|| (member, Aggregate::default()));
                aggregate.join_piece(entry_id, decode_piece(&record).expect("a state of an earlier version"));
            }
            let (member, aggregate) = read.expect("a member has a piece");
            assert_eq!(rows(&member, &aggregate), line["rows"], "{member}");
        }
    }
    assert!(versions > 0, "no version was read");
}

/// The pieces of a golden story as an earlier version wrote them, and what a commit makes of them today.
#[test]
fn states_of_the_version_before_send_no_row_again_and_are_not_written_again() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let text = fs::read_to_string(data.join("records/state/stories/2.jsonl")).expect("a text");
    let (mut rows, mut pieces) = (0, 0);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let story = line["story"].as_str().expect("a name");
        let catalogue = golden::catalogue_of(story);
        let mut store = Store::default();
        let partition = store.partition(0);
        for (key, record) in line["records"].as_object().expect("records by key") {
            let record = BASE64_STANDARD.decode(record.as_str().expect("a text")).expect("base64");
            partition.restore(key.as_bytes(), &record).expect("a state of an earlier version");
            let (hashes, first_commit) = match decode_piece(&record).expect("a piece") {
                Piece::Member(piece) => (piece.marks.rows().count(), piece.marks.first_commit()),
                Piece::Entry(piece) => (piece.marks.rows().count(), piece.marks.first_commit()),
            };
            assert_eq!(first_commit, None, "{story}: it is not known");
            (rows, pieces) = (rows + hashes, pieces + 1);
        }
        partition.derive_all(NOON);
        let (topics, mut tally, mut records) = (Topics::default(), Tally::default(), Records::default());
        let mut changes = Changes {
            topics: &topics,
            catalogue: &catalogue,
            tally: &mut tally,
            records: &mut records,
            now: NOON,
            commit: 1,
            again: Again::default(),
        };
        changes.collect(&mut store).expect("there is no disk");
        assert_eq!(records.iter().count(), 0, "{story}");
    }
    assert!(rows > 90 && pieces > 100, "{rows} rows of {pieces} pieces are too few to say something");
}

/// As any reader of Avro sees it.
fn is_of(schema: &Schema, record: &[u8]) {
    let mut body = record.strip_prefix(&single_object_header(schema)).expect("a record of this version");
    let value = from_avro_datum(schema, &mut body, None).expect("a record of the schema");
    assert!(body.is_empty() && value.validate(schema), "{value:?}");
}
