//! `rollbook demo`: a conference through all of Rollbook on a machine that has neither Kafka nor Salesforce.
//!
//! ```text
//!  conference ─ feed ─▶ broker (mock or real) ─▶ stages ─▶ emulator ─ org ─▶ rows ┐
//!      └───────────── records ─▶ reference ─▶ expected rows ───────────────────────┴▶ differences ─▶ report
//! ```
//!
//! Everything is the real thing but two ends: the broker, unless a real one is named, is librdkafka's mock, which keeps
//! 5 MB a partition and compacts nothing; and Salesforce is the emulator. What the demo says at the end it has
//! compared: the whole org, row by row and field by field, with the reference fold of the records that it made.
//!
//! The mock forgets what does not fit, read or not, so the feed never runs far ahead of the stages.

mod broker;
pub mod conference;
mod feed;
mod numbers;
mod org;
mod progress;
pub mod reference;
mod report;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use report::Report;

use self::broker::Broker;
use self::conference::{Conference, Feed};
use self::numbers::Numbers;
use self::progress::Progress;
use self::reference::{Rows, differences, expected};
use crate::config::{self, Config};
use crate::emulator::schema::Schema;
use crate::emulator::{self, Emulator};
use crate::health::Health;
use crate::http::Server;
use crate::kafka::admin::AdminError;
use crate::metrics::Metrics;
use crate::stage::{self, Process, Stage, StageError};

/// API calls that the emulated org allows in 24 hours: the demo shows what was used, not what happens when it is.
const DAILY_API_REQUESTS: u64 = 1_000_000;

/// Nothing has moved for so long: what is missing then will not come. Longer than a rebalance or the sink's longest
/// backoff.
const QUIET_MAX: Duration = Duration::from_mins(1);

