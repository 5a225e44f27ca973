//! What docs/producing.md shows works: its JSON decodes, its programs are the files in docs/examples, the Python one
//! sends five events, and the fingerprints are those that other languages' libraries compute.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::similar_names, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use rollbook::avro;
use rollbook::event::{Decoded, DecodedSession, Decoder, EventKind, Record};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn producing() -> String {
    std::fs::read_to_string(docs().join("producing.md")).unwrap()
}

/// The text of every fenced block of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn record(kind: Option<EventKind>, value: &[u8]) -> Record<'_> {
    Record { kind, key: None, value: Some(value), timestamp: None, headers: &() }
}

#[test]
fn every_json_example_is_an_event_of_its_kind() {
    let decoder = Decoder::new(1_000_000);
    let mut kinds = Vec::new();
    for block in blocks(&producing(), "json") {
        let json: serde_json::Value = serde_json::from_str(&block).unwrap_or_else(|error| panic!("{error}: {block}"));
        let name = json["kind"].as_str().unwrap();
        if name == "session" {
            let decoded = decoder.decode_session(&record(None, block.as_bytes()));
            assert!(matches!(decoded, Ok(DecodedSession::Session(_))), "{decoded:?}");
        } else {
            let decoded = decoder.decode(&record(EventKind::from_name(name), block.as_bytes()));
            assert!(matches!(decoded, Ok(Decoded::Event(_))), "{decoded:?}: {block}");
        }
        kinds.push(name.to_owned());
    }
    for kind in EventKind::ALL {
        assert!(kinds.iter().any(|name| name == kind.name()), "no JSON example of a {}", kind.name());
    }
}

#[test]
fn the_programs_in_the_document_are_the_files() {
    for (language, file) in [("python", "produce.py"), ("java", "Produce.java")] {
        let program = std::fs::read_to_string(docs().join("examples").join(file)).unwrap();
        let shown = blocks(&producing(), language);
        assert!(shown.contains(&program), "docs/producing.md shows another {file}");
    }
}

#[test]
fn the_python_example_sends_one_event_of_each_kind() {
    let output = Command::new("python3")
        .arg(docs().join("examples/produce.py"))
        .args(["--campaign", "70103000000cnFX", "--lead", "00Q0300000AczgfEAB", "--print"])
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let decoder = Decoder::new(1_000_000);
    let mut seen = Vec::new();
    for line in lines.lines() {
        let [topic, key, value] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(key, "70103000000cnFXAAY_00Q0300000AczgfEAB");
        let value = base64::engine::general_purpose::STANDARD.decode(value).unwrap();
        let kind = EventKind::ALL.into_iter().find(|kind| topic.starts_with(kind.name())).unwrap();
        let decoded = decoder.decode(&record(Some(kind), &value));
        assert!(matches!(&decoded, Ok(Decoded::Event(event)) if event.member.to_string() == key), "{decoded:?}");
        seen.push(kind);
    }
    assert_eq!(seen, EventKind::ALL);
}

/// Headers written by Java's `BinaryMessageEncoder` (1.12.0) and computed by Python's fastavro (1.13.1) for these
/// schemas. Whoever changes a schema takes the new ones from the two example programs.
#[test]
fn fingerprints_are_those_of_the_java_and_python_libraries() {
    for (schema, header) in [
        (&avro::REGISTRATION, "c3010197be2a3fdf7bec"),
        (&avro::ATTENDANCE, "c3012eb3bb591e5c6c7f"),
        (&avro::POLL, "c3011f205b74004ed825"),
        (&avro::REACTION, "c30138b1a02b4bffc48b"),
        (&avro::VIEW, "c301d054bd01c3b7b38c"),
    ] {
        let hex = u128::from_str_radix(header, 16).unwrap().to_be_bytes();
        assert_eq!(schema.header, hex[6..], "{}", schema.name);
    }
}
