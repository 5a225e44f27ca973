//! The topics that the fold reads, and how far each of their partitions has been folded.

use std::collections::BTreeSet;

use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Topics;
use crate::topic_table::Topic;

/// The input of this name.
pub fn input_of(topic: &str, topics: &Topics) -> Option<Topic> {
    Topic::CONSUMED.into_iter().find(|input| input.name(topics) == topic)
}

/// Place of an input among the inputs.
pub fn index_of(input: Topic) -> usize {
    Topic::CONSUMED.into_iter().position(|consumed| consumed == input).expect("only inputs are asked for")
}

pub const INPUTS: usize = Topic::CONSUMED.len();

/// Offsets that did not come: from the first one on, below the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    pub input: Topic,
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}

/// Jumps that are kept until somebody asks; of more the shortest are forgotten. Nearly all are marks of transactions.
const JUMPS_MAX: usize = 64;

/// Where to resume, by input and partition, as far as it moved since the last commit.
#[derive(Default)]
pub struct NextOffsets {
    /// By partition and input; -1: not moved.
    offsets: Vec<[i64; INPUTS]>,
    moved: bool,
    /// The next offset to be read, of what is assigned, whatever is committed; -1: not assigned.
    positions: Vec<[i64; INPUTS]>,
    jumps: Vec<Jump>,
    /// What is assigned, whether it is read already or waits to be settled.
    assigned: BTreeSet<(i32, Topic)>,
}

fn slot(of: &mut Vec<[i64; INPUTS]>, input: Topic, partition: i32) -> &mut i64 {
    let partition = usize::try_from(partition).expect("partitions are not negative");
    if partition >= of.len() {
        of.resize(partition + 1, [-1; INPUTS]);
    }
    of.get_mut(partition).and_then(|inputs| inputs.get_mut(index_of(input))).expect("there is room now")
}

impl NextOffsets {
    /// A record was dealt with.
    pub fn advance(&mut self, input: Topic, partition: i32, next_offset: i64) {
        let position = slot(&mut self.positions, input, partition);
        let from = *position;
        // A record that was under way when its log's start moved over it moves nothing back.
        *position = next_offset.max(from);
        *slot(&mut self.offsets, input, partition) = next_offset.max(from);
        self.moved = true;
        if from >= 0 && next_offset > from + 1 {
            self.jumps.push(Jump { input, partition, from, to: next_offset - 1 });
            self.bound_jumps();
        }
    }

    /// A partition that was taken over is read from here on. The first commit says so, whatever else moves.
    pub fn start_at(&mut self, input: Topic, partition: i32, offset: i64) {
        *slot(&mut self.positions, input, partition) = offset;
        *slot(&mut self.offsets, input, partition) = offset;
        self.assigned.insert((partition, input));
    }

    /// What is below is gone, or is said once more: a commit is due.
    pub fn go_on_at(&mut self, input: Topic, partition: i32, offset: i64) {
        self.start_at(input, partition, offset);
        self.moved = true;
    }

    /// The next offset to be read. None: the partition is not assigned, or waits to be settled.
    pub fn position(&self, input: Topic, partition: i32) -> Option<i64> {
        let inputs = self.positions.get(usize::try_from(partition).ok()?)?;
        inputs.get(index_of(input)).copied().filter(|position| *position >= 0)
    }

    /// Every partition that is read, and the next offset to be read of it.
    pub fn positions(&self) -> impl Iterator<Item = (Topic, i32, i64)> {
        (0..).zip(&self.positions).flat_map(|(partition, inputs)| {
            let of = move |(input, position): (Topic, &i64)| (*position >= 0).then_some((input, partition, *position));
            Topic::CONSUMED.into_iter().zip(inputs).filter_map(of)
        })
    }

    pub fn has(&self, input: Topic, partition: i32) -> bool {
        self.assigned.contains(&(partition, input))
    }

    /// Every partition that is assigned.
    pub fn assigned(&self) -> impl Iterator<Item = (Topic, i32)> {
        self.assigned.iter().map(|(partition, input)| (*input, *partition))
    }

    pub fn take_jumps(&mut self) -> Vec<Jump> {
        std::mem::take(&mut self.jumps)
    }

