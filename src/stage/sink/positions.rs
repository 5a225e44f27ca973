//! The sink's positions against the log of the upserts: a row that is passed over is a row that the org never gets.
//!
//! As the fold does for its inputs: where reading goes on is decided when partitions are assigned, and compared with the
//! log every ten seconds. The sink has no state that says how far it has come; the stamp of its own commits does, and a
//! note says that there are stamps, so that an offset without one is known to be somebody else's. Then the log is read
//! from its start: rows that the org has already change nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{error, warn};

use crate::config::Config;
use crate::dead_letter::Stage;
use crate::event::Millis;
use crate::kafka::client_config;
use crate::kafka::membership::{TopicPartition, listed};
use crate::kafka::notes::Notes;
use crate::kafka::positions::{Cause, Committed, Ends, Stamp, committed, log_ends, strangers};
use crate::kafka::topic_ids::describe;
use crate::kafka::topics::Topic;
use crate::metrics::Metrics;
use crate::note::Note;
use crate::stage::Shared;
use crate::stage::fold::gap::{Gap, Place, resume_at};
use crate::stage::gaps::NotedGap;

/// Between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How long a broker may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long the notes are waited for at a start; they are a handful.
const NOTES_WITHIN: Duration = Duration::from_secs(5);
const NOTES_PAUSE: Duration = Duration::from_millis(50);
/// That the sink's commits have stamps.
const STAMPED_KEY: &str = "stamped/sink";
const ID_FIELD: &str = "topic_id";
/// See the fold's.
const JUMPS_MAX: usize = 64;

pub struct Positions {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    notes: Notes,
    /// Of the sink's group, of which it is no member.
    client: BaseConsumer,
    seen: Mutex<Seen>,
}

struct Seen {
    /// As of the last assignment. None: the broker does not tell, or did not answer.
    topic_id: Option<String>,
    /// Nobody could say where reading goes on.
    unplaced: bool,
    /// The next offset to be read.
    next: BTreeMap<i32, i64>,
    /// Offsets that did not come.
    jumps: Vec<(i32, i64, i64)>,
    looked: Instant,
    strangers: Vec<String>,
}

