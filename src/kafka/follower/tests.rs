//! A topic whose broker does what is asked of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{OwnedMessage, Timestamp};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::kafka::clock::Clock;

const TURN: Duration = Duration::from_secs(1);

struct Stored {
    id: Option<&'static str>,
    /// Keys, by partition and offset.
    logs: Vec<Vec<&'static str>>,
    unled: BTreeSet<i32>,
    answering_since: Option<Instant>,
    /// The next client to be asked for a record ends.
    ends_clients: bool,
    /// How often it was described.
    described: u32,
    /// Clients that were made.
    clients: u32,
    now: Instant,
    /// What is waited for, as it was told.
    waits: Vec<Option<String>>,
    passed_over: u64,
}

#[derive(Clone)]
struct Broker(Arc<Mutex<Stored>>);

impl Broker {
    fn new(logs: &[&[&'static str]]) -> Self {
        Self(Arc::new(Mutex::new(Stored {
            id: Some("first"),
            logs: logs.iter().map(|log| log.to_vec()).collect(),
            unled: BTreeSet::new(),
            answering_since: Some(Instant::now()),
            ends_clients: false,
            described: 0,
            clients: 0,
            now: Instant::now(),
            waits: Vec::new(),
            passed_over: 0,
        })))
    }

    fn topic(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap()
    }

    fn follower(&self) -> Follower<Client> {
        let (makes, hears) = (self.clone(), self.clone());
        let make = move || {
            makes.topic().clients += 1;
            Ok(Client { broker: makes.clone(), positions: RefCell::default() })
        };
        Follower::new("notes", make, move |said| match said {
            Said::Waits(why) => hears.topic().waits.push(why),
            Said::PassedOver(records) => hears.topic().passed_over += records,
        })
    }
}

struct Client {
    broker: Broker,
    /// Where each partition is read on, and whether its end was reported.
    positions: RefCell<BTreeMap<i32, (i64, bool)>>,
}

impl Clock for Client {
    fn now(&self) -> Instant {
        self.broker.topic().now
    }

    fn sleep(&self, pause: Duration) {
        self.broker.topic().now += pause;
    }
}

fn end(log: &[&str]) -> i64 {
    i64::try_from(log.len()).unwrap()
}

impl Client {
    fn end(&self, partition: i32) -> KafkaResult<i64> {
        let topic = self.broker.topic();
        let log = topic.logs.get(usize::try_from(partition).unwrap()).filter(|_| !topic.unled.contains(&partition));
        log.filter(|_| topic.answering_since.is_some())
            .map(|log| end(log))
            .ok_or(KafkaError::AdminOp(RDKafkaErrorCode::LeaderNotAvailable))
    }

    fn next(&self) -> Option<KafkaResult<OwnedMessage>> {
        let mut topic = self.broker.topic();
        if std::mem::take(&mut topic.ends_clients) {
            return Some(Err(KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::Fatal)));
        }
        for (partition, (offset, ended)) in self.positions.borrow_mut().iter_mut() {
            let Some(log) = topic.logs.get(usize::try_from(*partition).unwrap()) else { continue };
            if let Some(key) = log.get(usize::try_from(*offset).unwrap()) {
                let (key, at) = (Some(key.as_bytes().to_vec()), Timestamp::NotAvailable);
                let message = OwnedMessage::new(None, key, "notes".to_owned(), at, *partition, *offset, None);
                (*offset, *ended) = (*offset + 1, false);
                return Some(Ok(message));
            }
            if !std::mem::replace(ended, true) {
                return Some(Err(KafkaError::PartitionEOF(*partition)));
            }
        }
        None
    }
}

impl Log for Client {
    type Message<'m> = OwnedMessage;

