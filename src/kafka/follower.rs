//! Reads a small compacted topic whole, to its end, and follows it from there on.
//!
//! What is small and concerns everybody is read so: an instance has all of it in memory before it acts by it. One reader
//! does it for all such topics, as each of them meets the same: a client that comes to a stand, a partition that nobody
//! leads, one more partition, a topic that was deleted and made anew. What a record means, whoever follows says.
//!
//! Always holds: the records of a partition are heard in their order, each once for as long as the topic is the same one;
//! a turn takes seconds at most, whatever brokers do; what keeps the topic from being read is named. Offsets alone would not do: a topic that was made anew and has grown beyond them looks like the one before,
//! and all that stands below would be missed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaResult;
use tracing::{info, warn};

use super::changelog::{Change, Changelog, Log, TopicLog};
use super::foreign::Foreign;
use super::native::topics::{Described, Seen};
use super::said;
use super::watch::Watch;
use crate::config::Config;
use crate::topic_table::Topic;

/// Between two looks at the topic: whether it is the same, has as many partitions, and is read to its end. A client that has
/// Between two clients of a topic of which nobody leads a partition.
const RENEWED_EVERY: Duration = Duration::from_mins(1);
/// come to a stand is noticed by what it does not come to the end of.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause after a topic, or a client for it, was not to be had.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// What is not read to its end for so long, while brokers answer, is said.
const NAMED_AFTER: Duration = Duration::from_secs(3);

/// Who knows what a topic's records mean.
pub trait Hears {
    /// A record, in the order of its partition. Or why it means nothing: it is passed over, and said.
    fn record(&mut self, change: &Change<'_>) -> Result<(), &'static str>;

    /// The topic was made anew: it says nothing any more of what was heard. What it does say follows, from its beginning.
    fn anew(&mut self);
}

/// What a follower tells of itself.
pub enum Said {
    /// What is waited for. None: nothing any more.
    Waits(Option<String>),
    /// So many records meant nothing and were passed over.
    PassedOver(u64),
}

pub struct Follower<L> {
    topic: String,
    /// Makes a client.
    make: Box<dyn Fn() -> KafkaResult<L> + Send>,
    says: Box<dyn Fn(Said) + Send>,
    reading: Option<Changelog<L>>,
    /// Where each partition is read on by the next client.
    next_offsets: BTreeMap<i32, i64>,
    /// Which topic of this name it is. None: the brokers do not tell.
    id: Option<String>,
    looked: Option<Instant>,
    unled: Option<i32>,
    /// When a client that did not get on was last given up.
    renewed: Option<Instant>,
    /// Since when it is not read to its end.
    since: Option<Instant>,
    named: Option<String>,
    foreign: Foreign,
}

impl Follower<TopicLog> {
    /// What it tells, the watch shows.
    pub fn of(config: &Arc<Config>, topic: Topic, watch: &Arc<Watch>) -> Self {
        let (makes, shows, name) = (Arc::clone(watch), Arc::clone(watch), topic.name(&config.topics).to_owned());
        let (config, who) = (Arc::clone(config), name.clone());
        let says = move |said| match said {
            Said::Waits(why) => shows.waits(&who, why),
            Said::PassedOver(records) => shows.passed_over(topic, records),
        };
        Self::new(&name, move || TopicLog::new(&config, &makes), says)
    }
}

impl<L: Log> Follower<L> {
    pub fn new(
        topic: &str,
        make: impl Fn() -> KafkaResult<L> + Send + 'static,
        says: impl Fn(Said) + Send + 'static,
    ) -> Self {
        Self {
            topic: topic.to_owned(),
            make: Box::new(make),
            says: Box::new(says),
            reading: None,
            next_offsets: BTreeMap::new(),
            id: None,
            looked: None,
            unled: None,
            renewed: None,
            since: None,
            named: None,
            foreign: Foreign::default(),
        }
    }

    /// Whether everything was heard that was in the topic when it was opened, or when its end was last asked for.
    pub fn whole(&self) -> bool {
        self.reading.as_ref().is_some_and(Changelog::finished)
    }

    /// From now on whole means: to the end as it is now, open transactions included.
    pub fn ask_for_end(&mut self) {
        // One that is to be opened is read to the end as it is then.
        if let Some(reading) = &mut self.reading {
            reading.to_the_end_again();
        }
    }

    /// Hears what comes within about so long.
    pub fn turn(&mut self, for_at_most: Duration, hears: &mut impl Hears) {
        if self.reading.is_none() {
            self.open(hears);
        }
        if let Some(reading) = &mut self.reading {
            let foreign = &mut self.foreign;
            let read = reading.read(for_at_most, |change| {
                hears.record(&change).unwrap_or_else(|why| foreign.add(change.partition, change.offset, why));
            });
            self.judge(read, hears);
            self.look();
        }
        self.name_what_is_waited_for();
        if self.whole() {
            let passed_over = self.foreign.tell(&self.topic);
            if passed_over > 0 {
                (self.says)(Said::PassedOver(passed_over));
            }
        }
    }

