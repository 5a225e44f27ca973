//! Partitions of which nobody tells where they begin and end: they have no leader, or it does not answer.
//!
//! Such a partition waits alone, and by name. One that was taken over is not read before it is settled; of one that is
//! read nothing comes, and librdkafka says nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::kafka::questions::Answer;
use crate::topic_table::Topic;

/// A leader that moves is missed by one answer.
const MISSED: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stage) enum Why {
    NoLeader,
    NoAnswer,
    /// The brokers do not describe the topic, or the partition.
    Unknown,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::NoLeader => "has no leader",
            Self::NoAnswer => "has a leader that does not answer",
            Self::Unknown => "is not described by the brokers",
        }
    }
}

#[derive(Default)]
pub(in crate::stage) struct Unled {
    /// With the number of answers without its ends.
    partitions: BTreeMap<(Topic, i32), (Why, u32)>,
    /// Their ends are known, and the consumer cannot be placed where reading is to go on.
    unplaced: BTreeSet<(Topic, i32)>,
    changed: bool,
}

impl Unled {
    /// Whether the partition is waited for by name.
    pub fn waits(&self, partition: (Topic, i32)) -> bool {
        self.unled(partition) || self.unplaced.contains(&partition)
    }

    fn unled(&self, partition: (Topic, i32)) -> bool {
        self.partitions.get(&partition).is_some_and(|(_, missed)| *missed >= MISSED)
    }

    /// What is waited for; none where nothing is.
    pub fn reason(&self) -> Option<String> {
        let mut waiting = self.partitions.iter().filter(|(_, (_, missed))| *missed >= MISSED);
        let Some(((input, partition), (why, _))) = waiting.next() else {
            let (input, partition) = self.unplaced.first()?;
            return Some(format!("partition {partition} of {} is not read from where it is to be", input.label()));
        };
        let others = match waiting.count() {
            0 => String::new(),
            others => format!(", and {others} more are waited for"),
        };
        Some(format!("partition {partition} of {} {}{others}", input.label(), why.text()))
    }

    /// Whether the reason may be another one than when this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub fn clear(&mut self) {
        self.changed |= !self.partitions.is_empty() || !self.unplaced.is_empty();
        self.partitions.clear();
        self.unplaced.clear();
    }

    pub fn remove(&mut self, partition: (Topic, i32)) {
        self.led(partition);
        self.placed(partition, true);
    }

    fn led(&mut self, partition: (Topic, i32)) {
        self.changed |= self.partitions.remove(&partition).is_some();
    }

    /// Whether the consumer was placed where the partition is read on.
    pub fn placed(&mut self, partition: (Topic, i32), placed: bool) {
        self.changed |= if placed { self.unplaced.remove(&partition) } else { self.unplaced.insert(partition) };
    }

    /// One more answer. True where the partition is waited for from now on, or no longer.
    pub fn look(&mut self, partition: (Topic, i32), why: Option<Why>, at_once: bool) -> bool {
        let before = self.unled(partition);
        let Some(why) = why else {
            self.led(partition);
            return before;
        };
        let (known, missed) = self.partitions.entry(partition).or_insert((why, 0));
        self.changed |= *known != why;
        *known = why;
        *missed = if at_once { MISSED } else { missed.saturating_add(1) };
        let waits = self.unled(partition);
        self.changed |= waits != before;
        waits != before
    }
}

/// Why an answer does not tell the ends of a partition that it was asked for.
pub(in crate::stage) fn why(answer: &Answer, topic: &str, partition: i32) -> Option<Why> {
    if answer.ends.contains_key(&(topic.to_owned(), partition)) {
        return None;
    }
    let described = answer.topics.get(topic).filter(|described| partition < described.partitions);
    Some(match described {
        None => Why::Unknown,
        Some(described) if described.leaders.contains_key(&partition) => Why::NoAnswer,
        Some(_) => Why::NoLeader,
    })
}

/// That a partition is waited for from now on, or no longer.
pub(in crate::stage) fn say(topic: &str, partition: i32, why: Option<Why>) {
    if let Some(why) = why {
        warn!(topic, partition, "a partition is waited for: it {}", why.text());
    } else {
        info!(topic, partition, "a partition has a leader again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_placed_is_named_until_it_is() {
        let mut unled = Unled::default();
        let views = (Topic::Views, 1);
        for _ in 0..2 {
            assert!(!unled.look(views, None, true), "its ends are told");
            unled.placed(views, false);
        }
        assert!(unled.waits(views) && unled.take_changed() && !unled.take_changed());
        assert_eq!(unled.reason().as_deref(), Some("partition 1 of views is not read from where it is to be"));
        assert!(!unled.look(views, None, true));
        unled.placed(views, false);
        assert!(!unled.take_changed(), "it is said once");
        unled.placed(views, true);
        assert_eq!((unled.reason(), unled.take_changed(), unled.waits(views)), (None, true, false));
    }

    #[test]
    fn what_is_read_is_named_at_the_second_answer_and_what_is_not_settled_at_once() {
        let mut unled = Unled::default();
        let (read, taken) = ((Topic::Views, 1), (Topic::Polls, 0));
        assert!(!unled.look(read, Some(Why::NoAnswer), false), "it may move");
        assert_eq!((unled.reason(), unled.take_changed()), (None, false));
        assert!(unled.look(read, Some(Why::NoLeader), false));
        assert_eq!(unled.reason().as_deref(), Some("partition 1 of views has no leader"));
        assert!(unled.take_changed() && !unled.take_changed());
        assert!(unled.look(taken, Some(Why::NoAnswer), true));
        let both = "partition 0 of polls has a leader that does not answer, and 1 more are waited for";
        assert_eq!(unled.reason().as_deref(), Some(both));
        assert!(!unled.look(read, Some(Why::NoLeader), false), "it is said once");
        assert!(unled.look(read, None, false) && unled.look(taken, None, true));
        assert_eq!((unled.reason(), unled.take_changed()), (None, true));
        assert!(!unled.look(read, None, false));
    }
}
