//! Positions against the logs: settled when partitions are taken over. `look` looks after them while they are read.
//!
//! Between the states and the inputs stands this room: it decides where each partition is read on, refuses states that
//! are gone or of another number of partitions, and sees to it that nothing is passed over without a word. Everything
//! that it finds while running it settles by taking the partitions over anew, so that there is one place that decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use tracing::warn;

use crate::kafka::member::Member;
use crate::kafka::membership::{TopicPartition, listed};
use crate::kafka::positions::{Committed, Ends, Stamp, committed};
use crate::kafka::said;
use crate::kafka::topic_ids::Described;
use crate::kafka::topics::Topic;
use crate::kafka::transaction::{Outgoing, Records};
use crate::metrics::{Metrics, Share};
use crate::store::{BIRTH_KEY, Birth, Folded};

use super::gap::{Gap, Place, resume_at};
use super::inputs::input_of;
use super::worker::Worker;
use super::{Error, attempt};

/// Pause before a question is asked again that was not answered.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Positions {
    /// Taken over and not settled yet, with what the group has of them.
    taken: BTreeMap<(Topic, i32), Option<Committed>>,
    /// As of the last time that partitions were settled.
    pub ids: BTreeMap<Topic, Option<String>>,
    /// Not read on until somebody has acknowledged what was passed over; whether its note has been heard.
    pub held: BTreeMap<(Topic, i32), bool>,
    pub held_share: Share,
    /// Read for a gap up to these offsets: nobody waits for what stands below.
    brought: BTreeMap<(Topic, i32), i64>,
    /// Read to beyond their logs' ends, at the last look.
    pub beyond: BTreeSet<(Topic, i32)>,
    asked: Option<Instant>,
    pub looked: Option<Instant>,
    /// Members of our group that are none of ours, as they were last said.
    pub strangers: Vec<String>,
}

impl Positions {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            taken: BTreeMap::new(),
            ids: BTreeMap::new(),
            held: BTreeMap::new(),
            held_share: Share::of(&metrics.positions.held),
            brought: BTreeMap::new(),
            beyond: BTreeSet::new(),
            asked: None,
            looked: None,
            strangers: Vec::new(),
        }
    }

    /// Nothing is owned.
    pub fn clear(&mut self) {
        self.taken.clear();
        self.held.clear();
        self.brought.clear();
        self.held_share.set(0);
        self.asked = None;
    }

    pub fn give_up(&mut self, input: Topic, partition: i32) {
        self.taken.remove(&(input, partition));
        self.held.remove(&(input, partition));
        self.brought.remove(&(input, partition));
    }

    /// Whether a record is read for a gap, and not because it came.
    pub(super) fn brings(&self, partition: (Topic, i32), offset: i64) -> bool {
        !self.brought.is_empty() && self.brought.get(&partition).is_some_and(|end| offset < *end)
    }

    pub(super) fn waits(&self, input: Topic, partition: i32) -> bool {
        self.taken.contains_key(&(input, partition)) || self.held.contains_key(&(input, partition))
    }

    pub fn id(&self, input: Topic) -> Option<&str> {
        self.ids.get(&input)?.as_deref()
    }
}

/// Where a partition is read on.
struct Settled {
    input: Topic,
    partition: i32,
    from: i64,
    gap: Option<Gap>,
    /// Of the log.
    end: i64,
}

impl<M: Member> Worker<M> {
    /// Whether the states of a partition are here, whole.
    pub(super) fn owns(&self, home: i32) -> bool {
        self.assigned.contains(&home) && !self.reading_back.contains(&home)
    }

    /// Those of these partitions that may be read.
    pub(super) fn readable(&self, assignment: &TopicPartitionList) -> TopicPartitionList {
        let mut readable = TopicPartitionList::new();
        for (topic, partition) in listed(assignment) {
            if input_of(&topic, &self.parts.config.topics).is_none_or(|input| !self.positions.waits(input, partition)) {
                readable.add_partition(&topic, partition);
            }
        }
        readable
    }

    /// Remembers what the group has of partitions that are taken over.
    pub(super) fn take_over(&mut self, offsets: &TopicPartitionList) {
        let mut committed = committed(offsets);
        for partition in listed(offsets) {
            if let Some(input) = input_of(&partition.0, &self.parts.config.topics) {
                self.positions.taken.insert((input, partition.1), committed.remove(&partition));
            }
        }
    }

