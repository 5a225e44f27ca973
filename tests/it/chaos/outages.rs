//! Outages of the broker under load: killed and started again, frozen, or cut off, for a random time. No process ends,
//! reading resumes, and at the end the org equals the reference.
//!
//! ```text
//! ROLLBOOK_OUTAGES=100 cargo test --test it -- --exact chaos::outages::an_outage_ends_no_process_and_no_reading --nocapture
//! ```
//!
//! Each outage is a line of `target/it/outages.tsv` (`ROLLBOOK_OUTAGES_TALLY`), by which the next run goes on: with other
//! durations, through the same settings in turn. `ROLLBOOK_OUTAGES_MAX` is the longest in seconds,
//! `ROLLBOOK_OUTAGES_SETTING` one of `named`, `nameless` and `consumer`.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rollbook::demo::conference::Feed;

use super::plan::Victim;
use super::setting;
use super::site::Site;
use super::storm::{self, Sent, Storm};
use super::verdict::Verdict;
use crate::harness::{self, Names, Record};

/// What a change has to pass.
const OUTAGES: usize = 3;
const OUTAGE_SECONDS_MAX: u64 = 8;
/// Shortest and longest outage of a run that is asked for.
const SECONDS: std::ops::Range<f64> = 1.0..300.0;
/// Outages of one installation; the next ones have another, of the next setting.
const ROUND: usize = 8;
/// Records a second.
const RATE: u64 = 30;
/// From the broker's first answer until what stood in the inputs then is committed.
const RESUMES_WITHIN: u64 = 30;
/// The same in a run of all tests, which share the machine.
const RESUMES_WITHIN_ALL: u64 = 75;
/// Records are sent before and after each outage for so long.
const BETWEEN: Duration = Duration::from_secs(4);
/// An outage that lasts so long must be seen by then.
const SEEN_WITHIN: Duration = Duration::from_secs(9);
/// Lines of a stage's log for each outage; there were two thousand in a minute and a half.
const LOG_LINES: usize = 60;
/// Rows and upserts take a little longer than the records they are of.
const SINK_LATER: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// `kill -9`, and started again.
    Killed,
    /// Connections stay open and nothing is answered.
    Frozen,
    /// Connections are cut and new ones refused, as if by a network.
    Cut,
}

/// How the members of the groups are known to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Named,
    Nameless,
    Consumer,
}

impl Setting {
    const ALL: [Self; 3] = [Self::Named, Self::Nameless, Self::Consumer];

    /// Group protocol, and whether instances have names.
    fn of_site(self) -> (String, bool) {
        match self {
            Self::Named => ("classic".to_owned(), true),
            Self::Nameless => ("classic".to_owned(), false),
            Self::Consumer => ("consumer".to_owned(), true),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named",
            Self::Nameless => "nameless",
            Self::Consumer => "consumer",
        })
    }
}

/// Outages so far, over all runs.
struct Tally {
    /// None: the run is one of all tests, and the same each time.
    file: Option<PathBuf>,
    lines: usize,
}

impl Tally {
    fn open(kept: bool) -> Self {
        let file = std::env::var_os("ROLLBOOK_OUTAGES_TALLY").map(PathBuf::from);
        let file = file.unwrap_or_else(|| harness::folder().join("../../outages.tsv"));
        let text = if kept { fs::read_to_string(&file).unwrap_or_default() } else { String::new() };
        Self { file: kept.then_some(file), lines: text.lines().count() }
    }

    fn add(&mut self, line: &str) {
        if let Some(file) = &self.file {
            let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the folder is there");
            writeln!(file, "{}\t{line}", self.lines).expect("the tally can be written");
        }
        println!("outage {}: {line}", self.lines);
        self.lines += 1;
    }
}

#[test]
fn an_outage_ends_no_process_and_no_reading() {
    let outages = setting("ROLLBOOK_OUTAGES", OUTAGES);
    let asked_for = std::env::var_os("ROLLBOOK_OUTAGES").is_some();
    let longest = setting("ROLLBOOK_OUTAGES_MAX", if asked_for { 300 } else { OUTAGE_SECONDS_MAX });
    let only = std::env::var_os("ROLLBOOK_OUTAGES_SETTING").map(|only| only.to_string_lossy().into_owned());
    let within = Duration::from_secs(if asked_for { RESUMES_WITHIN } else { RESUMES_WITHIN_ALL });
    let within = Duration::from_secs(setting("ROLLBOOK_OUTAGES_RESUME", within.as_secs()));
    let mut tally = Tally::open(asked_for);
    let mut left = outages;
    while left > 0 {
        // The first setting is the one in which the group knows members by their names.
        let number = if asked_for { tally.lines / ROUND } else { 0 };
        let wanted = |setting: &Setting| only.as_deref().is_none_or(|only| only == setting.to_string());
        let settings: Vec<Setting> = Setting::ALL.into_iter().filter(wanted).collect();
        let setting = settings.get(number % settings.len().max(1)).copied().expect("a known setting");
        let count = left.min(ROUND);
        Round { setting, count, longest, within }.live_through(&mut tally);
        left -= count;
    }
}

