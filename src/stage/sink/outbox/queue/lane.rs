//! A lane: the rows of one campaign that can be sent, each in the line of its priority and kind.
//!
//! One line per priority would do for the order. But rows that are kept back for a job would stand in it between those that
//! go, and whoever takes the next row would pass over thousands of them at every call. Lines by kind are left out as a
//! whole, and counted by their lengths; rows of several lines are taken by their numbers, in the order in which they came.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Key, Kind, Line, Priority};

/// No line is empty.
#[derive(Debug, Default)]
pub(in super::super) struct Lane {
    lines: [BTreeMap<Kind, Line>; Priority::ALL.len()],
}

impl Lane {
    pub fn lines(&self, priority: Priority) -> &BTreeMap<Kind, Line> {
        let [live, retry, backfill] = &self.lines;
        match priority {
            Priority::Live => live,
            Priority::Retry => retry,
            Priority::Backfill => backfill,
        }
    }

    pub(super) fn lines_mut(&mut self, priority: Priority) -> &mut BTreeMap<Kind, Line> {
        let [live, retry, backfill] = &mut self.lines;
        match priority {
            Priority::Live => live,
            Priority::Retry => retry,
            Priority::Backfill => backfill,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(BTreeMap::is_empty)
    }

    /// Rows of all priorities that are of such kinds.
    pub fn rows(&self, of: impl Fn(Kind) -> bool) -> usize {
        let lines = self.lines.iter().flatten();
        lines.filter(|(kind, _)| of(**kind)).map(|(_, line)| line.len()).sum()
    }

    /// The first row of such kinds behind this entry.
    pub fn next(&self, priority: Priority, after: u64, of: impl Fn(Kind) -> bool) -> Option<(u64, &Key)> {
        let lines = self.lines(priority).iter().filter(|(kind, _)| of(**kind));
        let behind = lines.filter_map(|(_, line)| line.range((Bound::Excluded(after), Bound::Unbounded)).next());
        behind.min_by_key(|(number, _)| **number).map(|(number, key)| (*number, key))
    }

    /// The rows of such kinds up to this entry, in the order in which they came.
    pub fn up_to(&self, priority: Priority, last: u64, of: impl Fn(Kind) -> bool) -> Vec<Key> {
        let lines = self.lines(priority).iter().filter(|(kind, _)| of(**kind));
        let rows: BTreeMap<&u64, &Key> = lines.flat_map(|(_, line)| line.range(..=last)).collect();
        rows.into_values().cloned().collect()
    }
}
