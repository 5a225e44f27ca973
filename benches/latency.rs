//! From the producer's send call to the org's confirmation, at light load:
//! `cargo bench --bench latency -- [EVENTS_PER_SECOND] [SECONDS]`.
//!
//! A real Kafka (the tests' own, or `KAFKA_BOOTSTRAP`), the emulator, the real binary with its default settings.
//! Members exist before the clock starts. Every event makes one row, so that its outcome is found without guessing;
//! all members are of one campaign, of which one request at a time is under way: the worst case. Gaps between events
//! are random, as of people who know nothing of each other: at even gaps all events would meet the commit interval at
//! a few fixed places.
//!
//! Nothing that Rollbook says of itself is believed alone: a consumer of the benchmark's own reads upserts and outcomes
//! and looks at its own clock. benches/README.md has figures.

#[allow(dead_code, unused_imports, reason = "the tests' harness; they use what this does not")]
#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use rollbook::config::Topics;
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Options, Person};
use rollbook::id::MemberKey;
use rollbook::outcome::{Outcome, OutcomeKind};
use rollbook::upsert::Object;
use secrecy::ExposeSecret;
use serde_json::json;

use harness::{Names, Rollbook};

const MEMBERS: usize = 300;
/// As in the defaults.
const PARTITIONS: i32 = 6;
/// Events at the same rate before those that count: a broker that has just started is not what is measured.
const WARM_UP: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_mins(1);
/// The same gaps in every run.
const SEED: u64 = 7;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("a benchmark: `cargo bench --bench latency`");
        return;
    }
    let numbers: Vec<f64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let rate = numbers.first().copied().unwrap_or(50.0);
    let seconds = numbers.get(1).copied().unwrap_or(20.0);
    let world = World::new();
    let rollbook = world.start();
    let mut watch = Watch::start(&world);
    world.introduce(&mut watch);
    world.run(&mut watch, rate, WARM_UP, "warm");
    let (before, processors) = (rollbook.metrics(), Processors::now());
    let sent = world.run(&mut watch, rate, Duration::from_secs_f64(seconds), "event");
    let after = rollbook.metrics();
    println!("{rate} events a second for {seconds} s: {} events of {MEMBERS} members of one campaign", sent.len());
    println!("processors idle: {:.0} %", processors.idle_since());
    report(&sent, &watch.seen);
    report_metric("rollbook_end_to_end_latency_seconds", &before, &after);
    report_metric("rollbook_commit_duration_seconds", &before, &after);
}

/// Milliseconds of the wall clock: what records carry, on one machine.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this millennium are exact in a double")]
fn of_millis(millis: i64) -> f64 {
    millis as f64
}

struct World {
    names: Names,
    client: ClientConfig,
    org: Emulator,
    members: Vec<MemberKey>,
    producer: BaseProducer,
}

impl World {
    fn new() -> Self {
        let client = harness::kafka().client();
        let mut names = harness::names("latency");
        names.topics.partitions = PARTITIONS;
        let Topics { registrations, attendance, polls, reactions, views, sessions, .. } = &names.topics;
        let events = [registrations, attendance, polls, reactions, views].map(String::as_str);
        harness::create(&client, &events, PARTITIONS, &[("cleanup.policy", "delete")]);
        harness::create(&client, &[sessions], PARTITIONS, &[("cleanup.policy", "compact")]);
        let mut options = Options::new(Schema::load_embedded());
        options.daily_api_requests = 1_000_000;
        let org = harness::http::block_on(Emulator::start(options)).expect("loopback has a free port");
        let campaign = org.with_org(|org| org.put_campaign("Latency")).expect("the org takes a campaign");
        let lead = |number| {
            let (name, email) = (format!("lead-{number}"), format!("lead-{number}@example.com"));
            let person = Person { first_name: "Test", last_name: &name, email: &email, company: Some("Example Ltd") };
            org.with_org(|org| org.put_person(&person)).expect("the org takes a person")
        };
        let members = (0..MEMBERS).map(|number| MemberKey { campaign, person: lead(number) }).collect();
        let mut settings = client.clone();
        settings.set("partitioner", "murmur2_random").set("enable.idempotence", "true").set("linger.ms", "0");
        let producer = settings.create().expect("the settings are right");
        Self { names, client, org, members, producer }
    }

    fn start(&self) -> Rollbook {
        let port = harness::free_port();
        Rollbook::start("latency", &self.config(port), port).ready()
    }

