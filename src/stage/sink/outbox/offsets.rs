//! Which offsets may be committed: those below the lowest row without a recorded outcome.
//!
//! Outcomes come in any order, so a committed offset cannot simply follow the newest one: everything between would be
//! lost in a crash.
//!
//! A row that has its outcome and turns out to be wrong in the org owes another one: the offset goes back below it, so
//! that whoever reads the partition next reads it again. What stands between is sent once more, which changes nothing.
//!
//! A topic that is made anew has another log, whose offsets are others: rows of the one before owe outcomes, too, but no
//! offset waits for them, and none of theirs may be committed.

use std::collections::{BTreeMap, VecDeque};

use super::Position;

#[derive(Debug, Default)]
pub struct Offsets {
    /// The log that is read.
    log: u32,
    partitions: BTreeMap<i32, Partition>,
    /// Outcomes that rows of logs that are gone owe.
    gone: BTreeMap<Position, u32>,
}

#[derive(Debug, Default)]
struct Partition {
    /// Offsets that were read, in their order, and the outcomes that are to be recorded yet.
    read: VecDeque<(i64, u32)>,
    /// Offsets that owe outcomes.
    unrecorded: usize,
    last_read: Option<i64>,
    /// Everything below had its outcome once.
    done: Option<i64>,
    /// What was last handed out.
    committed: Option<i64>,
}

impl Offsets {
    pub fn log(&self) -> u32 {
        self.log
    }

    /// This log is read from now on.
    pub fn read_log(&mut self, log: u32) {
        if self.log != log {
            self.log = log;
            self.partitions.clear();
        }
    }

    /// A row of a log that is gone owes an outcome.
    pub fn owe(&mut self, position: Position) {
        *self.gone.entry(position).or_default() += 1;
    }

    /// It owes it no longer.
    pub fn forgive(&mut self, position: Position) {
        if let Some(owed) = self.gone.get_mut(&position) {
            *owed -= 1;
            if *owed == 0 {
                self.gone.remove(&position);
            }
        }
    }

    /// False where the record was read before, or its log is gone.
    pub fn read(&mut self, position: Position) -> bool {
        if position.log != self.log {
            return false;
        }
        let partition = self.partitions.entry(position.partition).or_default();
        if partition.last_read.is_some_and(|last| position.offset <= last) {
            return false;
        }
        partition.last_read = Some(position.offset);
        partition.read.push_back((position.offset, 1));
        partition.unrecorded += 1;
        true
    }

    /// None where nothing was read of the partition.
    pub fn last_read(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition)?.last_read
    }

    pub fn recorded(&mut self, position: Position) {
        if position.log != self.log {
            return self.forgive(position);
        }
        let Some(partition) = self.partitions.get_mut(&position.partition) else { return };
        if let Ok(at) = partition.read.binary_search_by_key(&position.offset, |(offset, _)| *offset)
            && let Some((_, owed)) = partition.read.get_mut(at)
            && *owed > 0
        {
            *owed -= 1;
            partition.unrecorded -= usize::from(*owed == 0);
        }
        while let Some((offset, 0)) = partition.read.front() {
            partition.done = partition.done.max(Some(offset + 1));
            partition.read.pop_front();
        }
    }

    /// The row of a record that was read is sent once more, and owes one outcome more.
    pub fn reopen(&mut self, position: Position) {
        if position.log != self.log {
            return self.owe(position);
        }
        let Some(partition) = self.partitions.get_mut(&position.partition) else { return };
        match partition.read.binary_search_by_key(&position.offset, |(offset, _)| *offset) {
            Ok(at) => {
                if let Some((_, owed)) = partition.read.get_mut(at) {
                    partition.unrecorded += usize::from(*owed == 0);
                    *owed += 1;
                }
            }
            Err(at) => {
                partition.read.insert(at, (position.offset, 1));
                partition.unrecorded += 1;
            }
        }
    }

    /// Offsets that have moved since the last call.
    pub fn take_committable(&mut self) -> Vec<(i32, i64)> {
        let moved = self.partitions.iter_mut().filter_map(|(id, partition)| partition.take().map(|next| (*id, next)));
        moved.collect()
    }

    /// Forgets a partition; where it has moved since the last commit, to which offset.
    pub fn leave(&mut self, partition: i32) -> Option<i64> {
        self.partitions.remove(&partition).and_then(|mut partition| partition.take())
    }

    /// Where a partition is to be read on, where anything of it has its outcome.
    pub fn next_offset(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition)?.next_offset()
    }

    /// Rows read whose outcome is not recorded. Rows behind one that is stuck are done and do not count.
    pub fn pending(&self) -> usize {
        self.partitions.values().map(|partition| partition.unrecorded).sum::<usize>() + self.gone.len()
    }

    /// Rows read that would be read again after a crash.
    pub fn open(&self) -> usize {
        self.partitions.values().map(|partition| partition.read.len()).sum()
    }

    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied().chain(self.gone.keys().map(|position| position.partition))
    }
}

