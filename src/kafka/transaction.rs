//! One transaction after the other: records and the offsets that they answer for, all or nothing.
//!
//! The committer has its own thread, so that folding goes on while a commit is in flight. A transaction that was
//! aborted is sent again as it is: the same records, the same offsets. Only where the group has moved on (the
//! instance lost its partitions) is it given up.
//!
//! A producer that is fenced is replaced and the transaction sent again. That it is fenced says little: a broker that
//! was away for longer than the transaction's timeout fences its producer when it is back. Who may write is decided
//! by the group, which refuses the offsets of a former member whatever producer they come from.

use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::OwnedHeaders;
use tracing::warn;

use super::producer::{Failure, Refused, TransactionalProducer, retriable};
use super::topics::Topic;
use crate::avro::Writer;
use crate::config::Topics;

/// Pause before an aborted transaction is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The same where only the member's epoch was over; the next one comes with an answer that is under way.
const EPOCH_PAUSE: Duration = Duration::from_millis(10);
/// How often a long wait says that it is alive.
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Producers that one transaction may wear out. More is no outage: somebody else uses the transactional id.
const PRODUCERS_MAX: u32 = 5;
/// A record to write.
#[derive(Default)]
pub struct Outgoing<'a> {
    /// None: by the key, as Java's default partitioner does.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    /// None: a tombstone.
    pub value: Option<&'a [u8]>,
    pub timestamp: Option<i64>,
    pub headers: Option<OwnedHeaders>,
}

/// The records of one transaction, keys and values end to end in one buffer: some hundred thousand records a second
/// would otherwise be three allocations each, freed by another thread.
#[derive(Default)]
pub struct Records {
    bytes: Writer,
    records: Vec<Placed>,
}

/// A record by where it stands in the buffer.
struct Placed {
    topic: Topic,
    partition: Option<i32>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    timestamp: Option<i64>,
    headers: Option<OwnedHeaders>,
}

impl Records {
    pub fn push(&mut self, topic: Topic, record: Outgoing<'_>) {
        let mut place = |bytes: &[u8]| {
            let start = self.bytes.0.len();
            self.bytes.0.extend_from_slice(bytes);
            start..self.bytes.0.len()
        };
        let (key, value) = (record.key.map(&mut place), record.value.map(&mut place));
        let Outgoing { partition, timestamp, headers, .. } = record;
        self.records.push(Placed { topic, partition, key, value, timestamp, headers });
    }

