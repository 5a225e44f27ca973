//! The service: everything that calls and jobs change, behind one lock, and how a transaction takes its turn in it.
//!
//! It stands on the rooms that have the data and below all that answer calls: nothing here knows a call's resource.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::auth::{Credentials, Identity, JwtKey, Sessions, random_secret};
use super::counters::Counters;
use super::cursors::Cursors;
use super::deploy::Deployments;
use super::fault::{FaultScript, Faults};
use super::jobs::Jobs;
use super::org::{JournalError, Org};
use super::pace::{Pace, Turn};
use super::schema::Schema;
use super::under_way::{LongRequests, UnderWay};
use crate::id::SalesforceId;

/// How the emulator is set up.
#[derive(Clone)]
pub struct Options {
    pub schema: Schema,
    /// Where changes are kept. None: in memory only.
    pub data: Option<PathBuf>,
    /// Of a new org. None: the one that every emulator has, so that one without data is the same org after a restart.
    pub org_id: Option<SalesforceId>,
    pub credentials: Credentials,
    /// Calls per 24 hours; the default is a developer org's.
    pub daily_api_requests: u64,
    /// Token of the control surface under `/emulator`.
    pub control_token: SecretString,
    pub pace: Pace,
    /// Trouble from the start.
    pub faults: FaultScript,
    /// How long each step of a bulk job takes: its start, and every 200 rows.
    pub bulk_delay: Duration,
    pub long_requests: LongRequests,
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot use the bulk jobs in the data directory")]
    Jobs(#[source] std::io::Error),
}

/// What all connections share.
pub struct Shared {
    state: Mutex<Service>,
    pub control_token: SecretString,
    pub pace: Pace,
    pub under_way: UnderWay,
    /// Somebody let go of locks.
    released: Notify,
}

/// Everything behind the lock.
pub struct Service {
    pub org: Org,
    pub sessions: Sessions,
    pub faults: Faults,
    pub counters: Counters,
    pub cursors: Cursors,
    pub deployments: Deployments,
    /// Codes that the call under way was refused with, it or its rows.
    pub refused: Vec<&'static str>,
    pub jobs: Jobs,
}

impl Options {
    /// An emulator in memory with credentials of its own making.
    pub fn new(schema: Schema) -> Self {
        Self {
            schema,
            data: None,
            org_id: None,
            credentials: Credentials {
                client_id: "rollbook".into(),
                client_secret: random_secret(),
                jwt_key: JwtKey::None,
                username: "integration@rollbook.example".into(),
                password: None,
                refresh_token: None,
                rotate_refresh_tokens: false,
                token_lifetime: None,
            },
            daily_api_requests: 15_000,
            control_token: random_secret(),
            pace: Pace::default(),
            faults: FaultScript::default(),
            bulk_delay: Duration::ZERO,
            long_requests: LongRequests::default(),
        }
    }
}

impl Service {
    pub fn count_changes(&mut self) {
        for (object, change) in self.org.take_changes() {
            self.counters.changed(&object, change);
        }
    }
}

impl Shared {
    pub fn open(options: Options) -> Result<Arc<Self>, Error> {
        let Options { schema, data, credentials, org_id, .. } = &options;
        let org = Org::open(schema.clone(), data.as_deref(), &credentials.username, *org_id)?;
        let identity = Identity {
            org_id: org.org_id().to_owned(),
            user_id: org.user_id().to_owned(),
            username: options.credentials.username.clone(),
        };
        let jobs = Jobs::open(options.data.as_deref(), &org, options.bulk_delay).map_err(Error::Jobs)?;
        let service = Service {
            org,
            sessions: Sessions::new(options.credentials, identity),
            faults: Faults::new(options.faults),
            counters: Counters::new(options.daily_api_requests),
            cursors: Cursors::default(),
            deployments: Deployments::default(),
            refused: Vec::new(),
            jobs,
        };
        Ok(Arc::new(Self {
            state: Mutex::new(service),
            control_token: options.control_token,
            pace: options.pace,
            under_way: UnderWay::new(options.long_requests),
            released: Notify::new(),
        }))
    }

    /// A panic in one request must not take the org away from all others.
    pub fn lock(&self) -> MutexGuard<'_, Service> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out one transaction. `work` takes back what it did and returns None when it meets a lock of another
    /// request; it is called again when locks were released. On the last turn it has to come to an end.
    pub async fn transact<T>(&self, mut work: impl FnMut(&mut Service, Turn) -> Option<T>) -> T {
        let deadline = Instant::now() + self.pace.lock_wait;
        let mut turn = Turn { first: true, last: false };
        loop {
            // Made before the look at the locks: a release in between wakes it too.
            let released = self.released.notified();
            let ended = {
                let mut service = self.lock();
                service.org.begin();
                let ended = work(&mut service, turn);
                service.count_changes();
                let keep = !self.pace.write.is_zero();
                ended.map(|ended| (ended, if keep { service.org.keep_locks() } else { Vec::new() }))
            };
            if let Some((ended, locks)) = ended {
                if !locks.is_empty() {
                    sleep(self.pace.write).await;
                    self.lock().org.release_locks(&locks);
                    self.released.notify_waiters();
                }
                return ended;
            }
            turn = Turn { first: false, last: timeout_at(deadline, released).await.is_err() };
        }
    }
}