impl Partition {
    /// Where to resume.
    fn next_offset(&self) -> Option<i64> {
        let done = self.done?;
        Some(self.read.front().map_or(done, |(offset, _)| done.min(*offset)))
    }

    fn take(&mut self) -> Option<i64> {
        let next = self.next_offset();
        let moved = next.filter(|next| self.committed != Some(*next));
        self.committed = next;
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Position {
        Position { log: 0, partition: 0, offset }
    }

    #[test]
    fn the_offset_stays_below_the_first_row_without_an_outcome() {
        let mut offsets = Offsets::default();
        for offset in [3, 4, 7] {
            assert!(offsets.read(at(offset)));
        }
        offsets.recorded(at(4));
        offsets.recorded(at(7));
        offsets.recorded(at(7));
        assert_eq!(offsets.take_committable(), []);
        assert_eq!((offsets.pending(), offsets.open()), (1, 3), "what is done waits for the first, and is no work");
        offsets.recorded(at(3));
        assert_eq!(offsets.take_committable(), [(0, 8)]);
        assert_eq!(offsets.take_committable(), []);
    }

    #[test]
    fn a_record_read_again_is_not_a_second_row() {
        let mut offsets = Offsets::default();
        assert!(offsets.read(at(3)));
        assert!(!offsets.read(at(3)));
        offsets.recorded(at(3));
        assert_eq!((offsets.pending(), offsets.leave(0)), (0, Some(4)));
    }

    #[test]
    fn the_offset_goes_back_below_a_row_that_is_sent_again_until_it_has_its_outcome() {
        let mut offsets = Offsets::default();
        for offset in [3, 4, 7, 9] {
            offsets.read(at(offset));
            offsets.recorded(at(offset));
        }
        assert_eq!(offsets.take_committable(), [(0, 10)]);
        offsets.reopen(at(7));
        offsets.reopen(at(3));
        assert_eq!((offsets.take_committable(), offsets.pending(), offsets.open()), (vec![(0, 3)], 2, 2));
        offsets.recorded(at(3));
        assert_eq!(offsets.take_committable(), [(0, 7)]);
        offsets.read(at(12));
        offsets.recorded(at(7));
        assert_eq!((offsets.take_committable(), offsets.pending()), (vec![(0, 10)], 1));
        offsets.reopen(at(9));
        assert_eq!(offsets.leave(0), Some(9));
    }

    #[test]
    fn no_offset_of_a_log_that_is_gone_is_committed_and_none_waits_for_it() {
        let mut offsets = Offsets::default();
        offsets.read(at(7));
        offsets.read_log(1);
        offsets.owe(at(7));
        let new = |offset| Position { log: 1, ..at(offset) };
        assert!(!offsets.read(at(8)), "nobody reads it any more");
        for offset in [7, 8] {
            offsets.read(new(offset));
        }
        offsets.recorded(at(7));
        assert_eq!((offsets.take_committable(), offsets.pending()), (Vec::new(), 2), "another one at the same offset");
        offsets.recorded(new(7));
        assert_eq!((offsets.take_committable(), offsets.pending()), (vec![(0, 8)], 1));
        offsets.reopen(at(7));
        assert_eq!((offsets.take_committable(), offsets.pending()), (Vec::new(), 2), "it owes another outcome");
    }

    #[test]
    fn a_row_that_is_sent_again_before_its_outcome_is_recorded_owes_both() {
        let mut offsets = Offsets::default();
        offsets.read(at(3));
        offsets.reopen(at(3));
        offsets.recorded(at(3));
        assert_eq!((offsets.take_committable(), offsets.pending()), (Vec::new(), 1));
        offsets.recorded(at(3));
        assert_eq!((offsets.take_committable(), offsets.pending()), (vec![(0, 4)], 0));
    }
}
