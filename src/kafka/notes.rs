//! `rollbook.notes`, read whole and followed: what every instance and every tool knows of what was noted.
//!
//! Stages share one follower, which keeps the newest note of each key, and one producer. What is put is written for as
//! long as that takes, in order, and is heard as everybody else hears it: who wants to know that a note stands looks for
//! it in what was read. Tools read and write once, and say whether that worked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::changelog::{Changelog, TopicLog};
use super::foreign::Foreign;
use super::scan::{Next, ScanError, Scanner};
use super::send::{Outgoing, SendError, Sender};
use super::watch::Watch;
use super::{client_config, let_go, said};
use crate::config::Config;
use crate::note::Note;

/// How long one read of the topic may take before a shutdown is noticed.
const READ_FOR: Duration = Duration::from_millis(200);
/// A broker that is away is asked again after this.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause before what may not be written is put once more.
const AGAIN_EVERY: Duration = Duration::from_secs(2);
/// Created with one partition, so that notes have one order.
const PARTITION: i32 = 0;

/// The newest note of each key.
pub type NoteBook = BTreeMap<String, Note>;

/// What is known of the topic: None until it was read to its end.
type Known = Option<Arc<NoteBook>>;

/// Every stage's view of the notes.
#[derive(Clone)]
pub struct Notes {
    topic: String,
    known: watch::Receiver<Known>,
    said: Arc<Mutex<BTreeSet<String>>>,
    /// With the secrets that it was made with, as the watch counts them.
    producer: Arc<Mutex<(u64, ThreadedProducer<Reports>)>>,
    denied: Denied,
    config: Arc<Config>,
    watch: Arc<Watch>,
}

/// Keys and values that may not be written now, in their order. They are few: a note for a gap, or a partition.
type Denied = Arc<Mutex<VecDeque<Pair>>>;
type Pair = (Vec<u8>, Option<Vec<u8>>);

impl Notes {
    /// The notes, and what must be run on a thread of its own for them to be known.
    pub fn open(config: &Arc<Config>, watch: &Arc<Watch>) -> KafkaResult<(Self, Follower)> {
        let denied = Denied::default();
        let producer = Arc::new(Mutex::new((watch.secrets(), producer(config, &denied)?)));
        let (told, known) = watch::channel(None);
        let (topic, config) = (config.topics.notes.clone(), Arc::clone(config));
        let said = Arc::default();
        let heard = Heard { told, said: Arc::clone(&said) };
        let (ours, watch) = (Arc::clone(&config), Arc::clone(watch));
        let notes = Self { topic, known, said, producer, denied, config: ours, watch: Arc::clone(&watch) };
        let follower = Follower { config, watch, notes: notes.clone(), heard };
        Ok((notes, follower))
    }

    /// Every note, as of now. None: the topic has not been read to its end yet, so that nothing is known.
    pub fn known(&self) -> Option<Arc<NoteBook>> {
        self.known.borrow().clone()
    }

    /// Whether a record of this key has been heard, be it gone again. If so, what `known` says from now on is what was said
    /// after that.
    pub fn said(&self, key: &str) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Changes whenever `known` does: for a task that waits. A receiver whose follower has ended is an error to wait for.
    pub fn changes(&self) -> watch::Receiver<Option<Arc<NoteBook>>> {
        self.known.clone()
    }

    /// Writes a note, or the tombstone that ends one, sooner or later; it is in `known` when it stands.
    pub fn put(&self, key: &str, note: Option<&Note>) -> KafkaResult<()> {
        // What was to be written of it before is out of date.
        lock(&self.denied).retain(|(denied, _)| denied != key.as_bytes());
        self.send(key.as_bytes(), note.map(Note::encode).as_deref())
    }

