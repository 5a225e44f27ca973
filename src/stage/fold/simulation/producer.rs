//! A transactional producer of the simulated broker, and who commits with it.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Topics;
use crate::kafka::commit::{commit, settle};
use crate::kafka::membership::TopicPartition;
use crate::kafka::producer::{Failure, Refused, TransactionalProducer};
use crate::kafka::stall::Course;
use crate::kafka::transaction::{Commits, Committed, Outgoing, Over, Records, Transaction};

use super::kafka::{Broker, Kafka, Simulated};
use super::log::{Entry, ProducerError};
use super::member::SimulatedEpoch;
use super::seen::{Seen, seen};

/// Pause while an older transaction's end is written.
const CONCURRENT_PAUSE: Duration = Duration::from_millis(5);
/// How often a long wait says that it is alive.
const ALIVE_INTERVAL: Duration = Duration::from_millis(20);

pub struct SimulatedProducer {
    kafka: Kafka,
    id: String,
    epoch: u32,
    queue: RefCell<Vec<(TopicPartition, Entry)>>,
}

impl SimulatedProducer {
    /// Waits until what an older one left is settled.
    pub fn start(kafka: &Kafka, id: &str) -> Self {
        loop {
            if kafka.question().is_ok() {
                let started = kafka.broker().logs.start_producer(id);
                if let Ok(epoch) = started {
                    return Self { kafka: kafka.clone(), id: id.to_owned(), epoch, queue: RefCell::default() };
                }
            }
            kafka.turns.sleep(CONCURRENT_PAUSE);
        }
    }

    /// Makes a request until the end of an older transaction is not in its way.
    fn request<E: Into<Answer>>(
        &self,
        mut request: impl FnMut(&mut Broker, Duration) -> Result<(), E>,
    ) -> Result<(), Refused> {
        loop {
            self.kafka.call();
            while self.kafka.away() {
                self.kafka.turns.sleep(CONCURRENT_PAUSE);
            }
            let now = self.kafka.turns.now();
            let answer = request(&mut self.kafka.broker(), now);
            match answer.map_err(Into::into) {
                Ok(()) => return Ok(()),
                Err(Answer::Refused(refused)) => return Err(refused),
                Err(Answer::Later) => self.kafka.turns.sleep(CONCURRENT_PAUSE),
            }
        }
    }

    /// The answer is lost; whether the request was carried out nobody knows.
    fn lose_answer(&self) -> Result<(), Refused> {
        if self.kafka.mishap(5) {
            seen(Seen::AnswerLost);
            return Err(refused(Failure::Repeat, RDKafkaErrorCode::OperationTimedOut));
        }
        Ok(())
    }

    /// As a call of librdkafka that comes to no end, though brokers answer everybody else. When it does after all, nobody
    /// waits for it any more, and another producer may be at work.
    fn get_stuck(&self, course: &Course) {
        while !course.given_up() {
            self.kafka.call();
            self.kafka.turns.sleep(Duration::from_millis(50));
        }
    }

    fn key(&self) -> (&str, u32) {
        (&self.id, self.epoch)
    }
}

/// What the broker says where it does not do what it was asked for.
enum Answer {
    Refused(Refused),
    Later,
}

impl From<ProducerError> for Answer {
    fn from(error: ProducerError) -> Self {
        match error {
            ProducerError::Fenced => {
                seen(Seen::ProducerFenced);
                Self::Refused(refused(Failure::Fenced, RDKafkaErrorCode::ProducerFenced))
            }
            ProducerError::Concurrent => Self::Later,
        }
    }
}

impl From<RDKafkaErrorCode> for Answer {
    fn from(code: RDKafkaErrorCode) -> Self {
        let over = code == RDKafkaErrorCode::IllegalGeneration;
        seen(if over { Seen::RefusedEpoch } else { Seen::RefusedMember });
        Self::Refused(refused(if over { Failure::EpochOver } else { Failure::MembershipLost }, code))
    }
}

fn refused(failure: Failure, code: RDKafkaErrorCode) -> Refused {
    Refused { failure, error: KafkaError::MessageProduction(code), worn: false, about: None }
}

impl Simulated for SimulatedProducer {
    fn kafka(&self) -> &Kafka {
        &self.kafka
    }
}

impl TransactionalProducer for SimulatedProducer {
    type Epoch = SimulatedEpoch;

    fn begin(&self) -> Result<(), Refused> {
        self.kafka.call();
        self.queue.borrow_mut().clear();
        Ok(())
    }

    fn produce(&self, topic: &str, record: Outgoing<'_>, _: usize) -> Result<(), Refused> {
        let partitions = self.kafka.broker().logs.topic(topic).count();
        let partitions = i32::try_from(partitions).expect("they are few");
        let key = record.key.unwrap_or_default();
        let partition = record.partition.unwrap_or_else(|| crate::route::partition(key, partitions));
        let timestamp = record.timestamp.unwrap_or_else(|| self.kafka.wall_clock());
        let mut entry = Entry::new(record.key, record.value, timestamp);
        entry.headers = record.headers;
        self.queue.borrow_mut().push(((topic.to_owned(), partition), entry));
        Ok(())
    }

    fn deliver(&self, _: &Course) -> Result<(), Refused> {
        let queue = std::mem::take(&mut *self.queue.borrow_mut());
        for batch in queue.chunks(4) {
            if self.kafka.mishap(2) {
                return Err(refused(Failure::Again, RDKafkaErrorCode::MessageTimedOut));
            }
            self.request(|Broker { logs, .. }, now| {
                batch.iter().try_for_each(|(to, entry)| logs.produce(self.key(), now, to, entry.clone()))
            })?;
        }
        Ok(())
    }