/// Some outages of one installation.
struct Round {
    setting: Setting,
    count: usize,
    longest: u64,
    within: Duration,
}

impl Round {
    fn live_through(&self, tally: &mut Tally) {
        let seed = 7_000 + u64::try_from(tally.lines).expect("few");
        let mut rng = Rng::with_seed(seed);
        let mut site = Site::open_behind_a_gate(self.setting.of_site());
        let storm = Storm::brew(seed, self.count, &site.people(storm::days(self.count), storm::MEMBERS));
        site.start();
        site.await_all();
        let load = Load::start(&site, &storm);
        for number in 0..self.count {
            let kind = [Kind::Killed, Kind::Frozen, Kind::Cut][(tally.lines + number / 3) % 3];
            let seconds = log_uniform(&mut rng, self.longest);
            // The first one is long enough to be seen.
            let seconds = if number == 0 { seconds.max(SEEN_WITHIN) } else { seconds };
            thread::sleep(BETWEEN);
            outage(&mut site, kind, seconds);
            let (fold, sink) = self.resumes(&mut site, &format!("{kind:?} for {seconds:.1?}"));
            let rebuilt = rebuilt(&site);
            for stage in [Victim::Fold, Victim::Sink] {
                let lines = site.log_lines(stage);
                assert!(lines <= LOG_LINES * (number + 2), "{stage:?} said {lines} lines in {} outages", number + 1);
            }
            tally.add(&format!(
                "{seed}\t{}\t{kind:?}\t{:.1}\t{:.1}\t{:.1}\t{rebuilt}",
                self.setting,
                seconds.as_secs_f64(),
                fold.as_secs_f64(),
                sink.as_secs_f64(),
            ));
        }
        load.finish();
        site.await_all();
        site.all_alive();
        let verdict = Verdict { seed, site: &site, storm: &storm, places: &[] };
        verdict.settles();
        verdict.org_is_right();
    }

    /// How long it takes from the broker's first answer until both stages have done what waited for them.
    #[track_caller]
    fn resumes(&self, site: &mut Site, what: &str) -> (Duration, Duration) {
        let back = Instant::now();
        let inputs: Vec<String> = site.names.inputs().map(str::to_owned).collect();
        self.consumed(site, ("fold", &inputs), what);
        let fold = back.elapsed();
        let upserts = vec![site.names.topics.upserts.clone()];
        self.consumed(site, ("sink", &upserts), what);
        (fold, back.elapsed())
    }

    #[track_caller]
    fn consumed(&self, site: &mut Site, (stage, topics): (&str, &[String]), what: &str) {
        let client = site.client();
        let ends: Vec<_> = topics.iter().map(|topic| (topic, Names::ends(&client, topic))).collect();
        let within = self.within + if stage == "sink" { SINK_LATER } else { Duration::ZERO };
        harness::until(&format!("the {stage} to go on after {what} ({})", self.setting), within, || {
            site.all_alive();
            let read = ends.iter().try_for_each(|(topic, ends)| site.names.consumed(&client, stage, topic, ends));
            read.map_err(|unread| format!("{unread}; {}", standing(site, stage)))
        });
    }
}

/// What a stage says of itself.
fn standing(site: &Site, stage: &str) -> String {
    let victim = if stage == "sink" { Victim::Sink } else { Victim::Fold };
    let says = |path| site.get(victim, path).map_or_else(|why| why, |answer| answer.body);
    let waiting = says("/metrics");
    let waiting: Vec<&str> = waiting.lines().filter(|line| line.starts_with("rollbook_waiting")).collect();
    format!("{} {}", says("/readyz").trim(), waiting.join(" "))
}

