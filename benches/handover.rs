//! How long a hand-over keeps events waiting: `cargo bench --bench handover -- [PART OF A GROUP'S NAME]`.
//!
//! Six partitions under 200 events a second, states of 60,000 members. A second instance joins, leaves, joins again with
//! what its disk still has, and is killed. Measured is the time from sending an event until a `read_committed` reader sees
//! the state that knows it: the longest of each partition, apart for those that change hands and those that do not.
//! Every event is of a member of its own, so that the first record of a member's state is the answer to its event.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement that cannot go on panics")]

#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Names, Node, Record, Rollbook, Writer};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use rollbook::id::SalesforceId;
use rollbook::route;

const PARTITIONS: i32 = 6;
const MEMBERS: usize = 60_000;
/// One event of each partition: 200 a second.
const TICK: Duration = Duration::from_millis(30);
const WITHIN: Duration = Duration::from_mins(2);
const CAMPAIGN: &str = "70103000000cnFXAAY";

/// Longest wait for a group that misses a member, the same for both protocols.
const SESSION_TIMEOUT_MS: u32 = 10_000;

struct Way {
    name: &'static str,
    group_protocol: &'static str,
    /// `kafka.instance`
    named: bool,
    /// Of the consumer protocol; by the classic one it is librdkafka's 3 s.
    heartbeat_ms: u32,
}

const WAYS: [Way; 4] = [
    Way { name: "classic, `kafka.instance`", group_protocol: "classic", named: true, heartbeat_ms: 5000 },
    Way { name: "classic, no name", group_protocol: "classic", named: false, heartbeat_ms: 5000 },
    Way { name: "consumer, heartbeat 5 s", group_protocol: "consumer", named: true, heartbeat_ms: 5000 },
    Way { name: "consumer, heartbeat 0.5 s", group_protocol: "consumer", named: true, heartbeat_ms: 500 },
];

fn main() {
    println!("| group | what happens | moved: median, longest | stayed: median, longest |\n|---|---|---|---|");
    let chosen = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for way in WAYS.iter().filter(|way| way.name.contains(&chosen)) {
        let site = Arc::new(Site::open(way));
        let one = site.start("one");
        until_owned(&one, 6);
        site.preload();
        let load = Load::start(&site);
        load.settle();
        let row = |what: &str, pauses: &Pauses| println!("| {} | {what} | {pauses} |", way.name);

        let (mut two, pauses) = load.during(&one, 3, || site.start("two"));
        row("joins, cold", &pauses);
        let ((), pauses) = load.during(&one, 6, || two.process.signal("TERM"));
        two.process.wait(WITHIN).unwrap();
        row("leaves", &pauses);
        let (mut two, pauses) = load.during(&one, 3, || site.start("two"));
        row("joins, warm", &pauses);
        let ((), pauses) = load.during(&one, 6, || two.process.kill());
        row("is killed", &pauses);
    }
}

// ---- what is measured -----------------------------------------------------------------------------------------------

struct Site {
    way: &'static Way,
    names: Names,
    node: Node,
    folder: PathBuf,
}

impl Site {
    fn open(way: &'static Way) -> Self {
        let mut names = harness::names("handover");
        names.topics.partitions = PARTITIONS;
        let folder = harness::folder().join(&names.prefix);
        let settings = format!(
            "group.consumer.heartbeat.interval.ms={}\ngroup.consumer.session.timeout.ms={SESSION_TIMEOUT_MS}\n",
            way.heartbeat_ms
        );
        let mut node = Node::format(&folder.join("kafka"), &settings).unwrap();
        node.start().and_then(|()| node.await_answer()).unwrap();
        let site = Self { way, names, node, folder };
        let topics = &site.names.topics;
        let inputs = [&topics.registrations, &topics.attendance, &topics.polls, &topics.reactions, &topics.views];
        let inputs = inputs.map(String::as_str);
        harness::create(&site.client(), &inputs, PARTITIONS, &[("cleanup.policy", "delete")]);
        harness::create(&site.client(), &[&topics.sessions], PARTITIONS, &[("cleanup.policy", "compact")]);
        site
    }

    fn client(&self) -> ClientConfig {
        harness::plain_client(&self.node.bootstrap())
    }

    fn start(&self, instance: &str) -> Rollbook {
        let port = harness::free_port();
        let name = if self.way.named { format!("instance = \"{instance}\"") } else { String::new() };
        let topics = toml::to_string(&self.names.topics).unwrap();
        let text = format!(
            "application = \"{prefix}\"\n[kafka]\nbootstrap = \"{bootstrap}\"\n{name}\n[fold]\n\
             group_protocol = \"{group_protocol}\"\n[state]\ndir = \"{dir}\"\n[http]\n\
             listen = \"127.0.0.1:{port}\"\n[topics]\n{topics}",
            prefix = self.names.prefix,
            bootstrap = self.node.bootstrap(),
            group_protocol = self.way.group_protocol,
            dir = self.folder.join(instance).display(),
        );
        let file = self.folder.join(format!("{instance}.toml"));
        fs::write(&file, text).unwrap();
        Rollbook::start_stages(instance, &file, port, "fold")
    }

    fn preload(&self) {
        let records: Vec<Record> = (0..MEMBERS).map(|number| self.registered(&lead(number))).collect();
        Writer::new(&self.client()).write(&records);
    }

    fn registered(&self, lead: &str) -> Record {
        let value = format!(
            r#"{{"event_id":"{lead}","source":"bench","occurred_at":"2026-03-01T10:00:00Z","campaign_id":"{CAMPAIGN}","lead_id":"{lead}","action":"REGISTERED"}}"#
        );
        Record::new(&self.names.topics.registrations, format!("{CAMPAIGN}_{lead}"), value)
    }
}

