//! One transaction after the other: records and the offsets that they answer for, all or nothing.
//!
//! The committer has its own thread, so that folding goes on while a commit is in flight. A transaction that was
//! aborted is sent again as it is: the same records, the same offsets. Only where the group has moved on (the
//! instance lost its partitions) is it given up.
//!
//! A producer that is fenced is replaced and the transaction sent again. That it is fenced says little: a broker that
//! was away for longer than the transaction's timeout fences its producer when it is back. Who may write is decided
//! by the group, which refuses the offsets of a former member whatever producer they come from.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::error::{KafkaError, KafkaResult};
use tracing::warn;

use super::producer::{Failure, Refused, TransactionalProducer, retriable};
use super::sizes::{Sizes, Substitutes, TooLarge};
use crate::config::Topics;

pub use super::records::{Outgoing, Records};

/// Pause before an aborted transaction is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The same where only the member's epoch was over; the next one comes with an answer that is under way.
const EPOCH_PAUSE: Duration = Duration::from_millis(10);
/// How often a long wait says that it is alive.
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Producers that one transaction may wear out. More is no outage: somebody else uses the transactional id.
const PRODUCERS_MAX: u32 = 5;

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
        too_large: Vec<TooLarge>,
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
        (topics, substitutes): (Topics, Box<Substitutes>),
        name: &str,
    ) -> std::io::Result<Self> {
        let (transactions, inbox) = sync_channel::<Transaction<E>>(1);
        let (outbox, results) = sync_channel(1);
        thread::Builder::new().name(format!("{name}-commit")).spawn(move || {
            let mut producer = producer;
            for transaction in inbox {
                let mut transaction = transaction;
                let committed = commit(&mut producer, &renew, (&topics, &*substitutes), &mut transaction);
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
    (topics, substitutes): (&Topics, &Substitutes),
    transaction: &mut Transaction<P::Epoch>,
) -> Committed {
    let started = producer.now();
    let (mut aborts, mut producers) = (0, 1);
    let mut sizes = Sizes::default();
    loop {
        let Err(refused) = attempt(producer, topics, transaction, &sizes.apart) else {
            let took = producer.now().saturating_duration_since(started);
            return Committed::Done { took, aborts, too_large: sizes.too_large };
        };
        warn!(error = %refused.error, aborts, "transaction failed, aborting it");
        let Refused { failure, error } = match refused.failure {
            Failure::Repeat | Failure::Again | Failure::EpochOver | Failure::MembershipLost | Failure::TooLarge => {
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
            Failure::TooLarge => {
                let records = (topics, &mut transaction.records);
                producer.sleep(sizes.mend(records, &producer.too_large(), |topic, record| {
                    substitutes(topic, record, producer.wall_clock())
                }));
            }
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
    apart: &BTreeSet<usize>,
) -> Result<(), Refused> {
    write(producer, topics, transaction, apart).map_err(|refused| {
        let sized = matches!(refused.failure, Failure::Repeat | Failure::Again);
        // What says so of the records may come behind another error, which is then its consequence.
        if sized && !producer.too_large().is_empty() {
            Refused { failure: Failure::TooLarge, ..refused }
        } else {
            refused
        }
    })
}

fn write<P: TransactionalProducer>(
    producer: &P,
    topics: &Topics,
    transaction: &Transaction<P::Epoch>,
    apart: &BTreeSet<usize>,
) -> Result<(), Refused> {
    retriable(producer, || producer.begin())?;
    for (place, (topic, record)) in transaction.records.iter().enumerate() {
        if apart.contains(&place) {
            producer.deliver()?;
            producer.produce(topic.name(topics), record, place)?;
            producer.deliver()?;
        } else {
            producer.produce(topic.name(topics), record, place)?;
        }
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
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{DefaultProducerContext, Producer};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use rdkafka::{ClientConfig, Message};

    use super::*;
    use crate::kafka::member::GroupEpoch;
    use crate::kafka::producer::{Deliveries, TopicProducer};
    use crate::kafka::sizes::Substitute;
    use crate::kafka::topics::Topic;

    const WITHIN: Duration = Duration::from_secs(20);

    fn cluster() -> (MockCluster<'static, DefaultProducerContext>, ClientConfig) {
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["state", "letters", "resolved"] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers());
        (cluster, client)
    }

    fn producer(client: &ClientConfig) -> TopicProducer {
        let mut client = client.clone();
        client.set("transactional.id", "one").set("delivery.report.only.error", "true");
        let producer: TopicProducer = client.create_with_context(Deliveries::default()).unwrap();
        producer.init_transactions(WITHIN).unwrap();
        producer
    }

    fn record() -> Outgoing<'static> {
        Outgoing { partition: Some(0), key: Some(b"key"), value: Some(b"value"), ..Outgoing::default() }
    }

    fn topics() -> Topics {
        let [state, dead_letters, resolved] = ["state", "letters", "resolved"].map(str::to_owned);
        Topics { resolved, state, dead_letters, ..Topics::default() }
    }

    /// A letter for whatever is not of the state.
    fn substitutes() -> Box<Substitutes> {
        Box::new(|topic, record, _| {
            let value = [b"letter of ", record.value?].concat();
            let about = "views".to_owned();
            (topic != Topic::State).then_some(Substitute { key: None, value, headers: None, about })
        })
    }

    fn committed(client: &ClientConfig, transaction: Transaction<GroupEpoch>) -> Committed {
        let renew = client.clone();
        let topics = (topics(), substitutes());
        let renew = move || Ok(Some(producer(&renew)));
        let mut committer = Committer::start(producer(client), renew, topics, "test").unwrap();
        committer.send(transaction);
        let mut turns = 0;
        let committed = committer.wait(|| {
            turns += 1;
            assert!(turns < 60, "the transaction ends");
        });
        committed.expect("one was sent")
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
        for place in 0..100 {
            TransactionalProducer::produce(&producer, "state", record(), place).unwrap();
        }
        let (ended, end) = sync_channel(1);
        thread::spawn(move || ended.send(TransactionalProducer::abort(&producer).is_ok()));
        assert!(end.recv_timeout(WITHIN).expect("the abort ends"));
    }

    #[test]
    fn a_fenced_producer_is_replaced_and_the_transaction_sent_again() {
        let (cluster, client) = cluster();
        cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
        let committed = committed(&client, transaction(&client));
        assert!(matches!(committed, Committed::Done { aborts: 1, .. }), "{committed:?}");
    }

    /// Committed values of a topic, in order.
    fn values(client: &ClientConfig, topic: &str) -> Vec<String> {
        let mut client = client.clone();
        client.set("group.id", "values").set("auto.offset.reset", "earliest").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = client.create().unwrap();
        let mut partition = TopicPartitionList::new();
        partition.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&partition).unwrap();
        let records = std::iter::from_fn(|| consumer.poll(WITHIN).and_then(Result::ok));
        records.map(|record| String::from_utf8(record.payload().unwrap().to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_record_that_no_broker_takes_has_a_letter_in_its_place_and_the_others_are_written() {
        const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        let (cluster, client) = cluster();
        let mut transaction = transaction(&client);
        transaction.records.clear();
        for value in ["first", "second"] {
            transaction.records.push(Topic::Resolved, Outgoing { value: Some(value.as_bytes()), ..record() });
        }
        // Of the batch, and then of the first record alone.
        cluster.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE, TOO_LARGE]);
        let committed = committed(&client, transaction);
        let Committed::Done { aborts: 2.., too_large, .. } = &committed else { panic!("{committed:?}") };
        assert_eq!(too_large, &[(Topic::Resolved, "views".to_owned())]);
        // The mock cluster has no transactions that are aborted: what each attempt has sent stands there.
        assert_eq!(values(&client, "resolved").last().map(String::as_str), Some("second"));
        let letters = values(&client, "letters");
        assert!(!letters.is_empty() && letters.iter().all(|letter| letter == "letter of first"), "{letters:?}");
    }

    #[test]
    fn a_record_without_a_letter_waits_for_its_topics_setting() {
        const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        let (cluster, client) = cluster();
        cluster.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE, TOO_LARGE, TOO_LARGE]);
        let committed = committed(&client, transaction(&client));
        let Committed::Done { aborts: 3.., too_large, .. } = &committed else { panic!("{committed:?}") };
        assert!(too_large.is_empty());
        assert_eq!(values(&client, "state"), ["value"]);
    }
}
