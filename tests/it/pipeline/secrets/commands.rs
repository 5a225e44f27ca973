//! What the commands for people say, with all of their log on.
//!
//! `state` and `dead-letters show` are asked for what is known of people, and answer it on stdout; secrets they keep as
//! the others do.

use std::fs;

use rollbook::dead_letter::Stage;
use rollbook::emulator::{Fault, FaultAction};
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use serde_json::{Value, json};

use super::super::payload::payload;
use super::{CLIENT_SECRET, EMAIL, NAME, STOPS_WITHIN, Scene, TOKEN, key_lines, text, without};
use crate::harness::{self, command};

pub(super) fn are_silent(scene: &Scene, member: MemberKey) {
    for arguments in [
        &["check"][..],
        &["doctor"],
        &["doctor", "--campaign", member.campaign.as_str()],
        &["dead-letters", "list"],
        &["dead-letters", "list", "--each"],
        &["topics", "check"],
    ] {
        is_silent(scene, arguments, 0);
    }
    is_silent(scene, &["dead-letters", "redrive", "--all", "--dry-run"], 0);
    asked_for_people(scene, member);
    produce(scene, member);
    setup(scene);
    refused_logins(scene);
}

/// As text and as JSON.
#[track_caller]
fn is_silent(scene: &Scene, arguments: &[&str], code: i32) {
    for format in [&[][..], &["--json"]] {
        let arguments = [arguments, format].concat();
        let said = scene.run(&arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.all());
        scene.silent(&format!("{arguments:?}"), &said.all());
    }
}

fn asked_for_people(scene: &Scene, member: MemberKey) {
    let letters = scene.world.dead_letters();
    let of = |stage| letters.iter().find(|letter| letter.stage == stage).expect("there is one");
    let source = |stage| format!("{}/{}/{}", of(stage).topic, of(stage).partition, of(stage).offset);
    let (fold, sink) = (source(Stage::Fold), source(Stage::Sink));
    for arguments in [
        &["state", member.campaign.as_str(), member.person.as_str()][..],
        &["dead-letters", "show", &fold],
        &["dead-letters", "show", &sink],
    ] {
        for format in [&[][..], &["--json"]] {
            let said = scene.run(&[arguments, format].concat());
            assert_eq!(said.code, 0, "{arguments:?}: {}", said.all());
            without(&format!("the answer of {arguments:?}"), &said.stdout, &scene.secrets());
            scene.silent(&format!("the log of {arguments:?}"), &said.stderr);
        }
    }
    is_silent(scene, &["state", member.campaign.as_str(), "00Q0300000AczgfEAB"], 1);
    is_silent(scene, &["dead-letters", "show", "0/999999"], 1);
}

/// Lines with somebody's data at the place that is wrong, and one that is right.
fn produce(scene: &Scene, member: MemberKey) {
    let mut lines = vec![format!("{EMAIL} {NAME}"), format!("{{\"{EMAIL}\": {NAME}"), format!("[\"{EMAIL}\"]")];
    for field in ["kind", "event_id", "source", "occurred_at", "campaign_id", "lead_id", "ended_at", "mode", EMAIL] {
        for wrong in [json!(EMAIL), json!([EMAIL]), json!({ EMAIL: NAME })] {
            let mut event = payload(EventKind::View, member, "produced", &json!({ "kind": "view" }));
            event[field] = wrong;
            lines.push(event.to_string());
        }
    }
    let good = json!({ "kind": "registration", "email": EMAIL, "last_name": NAME });
    lines.push(payload(EventKind::Registration, member, EMAIL, &good).to_string());
    let file = harness::folder().join(format!("{}-events.jsonl", scene.world.names.prefix));
    fs::write(&file, lines.join("\n")).expect("the target folder is writable");
    is_silent(scene, &["produce", text(&file)], 3);
    is_silent(scene, &["produce", "--dry-run", text(&file)], 3);
    is_silent(scene, &["produce", text(&file.with_extension("absent"))], 1);
}