    /// Nobody could judge them yet.
    pub fn put_back(&mut self, jumps: impl IntoIterator<Item = Jump>) {
        let assigned = &self.assigned;
        self.jumps.extend(jumps.into_iter().filter(|jump| assigned.contains(&(jump.partition, jump.input))));
        self.bound_jumps();
    }

    fn bound_jumps(&mut self) {
        if self.jumps.len() > JUMPS_MAX {
            self.jumps.sort_by_key(|jump| jump.from - jump.to);
            self.jumps.truncate(JUMPS_MAX / 2);
        }
    }

    pub fn moved(&self) -> bool {
        self.moved
    }

    /// Partitions are taken over, and no others are owned.
    pub fn begin(&mut self, assigned: &TopicPartitionList, topics: &Topics) {
        self.clear();
        self.gain(assigned, topics);
    }

    /// Partitions are taken over, beside others. Where they are read from is said when they are settled.
    pub fn gain(&mut self, gained: &TopicPartitionList, topics: &Topics) {
        for element in gained.elements() {
            let Some(input) = input_of(element.topic(), topics) else { continue };
            self.give_up(input, element.partition());
            self.assigned.insert((element.partition(), input));
        }
    }

    /// A partition belongs to somebody else.
    pub fn give_up(&mut self, input: Topic, partition: i32) {
        self.assigned.remove(&(partition, input));
        self.jumps.retain(|jump| (jump.input, jump.partition) != (input, partition));
        *slot(&mut self.offsets, input, partition) = -1;
        *slot(&mut self.positions, input, partition) = -1;
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether anything moved, or was begun, since the last commit.
    pub fn says_something(&self) -> bool {
        self.offsets.iter().flatten().any(|offset| *offset >= 0)
    }

    /// What moved, for a commit; never empty while partitions are read. A commit to which no input has moved says one
    /// offset again: the group refuses a former member by the offsets of its transaction alone, and lets one without
    /// offsets through. Never one of a partition that was given up: the group takes whatever a member says of it. Nor one
    /// that is not settled: what the group has of it may be of somebody else's making.
    pub fn take(&mut self, topics: &Topics) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, inputs) in (0..).zip(&self.offsets) {
            for (input, next_offset) in Topic::CONSUMED.into_iter().zip(inputs) {
                if *next_offset >= 0 {
                    list.add_partition_offset(input.name(topics), partition, Offset::Offset(*next_offset))?;
                }
            }
        }
        if list.count() == 0
            && let Some((input, partition, offset)) = self.positions().next()
        {
            list.add_partition_offset(input.name(topics), partition, Offset::Offset(offset))?;
        }
        self.offsets.clear();
        self.moved = false;
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_come_is_remembered_and_nothing_moves_back() {
        let topics = Topics::default();
        let mut next = NextOffsets::default();
        next.start_at(Topic::Views, 1, 5);
        assert!(!next.moved(), "a start alone is no reason to commit");
        next.advance(Topic::Views, 1, 6);
        assert_eq!(next.take_jumps(), []);
        next.advance(Topic::Views, 1, 9);
        assert_eq!(next.take_jumps(), [Jump { input: Topic::Views, partition: 1, from: 6, to: 8 }]);
        next.go_on_at(Topic::Views, 1, 20);
        next.advance(Topic::Views, 1, 11);
        assert_eq!((next.position(Topic::Views, 1), next.take_jumps()), (Some(20), vec![]));
        let list = next.take(&topics).unwrap();
        assert_eq!(list.find_partition(&topics.views, 1).unwrap().offset(), Offset::Offset(20));
        for offset in 0..1_000 {
            next.advance(Topic::Polls, 0, 10 * offset);
        }
        next.advance(Topic::Polls, 0, 50_000);
        next.advance(Topic::Polls, 0, 50_010);
        let jumps = next.take_jumps();
        assert!(jumps.len() <= JUMPS_MAX && jumps.iter().any(|jump| jump.to == 49_999), "the longest are kept");
        assert_eq!(next.positions().collect::<Vec<_>>(), [(Topic::Polls, 0, 50_010), (Topic::Views, 1, 20)]);
    }

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
        assert_eq!(next.take(&topics).unwrap().count(), 0, "what the group has of it may be somebody else's");
        next.start_at(Topic::Views, 1, 7);
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
