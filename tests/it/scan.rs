//! Looking at topics on a real broker: by times, and beside transactions that are open. The mock has neither.

use std::path::Path;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rollbook::config::Config;
use rollbook::kafka::scan::{Bound, Next, Range, Scanner};

use crate::harness::{self, Record};

const WITHIN: Duration = Duration::from_secs(30);

fn scanner() -> Scanner {
    let text = format!("[kafka]\nbootstrap = \"{}\"\n", harness::kafka().bootstrap());
    let config = Config::parse(&text, Path::new("."), &|_| None).expect("the settings are right");
    Scanner::new(&config).expect("a client")
}

/// The values found, in their order.
fn read(scanner: &Scanner, range: Range) -> Vec<String> {
    let mut found = Vec::new();
    let each = |record: &rdkafka::message::BorrowedMessage| {
        found.push(String::from_utf8_lossy(record.payload().unwrap_or_default()).into_owned());
        Next::On
    };
    scanner.read(&[range], each).expect("the broker answers");
    found
}

#[test]
fn times_are_where_the_broker_finds_them() {
    let topic = harness::names("scan-times").topics.views;
    harness::create(&harness::kafka().client(), &[&topic], 1, &[]);
    let record = |value: &str, at| Record { timestamp: Some(at), ..Record::new(&topic, "key", value) };
    let start = 1_700_000_000_000;
    let records: Vec<Record> = (0..5).map(|number| record(&number.to_string(), start + number * 1_000)).collect();
    harness::write(&harness::kafka().client(), &records);
    let (scanner, all) = (scanner(), || Range::of(&topic));
    let at = |millis: i64| Bound::Time(start + millis);
    assert_eq!(read(&scanner, all().from(at(2_000))), ["2", "3", "4"]);
    assert_eq!(read(&scanner, all().from(at(2_001)).until(at(4_000))), ["3"], "the end is no part of it");
    assert_eq!(read(&scanner, all().until(at(500))), ["0"]);
    assert_eq!(read(&scanner, all().from(at(-500)).until(at(9_000))).len(), 5);
    assert_eq!(read(&scanner, all().from(at(9_000))), [""; 0], "nothing is so late");
}

#[test]
fn a_look_ends_before_a_transaction_that_is_open() {
    let names = harness::names("scan-open");
    let topic = &names.topics.state;
    harness::create(&harness::kafka().client(), &[topic], 1, &[]);
    harness::write(&harness::kafka().client(), &[Record::new(topic, "key", "before")]);
    let mut client = harness::kafka().client();
    let producer: BaseProducer = client.set("transactional.id", &names.prefix).create().expect("settings");
    producer.init_transactions(WITHIN).expect("the broker has transactions");
    producer.begin_transaction().expect("begins");
    producer.send(BaseRecord::to(topic).key("key").payload("open")).map_err(|(error, _)| error).expect("sends");
    producer.flush(WITHIN).expect("delivered");
    harness::write(&harness::kafka().client(), &[Record::new(topic, "key", "behind")]);
    let scanner = scanner();
    assert_eq!(read(&scanner, Range::of(topic)), ["before"]);
    producer.commit_transaction(WITHIN).expect("ends");
    // The mark that ends it may come a moment later.
    harness::until("the transaction to be over", WITHIN, || {
        let found = read(&scanner, Range::of(topic));
        if found == ["before", "open", "behind"] { Ok(()) } else { Err(format!("{found:?}")) }
    });
}
