//! Rows that are sent again by a person: whichever letter is named, the org gets the newest version or nothing.

use rollbook::emulator::{Fault, FaultAction};
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use serde_json::{Value, json};

use super::payload::record;
use super::world::World;
use crate::harness::{self, Record};

const MEMBERS: &str = "/composite/sobjects/CampaignMember";
const REFUSAL: &str = "REQUIRED_FIELD_MISSING";

/// The next save is refused.
fn refuse_next(world: &World) {
    let error = json!({ "statusCode": REFUSAL, "message": "missing", "fields": [] });
    let body = json!([{ "success": false, "errors": [error] }]).to_string();
    world.org.add_fault(Fault::next(MEMBERS, FaultAction::Answer { status: 200, body }).method("PATCH"));
}

/// Has the next version of the member's row derived, and refused.
#[track_caller]
fn refused(world: &World, member: MemberKey, action: &str) {
    refuse_next(world);
    let letters = world.dead_letters().len();
    registered(world, member, action);
    assert_eq!(world.dead_letters().len(), letters + 1, "{action} is refused");
}

/// Has the next version of the member's row derived and settled.
#[track_caller]
fn registered(world: &World, member: MemberKey, action: &str) {
    let event = record(world, EventKind::Registration, member, action, &json!({ "action": action, "entry_id": null }));
    harness::write(&world.client(), &[event]);
    world.settle();
}

/// Where the versions of the member's row stand on the upserts, oldest first, as sources of letters.
fn sources(world: &World, member: MemberKey) -> Vec<String> {
    let topic = &world.names.topics.upserts;
    let versions = upserts(world, member);
    versions.iter().map(|it| format!("{topic}/{}/{}", it.partition.unwrap(), it.offset.unwrap())).collect()
}

fn upserts(world: &World, member: MemberKey) -> Vec<Record> {
    let key = member.to_string();
    let all = harness::read(&world.client(), &world.names.topics.upserts);
    all.into_iter().filter(|it| String::from_utf8_lossy(it.key.as_deref().unwrap()).ends_with(&key)).collect()
}

#[track_caller]
fn redrive(world: &World, positions: &[String]) -> (i32, Value) {
    let positions: Vec<&str> = positions.iter().map(String::as_str).collect();
    let (code, stdout, stderr) = world.tool(&[&["dead-letters", "redrive", "--json"], positions.as_slice()].concat());
    (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}

#[track_caller]
fn status(world: &World, member: MemberKey) -> Option<String> {
    let rows = world.rows();
    let row = rows.get(&("CampaignMember".to_owned(), member.to_string()))?;
    Some(row["Status"].as_str().expect("a text").to_owned())
}

#[test]
fn of_a_row_that_was_refused_in_two_versions_a_redrive_sends_the_newer() {
    let world = World::new("redrive");
    let campaign = world.campaign("Launch");
    let _rollbook = world.start("one").ready();
    for letters in [0..1, 0..2, 1..2] {
        let member = MemberKey { campaign, person: world.lead(&format!("lead-{letters:?}")) };
        refused(&world, member, "REGISTERED");
        refused(&world, member, "CONFIRMED");
        let sources = sources(&world, member);
        assert_eq!((sources.len(), status(&world, member)), (2, None), "two versions, none of them written");

        let saves = world.saves();
        let (code, report) = redrive(&world, &sources[letters.clone()]);
        world.settle();
        let superseded = report["superseded"].as_array().expect("a list");
        assert_eq!((code, &report["sent"], &report["left"]), (0, &json!(1), &json!([])), "{letters:?}");
        assert_eq!(superseded.len(), usize::from(letters.contains(&0)), "{letters:?}: {report}");
        assert_eq!(status(&world, member).as_deref(), Some("Confirmed"), "{letters:?}");
        // One call, so it cannot have had the older version in it.
        assert_eq!((upserts(&world, member).len(), world.saves()), (3, saves + 1), "{letters:?}");
    }
}

#[test]
fn of_a_row_that_was_delivered_in_a_newer_version_nothing_is_sent() {
    let world = World::new("redrive-delivered");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let _rollbook = world.start("one").ready();
    refused(&world, member, "REGISTERED");
    registered(&world, member, "CONFIRMED");
    let sources = sources(&world, member);
    let saves = world.saves();
    let (code, report) = redrive(&world, &sources[..1]);
    world.settle();
    let why = report["left"][0]["why"].as_str().expect("a reason");
    assert!(code == 3 && why.contains("newer version") && why.contains("delivered"), "{code}: {report}");
    assert_eq!((upserts(&world, member).len(), world.saves()), (2, saves));
    assert_eq!(status(&world, member).as_deref(), Some("Confirmed"));
}

#[test]
fn a_row_that_is_refused_again_is_sent_once_however_many_letters_it_has() {
    let world = World::new("redrive-again");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let _rollbook = world.start("one").ready();
    refused(&world, member, "REGISTERED");
    let first = sources(&world, member);
    // The same version, by redrive, and refused once more: it has two letters.
    refuse_next(&world);
    assert_eq!(redrive(&world, &first).1["sent"], 1);
    world.settle();
    assert_eq!(world.dead_letters().len(), 2);

    let saves = world.saves();
    let (code, report) = redrive(&world, &first);
    world.settle();
    assert_eq!((code, &report["sent"]), (0, &json!(1)), "the old letter stands for the new one: {report}");
    assert_eq!((status(&world, member).as_deref(), world.saves()), (Some("Registered"), saves + 1));
    let (code, report) = redrive(&world, &first);
    assert_eq!((code, &report["sent"]), (3, &json!(0)), "it was delivered: {report}");
}
