//! The K rows, end to end: statuses, keys, both custom objects, and what is set up without anybody's doing.

use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use serde_json::{Value, json};

use super::payload::{ENTRY, MINUTE, NINE, record};
use super::world::{WITHIN, World};
use crate::harness::{self, Record};

/// Each status with the events that lead to it.
fn ways(world: &World, member: MemberKey, status: &str) -> Vec<Record> {
    let registration = |action: &str| {
        record(world, EventKind::Registration, member, action, &json!({ "action": action, "entry_id": null }))
    };
    let visit = |phase: &str| {
        record(world, EventKind::Attendance, member, phase, &json!({ "action": "VISIT", "phase": phase }))
    };
    match status {
        "Created" => vec![registration("CREATED")],
        "Invited" => vec![registration("CREATED"), registration("INVITED_TO_REGISTER")],
        "Registered" => vec![registration("REGISTERED"), registration("INVITED")],
        "autoConfirmed" => vec![registration("AUTO_CONFIRMED"), registration("REGISTERED")],
        "Confirmed" => vec![registration("AUTO_CONFIRMED"), registration("CONFIRMED")],
        "Attended" => vec![visit("PRE_EVENT"), registration("CONFIRMED")],
        "Participated" => vec![visit("DURING"), visit("PRE_EVENT")],
        "Blocked" => vec![visit("DURING"), registration("BLOCKED")],
        "Un-registered" => vec![registration("CONFIRMED"), registration("UNREGISTERED")],
        other => panic!("no such status: {other}"),
    }
}

const STATUSES: [&str; 9] = [
    "Created",
    "Invited",
    "Registered",
    "Confirmed",
    "autoConfirmed",
    "Attended",
    "Participated",
    "Blocked",
    "Un-registered",
];

#[test]
fn k1_k2_k5_each_status_reaches_a_campaign_that_nobody_set_up() {
    let world = World::new("k1");
    let campaign = world.campaign("Launch");
    let members: Vec<(MemberKey, &str)> = STATUSES
        .iter()
        .enumerate()
        .map(|(number, status)| (number, world.lead(&format!("lead-{number}")), *status))
        .map(|(_, person, status)| (MemberKey { campaign, person }, status))
        .collect();
    let records: Vec<Record> = members.iter().flat_map(|(member, status)| ways(&world, *member, status)).collect();
    harness::write(&world.client(), &records);
    let _rollbook = world.start("one").ready();
    world.settle();
    let rows = world.rows();
    for (member, status) in &members {
        let row = rows.get(&("CampaignMember".to_owned(), member.to_string()));
        let row = row.unwrap_or_else(|| panic!("{status}: no member with the external id {member}"));
        assert_eq!(row.get("Status").and_then(Value::as_str), Some(*status));
    }
    let made = world.org.with_org(|org| org.dump("CampaignMemberStatus")).expect("the org has the object");
    for status in STATUSES {
        let named = |row: &&serde_json::Map<String, Value>| row.get("Label").and_then(Value::as_str) == Some(status);
        assert_eq!(made.iter().filter(named).count(), 1, "{status}");
    }
}

