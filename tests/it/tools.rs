//! The subcommands for people, each as the real binary against a real broker: data on stdout, exit codes.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use clap::CommandFactory;
use rollbook::cli::Cli;
use rollbook::config::Topics;
use rollbook::dead_letter::{DeadLetter, Stage};
use rollbook::event::{Act, Event, RegistrationAction};
use rollbook::fold::Aggregate;
use rollbook::health::Health;
use rollbook::http::Server;
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::metrics::Metrics;
use rollbook::topic_table::Topic;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::harness::{self, PARTITIONS, Record, command, http, kafka, names};

const CAMPAIGN: &str = "70103000000cnFXAAY";
const LEAD: &str = "00Q0300000AczgfEAB";

/// A configuration of one test, and topics of its own.
struct Setup {
    _folder: TempDir,
    config: PathBuf,
    topics: Topics,
}

impl Setup {
    fn new(test: &str) -> Self {
        Self::with(test, kafka().bootstrap())
    }

    fn with(test: &str, bootstrap: &str) -> Self {
        let folder = TempDir::new_in(harness::folder()).unwrap();
        let names = names(test);
        let topics = toml::to_string(&names.topics).unwrap();
        let config = folder.path().join("rollbook.toml");
        let settings =
            format!("application = {:?}\n[kafka]\nbootstrap = {bootstrap:?}\n[topics]\n{topics}", names.prefix);
        fs::write(&config, settings).unwrap();
        Self { _folder: folder, config, topics: names.topics }
    }

    fn created(test: &str) -> Self {
        let setup = Self::new(test);
        assert_eq!(setup.run(&["topics", "create"]).0, 0);
        setup
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("ROLLBOOK_CONFIG", &self.config);
        command
    }

    /// Exit code, stdout and stderr.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        ended(&self.command(arguments).output().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let (code, stdout, stderr) = self.run(&[arguments, &["--json"]].concat());
        (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
    }
}

fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn member() -> MemberKey {
    let id = |text| SalesforceId::parse(text).unwrap();
    MemberKey { campaign: id(CAMPAIGN), person: id(LEAD) }
}

#[test]
fn wrong_arguments_and_wrong_settings_have_their_own_exit_codes() {
    let (code, ..) = ended(&command(&["no-such-command"]).output().unwrap());
    assert_eq!(code, 2);
    let folder = TempDir::new_in(harness::folder()).unwrap();
    let config = folder.path().join("wrong.toml");
    fs::write(&config, "[kafka]\n[fold]\nthreads = 0\n").unwrap();
    let config = config.to_str().unwrap();
    let (code, stdout, stderr) = ended(&command(&["check", "--config", config]).output().unwrap());
    assert_eq!((code, stdout.as_str()), (78, ""));
    assert!(stderr.contains("kafka.bootstrap") && stderr.contains("fold.threads"), "{stderr}");
    let (code, stdout, _) = ended(&command(&["check", "--json", "--config", config]).output().unwrap());
    let problems: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, problems["problems"].as_array().unwrap().len()), (78, 2));
}

#[test]
fn check_prints_what_is_in_effect() {
    let setup = Setup::with("check", "localhost:9092");
    let (code, stdout, _) = setup.run(&["check", "--stages", "fold"]);
    assert_eq!(code, 0);
    let shown: toml::Table = stdout.parse().unwrap();
    assert_eq!(shown["fold"]["commit_interval"].as_str(), Some("100ms"));
    let (code, _, stderr) = setup.run(&["check"]);
    assert!(code == 78 && stderr.contains("salesforce"), "the sink needs its section: {stderr}");
}

