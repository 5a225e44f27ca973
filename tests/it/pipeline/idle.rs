//! `rollbook status --wait-idle`: it returns when all is done, and says what is not; and nobody says "nothing to read"
//! before it is known.

use std::path::{Path, PathBuf};

use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use rollbook::upsert::Object;
use serde_json::{Value, json};

use super::payload::{MINUTE, NINE, record};
use super::world::World;
use crate::harness::{self, Record, Rollbook, command};

fn member(world: &World, name: &str) -> MemberKey {
    MemberKey { campaign: world.campaign("Launch"), person: world.lead(name) }
}

fn registered(world: &World, member: MemberKey, event_id: &str, action: &str) -> Record {
    record(world, EventKind::Registration, member, event_id, &json!({ "action": action, "entry_id": null }))
}

fn start(world: &World) -> (Rollbook, PathBuf) {
    let port = harness::free_port();
    let config = world.config("one", port);
    let rollbook = Rollbook::start(&format!("{}-one", world.names.prefix), &config, port);
    (rollbook, config)
}

/// Exit code, stdout and stderr.
fn wait_idle(config: &Path, more: &[&str]) -> (i32, String, String) {
    let arguments = [&["status", "--wait-idle", "--config", config.to_str().expect("UTF-8")], more].concat();
    let output = command(&arguments).output().expect("the binary is built");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn status_of(world: &World, member: MemberKey) -> Option<Value> {
    let key = (Object::CAMPAIGN_MEMBER.api_name().to_owned(), member.to_string());
    world.rows().get(&key).and_then(|row| row.get("Status").cloned())
}

#[test]
fn it_returns_when_the_org_has_everything_and_says_what_is_open_when_it_does_not() {
    let world = World::new("idle");
    let members: Vec<MemberKey> = (0..20).map(|number| member(&world, &format!("lead-{number}"))).collect();
    let (_rollbook, config) = start(&world);
    for (round, status) in [("REGISTERED", "Registered"), ("CONFIRMED", "Confirmed"), ("BLOCKED", "Blocked")] {
        let records: Vec<Record> = members.iter().map(|member| registered(&world, *member, round, round)).collect();
        harness::write(&world.client(), &records);
        let (code, stdout, stderr) = wait_idle(&config, &["--timeout", "2m"]);
        assert_eq!((code, stderr.contains("error")), (0, false), "{stdout}{stderr}");
        for member in &members {
            assert_eq!(status_of(&world, *member), Some(json!(status)), "{round}: {member}");
        }
    }

    world.salesforce.shut();
    let later = json!({ "action": "UNBLOCKED", "entry_id": null, "occurred_at": NINE + MINUTE });
    harness::write(&world.client(), &[record(&world, EventKind::Registration, members[0], "later", &later)]);
    let (code, stdout, stderr) = wait_idle(&config, &["--timeout", "4s", "--json"]);
    assert_eq!(code, 5, "{stdout}{stderr}");
    let told: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(told["idle"], json!(false));
    let open = told["open"].to_string();
    assert!(open.contains("Salesforce is waited for") || open.contains("1 rows have no outcome"), "{open}");
    assert!(stderr.contains("not done within 4s; what is open:"), "{stderr}");
    let (code, _, stderr) = wait_idle(&config, &["--timeout", "1m", "--stages", "fold"]);
    assert_eq!(code, 0, "the fold is done: {stderr}");

    world.salesforce.open();
    let (code, stdout, stderr) = wait_idle(&config, &["--timeout", "2m", "--json"]);
    let told: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &told["idle"], &told["open"]), (0, &json!(true), &json!([])), "{stderr}");
    assert_eq!(status_of(&world, members[0]), Some(json!("Confirmed")));
}

#[test]
fn where_nothing_runs_the_wait_ends_in_time_and_says_so() {
    let world = World::new("idle-down");
    let config = world.config("one", harness::kept_port());
    let output = command(&["topics", "create", "--config", config.to_str().expect("UTF-8")]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (code, _, stderr) = wait_idle(&config, &["--timeout", "1s"]);
    assert!(code == 5 && stderr.contains("does not tell its state"), "{code}: {stderr}");
    let member = member(&world, "lead");
    harness::write(&world.client(), &[registered(&world, member, "1", "REGISTERED")]);
    let (code, _, stderr) = wait_idle(&config, &["--timeout", "1s"]);
    assert!(code == 5 && stderr.contains("is not folded: nothing is committed, it ends at 1"), "{code}: {stderr}");
}

#[test]
fn an_instance_is_not_ready_before_it_knows_how_much_there_is_to_read() {
    let world = World::new("idle-start");
    let member = member(&world, "lead");
    let records: Vec<Record> =
        (0..5_000).map(|number| registered(&world, member, &number.to_string(), "REGISTERED")).collect();
    harness::write(&world.client(), &records);
    let (rollbook, _) = start(&world);
    let topics = harness::until("the instance to be ready", super::world::WITHIN, || {
        let status: Value = serde_json::from_str(&rollbook.get("/status")?.body).map_err(|error| error.to_string())?;
        let lag = status["lag"].as_array().expect("a list");
        if status["ready"] == true {
            assert!(lag.iter().all(|topic| topic["records"].is_i64()), "ready, and not known: {status:#}");
            return Ok(lag.len());
        }
        Err(rollbook.process.log_tail())
    });
    assert_eq!(topics, 8, "seven inputs and the upserts");
}