    fn describe(&self, _: &str) -> KafkaResult<Seen> {
        let mut topic = self.broker.topic();
        topic.described += 1;
        let partitions = i32::try_from(topic.logs.len()).unwrap();
        let leaders = (0..partitions).filter(|it| !topic.unled.contains(it)).map(|it| (it, 1)).collect();
        Ok(Seen::There(Described { id: topic.id.map(str::to_owned), partitions, leaders }, None))
    }

    fn ends(&self, _: &str, partition: i32) -> KafkaResult<(i64, i64)> {
        self.end(partition).map(|end| (0, end))
    }

    fn stable_end(&self, _: &str, partition: i32) -> KafkaResult<i64> {
        self.end(partition)
    }

    fn assign(&self, assignment: &TopicPartitionList) -> KafkaResult<()> {
        let place = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let Offset::Offset(offset) = element.offset() else { panic!("the reader says where to begin") };
            (element.partition(), (offset, false))
        };
        *self.positions.borrow_mut() = assignment.elements().iter().map(place).collect();
        Ok(())
    }

    fn poll(&self, wait: Duration) -> Option<KafkaResult<OwnedMessage>> {
        let next = self.next();
        if next.is_none() {
            self.sleep(wait);
        }
        next
    }

    fn answering_since(&self) -> Option<Instant> {
        self.broker.topic().answering_since
    }

    fn outdated(&self) -> bool {
        false
    }
}

/// Keys that were heard; "anew" stands for the topic's end. A key with an exclamation mark means nothing.
#[derive(Default)]
struct Ear(Vec<String>);

