//! What a transaction asks of its producer, and what the errors of these calls ask for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use tracing::warn;

use super::clock::Clock;
use super::epoch::GroupEpoch;
use super::stall::Course;
use super::transaction::{Epoch, Outgoing};
use super::{let_go, said};
use crate::config::Config;

/// How long one call into librdkafka may take before it is tried again.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long all records of a transaction may take together.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);
/// One try to reach the transaction coordinator.
const INIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one client to reach it. Then another client is made: what it stumbles over may be its own.
const INIT_TRIES: u32 = 3;
/// A producer that goes is waited for so long; nothing hangs on it.
const GOES_WITHIN: Duration = Duration::from_secs(1);
/// Pause before another producer is made, and before a right that was taken away is tried again.
pub const DENIED_PAUSE: Duration = Duration::from_secs(2);
/// Pause before a call is repeated.
const REPEAT_PAUSE: Duration = Duration::from_millis(200);
/// Pause before looking again whether the broker has answered for every record. rdkafka's own `flush` looks every 100 ms,
/// which each commit would pay, and its `poll` spins through the last millisecond of what it is given.
const ANSWERS_WITHIN: Duration = Duration::from_millis(1);

/// What an error of a transactional call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The same call may be made again.
    Repeat,
    /// The transaction is aborted, and may be made again.
    Again,
    /// The group has moved on, perhaps with this member.
    EpochOver,
    MembershipLost,
    /// A record is larger than its topic takes, or the batch that it was in.
    TooLarge,
    /// Another producer may do it.
    Fenced,
    /// A right is missing, which may be given again.
    Denied,
    /// Nobody waits for it any more.
    GivenUp,
}

#[derive(Debug)]
pub struct Refused {
    pub failure: Failure,
    pub error: KafkaError,
    /// The producer itself takes nothing more.
    pub worn: bool,
    /// What it was about, as far as it is known: a topic.
    pub about: Option<String>,
}

impl From<KafkaError> for Refused {
    fn from(error: KafkaError) -> Self {
        let worn = matches!(&error, KafkaError::Transaction(cause) if cause.is_fatal());
        Self { failure: classify(&error), error, worn, about: None }
    }
}

/// The calls of a transaction, in their order. A trait, so that commits are driven by a simulated broker as well.
pub trait TransactionalProducer: Clock {
    type Epoch: Epoch;

    fn begin(&self) -> Result<(), Refused>;
    /// `place` is the record's place among those of the transaction.
    fn produce(&self, topic: &str, record: Outgoing<'_>, place: usize) -> Result<(), Refused>;
    /// Waits until the broker has answered for every record; what it refused fails the transaction at its next step.
    /// Each answer is a step.
    fn deliver(&self, course: &Course) -> Result<(), Refused>;
    fn send_offsets(&self, next_offsets: &TopicPartitionList, epoch: &Self::Epoch) -> Result<(), Refused>;
    fn commit(&self) -> Result<(), Refused>;
    /// Good also where the transaction had not begun.
    fn abort(&self) -> Result<(), Refused>;
    /// Places of the records of this transaction that were refused for their size.
    fn too_large(&self) -> Vec<usize>;
}

/// Repeats a call as long as its error says that it may be, and somebody waits for it.
pub fn retriable(
    clock: &impl Clock,
    course: &Course,
    mut call: impl FnMut() -> Result<(), Refused>,
) -> Result<(), Refused> {
    loop {
        match call() {
            Err(refused) if refused.failure == Failure::Repeat => {
                if course.given_up() {
                    return Err(Refused { failure: Failure::GivenUp, ..refused });
                }
                if let Some(times) = said::again("transactional call is repeated") {
                    warn!(error = %refused.error, times, "transactional call is repeated");
                }
                clock.sleep(REPEAT_PAUSE);
            }
            Ok(()) => {
                course.moved(clock.now());
                return Ok(());
            }
            refused @ Err(_) => return refused,
        }
    }
}

/// Takes note of the records that are too large, and of the topic that refused one; what else fails fails the transaction
/// as a whole, whose error does not say of what.
#[derive(Default)]
struct Deliveries {
    too_large: Mutex<Vec<usize>>,
    denied: Mutex<Option<String>>,
}

impl Deliveries {
    fn refused(&self, place: usize, error: &KafkaError, topic: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => lock(&self.too_large).push(place),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => *lock(&self.denied) = Some(topic.to_owned()),
            _ => {}
        }
    }
}

fn lock<T>(noted: &Mutex<T>) -> MutexGuard<'_, T> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        said::error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        if let Err((error, record)) = result {
            self.refused(place, error, record.topic());
        }
    }
}

/// A transactional producer by librdkafka.
pub struct TransactionProducer {
    /// None only while it is dropped.
    client: Option<BaseProducer<Deliveries>>,
}

impl TransactionProducer {
    /// Makes one whose transactions are initialised: whatever a predecessor of the same id left open is aborted. As long
    /// as it takes; None where nobody waits any more.
    pub fn make(config: &Config, transactional_id: &str, course: &Course) -> Option<Self> {
        Self::make_of(&super::transactional_client(config, transactional_id), transactional_id, course)
    }

    pub(super) fn make_of(settings: &ClientConfig, transactional_id: &str, course: &Course) -> Option<Self> {
        let mut tries = 0;
        while !course.given_up() {
            if tries > 0 {
                thread::sleep(DENIED_PAUSE);
            }
            tries += 1;
            match settings.create_with_context(Deliveries::default()) {
                Ok(client) => {
                    let producer = Self { client: Some(client) };
                    if producer.init(transactional_id, course) {
                        return Some(producer);
                    }
                }
                Err(error) => {
                    if let Some(times) = said::again("no producer can be made") {
                        warn!(%error, times, "no producer can be made of the settings; trying again");
                    }
                }
            }
        }
        None
    }

