//! `rollbook.notes`, read whole and followed: what every instance and every tool knows of what was noted.
//!
//! Stages share one follower, which keeps the newest note of each key, and one producer. What is put is written for as
//! long as that takes, in order, and is heard as everybody else hears it: who wants to know that a note stands looks for
//! it in what was read. Tools read and write once, and say whether that worked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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
use crate::note::{Note, NoteBook};

/// How long one read of the topic may take before a shutdown is noticed.
const READ_FOR: Duration = Duration::from_millis(200);
/// A broker that is away is asked again after this.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause before what may not be written is put once more.
const AGAIN_EVERY: Duration = Duration::from_secs(2);
/// Created with one partition, so that notes have one order.
const PARTITION: i32 = 0;

/// What is known of the topic: None until it was read to its end.
type Known = Option<Arc<NoteBook>>;

/// Every stage's view of the notes.
#[derive(Clone)]
pub struct Notes {
    topic: String,
    known: watch::Receiver<Known>,
    awaited: Awaited,
    /// With the secrets that it was made with, as the watch counts them.
    producer: Arc<Mutex<(u64, ThreadedProducer<Reports>)>>,
    denied: Denied,
    config: Arc<Config>,
    watch: Arc<Watch>,
}

/// A note that is to be written, or is being written, and that somebody waits for.
#[derive(Debug)]
pub struct Expected {
    key: String,
    value: Vec<u8>,
    heard: AtomicBool,
}

impl Expected {
    pub fn new(key: &str, value: &[u8]) -> Self {
        Self { key: key.to_owned(), value: value.to_vec(), heard: AtomicBool::new(false) }
    }

    /// Whether it has been heard, be it gone again. If so, what is known from now on is what was said after that.
    pub fn heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    /// One of the same key is another one, which may have come and gone long ago.
    fn is(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        self.key.as_bytes() == key && value == Some(self.value.as_slice())
    }
}

/// As long as somebody waits. They are few, whatever is written to the topic: one for each partition that is held.
type Awaited = Arc<Mutex<Vec<Weak<Expected>>>>;

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
        let awaited = Awaited::default();
        let heard = Heard { told, awaited: Arc::clone(&awaited) };
        let (ours, watch) = (Arc::clone(&config), Arc::clone(watch));
        let notes = Self { topic, known, awaited, producer, denied, config: ours, watch: Arc::clone(&watch) };
        let follower = Follower { config, watch, notes: notes.clone(), heard };
        Ok((notes, follower))
    }

    /// Every note, as of now. None: the topic has not been read to its end yet, so that nothing is known.
    pub fn known(&self) -> Option<Arc<NoteBook>> {
        self.known.borrow().clone()
    }

    /// Listens for a note that has not been written yet, as it may come and go between two looks at what is known.
    pub fn expect(&self, key: &str, value: &[u8]) -> Arc<Expected> {
        let expected = Arc::new(Expected::new(key, value));
        let mut awaited = lock(&self.awaited);
        awaited.retain(|it| it.strong_count() > 0);
        awaited.push(Arc::downgrade(&expected));
        expected
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

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
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
    awaited: Awaited,
}

impl Heard {
    /// Those that wait for this record.
    fn awaited(&self, key: &[u8], value: Option<&[u8]>) -> Vec<Arc<Expected>> {
        lock(&self.awaited).iter().filter_map(Weak::upgrade).filter(|expected| expected.is(key, value)).collect()
    }

    /// In this order: for whom a note was heard, what is known was said with it, or later.
    fn tell(&self, book: &NoteBook, heard: Vec<Arc<Expected>>) {
        self.told.send_replace(Some(Arc::new(book.clone())));
        for expected in heard {
            expected.heard.store(true, Ordering::Release);
        }
    }
}

impl Follower {
    /// Follows until `stop` is true. Blocks.
    pub fn run(self, stop: &watch::Receiver<bool>) {
        let stopped = || *stop.borrow();
        let Some(mut changelog) = self.open(stopped) else { return };
        let (mut book, mut heard, mut foreign) = (NoteBook::new(), Vec::new(), Foreign::default());
        let (mut put, mut news) = (Instant::now(), false);
        while !stopped() {
            if put.elapsed() >= AGAIN_EVERY {
                put = Instant::now();
                self.notes.put_again();
            }
            let read = changelog.read(READ_FOR, |change| {
                apply(&mut book, (change.key, change.value))
                    .unwrap_or_else(|why| foreign.add(change.partition, change.offset, why));
                heard.extend(self.heard.awaited(change.key, change.value));
                news = true;
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
            if changelog.finished() && (first || news) {
                if first {
                    info!(notes = book.len(), "notes read");
                }
                news = false;
                self.heard.tell(&book, std::mem::take(&mut heard));
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
        let heard = Heard { told, awaited: Arc::default() };
        let key = "gap/views/1";
        let expected = Arc::new(Expected::new(key, &Note::new("gap", 7).encode()));
        let gone = Arc::new(Expected::new(key, &Note::new("gap", 9).encode()));
        lock(&heard.awaited).extend([&expected, &gone].map(Arc::downgrade));
        drop(gone);
        let say = |notes: &[Option<Note>]| {
            let (mut book, mut found) = (NoteBook::new(), Vec::new());
            for value in notes.iter().map(|note| note.as_ref().map(Note::encode)) {
                apply(&mut book, (key.as_bytes(), value.as_deref())).unwrap();
                found.extend(heard.awaited(key.as_bytes(), value.as_deref()));
            }
            heard.tell(&book, found);
        };
        say(&[Some(Note::new("gap", 5)), None]);
        assert!(!expected.heard(), "that was an earlier gap at the same place");
        say(&[Some(Note::new("gap", 7)), None]);
        assert!(expected.heard());
        assert_eq!(known.borrow().as_deref(), Some(&NoteBook::new()));
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
