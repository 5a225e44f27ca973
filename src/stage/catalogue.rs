//! The session catalogue as every fold thread sees it: the winning records of `rollbook.catalogue`, read whole by
//! each instance and followed for ever.
//!
//! The sessions topic itself is consumed by the fold's group, once, so that each of its records has one outcome; its
//! winners are written to the catalogue topic. Reading `sessions` directly would be simpler, but compaction keeps
//! the last record of a key, which need not be the newest.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rdkafka::error::KafkaError;
use tracing::{info, warn};

use crate::config::Config;
use crate::event::{DecodedSession, Decoder, Millis, Record, Session, SessionKey};
use crate::fold::Catalogue;
use crate::kafka::changelog::{Change, Changelog};

use super::Shutdown;

/// How long one read of the topic may take before a shutdown is noticed.
const READ_FOR: Duration = Duration::from_millis(200);

/// A change of the catalogue. None: nothing is known any more.
#[derive(Clone, Debug)]
pub struct CatalogueChange {
    pub key: SessionKey,
    pub session: Option<Session>,
    /// Kafka timestamp of the statement.
    pub at: Millis,
}

/// The catalogue as it was read at start, and the changes since then.
pub struct CatalogueReader {
    changelog: Changelog,
    decoder: Decoder,
    catalogue: Catalogue,
    followers: Vec<Sender<CatalogueChange>>,
}

impl CatalogueReader {
    /// Reads the whole topic. None: the shutdown came first.
    pub fn load(config: &Config, shutdown: &Shutdown) -> Result<Option<Self>, KafkaError> {
        let mut changelog = loop {
            if let Some(changelog) = Changelog::open_whole(config, &config.topics.catalogue)? {
                break changelog;
            }
            if shutdown.requested() {
                return Ok(None);
            }
        };
        let decoder = Decoder::new(usize::MAX);
        let mut catalogue = Catalogue::default();
        while !changelog.finished() {
            if shutdown.requested() {
                return Ok(None);
            }
            changelog.read(READ_FOR, |change| {
                if let Some(change) = read_change(&decoder, &change) {
                    apply(&mut catalogue, change);
                }
            })?;
        }
        info!(sessions = catalogue.len(), "session catalogue read");
        Ok(Some(Self { changelog, decoder, catalogue, followers: Vec::new() }))
    }

    /// The catalogue as it was read, and a channel with every later change. Only before `run`.
    pub fn follow(&mut self) -> (Catalogue, Receiver<CatalogueChange>) {
        let (changes, receiver) = channel();
        self.followers.push(changes);
        (self.catalogue.clone(), receiver)
    }

    /// Follows the topic until the shutdown.
    pub fn run(self, shutdown: &Shutdown) {
        let Self { mut changelog, decoder, followers, .. } = self;
        while !shutdown.requested() {
            let read = changelog.tail(READ_FOR, |change| {
                let Some(change) = read_change(&decoder, &change) else { return };
                for follower in &followers {
                    // A follower that is gone has stopped; the others go on.
                    let _ = follower.send(change.clone());
                }
            });
            if let Err(error) = read {
                warn!(error = %error, "the session catalogue cannot be read; trying again");
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

fn read_change(decoder: &Decoder, change: &Change<'_>) -> Option<CatalogueChange> {
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
            warn!(
                partition = change.partition,
                "record of the catalogue topic is not Rollbook's; nothing is taken from it"
            );
            None
        }
    }
}
