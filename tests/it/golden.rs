//! Story folders: `tests/data/<story>/` tells, in the fewest events that do, what one rule makes of them.
//!
//! `events.jsonl` holds events as producers send them, `sessions.jsonl` statements of the catalogue, `upserts.json` the
//! rows that Salesforce should hold: worked out by hand from the rules, never copied from a run. A row may list only the
//! fields that the story is about; the others are not looked at. Every story is told three times: in order, backwards
//! with every event twice, and in two halves that are joined.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rollbook::avro::Writer;
use rollbook::event::{Decoded, DecodedSession, Decoder, Event, EventKind, Record};
use rollbook::fold::{Aggregate, Catalogue};
use rollbook::id::MemberKey;
use rollbook::upsert::{self, Derived, Facts, Row, RowRefusal, row_hash, write_row, write_upsert_key};
use serde_json::{Map, Value, json};

const VALUE_BYTES_MAX: usize = 1 << 20;

/// The rows by object and external id.
type Rows = BTreeMap<String, Value>;

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_story_is_told() {
            let mut folders: Vec<String> = std::fs::read_dir(data()).expect("tests/data is there")
                .map(|entry| entry.expect("a readable folder").path())
                .filter(|path| path.join("upserts.json").exists())
                .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
                .collect();
            folders.sort();
            let mut told = vec![$(stringify!($name).to_owned()),*];
            told.sort();
            assert_eq!(folders, told);
        }
    };
}

stories! {
    k1_created,
    k1_invited,
    k1_registered,
    k1_auto_confirmed,
    k1_confirmed,
    k1_attended,
    k1_participated,
    k1_blocked,
    k1_unblocked,
    k1_unregistered,
    k1_unregistered_at_the_same_time,
    k1_registered_again,
    k1_visit_before_the_start,
    k1_visit_from_the_start,
    k1_visit_without_a_known_start,
    k1_start_of_the_campaign,
    k1_actual_start,
    k1_join,
    k1_whole_presence,
    k1_joined_after_unregistering,
    k1_no_status,
    k2_external_id,
    k2_external_id_too_long,
    k3_row_of_a_join,
    k3_visits_make_no_row,
    k3_contact,
    k3_entry_id_is_cut,
    k3_names,
    k3_names_said_by_the_catalogue,
    k3_email,
    k3_newest_by_source_and_id,
    k3_user_is_cut,
    k3_plays,
    k3_vod_minutes_viewed,
    k3_live_minutes_viewed,
    k3_completion_rate,
    k3_completion_rate_from_below_zero,
    k3_completion_rate_without_duration,
    k3_completion_rate_of_nothing,
    k3_live_levels,
    k3_live_rates_are_rounded_one_by_one,
    k3_full_screen_without_focus,
    k3_reactions,
    k3_messages_and_threads,
    k3_answered_polls,
    k3_mic_and_cam,
    k3_device_without_an_end,
    k3_ignored_is_no_sign_of_life,
    k3_device_on_after_the_end,
    k3_every_on_ends_at_the_first_off,
    k3_number_too_large,
    k3_largest_number,
    k4_one_poll,
    k4_numbering,
    k4_past_ten,
    k4_cleared_answer,
    k4_answered_again,
    k4_choices,
    k4_texts_are_cut,
    k4_newest_texts,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn check(story: &str) {
    let folder = data().join(story);
    assert!(folder.join("README.md").exists(), "{story} has a README.md");
    let decoder = Decoder::new(VALUE_BYTES_MAX);
    let lines = lines(&folder.join("events.jsonl"));
    let events: Vec<Event<'_>> = lines.iter().filter_map(|line| decode(&decoder, line)).collect();
    let catalogue = catalogue(&decoder, &folder.join("sessions.jsonl"));
    let expected: Value = serde_json::from_str(&read(&folder.join("upserts.json"))).expect("upserts.json is JSON");

    compare(story, "in order", &expected, &rows(&events.iter().collect::<Vec<_>>(), &[], &catalogue));
    let twice: Vec<_> = events.iter().rev().flat_map(|event| [event, event]).collect();
    compare(story, "backwards, twice", &expected, &rows(&twice, &[], &catalogue));
    let (odd, even): (Vec<_>, Vec<_>) = events.iter().enumerate().partition(|(at, _)| at % 2 == 1);
    let half = |half: Vec<(usize, _)>| half.into_iter().map(|(_, event)| event).collect::<Vec<_>>();
    compare(story, "in two halves", &expected, &rows(&half(odd), &half(even), &catalogue));
}

/// Hashes of the rows of all stories, as the version computed them that wrote rows by the third schema: another one would
/// send the row once more to every org. A new story gets a line; no line ever changes.
const HASHES: &str = include_str!("../data/row_hashes.txt");

#[test]
fn every_row_has_the_hash_by_which_it_was_sent() {
    let told = HASHES.lines().filter_map(|line| line.split_once(' ')).map(|(story, _)| story).collect::<BTreeSet<_>>();
    assert!(told.len() >= 60, "of so many stories: {}", told.len());
    for story in told {
        let of_story = |line: &&str| line.split_once(' ').is_some_and(|(name, _)| name == story);
        let expected: Vec<&str> = HASHES.lines().filter(of_story).collect();
        assert_eq!(hashes(story), expected);
    }
}

/// A line for each row or refusal: story, Kafka key, hash.
fn hashes(story: &str) -> Vec<String> {
    let folder = data().join(story);
    let decoder = Decoder::new(VALUE_BYTES_MAX);
    let lines = lines(&folder.join("events.jsonl"));
    let events: Vec<Event<'_>> = lines.iter().filter_map(|line| decode(&decoder, line)).collect();
    let catalogue = catalogue(&decoder, &folder.join("sessions.jsonl"));
    let mut found = Vec::new();
    for (member, aggregate) in &members(&events.iter().collect::<Vec<_>>(), &[]) {
        for facts in Facts::of(aggregate) {
            for object in facts.objects() {
                let (mut record, mut key) = (Writer::default(), Writer::default());
                let hash = match write_row(&mut record, object, member, facts, &catalogue) {
                    Derived::Nothing => continue,
                    Derived::Row => row_hash(&record.0),
                    Derived::Refused(refusal) => refusal.hash(),
                };
                write_upsert_key(&mut key, object, member, facts.entry_id());
                found.push(format!("{story} {} {hash:016x}", String::from_utf8_lossy(&key.0)));
            }
        }
    }
    found
}

/// The events of a line; what is to be ignored is left out, as the fold stage does.
fn decode<'r>(decoder: &Decoder, line: &'r str) -> Option<Event<'r>> {
    let json: Value = serde_json::from_str(line).expect("a line is JSON");
    let kind = json.get("kind").and_then(Value::as_str).and_then(EventKind::from_name).expect("a line names its kind");
    let record = Record { kind: Some(kind), key: None, value: Some(line.as_bytes()), timestamp: None, headers: &() };
    match decoder.decode(&record).expect("JSON needs no schema") {
        Decoded::Event(event) => Some(event),
        Decoded::Ignored(_) => None,
        Decoded::Refused(refusal) => panic!("a story's event is refused: {refusal}"),
    }
}

