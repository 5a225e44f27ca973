//! Questions about topics and their logs, asked on a thread of their own.
//!
//! A broker of several that cannot be reached lets each question about what it leads wait for seconds. Whoever asks goes
//! on meanwhile and looks for the answer now and then: a loop that waited would fold half of the time for as long as the
//! outage lasts. What the others lead is answered all the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};

use super::membership::TopicPartition;
use super::native::topics::{Described, describe};
use super::positions::{Ends, ends_by_leader, strangers};

/// For each of the calls that a question is.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub struct Question {
    /// To be described.
    pub topics: Vec<String>,
    /// Whose starts and ends are asked for; of these topics.
    pub partitions: Vec<TopicPartition>,
    /// The group and the application whose members are none of its strangers.
    pub strangers: Option<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Those of the topics that exist.
    pub topics: BTreeMap<String, Described>,
    /// Of those partitions whose leaders answer.
    pub ends: BTreeMap<TopicPartition, Ends>,
    /// Members of the group that are none of ours. None: nobody was asked, or has answered.
    pub strangers: Option<Vec<String>>,
}

/// With the number of its question; none is there yet.
type Answered = Mutex<Option<(u64, KafkaResult<Answer>)>>;

/// Asks, one question at a time. The thread ends after the call that it is in when this is dropped.
pub struct Asker {
    questions: Sender<(u64, Question)>,
    answer: Arc<Answered>,
    /// Number of the last question.
    asked: AtomicU64,
}

impl Asker {
    pub fn start<C: ConsumerContext + 'static>(client: Arc<BaseConsumer<C>>) -> KafkaResult<Self> {
        let (questions, asked) = channel();
        let answer: Arc<Answered> = Arc::default();
        let answers = Arc::clone(&answer);
        let run = move || run(&client, &asked, &answers);
        let started = thread::Builder::new().name("kafka-questions".to_owned()).spawn(run);
        started.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self { questions, answer, asked: AtomicU64::new(0) })
    }

    /// Asks; the answer to an earlier question is not waited for any more.
    pub fn ask(&self, question: Question) {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        // The thread ends with this only.
        let _ = self.questions.send((number, question));
    }

    /// The answer to the last question, once.
    pub fn answer(&self) -> Option<KafkaResult<Answer>> {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, answer) = answer.take_if(|(number, _)| *number == self.asked.load(Ordering::Relaxed))?;
        Some(answer)
    }
}

fn run<C: ConsumerContext>(client: &BaseConsumer<C>, asked: &Receiver<(u64, Question)>, answers: &Answered) {
    while let Ok(mut last) = asked.recv() {
        // Nobody waits for the ones before.
        while let Ok(later) = asked.try_recv() {
            last = later;
        }
        let (number, question) = last;
        let answer = carry_out(client, &question);
        *answers.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, answer));
    }
}

fn carry_out<C: ConsumerContext>(client: &BaseConsumer<C>, question: &Question) -> KafkaResult<Answer> {
    let names: Vec<&str> = question.topics.iter().map(String::as_str).collect();
    let topics = describe(client.client(), &names, CALL_TIMEOUT)?;
    let ends = ends_by_leader(client, &topics, &question.partitions, CALL_TIMEOUT);
    let asked = question.strangers.as_ref();
    let strangers = asked.and_then(|(group, application)| strangers(client, (group, application), CALL_TIMEOUT).ok());
    Ok(Answer { topics, ends, strangers })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;

    use super::*;

    fn client(bootstrap: &str) -> Arc<BaseConsumer> {
        let mut client = ClientConfig::new();
        Arc::new(client.set("bootstrap.servers", bootstrap).create().unwrap())
    }

    fn question(topics: &[&str], partitions: i32) -> Question {
        let places = topics.iter().flat_map(|topic| (0..partitions).map(|it| ((*topic).to_owned(), it)));
        Question {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            partitions: places.collect(),
            strangers: None,
        }
    }

    fn answer(asker: &Asker) -> KafkaResult<Answer> {
        let asked = Instant::now();
        loop {
            if let Some(answer) = asker.answer() {
                return answer;
            }
            assert!(asked.elapsed() < Duration::from_mins(1), "no answer");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_an_unreachable_broker_leads_has_no_ends_and_the_rest_has() {
        let cluster = MockCluster::new(2).unwrap();
        cluster.create_topic("views", 3, 1).unwrap();
        for (partition, leader) in [(0, 1), (1, 2), (2, 1)] {
            cluster.partition_leader("views", partition, Some(leader)).unwrap();
        }
        let asker = Asker::start(client(&cluster.bootstrap_servers())).unwrap();
        asker.ask(question(&["views", "polls"], 3));
        let all = answer(&asker).unwrap();
        assert_eq!(
            (all.topics.len(), all.topics["views"].leaders.clone()),
            (1, BTreeMap::from([(0, 1), (1, 2), (2, 1)]))
        );
        assert_eq!(all.ends.len(), 3);
        cluster.broker_down(2).unwrap();
        let asked = Instant::now();
        asker.ask(question(&["views"], 3));
        assert!(asked.elapsed() < Duration::from_secs(1), "whoever asks goes on");
        let some = answer(&asker).unwrap();
        let answered: Vec<i32> = some.ends.keys().map(|(_, partition)| *partition).collect();
        assert_eq!(answered, [0, 2]);
        assert!(asker.answer().is_none(), "it is told once");
    }

    #[test]
    fn the_answer_to_an_earlier_question_is_none_to_a_later_one() {
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["views", "polls"] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        let asker = Asker::start(client(&cluster.bootstrap_servers())).unwrap();
        for _ in 0..20 {
            asker.ask(question(&["views"], 1));
            asker.ask(question(&["polls"], 1));
            assert_eq!(answer(&asker).unwrap().topics.keys().collect::<Vec<_>>(), ["polls"]);
        }
    }
}
