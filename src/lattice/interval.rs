//! Sets of points on a line, kept as half-open intervals.
//!
//! Invariant: the intervals are ascending, none is empty, and no two touch. A list of intervals as they came would be
//! simpler, but it grows with every record and depends on how a stretch was cut into pieces.
//!
//! A set of very many intervals closes its smallest gaps ([`IntervalSet::close_gaps`]). This alone is outside the laws of the
//! joins: which gaps are the smallest depends on what has come. Nobody views in fifty thousand stretches; a script that does
//! gets a few seconds too many.

use super::STRETCHES_MAX;
use super::few::Few;

/// A set of half-open intervals `[start, end)`, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalSet(Few<(i64, i64)>);

impl IntervalSet {
    /// Adds `[start, end)`. Empty and reversed intervals hold no point. Returns whether a point was new.
    pub fn insert(&mut self, start: i64, end: i64) -> bool {
        if start >= end {
            return false;
        }
        // Stretches arrive nearly in order: most of them extend the last interval or follow it.
        match self.0.last_mut() {
            None => self.0.insert(0, (start, end)),
            Some(last) if start > last.1 => self.0.insert(self.0.as_slice().len(), (start, end)),
            Some(last) if start >= last.0 => {
                let grows = end > last.1;
                last.1 = last.1.max(end);
                return grows;
            }
            Some(_) => return self.insert_before_last(start, end),
        }
        true
    }

    fn insert_before_last(&mut self, start: i64, end: i64) -> bool {
        // Those that touch or overlap: they end at the start or later, and start at the end or earlier.
        let intervals = self.0.as_slice();
        let from = intervals.partition_point(|interval| interval.1 < start);
        let to = intervals.partition_point(|interval| interval.0 <= end);
        let touched = intervals.get(from..to).unwrap_or_default();
        let merged = match (touched.first(), touched.last()) {
            (Some(first), Some(last)) => (first.0.min(start), last.1.max(end)),
            _ => (start, end),
        };
        if touched == [merged] {
            return false;
        }
        self.0.change(|intervals| drop(intervals.splice(from..to, [merged])));
        true
    }

    /// Closes the smallest gaps where there are more than so many intervals, some at once, since it takes a while. Returns
    /// how many.
    #[inline]
    pub fn close_gaps(&mut self, max: usize) -> u32 {
        let before = self.iter().len();
        if before > max {
            self.close_smallest(kept_of(max));
        }
        u32::try_from(before - self.iter().len()).unwrap_or(u32::MAX)
    }

    /// Whether gaps have been closed, or soon will be.
    pub fn full(&self) -> bool {
        self.iter().len() >= kept_of(STRETCHES_MAX)
    }

    fn close_smallest(&mut self, kept: usize) {
        let intervals = self.0.as_slice();
        let mut gaps: Vec<(u64, usize)> = intervals
            .windows(2)
            .enumerate()
            .filter_map(|(place, pair)| Some((pair.first()?.1.abs_diff(pair.last()?.0), place)))
            .collect();
        gaps.sort_unstable();
        gaps.truncate(intervals.len().saturating_sub(kept));
        let mut closed: Vec<usize> = gaps.into_iter().map(|(_, place)| place).collect();
        closed.sort_unstable();
        let mut closed = closed.into_iter().peekable();
        let mut rest: Vec<(i64, i64)> = Vec::with_capacity(kept);
        let mut open: Option<i64> = None;
        for (place, (start, end)) in intervals.iter().copied().enumerate() {
            let start = open.take().unwrap_or(start);
            if closed.next_if_eq(&place).is_some() {
                open = Some(start);
            } else {
                rest.push((start, end));
            }
        }
        self.0 = rest.into();
    }

    /// Bytes of the heap.
    pub fn heap(&self) -> usize {
        self.0.heap()
    }

    /// Touches the set itself.
    pub fn warm(&self) -> u64 {
        u64::from(self.0.is_many())
    }

    /// Touches the last interval, which most events extend.
    pub fn warm_last(&self) -> u64 {
        self.0.as_slice().last().map_or(0, |last| last.1.cast_unsigned())
    }

    /// Union. Returns whether a point was new.
    pub fn join(&mut self, other: &Self) -> bool {
        let mut grew = false;
        for (start, end) in other.iter() {
            grew |= self.insert(start, end);
        }
        grew
    }

