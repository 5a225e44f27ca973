//! Positions against the logs: settled when partitions are taken over. `look` looks after them while they are read.
//!
//! Between the states and the inputs stands this room: it decides where each partition is read on, refuses states that
//! are gone or of another number of partitions, and sees to it that nothing is passed over without a word. Everything
//! that it finds while running it settles by taking the partitions over anew, so that there is one place that decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use tracing::warn;

use crate::kafka::member::Member;
use crate::kafka::membership::listed;
use crate::kafka::positions::{Committed, Ends, Stamp, committed};
use crate::kafka::questions::Answer;
use crate::kafka::said;
use crate::kafka::transaction::{Outgoing, Records};
use crate::metrics::Metrics;
use crate::store::{BIRTH_KEY, Birth, Folded, Offsets};
use crate::topic_table::Topic;

use super::Worker;
use super::holds::Held;
use crate::stage::fold::gap::{Gap, Place, resume_at};
use crate::stage::fold::inputs::input_of;
use crate::stage::fold::unled::Unled;
use crate::stage::fold::{Error, attempt};

#[derive(Default)]
struct Taken {
    /// What the group has of it.
    committed: Option<Committed>,
    /// Whether an offset without a stamp may be of a version that had none, as of the first time that this was to be
    /// decided: the first commit makes births. None: it was not to be decided yet.
    unborn: Option<bool>,
}

pub(super) struct Positions {
    /// Taken over and not settled yet.
    taken: BTreeMap<(Topic, i32), Taken>,
    /// Where the reading of a partition began when it was taken over.
    began: BTreeMap<(Topic, i32), i64>,
    /// Of inputs as of the last time that partitions were settled; of states and catalogue as of the last answer.
    pub ids: BTreeMap<Topic, Option<String>>,
    /// Where logs ended when somebody told it last, and in which topic.
    ends: BTreeMap<(Topic, i32), (Option<String>, i64)>,
    pub held: Held,
    /// Read for a gap up to these offsets: nobody waits for what stands below.
    brought: BTreeMap<(Topic, i32), i64>,
    /// Read to beyond their logs' ends, at the last look.
    pub beyond: BTreeSet<(Topic, i32)>,
    pub unled: Unled,
    /// A topic that was grown and must not be, in words; and whether that is news.
    grown: (Option<String>, bool),
    /// Members of our group that are none of ours, as they were last said.
    pub strangers: Vec<String>,
}

impl Positions {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            taken: BTreeMap::new(),
            began: BTreeMap::new(),
            ids: BTreeMap::new(),
            ends: BTreeMap::new(),
            held: Held::new(metrics),
            brought: BTreeMap::new(),
            beyond: BTreeSet::new(),
            unled: Unled::default(),
            grown: (None, false),
            strangers: Vec::new(),
        }
    }

    /// Nothing is owned.
    pub fn clear(&mut self) {
        self.taken.clear();
        self.began.clear();
        self.held.clear();
        self.brought.clear();
        self.unled.clear();
        self.grown_is(None);
    }

    pub fn give_up(&mut self, input: Topic, partition: i32) {
        self.taken.remove(&(input, partition));
        self.began.remove(&(input, partition));
        self.held.remove((input, partition));
        self.brought.remove(&(input, partition));
        self.unled.remove((input, partition));
    }

    /// Whether a record is read for a gap, and not because it came.
    pub(super) fn brings(&self, partition: (Topic, i32), offset: i64) -> bool {
        !self.brought.is_empty() && self.brought.get(&partition).is_some_and(|end| offset < *end)
    }

    /// Whether something waits to be settled.
    pub(super) fn settling(&self) -> bool {
        !self.taken.is_empty()
    }

    pub(super) fn waits(&self, input: Topic, partition: i32) -> bool {
        self.taken.contains_key(&(input, partition)) || self.held.holds((input, partition))
    }

    pub fn id(&self, input: Topic) -> Option<&str> {
        self.ids.get(&input)?.as_deref()
    }

    pub(super) fn grown_is(&mut self, grown: Option<String>) {
        if self.grown.0 != grown {
            self.grown = (grown, true);
        }
    }

    /// What is waited for of the logs as they are.
    pub(super) fn reason(&self) -> Option<String> {
        self.unled.reason().or_else(|| self.grown.0.clone())
    }

    /// Whether the reason may be another one than when this was asked last.
    pub(super) fn reason_changed(&mut self) -> bool {
        let grown = std::mem::take(&mut self.grown.1);
        self.unled.take_changed() || grown
    }

    /// Remembers where logs end, which a topic that is made anew takes with it.
    pub(super) fn ends_are(&mut self, (input, partition): (Topic, i32), id: Option<&str>, ends: Ends) {
        self.ends.insert((input, partition), (id.map(str::to_owned), ends.end));
    }
}