    /// Nothing but what an installation must say.
    fn config(&self, port: u16) -> PathBuf {
        let folder = harness::folder().join("latency");
        fs::create_dir_all(&folder).expect("the target folder is writable");
        let credentials = self.org.credentials();
        let secret = folder.join("client-secret");
        fs::write(&secret, credentials.client_secret.expose_secret()).expect("the target folder is writable");
        let text = format!(
            "application = \"{}\"\n[kafka]\nbootstrap = \"{}\"\n[topics]\n{}\n[state]\ndir = \"{}\"
[salesforce]\nlogin_url = \"http://{}\"\n[salesforce.auth]\nflow = \"client_credentials\"\nclient_id = \"{}\"
client_secret_file = \"{}\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n",
            self.names.prefix,
            harness::kafka().bootstrap(),
            toml::to_string(&self.names.topics).expect("topics are TOML"),
            folder.join("state").display(),
            self.org.address(),
            credentials.client_id,
            secret.display(),
        );
        let file = folder.join("rollbook.toml");
        fs::write(&file, text).expect("the target folder is writable");
        file
    }

    /// Every member is in the org before the clock starts.
    fn introduce(&self, watch: &mut Watch) {
        for member in &self.members {
            let event = json!({
                "event_id": member.to_string(), "source": "latency", "occurred_at": jiff::Timestamp::now().to_string(),
                "campaign_id": member.campaign.as_str(), "lead_id": member.person.as_str(), "action": "REGISTERED",
            });
            self.send(&self.names.topics.registrations, *member, &event.to_string());
        }
        let rows = self.members.iter().map(|member| key(Object::CAMPAIGN_MEMBER, &member.to_string())).collect();
        watch.wait_for(rows);
    }

    /// Sends claps, each about an entry of its own, and waits for their outcomes. By row, when each was sent.
    fn run(&self, watch: &mut Watch, rate: f64, lasts: Duration, name: &str) -> BTreeMap<String, f64> {
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut sent = BTreeMap::new();
        let started = Instant::now();
        let mut due = Duration::ZERO;
        loop {
            due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
            if due >= lasts {
                break;
            }
            while let Some(left) = due.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
                // Serves delivery reports meanwhile.
                self.producer.poll(left.min(Duration::from_millis(1)));
            }
            let member = *random.choice(&self.members).expect("there are members");
            let entry = format!("{name}-{}", sent.len());
            let event = json!({
                "event_id": entry, "source": "latency", "occurred_at": jiff::Timestamp::now().to_string(),
                "campaign_id": member.campaign.as_str(), "lead_id": member.person.as_str(), "entry_id": entry,
                "reaction": "CLAP",
            });
            let event = event.to_string();
            sent.insert(key(Object::ENGAGEMENT, &format!("{member}_{entry}")), now());
            self.send(&self.names.topics.reactions, member, &event);
        }
        watch.wait_for(sent.keys().cloned().collect());
        sent
    }

    fn send(&self, topic: &str, member: MemberKey, event: &str) {
        let key = member.to_string();
        let sent = self.producer.send(BaseRecord::<'_, str, str>::to(topic).key(key.as_str()).payload(event));
        sent.map_err(|(error, _)| error).expect("the producer has room");
        self.producer.poll(Duration::ZERO);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What is not delivered by now has been waited for in vain.
        let _ = self.producer.flush(Duration::from_secs(1));
    }
}

fn key(object: Object, external_id: &str) -> String {
    format!("{}/{external_id}", object.api_name())
}

/// What the benchmark's own consumer saw.
struct Watch {
    sightings: Receiver<(String, Sighting)>,
    seen: BTreeMap<String, Row>,
}

enum Sighting {
    Upsert { written: f64, at: f64 },
    Outcome { confirmed: f64, at: f64 },
}

/// The way of a row, in milliseconds of the wall clock.
#[derive(Clone, Copy, Default)]
struct Row {
    /// The fold gave it to its producer.
    written: f64,
    /// Its transaction is committed, as a reader sees it.
    committed: f64,
    /// Salesforce's answer was taken, as the sink says.
    confirmed: f64,
    /// The outcome was read.
    known: f64,
}

impl Watch {
    fn start(world: &World) -> Self {
        let (sender, sightings) = channel();
        for topic in [&world.names.topics.upserts, &world.names.topics.outcomes] {
            let (consumer, topic, sender) = (reader(&world.client, topic), topic.clone(), sender.clone());
            let upserts = topic == world.names.topics.upserts;
            // Ends with the process.
            thread::spawn(move || watch(&consumer, upserts, &sender));
        }
        Self { sightings, seen: BTreeMap::new() }
    }

    #[track_caller]
    fn wait_for(&mut self, rows: Vec<String>) {
        let deadline = Instant::now() + WITHIN;
        for row in rows {
            while self.seen.get(&row).is_none_or(|row| row.known == 0.0 || row.committed == 0.0) {
                let left = deadline.saturating_duration_since(Instant::now());
                let Ok((key, sighting)) = self.sightings.recv_timeout(left) else {
                    panic!("no outcome of `{row}` within {WITHIN:?}");
                };
                let seen = self.seen.entry(key).or_default();
                match sighting {
                    Sighting::Upsert { written, at } => (seen.written, seen.committed) = (written, at),
                    Sighting::Outcome { confirmed, at } => (seen.confirmed, seen.known) = (confirmed, at),
                }
            }
        }
    }
}

