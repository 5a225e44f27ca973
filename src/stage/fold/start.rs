//! Starts the fold's threads.

use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;
use tracing::warn;

use crate::fold::Catalogue;
use crate::kafka::committer::Committer;
use crate::kafka::follower::Follower;
use crate::kafka::member::{GroupMember, Place};
use crate::kafka::producer::TransactionProducer;
use crate::kafka::registry::Registry;
use crate::kafka::stall::Course;
use crate::kafka::{MemberName, group, group_consumer};
use crate::stage::Shared;
use crate::stage::catalogue::{CatalogueReader, Ear};
use crate::store::Disk;
use crate::store::disk::random_name;
use crate::topic_table::Topic;

use super::too_large::substitute;
use super::worker::rebuild::Join;
use super::worker::{Worker, WorkerParts};
use super::{Error, attempt};

/// The fold's group, within the application.
const GROUP: &str = "fold";

/// The end of a fold thread.
pub type Ended = oneshot::Receiver<Result<(), Error>>;

/// Reads the catalogue and starts the threads. Blocks while Kafka is waited for; an empty list: the shutdown came
/// first.
pub fn start(shared: &Shared, partitions: i32, runtime: &tokio::runtime::Handle) -> Result<Vec<Ended>, Error> {
    let follower = Follower::of(&shared.config, Topic::Catalogue, &shared.watch);
    let Some(mut catalogue) = CatalogueReader::load(follower, &shared.shutdown) else { return Ok(Vec::new()) };
    let mut workers = Vec::new();
    for thread in 0..shared.config.fold.threads {
        let name = format!("fold-{thread}");
        let worker = worker(shared, &name, partitions, runtime, catalogue.listen())?;
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
    (catalogue, catalogue_ear): (Catalogue, Ear),
) -> Result<Worker<GroupMember>, Error> {
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
    let registry = config.registry.as_ref().map(Registry::new).transpose()?;
    let join = join(shared, name, &instance);
    let (member, committer) = join()?;
    Ok(Worker::new(WorkerParts {
        name: name.to_owned(),
        instance,
        join,
        config: Arc::clone(config),
        partitions,
        member: Arc::new(member),
        committer,
        disk,
        registry: registry.map(|registry| (registry, runtime.clone())),
        catalogue,
        catalogue_ear,
        noted: Some(shared.notes.noted().clone()),
        metrics: Arc::clone(&shared.metrics),
        health: shared.health.pulse(name),
        shutdown: shared.shutdown.clone(),
    }))
}

/// How a thread joins its group, for the first time and again.
fn join(shared: &Shared, name: &str, instance: &str) -> Join<GroupMember> {
    let (config, watch, name) = (Arc::clone(&shared.config), Arc::clone(&shared.watch), name.to_owned());
    let member = MemberName { instance: instance.to_owned(), member: name.clone() };
    let transactional_id = format!("{}-{instance}-{name}", config.application);
    Box::new(move || {
        let secrets = watch.secrets();
        let make = {
            let (config, transactional_id) = (Arc::clone(&config), transactional_id.clone());
            move |course: &Course| TransactionProducer::make(&config, &transactional_id, course)
        };
        let answering = {
            let watch = Arc::clone(&watch);
            Arc::new(move || watch.answering_since())
        };
        let committer = Committer::start(make, (config.topics.clone(), Box::new(substitute)), &name, answering)
            .map_err(|source| Error::Thread { name: name.clone(), source })?;
        let consumer = attempt("join the fold's group", group_consumer(&config, GROUP, &member))?;
        let topics: Vec<&str> = Topic::CONSUMED.into_iter().map(|input| input.name(&config.topics)).collect();
        attempt("subscribe to the inputs", rdkafka::consumer::Consumer::subscribe(&consumer, &topics))?;
        let place = Place {
            group: group(&config, GROUP),
            name: member.clone(),
            protocol: config.fold.group_protocol,
            watch: Arc::clone(&watch),
            secrets,
        };
        let member = attempt("make a client", GroupMember::new(consumer, &config, place))?;
        Ok((member, committer))
    })
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
