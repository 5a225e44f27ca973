//! One transaction after the other: records and the offsets that they answer for, all or nothing.
//!
//! The committer has its own thread, so that folding goes on while a commit is in flight. A transaction that was
//! aborted is sent again as it is: the same records, the same offsets. Only where the group has moved on (the
//! instance lost its partitions) is it given up.
//!
//! A producer that is fenced is replaced and the transaction sent again. That it is fenced says little: a broker that
//! was away for longer than the transaction's timeout fences its producer when it is back. Who may write is decided
//! by the group, which refuses the offsets of a former member whatever producer they come from.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::commit::{commit, settle};
use super::producer::TransactionalProducer;
use super::records::Records;
use super::sizes::Substitutes;
use super::stall::Course;
use super::transaction::{Commits, Committed, Epoch, Over, Transaction};
use crate::config::Topics;

/// How often a long wait says that it is alive.
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Since when brokers have answered somebody without a break; None: they do not.
pub type Answering = Arc<dyn Fn() -> Option<Instant> + Send + Sync>;

/// Handle of a committing thread. A thread that does not come back from a call is left behind, and with it the handle.
pub struct Committer<E> {
    transactions: SyncSender<Transaction<E>>,
    results: Receiver<(Committed, Records)>,
    in_flight: bool,
    /// The room of the last transaction's records.
    spare: Records,
    course: Arc<Course>,
    answering: Answering,
}

impl<E: Epoch + Send + 'static> Committer<E> {
    /// `make` makes a producer with a transactional id and initialised transactions, as often as one is needed; None:
    /// nobody waits any more. The first is made at once, so that what a predecessor left open is aborted.
    pub fn start<P: TransactionalProducer<Epoch = E> + Send + 'static>(
        make: impl Fn(&Course) -> Option<P> + Send + 'static,
        (topics, substitutes): (Topics, Box<Substitutes>),
        name: &str,
        answering: Answering,
    ) -> std::io::Result<Self> {
        let (transactions, inbox) = sync_channel::<Transaction<E>>(1);
        let (outbox, results) = sync_channel(1);
        let course = Arc::new(Course::new(Instant::now()));
        let ours = Arc::clone(&course);
        thread::Builder::new().name(format!("{name}-commit")).spawn(move || {
            let Some(mut producer) = make(&ours) else { return };
            for transaction in inbox {
                let mut transaction = transaction;
                let committed = commit(&mut producer, &make, (&topics, &*substitutes), &mut transaction, &ours);
                // The loop closes the consumer when it has the result: nothing else may hold it then.
                let Transaction { mut records, next_offsets: _, epoch } = transaction;
                drop(epoch);
                records.clear();
                let lost = committed.lost();
                if outbox.send((committed, records)).is_err() {
                    break;
                }
                if lost {
                    settle(&mut producer, &make, &ours);
                }
            }
        })?;
        Ok(Self { transactions, results, in_flight: false, spare: Records::default(), course, answering })
    }

    fn ended(&mut self, (committed, room): (Committed, Records)) -> Committed {
        self.in_flight = false;
        self.spare = room;
        committed
    }

    /// The transaction in flight is given up if it does not get on.
    fn overdue(&mut self) -> Option<Committed> {
        if self.in_flight && self.course.stalled(Instant::now(), (self.answering)()) {
            return Some(self.over(Over::Stalled));
        }
        None
    }

    fn over(&mut self, why: Over) -> Committed {
        self.in_flight = false;
        self.course.give_up();
        Committed::Over(why)
    }
}

impl<E> Drop for Committer<E> {
    fn drop(&mut self) {
        self.course.give_up();
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
        self.course.moved(Instant::now());
        // A thread that has ended was given up, which its result says.
        let _ = self.transactions.send(transaction);
    }

    fn try_result(&mut self) -> Option<Committed> {
        match self.results.try_recv() {
            Ok(result) => Some(self.ended(result)),
            Err(TryRecvError::Empty) => self.overdue(),
            Err(TryRecvError::Disconnected) => self.in_flight.then(|| self.over(Over::GivenUp)),
        }
    }

    fn take_spare(&mut self) -> Records {
        std::mem::take(&mut self.spare)
    }

    fn missing_right(&self) -> Option<String> {
        self.course.missing_right()
    }

