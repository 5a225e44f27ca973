//! The session catalogue as every fold thread hears it: the winning records of `rollbook.catalogue`, read whole by each
//! instance and followed for ever (`kafka::follower`).
//!
//! The sessions topic itself is consumed by the fold's group, once, so that each of its records has one outcome; its
//! winners are written to the catalogue topic. Reading `sessions` directly would be simpler, but compaction keeps
//! the last record of a key, which need not be the newest.
//!
//! Whoever takes partitions over catches up first: what a predecessor wrote must be known before anything is compared
//! with it, or an older statement would be written behind a newer one.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tracing::info;

use crate::event::{DecodedSession, Decoder, Record, Session, SessionKey};
use crate::fold::Catalogue;
use crate::kafka::changelog::{Change, Log};
use crate::kafka::follower::{Follower, Hears};
use crate::time::Millis;

use super::Shutdown;

/// How long one read of the topic may take before a shutdown is noticed.
const READ_FOR: Duration = Duration::from_millis(200);
/// The same while the topic is followed, before a thread that wants to catch up is noticed.
const FOLLOW_FOR: Duration = Duration::from_millis(20);

/// A change of the catalogue. None: nothing is known any more.
#[derive(Clone, Debug)]
pub struct CatalogueChange {
    pub key: SessionKey,
    pub session: Option<Session>,
    /// Kafka timestamp of the statement.
    pub at: Millis,
}

/// What is heard of the catalogue.
#[derive(Clone)]
pub enum Statement {
    Change(Box<CatalogueChange>),
    /// The topic was made anew: whoever starts later would know nothing of what is known here.
    Anew,
}

/// What threads are told, in the order of the topic.
enum Word {
    Heard(Statement),
    /// Everything that was in the topic when this was asked for has been told.
    CaughtUp(u64),
}

/// Ear number so-and-so wants to have heard everything that is in the topic now.
struct Request {
    ear: usize,
    ticket: u64,
}

/// Keys whose last record says something older than is known. Two owners of partitions of `sessions` may write about one
/// key: who has heard both knows the newer, and compaction keeps the last.
#[derive(Clone, Debug, Default)]
pub struct Outdated {
    /// Whether the newer statement is on its way.
    keys: BTreeMap<SessionKey, bool>,
}

impl Outdated {
    /// The last record of a key, after the catalogue has taken what it says.
    pub fn heard(&mut self, catalogue: &Catalogue, key: &SessionKey, session: Option<&Session>) {
        let known = catalogue.get(key.campaign, key.entry_id.as_deref());
        // A tombstone is a statement, too, and was taken: whoever starts later knows as little.
        if session.is_none() || known.is_none() || known == session {
            self.keys.remove(key);
        } else {
            self.keys.insert(key.clone(), false);
        }
    }

    /// The topic says nothing any more of what is known.
    pub fn lost(&mut self, catalogue: &Catalogue) {
        self.keys.extend(catalogue.keys().map(|key| (key.clone(), false)));
    }

    /// Those that nobody here has said again.
    pub fn unsaid(&self) -> Vec<SessionKey> {
        self.keys.iter().filter(|(_, said)| !**said).map(|(key, _)| key.clone()).collect()
    }

    pub fn said(&mut self, key: &SessionKey) {
        if let Some(said) = self.keys.get_mut(key) {
            *said = true;
        }
    }

    /// What was said was not written.
    pub fn unsay(&mut self) {
        self.keys.values_mut().for_each(|said| *said = false);
    }
}

/// One fold thread's.
pub struct Ear {
    number: usize,
    words: Receiver<Word>,
    requests: Sender<Request>,
    /// The last one asked for, and the last one answered.
    asked: u64,
    answered: u64,
    outdated: Outdated,
}

impl Ear {
    /// As of the catalogue that came with it.
    pub fn outdated(&self) -> Outdated {
        self.outdated.clone()
    }

    /// What was heard next, if there is anything.
    pub fn heard(&mut self) -> Option<Statement> {
        loop {
            match self.words.try_recv().ok()? {
                Word::Heard(statement) => return Some(statement),
                Word::CaughtUp(ticket) => self.answered = ticket,
            }
        }
    }

    /// Asks for everything that is in the topic now, open transactions included.
    pub fn catch_up(&mut self) {
        self.asked += 1;
        // A reader that is gone has been told to stop, and so will be whoever waits for its answer.
        let _ = self.requests.send(Request { ear: self.number, ticket: self.asked });
    }

