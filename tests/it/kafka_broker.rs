//! The harness' own tests: the outside that the other tests rely on is what it claims to be.

use std::process::Command;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::harness::{self, Gate, Process, Record};

const WITHIN: Duration = Duration::from_secs(30);

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
