//! `rollbook.notes`, written and read: what every instance and every tool knows of what was noted.
//!
//! Stages share one reader, which keeps the newest note of each key (see `noted`), and one producer. What is put is
//! written for as long as that takes, in order, and is heard as everybody else hears it: who wants to know that a note
//! stands looks for it in what was read. Tools read and write once, and say whether that worked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};
use tokio::sync::watch;
use tracing::{error, warn};

use super::changelog::TopicLog;
use super::follower::Follower;
use super::foreign::Foreign;
use super::noted::{self, Noted, apply};
use super::scan::{Next, Range, ScanError, Scanner};
use super::send::{Outgoing, SendError, Sender};
use super::watch::Watch;
use super::{client_config, let_go, said};
use crate::config::Config;
use crate::note::{Note, NoteBook};
use crate::topic_table::Topic;

/// Pause before what may not be written is put once more.
const AGAIN_EVERY: Duration = Duration::from_secs(2);
/// Created with one partition, so that notes have one order.
const PARTITION: i32 = 0;

/// Every stage's view of the notes, and who writes them.
#[derive(Clone)]
pub struct Notes {
    topic: String,
    noted: Noted,
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
    pub fn open(config: &Arc<Config>, watch: &Arc<Watch>) -> KafkaResult<(Self, Reader)> {
        let denied = Denied::default();
        let producer = Arc::new(Mutex::new((watch.secrets(), producer(config, &denied)?)));
        let (topic, config) = (config.topics.notes.clone(), Arc::clone(config));
        let (noted, reader) = noted::Reader::new(Follower::of(&config, Topic::Notes, watch));
        let notes = Self { topic, noted, producer, denied, config, watch: Arc::clone(watch) };
        Ok((notes.clone(), Reader { reader, notes }))
    }

    /// What is known of them.
    pub fn noted(&self) -> &Noted {
        &self.noted
    }

    /// Every note, as of now (see [`Noted::known`]).
    pub fn known(&self) -> Option<Arc<NoteBook>> {
        self.noted.known()
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

/// Reads the topic for all of them, and writes again what could not be written.
pub struct Reader {
    reader: noted::Reader<TopicLog>,
    notes: Notes,
}

impl Reader {
    /// Follows until `stop` is true. Blocks.
    pub fn run(self, stop: &watch::Receiver<bool>) {
        let Self { reader, notes } = self;
        let mut put = Instant::now();
        let put_again = |lost: NoteBook| {
            for (key, note) in lost {
                warn!(key, "a note was lost with its topic; it is written again");
                if let Err(error) = notes.put(&key, Some(&note)) {
                    warn!(%error, "a note cannot be written; it is lost with its topic");
                }
            }
            if put.elapsed() >= AGAIN_EVERY {
                put = Instant::now();
                notes.put_again();
            }
        };
        reader.run(|| *stop.borrow(), put_again);
    }
}

/// Every note that stands now: for tools.
pub fn read(config: &Config) -> Result<NoteBook, ScanError> {
    let (mut book, mut foreign) = (NoteBook::new(), Foreign::default());
    Scanner::new(config)?.read(&[Range::of(&config.topics.notes)], |record| {
        if let Err(why) = apply(&mut book, (record.key().unwrap_or_default(), record.payload())) {
            foreign.add(record.partition(), record.offset(), why);
        }
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
    const LOOK_EVERY: Duration = Duration::from_millis(200);

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
            std::thread::sleep(LOOK_EVERY);
        }
        stop.send_replace(true);
        follows.join().unwrap();
    }
}