    fn init(&self, transactional_id: &str, course: &Course) -> bool {
        for _ in 0..INIT_TRIES {
            let error = match self.client().init_transactions(INIT_TIMEOUT) {
                Ok(()) => {
                    course.denied(None);
                    course.moved(self.now());
                    return true;
                }
                Err(error) => error,
            };
            let refused = Refused::from(error);
            if refused.failure == Failure::Denied {
                course.denied(Some(format!("WRITE on transactional id `{transactional_id}`")));
                course.moved(self.now());
            }
            if let Some(times) = said::again("the transaction coordinator is waited for") {
                warn!(error = %refused.error, times, "the transaction coordinator is waited for");
            }
            if refused.failure != Failure::Repeat || course.given_up() {
                return false;
            }
        }
        false
    }

    fn client(&self) -> &BaseProducer<Deliveries> {
        self.client.as_ref().expect("it is dropped last")
    }

    fn refused(&self, error: KafkaError) -> Refused {
        let about = lock(&self.client().context().denied).take();
        Refused { about, ..Refused::from(error) }
    }

    fn said<T>(&self, result: KafkaResult<T>) -> Result<(), Refused> {
        result.map(|_| ()).map_err(|error| self.refused(error))
    }
}

impl Drop for TransactionProducer {
    /// librdkafka may not come to the end of it.
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let_go(client, GOES_WITHIN);
        }
    }
}

impl Clock for TransactionProducer {}

impl TransactionalProducer for TransactionProducer {
    type Epoch = GroupEpoch;

    fn begin(&self) -> Result<(), Refused> {
        lock(&self.client().context().denied).take();
        lock(&self.client().context().too_large).clear();
        self.said(self.client().begin_transaction())
    }

    fn produce(&self, topic: &str, record: Outgoing<'_>, place: usize) -> Result<(), Refused> {
        let mut pending: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(topic, place);
        if let Some(partition) = record.partition {
            pending = pending.partition(partition);
        }
        if let Some(key) = record.key {
            pending = pending.key(key);
        }
        if let Some(value) = record.value {
            pending = pending.payload(value);
        }
        if let Some(timestamp) = record.timestamp {
            pending = pending.timestamp(timestamp);
        }
        if let Some(headers) = record.headers {
            pending = pending.headers(headers);
        }
        loop {
            match self.client().send(pending) {
                Ok(()) => return Ok(()),
                // The local queue is full: serve deliveries until there is room.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    pending = back;
                    self.client().poll(Duration::from_millis(10));
                }
                Err((error, _)) => {
                    self.client().context().refused(place, &error, topic);
                    return Err(self.refused(error));
                }
            }
        }
    }

    fn deliver(&self, course: &Course) -> Result<(), Refused> {
        let started = Instant::now();
        let mut left = i32::MAX;
        loop {
            let in_flight = self.client().in_flight_count();
            if in_flight < left {
                left = in_flight;
                course.moved(Instant::now());
            }
            if in_flight == 0 {
                return Ok(());
            }
            if started.elapsed() >= DELIVERED_WITHIN || course.given_up() {
                return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut).into());
            }
            self.client().poll(Duration::ZERO);
            thread::sleep(ANSWERS_WITHIN);
        }
    }

    fn send_offsets(&self, next_offsets: &TopicPartitionList, epoch: &GroupEpoch) -> Result<(), Refused> {
        self.said(self.client().send_offsets_to_transaction(next_offsets, &epoch.group, CALL_TIMEOUT))
    }

    fn commit(&self) -> Result<(), Refused> {
        self.said(self.client().commit_transaction(CALL_TIMEOUT))
    }

    /// An abort waits until the delivery reports of what it throws away are served, and serves none itself: without
    /// somebody who polls meanwhile it would never end.
    fn abort(&self) -> Result<(), Refused> {
        let client = self.client();
        let aborted = thread::scope(|scope| {
            let abort = scope.spawn(|| client.abort_transaction(CALL_TIMEOUT));
            while !abort.is_finished() {
                client.poll(Duration::ZERO);
                thread::sleep(ANSWERS_WITHIN);
            }
            abort.join().expect("an abort does not panic")
        });
        match aborted {
            // The transaction had not begun, so that there is nothing to abort.
            Err(KafkaError::Transaction(error)) if error.code() == RDKafkaErrorCode::State => Ok(()),
            result => self.said(result),
        }
    }

    fn too_large(&self) -> Vec<usize> {
        lock(&self.client().context().too_large).clone()
    }
}

fn classify(error: &KafkaError) -> Failure {
    match error.rdkafka_error_code() {
        _ if matches!(error, KafkaError::Transaction(it) if it.is_retriable() && !it.txn_requires_abort()) => {
            Failure::Repeat
        }
        // Brokers say the first in place of the second where a transaction's offsets are of a former epoch.
        Some(RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::StaleMemberEpoch) => Failure::EpochOver,
        Some(
            RDKafkaErrorCode::FencedMemberEpoch
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::RebalanceInProgress,
        ) => Failure::MembershipLost,
        Some(
            RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::Fatal,
        ) => Failure::Fenced,
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
        ) => Failure::Denied,
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => Failure::TooLarge,
        // Whatever has happened to this client, another one may do it.
        _ if matches!(error, KafkaError::Transaction(cause) if cause.is_fatal()) => Failure::Fenced,
        _ => Failure::Again,
    }
}
