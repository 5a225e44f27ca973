//! Records of the session catalogue: statements, tombstones, refusals.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking, with what it saw")]

use rollbook::event::{DecodedSession, Decoder, Record, RefusalReason};
use serde_json::{Value as Json, json};

use super::records::{CAMPAIGN, LEAD, NOW};

const LIMIT: usize = 1_000_000;
const DAY: i64 = 86_400_000;

fn session(key: Option<&[u8]>, value: Option<&Json>) -> DecodedSession {
    let value = value.map(|value| value.to_string().into_bytes());
    let record = Record { kind: None, key, value: value.as_deref(), timestamp: Some(NOW), headers: &() };
    Decoder::new(LIMIT).decode_session(&record).unwrap()
}

#[test]
fn sessions_are_read_from_every_format() {
    let statement = json!({
        "event_id": "s-1", "source": "test", "updated_at": "2026-01-01T00:00:00Z", "campaign_id": "70103000000cnFX",
        "entry_id": " 1_entry ", "name": " Opening ", "channel_id": 5, "scheduled_start": NOW + 400 * DAY,
        "actual_end": NOW, "duration_ms": 1000, "kind": "session",
    });
    let DecodedSession::Session(read) = session(None, Some(&statement)) else { panic!("a session") };
    assert_eq!(read.key.to_text(), format!("{CAMPAIGN}_1_entry"));
    assert_eq!((read.updated_at, read.scheduled_start), (NOW, Some(NOW + 400 * DAY)));
    assert_eq!((read.name.as_deref(), read.channel_name.as_deref()), (Some("Opening"), None));
    // What Rollbook writes to its own catalogue reads back the same.
    let encoded = read.encode();
    let record = Record { kind: None, key: None, value: Some(&encoded), timestamp: Some(NOW), headers: &() };
    assert_eq!(Decoder::new(LIMIT).decode_session(&record), Ok(DecodedSession::Session(read)));
}

#[test]
fn sessions_are_refused_for_the_same_reasons_in_the_same_order() {
    let mut wrong = json!({"name": "x".repeat(40_000), "campaign_id": " "});
    for (reason, member, mended) in [
        (RefusalReason::EventIdMissing, "event_id", json!("e")),
        (RefusalReason::SourceMissing, "source", json!("s")),
        (RefusalReason::OccurredAtMissing, "updated_at", json!(0)),
        (RefusalReason::CampaignIdMissing, "campaign_id", json!(LEAD)),
        (RefusalReason::CampaignIdInvalid, "campaign_id", json!(CAMPAIGN)),
        (RefusalReason::TimeTooEarly, "updated_at", json!(NOW + DAY + 1)),
        (RefusalReason::TimeTooLate, "updated_at", json!(NOW)),
        (RefusalReason::TextTooLong, "name", json!("x")),
    ] {
        match session(None, Some(&wrong)) {
            DecodedSession::Refused(refusal) => assert_eq!(refusal.reason, reason),
            other => panic!("{reason:?}: {other:?}"),
        }
        wrong[member] = mended;
    }
    assert!(matches!(session(None, Some(&wrong)), DecodedSession::Session(_)));
}

#[test]
fn a_session_without_value_is_a_tombstone_of_its_key() {
    let key = |key: &str| match session(Some(key.as_bytes()), None) {
        DecodedSession::Tombstone(key) => Ok(key.to_text()),
        DecodedSession::Refused(refusal) => Err(refusal.reason),
        DecodedSession::Session(session) => panic!("{session:?}"),
    };
    assert_eq!(key("70103000000cnFX_1_entry"), Ok(format!("{CAMPAIGN}_1_entry")));
    assert_eq!(key(CAMPAIGN), Ok(CAMPAIGN.to_owned()));
    assert_eq!(key("x_1_entry"), Err(RefusalReason::CampaignIdInvalid));
    assert_eq!(key(""), Err(RefusalReason::CampaignIdMissing));
    assert!(matches!(session(Some(&[0xFF]), None), DecodedSession::Refused(_)));
    assert!(matches!(session(None, None), DecodedSession::Refused(_)));
}