/// The schedule: nothing else in this test is timed.
fn outage(site: &mut Site, kind: Kind, lasts: Duration) {
    match kind {
        Kind::Killed => site.broker_mut().kill(),
        Kind::Frozen => site.broker_mut().freeze(),
        Kind::Cut => site.gate.as_ref().expect("it has a gate").shut(),
    }
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(200).min(end.saturating_duration_since(Instant::now())));
        site.all_alive();
    }
    if lasts >= SEEN_WITHIN {
        for stage in [Victim::Fold, Victim::Sink] {
            seen(site, stage);
        }
    }
    match kind {
        Kind::Killed => site.broker_mut().start().unwrap_or_else(|why| panic!("{why}")),
        Kind::Frozen => site.broker_mut().thaw(),
        Kind::Cut => site.gate.as_ref().expect("it has a gate").open(),
    }
    site.broker_mut().await_answer().unwrap_or_else(|why| panic!("{why}"));
}

/// That Kafka does not answer is in the metrics, in readiness and in the status, and no lag is known.
#[track_caller]
fn seen(site: &Site, stage: Victim) {
    let metrics = site.get(stage, "/metrics").expect("the port answers").body;
    assert!(metrics.contains("rollbook_waiting{dependency=\"kafka\"} 1"), "{stage:?}: {metrics}");
    assert!(metrics.contains("rollbook_ready 0"), "{stage:?}: {metrics}");
    assert!(!metrics.contains("rollbook_consumer_lag_records{"), "{stage:?}: {metrics}");
    let ready = site.get(stage, "/readyz").expect("the port answers");
    assert!(ready.status == 503 && ready.body.contains("Kafka does not answer"), "{stage:?}: {}", ready.body);
}

fn log_uniform(rng: &mut Rng, longest: u64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "some minutes")]
    let longest = (longest as f64).min(SECONDS.end);
    Duration::from_secs_f64(SECONDS.start * (longest / SECONDS.start).powf(rng.f64()))
}

fn rebuilt(site: &Site) -> String {
    let count = |stage| {
        let metrics = site.get(stage, "/metrics").map(|answer| answer.body).unwrap_or_default();
        let line = metrics.lines().find_map(|line| line.strip_prefix("rollbook_kafka_clients_rebuilt_total "));
        line.unwrap_or("?").to_owned()
    };
    format!("{}+{}", count(Victim::Fold), count(Victim::Sink))
}

/// Writes the storm's records at an even rate, through all outages, then its events once more, again and again.
struct Load {
    hurry: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Load {
    fn start(site: &Site, storm: &Storm) -> Self {
        let sent: Vec<Sent<'_>> = storm.chunks(1).into_iter().flatten().collect();
        let record = |sent: &Sent<'_>| site.names.record(sent.record);
        let records: Vec<Record> = sent.iter().map(record).collect();
        // Statements of the catalogue have an order; events may come again at any time.
        let events: Vec<Record> = sent.iter().filter(|sent| sent.record.feed != Feed::Sessions).map(record).collect();
        let mut client = site.client();
        client.set("partitioner", "murmur2_random").set("linger.ms", "5").set("enable.idempotence", "true");
        // An outage is waited for, whatever it takes.
        client.set("message.timeout.ms", "0").set("reconnect.backoff.max.ms", "500");
        let hurry = Arc::new(AtomicBool::new(false));
        let hurries = Arc::clone(&hurry);
        let thread = thread::spawn(move || {
            let producer: BaseProducer = client.create().expect("the client's settings are right");
            let mut sent = 0;
            for record in records.iter().chain(events.iter().cycle()) {
                if sent >= records.len() && hurries.load(Ordering::Relaxed) {
                    break;
                }
                send(&producer, record);
                sent += 1;
                if !hurries.load(Ordering::Relaxed) {
                    producer.poll(Duration::ZERO);
                    thread::sleep(Duration::from_millis(1_000 / RATE));
                }
            }
            producer.flush(Duration::from_mins(3)).expect("the broker takes the records");
            sent
        });
        Self { hurry, thread }
    }

    /// Waits until everything is written.
    fn finish(self) {
        self.hurry.store(true, Ordering::Relaxed);
        let sent = self.thread.join().expect("every record is written");
        assert!(sent > 1_000, "there was a load: {sent}");
    }
}

fn send(producer: &BaseProducer, record: &Record) {
    let headers = record.headers.iter().fold(rdkafka::message::OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(rdkafka::message::Header { key, value: value.as_deref() })
    });
    let mut pending: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&record.topic).headers(headers);
    (pending.partition, pending.timestamp) = (record.partition, record.timestamp);
    (pending.key, pending.payload) = (record.key.as_deref(), record.value.as_deref());
    producer.send(pending).map_err(|(error, _)| error).expect("the queue has room");
}