impl<M: Member> Worker<M> {
    /// Whether the states of a partition are here, whole.
    pub(in crate::stage::fold) fn owns(&self, home: i32) -> bool {
        self.tenure.folds(home)
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
        self.forget_question();
        self.catch_up_on_gaps();
        let mut committed = committed(offsets);
        for partition in listed(offsets) {
            if let Some(input) = input_of(&partition.0, &self.parts.config.topics) {
                let taken = Taken { committed: committed.remove(&partition), unborn: None };
                self.positions.taken.insert((input, partition.1), taken);
            }
        }
    }

    /// Decides where the partitions are read on that were taken over; their states have been read back. False: Kafka does
    /// not answer yet. What has no ends, as nobody leads it, waits by itself (see `look`), and nothing else does.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        if !self.asking.under_way() {
            let (now, answering_since) = (self.parts.member.now(), self.parts.member.answering_since());
            if self.asking.due(now, answering_since) {
                if self.may_settle()? {
                    self.parts.health.ready(false, "the ends of the inputs are waited for");
                    self.ask();
                } else {
                    self.asking.soon(now);
                }
            }
            return Ok(false);
        }
        match self.answer()? {
            None => Ok(false),
            Some((asked, Ok(answer))) => {
                // Of what is read meanwhile: the next look judges it.
                self.next_offsets.put_back(asked.jumps);
                self.refuse_remade_states(&answer)?;
                self.settle_answered(&answer);
                Ok(true)
            }
            Some((asked, Err(error))) => {
                self.next_offsets.put_back(asked.jumps);
                self.parts.health.ready(false, "the ends of the inputs are waited for");
                if let Some(times) = said::again("the ends of the inputs are waited for") {
                    warn!(error = %error, times, "the ends of the inputs are waited for");
                }
                Ok(false)
            }
        }
    }

    /// Whether everything else is known that decides.
    fn may_settle(&mut self) -> Result<bool, Error> {
        self.refuse_lost_states()?;
        if self.unborn() && !self.tenure.taken().is_empty() {
            match self.others_born() {
                Ok(None) => {}
                Ok(Some(born)) => return Err(self.born_among(born)),
                Err(error) => {
                    self.parts.health.ready(false, "committed offsets are waited for");
                    warn!(error = %error, "committed offsets are waited for");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Settles what the answer tells the ends of, and says so of the rest. What can be read now is still paused.
    pub(super) fn settle_answered(&mut self, answer: &Answer) -> Vec<(Topic, i32)> {
        let taken: Vec<(Topic, i32)> = self.positions.taken.keys().copied().collect();
        self.note_unborn(&taken);
        taken.into_iter().filter(|partition| self.settle_one(*partition, answer).is_some()).collect()
    }

    /// Before anything is decided, since the first commit afterwards makes births.
    fn note_unborn(&mut self, taken: &[(Topic, i32)]) {
        let all = self.unborn();
        for (input, partition) in taken {
            let owned = self.tenure.has(*partition);
            let unborn = if owned { self.store.partition(*partition).birth.is_none() } else { all };
            if let Some(taken) = self.positions.taken.get_mut(&(*input, *partition)) {
                taken.unborn.get_or_insert(unborn);
            }
        }
    }

    /// None: it is not to be settled now.
    fn settle_one(&mut self, (input, partition): (Topic, i32), answer: &Answer) -> Option<()> {
        let place = self.place((input, partition));
        let ends = answer.ends.get(&place).copied();
        self.look_for_leader((input, partition), answer, true);
        let (ends, id) = (ends?, answer.topics.get(&place.0)?.id.clone());
        // Others are read of the topic that was there before: they all are taken over anew (see `look`).
        if self.positions.id(input).is_some_and(|before| id.as_deref().is_some_and(|id| id != before))
            && self.next_offsets.positions().any(|(of, ..)| of == input)
        {
            return None;
        }
        let (from, gap) = self.decide((input, partition), id.as_deref(), ends);
        let committed = self.positions.taken.get(&(input, partition))?.committed.as_ref();
        if from != committed.map_or(ends.start, |committed| committed.offset)
            && let Err(error) = self.parts.member.seek(&place.0, partition, from)
        {
            if let Some(times) = said::again("the place to read from is not taken") {
                warn!(topic = place.0, partition, error = %error, times, "the place to read from is not taken");
            }
            self.positions.unled.placed((input, partition), false);
            self.parts.metrics.set_stalled(input, partition, true);
            return None;
        }
        let ours = |it: &Committed| it.stamp.as_ref().is_some_and(|stamp| stamp.topic_id == id);
        let stamped = committed.is_none_or(ours);
        self.positions.ends_are((input, partition), id.as_deref(), ends);
        self.positions.ids.insert(input, id);
        if stamped {
            self.next_offsets.start_at(input, partition, from);
        } else {
            // Whoever asks whether all is read believes our stamp alone, also of a partition in which nothing moves.
            self.next_offsets.go_on_at(input, partition, from);
        }
        self.positions.taken.remove(&(input, partition));
        self.positions.began.insert((input, partition), from);
        self.positions.unled.placed((input, partition), true);
        self.hold_again(input, partition);
        if let Some(gap) = gap {
            self.positions.brought.insert((input, partition), ends.end);
            self.gap((input, partition), from, gap);
        }
        self.held_lag((input, partition), ends.end - from);
        Some(())
    }

    /// States that are gone, or that were divided otherwise.
    fn refuse_lost_states(&mut self) -> Result<(), Error> {
        let found = self.parts.partitions;
        for partition in self.tenure.taken() {
            let taken = self.positions.taken.get(&(Topic::Resolved, partition));
            let said = taken.and_then(|it| it.committed.as_ref()?.stamp.as_ref()?.born);
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

    /// States that were born in a topic which is gone: what the new one of its name holds of them is what changed since. A
    /// birth that is written before somebody looks names the old one, so that no later start takes the rest for all.
    pub(super) fn refuse_remade_states(&mut self, answer: &Answer) -> Result<(), Error> {
        let topic = &self.parts.config.topics.state;
        let Some(id) = answer.topics.get(topic).and_then(|described| described.id.clone()) else { return Ok(()) };
        for partition in self.tenure.homes().collect::<Vec<_>>() {
            let birth = self.store.partition(partition).birth.as_ref();
            let born_in = birth.and_then(|birth| birth.inputs.get(topic)?.topic_id.as_deref());
            if born_in.or(self.positions.id(Topic::State)).is_some_and(|born_in| born_in != id) {
                return Err(Error::StateRemade { topic: topic.clone(), partition });
            }
        }
        self.positions.ids.insert(Topic::State, Some(id));
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

    fn decide(&mut self, (input, partition): (Topic, i32), id: Option<&str>, ends: Ends) -> (i64, Option<Gap>) {
        let owned = self.tenure.has(partition);
        let birth = if owned { self.store.partition(partition).birth.as_ref() } else { None };
        let taken = self.positions.taken.get(&(input, partition));
        let known = self.positions.ends.get(&(input, partition));
        let place = Place {
            folded: birth.and_then(|birth| birth.inputs.get(input.name(&self.parts.config.topics))),
            committed: taken.and_then(|taken| taken.committed.as_ref()),
            unborn: taken.and_then(|taken| taken.unborn).unwrap_or_default(),
            topic_id: id,
            ends,
            known_end: known.and_then(|(id, end)| Some((id.as_deref()?, *end))),
        };
        resume_at(&place)
    }

    /// Whether the states here were never committed by a version that has births.
    fn unborn(&mut self) -> bool {
        let mut homes = self.tenure.homes();
        !self.tenure.is_empty() && homes.all(|home| self.store.partition(home).birth.is_none())
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
        // And a commit that writes pieces is counted.
        births.extend(
            self.store.partitions().filter(|(_, pieces)| pieces.wrote_pieces()).map(|(partition, _)| partition),
        );
        for partition in births.into_iter().filter(|partition| self.owns(*partition)).collect::<Vec<_>>() {
            self.write_birth(partition, records);
        }
        for mut element in list.elements() {
            let (Some(input), partition) = (input_of(element.topic(), &config.topics), element.partition()) else {
                continue;
            };
            let home = input == Topic::Resolved && self.tenure.has(partition);
            let born = home && self.store.partition(partition).birth.is_some();
            let topic_id = self.positions.id(input).map(str::to_owned);
            element.set_metadata(Stamp { topic_id, born: born.then_some(self.parts.partitions) }.to_text());
        }
        Ok(list)
    }

    /// What the states of a partition answer for from this commit on; and once an hour, beside it, where its inputs stood
    /// before.
    fn write_birth(&mut self, partition: i32, records: &mut Records) {
        let mut push = |key: &[u8], value: &[u8]| {
            let (key, value) = (Some(key), Some(value));
            records.push(Topic::State, Outgoing { partition: Some(partition), key, value, ..Outgoing::default() });
        };
        let mut birth = self.birth(partition);
        if self.store.partition(partition).take_wrote() {
            let (before, now) = (self.before(partition), self.parts.member.wall_clock());
            if let Some(offsets) = Offsets::due(&before, now) {
                push(&offsets.key(), &offsets.encode());
                birth.offsets_at = now;
            }
            birth.commit = before.commit + 1;
        }
        push(BIRTH_KEY, &birth.encode());
        self.store.partition(partition).birth = Some(birth);
    }

    /// What the states answered for before this commit; of an input that none has folded, where its reading began.
    fn before(&mut self, partition: i32) -> Birth {
        let topics = &self.parts.config.topics;
        let mut before = self.store.partition(partition).birth.clone().unwrap_or_default();
        before.inputs.remove(&topics.state);
        for ((input, _), next_offset) in self.positions.began.iter().filter(|((_, of), _)| *of == partition) {
            let began = || Folded { topic_id: self.positions.id(*input).map(str::to_owned), next_offset: *next_offset };
            before.inputs.entry(input.name(topics).to_owned()).or_insert_with(began);
        }
        before
    }

    pub(in crate::stage::fold) fn birth(&mut self, partition: i32) -> Birth {
        let mut birth = self.store.partition(partition).birth.clone().unwrap_or_default();
        birth.partitions = self.parts.partitions;
        for (input, _, next_offset) in self.next_offsets.positions().filter(|(_, of, _)| *of == partition) {
            let folded = Folded { topic_id: self.positions.id(input).map(str::to_owned), next_offset };
            birth.inputs.insert(input.name(&self.parts.config.topics).to_owned(), folded);
        }
        if let Some(id) = self.positions.id(Topic::State) {
            let ours = Folded { topic_id: Some(id.to_owned()), next_offset: 0 };
            birth.inputs.insert(self.parts.config.topics.state.clone(), ours);
        }
        birth
    }
}
