//! Where the reading of a partition goes on, and what was passed over.
//!
//! Committed offsets alone do not say it: the log may have lost what stands behind them, the topic may be another one by
//! now, and the last who committed need not have been Rollbook. What the states answer for decides ([`Birth`]); to read
//! again is harmless, as the join is idempotent, so in doubt it is read again.
//!
//! [`Birth`]: crate::store::Birth

use crate::gap::Cause;
use crate::kafka::positions::{Committed, Ends};
use crate::store::Folded;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub cause: Cause,
    /// Offsets that nobody will read, an upper bound: some of them may have been marks, or compacted away.
    pub passed_over: i64,
    /// Whether these are all. Of a log that is gone nobody knows where it ended, but where it ended when somebody asked.
    pub counted: bool,
}

/// What is known of a partition that is taken over.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What the states of the same partition say.
    pub folded: Option<&'a Folded>,
    /// What the group says.
    pub committed: Option<&'a Committed>,
    /// Whether a commit without a stamp may be of a version that had none.
    pub unborn: bool,
    pub topic_id: Option<&'a str>,
    pub ends: Ends,
    /// Where a log of this partition ended when that was told last, and of which topic it was.
    pub known_end: Option<(&'a str, i64)>,
}

/// Where the partition is read on, and what that passes over.
pub fn resume_at(place: &Place<'_>) -> (i64, Option<Gap>) {
    let Ends { start, end } = place.ends;
    let (read_to, topic_id, said) = read_to(place);
    let gap = |cause, passed_over| (start, Some(Gap { cause, passed_over, counted: true }));
    if let (Some(before), Some(now)) = (topic_id, place.topic_id)
        && before != now
    {
        let of_before = place.known_end.filter(|(id, _)| *id == before);
        let unread = of_before.zip(read_to).map(|((_, end), read_to)| (end - read_to).max(0));
        let passed_over = start + unread.unwrap_or(0);
        return (start, Some(Gap { cause: Cause::TopicRemade, passed_over, counted: false }));
    }
    match (read_to, said) {
        (Some(read_to), _) if read_to < start => gap(Cause::BelowLogStart, start - read_to),
        (Some(read_to), _) if read_to > end => {
            (start, Some(Gap { cause: Cause::BeyondLogEnd, passed_over: 0, counted: false }))
        }
        (Some(_), Some(Cause::OffsetsExpired)) => gap(Cause::OffsetsExpired, 0),
        (Some(read_to), said) => (read_to, said.map(|cause| Gap { cause, passed_over: 0, counted: true })),
        (None, Some(cause)) => gap(cause, 0),
        (None, None) => (start, None),
    }
}