    fn send(&self, key: &[u8], value: Option<&[u8]>) -> KafkaResult<()> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic).partition(PARTITION).key(key);
        record.payload = value;
        let mut ours = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        // One that librdkafka has given up takes nothing more; what it had is put again by whoever misses it.
        let secrets = self.watch.secrets();
        if ours.1.client().fatal_error().is_some() || ours.0 != secrets {
            let (_, given_up) = std::mem::replace(&mut *ours, (secrets, producer(&self.config, &self.denied)?));
            let_go(given_up, Duration::ZERO);
        }
        ours.1.send(record).map_err(|(error, _)| error)
    }

    /// Once more what could not be written for want of a right, in its order.
    fn put_again(&self) {
        let denied = std::mem::take(&mut *lock(&self.denied));
        for (key, value) in denied {
            if let Err(error) = self.send(&key, value.as_deref()) {
                warn!(%error, "a note cannot be written; trying again");
                lock(&self.denied).push_back((key, value));
            }
        }
    }
}

fn lock(denied: &Denied) -> MutexGuard<'_, VecDeque<Pair>> {
    denied.lock().unwrap_or_else(PoisonError::into_inner)
}

fn producer(config: &Config, denied: &Denied) -> KafkaResult<ThreadedProducer<Reports>> {
    let mut client = client_config(config);
    client
        .set("enable.idempotence", "true")
        // A broker that is away is waited for.
        .set("message.timeout.ms", "0");
    ThreadedProducer::from_config_and_context(&client, Reports { denied: Arc::clone(denied) })
}

/// Reads the topic for all of them.
pub struct Follower {
    config: Arc<Config>,
    watch: Arc<Watch>,
    notes: Notes,
    heard: Heard,
}

/// What was heard, for all views.
struct Heard {
    told: watch::Sender<Known>,
    /// Every key that there was. A note may come and go between two looks.
    said: Arc<Mutex<BTreeSet<String>>>,
}

impl Heard {
    /// In this order: who finds a key here must find what was said with it.
    fn tell(&self, book: &NoteBook, keys: BTreeSet<String>) {
        self.told.send_replace(Some(Arc::new(book.clone())));
        self.said.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }
}

impl Follower {
    /// Follows until `stop` is true. Blocks.
    pub fn run(self, stop: &watch::Receiver<bool>) {
        let stopped = || *stop.borrow();
        let Some(mut changelog) = self.open(stopped) else { return };
        let (mut book, mut keys, mut foreign) = (NoteBook::new(), BTreeSet::new(), Foreign::default());
        let mut put = Instant::now();
        while !stopped() {
            if put.elapsed() >= AGAIN_EVERY {
                put = Instant::now();
                self.notes.put_again();
            }
            let read = changelog.read(READ_FOR, |change| {
                apply(&mut book, (change.key, change.value))
                    .unwrap_or_else(|why| foreign.add(change.partition, change.offset, why));
                keys.insert(String::from_utf8_lossy(change.key).into_owned());
            });
            if read.is_err() || changelog.stalled() {
                let error = read.err().map_or_else(|| "it does not get on".to_owned(), |error| error.to_string());
                warn!(error, "the notes cannot be read; reading them anew");
                std::thread::sleep(PAUSE);
                let Some(anew) = self.open(stopped) else { return };
                (changelog, book) = (anew, NoteBook::new());
                continue;
            }
            if changelog.finished() {
                foreign.tell(&self.config.topics.notes);
            }
            let first = self.heard.told.borrow().is_none();
            if changelog.finished() && (first || !keys.is_empty()) {
                if first {
                    info!(notes = book.len(), "notes read");
                }
                self.heard.tell(&book, std::mem::take(&mut keys));
            }
        }
    }

