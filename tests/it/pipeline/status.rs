//! `rollbook status` on a running instance: what it says, and its exit code.

use std::path::PathBuf;

use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use serde_json::{Value, json};

use super::payload::record;
use super::world::{WITHIN, World};
use crate::harness::{self, Record, Rollbook, command, http};

/// An instance with its configuration file.
struct Instance {
    rollbook: Rollbook,
    config: PathBuf,
}

impl Instance {
    #[track_caller]
    fn start(world: &World) -> Self {
        let port = harness::free_port();
        let config = world.config("one", port);
        let rollbook = Rollbook::start(&format!("{}-one", world.names.prefix), &config, port).ready();
        Self { rollbook, config }
    }

    fn text(&self) -> (i32, String) {
        let (code, stdout, _) = ask(&["--config", self.config.to_str().expect("UTF-8")]);
        (code, stdout)
    }

    #[track_caller]
    fn json(&self) -> (i32, Value) {
        let (code, stdout, stderr) = ask(&["--json", "--url", self.rollbook.url()]);
        (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
    }

    /// Asks until the answer is what is waited for.
    #[track_caller]
    fn becomes(&self, what: &str, met: impl Fn(&Value) -> bool) -> (i32, Value) {
        harness::until(what, WITHIN, || {
            let (code, status) = self.json();
            if met(&status) {
                Ok((code, status))
            } else {
                Err(format!("{status:#}\n{}", self.rollbook.process.log_tail()))
            }
        })
    }
}

/// Exit code, stdout and stderr.
fn ask(arguments: &[&str]) -> (i32, String, String) {
    let output = command(&[&["status"], arguments].concat()).output().expect("the binary is built");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn registered(world: &World, member: MemberKey, action: &str) -> Record {
    record(world, EventKind::Registration, member, action, &json!({ "action": action, "entry_id": null }))
}

fn member(world: &World) -> MemberKey {
    MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") }
}

/// In seconds.
fn time(at: &Value) -> i64 {
    at.as_str().expect("a text").parse::<jiff::Timestamp>().expect("a time").as_second()
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_ready_instance_says_so_in_stable_names() {
    let world = World::new("status-ready");
    let member = member(&world);
    let instance = Instance::start(&world);
    let malformed = Record::new(world.topic(EventKind::Registration), member.to_string(), "{");
    harness::write(&world.client(), &[registered(&world, member, "REGISTERED"), malformed]);
    world.settle();
    let calls = i64::try_from(world.org.api_calls()).expect("few");
    let (code, status) =
        instance.becomes("all of it to be told", |status| status["salesforce"]["calls"]["used"] == json!(calls));
    assert_eq!((code, &status["ready"]), (0, &json!(true)));
    let expected = [
        "version",
        "asked_at",
        "started_at",
        "ready",
        "loops",
        "waiting",
        "lag",
        "fold",
        "sink",
        "salesforce",
        "dead_letters",
        "ignored",
        "gaps",
    ];
    assert_eq!(names(&status), expected);
    assert_eq!(names(&status["fold"]), ["partitions", "restore_records", "last_commit_at", "pending_commits"]);
    let sink = ["pending_rows", "held_rows", "held_by_reason", "in_flight_requests", "window_requests", "bulk_jobs"];
    assert_eq!(names(&status["sink"]), sink);
    assert_eq!(names(&status["salesforce"]), ["calls", "forecast", "lanes_stopped"]);
    assert_eq!(names(&status["salesforce"]["calls"]), ["used", "limit", "share", "reserve", "told_at"]);
    assert_eq!(status["loops"][0]["waits_for"], Value::Null);
    assert_eq!((&status["fold"]["partitions"], &status["fold"]["restore_records"]), (&json!(2), &json!(0)));
    assert!(status["fold"]["last_commit_at"].is_string(), "{status}");
    assert_eq!((&status["sink"]["pending_rows"], &status["sink"]["held_rows"]), (&json!(0), &json!(0)));
    assert_eq!(status["dead_letters"], json!({ "fold": 1, "sink": 0 }));
    let calls = &status["salesforce"]["calls"];
    assert_eq!(
        (&calls["limit"], &calls["share"], &calls["reserve"]),
        (&json!(1_000_000), &json!(800_000), &json!(200_000))
    );
    assert_eq!(status["salesforce"]["forecast"], json!({ "share": "unknown" }), "one number is no rate");

    let (code, text) = instance.text();
    let version = env!("CARGO_PKG_VERSION");
    assert!(code == 0 && text.starts_with(&format!("rollbook      {version}, up since ")), "{code}: {text}");
    for line in ["ready         yes\n", "dead letters  fold 1, sink 0 since the start\n", "stopped       nothing\n"] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn what_is_ignored_is_shown_with_its_place_and_the_nearest_symbol() {
    let world = World::new("status-ignored");
    let member = member(&world);
    let instance = Instance::start(&world);
    let misspelt = |event_id: &str, action: &str| {
        record(&world, EventKind::Registration, member, event_id, &json!({ "action": action, "entry_id": null }))
    };
    let records = [misspelt("1", "REGISTERD"), misspelt("2", "ann@example.org"), misspelt("3", "REGISTERD")];
    harness::write(&world.client(), &records);
    world.settle();
    let (_, status) = instance.becomes("them to be told", |status| status["ignored"]["records"]["unknown_symbol"] == 3);
    let samples = status["ignored"]["samples"].as_array().expect("a list");
    let [newest, other] = samples.as_slice() else { panic!("{status:#}") };
    let place = [&newest["topic"], &newest["offset"], &newest["records"]];
    assert_eq!(place, [&json!(world.topic(EventKind::Registration)), &json!(2), &json!(2)]);
    assert_eq!([&newest["symbol"], &newest["nearest"]], [&json!("REGISTERD"), &json!("REGISTERED")]);
    assert!(newest["at"].is_string() && newest["field"] == "action", "{newest}");
    assert_eq!([&other["symbol"], &other["nearest"]], [&Value::Null, &Value::Null]);

    let output = command(&["ignored", "--url", instance.rollbook.url()]).output().expect("the binary is built");
    let (listed, (_, text)) = (String::from_utf8_lossy(&output.stdout).into_owned(), instance.text());
    let said = "`action` is `REGISTERD`, which is not known; the nearest is `REGISTERED`";
    assert!(listed.contains(&format!("unknown_symbol: registration: {said}\n  2 so far, the newest at ")), "{listed}");
    assert!(text.contains("ignored       unknown_symbol 3 since the start\n") && text.contains(said), "{text}");
    let log = instance.rollbook.process.log();
    assert_eq!(log.matches("records are ignored").count(), 2, "once for each kind: {log}");
    for shown in [&listed, &text, &status.to_string(), &log] {
        assert!(!shown.contains("ann@example.org"), "{shown}");
    }
}

#[test]
fn an_instance_whose_org_is_away_is_not_ready_and_says_why() {
    let world = World::new("status-away");
    let member = member(&world);
    let instance = Instance::start(&world);
    harness::write(&world.client(), &[registered(&world, member, "REGISTERED")]);
    world.settle();
    let (_, before) = instance.becomes("the usage to be told", |status| !status["salesforce"]["calls"].is_null());
    world.salesforce.shut();
    harness::write(&world.client(), &[registered(&world, member, "CONFIRMED")]);
    let (code, status) = instance.becomes("the sink to wait", |status| status["waiting"] == json!(["salesforce"]));
    assert_eq!((code, &status["ready"], &status["sink"]["pending_rows"]), (4, &json!(false), &json!(1)));
    let sink = status["loops"].as_array().expect("a list").iter().find(|it| it["name"] == "sink").expect("it runs");
    assert_eq!(sink["waits_for"], "Salesforce is waited for");
    let (code, text) = instance.text();
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("  sink        not yet: Salesforce is waited for\nwaiting for   salesforce\n"), "{text}");
    // It goes on trying, and what nobody answered is no news of the usage.
    let (_, status) = instance.becomes("some seconds of it", |status| {
        time(&status["asked_at"]) > time(&status["salesforce"]["calls"]["told_at"]) + 2
    });
    assert_eq!(status["salesforce"]["calls"], before["salesforce"]["calls"]);
    world.salesforce.open();
    let (code, _) = instance.becomes("the instance to be ready", |status| status["ready"] == true);
    assert_eq!(code, 0);
}

#[test]
fn a_budget_that_runs_out_shows_what_is_stopped_and_that_it_is_used_up() {
    /// Enough for one percent to be some calls.
    const OTHERS_CALLS: u64 = 300;
    let world = World::new("status-budget");
    let member = member(&world);
    let limits = format!("{}/services/data/v66.0/limits", world.org.base_url());
    for _ in 0..OTHERS_CALLS {
        let answer = http::send(http::client().get(&limits).bearer_auth(world.org.token())).expect("the org answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // Of our share, four fifths of the limit, 94 percent are used.
    world.org.set_daily_api_requests(OTHERS_CALLS * 5 / 4 * 100 / 94);
    let instance = Instance::start(&world);
    harness::write(&world.client(), &[registered(&world, member, "REGISTERED")]);
    world.settle();
    let (code, status) =
        instance.becomes("old rows to stop", |status| status["salesforce"]["lanes_stopped"] == json!(["backfill"]));
    assert_eq!((code, &status["salesforce"]["forecast"]), (0, &json!({ "share": "unknown" })));
    assert!(instance.text().1.ends_with("forecast      not known yet\nstopped       old rows\n"));

    // More than our share, and less than all.
    world.org.set_daily_api_requests(OTHERS_CALLS * 11 / 10);
    harness::write(&world.client(), &[registered(&world, member, "CONFIRMED")]);
    let all = json!(["backfill", "live", "retry"]);
    let (code, status) = instance.becomes("all rows to stop", |status| {
        status["salesforce"]["lanes_stopped"] == all && status["sink"]["pending_rows"] == 1
    });
    assert_eq!((code, &status["salesforce"]["forecast"]), (4, &json!({ "share": "used_up" })));
    let (code, text) = instance.text();
    assert!(code == 4 && text.contains("not yet: the calls of the day are used up\n"), "{code}: {text}");
    assert!(
        text.contains("forecast      our share is used up; ") && text.ends_with("stopped       all rows\n"),
        "{text}"
    );
}

#[test]
fn a_process_without_a_sink_shows_none() {
    let world = World::new("status-fold");
    let port = harness::free_port();
    let config = world.config("one", port);
    let mut rollbook = Rollbook::start_stages(&format!("{}-one", world.names.prefix), &config, port, "fold");
    rollbook.await_ready();
    let (code, stdout, _) = ask(&["--json", "--config", config.to_str().expect("UTF-8")]);
    let status: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &status["sink"], &status["salesforce"]), (0, &Value::Null, &Value::Null));
    assert_eq!(status["dead_letters"], json!({ "fold": 0 }));
}

#[test]
fn where_nobody_listens_or_somebody_else_does_is_an_error_that_says_so() {
    let url = format!("http://127.0.0.1:{}", harness::kept_port());
    let (code, stdout, stderr) = ask(&["--url", &url]);
    assert_eq!((code, stdout.as_str()), (75, ""), "{stderr}");
    assert!(
        stderr.contains(&format!("no instance answers at `{url}/status`")) && stderr.contains("hint: "),
        "{stderr}"
    );
    let world = World::new("status-other");
    let (code, stdout, stderr) = ask(&["--url", &world.org.base_url()]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("is no instance of version"), "{stderr}");
}