#[test]
fn k3_k4_an_hour_of_engagement_is_two_rows() {
    let world = World::new("k3");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let act = |kind, event_id: &str, changes: Value| record(&world, kind, member, event_id, &changes);
    let view = |event_id: &str, from: i64, to: i64, changes: Value| {
        let mut fields =
            json!({ "started_at": NINE + from * MINUTE, "ended_at": NINE + to * MINUTE, "play_id": event_id });
        for (name, value) in changes.as_object().expect("an object") {
            fields[name] = value.clone();
        }
        act(EventKind::View, event_id, fields)
    };
    let records = [
        view("high", 0, 30, json!({ "in_focus": true, "full_screen": true, "sound_on": true, "email": "a@b.example" })),
        view("fair", 30, 60, json!({ "sound_on": true, "user": "u-1", "entry_name": "Keynote" })),
        view("replay", 90, 100, json!({ "mode": "REPLAY", "playhead_start_ms": 0, "playhead_end_ms": 600_000 })),
        act(EventKind::Reaction, "clap", json!({})),
        act(EventKind::Reaction, "heart", json!({ "reaction": "HEART" })),
        act(EventKind::Reaction, "hand", json!({ "reaction": "RAISE_HAND" })),
        act(EventKind::Poll, "yes", json!({ "question": "Again?", "poll_type": "single" })),
        act(EventKind::Attendance, "mic-on", json!({ "action": "MIC_ON", "connection_id": "c" })),
        act(
            EventKind::Attendance,
            "mic-off",
            json!({ "action": "MIC_OFF", "connection_id": "c", "occurred_at": NINE + 3 * MINUTE }),
        ),
    ];
    harness::write(&world.client(), &records);
    let _rollbook = world.start("one").ready();
    world.settle();

    let rows = world.rows();
    let row = |object: &str, external_id: String| rows.get(&(object.to_owned(), external_id)).expect("the row exists");
    let record_id = row("CampaignMember", member.to_string()).get("Id").expect("it has an id");
    let engagement = row("UserSessionEngagement__c", format!("{member}_{ENTRY}"));
    let expected = json!({
        "campaign_member__c": record_id, "Lead__c": member.person.as_str(), "entry_id__c": ENTRY, "entry_name__c": "Keynote",
        "email__c": "a@b.example", "user__c": "u-1", "plays__c": 3, "live_minutes_viewed__c": 60, "vod_minutes_viewed__c": 10,
        "high_live_engagement_rate__c": 50, "good_live_engagement_rate__c": 0, "fair_live_engagement_rate__c": 50,
        "combined_live_engaged_users_play_time_ratio__c": 0.5, "total_vod_completion_rate__c": null,
        "clap_clicked_count__c": 1, "heart_clicked_count__c": 1, "total_reactions_activity__c": 2, "raise_hand__c": 1,
        "answered_polls__c": 1, "mic_on__c": 3, "cam_on__c": 0,
    });
    for (name, value) in expected.as_object().expect("an object") {
        let held = engagement.get(name).unwrap_or(&Value::Null);
        let equal = held == value || (held.is_number() && held.as_f64() == value.as_f64());
        assert!(equal, "{name} is {held}, should be {value}");
    }
    let polls = row("Kaltura_User_Polls__c", format!("{member}_{ENTRY}"));
    let answers: Vec<&Value> =
        polls.iter().filter(|(name, _)| name.contains("answer")).map(|(_, value)| value).collect();
    assert!(answers.contains(&&json!("yes")), "{answers:?}");
}

#[test]
fn a_late_word_of_the_catalogue_derives_its_members_again() {
    let world = World::new("catalogue");
    let member = MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") };
    let view = record(&world, EventKind::View, member, "view", &json!({ "occurred_at": NINE }));
    harness::write(&world.client(), &[view]);
    let _rollbook = world.start("one").ready();
    world.settle();
    let status = || {
        let rows = world.rows();
        let row = rows.get(&("CampaignMember".to_owned(), member.to_string()));
        row.and_then(|row| row.get("Status")).and_then(Value::as_str).map(str::to_owned)
    };
    assert_eq!(status().as_deref(), Some("Participated"), "no start is known");
    // The session began only after that view: it was a pre-event visit after all.
    let told = json!({
        "event_id": "told", "source": "cms", "updated_at": NINE, "campaign_id": member.campaign.as_str(),
        "entry_id": ENTRY, "name": "Keynote", "scheduled_start": NINE + 10 * MINUTE,
    });
    let key = format!("{}_{ENTRY}", member.campaign);
    harness::write(&world.client(), &[Record::new(&world.names.topics.sessions, key, told.to_string())]);
    harness::until("the status to follow the catalogue", WITHIN, || match status().as_deref() {
        Some("Attended") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
