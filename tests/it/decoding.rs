//! Every reason to refuse or ignore a record, the order among them, and what the formats mean alike.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, with what it saw"
)]

use rollbook::avro;
use rollbook::event::{
    Act, Decoded, Decoder, Event, EventKind, Headers, IgnoreReason, Reaction, Record, Refusal, RefusalReason,
    RegistrationAction, SchemaNeeded, VisitPhase,
};
use rollbook::upsert::RowRefusalReason;
use serde_json::{Value as Json, json};

use super::records::{CAMPAIGN, LEAD, NOW};

const LIMIT: usize = 1_000_000;
const DAY: i64 = 86_400_000;

fn decode_record(kind: Option<EventKind>, value: Option<Vec<u8>>, headers: &dyn Headers) -> Decoded<'static> {
    // The tests hold events for longer than the record that they borrow from.
    let value = value.map(|value| &*value.leak());
    let headers: Vec<(&str, Vec<u8>)> = ["ce_id", "ce_source", "content-type"]
        .into_iter()
        .filter_map(|name| Some((name, headers.get(name)?.to_vec())))
        .collect();
    let headers: &'static Vec<(&str, Vec<u8>)> = Box::leak(Box::new(headers));
    Decoder::new(LIMIT).decode(&Record { kind, key: None, value, timestamp: Some(NOW), headers }).unwrap()
}

fn decode(kind: EventKind, value: &Json) -> Decoded<'static> {
    decode_record(Some(kind), Some(value.to_string().into_bytes()), &())
}

fn event(kind: EventKind, changes: &Json) -> Event<'static> {
    match decode(kind, &with(kind, changes)) {
        Decoded::Event(event) => event,
        other => panic!("{changes} is no event: {other:?}"),
    }
}

fn refused(kind: EventKind, changes: &Json) -> RefusalReason {
    match decode(kind, &with(kind, changes)) {
        Decoded::Refused(refusal) => refusal.reason,
        other => panic!("{changes} is not refused: {other:?}"),
    }
}

fn ignored(kind: EventKind, changes: &Json) -> IgnoreReason {
    match decode(kind, &with(kind, changes)) {
        Decoded::Ignored(ignored) => ignored.reason,
        other => panic!("{changes} is not ignored: {other:?}"),
    }
}

/// A valid event of the kind, with these members changed.
fn with(kind: EventKind, changes: &Json) -> Json {
    let mut event = json!({
        "event_id": "e-1", "source": "test", "occurred_at": NOW, "campaign_id": CAMPAIGN, "lead_id": LEAD,
        "entry_id": "1_entry",
    });
    let members = event.as_object_mut().unwrap();
    let (name, value) = match kind {
        EventKind::Registration => ("action", "REGISTERED"),
        EventKind::Attendance => ("action", "JOIN"),
        EventKind::Poll => ("poll_id", "p-1"),
        EventKind::Reaction => ("reaction", "CLAP"),
        EventKind::View => ("mode", "LIVE"),
    };
    members.insert(name.to_owned(), value.into());
    members.extend(changes.as_object().unwrap().clone());
    event
}

