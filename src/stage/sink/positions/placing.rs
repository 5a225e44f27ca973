//! Where a partition is read on, and what that passes over: what the group says, the notes and the log decide.

use crate::kafka::membership::TopicPartition;
use crate::kafka::positions::{Committed, Ends, Stamp};
use crate::note::NoteBook;
use crate::stage::fold::gap::{Gap, Place, resume_at};

/// That the offset of a partition has a stamp; the partition follows.
pub(super) const STAMPED_KEY: &str = "stamped/sink/";
pub(super) const ID_FIELD: &str = "topic_id";

/// What the notes say of a partition's stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// The notes could not be read.
    Unknown,
    /// Its offset need not have one.
    Never,
    /// It has one, of this topic.
    Stamped(Option<String>),
}

pub(super) fn noted(book: Option<&NoteBook>, partition: i32) -> Noted {
    let Some(book) = book else { return Noted::Unknown };
    let note = book.get(&format!("{STAMPED_KEY}{partition}"));
    note.map_or(Noted::Never, |note| Noted::Stamped(note.get(ID_FIELD).map(str::to_owned)))
}

/// A partition, where it is read on, and what that passes over.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "notes about different things, no state of one")]
pub(super) struct Placed {
    pub of: TopicPartition,
    pub from: i64,
    pub gap: Option<Gap>,
    /// The group says the same, with our stamp of this topic; or it is not known whether the offset is ours.
    pub stamped: bool,
    pub noted: bool,
    /// A consumer that is told nothing goes on there, too.
    pub as_committed: bool,
    /// The group has no offset of this topic's log.
    pub unread: bool,
}

pub(super) fn place(
    of: &TopicPartition,
    (committed, noted): (Option<&Committed>, Noted),
    topic_id: Option<&str>,
    ends: Ends,
) -> Placed {
    // The group's offsets go with a topic that is deleted.
    let gone = match &noted {
        Noted::Stamped(Some(id)) => {
            Some(Committed { offset: 0, stamp: Some(Stamp { topic_id: Some(id.clone()), born: None }) })
        }
        Noted::Stamped(None) | Noted::Never | Noted::Unknown => None,
    };
    let unborn = !matches!(noted, Noted::Stamped(_));
    let (from, gap) = resume_at(&Place {
        folded: None,
        committed: committed.or(gone.as_ref()),
        unborn,
        topic_id,
        ends,
        known_end: None,
    });
    let ours = committed.is_some_and(|it| {
        let id = it.stamp.as_ref().map(|stamp| stamp.topic_id.as_deref());
        it.offset == from && id.is_some_and(|id| id == topic_id)
    });
    let as_committed = committed.map_or(ends.start, |it| it.offset) == from;
    let of_another = |it: &Committed| it.stamp.as_ref().is_some_and(|stamp| stamp.topic_id.as_deref() != topic_id);
    let unread = committed.is_none_or(of_another);
    // What may be somebody else's is not to look like ours.
    let doubtful = noted == Noted::Unknown && committed.is_some_and(|it| it.stamp.is_none());
    let noted = doubtful || matches!(noted, Noted::Stamped(id) if id.as_deref() == topic_id);
    Placed { of: of.clone(), from, gap, stamped: ours || doubtful, noted, as_committed, unread }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gap::Cause;
    use crate::note::Note;

    const LOG: Ends = Ends { start: 10, end: 100 };

    fn placed(committed: Option<(i64, Option<&str>)>, noted: Noted) -> (i64, Option<Cause>, bool, bool) {
        let stamp = |id: &str| Stamp { topic_id: Some(id.to_owned()), born: None };
        let committed = committed.map(|(offset, id)| Committed { offset, stamp: id.map(stamp) });
        let Placed { from, gap, stamped, noted, .. } =
            place(&("upserts".to_owned(), 1), (committed.as_ref(), noted), Some("one"), LOG);
        (from, gap.map(|gap| gap.cause), stamped, noted)
    }

    fn noted_as(id: &str) -> Noted {
        Noted::Stamped(Some(id.to_owned()))
    }

    #[test]
    fn an_offset_of_an_earlier_build_is_taken_gets_its_stamp_and_only_then_its_note() {
        assert_eq!(placed(Some((42, None)), Noted::Never), (42, None, false, false), "also where nothing moves");
        assert_eq!(placed(Some((42, Some("one"))), Noted::Never), (42, None, true, false), "it is noted soon");
        assert_eq!(placed(Some((42, Some("one"))), noted_as("one")), (42, None, true, true));
        assert_eq!(placed(None, Noted::Never), (10, None, false, false), "a group that never committed");
    }

    #[test]
    fn a_note_of_one_partition_says_nothing_of_another() {
        let note = Note::new("stamped", 0).with(ID_FIELD, "one");
        let book = NoteBook::from([("stamped/sink".to_owned(), note.clone()), (format!("{STAMPED_KEY}2"), note)]);
        assert_eq!(noted(Some(&book), 1), Noted::Never);
        assert_eq!(noted(Some(&book), 2), noted_as("one"));
        assert_eq!(noted(None, 2), Noted::Unknown);
    }

    #[test]
    fn what_somebody_else_committed_is_read_again_once() {
        let foreign = placed(Some((42, None)), noted_as("one"));
        assert_eq!(foreign, (10, Some(Cause::ForeignCommit), false, true), "and our place is said with our stamp");
        let unknown = placed(Some((42, None)), Noted::Unknown);
        assert_eq!(unknown, (42, None, true, true), "nobody says that it is ours");
    }

    #[test]
    fn a_log_is_unread_as_long_as_the_group_has_no_offset_of_it() {
        let unread = |committed: Option<(i64, Option<&str>)>| {
            let stamp = |id: &str| Stamp { topic_id: Some(id.to_owned()), born: None };
            let committed = committed.map(|(offset, id)| Committed { offset, stamp: id.map(stamp) });
            place(&("upserts".to_owned(), 1), (committed.as_ref(), noted_as("another")), Some("one"), LOG).unread
        };
        assert!(unread(None), "its offsets went with the topic before");
        assert!(unread(Some((42, Some("another")))));
        assert!(!unread(Some((42, Some("one")))));
        assert!(!unread(Some((42, None))), "nobody knows of which");
    }

    #[test]
    fn a_topic_made_anew_is_said_once() {
        let remade = (10, Some(Cause::TopicRemade), false, false);
        assert_eq!(placed(Some((42, Some("another"))), noted_as("another")), remade);
        assert_eq!(placed(None, noted_as("another")), remade, "its offsets went with it");
    }
}
