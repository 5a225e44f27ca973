//! Marks that end transactions, behind the last record of a partition.
//!
//! Nobody is given them, so that no record moves the position over them. Once retention has deleted the record before such
//! a mark and the mark, the log starts beyond the position, as if a record were gone. So where nothing comes for a while
//! the position follows the fetcher, which passes marks, and a commit says so. The fetcher's place is hearsay, and for a
//! moment it may be ahead of records that are on their way: only one that stands, with everything read, is believed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::kafka::member::Member;
use crate::kafka::membership::{Idle, Lag};
use crate::topic_table::Topic;

use super::Worker;

/// Statistics come several times in it, and whatever was fetched is read long before it has passed.
const STANDS_FOR: Duration = Duration::from_secs(10);

/// Where each partition stands before something that nobody is given: the position, the fetcher's place, since when.
#[derive(Default)]
pub(super) struct Marks(BTreeMap<(Topic, i32), (i64, i64, Instant)>);

impl Marks {
    /// What was fetched may have been dropped, and is fetched again.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Where the position is moved to.
    fn look(&mut self, partition: (Topic, i32), position: i64, idle: Option<Idle>, now: Instant) -> Option<i64> {
        let known = self.0.remove(&partition);
        // librdkafka counts a mark as given once it has come to it.
        let all_given = |idle: &Idle| idle.given <= position || idle.given == idle.fetcher;
        let Idle { fetcher, .. } = idle.filter(|idle| all_given(idle) && idle.fetcher > position)?;
        let same = known.filter(|(at, to, _)| (*at, *to) == (position, fetcher));
        let since = same.map_or(now, |(_, _, since)| since);
        if now.saturating_duration_since(since) >= STANDS_FOR {
            return Some(fetcher);
        }
        self.0.insert(partition, (position, fetcher, since));
        None
    }
}

impl<M: Member> Worker<M> {
    /// Moves the position of a partition over the marks behind its last record.
    pub(super) fn pass_marks(&mut self, input: Topic, lag: &Lag) {
        let waits = self.tenure.taking_over() || self.positions.waits(input, lag.partition);
        let paused = waits || self.held.is_some() || self.saving.failing();
        // What was fetched of a paused partition is dropped, and fetched again.
        let idle = lag.idle.filter(|_| !paused && !self.tenure.lost());
        let Some(position) = self.next_offsets.position(input, lag.partition) else { return };
        let now = self.parts.member.now();
        if let Some(beyond) = self.marks.look((input, lag.partition), position, idle, now) {
            self.next_offsets.go_on_at(input, lag.partition, beyond);
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Offset;

    use super::*;
    use crate::config::Topics;
    use crate::kafka::positions::{Committed, Ends, Stamp};
    use crate::stage::fold::gap::{Place, resume_at};
    use crate::stage::fold::inputs::NextOffsets;

    #[test]
    fn a_log_that_ends_with_a_mark_and_starts_at_its_end_has_no_gap() {
        let (mut marks, mut next, start) = (Marks::default(), NextOffsets::default(), Instant::now());
        let of = (Topic::Resolved, 1);
        next.start_at(of.0, of.1, 0);
        next.advance(of.0, of.1, 7);
        next.take(&Topics::default()).unwrap();
        for second in 0..=10 {
            let position = next.position(of.0, of.1).unwrap();
            let idle = Some(Idle { given: 7, fetcher: 8 });
            if let Some(beyond) = marks.look(of, position, idle, start + Duration::from_secs(second)) {
                next.go_on_at(of.0, of.1, beyond);
            }
        }
        assert!(next.moved(), "a commit says it");
        let list = next.take(&Topics::default()).unwrap();
        let Offset::Offset(offset) = list.elements()[0].offset() else { panic!("no offset") };
        let ends = Ends { start: 8, end: 8 };
        let committed = Committed { offset, stamp: Some(Stamp::default()) };
        let place =
            Place { folded: None, committed: Some(&committed), unborn: false, topic_id: None, ends, known_end: None };
        assert_eq!(resume_at(&place), (8, None));
    }

    #[test]
    fn a_position_follows_the_fetcher_over_a_mark_once_that_stands() {
        let (mut marks, start) = (Marks::default(), Instant::now());
        let mut look = |second: u64, position: i64, idle: Option<(i64, i64)>| {
            let idle = idle.map(|(given, fetcher)| Idle { given, fetcher });
            marks.look((Topic::Resolved, 1), position, idle, start + Duration::from_secs(second))
        };
        assert_eq!(look(0, 7, Some((7, 8))), None);
        assert_eq!(look(9, 7, Some((7, 8))), None, "records may be on their way");
        assert_eq!(look(10, 7, Some((7, 8))), Some(8));
        assert_eq!(look(20, 8, Some((7, 8))), None, "it is said once");
        assert_eq!(look(40, 8, Some((7, 8))), None);
        assert_eq!(look(50, 8, Some((-1001, 10))), None);
        assert_eq!(look(55, 9, Some((9, 10))), None, "a record came");
        assert_eq!(look(62, 9, None), None, "something waits to be read, or the partition is paused");
        assert_eq!(look(66, 9, Some((9, 10))), None);
        assert_eq!(look(76, 9, Some((10, 11))), None, "something that was given is not dealt with");
        assert_eq!(look(80, 9, Some((9, 10))), None);
        assert_eq!(look(85, 9, Some((9, 11))), None, "it moves");
        assert_eq!(look(95, 9, Some((9, 11))), Some(11));
        assert_eq!(look(100, 11, Some((12, 12))), None);
        assert_eq!(look(110, 11, Some((12, 12))), Some(12), "a mark that was given to nobody");
    }
}