/// An org that refuses a status in the words of its admin.
fn setup(scene: &Scene) {
    let campaign = scene.world.campaign("Second");
    let error = json!({ "statusCode": EMAIL, "message": format!("{NAME} <{EMAIL}> may not"), "fields": [EMAIL] });
    let refused = vec![json!({ "success": false, "errors": [error] }); 9];
    let refused = FaultAction::Answer { status: 200, body: Value::from(refused).to_string() };
    scene.world.org.add_fault(Fault::next("/composite/sobjects", refused).method("POST").times(2));
    is_silent(scene, &["setup", "--campaign", campaign.as_str()], 1);
    is_silent(scene, &["setup", "--campaign", campaign.as_str()], 0);
}

/// In the words of an org that repeats everything.
fn refused_logins(scene: &Scene) {
    let told = scene.flow.secrets.join(" ");
    let refusal = json!({ "error": "invalid_grant", "error_description": format!("{told} {CLIENT_SECRET}") });
    let refusal = || FaultAction::Answer { status: 400, body: refusal.to_string() };
    scene.world.org.add_fault(Fault::next(TOKEN, refusal()).times(3));
    for arguments in [&["doctor"][..], &["setup", "--campaign", "70103000000cnFXAAY"]] {
        let said = scene.run(arguments);
        assert!(said.code == 1 && said.all().contains("invalid_grant"), "{}: {}", said.code, said.all());
        scene.silent(&format!("a refused {arguments:?}"), &said.all());
    }
    // It waits until the login is taken.
    let mut refused = scene.start("refused").ready();
    refused.process.signal("TERM");
    assert!(refused.process.wait(STOPS_WITHIN).expect("it ends").success());
    assert!(refused.process.log().contains("invalid_grant"), "{}", refused.process.log_tail());
    scene.silent("a refused start", &refused.process.log());
}

/// Files and settings with a secret at the place that is wrong.
pub(super) fn wrong_settings_are_silent(scene: &Scene) {
    let config = scene.world.config("wrong", 0);
    let right = fs::read_to_string(&config).expect("it was written");
    let secret = "canary-inline-secret";
    let auth = "[salesforce.auth]\n";
    let inline = |line: &str| right.replace(auth, &format!("{auth}{line}\n"));
    for wrong in [
        inline(&format!("client_secret = {secret:?}")),
        inline(&format!("client_id = \"{secret}")),
        inline(&format!("client_id = [{secret:?}]")),
        inline(&format!("flow = {secret:?}")),
        inline(&format!("{secret} = 1 {secret}")),
        right.replace("[kafka.properties]\n", &format!("[kafka.properties]\n\"sasl.jaas.config\" = \"{secret}\n")),
        right.replace("[kafka.properties]\n", &format!("[kafka.properties]\n\"ssl.key.password\" = [{secret:?}]\n")),
        right.replace("login_url = \"http://", &format!("login_url = \"http://me:{secret}@")),
        right.replace("url = \"https://", &format!("url = \"https://me:{secret}@")),
    ] {
        assert_ne!(wrong, right);
        fs::write(&config, &wrong).expect("the target folder is writable");
        for command_line in [&["check"][..], &["check", "--json"], &["run"], &["doctor"]] {
            let arguments = [command_line, &["--log-level", "trace", "--config", text(&config)]].concat();
            let output = command(&arguments).output().expect("the binary is built");
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert_eq!(output.status.code(), Some(78), "{command_line:?}: {said}\n{wrong}");
            scene.silent(&format!("{command_line:?}"), &said);
        }
    }
}

/// Each way in which a key is none.
pub(super) fn a_damaged_key_is_not_said(scene: &Scene) {
    let file = scene.folder.join("key");
    let right = fs::read_to_string(&file).expect("it was written");
    let half = right[..right.len() / 2].to_owned();
    for wrong in [half, right.replace("-----BEGIN", "BEGIN")] {
        assert!(!key_lines(&wrong).is_empty(), "there is something to say");
        fs::write(&file, &wrong).expect("the target folder is writable");
        is_silent(scene, &["check"], 78);
        is_silent(scene, &["doctor"], 78);
    }
    fs::write(&file, right).expect("the target folder is writable");
    is_silent(scene, &["check"], 0);
}
