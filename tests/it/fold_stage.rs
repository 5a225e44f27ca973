//! The fold stage alone, in this process, on a real Kafka.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rollbook::config::Config;
use rollbook::dead_letter::DeadLetter;
use rollbook::health::Health;
use rollbook::kafka::{self, membership};
use rollbook::metrics::{Metrics, RecordOutcome};
use rollbook::stage::{self, Process, Stage, StageError};
use rollbook::topic_table::Topic;
use rollbook::upsert::{ReadUpsert, Value};
use tokio::sync::watch;

use crate::harness::{self, Names, PARTITIONS, Record};

const CAMPAIGN: &str = "70103000000cnFXAAY";
const LEAD: &str = "00Q0300000AczgfEAB";
const WITHIN: Duration = Duration::from_mins(1);

/// The fold stage on a thread of the test's own.
struct Fold {
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<(), StageError>>,
}

impl Fold {
    fn start(names: &Names, more: &str) -> Self {
        let config = config(names, more);
        let (stop, stopped) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let process = Process { metrics: Arc::clone(&metrics), health: Arc::new(Health::default()), stop: stopped };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
            runtime.block_on(stage::run(config, &[Stage::Fold], process))
        });
        Self { metrics, stop, thread }
    }

    fn stop(self) {
        self.stop.send_replace(true);
        self.thread.join().expect("the stage does not panic").expect("the stage ends well");
    }

    fn count(&self, topic: Topic, outcome: RecordOutcome) -> u64 {
        self.metrics.records(topic, outcome).get()
    }
}