    /// Whether everything has been heard that was in the topic when it was last asked for.
    pub fn caught_up(&self) -> bool {
        self.answered == self.asked
    }
}

/// The catalogue as it was read at start, and the changes since then.
pub struct CatalogueReader<L> {
    follower: Follower<L>,
    known: Known,
    ears: Vec<Sender<Word>>,
    requests: (Sender<Request>, Receiver<Request>),
}

/// What was heard before anybody followed.
struct Known {
    decoder: Decoder,
    catalogue: Catalogue,
    outdated: Outdated,
}

impl Hears for Known {
    fn record(&mut self, change: &Change<'_>) -> Result<(), &'static str> {
        let change = read_change(&self.decoder, change)?;
        let (key, session) = (change.key.clone(), change.session.clone());
        apply(&mut self.catalogue, change);
        self.outdated.heard(&self.catalogue, &key, session.as_ref());
        Ok(())
    }

    fn anew(&mut self) {
        self.outdated.lost(&self.catalogue);
    }
}

/// Everybody's ears.
struct Ears {
    decoder: Decoder,
    ears: Vec<Sender<Word>>,
}

impl Ears {
    fn tell(&self, statement: &Statement) {
        for ear in &self.ears {
            // A thread that is gone has stopped; the others go on.
            let _ = ear.send(Word::Heard(statement.clone()));
        }
    }
}

impl Hears for Ears {
    fn record(&mut self, change: &Change<'_>) -> Result<(), &'static str> {
        let change = read_change(&self.decoder, change)?;
        self.tell(&Statement::Change(Box::new(change)));
        Ok(())
    }

    fn anew(&mut self) {
        self.tell(&Statement::Anew);
    }
}

impl<L: Log> CatalogueReader<L> {
    /// Reads the whole topic. None: the shutdown came first.
    pub fn load(mut follower: Follower<L>, shutdown: &Shutdown) -> Option<Self> {
        let decoder = Decoder::new(usize::MAX);
        let mut known = Known { decoder, catalogue: Catalogue::default(), outdated: Outdated::default() };
        while !follower.whole() {
            if shutdown.requested() {
                return None;
            }
            follower.turn(READ_FOR, &mut known);
        }
        info!(sessions = known.catalogue.len(), "session catalogue read");
        Some(Self { follower, known, ears: Vec::new(), requests: channel() })
    }

    /// The catalogue as it was read, and what hears every later change. Only before `run`.
    pub fn listen(&mut self) -> (Catalogue, Ear) {
        let (sender, words) = channel();
        let ear = Ear {
            number: self.ears.len(),
            words,
            requests: self.requests.0.clone(),
            asked: 0,
            answered: 0,
            outdated: self.known.outdated.clone(),
        };
        self.ears.push(sender);
        (self.known.catalogue.clone(), ear)
    }

    /// Follows the topic until the shutdown.
    pub fn run(self, shutdown: &Shutdown) {
        let Self { mut follower, known, ears, requests: (_, requests) } = self;
        let (mut ears, mut waiting) = (Ears { decoder: known.decoder, ears }, Vec::new());
        while !shutdown.requested() {
            let before = waiting.len();
            waiting.extend(requests.try_iter());
            if waiting.len() > before {
                follower.ask_for_end();
            }
            follower.turn(FOLLOW_FOR, &mut ears);
            if follower.whole() {
                for Request { ear, ticket } in waiting.drain(..) {
                    let _ = ears.ears.get(ear).map(|ear| ear.send(Word::CaughtUp(ticket)));
                }
            }
        }
    }
}

/// Applies a change; true where it says something new.
pub fn apply(catalogue: &mut Catalogue, change: CatalogueChange) -> bool {
    match change.session {
        Some(session) => catalogue.apply(session),
        None => catalogue.remove(&change.key),
    }
}

fn read_change(decoder: &Decoder, change: &Change<'_>) -> Result<CatalogueChange, &'static str> {
    let record =
        Record { kind: None, key: Some(change.key), value: change.value, timestamp: change.timestamp, headers: &() };
    let at = change.timestamp.unwrap_or_default();
    match decoder.decode_session(&record) {
        Ok(DecodedSession::Session(session)) => {
            Ok(CatalogueChange { key: session.key.clone(), session: Some(session), at })
        }
        Ok(DecodedSession::Tombstone(key)) => Ok(CatalogueChange { key, session: None, at }),
        // Only the fold writes this topic, and only what it has accepted.
        Ok(DecodedSession::Refused(_)) | Err(_) => Err("it is no statement of the catalogue"),
    }
}
