//! The topics that the fold reads, and how far each of their partitions has been folded.

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
        | Topic::Outcomes
        | Topic::DeadLetters => None,
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

    pub fn clear(&mut self) {
        self.offsets.clear();
        self.moved = false;
    }

    /// What moved, for a commit.
    pub fn take(&mut self, topics: &Topics) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, inputs) in (0..).zip(&self.offsets) {
            for (input, next_offset) in Topic::CONSUMED.into_iter().zip(inputs) {
                if *next_offset >= 0 {
                    list.add_partition_offset(input.name(topics), partition, Offset::Offset(*next_offset))?;
                }
            }
        }
        self.clear();
        Ok(list)
    }
}