/// The session catalogue of a story.
pub fn catalogue_of(story: &str) -> Catalogue {
    catalogue(&Decoder::new(VALUE_BYTES_MAX), &data().join(story).join("sessions.jsonl"))
}

fn catalogue(decoder: &Decoder, path: &Path) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for line in if path.exists() { lines(path) } else { Vec::new() } {
        let record = Record { kind: None, key: None, value: Some(line.as_bytes()), timestamp: None, headers: &() };
        match decoder.decode_session(&record).expect("JSON needs no schema") {
            DecodedSession::Session(session) => {
                catalogue.apply(session);
            }
            DecodedSession::Tombstone(_) | DecodedSession::Refused(_) => panic!("a story's session is none"),
        }
    }
    catalogue
}

fn rows(events: &[&Event<'_>], others: &[&Event<'_>], catalogue: &Catalogue) -> Rows {
    let mut rows = Rows::new();
    for (key, aggregate) in &members(events, others) {
        for row in upsert::rows(key, aggregate, catalogue) {
            put(&mut rows, row);
        }
    }
    rows
}

fn members(events: &[&Event<'_>], others: &[&Event<'_>]) -> BTreeMap<MemberKey, Aggregate> {
    let mut members: BTreeMap<MemberKey, Aggregate> = BTreeMap::new();
    for half in [events, others] {
        let mut folded: BTreeMap<MemberKey, Aggregate> = BTreeMap::new();
        for event in half {
            folded.entry(event.member).or_default().apply(event);
        }
        for (key, aggregate) in folded {
            members.entry(key).or_default().join(aggregate);
        }
    }
    members
}

fn put(rows: &mut Rows, row: Result<Row, RowRefusal>) {
    let (object, external_id, content) = match row {
        Ok(row) => {
            let fields: Map<_, _> = row.fields.iter().map(|(name, value)| ((*name).into(), value.to_json())).collect();
            (row.object, row.external_id, Value::Object(fields))
        }
        Err(refusal) => {
            (refusal.object, refusal.external_id.clone(), json!({ "refused": refusal.code(), "field": refusal.field }))
        }
    };
    rows.insert(format!("{}/{external_id}", object.api_name()), content);
}

/// The same rows, and in each of them the fields that the story names.
fn compare(story: &str, telling: &str, expected: &Value, rows: &Rows) {
    let expected = expected.as_object().expect("upserts.json is an object of rows");
    let mut names: Vec<_> = expected.keys().cloned().collect();
    names.sort();
    assert_eq!(rows.keys().cloned().collect::<Vec<_>>(), names, "{story}, {telling}: the rows");
    for (name, fields) in expected {
        let row = &rows[name];
        if name.starts_with("CampaignMember/") {
            assert_eq!(row, fields, "{story}, {telling}: {name}");
        }
        for (field, value) in fields.as_object().expect("a row is an object") {
            assert_eq!(row.get(field), Some(value), "{story}, {telling}: {name} {field}");
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    read(path).lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read `{}`: {error}", path.display()))
}