#[test]
fn check_says_when_states_cannot_be_kept() {
    let setup = Setup::with("check-states", "localhost:9092");
    let folder = setup.config.parent().unwrap().to_owned();
    let text = fs::read_to_string(&setup.config).unwrap();
    let with = |dir: &Path| fs::write(&setup.config, format!("{text}[state]\ndir = {dir:?}\n")).unwrap();
    let check = || setup.run(&["check", "--stages", "fold"]);
    let states = folder.join("states");
    with(&states);
    assert_eq!(check().0, 0);
    assert!(!states.exists(), "a look makes nothing");
    fs::create_dir(&states).unwrap();
    fs::set_permissions(&states, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, stdout, stderr) = check();
    assert_eq!((code, stdout.as_str()), (78, ""), "{stderr}");
    assert!(stderr.contains("state.dir: ") && stderr.contains("open to other users (mode 755)"), "{stderr}");
    assert!(stderr.contains("hint: `chmod 700` it"), "{stderr}");
    // Nobody makes folders there, not even root.
    with(Path::new("/proc/states"));
    let (code, _, stderr) = check();
    assert!(code == 78 && stderr.contains("`/proc/states` cannot be used for states: "), "{code}: {stderr}");
}

#[test]
fn every_subcommand_and_exit_code_is_documented() {
    let documented = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).unwrap();
    let cli = Cli::command();
    for subcommand in cli.get_subcommands().map(clap::Command::get_name) {
        assert!(documented.contains(&format!("`rollbook {subcommand}")), "{subcommand}");
    }
    let help = cli.get_after_help().unwrap().to_string();
    for code in help.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u8>().ok()) {
        assert!(documented.contains(&format!("| {code} |")), "{code}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    // It waits for its input, so the reader is gone before it says anything.
    let setup = Setup::with("pipe", "localhost:9092");
    let mut command = setup.command(&["produce", "-", "--dry-run"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (code, _, stderr) = ended(&child.wait_with_output().unwrap());
    assert_eq!((code, stderr.as_str()), (141, ""));
}

#[test]
fn completions_name_the_subcommands() {
    let (code, stdout, _) = ended(&command(&["completions", "bash"]).output().unwrap());
    assert!(code == 0 && stdout.contains("dead-letters"));
}

#[test]
fn a_broker_that_is_down_is_a_temporary_failure() {
    // Bound and never accepted from: nobody else can take the port, and no broker answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::with("down", &silent.local_addr().unwrap().to_string());
    let (code, _, stderr) = setup.run(&["topics", "check"]);
    assert!(code == 75 && stderr.contains("cannot reach Kafka"), "{code}: {stderr}");
}

#[test]
fn a_refused_password_is_told_and_never_repeated() {
    let secure = harness::sasl_ssl();
    let folder = TempDir::new_in(harness::folder()).unwrap();
    fs::write(folder.path().join("password"), "canary").unwrap();
    let properties: toml::Table = secure
        .properties(harness::SCRAM)
        .into_iter()
        .filter(|(name, _)| *name != "sasl.password")
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let config = folder.path().join("rollbook.toml");
    let bootstrap = &secure.bootstrap;
    let settings = format!(
        "[kafka]\nbootstrap = {bootstrap:?}\nproperties_files = {{ \"sasl.password\" = \"password\" }}\n\
         [kafka.properties]\n{properties}"
    );
    fs::write(&config, settings).unwrap();
    let output = command(&["topics", "check"]).env("ROLLBOOK_CONFIG", &config).output().unwrap();
    let (code, stdout, stderr) = ended(&output);
    assert_eq!(code, 75, "{stderr}");
    assert!(stderr.contains("SASL authentication"), "{stderr}");
    assert!(!stderr.contains("canary") && !stdout.contains("canary"));
}

#[test]
fn created_topics_pass_the_check_and_absent_ones_do_not() {
    let setup = Setup::new("topics");
    let (code, absent) = setup.json(&["topics", "check"]);
    assert_eq!((code, absent["problems"].as_array().unwrap().len()), (78, Topic::ALL.len()));
    let (code, created) = setup.json(&["topics", "create"]);
    assert_eq!((code, created["created"].as_array().unwrap().len()), (0, Topic::ALL.len()), "{created}");
    assert_eq!(setup.json(&["topics", "check"]), (0, json!({ "created": [], "problems": [] })));
    assert_eq!(setup.run(&["topics", "create"]).0, 0, "a second time is as good as once");
}

#[test]
fn wrong_topics_are_refused_all_at_once_with_the_command_that_mends_each() {
    let setup = Setup::new("wrong-topics");
    let client = kafka().client();
    let of_views = [("cleanup.policy", "compact"), ("retention.ms", "259200000")];
    harness::create(&client, &[&setup.topics.views], 3, &of_views);
    harness::create(&client, &[&setup.topics.upserts], 2, &[("cleanup.policy", "compact")]);
    harness::create(&client, &[&setup.topics.state], 3, &[("cleanup.policy", "delete")]);
    harness::create(&client, &[&setup.topics.dead_letters], 1, &[("max.message.bytes", "1000")]);
    let (code, stdout, stderr) = setup.run(&["topics", "create"]);
    assert_eq!((code, stdout.lines().count()), (78, Topic::ALL.len() - 4), "the absent ones are created: {stdout}");
    assert!(stderr.contains(&format!("do not keep theirs: {} for 3 days", setup.topics.views)), "{stderr}");
    for remedy in [
        format!("--entity-name {} --add-config cleanup.policy=delete", setup.topics.views),
        format!("`Partitions of Rollbook's own topics` in deploy/runbook.md; {}", setup.topics.upserts),
        format!("--entity-name {} --add-config cleanup.policy=compact", setup.topics.state),
        format!("--entity-name {} --add-config max.message.bytes=10485760", setup.topics.dead_letters),
    ] {
        assert!(stderr.contains(&remedy), "{remedy}\n{stderr}");
    }
}

fn registration(id: &str, lead: &str) -> String {
    json!({
        "kind": "registration", "event_id": id, "source": "test", "occurred_at": "2026-01-01T00:00:00Z",
        "campaign_id": CAMPAIGN, "lead_id": lead, "action": "REGISTERED",
    })
    .to_string()
}

#[test]
fn produce_sends_what_is_right_where_java_would_and_lists_the_rest() {
    let setup = Setup::created("produce");
    let lines = [registration("1", LEAD), "{".to_owned(), registration("2", "00X0300000AczgfEAB")].join("\n");
    let run = |arguments: &[&str]| {
        let mut child = setup
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        let (code, stdout, stderr) = ended(&child.wait_with_output().unwrap());
        (code, serde_json::from_str::<Value>(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
    };
    let (code, report) = run(&["produce", "-", "--dry-run", "--json"]);
    assert_eq!((code, &report["accepted"]), (3, &json!({ "registrations": 1 })));
    assert_eq!(harness::read(&kafka().client(), &setup.topics.registrations), [], "a dry run sends nothing");
    let (code, report) = run(&["produce", "-", "--json"]);
    assert_eq!(code, 3);
    let refused: Vec<_> =
        report["refused"].as_array().unwrap().iter().map(|line| (&line["line"], &line["reason"])).collect();
    assert_eq!(refused, [(&json!(2), &json!("undecodable")), (&json!(3), &json!("person_id_invalid"))]);
    let sent = harness::read(&kafka().client(), &setup.topics.registrations);
    let key = member().to_string();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].key.as_deref(), Some(key.as_bytes()));
    assert_eq!(sent[0].partition, Some(rollbook::route::partition(key.as_bytes(), PARTITIONS)));
}

#[test]
fn produce_says_what_will_be_ignored_and_what_it_may_have_been_meant_to_be() {
    let setup = Setup::with("produce-ignored", "localhost:9092");
    let file = setup.config.with_file_name("events.jsonl");
    let misspelt = registration("1", LEAD).replace("REGISTERED", "REGISTERD");
    fs::write(&file, format!("{}\n{misspelt}\n", registration("0", LEAD))).unwrap();
    let arguments = ["produce", file.to_str().unwrap(), "--dry-run"];
    let (code, stdout, _) = setup.run(&arguments);
    assert_eq!(code, 3, "{stdout}");
    let said = "line 2 will be ignored: unknown_symbol: `action` is `REGISTERD`, which is not known; the nearest is \
                `REGISTERED`\n";
    assert!(
        stdout.starts_with(said) && stdout.ends_with("2 accepted (1 of them will be ignored), 0 refused\n"),
        "{stdout}"
    );
    let (code, report) = setup.json(&arguments);
    let ignored = &report["ignored"][0];
    assert_eq!((code, &ignored["line"], &ignored["nearest"]), (3, &json!(2), &json!("REGISTERED")));
    fs::write(&file, registration("0", LEAD)).unwrap();
    assert_eq!(setup.run(&arguments).0, 0);
}

#[test]
fn state_shows_the_committed_aggregate_and_its_rows() {
    let setup = Setup::created("state");
    let mut aggregate = Aggregate::default();
    let confirmed = Act::Registration(RegistrationAction::Confirmed);
    aggregate.apply(&Event { member: member(), ..harness::events::event("1", 1_767_225_600_000, confirmed) });
    let key = member().to_string();
    let partition = rollbook::route::partition(key.as_bytes(), PARTITIONS);
    let piece = Record::new(&setup.topics.state, key.as_bytes(), aggregate.member.encode());
    harness::write(&kafka().client(), &[Record { partition: Some(partition), ..piece }]);
    let (code, state) = setup.json(&["state", "70103000000cnFX", "00Q0300000Aczgf"]);
    assert_eq!((code, &state["aggregate"]["facts"]), (0, &json!({ "Confirmed": "2026-01-01T00:00:00Z" })));
    assert_eq!(state["rows"][0]["external_id"], json!(key));
    assert_eq!(state["rows"][0]["fields"], json!({ "Status": "Confirmed" }));
    let (code, ..) = setup.run(&["state", CAMPAIGN, "0030300000AczgfAAB"]);
    assert_ne!(code, 0, "an unknown member is a failure");
}

fn letter(stage: Stage, topic: &str, offset: i64, key: &str) -> DeadLetter {
    DeadLetter {
        stage,
        reason: if stage == Stage::Fold { "undecodable".to_owned() } else { "REQUIRED_FIELD_MISSING".to_owned() },
        detail: "detail".to_owned(),
        hint: "hint".to_owned(),
        topic: topic.to_owned(),
        partition: 0,
        offset,
        timestamp: Some(1_767_225_600_000),
        key: Some(key.as_bytes().to_vec()),
        value: Some(format!("value of {key}").into_bytes()),
        headers: vec![("ce_id".to_owned(), Some(b"1".to_vec()))],
        object: (stage == Stage::Sink).then(|| "CampaignMember".to_owned()),
        external_id: (stage == Stage::Sink).then(|| key.to_owned()),
        fields: Vec::new(),
        attempts: 1,
        at: 1_767_225_600_000,
        cut: None,
    }
}

/// Of the time that a letter of it says.
fn upsert(topic: &str, key: &str, value: &str) -> Record {
    Record { partition: Some(0), timestamp: Some(1_767_225_600_000), ..Record::new(topic, key, value) }
}

#[test]
fn dead_letters_are_counted_shown_and_sent_again_as_they_were() {
    let setup = Setup::created("letters");
    let client = kafka().client();
    let upsert = |key: &str, value: &str| upsert(&setup.topics.upserts, key, value);
    // Row `a` has a newer version than the letter's, row `b` has not.
    harness::write(&client, &[upsert("a", "old"), upsert("b", "value of b"), upsert("a", "new")]);
    let letters = [
        letter(Stage::Fold, &setup.topics.views, 7, "event"),
        letter(Stage::Sink, &setup.topics.upserts, 0, "a"),
        letter(Stage::Sink, &setup.topics.upserts, 1, "b"),
    ];
    let records = letters.map(|letter| Record {
        partition: Some(1),
        ..Record::new(&setup.topics.dead_letters, letter.key.clone().unwrap(), letter.encode())
    });
    harness::write(&client, &records);

    let (_, groups) = setup.json(&["dead-letters", "list"]);
    let counts: Vec<_> = groups.as_array().unwrap().iter().map(|group| (&group["reason"], &group["count"])).collect();
    assert_eq!(counts, [(&json!("undecodable"), &json!(1)), (&json!("REQUIRED_FIELD_MISSING"), &json!(2))]);
    let (_, each) = setup.json(&["dead-letters", "list", "--each", "--reason", "undecodable"]);
    assert_eq!(each[0]["position"], "1/0");
    let since =
        |time: &str| setup.json(&["dead-letters", "list", "--each", "--since", time]).1.as_array().unwrap().len();
    assert_eq!((since("2026-01-01T00:00:00Z"), since("2026-01-01T00:00:01Z")), (3, 0), "as the letters say themselves");
    let source = format!("{}/0/7", setup.topics.views);
    assert_eq!(setup.json(&["dead-letters", "show", &source]), setup.json(&["dead-letters", "show", "1/0"]));
    assert_eq!(setup.json(&["dead-letters", "show", "1/0"]).1["source"]["value"], "value of event");

    assert_eq!(setup.run(&["dead-letters", "redrive"]).0, 2, "nothing says which ones");
    let (code, _, stderr) = setup.run(&["dead-letters", "redrive", "1/0", "1/999"]);
    assert!(code == 1 && stderr.contains("`1/999`"), "{stderr}");
    assert_eq!(harness::read(&client, &setup.topics.views), [], "a position that is none sends nothing");
    let (code, report) = setup.json(&["dead-letters", "redrive", "--all", "--dry-run"]);
    assert_eq!((code, &report["sent"]), (3, &json!(2)));
    assert_eq!(harness::read(&client, &setup.topics.views), [], "a dry run sends nothing");
    let (code, report) = setup.json(&["dead-letters", "redrive", "--all"]);
    assert_eq!((code, &report["sent"], &report["left"][0]["position"]), (3, &json!(2), &json!("1/1")));

    let events = harness::read(&client, &setup.topics.views);
    let headers = |count: &str| vec![("ce_id", b"1".to_vec()), ("rollbook-redrives", count.as_bytes().to_vec())];
    let headers =
        |count| headers(count).into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect::<Vec<_>>();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].value.as_deref(), events[0].timestamp),
        (Some(&b"value of event"[..]), Some(1_767_225_600_000))
    );
    assert_eq!(events[0].headers, headers("1"));
    let rows = harness::read(&client, &setup.topics.upserts);
    let keys: Vec<_> = rows.iter().map(|row| row.key.as_deref().unwrap()).collect();
    assert_eq!(keys, [b"a", b"b", b"a", b"b"], "only the newest version is sent again");

    // The event is refused again: of its two letters one is sent.
    let mut again = letter(Stage::Fold, &setup.topics.views, 8, "event");
    again.headers.clone_from(&events[0].headers);
    let key = again.key.clone().unwrap();
    harness::write(
        &client,
        &[Record { partition: Some(1), ..Record::new(&setup.topics.dead_letters, key, again.encode()) }],
    );
    let (_, report) = setup.json(&["dead-letters", "redrive", "--reason", "undecodable"]);
    assert_eq!(report["sent"], json!(1));
    let events = harness::read(&client, &setup.topics.views);
    assert_eq!((events.len(), &events[1].headers), (2, &headers("2")));
}

#[test]
fn the_port_serves_metrics_and_health() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::bind("127.0.0.1:0".parse().unwrap())).unwrap();
    let base = format!("http://{}", server.address);
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::default()));
    let (stop, stopped) = watch::channel(false);
    let port = runtime.spawn(server.serve(metrics, Arc::clone(&health), stopped));
    let get = |path: &str| http::get(&format!("{base}{path}")).unwrap();
    assert!(get("/metrics").body.contains("rollbook_build_info"));
    health.fold(0).ready(false, "restoring");
    assert_eq!((get("/livez").status, get("/readyz").status), (200, 503));
    assert!(get("/readyz").body.contains("restoring"));
    health.fold(0).ready(true, "");
    assert_eq!(get("/readyz").status, 200);
    stop.send_replace(true);
    harness::until("the end of the port", std::time::Duration::from_secs(10), || {
        if port.is_finished() { Ok(()) } else { Err("it goes on".to_owned()) }
    });
}