/// How far the partition has been read, in which topic, and what is to be said about it.
fn read_to<'a>(place: &Place<'a>) -> (Option<i64>, Option<&'a str>, Option<Cause>) {
    let folded_id = place.folded.and_then(|folded| folded.topic_id.as_deref());
    match (place.committed, place.folded) {
        (Some(Committed { offset, stamp: Some(stamp) }), _) => (Some(*offset), stamp.topic_id.as_deref(), None),
        (Some(theirs), Some(folded)) if theirs.offset > folded.next_offset => {
            (Some(folded.next_offset), folded_id, Some(Cause::ForeignCommit))
        }
        // Somebody has moved it back, so that it is read again.
        (Some(theirs), Some(_)) => (Some(theirs.offset), folded_id, None),
        (Some(theirs), None) if place.unborn => (Some(theirs.offset), None, None),
        (None, Some(folded)) => (Some(folded.next_offset), folded_id, Some(Cause::OffsetsExpired)),
        // Nobody knows what was read of it.
        (Some(_), None) => (None, None, Some(Cause::ForeignCommit)),
        (None, None) => (None, None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gap::Cause;
    use crate::kafka::positions::Stamp;

    const LOG: Ends = Ends { start: 10, end: 100 };

    fn stamped(offset: i64, id: &str) -> Committed {
        Committed { offset, stamp: Some(Stamp { topic_id: Some(id.to_owned()), born: None }) }
    }

    fn strange(offset: i64) -> Committed {
        Committed { offset, stamp: None }
    }

    fn resumed(folded: Option<i64>, committed: Option<&Committed>, unborn: bool) -> (i64, Option<(Cause, i64)>) {
        let folded = folded.map(|next_offset| Folded { topic_id: Some("one".to_owned()), next_offset });
        let folded = folded.as_ref();
        let (from, gap) =
            resume_at(&Place { folded, committed, unborn, topic_id: Some("one"), ends: LOG, known_end: None });
        (from, gap.map(|gap| (gap.cause, gap.passed_over)))
    }

    #[test]
    fn reading_goes_on_where_it_ended() {
        assert_eq!(resumed(Some(42), Some(&stamped(42, "one")), false), (42, None));
        assert_eq!(resumed(None, Some(&strange(42)), true), (42, None), "of a version before");
        assert_eq!(resumed(Some(100), Some(&stamped(100, "one")), false), (100, None), "nothing is left");
        assert_eq!(resumed(Some(10), Some(&stamped(10, "one")), false), (10, None), "nothing was read");
        assert_eq!(resumed(None, None, true), (10, None), "nothing was ever read");
    }

    #[test]
    fn what_was_deleted_before_it_was_read_is_counted() {
        assert_eq!(resumed(Some(4), Some(&stamped(4, "one")), false), (10, Some((Cause::BelowLogStart, 6))));
        assert_eq!(resumed(None, Some(&strange(0)), true), (10, Some((Cause::BelowLogStart, 10))));
        let foreign = resumed(Some(4), Some(&strange(50)), false);
        assert_eq!(foreign, (10, Some((Cause::BelowLogStart, 6))), "not what others say was read");
        assert_eq!(resumed(Some(4), None, false), (10, Some((Cause::BelowLogStart, 6))));
    }

    #[test]
    fn what_somebody_else_has_committed_is_read_all_the_same() {
        assert_eq!(resumed(Some(12), Some(&strange(24)), false), (12, Some((Cause::ForeignCommit, 0))));
        assert_eq!(resumed(Some(42), Some(&strange(42)), false), (42, None));
        assert_eq!(resumed(Some(42), Some(&strange(11)), false), (11, None), "moved back by a person");
        let unread = resumed(None, Some(&strange(24)), false);
        assert_eq!(unread, (10, Some((Cause::ForeignCommit, 0))), "an input that was never read");
    }

    #[test]
    fn offsets_that_are_gone_are_said_and_the_log_is_read_from_its_start() {
        assert_eq!(resumed(Some(42), None, false), (10, Some((Cause::OffsetsExpired, 0))));
    }

    #[test]
    fn a_topic_that_was_made_anew_is_read_from_its_start_also_where_it_is_longer_already() {
        for committed in [stamped(42, "another"), stamped(400, "another")] {
            assert_eq!(resumed(Some(42), Some(&committed), false), (10, Some((Cause::TopicRemade, 10))));
        }
        let remade = |committed: Option<&Committed>| {
            let folded = Folded { topic_id: Some("another".to_owned()), next_offset: 42 };
            let place = Place {
                folded: Some(&folded),
                committed,
                unborn: false,
                topic_id: Some("one"),
                ends: Ends { start: 0, end: 100 },
                known_end: None,
            };
            resume_at(&place)
        };
        let from_0 = (0, Some(Gap { cause: Cause::TopicRemade, passed_over: 0, counted: false }));
        assert_eq!((remade(None), remade(Some(&strange(50)))), (from_0, from_0), "its offsets went with it");
        assert_eq!(remade(Some(&stamped(50, "one"))), (50, None), "somebody has read on in the new one");
    }

    #[test]
    fn what_was_known_to_be_unread_of_a_topic_that_is_gone_is_counted_and_never_said_to_be_all() {
        let passed_over = |known_end| {
            let committed = stamped(42, "another");
            let place = Place {
                folded: None,
                committed: Some(&committed),
                unborn: false,
                topic_id: Some("one"),
                ends: LOG,
                known_end,
            };
            let gap = resume_at(&place).1.unwrap();
            (gap.passed_over, gap.counted)
        };
        assert_eq!(passed_over(Some(("another", 50))), (8 + 10, false), "and what is gone of the new one already");
        assert_eq!(passed_over(Some(("another", 40))), (10, false), "it was told before the last of it was read");
        assert_eq!(passed_over(Some(("a third", 50))), (10, false), "nobody knows where it ended");
        assert_eq!(passed_over(None), (10, false));
    }

    #[test]
    fn a_log_that_ends_early_is_read_from_its_start() {
        assert_eq!(resumed(Some(400), Some(&stamped(400, "one")), false), (10, Some((Cause::BeyondLogEnd, 0))));
        assert_eq!(resumed(None, Some(&strange(400)), true), (10, Some((Cause::BeyondLogEnd, 0))));
    }
}
