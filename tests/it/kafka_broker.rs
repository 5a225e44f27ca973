//! The harness' own tests: the outside that the other tests rely on is what it claims to be.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::harness::{self, Gate, Process, Record};

const WITHIN: Duration = Duration::from_secs(30);

/// Names the file for a child's number in a test process that is about to be killed.
const DOOMED: &str = "ROLLBOOK_TEST_DOOMED";

#[test]
fn a_record_comes_back_whole() {
    let kafka = harness::kafka();
    let topic = harness::names("whole").topics.views;
    harness::create(&kafka.client(), &[&topic], harness::PARTITIONS, &[]);
    let tombstone = Record { value: None, ..Record::new(&topic, "key", "") };
    let full =
        Record { timestamp: Some(1_700_000_000_123), ..Record::new(&topic, "key", "value").header("ce_id", "7") };
    let places = harness::write(&kafka.client(), &[full.clone(), tombstone.clone()]);
    let (partition, offset) = places[0];
    assert_eq!(places[1], (partition, offset + 1), "one key, one partition, in order");

    let records = harness::read(&kafka.client(), &topic);
    let position = |record: Record, offset| Record { partition: Some(partition), offset: Some(offset), ..record };
    let read_tombstone = Record { timestamp: records[1].timestamp, ..tombstone };
    assert_eq!(records, [position(full, offset), position(read_tombstone, offset + 1)]);
}

#[test]
fn a_reader_sees_committed_transactions_only() {
    let kafka = harness::kafka();
    let names = harness::names("transactions");
    let topic = &names.topics.state;
    harness::create(&kafka.client(), &[topic], 1, &[("cleanup.policy", "compact")]);
    let mut client = kafka.client();
    let producer: BaseProducer = client.set("transactional.id", &names.prefix).create().expect("settings");
    producer.init_transactions(WITHIN).expect("the broker has transactions");
    for (value, commit) in [("aborted", false), ("committed", true)] {
        producer.begin_transaction().expect("begins");
        producer.send(BaseRecord::to(topic).key("key").payload(value)).map_err(|(error, _)| error).expect("sends");
        producer.flush(WITHIN).expect("delivered");
        if commit { producer.commit_transaction(WITHIN) } else { producer.abort_transaction(WITHIN) }.expect("ends");
    }
    let values: Vec<_> = harness::read(&kafka.client(), topic).into_iter().filter_map(|record| record.value).collect();
    assert_eq!(values, [b"committed"]);
    assert_eq!(harness::committed(&kafka.client(), "nobody", topic, 1), [None]);
}

#[test]
fn sasl_ssl_admits_both_users_and_nobody_else() {
    let secure = harness::sasl_ssl();
    let metadata = |user: &[(&str, String)]| {
        let mut client = rdkafka::ClientConfig::new();
        client.set("bootstrap.servers", &secure.bootstrap);
        for (name, value) in user {
            client.set(*name, value);
        }
        let producer: BaseProducer = client.create().expect("settings");
        let seen = producer.client().fetch_metadata(None, Duration::from_secs(5));
        seen.map(|metadata| metadata.brokers().len())
    };
    for user in [harness::SCRAM, harness::PLAIN] {
        assert_eq!(metadata(&secure.properties(user)), Ok(1), "{user:?}");
    }
    let mut stranger = secure.properties(harness::PLAIN);
    stranger.retain(|(name, _)| *name != "sasl.password");
    stranger.push(("sasl.password", "wrong".to_owned()));
    assert!(metadata(&stranger).is_err());
}

#[test]
fn a_shut_gate_is_an_outage_and_an_open_one_is_not() {
    let registry = harness::registry();
    let gate = Gate::open_to(registry.address);
    let url = format!("{}/subjects", harness::url_at(gate.address()));
    let id = registry.register("gate-value", r#"{"type":"record","name":"Gate","fields":[]}"#);
    assert!(id > 0);
    assert_eq!(harness::http::get(&url).map(|answer| answer.status), Ok(200));
    gate.shut();
    assert!(harness::http::get(&url).is_err());
    assert!(gate.refused() > 0);
    gate.open();
    assert_eq!(harness::http::get(&url).map(|answer| answer.status), Ok(200));
}

#[test]
fn a_killed_child_is_gone_and_its_output_kept() {
    let mut child =
        Process::spawn("sleeper", Command::new("sh").args(["-c", "echo started; exec sleep 600"])).expect("starts");
    harness::until("the child's first line", WITHIN, || {
        if child.log().contains("started") { Ok(()) } else { Err(child.log_tail()) }
    });
    assert_eq!(child.exited(), None);
    child.kill();
    assert!(child.exited().is_some_and(|status| !status.success()));
}

#[test]
fn a_child_dies_with_the_tests_however_they_end() {
    if let Some(file) = env::var_os(DOOMED) {
        die_with_a_child(Path::new(&file));
    }
    let file = harness::folder().join("orphan");
    let mut doomed = Command::new(env::current_exe().expect("the test binary has a path"));
    doomed.args(["--exact", "kafka_broker::a_child_dies_with_the_tests_however_they_end"]).env(DOOMED, &file);
    let mut doomed = Process::spawn("doomed", &mut doomed).expect("starts");
    let status = doomed.wait(WITHIN).expect("it kills itself");
    let child = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{status}, {error}: {}", doomed.log_tail()));
    harness::until("the child to be gone", WITHIN, || match fs::read(format!("/proc/{child}/cmdline")) {
        // What is dead and not yet reaped has no command line.
        Ok(command) if !command.is_empty() => Err(String::from_utf8_lossy(&command).into_owned()),
        Ok(_) | Err(_) => Ok(()),
    });
}

/// As a run that is killed in the middle: nothing is dropped, nothing is told.
fn die_with_a_child(file: &Path) -> ! {
    let child = Process::spawn("orphan", Command::new("sleep").arg("600")).expect("starts");
    fs::write(file, child.id().to_string()).expect("the target folder is writable");
    let own = std::process::id().to_string();
    let _ = Command::new("sh").args(["-c", "kill -9 \"$1\"", "kill", &own]).status();
    unreachable!("killed")
}

#[test]
fn what_is_missing_is_named_with_its_package() {
    let missing = harness::tool("no-such-tool").expect_err("there is no such tool");
    assert!(missing.contains("`no-such-tool` is not on the PATH") && missing.contains("install"), "{missing}");
    assert!(harness::tool("java").is_ok());
}

#[test]
fn a_failing_command_is_quoted() {
    let failure = harness::run("failing", Command::new("sh").args(["-c", "echo because >&2; exit 3"]), WITHIN);
    assert!(failure.is_err_and(|why| why.contains("because") && why.contains('3')));
}
