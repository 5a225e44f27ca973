//! The loops: consume, apply a pure function, produce, commit. The only room that knows several others.

pub mod catalogue;
pub mod fold;
pub mod gaps;
mod shutdown;
pub mod sink;

use std::sync::Arc;

use rdkafka::error::KafkaError;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::info;

use crate::config::{Config, Invalid};
pub use crate::dead_letter::Stage;
use crate::health::Health;
use crate::kafka::admin::{Admin, AdminError, Patience};
use crate::kafka::notes::{self, Notes};
use crate::kafka::rights;
use crate::kafka::watch::Watch;
use crate::metrics::Metrics;

use sink::metrics::SinkMetrics;

pub use shutdown::Shutdown;

/// What the stages share with the rest of the process.
#[derive(Clone)]
pub struct Process {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// Becomes true when the process shall end; threads look at it between batches.
    pub stop: watch::Receiver<bool>,
}

/// What the stages share with each other.
#[derive(Clone)]
pub struct Shared {
    pub config: Arc<Config>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// Whether Kafka answers.
    pub watch: Arc<Watch>,
    /// Requested from outside, or by a stage that failed.
    pub shutdown: Shutdown,
    /// What instances remember and tell each other.
    pub notes: Notes,
}

impl Shared {
    /// From now on Kafka is watched. With what must be run on a thread of its own for the notes to be known.
    pub fn start(
        config: Config,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Result<(Self, notes::Reader), StageError> {
        let (config, shutdown) = (Arc::new(config), Shutdown::default());
        let ends = shutdown.clone();
        let watched = (Arc::clone(&metrics), Arc::clone(&health));
        let watch = Watch::start(&config, watched, move || ends.requested()).map_err(StageError::Watch)?;
        let (notes, follower) = Notes::open(&config, &watch)?;
        Ok((Self { config, metrics, health, watch, shutdown, notes }, follower))
    }
}

/// Why the stages ended.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("the topics cannot be prepared")]
    Topics(#[from] AdminError),
    #[error("the fold stopped")]
    Fold(#[from] fold::Error),
    #[error("the sink stopped")]
    Sink(#[from] sink::Error),
    #[error("the configuration lacks what a stage needs")]
    Config(#[from] Invalid),
    #[error("the sink's metrics cannot be registered; hint: one sink per process")]
    Metrics(#[from] prometheus::Error),
    #[error("the notes have no Kafka client")]
    Notes(#[from] KafkaError),
    #[error("the thread that watches over Kafka cannot be started")]
    Watch(#[source] std::io::Error),
    #[error("a stage panicked; hint: this is a bug, please report it with the log")]
    Panicked,
}

/// Runs the stages until told to stop, or until one of them fails, which stops the others.
pub async fn run(config: Config, stages: &[Stage], process: Process) -> Result<(), StageError> {
    let Process { metrics, health, stop } = process;
    let (shared, follower) = Shared::start(config, metrics, health)?;
    let shutdown = shared.shutdown.clone();
    let forward = tokio::spawn(request_when_told(stop, shutdown.clone()));
    let secrets = tokio::spawn(read_secrets_at_signal(Arc::clone(&shared.watch)));
    let ended = run_until_shutdown(&shared, stages, follower).await;
    shutdown.request();
    forward.abort();
    secrets.abort();
    ended
}

/// SIGHUP: whoever replaced a secret need not wait until it is noticed.
async fn read_secrets_at_signal(watch: Arc<Watch>) {
    let Ok(mut asked) = signal(SignalKind::hangup()) else { return };
    while asked.recv().await.is_some() {
        info!("secrets and certificates of kafka are read again");
        watch.read_secrets_again();
    }
}

async fn request_when_told(mut stop: watch::Receiver<bool>, shutdown: Shutdown) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
    shutdown.request();
}

/// Number of partitions of the inputs. Waits for a broker that is down.
fn prepare_topics(shared: &Shared) -> Result<i32, AdminError> {
    let stop = &shared.shutdown.watch();
    Admin::new(&shared.config)?.prepare(Patience::Until { stop, watch: &shared.watch })
}

async fn run_until_shutdown(shared: &Shared, stages: &[Stage], notes: notes::Reader) -> Result<(), StageError> {
    let prepare = shared.clone();
    let partitions = match spawn_blocking(move || prepare_topics(&prepare)).await.map_err(|_| StageError::Panicked)? {
        Err(AdminError::Stopped) => return Ok(()),
        prepared => prepared?,
    };
    let ends = shared.shutdown.clone();
    rights::start(&shared.config, stages, &shared.watch, move || ends.requested()).map_err(StageError::Watch)?;
    let mut running = JoinSet::new();
    let stop = shared.shutdown.watch();
    running.spawn(async move { spawn_blocking(move || notes.run(&stop)).await.map_err(|_| StageError::Panicked) });
    let noted = shared.notes.noted().clone();
    let shown = tokio::spawn(gaps::show(noted, shared.config.topics.clone(), Arc::clone(&shared.metrics)));
    if stages.contains(&Stage::Fold) {
        let (fold, runtime) = (shared.clone(), Handle::current());
        let started = spawn_blocking(move || fold::start(&fold, partitions, &runtime)).await;
        for ended in started.map_err(|_| StageError::Panicked)?? {
            running.spawn(async move { ended.await.map_err(|_| StageError::Panicked)?.map_err(StageError::from) });
        }
    }
    if stages.contains(&Stage::Sink) {
        let metrics = SinkMetrics::register(shared.metrics.registry())?;
        let sink = shared.clone();
        running.spawn(async move { sink::run(&sink, &metrics).await.map_err(StageError::from) });
    }
    let mut first = Ok(());
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended.unwrap_or(Err(StageError::Panicked)) {
            shared.shutdown.request();
            first = first.and(Err(error));
        }
    }
    shown.abort();
    first
}