    fn send_offsets(&self, next_offsets: &TopicPartitionList, epoch: &SimulatedEpoch) -> Result<(), Refused> {
        self.lose_answer()?;
        let elements = next_offsets.elements();
        let offsets = elements.iter().filter_map(|element| {
            let Offset::Offset(offset) = element.offset() else { return None };
            Some(((element.topic().to_owned(), element.partition()), (offset, element.metadata().to_owned())))
        });
        let offsets: Vec<_> = offsets.collect();
        self.request(|broker, now| {
            epoch.check(broker)?;
            Ok::<_, Answer>(broker.logs.add_offsets(self.key(), now, offsets.clone())?)
        })?;
        self.lose_answer()
    }

    fn commit(&self) -> Result<(), Refused> {
        self.lose_answer()?;
        self.request(|Broker { logs, .. }, _| logs.end(self.key(), true))?;
        if self.kafka.mishap(1) {
            // The broker was away, fences, and has committed all the same.
            seen(Seen::ProducerFenced);
            self.kafka.broker().logs.fence(&self.id);
            return Err(refused(Failure::Fenced, RDKafkaErrorCode::InvalidProducerEpoch));
        }
        self.lose_answer()
    }

    fn abort(&self) -> Result<(), Refused> {
        self.lose_answer()?;
        self.request(|Broker { logs, .. }, _| logs.end(self.key(), false))?;
        self.lose_answer()
    }

    /// The simulated broker takes records of any size.
    fn too_large(&self) -> Vec<usize> {
        Vec::new()
    }
}

/// A transaction that was handed over and has come to no end.
struct UnderWay(Kafka);

impl UnderWay {
    fn begin(kafka: &Kafka) -> Self {
        kafka.transactions.fetch_add(1, Ordering::Relaxed);
        Self(kafka.clone())
    }
}

impl Drop for UnderWay {
    /// Also with its process.
    fn drop(&mut self) {
        self.0.transactions.fetch_sub(1, Ordering::Relaxed);
    }
}

type Ended = Arc<Mutex<Option<(Committed, SimulatedProducer)>>>;

/// Commits in a thread of the same process, by the code that commits in production.
pub struct SimulatedCommitter {
    kafka: Kafka,
    process: usize,
    id: String,
    topics: Topics,
    /// None while it commits.
    producer: Option<SimulatedProducer>,
    ended: Ended,
    course: Arc<Course>,
    /// The transaction in flight was given up.
    over: bool,
}

impl SimulatedCommitter {
    pub fn start(kafka: &Kafka, process: usize, id: &str, topics: &Topics) -> Self {
        let producer = Some(SimulatedProducer::start(kafka, id));
        let (id, topics, kafka) = (id.to_owned(), topics.clone(), kafka.clone());
        let course = Arc::new(Course::new(kafka.turns.instant()));
        Self { kafka, process, id, topics, producer, ended: Ended::default(), course, over: false }
    }

    fn give_up(&mut self, why: Over) -> Committed {
        self.over = true;
        self.course.give_up();
        Committed::Over(why)
    }

    fn overdue(&mut self) -> Option<Committed> {
        let now = self.kafka.turns.instant();
        if self.in_flight() && self.course.stalled(now, self.kafka.answering_since()) {
            seen(Seen::Stalled);
            return Some(self.give_up(Over::Stalled));
        }
        None
    }
}

impl Drop for SimulatedCommitter {
    fn drop(&mut self) {
        self.course.give_up();
    }
}

impl Commits for SimulatedCommitter {
    type Epoch = SimulatedEpoch;

    fn in_flight(&self) -> bool {
        self.producer.is_none() && !self.over
    }

    fn send(&mut self, mut transaction: Transaction<SimulatedEpoch>) {
        let mut producer = self.producer.take().expect("one transaction at a time");
        let (kafka, id, topics, ended) =
            (self.kafka.clone(), self.id.clone(), self.topics.clone(), Arc::clone(&self.ended));
        let course = Arc::clone(&self.course);
        course.moved(kafka.turns.instant());
        let under_way = UnderWay::begin(&kafka);
        self.kafka.turns.spawn(self.process, move || {
            let _under_way = under_way;
            if kafka.sticks() || kafka.mishap(6) {
                seen(Seen::StuckTransaction);
                producer.get_stuck(&course);
            }
            let renew = |_: &Course| Some(SimulatedProducer::start(&kafka, &id));
            let committed = commit(&mut producer, renew, (&topics, &|_, _, _| None), &mut transaction, &course);
            if committed.lost() {
                settle(&mut producer, renew, &course);
            }
            *ended.lock().expect("no holder of the lock panics") = Some((committed, producer));
        });
    }

    fn try_result(&mut self) -> Option<Committed> {
        let ended = self.ended.lock().expect("no holder of the lock panics").take();
        let Some((committed, producer)) = ended else { return self.overdue() };
        self.producer = Some(producer);
        Some(committed)
    }

    fn missing_right(&self) -> Option<String> {
        self.course.missing_right()
    }

    fn wait(&mut self, mut alive: impl FnMut(Option<String>) -> bool) -> Option<Committed> {
        while self.in_flight() {
            if !alive(None) {
                return Some(self.give_up(Over::GivenUp));
            }
            if let Some(committed) = self.try_result() {
                return Some(committed);
            }
            self.kafka.turns.sleep(ALIVE_INTERVAL);
        }
        None
    }

    fn take_spare(&mut self) -> Records {
        Records::default()
    }
}