    fn open(&mut self, hears: &mut impl Hears) {
        let log = match (self.make)() {
            Ok(log) => log,
            Err(error) => {
                if let Some(times) = said::again("no client for a topic that is read whole") {
                    warn!(%error, topic = self.topic, times, "no client for a topic that is read whole; trying again");
                }
                // There is no clock but the client's.
                thread::sleep(OPEN_AGAIN);
                return;
            }
        };
        match self.describe(&log) {
            Ok(described) => self.begin(log, described, hears),
            Err(why) => {
                if log.answering_since().is_some() {
                    self.name(Some(why));
                }
                log.sleep(OPEN_AGAIN);
            }
        }
    }

    /// Or why it cannot be read now.
    fn describe(&self, log: &L) -> Result<Described, String> {
        let topic = &self.topic;
        match log.describe(topic) {
            Ok(Seen::There(described, _)) if described.partitions > 0 => Ok(described),
            Ok(Seen::There(..) | Seen::Unknown) | Err(_) => Err(format!("brokers to describe topic `{topic}`")),
            Ok(Seen::Absent) => Err(format!("topic `{topic}` does not exist")),
            Ok(Seen::Denied) => Err(format!("Kafka denies DESCRIBE on topic `{topic}`")),
        }
    }

    /// From where the last client has read to, if it is the same topic.
    fn begin(&mut self, log: L, described: Described, hears: &mut impl Hears) {
        if self.other(&described) {
            self.forget(hears);
        }
        self.looked = Some(log.now());
        self.unled = unled(&described);
        self.id = described.id.or(self.id.take());
        let next_offset = |partition| (partition, self.next_offsets.get(&partition).copied().unwrap_or(0));
        let from = (0..described.partitions).map(next_offset).collect();
        self.reading = Some(Changelog::open(log, &self.topic, &from));
    }

    /// One that has fewer partitions is another one as well.
    fn other(&self, described: &Described) -> bool {
        let told = self.id.is_some() && described.id.is_some();
        told && self.id != described.id || self.next_offsets.len() > count(described)
    }

    fn forget(&mut self, hears: &mut impl Hears) {
        warn!(topic = self.topic, "a topic that is read whole was made anew; it is read from its beginning");
        self.next_offsets.clear();
        hears.anew();
    }

    /// What does not get on goes on with another client, and so does whoever has other secrets.
    fn judge(&mut self, read: KafkaResult<()>, hears: &mut impl Hears) {
        let Some(reading) = &self.reading else { return };
        let now = reading.now();
        let topic = &self.topic;
        if let Err(error) = read {
            warn!(%error, topic, "the client that reads a topic whole has ended; another one goes on");
        } else if reading.stalled() && !self.in_vain(reading) {
            self.renewed = Some(now);
            info!(topic, "a topic that is read whole is read on by another client");
        } else if !reading.known_beyond_end() {
            return;
        }
        // Without ids this is all that there is to see.
        let shorter = reading.known_beyond_end();
        self.close();
        if shorter {
            self.forget(hears);
        }
    }

    /// Where nobody leads no client gets on. It is tried now and then all the same, as something else may stand beside it.
    fn in_vain(&self, reading: &Changelog<L>) -> bool {
        let recently = |at| reading.now().saturating_duration_since(at) < RENEWED_EVERY;
        self.unled.is_some() && !reading.log().outdated() && self.renewed.is_some_and(recently)
    }

    fn close(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.next_offsets.extend(reading.next_offsets());
        }
    }

    /// Now and then, and not while nobody would answer.
    fn look(&mut self) {
        let Some(reading) = &self.reading else { return };
        let now = reading.now();
        let early = self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_EVERY);
        if early || reading.log().answering_since().is_none() {
            return;
        }
        // What cannot be told is told by the next look.
        let (described, finished) = (self.describe(reading.log()), reading.finished());
        let partitions = reading.next_offsets().count();
        self.looked = Some(now);
        let Ok(described) = described else { return };
        self.unled = unled(&described);
        if self.other(&described) || count(&described) != partitions {
            self.close();
        } else if finished {
            self.ask_for_end();
        }
    }

    /// In an outage that Kafka does not answer explains the rest.
    fn name_what_is_waited_for(&mut self) {
        let Some(reading) = &self.reading else { return };
        if reading.finished() {
            self.since = None;
            self.name(None);
            return;
        }
        let now = reading.now();
        let since = *self.since.get_or_insert(now);
        let Some(answering) = reading.log().answering_since() else { return };
        if now.saturating_duration_since(since.max(answering)) < NAMED_AFTER {
            return;
        }
        let topic = &self.topic;
        let unled = self.unled.map(|partition| format!("partition {partition} of topic `{topic}` has no leader"));
        let why = unled.or_else(|| reading.open_transaction());
        let why = why.unwrap_or_else(|| format!("topic `{topic}` to be read to its end"));
        self.name(Some(why));
    }

    fn name(&mut self, why: Option<String>) {
        if self.named != why {
            (self.says)(Said::Waits(why.clone()));
            self.named = why;
        }
    }
}

fn count(described: &Described) -> usize {
    usize::try_from(described.partitions).unwrap_or_default()
}

/// The first partition that nobody leads.
fn unled(described: &Described) -> Option<i32> {
    (0..described.partitions).find(|partition| !described.leaders.contains_key(partition))
}

#[cfg(test)]
mod tests;
