//! The session catalogue as every fold thread sees it: the winning records of `rollbook.catalogue`, read whole by
//! each instance and followed for ever.
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

use rdkafka::error::{KafkaError, KafkaResult};
use tracing::{info, warn};

use crate::config::Topics;
use crate::event::{DecodedSession, Decoder, Record, Session, SessionKey};
use crate::fold::Catalogue;
use crate::kafka::changelog::{Change, Changelog, Log};
use crate::kafka::foreign::Foreign;
use crate::kafka::said;
use crate::time::Millis;

use super::Shutdown;

/// How long one read of the topic may take before a shutdown is noticed.
const READ_FOR: Duration = Duration::from_millis(200);
/// The same while the topic is followed, before a follower that wants to catch up is noticed.
const FOLLOW_FOR: Duration = Duration::from_millis(20);

/// A follower whose client has come to a stand misses statements; it looks whether it has so often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A change of the catalogue. None: nothing is known any more.
#[derive(Clone, Debug)]
pub struct CatalogueChange {
    pub key: SessionKey,
    pub session: Option<Session>,
    /// Kafka timestamp of the statement.
    pub at: Millis,
}

/// What followers are told, in the order of the topic.
enum Word {
    Change(Box<CatalogueChange>),
    /// Everything that was in the topic when this was asked for has been told.
    CaughtUp(u64),
}

/// Follower number so-and-so wants to know when it has heard everything that is in the topic now.
struct Request {
    follower: usize,
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

/// One fold thread's ear.
pub struct Follower {
    number: usize,
    words: Receiver<Word>,
    requests: Sender<Request>,
    /// The last one asked for, and the last one answered.
    asked: u64,
    answered: u64,
    outdated: Outdated,
}

impl Follower {
    /// As of the catalogue that came with it.
    pub fn outdated(&self) -> Outdated {
        self.outdated.clone()
    }

    /// The next change that was heard, if there is one.
    pub fn heard(&mut self) -> Option<CatalogueChange> {
        loop {
            match self.words.try_recv().ok()? {
                Word::Change(change) => return Some(*change),
                Word::CaughtUp(ticket) => self.answered = ticket,
            }
        }
    }

    /// Asks for everything that is in the topic now, open transactions included.
    pub fn catch_up(&mut self) {
        self.asked += 1;
        // A reader that is gone has been told to stop, and so will be whoever waits for its answer.
        let _ = self.requests.send(Request { follower: self.number, ticket: self.asked });
    }