    /// The points of this set that are in none of the others.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        let mut cuts = other.iter().peekable();
        for (mut start, end) in self.iter() {
            while let Some(&(cut_start, cut_end)) = cuts.peek() {
                if cut_start >= end {
                    break;
                }
                if start < cut_start {
                    rest.push((start, cut_start));
                }
                start = start.max(cut_end);
                if cut_end > end {
                    break;
                }
                cuts.next();
            }
            if start < end {
                rest.push((start, end));
            }
        }
        Self(rest.into())
    }

    /// The points within `[start, end)`.
    #[must_use]
    pub fn clipped(&self, start: i64, end: i64) -> Self {
        let cut = self.iter().map(|(from, to)| (from.max(start), to.min(end)));
        Self(cut.filter(|(from, to)| from < to).collect::<Vec<_>>().into())
    }

    /// Total length. Disjoint intervals of 64-bit numbers cannot exceed 64 bits together.
    pub fn length(&self) -> u64 {
        self.iter().map(|(start, end)| start.abs_diff(end)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    /// Ascending, disjoint, never touching.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + '_ {
        self.0.as_slice().iter().copied()
    }
}

/// A sixteenth of the gaps is closed at once.
fn kept_of(max: usize) -> usize {
    (max - max / 16).max(1)
}

impl FromIterator<(i64, i64)> for IntervalSet {
    fn from_iter<I: IntoIterator<Item = (i64, i64)>>(intervals: I) -> Self {
        let mut set = Self::default();
        for (start, end) in intervals {
            set.insert(start, end);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(intervals: &[(i64, i64)]) -> IntervalSet {
        intervals.iter().copied().collect()
    }

    #[test]
    fn touching_intervals_become_one() {
        assert_eq!(set(&[(0, 5), (5, 9)]), set(&[(0, 9)]));
        assert_eq!(set(&[(5, 9), (0, 5)]), set(&[(0, 9)]));
        assert_eq!(set(&[(0, 1), (4, 5), (1, 4)]).iter().len(), 1);
        assert_eq!(set(&[(0, 1), (2, 3)]).iter().len(), 2);
    }

    #[test]
    fn an_interval_without_length_changes_nothing() {
        let mut none = IntervalSet::default();
        assert!(!none.insert(7, 7));
        assert!(!none.insert(7, 3));
        assert!(none.is_empty());
    }

    #[test]
    fn insert_tells_whether_a_point_was_new() {
        let mut some = set(&[(0, 10), (20, 30), (40, 50)]);
        assert!(!some.insert(0, 10));
        assert!(!some.insert(22, 25));
        assert!(!some.insert(45, 50));
        assert!(some.insert(9, 11));
        assert!(some.insert(25, 41));
        assert_eq!(some, set(&[(0, 11), (20, 50)]));
    }

    #[test]
    fn of_too_many_intervals_the_smallest_gaps_close() {
        let mut some = set(&[(0, 1), (5, 6), (7, 8), (20, 21), (23, 24)]);
        assert_eq!(some.close_gaps(5), 0);
        assert_eq!(some.iter().len(), 5);
        assert_eq!(some.close_gaps(4), 1);
        assert_eq!(some, set(&[(0, 1), (5, 8), (20, 21), (23, 24)]));
        assert_eq!(some.close_gaps(1), 3);
        assert_eq!(some, set(&[(0, 24)]));
        let mut many: IntervalSet = (0..1_000).map(|step| (step * 10, step * 10 + 1 + step % 9)).collect();
        let all = many.clone();
        many.close_gaps(160);
        assert_eq!(many.iter().len(), 150);
        assert!(all.without(&many).is_empty(), "no point is lost");
    }

    #[test]
    fn the_whole_line_has_a_length() {
        assert_eq!(set(&[(i64::MIN, i64::MAX)]).length(), u64::MAX);
    }

    fn small() -> impl Strategy<Value = Vec<(i64, i64)>> {
        proptest::collection::vec((0_i64..40, 0_i64..40), 0..12)
    }

    fn points(intervals: &[(i64, i64)]) -> Vec<bool> {
        (0..40).map(|point| intervals.iter().any(|&(start, end)| start <= point && point < end)).collect()
    }

    fn count(points: impl IntoIterator<Item = bool>) -> u64 {
        points.into_iter().map(u64::from).sum()
    }

    proptest! {
        #[test]
        fn a_set_is_its_points(a in small(), b in small(), from in 0_i64..40, to in 0_i64..40) {
            let (in_a, in_b) = (points(&a), points(&b));
            let (set_a, set_b) = (set(&a), set(&b));
            prop_assert_eq!(set_a.length(), count(in_a.clone()));
            prop_assert_eq!(points(&set_a.iter().collect::<Vec<_>>()), in_a.clone());
            let rest: Vec<bool> = in_a.iter().zip(&in_b).map(|(a, b)| *a && !b).collect();
            let difference = set_a.without(&set_b);
            prop_assert_eq!(points(&difference.iter().collect::<Vec<_>>()), rest);
            prop_assert_eq!(difference.iter().collect::<IntervalSet>(), difference);
            let clip = in_a.iter().zip(0_i64..).map(|(inside, point)| *inside && from <= point && point < to);
            prop_assert_eq!(set_a.clipped(from, to).length(), count(clip));
        }
    }
}
