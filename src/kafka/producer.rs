//! What a transaction asks of its producer, and what the errors of these calls ask for.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, TopicPartitionList};
use tracing::warn;

use super::clock::Clock;
use super::member::GroupEpoch;
use super::transaction::{Epoch, Outgoing};

/// How long one call into librdkafka may take before it is tried again.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
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
    Fatal,
}

#[derive(Debug)]
pub struct Refused {
    pub failure: Failure,
    pub error: KafkaError,
}

impl From<KafkaError> for Refused {
    fn from(error: KafkaError) -> Self {
        Self { failure: classify(&error), error }
    }
}

/// The calls of a transaction, in their order. A trait, so that commits are driven by a simulated broker as well.
pub trait TransactionalProducer: Clock {
    type Epoch: Epoch;

    fn begin(&self) -> Result<(), Refused>;
    /// `place` is the record's place among those of the transaction.
    fn produce(&self, topic: &str, record: Outgoing<'_>, place: usize) -> Result<(), Refused>;
    /// Waits until the broker has answered for every record; what it refused fails the transaction at its next step.
    fn deliver(&self) -> Result<(), Refused>;
    fn send_offsets(&self, next_offsets: &TopicPartitionList, epoch: &Self::Epoch) -> Result<(), Refused>;
    fn commit(&self) -> Result<(), Refused>;
    /// Good also where the transaction had not begun.
    fn abort(&self) -> Result<(), Refused>;
    /// Places of the records of this transaction that were refused for their size.
    fn too_large(&self) -> Vec<usize>;
}

/// Repeats a call as long as its error says that it may be.
pub fn retriable(clock: &impl Clock, mut call: impl FnMut() -> Result<(), Refused>) -> Result<(), Refused> {
    loop {
        match call() {
            Err(Refused { failure: Failure::Repeat, error }) => {
                warn!(error = %error, "transactional call is repeated");
                clock.sleep(REPEAT_PAUSE);
            }
            result => return result,
        }
    }
}

/// Takes note of the records that are too large; what else fails fails the transaction as a whole.
#[derive(Default)]
pub struct Deliveries {
    too_large: Mutex<Vec<usize>>,
}

impl Deliveries {
    fn refused(&self, place: usize, error: &KafkaError) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            self.too_large.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        if let Err((error, _)) = result {
            self.refused(place, error);
        }
    }
}

/// A producer by librdkafka.
pub type TopicProducer = BaseProducer<Deliveries>;

impl Clock for TopicProducer {}

impl TransactionalProducer for TopicProducer {
    type Epoch = GroupEpoch;

    fn begin(&self) -> Result<(), Refused> {
        self.context().too_large.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(self.begin_transaction()?)
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
            match self.send(pending) {
                Ok(()) => return Ok(()),
                // The local queue is full: serve deliveries until there is room.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    pending = back;
                    self.poll(Duration::from_millis(10));
                }
                Err((error, _)) => {
                    self.context().refused(place, &error);
                    return Err(error.into());
                }
            }
        }
    }

    fn deliver(&self) -> Result<(), Refused> {
        let started = Instant::now();
        while self.in_flight_count() > 0 {
            if started.elapsed() >= CALL_TIMEOUT {
                return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut).into());
            }
            self.poll(Duration::ZERO);
            thread::sleep(ANSWERS_WITHIN);
        }
        Ok(())
    }

    fn send_offsets(&self, next_offsets: &TopicPartitionList, epoch: &GroupEpoch) -> Result<(), Refused> {
        Ok(self.send_offsets_to_transaction(next_offsets, &epoch.group, CALL_TIMEOUT)?)
    }

    fn commit(&self) -> Result<(), Refused> {
        Ok(self.commit_transaction(CALL_TIMEOUT)?)
    }

    /// An abort waits until the delivery reports of what it throws away are served, and serves none itself: without
    /// somebody who polls meanwhile it would never end.
    fn abort(&self) -> Result<(), Refused> {
        let aborted = thread::scope(|scope| {
            let abort = scope.spawn(|| self.abort_transaction(CALL_TIMEOUT));
            while !abort.is_finished() {
                self.poll(Duration::ZERO);
                thread::sleep(ANSWERS_WITHIN);
            }
            abort.join().expect("an abort does not panic")
        });
        match aborted {
            // The transaction had not begun, so that there is nothing to abort.
            Err(KafkaError::Transaction(error)) if error.code() == RDKafkaErrorCode::State => Ok(()),
            result => Ok(result?),
        }
    }

    fn too_large(&self) -> Vec<usize> {
        self.context().too_large.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => Failure::TooLarge,
        _ if matches!(error, KafkaError::Transaction(cause) if cause.is_fatal()) => Failure::Fatal,
        _ => Failure::Again,
    }
}