    /// Whether everything has been heard that was in the topic when it was last asked for.
    pub fn caught_up(&self) -> bool {
        self.answered == self.asked
    }
}

/// The catalogue as it was read at start, and the changes since then.
pub struct CatalogueReader<L> {
    changelog: Changelog<L>,
    decoder: Decoder,
    catalogue: Catalogue,
    outdated: Outdated,
    followers: Vec<Sender<Word>>,
    requests: (Sender<Request>, Receiver<Request>),
    /// Makes another client.
    log: Box<dyn Fn() -> KafkaResult<L> + Send>,
}

impl<L: Log> CatalogueReader<L> {
    /// Reads the whole topic. None: the shutdown came first.
    pub fn load(
        log: impl Fn() -> KafkaResult<L> + Send + 'static,
        topics: &Topics,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>, KafkaError> {
        let mut changelog = loop {
            if let Some(changelog) = Changelog::open_whole(log()?, &topics.catalogue, READ_FOR) {
                break changelog;
            }
            if shutdown.requested() {
                return Ok(None);
            }
        };
        let decoder = Decoder::new(usize::MAX);
        let (mut catalogue, mut outdated) = (Catalogue::default(), Outdated::default());
        let mut foreign = Foreign::default();
        while !changelog.finished() {
            if shutdown.requested() {
                return Ok(None);
            }
            let read = changelog.read(READ_FOR, |change| {
                if let Some(change) = read_change(&decoder, &change, &mut foreign) {
                    let (key, session) = (change.key.clone(), change.session.clone());
                    apply(&mut catalogue, change);
                    outdated.heard(&catalogue, &key, session.as_ref());
                }
            });
            mend(&mut changelog, &read, &log);
        }
        foreign.tell(&topics.catalogue);
        info!(sessions = catalogue.len(), "session catalogue read");
        let (log, followers, requests) = (Box::new(log), Vec::new(), channel());
        Ok(Some(Self { changelog, decoder, catalogue, outdated, followers, requests, log }))
    }

    /// The catalogue as it was read, and whoever hears every later change. Only before `run`.
    pub fn follow(&mut self) -> (Catalogue, Follower) {
        let (sender, words) = channel();
        let follower = Follower {
            number: self.followers.len(),
            words,
            requests: self.requests.0.clone(),
            asked: 0,
            answered: 0,
            outdated: self.outdated.clone(),
        };
        self.followers.push(sender);
        (self.catalogue.clone(), follower)
    }

    /// Follows the topic until the shutdown.
    pub fn run(self, shutdown: &Shutdown) {
        let Self { mut changelog, decoder, followers, requests: (_, requests), log, .. } = self;
        let (mut waiting, mut foreign) = (Vec::new(), Foreign::default());
        let mut looked = changelog.now();
        while !shutdown.requested() {
            let before = waiting.len();
            waiting.extend(requests.try_iter());
            // A client that has come to a stand is noticed by what it does not come to the end of.
            let look = changelog.finished() && changelog.now().saturating_duration_since(looked) >= LOOK_EVERY;
            if waiting.len() > before || look {
                looked = changelog.now();
                changelog.to_the_end_again();
            }
            let read = changelog.read(FOLLOW_FOR, |change| {
                let Some(change) = read_change(&decoder, &change, &mut foreign) else { return };
                for follower in &followers {
                    // A follower that is gone has stopped; the others go on.
                    let _ = follower.send(Word::Change(Box::new(change.clone())));
                }
            });
            mend(&mut changelog, &read, &log);
            if changelog.finished() {
                foreign.tell(changelog.topic());
                for Request { follower, ticket } in waiting.drain(..) {
                    let _ = followers.get(follower).map(|follower| follower.send(Word::CaughtUp(ticket)));
                }
            }
        }
    }
}

/// What cannot go on, or does not, goes on with another client.
fn mend<L: Log>(changelog: &mut Changelog<L>, read: &KafkaResult<()>, log: &impl Fn() -> KafkaResult<L>) {
    let stalled = changelog.stalled();
    if read.is_ok() && !stalled {
        return;
    }
    if let Err(error) = read {
        warn!(%error, "the session catalogue's client has ended");
    }
    let mended = log().and_then(|log| changelog.reopen(log));
    if let Err(error) = mended {
        changelog.pause(READ_FOR);
        if let Some(times) = said::again("the session catalogue cannot be read") {
            warn!(error = %error, times, "the session catalogue cannot be read; trying again");
        }
    } else {
        warn!("the session catalogue is read by another client; the last one did not get on");
    }
}

/// Applies a change; true where it says something new.
pub fn apply(catalogue: &mut Catalogue, change: CatalogueChange) -> bool {
    match change.session {
        Some(session) => catalogue.apply(session),
        None => catalogue.remove(&change.key),
    }
}

fn read_change(decoder: &Decoder, change: &Change<'_>, foreign: &mut Foreign) -> Option<CatalogueChange> {
    let record =
        Record { kind: None, key: Some(change.key), value: change.value, timestamp: change.timestamp, headers: &() };
    let at = change.timestamp.unwrap_or_default();
    match decoder.decode_session(&record) {
        Ok(DecodedSession::Session(session)) => {
            Some(CatalogueChange { key: session.key.clone(), session: Some(session), at })
        }
        Ok(DecodedSession::Tombstone(key)) => Some(CatalogueChange { key, session: None, at }),
        // Only the fold writes this topic, and only what it has accepted.
        Ok(DecodedSession::Refused(_)) | Err(_) => {
            foreign.add(change.partition, change.offset, "it is no statement of the catalogue");
            None
        }
    }
}