/// How often the numbers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub members: usize,
    /// None: the mock.
    pub bootstrap: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot start the runtime or the metrics port")]
    Start(#[source] io::Error),
    #[error("cannot start the emulator")]
    Emulator(#[from] emulator::Error),
    #[error("the emulator refused a record of the conference: {0}")]
    Org(String),
    #[error("cannot use Kafka")]
    Kafka(#[from] KafkaError),
    #[error("cannot prepare the topics")]
    Topics(#[from] AdminError),
    #[error("{0} records of the conference were not taken by Kafka")]
    NotDelivered(u64),
    #[error("the stages failed")]
    Stages(#[from] StageError),
    #[error("the stages ended before the conference did")]
    Ended,
}

/// Everything that runs, until it is stopped or dropped.
pub struct Demo {
    options: Options,
    config: Config,
    partitions: i32,
    emulator: Emulator,
    metrics: Arc<Metrics>,
    metrics_address: SocketAddr,
    stop: watch::Sender<bool>,
    stages: JoinHandle<Result<(), StageError>>,
    runtime: Runtime,
    /// Last, so that it outlives every client.
    broker: Broker,
}

impl Demo {
    /// Starts the broker, the emulator, the stages and the metrics port.
    pub fn start(options: Options) -> Result<Self, Error> {
        let runtime = Runtime::new().map_err(Error::Start)?;
        let mut settings = emulator::Options::new(Schema::load_embedded());
        settings.daily_api_requests = DAILY_API_REQUESTS;
        let emulator = runtime.block_on(Emulator::start(settings))?;
        let broker = Broker::start(options.bootstrap.as_deref())?;
        let config = configuration(&broker, &emulator);
        let partitions = broker.create_topics(&config)?;
        let server = runtime.block_on(Server::bind(config.http.listen)).map_err(Error::Start)?;
        let (metrics_address, metrics) = (server.address, Arc::new(Metrics::new()));
        let (stop, stopped) = watch::channel(false);
        let health = Arc::new(Health::default());
        runtime.spawn(server.serve(Arc::clone(&metrics), Arc::clone(&health), stopped.clone()));
        let process = Process { metrics: Arc::clone(&metrics), health, stop: stopped };
        let own_config = config.clone();
        let stages = runtime.spawn(async move { stage::run(own_config, &[Stage::Fold, Stage::Sink], process).await });
        Ok(Self { options, config, partitions, emulator, metrics, metrics_address, stop, stages, runtime, broker })
    }

    /// Lets the conference happen, waits until Salesforce holds it, and compares.
    pub fn play(&mut self) -> Result<Report, Error> {
        let people = self.emulator.with_org(|org| org::invite(org, self.options.members))?;
        let conference = conference::generate(self.options.seed, self.options.members, &people);
        let progress = Progress::new(conference.records.len());
        // Before that, records would only wait, and their waiting would look like latency.
        while self.metrics.assigned_partitions.get() < i64::from(self.partitions) {
            self.look(&progress)?;
        }
        let started = Instant::now();
        self.feed(&conference, &progress)?;
        let expectation = expected(&conference.records);
        let differences = self.settle(&conference, &expectation, &progress)?;
        progress.end();
        let rows = self.emulator.with_org(|org| org::rows(org));
        Ok(Report {
            options: self.options.clone(),
            broker: self.broker.name(),
            took: started.elapsed(),
            sent: conference.records.len(),
            numbers: Numbers::read(&self.metrics),
            faults: report::Faults::of(&conference),
            api_calls: self.emulator.api_calls(),
            latency: numbers::latency(&self.metrics),
            differences,
            member: report::Shown::of(&rows),
            rows: report::count(&rows),
        })
    }

    pub fn emulator_url(&self) -> String {
        self.emulator.base_url()
    }

    /// Made up for this demo, and good for its emulator alone.
    pub fn credentials(&self) -> emulator::Credentials {
        self.emulator.credentials()
    }

    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.metrics_address)
    }

    pub fn bootstrap(&self) -> &str {
        &self.config.kafka.bootstrap
    }

    /// Waits for Ctrl-C.
    pub fn keep(&self) -> io::Result<()> {
        self.runtime.block_on(tokio::signal::ctrl_c())
    }

    /// Ends the stages in order, then everything else.
    pub fn stop(self) -> Result<(), Error> {
        self.stop.send_replace(true);
        self.runtime.block_on(self.stages).map_err(|_| Error::Ended)??;
        self.runtime.block_on(self.emulator.stop())?;
        Ok(())
    }

    fn feed(&mut self, conference: &Conference, progress: &Progress) -> Result<(), Error> {
        let mut producer = feed::Producer::new(&self.config, self.partitions)?;
        let mut events_sent = 0;
        for chunk in conference.records.chunks(feed::CHUNK) {
            let due = Instant::now() + feed::CHUNK_INTERVAL;
            for record in chunk {
                producer.send(record)?;
            }
            events_sent += count_events(chunk);
            while Numbers::read(&self.metrics).behind(events_sent) > feed::BEHIND_MAX {
                self.look(progress)?;
            }
            progress.fed(chunk.len(), &Numbers::read(&self.metrics));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        match producer.finish()? {
            0 => Ok(()),
            lost => Err(Error::NotDelivered(lost)),
        }
    }

    /// Waits until the org is as expected, or nothing moves any more. Returns what differs then.
    fn settle(
        &mut self,
        conference: &Conference,
        expectation: &Rows,
        progress: &Progress,
    ) -> Result<Vec<String>, Error> {
        let events_sent = count_events(&conference.records);
        let mut last = self.look(progress)?;
        let mut moved_at = Instant::now();
        loop {
            let now = self.look(progress)?;
            let quiet = moved_at.elapsed() > QUIET_MAX;
            if quiet || now.drained(events_sent) {
                let differences = differences(expectation, &self.emulator.with_org(|org| org::rows(org)));
                if quiet || differences.is_empty() {
                    return Ok(differences);
                }
            }
            if now != last {
                (last, moved_at) = (now, Instant::now());
            }
        }
    }

    /// Waits a moment, then reads the numbers; an error if the stages are gone.
    fn look(&mut self, progress: &Progress) -> Result<Numbers, Error> {
        if self.stages.is_finished() {
            self.runtime.block_on(&mut self.stages).map_err(|_| Error::Ended)??;
            return Err(Error::Ended);
        }
        thread::sleep(LOOK_INTERVAL);
        let numbers = Numbers::read(&self.metrics);
        progress.fed(0, &numbers);
        Ok(numbers)
    }
}

fn count_events(records: &[conference::Record]) -> u64 {
    records.iter().map(|record| u64::from(record.feed != Feed::Sessions)).sum()
}

/// The defaults, on this broker and this org.
fn configuration(broker: &Broker, emulator: &Emulator) -> Config {
    let credentials = emulator.credentials();
    Config {
        application: broker.prefix().to_owned(),
        kafka: config::Kafka {
            bootstrap: broker.bootstrap(),
            instance: None,
            properties: BTreeMap::new(),
            properties_files: BTreeMap::new(),
        },
        topics: broker.topics(),
        registry: None,
        fold: config::Fold::default(),
        // In memory: the demo leaves nothing behind.
        state: config::State::default(),
        sink: config::Sink::default(),
        salesforce: Some(config::Salesforce {
            login_url: emulator.base_url(),
            api_version: "62.0".to_owned(),
            request_timeout: Duration::from_mins(2),
            ca_file: None,
            proxy: config::Proxy::none(),
            auth: config::Auth::ClientCredentials {
                client_id: credentials.client_id,
                client_secret: config::Secret::fixed(credentials.client_secret),
            },
        }),
        http: config::Http { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) },
    }
}
