//! The topics that the fold reads, and how far each of their partitions has been folded.

use std::collections::BTreeMap;

use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Topics;
use crate::event::EventKind;
use crate::kafka::topics::Topic;

/// Inputs whose partitions belong together: all that carry members' events.
pub fn carries_events(input: Topic) -> bool {
    input != Topic::Sessions
}

/// The input of this name.
pub fn input_of(topic: &str, topics: &Topics) -> Option<Topic> {
    Topic::CONSUMED.into_iter().find(|input| input.name(topics) == topic)
}

/// Kind of the events of a topic. None: their headers say it.
pub fn kind_of(input: Topic) -> Option<EventKind> {
    match input {
        Topic::Registrations => Some(EventKind::Registration),
        Topic::Attendance => Some(EventKind::Attendance),
        Topic::Polls => Some(EventKind::Poll),
        Topic::Reactions => Some(EventKind::Reaction),
        Topic::Views => Some(EventKind::View),
        Topic::Resolved
        | Topic::Sessions
        | Topic::Catalogue
        | Topic::State
        | Topic::Upserts
        | Topic::BulkJobs
        | Topic::Outcomes
        | Topic::DeadLetters
        | Topic::Notes => None,
    }
}

/// Place of an input among the inputs.
pub fn index_of(input: Topic) -> usize {
    Topic::CONSUMED.into_iter().position(|consumed| consumed == input).expect("only inputs are asked for")
}

pub const INPUTS: usize = Topic::CONSUMED.len();

/// Where to resume, by input and partition, as far as it moved since the last commit.
#[derive(Default)]
pub struct NextOffsets {
    /// By partition and input; -1: not moved.
    offsets: Vec<[i64; INPUTS]>,
    moved: bool,
    /// Offsets that are committed already, of what is assigned. A commit to which no input has moved says one of them
    /// again: the group refuses a former member by the offsets of its transaction alone, and lets one without offsets
    /// through. Never one of a partition that was given up: the group takes whatever a member says of it.
    committed: BTreeMap<(i32, Topic), i64>,
}

impl NextOffsets {
    pub fn advance(&mut self, input: Topic, partition: i32, next_offset: i64) {
        let partition = usize::try_from(partition).expect("partitions are not negative");
        if partition >= self.offsets.len() {
            self.offsets.resize(partition + 1, [-1; INPUTS]);
        }
        if let Some(slot) = self.offsets.get_mut(partition).and_then(|inputs| inputs.get_mut(index_of(input))) {
            *slot = next_offset;
            self.moved = true;
        }
    }

    pub fn moved(&self) -> bool {
        self.moved
    }

    /// Partitions are taken over at these offsets, and no others are owned.
    pub fn begin(&mut self, assigned: &TopicPartitionList, topics: &Topics) {
        self.clear();
        self.gain(assigned, topics);
    }

    /// Partitions are taken over at these offsets, beside others.
    pub fn gain(&mut self, gained: &TopicPartitionList, topics: &Topics) {
        for element in gained.elements() {
            let Some(input) = input_of(element.topic(), topics) else { continue };
            // Nothing committed yet: 0 means the beginning as well, wherever the log begins.
            let offset = if let Offset::Offset(offset) = element.offset() { offset } else { 0 };
            self.committed.insert((element.partition(), input), offset);
        }
    }

    /// A partition belongs to somebody else.
    pub fn give_up(&mut self, input: Topic, partition: i32) {
        self.committed.remove(&(partition, input));
        let slot = usize::try_from(partition).ok().and_then(|partition| self.offsets.get_mut(partition));
        if let Some(slot) = slot.and_then(|inputs| inputs.get_mut(index_of(input))) {
            *slot = -1;
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What moved, for a commit; never empty while partitions are assigned.
    pub fn take(&mut self, topics: &Topics) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, inputs) in (0..).zip(&self.offsets) {
            for (input, next_offset) in Topic::CONSUMED.into_iter().zip(inputs) {
                if *next_offset >= 0 {
                    list.add_partition_offset(input.name(topics), partition, Offset::Offset(*next_offset))?;
                    self.committed.insert((partition, input), *next_offset);
                }
            }
        }
        if list.count() == 0
            && let Some(((partition, input), offset)) = self.committed.first_key_value()
        {
            list.add_partition_offset(input.name(topics), *partition, Offset::Offset(*offset))?;
        }
        *self = Self { committed: std::mem::take(&mut self.committed), ..Self::default() };
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_to_which_no_input_has_moved_is_fenced_by_an_offset_all_the_same() {
        let topics = Topics::default();
        let listed = |list: &TopicPartitionList| -> Vec<(String, i32, Offset)> {
            list.elements().iter().map(|it| (it.topic().to_owned(), it.partition(), it.offset())).collect()
        };
        let mut next = NextOffsets::default();
        assert_eq!(next.take(&topics).unwrap().count(), 0, "nothing is assigned");
        let mut assigned = TopicPartitionList::new();
        assigned.add_partition_offset(&topics.views, 1, Offset::Offset(7)).unwrap();
        next.begin(&assigned, &topics);
        assert!(!next.moved());
        assert_eq!(listed(&next.take(&topics).unwrap()), [(topics.views.clone(), 1, Offset::Offset(7))]);
        next.advance(Topic::Views, 1, 9);
        assert_eq!(listed(&next.take(&topics).unwrap()), [(topics.views.clone(), 1, Offset::Offset(9))]);
        assert_eq!(listed(&next.take(&topics).unwrap()), [(topics.views.clone(), 1, Offset::Offset(9))]);
        next.give_up(Topic::Views, 1);
        assert_eq!(next.take(&topics).unwrap().count(), 0, "the next owner's offset is not said again");
        next.begin(&assigned, &topics);
        next.clear();
        assert_eq!(next.take(&topics).unwrap().count(), 0);
    }
}