fn reason_of(kind: Option<EventKind>, value: Option<&[u8]>) -> RefusalReason {
    match decode_record(kind, value.map(<[u8]>::to_vec), &()) {
        Decoded::Refused(refusal) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn each_refusal_of_a_value_has_its_reason() {
    let view = Some(EventKind::View);
    assert_eq!(reason_of(view, None), RefusalReason::NoValue);
    assert_eq!(reason_of(None, None), RefusalReason::NoValue);
    assert_eq!(reason_of(view, Some(b"")), RefusalReason::Undecodable);
    assert_eq!(reason_of(view, Some(&vec![b' '; LIMIT])), RefusalReason::ValueTooLarge);
    assert_eq!(reason_of(view, Some(&vec![b' '; LIMIT - 1])), RefusalReason::Undecodable);
    assert_eq!(reason_of(None, Some(b"{}")), RefusalReason::UnknownKind);
    assert_eq!(reason_of(view, Some(&[0, 0, 0])), RefusalReason::Undecodable);
    assert_eq!(reason_of(view, Some(&[0xC3, 1, 7])), RefusalReason::Undecodable);
    assert_eq!(reason_of(view, Some(&[0xC3, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0])), RefusalReason::UnknownSchema);
    assert_eq!(reason_of(view, Some(b"[]")), RefusalReason::Undecodable);
    assert_eq!(reason_of(view, Some(b"{} {}")), RefusalReason::Undecodable);
    assert_eq!(reason_of(view, Some(b"<view/>")), RefusalReason::Undecodable);
    assert_eq!(reason_of(view, Some(&avro::POLL.header)), RefusalReason::UnknownKind);
}

#[test]
fn a_schema_id_is_asked_for_once_and_one_that_nobody_has_is_refused() {
    let mut decoder = Decoder::new(LIMIT);
    let value = [&[0, 0, 0, 1, 2][..], &[0; 14]].concat();
    let record = Record { kind: Some(EventKind::Poll), key: None, value: Some(&value), timestamp: None, headers: &() };
    assert_eq!(decoder.decode(&record), Err(SchemaNeeded { id: 258 }));
    assert_eq!(decoder.decode_session(&record).unwrap_err(), SchemaNeeded { id: 258 });
    decoder.learn(258, Err(Refusal { reason: RefusalReason::UnknownSchema, detail: String::new() }));
    let reason = |decoded| match decoded {
        Ok(Decoded::Refused(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(decoder.decode(&record)), RefusalReason::UnknownSchema);
    decoder.learn(258, Ok(r#"{"type":"record","name":"Order","fields":[]}"#));
    assert_eq!(reason(decoder.decode(&record)), RefusalReason::UnknownKind);
    decoder.learn(258, Ok(avro::POLL.text));
    assert_eq!(reason(decoder.decode(&record)), RefusalReason::Undecodable);
}

#[test]
fn each_refusal_of_an_event_has_its_reason() {
    let view = |changes: Json| refused(EventKind::View, &changes);
    for blank in [json!(null), json!(""), json!(" \u{3000}\t")] {
        assert_eq!(view(json!({"event_id": blank})), RefusalReason::EventIdMissing);
        assert_eq!(view(json!({"source": blank})), RefusalReason::SourceMissing);
        assert_eq!(view(json!({"occurred_at": blank})), RefusalReason::OccurredAtMissing);
        assert_eq!(refused(EventKind::Poll, &json!({"poll_id": blank})), RefusalReason::PollIdMissing);
        assert_eq!(view(json!({"campaign_id": blank})), RefusalReason::CampaignIdMissing);
        assert_eq!(view(json!({"lead_id": blank})), RefusalReason::PersonIdMissing);
    }
    for campaign in
        ["00Q0300000AczgfEAB", "70103000000cnFXAAZ", "70103000000cnF", "70103000000cnF!", " 70103000000cnFX"]
    {
        assert_eq!(view(json!({"campaign_id": campaign})), RefusalReason::CampaignIdInvalid, "{campaign}");
    }
    for person in ["70103000000cnFXAAY", "00Q0300000Aczgfeab", "00503000000cnFX", "ＱＱＱ"] {
        assert_eq!(view(json!({"lead_id": person})), RefusalReason::PersonIdInvalid, "{person}");
    }
    assert_eq!(view(json!({"ended_at": NOW - 1})), RefusalReason::IntervalReversed);
    assert_eq!(view(json!({"started_at": NOW - DAY - 1, "ended_at": NOW})), RefusalReason::IntervalTooLong);
    assert_eq!(view(json!({"occurred_at": 946_684_799_999_i64})), RefusalReason::TimeTooEarly);
    assert_eq!(view(json!({"started_at": i64::MIN})), RefusalReason::TimeTooEarly);
    assert_eq!(view(json!({"occurred_at": NOW + DAY + 1})), RefusalReason::TimeTooLate);
    assert_eq!(view(json!({"occurred_at": i64::MAX})), RefusalReason::TimeTooLate);
    assert_eq!(view(json!({"started_at": NOW + DAY, "ended_at": NOW + DAY + 1})), RefusalReason::TimeTooLate);
    // Of two times that are wrong, the early one is said, wherever it stands.
    assert_eq!(view(json!({"occurred_at": NOW + DAY + 1, "started_at": 0})), RefusalReason::TimeTooEarly);
}

#[test]
fn the_bounds_themselves_are_accepted() {
    let view = |changes: Json| event(EventKind::View, &changes);
    view(json!({"ended_at": NOW}));
    view(json!({"started_at": NOW - DAY, "ended_at": NOW}));
    view(json!({"occurred_at": 946_684_800_000_i64}));
    view(json!({"occurred_at": NOW + DAY}));
    view(json!({"user": "x".repeat(32_768)}));
    // Only a view and a presence are intervals.
    event(EventKind::Attendance, &json!({"started_at": NOW, "ended_at": NOW - 1}));
    assert_eq!(
        refused(EventKind::Attendance, &json!({"action": "PRESENCE", "ended_at": NOW - 1})),
        RefusalReason::IntervalReversed
    );
}

#[test]
fn without_a_kafka_timestamp_times_have_no_upper_bound() {
    let value = with(EventKind::View, &json!({"occurred_at": i64::MAX})).to_string();
    let record =
        Record { kind: Some(EventKind::View), key: None, value: Some(value.as_bytes()), timestamp: None, headers: &() };
    assert!(matches!(Decoder::new(LIMIT).decode(&record), Ok(Decoded::Event(_))));
}

#[test]
fn a_text_over_the_limit_is_refused_wherever_it_stands() {
    let long = "é".repeat(16_385);
    for changes in [
        json!({"event_id": long}),
        json!({"user": long}),
        json!({"customer_id": long}),
        json!({"question": long}),
        json!({"answer": long}),
        json!({"answer": ["a", long]}),
        json!({"answer": ["é".repeat(9_000), "é".repeat(9_000)]}),
        json!({"fields": {"a": long}}),
        json!({"fields": {(long.clone()): "a"}}),
    ] {
        assert_eq!(refused(EventKind::Poll, &changes), RefusalReason::TextTooLong);
    }
    // A member that the schema does not have is no text field.
    event(EventKind::Poll, &json!({"remark": long}));
}

/// One record that is wrong in every way; mending the named one brings the next to light.
#[test]
fn refusals_are_judged_in_their_order() {
    let mut wrong = json!({
        "poll_id": " ", "user": "x".repeat(40_000), "started_at": i64::MIN, "ended_at": i64::MAX,
        "campaign_id": "", "lead_id": "",
    });
    let mends = [
        (RefusalReason::EventIdMissing, "event_id", json!("e")),
        (RefusalReason::SourceMissing, "source", json!("s")),
        (RefusalReason::OccurredAtMissing, "occurred_at", json!(NOW)),
        (RefusalReason::CampaignIdMissing, "campaign_id", json!("x")),
        (RefusalReason::CampaignIdInvalid, "campaign_id", json!(CAMPAIGN)),
        (RefusalReason::PersonIdMissing, "lead_id", json!("x")),
        (RefusalReason::PersonIdInvalid, "lead_id", json!(LEAD)),
        (RefusalReason::IntervalTooLong, "ended_at", json!(i64::MIN + 1)),
        (RefusalReason::TimeTooEarly, "started_at", json!(NOW)),
        (RefusalReason::IntervalReversed, "ended_at", json!(NOW + DAY)),
        (RefusalReason::TextTooLong, "user", json!("x")),
    ];
    for (reason, member, mended) in mends {
        match decode(EventKind::View, &wrong) {
            Decoded::Refused(refusal) => assert_eq!(refusal.reason, reason),
            other => panic!("{reason:?}: {other:?}"),
        }
        wrong[member] = mended;
    }
    let Decoded::Ignored(last) = decode(EventKind::View, &wrong) else { panic!("refused comes before ignored") };
    assert_eq!(last.reason, IgnoreReason::UnknownSymbol);
    let order = RefusalReason::ALL;
    assert!(order.is_sorted(), "the list stands in the order of judging");
    assert_eq!(refused(EventKind::Poll, &json!({"poll_id": "", "campaign_id": ""})), RefusalReason::PollIdMissing);
}

#[test]
fn each_reason_to_ignore_is_told() {
    let none = json!({"entry_id": " "});
    for kind in [EventKind::Attendance, EventKind::Poll, EventKind::Reaction, EventKind::View] {
        assert_eq!(ignored(kind, &none), IgnoreReason::NoEntry);
    }
    for action in ["LEAVE", "PRESENCE", "MIC_ON", "MIC_OFF", "CAM_ON", "CAM_OFF"] {
        assert_eq!(ignored(EventKind::Attendance, &json!({"action": action, "entry_id": null})), IgnoreReason::NoEntry);
    }
    assert!(event(EventKind::Registration, &none).entry_id.is_none());
    assert!(event(EventKind::Attendance, &json!({"action": "VISIT", "entry_id": null})).entry_id.is_none());

    let unknown = |kind, changes| assert_eq!(ignored(kind, &changes), IgnoreReason::UnknownSymbol);
    unknown(EventKind::Registration, json!({"action": "TELEPORTED"}));
    unknown(EventKind::Attendance, json!({"action": null}));
    unknown(EventKind::Attendance, json!({"action": "VISIT", "phase": "AFTER"}));
    unknown(EventKind::Reaction, json!({"reaction": "UNKNOWN"}));
    unknown(EventKind::View, json!({"mode": "HOLOGRAM"}));
    assert_eq!(ignored(EventKind::Reaction, &json!({"reaction": "LOWER_HAND"})), IgnoreReason::LoweredHand);
    assert_eq!(ignored(EventKind::View, &json!({"mode": "DOCUMENT"})), IgnoreReason::DocumentView);
    // What the event is comes before what it lacks.
    unknown(EventKind::View, json!({"mode": "HOLOGRAM", "entry_id": null}));
    let lowered = json!({"reaction": "LOWER_HAND", "entry_id": null});
    assert_eq!(ignored(EventKind::Reaction, &lowered), IgnoreReason::LoweredHand);
}

#[test]
fn an_ignored_record_tells_field_symbol_and_the_nearest_one() {
    let told = |kind, changes: Json| match decode(kind, &with(kind, &changes)) {
        Decoded::Ignored(ignored) => ignored.detail(),
        other => panic!("{other:?}"),
    };
    let registration = |action: &str| told(EventKind::Registration, json!({"action": action}));
    assert_eq!(registration("REGISTERD"), "`action` is `REGISTERD`, which is not known; the nearest is `REGISTERED`");
    assert_eq!(registration(" "), "`action` is absent or blank");
    assert_eq!(registration("ann@example.org"), "`action` holds what is no symbol");
    assert_eq!(registration("TELEPORTED"), "`action` is `TELEPORTED`, which is not known");
    let visit = json!({"action": "visit", "phase": "PREEVENT"});
    let nearest = "`phase` is `PREEVENT`, which is not known; the nearest is `PRE_EVENT`";
    assert_eq!(told(EventKind::Attendance, visit), nearest);
    assert_eq!(
        told(EventKind::View, json!({"mode": "LIFE", "entry_id": null})),
        "`mode` is `LIFE`, which is not known; the nearest is `LIVE`"
    );
    assert_eq!(told(EventKind::Poll, json!({"entry_id": " "})), "`entry_id` is absent or blank");
    assert_eq!(told(EventKind::Reaction, json!({"reaction": "lower_hand"})), "`reaction` is `LOWER_HAND`");
}

#[test]
fn an_event_carries_what_was_sent() {
    let changes = json!({
        "event_id": " e ", "source": " s ", "campaign_id": "70103000000cnFX", "lead_id": "0030300000Aczgf",
        "entry_id": "\u{3000}1_entry ", "entry_name": " Opening ", "channel_id": "42", "channel_name": " ",
        "email": " jane@example.org ", "user": "u\u{e9}", "mode": "on_demand", "play_id": " p ", "started_at": NOW - 10,
        "ended_at": NOW, "playhead_start_ms": 5, "playhead_end_ms": 3, "in_focus": true, "sound_on": null, "extra": [{}],
    });
    let seen = event(EventKind::View, &changes);
    assert_eq!((seen.event_id.as_ref(), seen.source.as_ref()), (" e ", " s "));
    assert_eq!(seen.member.to_string(), format!("{CAMPAIGN}_{}", seen.member.person));
    assert!(!seen.member.person_is_lead());
    assert_eq!((seen.entry_id.as_deref(), seen.entry_name.as_deref()), (Some("1_entry"), Some("Opening")));
    assert_eq!((seen.channel_id, seen.channel_name), (Some(42), None));
    assert_eq!((seen.email.as_deref(), seen.user.as_deref()), (Some("jane@example.org"), Some("u\u{e9}")));
    let Act::View(view) = seen.act else { panic!("{:?}", seen.act) };
    assert_eq!((view.live, view.play_id.as_deref()), (false, Some("p")));
    assert_eq!((view.start, view.end, view.playhead), (NOW - 10, Some(NOW), Some((5, 3))));
    assert_eq!((view.in_focus, view.full_screen, view.sound_on), (true, false, false));
}

#[test]
fn an_email_that_is_none_is_no_value() {
    let email = |email: &str| event(EventKind::Registration, &json!({"email": email})).email;
    let eighty = format!("{}@{}", "a".repeat(39), "b".repeat(40));
    assert_eq!(email(&eighty).as_deref(), Some(eighty.as_str()));
    assert_eq!(email(&format!(" {eighty} ")).as_deref(), Some(eighty.as_str()));
    // 80 UTF-16 units, 118 bytes.
    assert!(email(&format!("{}@{}", "é".repeat(39), "b".repeat(40))).is_some());
    for none in [&format!("{eighty}b"), "", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\u{3000}c", "@"] {
        assert_eq!(email(none), None, "{none}");
    }
}

#[test]
fn poll_answers_are_joined_and_an_empty_one_withdraws() {
    let answer = |answer: Json| match event(EventKind::Poll, &json!({"answer": answer, "position": "7"})).act {
        Act::Poll(poll) => {
            assert_eq!((poll.poll_id.as_ref(), poll.position), ("p-1", Some(7)));
            poll.answer.into_owned()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(answer(json!(" yes ")), "yes");
    assert_eq!(answer(json!([" red", "", " \t", "blue ", " green\u{a0}"])), "red; blue; green");
    for withdrawn in [json!(null), json!(""), json!("  "), json!([]), json!(["", " "])] {
        assert_eq!(answer(withdrawn), "");
    }
}

#[test]
fn symbols_become_acts() {
    let registration = |action: &str| event(EventKind::Registration, &json!({"action": action})).act;
    for invited in ["INVITED", "invited_to_register"] {
        assert_eq!(registration(invited), Act::Registration(RegistrationAction::Invited));
    }
    let visit = |phase: Json| event(EventKind::Attendance, &json!({"action": "VISIT", "phase": phase})).act;
    assert_eq!(visit(json!(null)), Act::Visit { phase: None });
    assert_eq!(visit(json!("pre_event")), Act::Visit { phase: Some(VisitPhase::PreEvent) });
    assert_eq!(visit(json!("DURING")), Act::Visit { phase: Some(VisitPhase::During) });
    let presence = event(EventKind::Attendance, &json!({"action": "PRESENCE", "connection_id": " "})).act;
    assert_eq!(presence, Act::Presence { connection: None, start: NOW, end: None });
    let message = event(EventKind::Reaction, &json!({"reaction": "MESSAGE", "message_id": "m"})).act;
    assert_eq!(message, Act::Reaction(Reaction::Message { message_id: Some("m".into()) }));
}

/// A symbol that is added to a schema and forgotten in the code would be ignored in silence, and one that is not in the
/// document would not be sent.
#[test]
fn every_symbol_of_the_schemas_is_known() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/producing.md");
    let document = std::fs::read_to_string(path).unwrap();
    for (kind, field) in [
        (EventKind::Registration, "action"),
        (EventKind::Attendance, "action"),
        (EventKind::Reaction, "reaction"),
        (EventKind::View, "mode"),
    ] {
        let schema = avro::embedded().into_iter().find(|schema| schema.name == kind.name()).unwrap();
        let json: Json = serde_json::from_str(schema.text).unwrap();
        let fields = json["fields"].as_array().unwrap();
        let symbols = &fields.iter().find(|candidate| candidate["name"] == field).unwrap()["type"]["symbols"];
        for symbol in symbols.as_array().unwrap() {
            let decoded = decode(kind, &with(kind, &json!({field: symbol})));
            let unknown = matches!(decoded, Decoded::Ignored(it) if it.reason == IgnoreReason::UnknownSymbol);
            assert_eq!(unknown, symbol == "UNKNOWN", "{kind:?} {symbol}");
            let named = format!("`{}`", symbol.as_str().unwrap());
            assert!(document.contains(&named), "docs/producing.md lacks {named} of a {kind:?}");
        }
    }
}

#[test]
fn times_of_json_are_cut_towards_the_past() {
    let at = |time: Json| event(EventKind::Reaction, &json!({"occurred_at": time})).occurred_at;
    assert_eq!(at(json!(NOW)), NOW);
    assert_eq!(at(json!("2026-01-01T00:00:00Z")), NOW);
    assert_eq!(at(json!(" 2026-01-01T09:00:00.000999999999+09:00 ")), NOW);
    assert_eq!(at(json!("2025-12-31t23:59:59.9999999Z")), NOW - 1);
    assert_eq!(at(json!("2026-01-01T00:00:00.1Z")), NOW + 100);
    assert_eq!(at(json!(format!(" {NOW} "))), NOW);
    assert_eq!(at(json!(1_767_225_600_000.75)), NOW);
    for utc in ["2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00+00:00", "2026-01-01 00:00:00z"] {
        assert_eq!(at(json!(utc)), NOW, "{utc}");
    }
    let early =
        |time: &str| match decode(EventKind::Reaction, &with(EventKind::Reaction, &json!({"occurred_at": time}))) {
            Decoded::Refused(refusal) => refusal.detail,
            other => panic!("{other:?}"),
        };
    assert!(early("1969-12-31T23:59:59.9999Z").contains("` -1 is"), "{}", early("1969-12-31T23:59:59.9999Z"));
    for no_time in
        [json!("yesterday"), json!("2026-01-01T00:00:00"), json!("2026-13-01T00:00:00Z"), json!(true), json!([])]
    {
        assert_eq!(refused(EventKind::Reaction, &json!({"occurred_at": no_time})), RefusalReason::Undecodable);
    }
}

#[test]
fn wrong_types_and_other_kinds_are_refused() {
    for changes in [
        json!({"event_id": 1}),
        json!({"channel_id": "twelve"}),
        json!({"channel_id": 1.5}),
        json!({"channel_id": 9_223_372_036_854_775_808_u64}),
        json!({"in_focus": "yes"}),
        json!({"mode": 2}),
        json!({"fields": ["a"]}),
        json!({"fields": {"a": 1}}),
        json!({"user": ["a"]}),
        json!({"kind": 5}),
    ] {
        assert_eq!(refused(EventKind::View, &changes), RefusalReason::Undecodable, "{changes}");
    }
    assert_eq!(refused(EventKind::View, &json!({"kind": "poll"})), RefusalReason::UnknownKind);
    assert_eq!(refused(EventKind::View, &json!({"kind": "session"})), RefusalReason::UnknownKind);
    event(EventKind::View, &json!({"kind": "VIEW", "fields": null}));
}

#[test]
fn details_hold_no_personal_value() {
    let secret = "jane.doe@example.org";
    let bad = [
        format!(r#"{{"event_id": ["{secret}"]}}"#),
        format!(r#"{{"occurred_at": "{secret}"}}"#),
        format!(r#"{{"channel_id": "{secret}"}}"#),
        format!(r#"{{"fields": {{"a": {{"{secret}": 1}}}}}}"#),
        format!(r#"{{"{secret}": }}"#),
        with(EventKind::View, &json!({"lead_id": secret})).to_string(),
        with(EventKind::View, &json!({"campaign_id": secret})).to_string(),
    ];
    for value in bad {
        match decode_record(Some(EventKind::View), Some(value.clone().into_bytes()), &()) {
            Decoded::Refused(refusal) => assert!(!refusal.to_string().contains("jane"), "{refusal}"),
            other => panic!("{value}: {other:?}"),
        }
    }
}

#[test]
fn cloudevents_headers_fill_what_the_payload_lacks_and_replace_nothing() {
    let headers = vec![("CE_id", "from-header"), ("ce_source", "header")];
    let identity = |changes: Json| {
        let value = with(EventKind::View, &changes).to_string().into_bytes();
        match decode_record(Some(EventKind::View), Some(value), &headers) {
            Decoded::Event(event) => (event.event_id.into_owned(), event.source.into_owned()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(identity(json!({})), ("e-1".to_owned(), "test".to_owned()));
    assert_eq!(identity(json!({"event_id": " "})), ("from-header".to_owned(), "test".to_owned()));
    assert_eq!(identity(json!({"source": null})), ("e-1".to_owned(), "header".to_owned()));
}

#[test]
fn a_structured_cloudevent_is_its_data_with_its_id_and_source() {
    let headers = vec![("content-type", "application/cloudevents+json; charset=utf-8"), ("ce_id", "header")];
    let structured =
        |envelope: &Json| decode_record(Some(EventKind::View), Some(envelope.to_string().into_bytes()), &headers);
    let data = with(EventKind::View, &json!({"event_id": null, "source": "own"}));
    let Decoded::Event(event) = structured(&json!({"specversion": "1.0", "id": "c-1", "source": "s", "data": data}))
    else {
        panic!("an event");
    };
    assert_eq!((event.event_id.as_ref(), event.source.as_ref()), ("c-1", "own"));
    for envelope in [json!({"id": "c-1"}), json!({"data": null}), json!({"data": "x"}), json!({"id": 1, "data": data})]
    {
        assert!(
            matches!(structured(&envelope), Decoded::Refused(refusal) if refusal.reason == RefusalReason::Undecodable)
        );
    }
}

#[test]
fn every_code_stands_in_the_list_of_reason_codes() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reason-codes.md");
    let text = std::fs::read_to_string(path).unwrap();
    let of_records =
        RefusalReason::ALL.map(RefusalReason::code).into_iter().chain(IgnoreReason::ALL.map(IgnoreReason::code));
    for code in of_records.chain(RowRefusalReason::ALL.map(RowRefusalReason::code)) {
        assert!(text.contains(&format!("| `{code}` |")), "docs/reason-codes.md lacks {code}");
    }
}