impl Positions {
    pub fn new(shared: &Shared) -> KafkaResult<Self> {
        let mut client = client_config(&shared.config);
        client.set("group.id", super::consumer::group(&shared.config));
        let seen = Seen {
            topic_id: None,
            unplaced: false,
            next: BTreeMap::new(),
            jumps: Vec::new(),
            looked: Instant::now(),
            strangers: Vec::new(),
        };
        Ok(Self {
            config: Arc::clone(&shared.config),
            metrics: Arc::clone(&shared.metrics),
            notes: shared.notes.clone(),
            client: client.create()?,
            seen: Mutex::new(seen),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says in the assignment where its partitions are read on.
    pub fn place(&self, assigned: &TopicPartitionList) {
        let placed = self.decide(&listed(assigned));
        let mut seen = self.seen();
        (seen.next, seen.jumps, seen.unplaced) = (BTreeMap::new(), Vec::new(), placed.is_err());
        match placed {
            Ok((topic_id, placed)) => {
                seen.topic_id = topic_id;
                for ((topic, partition), from, _) in &placed {
                    seen.next.insert(*partition, *from);
                    let element = assigned.find_partition(topic, *partition);
                    if let Some(Err(error)) = element.map(|mut it| it.set_offset(Offset::Offset(*from))) {
                        warn!(%error, partition, "the place to read from is not taken");
                    }
                }
                drop(seen);
                for ((_, partition), from, gap) in placed {
                    if let Some(gap) = gap {
                        self.gap(partition, from, gap);
                    }
                }
            }
            // Read on from what is committed; asked again soon.
            Err(error) => warn!(%error, "the ends of the upserts are not known"),
        }
    }

    fn decide(&self, partitions: &[TopicPartition]) -> KafkaResult<(Option<String>, Vec<Placed>)> {
        let topic = self.config.topics.upserts.as_str();
        let topic_id = describe(self.client.client(), &[topic], ANSWERS_WITHIN)?.remove(topic).and_then(|it| it.id);
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let committed = committed(&self.client.committed_offsets(list, ANSWERS_WITHIN)?);
        let ends = log_ends(&self.client, partitions, ANSWERS_WITHIN)?;
        let noted = self.noted();
        let unborn = noted.is_none() && committed.values().all(|it| it.stamp.is_none());
        let noted_id = noted.as_ref().and_then(|note| note.get(ID_FIELD)).map(str::to_owned);
        let mut placed = Vec::new();
        for partition in partitions {
            let Some(ends) = ends.get(partition).copied() else { continue };
            // The group's offsets go with a topic that is deleted.
            let gone = Committed { offset: 0, stamp: Some(Stamp { topic_id: noted_id.clone(), born: None }) };
            let committed = committed.get(partition).or(noted_id.as_ref().map(|_| &gone));
            let place = Place { folded: None, committed, unborn, topic_id: topic_id.as_deref(), ends };
            let (from, gap) = resume_at(&place);
            placed.push((partition.clone(), from, gap));
        }
        if noted.is_none() || noted_id != topic_id {
            // Crash here: it is noted at the next assignment.
            let note = Note::new("stamped", wall_clock());
            let note = topic_id.iter().fold(note, |note, id| note.with(ID_FIELD, id));
            let put = self.notes.put(STAMPED_KEY, Some(&note));
            put.unwrap_or_else(|error| warn!(%error, "that offsets have stamps is not noted"));
        }
        Ok((topic_id, placed))
    }

    /// Of which topic the group's offsets have stamps. None: they need not have any.
    fn noted(&self) -> Option<Note> {
        let asked = Instant::now();
        while self.notes.known().is_none() && asked.elapsed() < NOTES_WITHIN {
            std::thread::sleep(NOTES_PAUSE);
        }
        self.notes.known()?.get(STAMPED_KEY).cloned()
    }

    /// For whatever the sink commits.
    pub fn stamp(&self) -> String {
        Stamp { topic_id: self.seen().topic_id.clone(), born: None }.to_text()
    }

    /// A record came.
    pub fn read(&self, partition: i32, offset: i64) {
        let mut seen = self.seen();
        let next = seen.next.insert(partition, offset + 1);
        if let Some(next) = next.filter(|next| *next < offset) {
            seen.jumps.push((partition, next, offset));
            if seen.jumps.len() > JUMPS_MAX {
                seen.jumps.sort_by_key(|(_, from, to)| from - to);
                seen.jumps.truncate(JUMPS_MAX / 2);
            }
        }
    }

    /// Now and then compares what is read with the log. True where the topic is another one by now, so that the
    /// partitions are to be assigned anew.
    pub fn look(&self, assigned: &TopicPartitionList) -> bool {
        let mut seen = self.seen();
        if seen.looked.elapsed() < LOOK_INTERVAL {
            return false;
        }
        seen.looked = Instant::now();
        drop(seen);
        self.compare(&listed(assigned)).unwrap_or_else(|error| {
            warn!(%error, "the ends of the upserts are not known");
            false
        })
    }

    fn compare(&self, assigned: &[TopicPartition]) -> KafkaResult<bool> {
        self.look_for_strangers();
        let topic = self.config.topics.upserts.as_str();
        let found = describe(self.client.client(), &[topic], ANSWERS_WITHIN)?.remove(topic).and_then(|it| it.id);
        let seen = self.seen();
        let (before, unplaced) = (seen.topic_id.clone(), seen.unplaced);
        drop(seen);
        let other = before.is_some() && found.is_some() && before != found;
        if other || (unplaced && !assigned.is_empty()) {
            return Ok(true);
        }
        let ends = log_ends(&self.client, assigned, ANSWERS_WITHIN)?;
        for ((_, partition), Ends { start, .. }) in ends {
            self.count(partition, start);
        }
        Ok(false)
    }

    /// Counts what is gone of a partition; what stands in the log and did not come was compacted away, or is a mark.
    fn count(&self, partition: i32, start: i64) {
        let mut passed_over = 0;
        let mut seen = self.seen();
        seen.jumps.retain(|(of, from, to)| {
            let ours = *of == partition;
            passed_over += if ours { (start.min(*to) - from).max(0) } else { 0 };
            !ours
        });
        let next = seen.next.get(&partition).copied().unwrap_or(start);
        passed_over += (start - next).max(0);
        let from = next.max(start);
        seen.next.insert(partition, from);
        drop(seen);
        if passed_over > 0 {
            self.gap(partition, from, Gap { cause: Cause::BelowLogStart, passed_over });
        }
    }

    fn gap(&self, partition: i32, from: i64, gap: Gap) {
        let Gap { cause, passed_over } = gap;
        let topic = self.config.topics.upserts.clone();
        self.metrics.positions.passed_over(Topic::Upserts, cause).inc_by(passed_over.unsigned_abs());
        if cause.loses() {
            error!(topic, partition, cause = cause.name(), passed_over, from, "rows were passed over");
        } else {
            warn!(topic, partition, cause = cause.name(), from, "the group's offset was not where reading had ended");
        }
        let noted = NotedGap { topic, partition, cause, next_offset: from, passed_over, at: wall_clock() };
        if let Err(error) = self.notes.put(&noted.key(), Some(&noted.note())) {
            warn!(%error, "a gap is not noted");
        }
    }

    fn look_for_strangers(&self) {
        let group = super::consumer::group(&self.config);
        let Ok(found) = strangers(&self.client, (&group, &self.config.application), ANSWERS_WITHIN) else { return };
        self.metrics.positions.strangers(Stage::Sink).set(i64::try_from(found.len()).unwrap_or(i64::MAX));
        let mut seen = self.seen();
        if seen.strangers != found && !found.is_empty() {
            let members = found.join(", ");
            error!(members, "another application is a member of the sink's group; what it is assigned waits");
        }
        seen.strangers = found;
    }
}

/// A partition, where it is read on, and what that passes over.
type Placed = (TopicPartition, i64, Option<Gap>);

fn wall_clock() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}
