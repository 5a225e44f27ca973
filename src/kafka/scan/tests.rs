//! Looks at topics of a mock, which has offsets and no times, and no transactions.

use std::path::Path;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::kafka::client_config;

const WITHIN: Duration = Duration::from_secs(30);
/// A look that does not end by itself ends here.
const FAR_TOO_MANY: usize = 50;

/// A broker with two topics of two partitions, and somebody who writes.
struct Scene {
    config: Config,
    producer: BaseProducer,
    _cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Scene {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["one", "two"] {
            cluster.create_topic(topic, 2, 1).unwrap();
        }
        let text = format!("[kafka]\nbootstrap = \"{}\"\n", cluster.bootstrap_servers());
        let config = Config::parse(&text, Path::new("."), &|_| None).unwrap();
        let producer = client_config(&config).create().unwrap();
        Self { config, producer, _cluster: cluster }
    }

    fn write(&self, topic: &str, partition: i32, keys: &[&str]) {
        for key in keys {
            let record = BaseRecord::to(topic).partition(partition).key(*key).payload("value");
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(WITHIN).unwrap();
    }

    fn scanner(&self) -> Scanner {
        Scanner::new(&self.config).unwrap()
    }
}

/// `topic/partition/offset key` of each record, in the order of partitions, and how far the look came.
fn read(scanner: &Scanner, ranges: &[Range]) -> (Vec<String>, Progress) {
    let (mut found, mut last) = (Vec::new(), Progress::default());
    let each = |record: &BorrowedMessage| {
        let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
        found.push(format!("{}/{}/{} {key}", record.topic(), record.partition(), record.offset()));
        Next::On
    };
    scanner.read_telling(ranges, each, |progress| last = progress).unwrap();
    found.sort();
    (found, last)
}

#[test]
fn what_is_written_meanwhile_is_no_part_of_a_look() {
    let scene = Scene::new();
    scene.write("one", 0, &["a"]);
    scene.write("two", 0, &["b"]);
    let mut found = Vec::new();
    let each = |record: &BorrowedMessage| {
        // The other topic is not read yet, so that its next records stand there when it is.
        scene.write("two", 0, &["later"]);
        found.push((record.topic().to_owned(), record.offset()));
        if found.len() < FAR_TOO_MANY { Next::On } else { Next::Enough }
    };
    scene.scanner().read(&[Range::of("one"), Range::of("two")], each).unwrap();
    assert_eq!(found, [("one".to_owned(), 0), ("two".to_owned(), 0)], "where the logs ended when the look began");
}

#[test]
fn topics_partitions_offsets_and_keys_are_those_that_were_asked_for() {
    let scene = Scene::new();
    scene.write("one", 0, &["a1", "b1", "a2", "a3"]);
    scene.write("one", 1, &["a4", "a5"]);
    scene.write("two", 1, &["c"]);
    let ranges = [
        Range::of("one").keys(b"a").from(Bound::Offset(1)).until(Bound::Offset(3)),
        Range::of("two").partitions([1]),
        Range::of("two").partitions([0]),
    ];
    let (found, progress) = read(&scene.scanner(), &ranges);
    assert_eq!(found, ["one/0/2 a2", "one/1/1 a5", "two/1/0 c"]);
    assert_eq!(progress, Progress { passed: 4, of: 4 }, "offsets 1 and 2, offset 1, offset 0");
    let beyond = [Range::of("one").from(Bound::Offset(1_000)), Range::of("one").partitions([])];
    assert_eq!(read(&scene.scanner(), &beyond), (Vec::new(), Progress::default()), "nothing is so far behind");
    assert!(matches!(scene.scanner().read(&[Range::of("three")], |_| Next::On), Err(ScanError::NoTopic(_))));
}

#[test]
fn a_partition_that_was_done_before_others_is_read_again_by_the_same_client() {
    let scene = Scene::new();
    let many: Vec<&str> = std::iter::repeat_n("key", 500).collect();
    scene.write("one", 0, &["a", "b", "c"]);
    scene.write("one", 1, &many);
    let scanner = scene.scanner();
    let (found, _) = read(&scanner, &[Range::of("one").until(Bound::Offset(2))]);
    assert_eq!(found, ["one/0/0 a", "one/0/1 b", "one/1/0 key", "one/1/1 key"]);
    let mut first = None;
    let enough = |record: &BorrowedMessage| {
        first = Some(record.offset());
        Next::Enough
    };
    scanner.read(&[Range::of("one").partitions([1]), Range::of("one")], enough).unwrap();
    assert_eq!(first, Some(0));
    assert_eq!(read(&scanner, &[Range::of("one").partitions([0])]).0, ["one/0/0 a", "one/0/1 b", "one/0/2 c"]);
    assert_eq!(read(&scanner, &[Range::of("one")]).0.len(), 503);
}