    /// Decides where the partitions are read on that were taken over; their states have been read back. False: Kafka does
    /// not answer yet.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        if self.positions.asked.is_some_and(|asked| self.since(asked) < ASK_INTERVAL) {
            return Ok(false);
        }
        self.positions.asked = Some(self.parts.member.now());
        self.refuse_lost_states()?;
        if self.holds() && !self.notes_are_known() {
            return Ok(false);
        }
        if self.unborn() && !self.reading_back.is_empty() {
            match self.others_born() {
                Ok(None) => {}
                Ok(Some(born)) => return Err(self.born_among(born)),
                Err(error) => {
                    warn!(error = %error, "committed offsets are waited for");
                    return Ok(false);
                }
            }
        }
        let settled = match self.ask_and_decide() {
            Ok(Some(settled)) => settled,
            Ok(None) => return Ok(false),
            Err(error) => {
                if let Some(times) = said::again("the ends of the inputs are waited for") {
                    warn!(error = %error, times, "the ends of the inputs are waited for");
                }
                return Ok(false);
            }
        };
        for Settled { input, partition, from, gap, end } in settled {
            self.next_offsets.start_at(input, partition, from);
            self.positions.taken.remove(&(input, partition));
            self.hold_again(input, partition);
            if let Some(gap) = gap {
                self.positions.brought.insert((input, partition), end);
                self.gap((input, partition), from, gap);
            }
            self.held_lag((input, partition), end - from);
        }
        self.positions.asked = None;
        self.positions.looked = Some(self.parts.member.now());
        Ok(true)
    }

    /// States that are gone, or that were divided otherwise.
    fn refuse_lost_states(&mut self) -> Result<(), Error> {
        let found = self.parts.partitions;
        for partition in self.reading_back.clone() {
            let committed = self.positions.taken.get(&(Topic::Resolved, partition));
            let said = committed.and_then(|it| it.as_ref()?.stamp.as_ref()?.born);
            match (self.store.partition(partition).birth.as_ref().map(|birth| birth.partitions), said) {
                (Some(born), _) | (_, Some(born)) if born != found => return Err(self.born_among(born)),
                (None, Some(_)) => {
                    let topic = self.parts.config.topics.state.clone();
                    return Err(Error::StateWiped { topic, partition });
                }
                (Some(_) | None, _) => {}
            }
        }
        Ok(())
    }

    fn born_among(&self, born: i32) -> Error {
        Error::Born { topic: self.parts.config.topics.resolved.clone(), born, found: self.parts.partitions }
    }

    /// States of partitions that were never taken over here say the same, where they were born.
    fn others_born(&self) -> KafkaResult<Option<i32>> {
        let (resolved, found) = (&self.parts.config.topics.resolved, self.parts.partitions);
        let mut all = TopicPartitionList::new();
        for partition in 0..found {
            all.add_partition(resolved, partition);
        }
        let offsets = committed(&self.parts.member.committed_offsets(all)?);
        let born = offsets.into_values().filter_map(|committed| committed.stamp?.born);
        Ok(born.into_iter().find(|born| *born != found))
    }

    /// A partition without a leader has no ends.
    fn await_leader(&self, missing: Option<&TopicPartition>) {
        let Some((topic, partition)) = missing else { return };
        self.parts.health.ready(false, &format!("partition {partition} of `{topic}` has no leader"));
        if let Some(times) = said::again("a partition without a leader is waited for") {
            warn!(topic, partition, times, "a partition without a leader is waited for");
        }
    }

    /// None: a log has no ends now.
    fn ask_and_decide(&mut self) -> KafkaResult<Option<Vec<Settled>>> {
        let topics = &self.parts.config.topics;
        let name = |(input, partition): &(Topic, i32)| (input.name(topics).to_owned(), *partition);
        let taken: Vec<TopicPartition> = self.positions.taken.keys().map(name).collect();
        let ids = self.describe()?.into_iter().map(|(input, described)| (input, described.id));
        let found = self.parts.member.log_ends(&taken)?;
        let ends: Option<Vec<Ends>> = taken.iter().map(|place| found.get(place).copied()).collect();
        let Some(ends) = ends else {
            self.await_leader(taken.iter().find(|place| !found.contains_key(*place)));
            return Ok(None);
        };
        self.positions.ids = ids.collect();
        let unborn = self.unborn();
        let taken: Vec<(Topic, i32)> = self.positions.taken.keys().copied().collect();
        let mut decided = Vec::new();
        for ((input, partition), ends) in taken.into_iter().zip(ends) {
            let (from, gap) = self.decide((input, partition), ends, unborn);
            let committed = self.positions.taken.get(&(input, partition)).and_then(Option::as_ref);
            if from != committed.map_or(ends.start, |committed| committed.offset) {
                self.parts.member.seek(input.name(&self.parts.config.topics), partition, from)?;
            }
            decided.push(Settled { input, partition, from, gap, end: ends.end });
        }
        Ok(Some(decided))
    }

    fn decide(&mut self, (input, partition): (Topic, i32), ends: Ends, unborn: bool) -> (i64, Option<Gap>) {
        let owned = self.assigned.contains(&partition);
        let birth = if owned { self.store.partition(partition).birth.as_ref() } else { None };
        let place = Place {
            folded: birth.and_then(|birth| birth.inputs.get(input.name(&self.parts.config.topics))),
            committed: self.positions.taken.get(&(input, partition)).and_then(Option::as_ref),
            unborn: if owned { birth.is_none() } else { unborn },
            topic_id: self.positions.id(input),
            ends,
        };
        resume_at(&place)
    }

    /// Whether the states here were never committed by a version that has births.
    fn unborn(&mut self) -> bool {
        let assigned = self.assigned.clone();
        !assigned.is_empty() && assigned.iter().all(|partition| self.store.partition(*partition).birth.is_none())
    }

    pub(super) fn describe(&self) -> KafkaResult<BTreeMap<Topic, Described>> {
        let topics = &self.parts.config.topics;
        let names = Topic::CONSUMED.map(|input| input.name(topics));
        let mut found = self.parts.member.topics(&names)?;
        Ok(Topic::CONSUMED.into_iter().filter_map(|input| Some((input, found.remove(input.name(topics))?))).collect())
    }

    /// What moved, for a commit; and, for the same commit, what the states of these partitions then answer for.
    pub(super) fn stamped_offsets(&mut self, records: &mut Records) -> Result<TopicPartitionList, Error> {
        let config = Arc::clone(&self.parts.config);
        let moved = self.next_offsets.says_something();
        let list = attempt("list the offsets of a commit", self.next_offsets.take(&config.topics))?;
        // A snapshot's marker may move beyond the last birth of its partition: it gets one behind the marker.
        let mut births: BTreeSet<i32> = self.saving.pending().collect();
        if moved {
            births.extend(list.elements().iter().map(TopicPartitionListElem::partition));
        }
        for partition in births.into_iter().filter(|partition| self.owns(*partition)).collect::<Vec<_>>() {
            let birth = self.birth(partition);
            let (key, value) = (Some(BIRTH_KEY), birth.encode());
            let record = Outgoing { partition: Some(partition), key, value: Some(&value), ..Outgoing::default() };
            records.push(Topic::State, record);
            self.store.partition(partition).birth = Some(birth);
        }
        for mut element in list.elements() {
            let (Some(input), partition) = (input_of(element.topic(), &config.topics), element.partition()) else {
                continue;
            };
            let born = input == Topic::Resolved && self.store.partition(partition).birth.is_some();
            let topic_id = self.positions.id(input).map(str::to_owned);
            element.set_metadata(Stamp { topic_id, born: born.then_some(self.parts.partitions) }.to_text());
        }
        Ok(list)
    }

    fn birth(&mut self, partition: i32) -> Birth {
        let mut birth = self.store.partition(partition).birth.clone().unwrap_or_default();
        birth.partitions = self.parts.partitions;
        for (input, _, next_offset) in self.next_offsets.positions().filter(|(_, of, _)| *of == partition) {
            let folded = Folded { topic_id: self.positions.id(input).map(str::to_owned), next_offset };
            birth.inputs.insert(input.name(&self.parts.config.topics).to_owned(), folded);
        }
        birth
    }
}
