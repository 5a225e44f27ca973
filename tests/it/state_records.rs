//! Records of the state that earlier versions wrote: today's reader makes the same rows of them.
//!
//! `tests/data/records/state/{version}.jsonl` holds pieces of a small conference as that version wrote them, in base64, and
//! the rows that they make. A version that writes another form adds a file; none is ever changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rollbook::event::MemberKey;
use rollbook::fold::{Aggregate, Catalogue, decode_piece};
use rollbook::store::parse_piece_key;
use rollbook::upsert::{Row, member_row, write_engagement, write_polls};
use serde_json::{Map, Value, json};

/// The rows of a member's pieces, by object and external id.
fn rows(member: &MemberKey, aggregate: &Aggregate) -> Value {
    let catalogue = Catalogue::default();
    let mut rows = vec![member_row(member, &aggregate.member, &catalogue)];
    for (id, piece) in aggregate.entries.iter() {
        rows.extend(Row::of(|out| write_engagement(out, member, id, piece, &catalogue)).and_then(Result::ok));
        rows.extend(Row::of(|out| write_polls(out, member, id, piece, &catalogue)).and_then(Result::ok));
    }
    let fields = |row: &Row| -> Map<String, Value> {
        let said = row.fields.iter().filter(|(_, value)| !value.to_json().is_null());
        said.map(|(name, value)| ((*name).to_owned(), value.to_json())).collect()
    };
    let named = rows.iter().map(|row| (format!("{} {}", row.object.api_name(), row.external_id), fields(row)));
    json!(named.collect::<BTreeMap<_, _>>())
}

#[test]
fn states_of_every_version_are_read_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/records/state");
    let mut versions = 0;
    for file in fs::read_dir(folder).expect("the folder is there") {
        versions += 1;
        let text = fs::read_to_string(file.expect("a readable folder").path()).expect("a text");
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            let mut read = None;
            for (key, record) in line["records"].as_object().expect("records by key") {
                let record = BASE64_STANDARD.decode(record.as_str().expect("a text")).expect("base64");
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