fn reader(client: &ClientConfig, topic: &str) -> BaseConsumer {
    let mut settings = client.clone();
    settings.set("group.id", "latency-watch").set("enable.auto.commit", "false");
    settings.set("isolation.level", "read_committed");
    let consumer: BaseConsumer = settings.create().expect("the settings are right");
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning).expect("the offset is valid");
    }
    consumer.assign(&partitions).expect("the partitions are valid");
    consumer
}

fn watch(consumer: &BaseConsumer, upserts: bool, sightings: &Sender<(String, Sighting)>) {
    loop {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let at = now();
        let message = message.expect("the broker answers");
        let key = String::from_utf8(message.key().expect("it has a key").to_vec()).expect("keys are texts");
        let sighting = if upserts {
            Sighting::Upsert { written: of_millis(message.timestamp().to_millis().expect("it has one")), at }
        } else {
            let outcome = Outcome::decode(message.payload().expect("it has a value")).expect("it is of this version");
            assert!(matches!(outcome.kind, OutcomeKind::Created | OutcomeKind::Updated), "{outcome:?}");
            Sighting::Outcome { confirmed: of_millis(outcome.at), at }
        };
        if sightings.send((key, sighting)).is_err() {
            return;
        }
    }
}

fn report(sent: &BTreeMap<String, f64>, seen: &BTreeMap<String, Row>) {
    println!("\n{:<52} {:>7} {:>7} {:>7} {:>7}", "milliseconds", "p50", "p95", "p99", "max");
    let ways: Vec<(f64, Row)> = sent.iter().filter_map(|(key, sent)| Some((*sent, *seen.get(key)?))).collect();
    let line = |name: &str, step: &dyn Fn(f64, &Row) -> f64| {
        let mut steps: Vec<f64> = ways.iter().map(|(sent, row)| step(*sent, row)).collect();
        steps.sort_by(f64::total_cmp);
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|quantile| quantile_of(&steps, quantile));
        println!("{name:<52} {p50:>7.0} {p95:>7.0} {p99:>7.0} {max:>7.0}");
    };
    line("send call to the outcome, read by another", &|sent, row| row.known - sent);
    line("  send call to the row in the fold's transaction", &|sent, row| row.written - sent);
    line("  to the row, committed, read by another", &|_, row| row.committed - row.written);
    line("  to Salesforce's confirmation", &|_, row| row.confirmed - row.committed);
    line("  to the outcome, read by another", &|_, row| row.known - row.confirmed);
}

fn quantile_of(sorted: &[f64], quantile: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Quantiles of what a histogram gained, as Prometheus computes them: evenly spread within a bucket.
fn report_metric(name: &str, before: &str, after: &str) {
    let (old, new) = (buckets(name, before), buckets(name, after));
    let gained: Vec<(f64, f64)> = old.iter().zip(&new).map(|(old, new)| (new.0, new.1 - old.1)).collect();
    let total = gained.last().map_or(0.0, |(_, count)| *count);
    let at = |quantile: f64| {
        let rank = quantile * total;
        let (mut edge, mut below) = (0.0, 0.0);
        for (upper, count) in &gained {
            if *count >= rank && *count > below {
                return 1e3
                    * if quantile >= 1.0 { *upper } else { edge + (upper - edge) * (rank - below) / (count - below) };
            }
            (edge, below) = (*upper, *count);
        }
        f64::NAN
    };
    let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(at);
    println!("{name:<52} {p50:>7.0} {p95:>7.0} {p99:>7.0} {:>7}", format!("<={max:.0}"));
}

/// Ticks of all processors so far, as Linux counts them: a busy machine shows in the slowest hundredth first.
struct Processors {
    idle: f64,
    all: f64,
}

impl Processors {
    fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let ticks: Vec<f64> = ticks.filter_map(|count| count.parse().ok()).collect();
        // user, nice, system, idle, waiting for a disk, ...
        Self { idle: ticks.iter().skip(3).take(2).sum(), all: ticks.iter().sum() }
    }

    /// In percent; not a number where the system does not say.
    fn idle_since(&self) -> f64 {
        let now = Self::now();
        100.0 * (now.idle - self.idle) / (now.all - self.all)
    }
}

/// Upper edges in seconds, and how many are not above.
fn buckets(name: &str, metrics: &str) -> Vec<(f64, f64)> {
    let prefix = format!("{name}_bucket{{le=\"");
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "));
    lines.filter_map(|(edge, count)| Some((edge.parse().ok()?, count.parse().ok()?))).collect()
}
