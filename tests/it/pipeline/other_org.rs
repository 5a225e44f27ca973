//! What people ask about the org, by the commands for it: which one rows go to, and what it did not take of them.

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Options, Person};
use rollbook::event::EventKind;
use rollbook::id::{MemberKey, SalesforceId};
use serde_json::{Value, json};

use super::payload::record;
use super::positions::stop;
use super::world::{Connection, WITHIN, World, metric};
use crate::harness;

const ONE: &str = "00D000000000001EAA";
const TWO: &str = "00D000000000002EAA";

fn options(org: &str) -> Options {
    let mut options = Options::new(Schema::load_embedded());
    options.org_id = SalesforceId::parse(org);
    options.credentials.client_secret = "same".into();
    options
}

fn members_in(org: &Emulator) -> usize {
    org.with_org(|org| org.dump("CampaignMember")).expect("the org has the object").len()
}

fn engagements_in(org: &Emulator) -> usize {
    org.with_org(|org| org.dump("UserSessionEngagement__c")).expect("the org has the object").len()
}

/// What the command says as JSON, and its exit code.
fn asked(world: &World, arguments: &[&str]) -> (i32, Value) {
    let (code, stdout, stderr) = world.tool(&[arguments, &["--json"]].concat());
    (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}

#[test]
fn another_org_holds_the_sink_and_not_the_fold_until_org_accept_and_list_tells_what_was_left_out() {
    let kafka = Connection { bootstrap: harness::kafka().bootstrap().to_owned(), properties: Vec::new() };
    let world = World::on("other-org", kafka, "", options(ONE));
    let two = harness::http::block_on(Emulator::start(options(TWO))).expect("loopback has a free port");
    let campaign = world.campaign("Launch");
    let there = two.with_org(|org| org.put_campaign("Launch")).expect("the org takes a campaign");
    let members = ["first", "second"].map(|name| MemberKey { campaign, person: world.lead(name) });
    let same = ["first", "second"].map(|name| {
        let person = Person { first_name: "Test", last_name: name, email: "a@example.com", company: Some("Example") };
        let person = two.with_org(|org| org.put_person(&person)).expect("the org takes a person");
        MemberKey { campaign: there, person }
    });
    assert_eq!(members, same, "what is remembered of one would be taken for the other");
    let view = json!({ "email": "ann@example,org" });
    harness::write(&world.client(), &[record(&world, EventKind::View, members[0], "view", &view)]);
    let rollbook = world.start("one").ready();
    world.settle();
    assert!(!rollbook.process.log().contains("waiting for Salesforce"), "a first login is no outage");

    let (code, left_out) = asked(&world, &["dead-letters", "list", "--left-out"]);
    let expected = ["UserSessionEngagement__c", "email__c", "INVALID_EMAIL_ADDRESS"];
    assert_eq!(["object", "field", "code"].map(|name| left_out[0][name].as_str().unwrap_or_default()), expected);
    assert_eq!((code, left_out.as_array().map(Vec::len), &left_out[0]["count"]), (0, Some(1), &json!(1)));
    let (_, each) = asked(&world, &["dead-letters", "list", "--left-out", "--each"]);
    assert!(each[0]["external_id"].as_str().is_some_and(|id| id.starts_with(&members[0].to_string())), "{each}");
    let (code, text, _) = world.tool(&["dead-letters", "list", "--left-out"]);
    assert!(code == 0 && text.contains("hint: mend the address"), "{text}");

    assert_eq!(asked(&world, &["org", "show"]), (0, json!({ "recorded": ONE, "found": ONE, "accepted": false })));
    world.salesforce.lead_to(two.address());
    let registered = json!({ "entry_id": null });
    harness::write(&world.client(), &[record(&world, EventKind::Registration, members[1], "later", &registered)]);
    harness::until("the sink to be held", WITHIN, || {
        let held = metric(&rollbook.metrics(), "rollbook_sink_waiting", &["reason=\"org_changed\""]);
        if held == 1 { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
    // The fold goes on: the event is folded and committed, its row waits on the topic.
    world.folded();
    let key = format!("CampaignMember/{}", members[1]);
    let upserts = harness::read(&world.client(), &world.names.topics.upserts);
    assert!(upserts.iter().any(|upsert| upsert.key.as_deref() == Some(key.as_bytes())), "it is derived");
    assert_eq!(metric(&rollbook.metrics(), "rollbook_sink_waiting", &["reason=\"org_changed\""]), 1);
    assert_eq!((members_in(&world.org), members_in(&two)), (1, 0));
    assert_eq!(asked(&world, &["org", "show"]), (3, json!({ "recorded": ONE, "found": TWO, "accepted": false })));

    assert_eq!(asked(&world, &["org", "accept"]), (0, json!({ "recorded": ONE, "found": TWO, "accepted": true })));
    world.settle();
    assert_eq!((members_in(&world.org), members_in(&two)), (1, 1));
    let (code, text, _) = world.tool(&["org", "show"]);
    assert!(code == 0 && text.contains(&format!("recorded  {TWO}")), "{text}");

    // As the runbook says it (RollbookOrgChanged): what has not changed since is not there, until all rows are read again.
    let clap = record(&world, EventKind::Reaction, members[0], "clap", &json!({}));
    harness::write(&world.client(), &[clap]);
    world.settle();
    let (_, letters) = asked(&world, &["dead-letters", "list", "--stage", "sink"]);
    assert_eq!((letters[0]["reason"].clone(), engagements_in(&two)), (json!("member_missing"), 0), "{letters}");
    stop(rollbook);
    harness::delete_group(&world.client(), &format!("{}-sink", world.names.prefix));
    let rollbook = world.start("one").ready();
    world.settle();
    assert_eq!((members_in(&two), engagements_in(&two)), (2, 1), "{}", rollbook.process.log_tail());
}