fn config(names: &Names, more: &str) -> Config {
    let topics = toml::to_string(&names.topics).expect("topics are TOML");
    let memory_only = if more.contains("[state]") { "" } else { "[state]\ndir = \"\"\n" };
    let text = format!(
        "application = \"{}\"\n[kafka]\nbootstrap = \"{}\"\n[topics]\n{topics}\n{memory_only}{more}",
        names.prefix,
        harness::kafka().bootstrap()
    );
    Config::parse(&text, std::path::Path::new("."), &|_| None).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn key() -> String {
    format!("{CAMPAIGN}_{LEAD}")
}

fn registered(names: &Names, event_id: &str) -> Record {
    let value = format!(
        r#"{{"event_id":"{event_id}","source":"test","occurred_at":"2026-03-01T10:00:00Z","campaign_id":"{CAMPAIGN}","lead_id":"{LEAD}","action":"REGISTERED"}}"#
    );
    Record::new(&names.topics.registrations, key(), value)
}

fn upserts(names: &Names) -> Vec<ReadUpsert> {
    let records = harness::read(&harness::kafka().client(), &names.topics.upserts);
    let decode = |record: &Record| ReadUpsert::decode(record.value.as_deref().expect("no tombstones are written"));
    records.iter().map(|record| decode(record).expect("the stage writes upserts")).collect()
}

fn wait_for_outcomes(fold: &Fold, topic: Topic, outcome: RecordOutcome, count: u64) {
    harness::until("records to be counted", WITHIN, || {
        let seen = fold.count(topic, outcome);
        if seen >= count { Ok(()) } else { Err(format!("{seen} of {count} {outcome:?} on {topic:?}")) }
    });
}

#[test]
fn an_event_becomes_a_state_and_an_upsert_and_its_duplicate_nothing() {
    let names = harness::names("fold-one");
    let client = harness::kafka().client();
    let fold = Fold::start(&names, "");
    wait_for_topics(&names);
    harness::write(&client, &[registered(&names, "e1"), registered(&names, "e1")]);
    wait_for_outcomes(&fold, Topic::Registrations, RecordOutcome::Unchanged, 1);
    assert_eq!(fold.count(Topic::Registrations, RecordOutcome::Changed), 1);
    let upserts = upserts(&names);
    assert_eq!(upserts.len(), 1);
    assert_eq!(upserts[0].external_id, key());
    assert_eq!(upserts[0].fields, [("Status".into(), Value::Text("Registered".to_owned()))]);
    assert_eq!(harness::states(&client, &names.topics).len(), 1);
    fold.stop();
}

#[test]
fn an_event_in_the_wrong_partition_is_folded_where_it_belongs() {
    let names = harness::names("fold-wrong");
    let client = harness::kafka().client();
    let fold = Fold::start(&names, "");
    wait_for_topics(&names);
    let home = rollbook::route::partition(key().as_bytes(), PARTITIONS);
    let mut stray = registered(&names, "e1");
    stray.partition = Some(1 - home);
    harness::write(&client, &[stray]);
    wait_for_outcomes(&fold, Topic::Resolved, RecordOutcome::Changed, 1);
    assert_eq!(fold.count(Topic::Registrations, RecordOutcome::Rerouted), 1);
    let states = harness::states(&client, &names.topics);
    assert_eq!(states.iter().map(|state| state.partition).collect::<Vec<_>>(), [Some(home)]);
    fold.stop();
}

#[test]
fn a_restart_restores_the_states_and_sends_nothing_again() {
    let names = harness::names("fold-restart");
    let client = harness::kafka().client();
    let fold = Fold::start(&names, "");
    wait_for_topics(&names);
    harness::write(&client, &[registered(&names, "e1")]);
    wait_for_outcomes(&fold, Topic::Registrations, RecordOutcome::Changed, 1);
    fold.stop();
    let fold = Fold::start(&names, "");
    harness::write(&client, &[registered(&names, "e2")]);
    wait_for_outcomes(&fold, Topic::Registrations, RecordOutcome::Unchanged, 1);
    assert!(fold.metrics.state_restored_records.get() > 0);
    assert_eq!(upserts(&names).len(), 1);
    fold.stop();
}

#[test]
fn a_late_start_of_a_session_derives_its_members_again() {
    let names = harness::names("fold-catalogue");
    let client = harness::kafka().client();
    let fold = Fold::start(&names, "");
    wait_for_topics(&names);
    let join = format!(
        r#"{{"event_id":"j1","source":"test","occurred_at":"2026-03-01T10:00:00Z","campaign_id":"{CAMPAIGN}","lead_id":"{LEAD}","entry_id":"1_abc","action":"JOIN"}}"#
    );
    harness::write(&client, &[Record::new(&names.topics.attendance, key(), join)]);
    wait_for_outcomes(&fold, Topic::Attendance, RecordOutcome::Changed, 1);
    assert_eq!(statuses(&names), ["Participated"]);
    let session = format!(
        r#"{{"event_id":"s1","source":"test","updated_at":"2026-03-02T10:00:00Z","campaign_id":"{CAMPAIGN}","entry_id":"1_abc","scheduled_start":"2026-03-01T11:00:00Z"}}"#
    );
    let session = Record::new(&names.topics.sessions, format!("{CAMPAIGN}_1_abc"), session);
    harness::write(&client, &[session]);
    harness::until("the status to follow the catalogue", WITHIN, || {
        let statuses = statuses(&names);
        if statuses == ["Participated", "Attended"] { Ok(()) } else { Err(format!("{statuses:?}")) }
    });
    fold.stop();
}

#[test]
fn a_statement_that_is_older_than_what_a_predecessor_wrote_is_no_news() {
    let names = harness::names("fold-predecessor");
    let client = harness::kafka().client();
    let fold = Fold::start(&names, "");
    wait_for_topics(&names);
    let statement = |updated_at: &str| {
        format!(r#"{{"event_id":"s","source":"t","updated_at":"{updated_at}","campaign_id":"{CAMPAIGN}"}}"#)
    };
    // The predecessor owns a partition of the sessions; there an older statement waits for its successor.
    let (predecessor, partition) = predecessor(&names);
    let older = Record::new(&names.topics.sessions, CAMPAIGN, statement("2026-03-01T10:00:00Z"));
    harness::write(&client, &[Record { partition: Some(partition), ..older }]);
    // It has written a newer one, which nobody sees as long as another transaction is open before it. The broker ends
    // that one by its timeout.
    let catalogue = &names.topics.catalogue;
    let neighbour = transaction(&client, &format!("{}-neighbour", names.prefix));
    neighbour.send(BaseRecord::to(catalogue).key("neighbour").payload("")).expect("there is room");
    neighbour.flush(WITHIN).expect("the broker takes it");
    let writer = transaction(&client, &format!("{}-predecessor", names.prefix));
    writer.send(BaseRecord::to(catalogue).key(CAMPAIGN).payload(&statement("2026-03-02T10:00:00Z"))).expect("room");
    writer.commit_transaction(WITHIN).expect("it is committed");
    drop(predecessor);
    wait_for_outcomes(&fold, Topic::Sessions, RecordOutcome::Unchanged, 1);
    assert_eq!(fold.count(Topic::Sessions, RecordOutcome::Changed), 0);
    fold.stop();
}

/// A member of the fold's group that does nothing, and the partition of each input that it has.
fn predecessor(names: &Names) -> (BaseConsumer, i32) {
    let mut client = harness::kafka().client();
    client.set("group.id", format!("{}-fold", names.prefix)).set("partition.assignment.strategy", "range");
    client.set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create().expect("the settings are right");
    let inputs: Vec<&str> = names.inputs().collect();
    consumer.subscribe(&inputs).expect("subscribed");
    let partition = harness::until("a partition of each input", WITHIN, || {
        drop(consumer.poll(Duration::from_millis(50)));
        let assigned = consumer.assignment().map_err(|error| error.to_string())?;
        let of_sessions = assigned.elements_for_topic(&names.topics.sessions);
        if assigned.count() == inputs.len() { Ok(of_sessions[0].partition()) } else { Err(format!("{assigned:?}")) }
    });
    (consumer, partition)
}

/// A producer with a transaction that is open for some seconds at most.
fn transaction(client: &ClientConfig, transactional_id: &str) -> BaseProducer {
    let mut client = client.clone();
    client.set("transactional.id", transactional_id).set("transaction.timeout.ms", "6000");
    let producer: BaseProducer = client.create().expect("the settings are right");
    producer.init_transactions(WITHIN).expect("the broker answers");
    producer.begin_transaction().expect("none is open");
    producer
}

#[test]
fn a_refused_record_is_a_dead_letter_with_everything_it_came_with() {
    let names = harness::names("fold-refused");
    let client = harness::kafka().client();
    let fold = Fold::start(&names, "");
    wait_for_topics(&names);
    let mut bad = Record::new(&names.topics.views, "some key", "neither Avro nor JSON").header("trace", "7");
    bad.timestamp = Some(1_772_000_000_000);
    let position = harness::write(&client, &[bad.clone()]);
    wait_for_outcomes(&fold, Topic::Views, RecordOutcome::Refused, 1);
    let letters = harness::read(&client, &names.topics.dead_letters);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].key, bad.key);
    let letter = DeadLetter::decode(letters[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(letter.reason, "undecodable");
    assert_eq!((letter.key, letter.value, letter.headers), (bad.key, bad.value, bad.headers));
    assert_eq!((letter.topic, letter.partition, letter.offset), (bad.topic, position[0].0, position[0].1));
    assert_eq!(letter.timestamp, bad.timestamp);
    fold.stop();
}

#[test]
fn a_consumer_with_a_rebalance_that_nobody_took_can_be_closed() {
    let names = harness::names("fold-close");
    harness::create(&harness::kafka().client(), &[&names.topics.views], PARTITIONS, &[]);
    let name = kafka::MemberName { instance: "one".to_owned(), member: "fold-0".to_owned() };
    let consumer = kafka::group_consumer(&config(&names, ""), "fold", &name).expect("the settings are right");
    consumer.subscribe(&[&names.topics.views]).expect("subscribed");
    harness::until("an assignment", WITHIN, || {
        consumer.poll(Duration::from_millis(50));
        if consumer.context().rebalance_pending() { Ok(()) } else { Err("none yet".to_owned()) }
    });
    let closed = std::thread::spawn(move || {
        membership::leave(&consumer);
        drop(consumer);
    });
    harness::until("the consumer to be closed", WITHIN, || {
        if closed.is_finished() { Ok(()) } else { Err("it waits for an acknowledgement".to_owned()) }
    });
}

fn statuses(names: &Names) -> Vec<String> {
    let of = |upsert: ReadUpsert| match upsert.fields.into_iter().find(|(name, _)| name == "Status") {
        Some((_, Value::Text(status))) => Some(status),
        _ => None,
    };
    upserts(names).into_iter().filter_map(of).collect()
}

/// The stage creates its topics; producers that come first would get others.
fn wait_for_topics(names: &Names) {
    let client = harness::kafka().client();
    harness::until("the topics to be there", WITHIN, || harness::partitions(&client, &names.topics.dead_letters));
}

#[test]
fn settings_that_the_group_refuses_stop_the_start() {
    let names = harness::names("fold-settings");
    let fold = Fold::start(
        &names,
        "[kafka.properties]\n\"session.timeout.ms\" = \"1000\"\n\"heartbeat.interval.ms\" = \"300\"\n",
    );
    let ended = fold.thread.join().expect("the stage does not panic");
    let mut error: &dyn std::error::Error = &ended.expect_err("Kafka takes no session of a second");
    let mut chain = error.to_string();
    while let Some(source) = error.source() {
        error = source;
        chain = format!("{chain}: {error}");
    }
    assert!(chain.contains("InvalidSessionTimeout"), "{chain}");
}
