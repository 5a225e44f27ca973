//! Rows of which the org does not take every value.

use serde_json::{Map, Value as Json};

use super::tests::*;
use super::*;
use crate::disposition::Disposition;
use crate::outcome::LeftOut;
use crate::upsert::{Lane, Object, Row, Upsert, Value};

const EMAIL: &str = "INVALID_EMAIL_ADDRESS";

fn engagement(email: &str, claps: i64) -> Upsert {
    let text = |text: &str| Value::Text(text.to_owned());
    let fields =
        vec![("email__c", text(email)), ("user__c", text("Ann")), ("clap_clicked_count__c", Value::Integer(claps))];
    let row = Row { object: Object::ENGAGEMENT, external_id: format!("{}_1_a", member(1, 1)), fields };
    Upsert { row, member: member(1, 1), event_at: 0, lane: Lane::Live }
}

fn refuses(code: &'static str, fields: &[&str]) -> RowResult {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    let disposition = Disposition::DeadLetter { reason: code };
    RowResult::Refused(Failure { disposition, code: code.to_owned(), fields })
}

/// Answers every call until none is left, each row as `judge` says. The settled outcomes.
fn run(outbox: &mut Outbox, mut judge: impl FnMut(&Map<String, Json>) -> RowResult) -> Vec<Settled> {
    let mut settled = Vec::new();
    for at in 0..100 {
        while let Some(request) = prepare(outbox, at * 1_000) {
            let answer = answer_rows(&request, &mut judge);
            outbox.complete(request.id, answer, at * 1_000);
        }
        for effect in outbox.take_effects() {
            if let Effect::Settled(one) = effect {
                settled.push(*one);
            }
        }
    }
    assert_eq!(outbox.in_flight(), 0);
    settled
}

fn with_member() -> Outbox {
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, member(1, 1), 1)]);
    assert_eq!(run(&mut outbox, |_| saved(1, true)).len(), 1);
    outbox
}

fn left_out(settled: &Settled) -> Vec<LeftOut> {
    settled.outcome.as_ref().map(|outcome| outcome.left_out.clone()).unwrap_or_default()
}

#[test]
fn a_refused_address_costs_the_row_nothing_but_itself_until_it_changes() {
    let mut outbox = with_member();
    let mut sent = 0;
    let mut judge = |row: &Map<String, Json>| {
        sent += 1;
        let bad = row.get("email__c").and_then(Json::as_str).is_some_and(|email| email.contains(','));
        if bad { refuses(EMAIL, &["Email__c"]) } else { saved(2, false) }
    };
    outbox.push(source(0, 1, &engagement("ann@example,org", 7)), 0);
    let settled = run(&mut outbox, &mut judge);
    let email = LeftOut { field: "email__c".to_owned(), code: EMAIL.to_owned() };
    assert_eq!((settled.len(), left_out(&settled[0])), (1, vec![email.clone()]));
    assert_eq!(settled[0].outcome.as_ref().unwrap().kind, OutcomeKind::Updated);
    assert!(settled[0].dead_letter.is_none());

    // The same address again is not tried again; another one is.
    outbox.push(source(0, 2, &engagement("ann@example,org", 8)), 0);
    assert_eq!(left_out(&run(&mut outbox, &mut judge)[0]), [email]);
    outbox.push(source(0, 3, &engagement("ann@example.org", 8)), 0);
    assert_eq!(left_out(&run(&mut outbox, &mut judge)[0]), []);
    assert_eq!(sent, 4, "refused once");
}

#[test]
fn every_value_that_is_refused_is_left_out_one_after_the_other() {
    let mut outbox = with_member();
    outbox.push(source(0, 1, &engagement("a@b,c", 7)), 0);
    let settled = run(&mut outbox, |row| {
        let refused = [
            ("email__c", EMAIL),
            ("user__c", "STRING_TOO_LONG"),
            ("clap_clicked_count__c", "NUMBER_OUTSIDE_VALID_RANGE"),
        ];
        let found = refused.into_iter().find(|(field, _)| row.contains_key(*field));
        found.map_or_else(|| saved(2, false), |(field, code)| refuses(code, &[field]))
    });
    let fields: Vec<String> = left_out(&settled[0]).into_iter().map(|left_out| left_out.field).collect();
    assert_eq!(fields, ["email__c", "user__c", "clap_clicked_count__c"]);
}

#[test]
fn what_a_row_cannot_go_without_is_a_dead_letter_as_before() {
    let cases: [(&str, &[&str]); 4] = [
        // Names no field; names one that it cannot go without; is no refusal of a value.
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", &[]),
        ("STRING_TOO_LONG", &["entry_id__c"]),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", &["email__c", "entry_id__c"]),
        ("DUPLICATES_DETECTED", &["email__c"]),
    ];
    for (code, fields) in cases {
        let mut outbox = with_member();
        outbox.push(source(0, 1, &engagement("a@b.c", 7)), 0);
        let settled = run(&mut outbox, |_| refuses(code, fields));
        assert!(settled.len() == 1 && settled[0].dead_letter.is_some(), "{code} {fields:?}");
    }
}

#[test]
fn a_row_that_is_refused_for_a_field_that_it_does_not_say_ends() {
    let mut outbox = with_member();
    outbox.push(source(0, 1, &engagement("a@b.c", 7)), 0);
    let mut sent = 0;
    let settled = run(&mut outbox, |_| {
        sent += 1;
        refuses("FIELD_CUSTOM_VALIDATION_EXCEPTION", &["email__c"])
    });
    assert!(settled[0].dead_letter.is_some(), "an address is wanted, and this one is not");
    assert_eq!(sent, 2);
}