    fn open(&self, stopped: impl Fn() -> bool) -> Option<Changelog<TopicLog>> {
        let mut told = false;
        while !stopped() {
            match TopicLog::new(&self.config, &self.watch) {
                Ok(log) => {
                    if let Some(changelog) = Changelog::open_whole(log, &self.config.topics.notes, PAUSE) {
                        return Some(changelog);
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!(%error, "no client for the notes; trying again");
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
        None
    }
}

/// Every note that stands now: for tools.
pub fn read(config: &Config) -> Result<NoteBook, ScanError> {
    let scanner = Scanner::new(config, &config.topics.notes)?;
    let (mut book, mut foreign) = (NoteBook::new(), Foreign::default());
    scanner.read(0..scanner.partitions()?, Offset::Beginning, |record| {
        apply(&mut book, (record.key().unwrap_or_default(), record.payload()))
            .unwrap_or_else(|why| foreign.add(record.partition(), record.offset(), why));
        Next::On
    })?;
    foreign.tell(&config.topics.notes);
    Ok(book)
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("Kafka did not take the note: {0}")]
    Refused(RDKafkaErrorCode),
}

/// Writes a note, or the tombstone that ends one, and waits until it stands: for tools.
pub fn write(config: &Config, key: &str, note: Option<&Note>) -> Result<(), WriteError> {
    let sender = Sender::new(config)?;
    let value = note.map(Note::encode);
    let topic = &config.topics.notes;
    let (partition, key, value) = (PARTITION, Some(key.as_bytes()), value.as_deref());
    sender.send(&Outgoing { topic, partition, key, value, headers: &[], timestamp: None }, 0)?;
    for delivery in sender.finish()? {
        delivery.result.map_err(WriteError::Refused)?;
    }
    Ok(())
}

/// Or why it is no note.
fn apply(book: &mut NoteBook, (key, value): (&[u8], Option<&[u8]>)) -> Result<(), &'static str> {
    let key = std::str::from_utf8(key).map_err(|_| "its key is no text")?;
    match value.map(Note::decode) {
        None => {
            book.remove(key);
        }
        Some(Ok(note)) => {
            book.insert(key.to_owned(), note);
        }
        Some(Err(_)) => return Err("its value is no note of this version"),
    }
    Ok(())
}

/// What was put and may not be written is put again; what cannot be written is said, and whoever put it misses it in what
/// is known.
struct Reports {
    denied: Denied,
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        said::error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            // The end of the process throws away what it could not write.
            Ok(_)
            | Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight), _)) =>
                {}
            Err((cause, record)) if cause.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let (key, value) = (record.key().unwrap_or_default().to_vec(), record.payload().map(<[u8]>::to_vec));
                lock(&self.denied).push_back((key, value));
                if let Some(times) = said::again("a note may not be written now") {
                    warn!(error = %cause, times, "a note may not be written now; trying again");
                }
            }
            Err((cause, _)) => error!(error = %cause, "a note cannot be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    const WITHIN: Duration = Duration::from_mins(1);

    #[test]
    fn a_note_that_came_and_went_between_two_looks_was_said() {
        let (told, known) = watch::channel(None);
        let heard = Heard { told, said: Arc::default() };
        let (note, mut book) = (Note::new("gap", 0), NoteBook::new());
        let mut keys = BTreeSet::new();
        for value in [Some(note.encode()), None] {
            apply(&mut book, (b"gap/views/1", value.as_deref())).unwrap();
            keys.insert("gap/views/1".to_owned());
        }
        heard.tell(&book, keys);
        assert_eq!(known.borrow().as_deref(), Some(&NoteBook::new()));
        assert!(heard.said.lock().unwrap().contains("gap/views/1"));
    }

    #[test]
    fn a_note_that_may_not_be_written_is_written_when_it_may() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("rollbook.notes", 1, 1).unwrap();
        let text = format!("[kafka]\nbootstrap = \"{}\"\n", cluster.bootstrap_servers());
        let config = Arc::new(Config::parse(&text, Path::new("."), &|_| None).unwrap());
        let watch = Watch::start(&config, (Arc::default(), Arc::default()), || true).unwrap();
        let (notes, follower) = Notes::open(&config, &watch).unwrap();
        let (stop, stopped) = watch::channel(false);
        let follows = std::thread::spawn(move || follower.run(&stopped));
        cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
        notes.put("gap/views/1", Some(&Note::new("gap", 7))).unwrap();
        let began = Instant::now();
        while notes.known().is_none_or(|book| !book.contains_key("gap/views/1")) {
            assert!(began.elapsed() < WITHIN, "the note stands");
            std::thread::sleep(READ_FOR);
        }
        stop.send_replace(true);
        follows.join().unwrap();
    }
}