fn lead(number: usize) -> String {
    SalesforceId::parse(&format!("00Q{number:012}")).unwrap().to_string()
}

// ---- the load -------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy)]
struct Event {
    partition: i32,
    sent: Instant,
    seen: Option<Instant>,
}

/// Events under way and seen, by lead.
type Events = Arc<Mutex<HashMap<String, Event>>>;

struct Load {
    events: Events,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start(site: &Arc<Site>) -> Self {
        let (events, stop) = (Events::default(), Arc::new(AtomicBool::new(false)));
        let sender = {
            let (site, events, stop) = (Arc::clone(site), Arc::clone(&events), Arc::clone(&stop));
            thread::spawn(move || send(&site, &events, &stop))
        };
        let reader = {
            let (client, topic) = (site.client(), site.names.topics.state.clone());
            let (events, stop) = (Arc::clone(&events), Arc::clone(&stop));
            thread::spawn(move || look(client, &topic, &events, &stop))
        };
        Self { events, stop, threads: vec![sender, reader] }
    }

    /// Waits until what is sent is seen soon.
    fn settle(&self) {
        let from = Instant::now();
        harness::until("events to be seen", WITHIN, || {
            let events = self.events.lock().unwrap();
            let late = events.values().filter(|event| event.seen.is_none_or(|seen| seen > from)).count();
            let done = from.elapsed() > Duration::from_secs(3)
                && events.values().all(|event| event.seen.is_some() || event.sent.elapsed() < Duration::from_secs(1));
            if done { Ok(()) } else { Err(format!("{late} were not")) }
        });
    }

    /// The pauses while something is done, until `one` owns so many partitions and everything is seen.
    fn during<T>(&self, one: &Rollbook, owned: usize, act: impl FnOnce() -> T) -> (T, Pauses) {
        let (from, before) = (Instant::now(), partitions(one));
        let done = act();
        until_owned(one, owned);
        self.settle();
        let after = partitions(one);
        let events = self.events.lock().unwrap();
        let longest = |partition: i32| {
            let of = events.values().filter(|event| event.partition == partition && event.sent >= from);
            of.filter_map(|event| Some(event.seen? - event.sent)).max().unwrap()
        };
        let moves = |partition: &i32| before.contains(partition) != after.contains(partition);
        let (moved, stayed) = (0..PARTITIONS).partition::<Vec<i32>, _>(moves);
        let sorted = |partitions: Vec<i32>| {
            let mut pauses: Vec<Duration> = partitions.into_iter().map(longest).collect();
            pauses.sort_unstable();
            pauses
        };
        (done, Pauses { moved: sorted(moved), stayed: sorted(stayed) })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn send(site: &Site, events: &Events, stop: &AtomicBool) {
    let writer = Writer::new(&site.client());
    let mut numbers = MEMBERS..;
    let mut due = Instant::now();
    while !stop.load(Ordering::Acquire) {
        let mut records = Vec::new();
        for partition in 0..PARTITIONS {
            let right =
                |lead: &String| route::partition(format!("{CAMPAIGN}_{lead}").as_bytes(), PARTITIONS) == partition;
            let lead = numbers.by_ref().map(lead).find(right).unwrap();
            records.push(site.registered(&lead));
            events.lock().unwrap().insert(lead, Event { partition, sent: Instant::now(), seen: None });
        }
        writer.write(&records);
        due += TICK;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Sees states as they become visible to `read_committed`.
fn look(mut client: ClientConfig, topic: &str, events: &Events, stop: &AtomicBool) {
    client.set("group.id", "bench-reader").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let reader: BaseConsumer = client.set("fetch.wait.max.ms", "5").create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    reader.assign(&all).unwrap();
    while !stop.load(Ordering::Acquire) {
        let Some(Ok(record)) = reader.poll(Duration::from_millis(100)) else { continue };
        let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
        let Some(at) = key.find("00Q") else { continue };
        if let Some(event) = events.lock().unwrap().get_mut(&key[at..at + 18]) {
            event.seen.get_or_insert_with(Instant::now);
        }
    }
}

// ---- the answers ----------------------------------------------------------------------------------------------------

struct Pauses {
    moved: Vec<Duration>,
    stayed: Vec<Duration>,
}

impl std::fmt::Display for Pauses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pair = |sorted: &[Duration]| match (sorted.get(sorted.len() / 2), sorted.last()) {
            (Some(median), Some(longest)) => format!("{:.2} s, {:.2} s", median.as_secs_f64(), longest.as_secs_f64()),
            _ => "none".to_owned(),
        };
        write!(f, "{} | {}", pair(&self.moved), pair(&self.stayed))
    }
}

fn until_owned(instance: &Rollbook, count: usize) {
    harness::until("partitions to change hands", WITHIN, || {
        let owned = partitions(instance).len();
        if owned == count { Ok(()) } else { Err(format!("{owned} are owned\n{}", instance.process.log_tail())) }
    });
}

/// What the instance owns, by its log.
fn partitions(instance: &Rollbook) -> BTreeSet<i32> {
    let mut owned = BTreeSet::new();
    for line in instance.process.log().lines().filter(|line| line.contains("fold-0")) {
        let Some((_, list)) = line.split_once("partitions={") else { continue };
        let numbers = list.split('}').next().unwrap_or_default().split(", ").filter_map(|number| number.parse().ok());
        if line.contains("partitions assigned") {
            owned = numbers.collect();
        } else if line.contains("partitions revoked") {
            numbers.for_each(|number: i32| {
                owned.remove(&number);
            });
        }
    }
    owned
}
