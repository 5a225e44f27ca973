//! One transaction after the other: records and the offsets that they answer for, all or nothing.
//!
//! The committer has its own thread, so that folding goes on while a commit is in flight. A transaction that was
//! aborted is sent again as it is: the same records, the same offsets. Only where the group has moved on (the
//! instance lost its partitions) or the producer is fenced is it given up.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tracing::warn;

/// How long one call into librdkafka may take before it is tried again.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before an aborted transaction is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A record to write.
pub struct Outgoing {
    pub topic: String,
    /// None: by the key, as Java's default partitioner does.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
    pub timestamp: Option<i64>,
    pub headers: Option<OwnedHeaders>,
}

/// One transaction.
pub struct Transaction {
    pub records: Vec<Outgoing>,
    /// Offsets to resume at, by input partition.
    pub next_offsets: TopicPartitionList,
    pub group: ConsumerGroupMetadata,
}

/// How a transaction ended.
#[derive(Debug)]
pub enum Committed {
    Done {
        took: Duration,
        aborts: u64,
    },
    /// The group gave the partitions to somebody else; nothing was written.
    MembershipLost,
    /// The producer can no longer be used.
    Fatal(KafkaError),
}

/// Handle of the committing thread. At most one transaction is in flight.
pub struct Committer {
    transactions: SyncSender<Transaction>,
    results: Receiver<Committed>,
    in_flight: bool,
}

impl Committer {
    /// The producer has a transactional id and has initialised its transactions.
    pub fn start(producer: BaseProducer, name: &str) -> std::io::Result<Self> {
        let (transactions, inbox) = sync_channel::<Transaction>(1);
        let (outbox, results) = sync_channel(1);
        thread::Builder::new().name(format!("{name}-commit")).spawn(move || {
            for transaction in inbox {
                if outbox.send(commit(&producer, &transaction)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { transactions, results, in_flight: false })
    }

    pub fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// Hands over a transaction; only while none is in flight.
    pub fn send(&mut self, transaction: Transaction) {
        debug_assert!(!self.in_flight, "one transaction at a time");
        self.in_flight = true;
        self.transactions.send(transaction).expect("the committing thread lives as long as its handle");
    }

    /// The result, if it is there.
    pub fn try_result(&mut self) -> Option<Committed> {
        match self.results.try_recv() {
            Ok(result) => {
                self.in_flight = false;
                Some(result)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                unreachable!("the committing thread lives as long as its handle")
            }
        }
    }

    /// Waits for the transaction in flight, if there is one.
    pub fn wait(&mut self) -> Option<Committed> {
        if !self.in_flight {
            return None;
        }
        self.in_flight = false;
        Some(self.results.recv().expect("the committing thread lives as long as its handle"))
    }
}

/// What an error of a transactional call asks for.
enum Failure {
    Again,
    MembershipLost,
    Fatal,
}

fn commit(producer: &BaseProducer, transaction: &Transaction) -> Committed {
    let started = Instant::now();
    let mut aborts = 0;
    loop {
        let Err(error) = attempt(producer, transaction) else {
            return Committed::Done { took: started.elapsed(), aborts };
        };
        warn!(error = %error, aborts, "transaction failed, aborting it");
        let failure = classify(&error);
        if matches!(failure, Failure::Fatal) {
            return Committed::Fatal(error);
        }
        if let Err(error) = abort(producer) {
            return Committed::Fatal(error);
        }
        if matches!(failure, Failure::MembershipLost) {
            return Committed::MembershipLost;
        }
        aborts += 1;
        thread::sleep(RETRY_PAUSE);
    }
}

fn attempt(producer: &BaseProducer, transaction: &Transaction) -> Result<(), KafkaError> {
    retriable(|| producer.begin_transaction())?;
    for record in &transaction.records {
        produce(producer, record)?;
    }
    // The records stand in the log before the offsets are pending: whoever fetches these offsets as stable finds
    // every state that they answer for below the end of the changelog.
    producer.flush(CALL_TIMEOUT)?;
    // Crash here: the transaction times out or is aborted by its successor; the events are folded again, which is
    // harmless, since the join is idempotent.
    retriable(|| producer.send_offsets_to_transaction(&transaction.next_offsets, &transaction.group, CALL_TIMEOUT))?;
    // Crash here: as above; pending offsets go with the transaction.
    retriable(|| producer.commit_transaction(CALL_TIMEOUT))
    // Crash here: everything is written; the successor starts from these offsets.
}

fn produce(producer: &BaseProducer, record: &Outgoing) -> Result<(), KafkaError> {
    let mut pending: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&record.topic);
    if let Some(partition) = record.partition {
        pending = pending.partition(partition);
    }
    if let Some(key) = &record.key {
        pending = pending.key(key.as_slice());
    }
    if let Some(value) = &record.value {
        pending = pending.payload(value.as_slice());
    }
    if let Some(timestamp) = record.timestamp {
        pending = pending.timestamp(timestamp);
    }
    if let Some(headers) = &record.headers {
        pending = pending.headers(headers.clone());
    }
    loop {
        match producer.send(pending) {
            Ok(()) => return Ok(()),
            // The local queue is full: serve deliveries until there is room.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                pending = back;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Repeats a call whose error says that the same call may be made again.
fn retriable(mut call: impl FnMut() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.txn_requires_abort() => {
                warn!(error = %error, "transactional call is repeated");
                thread::sleep(RETRY_PAUSE);
            }
            result => return result,
        }
    }
}

fn abort(producer: &BaseProducer) -> Result<(), KafkaError> {
    match retriable(|| producer.abort_transaction(CALL_TIMEOUT)) {
        // The transaction had not begun, so that there is nothing to abort.
        Err(KafkaError::Transaction(error)) if error.code() == RDKafkaErrorCode::State => Ok(()),
        result => result,
    }
}

fn classify(error: &KafkaError) -> Failure {
    if let KafkaError::Transaction(cause) = error
        && cause.is_fatal()
    {
        return Failure::Fatal;
    }
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::RebalanceInProgress,
        ) => Failure::MembershipLost,
        // A record that no broker takes would be refused for ever.
        Some(
            RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::MessageSizeTooLarge,
        ) => Failure::Fatal,
        _ => Failure::Again,
    }
}
