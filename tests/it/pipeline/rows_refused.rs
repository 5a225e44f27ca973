//! Rows that Salesforce does not take: a dead letter with its reason each, and every other row is written.

use rollbook::dead_letter::{DeadLetter, Stage};
use rollbook::emulator::{Fault, FaultAction, Person};
use rollbook::event::EventKind;
use rollbook::id::{MemberKey, SalesforceId};
use serde_json::{Value, json};

use super::payload::record;
use super::world::{WITHIN, World, metric};
use crate::harness;

const COLLECTIONS: &str = "/composite/sobjects/CampaignMember";

/// Codes by which Salesforce says that a row itself is at fault.
const CODES: [&str; 16] = [
    "APEX_ERROR",
    "CANNOT_UPDATE_CONVERTED_LEAD",
    "DUPLICATES_DETECTED",
    "DUPLICATE_EXTERNAL_ID",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "FIELD_INTEGRITY_EXCEPTION",
    "INACTIVE_OWNER_OR_USER",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    "INVALID_CROSS_REFERENCE_KEY",
    "INVALID_EMAIL_ADDRESS",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    "INVALID_TYPE_ON_FIELD_IN_RECORD",
    "MALFORMED_ID",
    "NUMBER_OUTSIDE_VALID_RANGE",
    "REQUIRED_FIELD_MISSING",
    "STRING_TOO_LONG",
];

/// The answer to a collection of one row.
fn row_refused(code: &str) -> FaultAction {
    // The message may hold what the row holds; it must not get any further.
    let error = json!({ "statusCode": code, "message": "bad value: secret@example.com", "fields": ["Email"] });
    let body = json!([{ "success": false, "errors": [error] }]);
    FaultAction::Answer { status: 200, body: body.to_string() }
}

#[track_caller]
fn letter_of<'l>(letters: &'l [DeadLetter], external_id: &str) -> &'l DeadLetter {
    let letter = letters.iter().find(|letter| letter.external_id.as_deref() == Some(external_id));
    letter.unwrap_or_else(|| panic!("no dead letter of {external_id} among {}", letters.len()))
}

#[test]
fn a_row_that_salesforce_refuses_is_a_dead_letter_with_its_code() {
    let world = World::new("codes");
    let rollbook = world.start("one").ready();
    let campaign = world.campaign("Launch");
    let registered = |member, event_id: &str| record(&world, EventKind::Registration, member, event_id, &json!({}));
    for (number, code) in CODES.iter().enumerate() {
        let member = MemberKey { campaign, person: world.lead(&format!("lead-{number}")) };
        world.org.add_fault(Fault::next(COLLECTIONS, row_refused(code)).method("PATCH"));
        harness::write(&world.client(), &[registered(member, "refused")]);
        let letters = world.dead_letters_become(number + 1);
        let letter = letter_of(&letters, &member.to_string());
        assert_eq!((letter.stage, letter.reason.as_str()), (Stage::Sink, *code));
        assert_eq!(letter.object.as_deref(), Some("CampaignMember"));
        assert_eq!(letter.fields, ["Email"], "{code}");
        assert!(!letter.detail.contains("secret@"), "{code}: {}", letter.detail);
    }
    // The next event of such a member tries again.
    let back = MemberKey { campaign, person: world.lead("back") };
    harness::write(&world.client(), &[registered(back, "accepted")]);
    world.settle();
    assert_eq!(world.rows().len(), 1);
    let metrics = rollbook.metrics();
    for code in CODES {
        let labels = ["stage=\"sink\"", &format!("reason=\"{code}\"")];
        assert_eq!(metric(&metrics, "rollbook_dead_letters_total", &labels), 1, "{code}");
    }
    assert!(!rollbook.process.log().contains("secret@"), "personal data in the log");
}

