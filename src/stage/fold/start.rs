//! Starts the fold's threads.

use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;
use tracing::warn;

use crate::fold::Catalogue;
use crate::kafka::changelog::TopicLog;
use crate::kafka::member::GroupMember;
use crate::kafka::registry::Registry;
use crate::kafka::topics::Topic;
use crate::kafka::transaction::Committer;
use crate::kafka::{group_consumer, transactional_producer};
use crate::stage::Shared;
use crate::stage::catalogue::{CatalogueReader, Follower};
use crate::store::Disk;
use crate::store::disk::random_name;

use super::too_large::substitute;
use super::worker::{Worker, WorkerParts};
use super::{Error, attempt};

/// The end of a fold thread.
pub type Ended = oneshot::Receiver<Result<(), Error>>;

/// Reads the catalogue and starts the threads. Blocks while Kafka is waited for; an empty list: the shutdown came
/// first.
pub fn start(shared: &Shared, partitions: i32, runtime: &tokio::runtime::Handle) -> Result<Vec<Ended>, Error> {
    let read = CatalogueReader::load(|| TopicLog::new(&shared.config), &shared.config.topics, &shared.shutdown);
    let Some(mut catalogue) = attempt("read the session catalogue", read)? else { return Ok(Vec::new()) };
    let mut workers = Vec::new();
    for thread in 0..shared.config.fold.threads {
        let name = format!("fold-{thread}");
        let Some(worker) = worker(shared, &name, partitions, runtime, catalogue.follow())? else {
            return Ok(Vec::new());
        };
        workers.push((name, worker));
    }
    let shutdown = shared.shutdown.clone();
    let follow = move || {
        catalogue.run(&shutdown);
        Ok(())
    };
    let mut threads = vec![spawn("catalogue".to_owned(), follow)?];
    for (name, worker) in workers {
        threads.push(spawn(name, move || worker.run())?);
    }
    Ok(threads)
}

fn worker(
    shared: &Shared,
    name: &str,
    partitions: i32,
    runtime: &tokio::runtime::Handle,
    (catalogue, catalogue_follower): (Catalogue, Follower),
) -> Result<Option<Worker<GroupMember>>, Error> {
    let config = &shared.config;
    let disk = config.state.dir.as_ref().map(|dir| Disk::open(dir, &config.application, partitions)).transpose()?;
    // A broker keeps a transactional id for days: a new one at every start would pile up there, and leave the
    // transaction of before open until it times out. Two instances of one id would fence each other.
    let instance = match (&config.kafka.instance, &disk) {
        (Some(instance), _) => instance.clone(),
        (None, Some(disk)) => disk.name().unwrap_or_else(|error| {
            warn!(error = %error, "the instance's name is not kept");
            random_name()
        }),
        (None, None) => random_name(),
    };
    let transactional_id = format!("{}-{instance}-{name}", config.application);
    let producer = {
        let (config, shutdown) = (Arc::clone(config), shared.shutdown.clone());
        move || transactional_producer(&config, &transactional_id, || shutdown.requested())
    };
    let Some(first) = attempt("start transactions", producer())? else { return Ok(None) };
    let committer = Committer::start(first, producer, (config.topics.clone(), Box::new(substitute)), name)
        .map_err(|source| Error::Thread { name: name.to_owned(), source })?;
    let consumer = attempt("join the fold's group", group_consumer(config, "fold", name))?;
    let topics: Vec<&str> = Topic::CONSUMED.into_iter().map(|input| input.name(&config.topics)).collect();
    attempt("subscribe to the inputs", rdkafka::consumer::Consumer::subscribe(&consumer, &topics))?;
    let registry = config.registry.as_ref().map(Registry::new).transpose()?;
    Ok(Some(Worker::new(WorkerParts {
        name: name.to_owned(),
        config: Arc::clone(config),
        partitions,
        member: Arc::new(attempt("make a client", GroupMember::new(consumer, config))?),
        committer,
        disk,
        registry: registry.map(|registry| (registry, runtime.clone())),
        catalogue,
        catalogue_follower,
        notes: Some(shared.notes.clone()),
        metrics: Arc::clone(&shared.metrics),
        health: shared.health.pulse(name),
        shutdown: shared.shutdown.clone(),
    })))
}

fn spawn(name: String, work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<Ended, Error> {
    let (ended, end) = oneshot::channel();
    thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            // Nobody listens any more where the process is already going down.
            let _ = ended.send(work());
        })
        .map_err(|source| Error::Thread { name, source })?;
    Ok(end)
}