    /// A record that is written in place: `value` first, and then, unless it has taken back what it wrote, `key`.
    pub fn write<T>(
        &mut self,
        (topic, partition): (Topic, i32),
        value: impl FnOnce(&mut Writer) -> Option<T>,
        key: impl FnOnce(&mut Writer),
    ) -> Option<T> {
        let start = self.bytes.0.len();
        let Some(written) = value(&mut self.bytes) else {
            self.bytes.0.truncate(start);
            return None;
        };
        let end = self.bytes.0.len();
        key(&mut self.bytes);
        let (key, value) = (Some(end..self.bytes.0.len()), Some(start..end));
        self.records.push(Placed { topic, partition: Some(partition), key, value, timestamp: None, headers: None });
        Some(written)
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Forgets the records and keeps the room, unless it is far more than these needed.
    pub fn clear(&mut self) {
        self.bytes.0.shrink_to(self.bytes.0.len().saturating_mul(ROOM_MAX));
        self.bytes.0.clear();
        self.records.shrink_to(self.records.len().saturating_mul(ROOM_MAX));
        self.records.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (Topic, Outgoing<'_>)> {
        let bytes = |range: &Option<Range<usize>>| self.bytes.0.get(range.clone()?);
        self.records.iter().map(move |placed| {
            let (key, value) = (bytes(&placed.key), bytes(&placed.value));
            let Placed { partition, timestamp, headers, .. } = placed;
            let (partition, timestamp, headers) = (*partition, *timestamp, headers.clone());
            (placed.topic, Outgoing { partition, key, value, timestamp, headers })
        })
    }
}

/// Room that is kept for the next transaction, in multiples of what the last one needed.
const ROOM_MAX: usize = 4;

/// One transaction.
pub struct Transaction<E> {
    pub records: Records,
    /// Offsets to resume at, by input partition.
    pub next_offsets: TopicPartitionList,
    /// Who commits them.
    pub epoch: E,
}

/// A member of a consumer group at some time, by which the broker knows whether it still is one.
pub trait Epoch {
    /// Takes the epoch of now. False where there is none by which the partitions are still the member's.
    fn renew(&mut self) -> bool;
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

/// Carries out transactions, one at a time, while whoever made them goes on.
pub trait Commits {
    type Epoch: Epoch;

    fn in_flight(&self) -> bool;
    /// Hands over a transaction; only while none is in flight.
    fn send(&mut self, transaction: Transaction<Self::Epoch>);
    /// The result, if it is there.
    fn try_result(&mut self) -> Option<Committed>;
    /// Waits for the transaction in flight, if there is one. A broker that is away makes this long: `alive` is
    /// called now and then.
    fn wait(&mut self, alive: impl FnMut()) -> Option<Committed>;
    /// Empty records with the room of earlier ones.
    fn take_spare(&mut self) -> Records;
}

/// Handle of a committing thread.
pub struct Committer<E> {
    transactions: SyncSender<Transaction<E>>,
    results: Receiver<(Committed, Records)>,
    in_flight: bool,
    /// The room of the last transaction's records.
    spare: Records,
}

impl<E: Epoch + Send + 'static> Committer<E> {
    /// The producer has a transactional id and has initialised its transactions. `renew` makes another one of the
    /// same id; None: the shutdown came first.
    pub fn start<P: TransactionalProducer<Epoch = E> + Send + 'static>(
        producer: P,
        renew: impl Fn() -> KafkaResult<Option<P>> + Send + 'static,
        topics: Topics,
        name: &str,
    ) -> std::io::Result<Self> {
        let (transactions, inbox) = sync_channel::<Transaction<E>>(1);
        let (outbox, results) = sync_channel(1);
        thread::Builder::new().name(format!("{name}-commit")).spawn(move || {
            let mut producer = producer;
            for transaction in inbox {
                let mut transaction = transaction;
                let committed = commit(&mut producer, &renew, &topics, &mut transaction);
                // The loop closes the consumer when it has the result: nothing else may hold it then.
                let Transaction { mut records, next_offsets: _, epoch } = transaction;
                drop(epoch);
                records.clear();
                if outbox.send((committed, records)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { transactions, results, in_flight: false, spare: Records::default() })
    }

    fn ended(&mut self, (committed, room): (Committed, Records)) -> Committed {
        self.in_flight = false;
        self.spare = room;
        committed
    }
}

impl<E: Epoch + Send + 'static> Commits for Committer<E> {
    type Epoch = E;

    fn in_flight(&self) -> bool {
        self.in_flight
    }

    fn send(&mut self, transaction: Transaction<E>) {
        debug_assert!(!self.in_flight, "one transaction at a time");
        self.in_flight = true;
        self.transactions.send(transaction).expect("the committing thread lives as long as its handle");
    }

    fn try_result(&mut self) -> Option<Committed> {
        match self.results.try_recv() {
            Ok(result) => Some(self.ended(result)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                unreachable!("the committing thread lives as long as its handle")
            }
        }
    }

    fn take_spare(&mut self) -> Records {
        std::mem::take(&mut self.spare)
    }

    fn wait(&mut self, mut alive: impl FnMut()) -> Option<Committed> {
        while self.in_flight {
            alive();
            match self.results.recv_timeout(ALIVE_INTERVAL) {
                Ok(result) => return Some(self.ended(result)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("the committing thread lives as long as its handle")
                }
            }
        }
        None
    }
}

/// Until it is done, or cannot be.
pub(crate) fn commit<P: TransactionalProducer>(
    producer: &mut P,
    renew: impl Fn() -> KafkaResult<Option<P>>,
    topics: &Topics,
    transaction: &mut Transaction<P::Epoch>,
) -> Committed {
    let started = producer.now();
    let (mut aborts, mut producers) = (0, 1);
    loop {
        let Err(refused) = attempt(producer, topics, transaction) else {
            let took = producer.now().saturating_duration_since(started);
            return Committed::Done { took, aborts };
        };
        warn!(error = %refused.error, aborts, "transaction failed, aborting it");
        let Refused { failure, error } = match refused.failure {
            Failure::Repeat | Failure::Again | Failure::EpochOver | Failure::MembershipLost => {
                match retriable(producer, || producer.abort()) {
                    Ok(()) => refused,
                    Err(refused) if refused.failure == Failure::Fenced => refused,
                    Err(Refused { error, .. }) => return Committed::Fatal(error),
                }
            }
            Failure::Fenced | Failure::Fatal => refused,
        };
        match failure {
            Failure::Repeat | Failure::Again => producer.sleep(RETRY_PAUSE),
            Failure::EpochOver if transaction.epoch.renew() => producer.sleep(EPOCH_PAUSE),
            Failure::EpochOver | Failure::MembershipLost => return Committed::MembershipLost,
            Failure::Fenced if producers < PRODUCERS_MAX => match renew() {
                // Its start aborted what the old one left, or waited for its commit. Crash-like in the second case:
                // the same records are written once more, which changes no state; dead letters are there twice.
                Ok(Some(renewed)) => {
                    *producer = renewed;
                    producers += 1;
                    producer.sleep(RETRY_PAUSE);
                }
                Ok(None) => return Committed::MembershipLost,
                Err(error) => return Committed::Fatal(error),
            },
            Failure::Fenced | Failure::Fatal => return Committed::Fatal(error),
        }
        aborts += 1;
    }
}

fn attempt<P: TransactionalProducer>(
    producer: &P,
    topics: &Topics,
    transaction: &Transaction<P::Epoch>,
) -> Result<(), Refused> {
    retriable(producer, || producer.begin())?;
    for (topic, record) in transaction.records.iter() {
        producer.produce(topic.name(topics), record)?;
    }
    // The records stand in the log before the offsets are pending: whoever fetches these offsets as stable finds
    // every state that they answer for below the end of the changelog.
    producer.deliver()?;
    // Crash here: the transaction times out or is aborted by its successor; the events are folded again, which is
    // harmless, since the join is idempotent.
    retriable(producer, || producer.send_offsets(&transaction.next_offsets, &transaction.epoch))?;
    // Crash here: as above; pending offsets go with the transaction.
    retriable(producer, || producer.commit())
    // Crash here: everything is written; the successor starts from these offsets.
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::kafka::member::GroupEpoch;

    const WITHIN: Duration = Duration::from_secs(20);

    fn cluster() -> (MockCluster<'static, DefaultProducerContext>, ClientConfig) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("state", 1, 1).unwrap();
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers());
        (cluster, client)
    }

    fn producer(client: &ClientConfig) -> BaseProducer {
        let producer: BaseProducer = client.clone().set("transactional.id", "one").create().unwrap();
        producer.init_transactions(WITHIN).unwrap();
        producer
    }

    fn record() -> Outgoing<'static> {
        Outgoing { partition: Some(0), key: Some(b"key"), value: Some(b"value"), ..Outgoing::default() }
    }

    fn topics() -> Topics {
        Topics { state: "state".to_owned(), ..Topics::default() }
    }

    fn transaction(client: &ClientConfig) -> Transaction<GroupEpoch> {
        let consumer: BaseConsumer = client.clone().set("group.id", "fold").create().unwrap();
        let group = consumer.group_metadata().unwrap();
        let mut records = Records::default();
        records.push(Topic::State, record());
        Transaction { records, next_offsets: TopicPartitionList::new(), epoch: GroupEpoch { group, member: None } }
    }

    #[test]
    fn an_abort_ends_though_nobody_has_served_the_delivery_reports() {
        let (_cluster, client) = cluster();
        let producer = producer(&client);
        producer.begin_transaction().unwrap();
        for _ in 0..100 {
            TransactionalProducer::produce(&producer, "state", record()).unwrap();
        }
        let (ended, end) = sync_channel(1);
        thread::spawn(move || ended.send(TransactionalProducer::abort(&producer).is_ok()));
        assert!(end.recv_timeout(WITHIN).expect("the abort ends"));
    }

    #[test]
    fn a_fenced_producer_is_replaced_and_the_transaction_sent_again() {
        let (cluster, client) = cluster();
        let first = producer(&client);
        cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
        let renew = client.clone();
        let mut committer = Committer::start(first, move || Ok(Some(producer(&renew))), topics(), "test").unwrap();
        committer.send(transaction(&client));
        let mut turns = 0;
        let committed = committer.wait(|| {
            turns += 1;
            assert!(turns < 60, "the transaction ends");
        });
        assert!(matches!(committed, Some(Committed::Done { aborts: 1, .. })), "{committed:?}");
    }
}