    fn wait(&mut self, mut alive: impl FnMut(Option<String>) -> bool) -> Option<Committed> {
        while self.in_flight {
            if !alive(self.course.missing_right()) {
                return Some(self.over(Over::GivenUp));
            }
            match self.results.recv_timeout(ALIVE_INTERVAL) {
                Ok(result) => return Some(self.ended(result)),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(overdue) = self.overdue() {
                        return Some(overdue);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Some(self.over(Over::GivenUp)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use rdkafka::{ClientConfig, Message, TopicPartitionList};

    use super::*;
    use crate::kafka::epoch::GroupEpoch;
    use crate::kafka::producer::TransactionProducer;
    use crate::kafka::records::Outgoing;
    use crate::kafka::sizes::Substitute;
    use crate::topic_table::Topic;

    const WITHIN: Duration = Duration::from_mins(1);

    fn cluster() -> (MockCluster<'static, DefaultProducerContext>, ClientConfig) {
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["state", "letters", "resolved"] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers());
        (cluster, client)
    }

    fn make(client: &ClientConfig) -> impl Fn(&Course) -> Option<TransactionProducer> + Send + 'static {
        let mut client = client.clone();
        client.set("transactional.id", "one").set("delivery.report.only.error", "true");
        move |course| TransactionProducer::make_of(&client, "one", course)
    }

    fn producer(client: &ClientConfig) -> TransactionProducer {
        make(client)(&Course::new(Instant::now())).unwrap()
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

    fn committer(client: &ClientConfig, answering: Answering) -> Committer<GroupEpoch> {
        Committer::start(make(client), (topics(), substitutes()), "test", answering).unwrap()
    }

    fn ended(committer: &mut Committer<GroupEpoch>) -> Committed {
        let started = Instant::now();
        let ended = committer.wait(|_| {
            assert!(started.elapsed() < WITHIN, "the transaction ends");
            true
        });
        ended.expect("one was sent")
    }

    fn committed(client: &ClientConfig, transaction: Transaction<GroupEpoch>) -> Committed {
        let mut committer = committer(client, Arc::new(|| None));
        committer.send(transaction);
        ended(&mut committer)
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
        producer.begin().unwrap();
        for place in 0..100 {
            producer.produce("state", record(), place).unwrap();
        }
        let (ended, end) = sync_channel(1);
        thread::spawn(move || ended.send(producer.abort().is_ok()));
        assert!(end.recv_timeout(WITHIN).expect("the abort ends"));
    }

    #[test]
    fn a_fenced_producer_is_replaced_and_the_transaction_sent_again() {
        let (cluster, client) = cluster();
        cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
        let committed = committed(&client, transaction(&client));
        assert!(matches!(committed, Committed::Done { aborts: 1, .. }), "{committed:?}");
    }

    /// A successor would wait for the offsets that are pending.
    #[test]
    fn a_transaction_that_the_group_refused_and_that_could_not_be_aborted_is_ended_by_another_producer() {
        let (cluster, client) = cluster();
        let mut committer = committer(&client, Arc::new(|| None));
        cluster.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
        cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
        let mut refused = transaction(&client);
        refused.next_offsets.add_partition_offset("letters", 0, rdkafka::Offset::Offset(1)).unwrap();
        committer.send(refused);
        assert!(ended(&mut committer).lost());
        committer.send(transaction(&client));
        let next = ended(&mut committer);
        assert!(matches!(next, Committed::Done { aborts: 0, .. }), "its producer was another one already: {next:?}");
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

    /// Brokers answer, as somebody else finds, and the calls of the transaction come to no end.
    #[test]
    fn a_transaction_that_does_not_get_on_while_kafka_answers_is_given_up() {
        let (cluster, client) = cluster();
        let begun = Instant::now();
        let mut committer = committer(&client, Arc::new(move || Some(begun)));
        let first = transaction(&client);
        committer.send(transaction(&client));
        assert!(matches!(ended(&mut committer), Committed::Done { .. }));
        cluster.broker_down(-1).unwrap();
        committer.send(first);
        let over = ended(&mut committer);
        assert!(matches!(over, Committed::Over(Over::Stalled)), "{over:?}");
        assert!(!committer.in_flight());
    }

    #[test]
    fn a_right_that_is_taken_away_is_waited_for_and_named() {
        let (cluster, client) = cluster();
        let mut committer = committer(&client, Arc::new(|| None));
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::Produce, &[denied, denied]);
        committer.send(transaction(&client));
        let mut missing = None;
        let committed = committer.wait(|right| {
            missing = missing.take().or(right);
            true
        });
        assert!(matches!(committed, Some(Committed::Done { aborts: 1.., .. })), "{committed:?}");
        assert_eq!(missing.as_deref(), Some("WRITE on topic `state`"));
        assert_eq!(committer.missing_right(), None);
    }

    /// It was said until the next transaction was done, and who owns nothing has none.
    #[test]
    fn a_right_is_not_waited_for_by_who_has_lost_its_partitions_meanwhile() {
        let (cluster, client) = cluster();
        let mut committer = committer(&client, Arc::new(|| None));
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::Produce, &[denied, denied]);
        cluster.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
        let mut refused = transaction(&client);
        refused.next_offsets.add_partition_offset("letters", 0, rdkafka::Offset::Offset(1)).unwrap();
        committer.send(refused);
        let mut missing = None;
        let ended = committer.wait(|right| {
            missing = missing.take().or(right);
            true
        });
        assert!(ended.is_some_and(|ended| ended.lost()) && missing.is_some());
        assert_eq!(committer.missing_right(), None);
    }
}