#[test]
fn a_campaign_or_lead_that_is_not_there_costs_only_its_own_rows() {
    let world = World::new("parents");
    let campaign = world.campaign("Launch");
    let lead = world.lead("lead");
    let nowhere = SalesforceId::parse("70103000000cnFXAAY").expect("a valid id");
    let nobody = SalesforceId::parse("00Q0300000AczgfEAB").expect("a valid id");
    let members = [
        MemberKey { campaign: nowhere, person: lead },
        MemberKey { campaign, person: nobody },
        MemberKey { campaign, person: lead },
    ];
    let claps = members.map(|member| record(&world, EventKind::Reaction, member, "clap", &json!({})));
    harness::write(&world.client(), &claps);
    let _rollbook = world.start("one").ready();
    world.settle();
    // The member and what depends on it: it can never have a parent.
    let letters = world.dead_letters_become(4);
    for (member, code) in members.iter().zip(["campaign_missing", "person_missing"]) {
        let engagement = format!("{member}_{}", super::payload::ENTRY);
        for (external_id, code) in [(member.to_string(), code), (engagement, "member_missing")] {
            let letter = letter_of(&letters, &external_id);
            assert_eq!(letter.reason, code, "{external_id}");
            assert!(!letter.hint.is_empty() && !letter.detail.is_empty(), "{external_id}: {letter:?}");
        }
    }
    assert_eq!(world.rows().len(), 2);
}

#[test]
fn a_lead_who_is_converted_between_two_events_keeps_the_rows() {
    let world = World::new("converted");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let person = Person { first_name: "Ann", last_name: "Example", email: "ann@example.com", company: None };
    let contact = world.org.with_org(|org| org.put_person(&person)).expect("a contact");
    let clap = |member, event_id: &str| record(&world, EventKind::Reaction, member, event_id, &json!({}));
    let _rollbook = world.start("one").ready();
    harness::write(&world.client(), &[clap(member, "before")]);
    world.settle();
    world.org.with_org(|org| org.convert_lead(member.person.as_str(), contact.as_str())).expect("both are there");
    // One campaign has the member, the other has to make it for the contact.
    let elsewhere = MemberKey { campaign: world.campaign("Next"), ..member };
    harness::write(&world.client(), &[clap(member, "after"), clap(elsewhere, "elsewhere")]);
    world.settle();
    assert!(world.dead_letters().is_empty(), "{:?}", world.dead_letters());
    let members = world.org.with_org(|org| org.dump("CampaignMember")).expect("an object");
    assert!(members.len() == 2 && members.iter().all(|member| member["ContactId"] == contact.as_str()), "{members:?}");
    let engagements = world.org.with_org(|org| org.dump("UserSessionEngagement__c")).expect("an object");
    let mut claps: Vec<_> =
        engagements.iter().map(|row| (&row["Lead__c"], row["clap_clicked_count__c"].as_f64())).collect();
    claps.sort_by(|(_, a), (_, b)| a.partial_cmp(b).expect("numbers"));
    assert_eq!(claps, [(&Value::Null, Some(1.0)), (&Value::Null, Some(2.0))]);
}

#[test]
fn a_row_that_cannot_be_written_costs_none_of_the_others() {
    let world = World::new("impossible");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let clap = |event_id: &str, changes: Value| record(&world, EventKind::Reaction, member, event_id, &changes);
    let records = [
        clap("fine", json!({})),
        clap("long id", json!({ "entry_id": "long".repeat(60) })),
        clap("large number", json!({ "entry_id": "1_large", "channel_id": 1_000_000_000_000_000_000_i64 })),
    ];
    harness::write(&world.client(), &records);
    let _rollbook = world.start("one").ready();
    world.settle();
    let letters = world.dead_letters_become(2);
    assert!(letters.iter().all(|letter| letter.object.as_deref() == Some("UserSessionEngagement__c")), "{letters:?}");
    harness::until("the member and the good row", WITHIN, || match world.rows().len() {
        2 => Ok(()),
        other => Err(format!("{other} rows")),
    });
    assert_eq!(world.dead_letters().len(), 2);
}