impl Hears for Ear {
    fn record(&mut self, change: &Change<'_>) -> Result<(), &'static str> {
        let key = std::str::from_utf8(change.key).unwrap();
        if key.ends_with('!') {
            return Err("it means nothing");
        }
        self.0.push(key.to_owned());
        Ok(())
    }

    fn anew(&mut self) {
        self.0.push("anew".to_owned());
    }
}

impl Ear {
    /// What is heard in so many turns.
    fn hear(&mut self, follower: &mut Follower<Client>, turns: u32) -> Vec<String> {
        for _ in 0..turns {
            follower.turn(TURN, self);
        }
        std::mem::take(&mut self.0)
    }
}

/// As many turns as there are between two looks, and some.
const A_LOOK: u32 = 15;

#[test]
fn a_topic_is_heard_to_its_end_and_followed_and_what_means_nothing_is_passed_over() {
    let broker = Broker::new(&[&["a", "b!", "c"], &["d"]]);
    let (mut follower, mut ear) = (broker.follower(), Ear::default());
    assert!(!follower.whole());
    assert_eq!(ear.hear(&mut follower, 2), ["a", "c", "d"]);
    assert!(follower.whole());
    broker.topic().logs[1].push("e");
    assert_eq!(ear.hear(&mut follower, A_LOOK), ["e"]);
    follower.ask_for_end();
    assert!(!follower.whole(), "nobody knows how much there is by now");
    broker.topic().logs[0].push("f");
    assert_eq!(ear.hear(&mut follower, 2), ["f"]);
    assert!(follower.whole());
    let topic = broker.topic();
    assert_eq!((topic.clients, topic.waits.len()), (1, 0), "nothing was waited for");
    assert_eq!(topic.passed_over, 1);
}

#[test]
fn a_topic_that_was_made_anew_is_heard_from_its_beginning_though_it_has_grown_beyond_what_was_read() {
    let broker = Broker::new(&[&["a", "b"]]);
    let (mut follower, mut ear) = (broker.follower(), Ear::default());
    ear.hear(&mut follower, 2);
    broker.topic().id = Some("second");
    broker.topic().logs[0] = vec!["x", "y", "z"];
    let heard = ear.hear(&mut follower, A_LOOK);
    assert!(heard.ends_with(&["anew", "x", "y", "z"].map(str::to_owned)), "{heard:?}");
    assert!(follower.whole());
    assert_eq!(ear.hear(&mut follower, A_LOOK), [""; 0], "once");
}

#[test]
fn where_brokers_tell_no_ids_a_topic_that_is_shorter_than_what_was_read_is_another_one() {
    let broker = Broker::new(&[&["a", "b"], &[]]);
    broker.topic().id = None;
    let (mut follower, mut ear) = (broker.follower(), Ear::default());
    ear.hear(&mut follower, 2);
    broker.topic().logs = vec![vec!["x"], vec![]];
    assert_eq!(ear.hear(&mut follower, A_LOOK), ["anew", "x"]);
    broker.topic().logs = vec![vec!["y", "z"]];
    let heard = ear.hear(&mut follower, A_LOOK);
    assert!(heard.ends_with(&["anew", "y", "z"].map(str::to_owned)), "{heard:?}");
    assert!(follower.whole());
}

#[test]
fn a_partition_that_came_later_is_heard() {
    let broker = Broker::new(&[&["a"]]);
    let (mut follower, mut ear) = (broker.follower(), Ear::default());
    ear.hear(&mut follower, 2);
    broker.topic().logs.push(vec!["b"]);
    assert_eq!(ear.hear(&mut follower, A_LOOK), ["b"]);
    assert!(follower.whole());
}

#[test]
fn a_client_that_ends_is_replaced_where_it_was() {
    let broker = Broker::new(&[&["a", "b"]]);
    let (mut follower, mut ear) = (broker.follower(), Ear::default());
    ear.hear(&mut follower, 2);
    broker.topic().ends_clients = true;
    broker.topic().logs[0].push("c");
    assert_eq!(ear.hear(&mut follower, 3), ["c"]);
    assert!(follower.whole());
    assert_eq!(broker.topic().clients, 2);
}

#[test]
fn a_partition_that_nobody_leads_is_named_until_it_is_read() {
    let broker = Broker::new(&[&["a"], &["b"]]);
    broker.topic().unled.insert(1);
    let (mut follower, mut ear) = (broker.follower(), Ear::default());
    ear.hear(&mut follower, A_LOOK);
    assert!(!follower.whole());
    let why = "partition 1 of topic `notes` has no leader".to_owned();
    assert_eq!(broker.topic().waits, [Some(why.clone())], "said once");
    broker.topic().unled.clear();
    assert!(ear.hear(&mut follower, A_LOOK).contains(&"b".to_owned()));
    assert!(follower.whole());
    assert_eq!(broker.topic().waits, [Some(why), None]);
}

#[test]
fn while_nobody_leads_a_partition_a_client_is_made_anew_once_a_minute_at_most() {
    let broker = Broker::new(&[&["a"], &["b"]]);
    broker.topic().unled.insert(1);
    let (mut follower, mut ear) = (broker.follower(), Ear::default());
    let begun = broker.topic().now;
    while broker.topic().now.duration_since(begun) < Duration::from_mins(10) {
        ear.hear(&mut follower, 1);
    }
    let clients = broker.topic().clients;
    assert!((2..=12).contains(&clients), "{clients} clients in ten minutes");
    broker.topic().unled.clear();
    ear.hear(&mut follower, A_LOOK);
    assert!(follower.whole(), "it goes on as soon as somebody leads it");
}

#[test]
fn nobody_looks_in_an_outage_and_nothing_but_the_outage_is_named() {
    let broker = Broker::new(&[&["a"]]);
    let (mut follower, mut ear) = (broker.follower(), Ear::default());
    ear.hear(&mut follower, 2);
    let described = broker.topic().described;
    broker.topic().answering_since = None;
    follower.ask_for_end();
    ear.hear(&mut follower, 10 * A_LOOK);
    assert!(!follower.whole());
    let now = broker.topic().now;
    let mut topic = broker.topic();
    assert_eq!((topic.described, topic.waits.len()), (described, 0));
    topic.answering_since = Some(now);
    drop(topic);
    ear.hear(&mut follower, 2);
    assert!(follower.whole());
    assert_eq!(broker.topic().waits.len(), 0);
}
