//! Gaps that nobody has acknowledged: on `rollbook.notes`, so that they outlive the process that met them.
//!
//! A gap is noted in the transaction that moves over it, under a key that the same gap has whoever meets it. A person
//! who has seen to it removes the note (`rollbook gaps ack`); until then every instance shows it, and where
//! `fold.on_gap` is `hold` its partition waits.

use std::collections::BTreeMap;

use crate::note::{GAP, Note, NoteBook};
use crate::time::Millis;

/// Why reading does not simply go on where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Records were deleted before they were read: by retention, or by hand.
    BelowLogStart,
    /// The topic was deleted and made anew.
    TopicRemade,
    /// The log ends before the place where reading ended.
    BeyondLogEnd,
    /// Somebody else committed for our group what was not read. It is read all the same.
    ForeignCommit,
    /// The group has no offset where it had one: it expired, or was deleted. The log is read from its start.
    OffsetsExpired,
}

impl Cause {
    pub const ALL: [Self; 5] =
        [Self::BelowLogStart, Self::TopicRemade, Self::BeyondLogEnd, Self::ForeignCommit, Self::OffsetsExpired];

    pub fn name(self) -> &'static str {
        match self {
            Self::BelowLogStart => "below_log_start",
            Self::TopicRemade => "topic_remade",
            Self::BeyondLogEnd => "beyond_log_end",
            Self::ForeignCommit => "foreign_commit",
            Self::OffsetsExpired => "offsets_expired",
        }
    }

    /// Whether records may be gone for good.
    pub fn loses(self) -> bool {
        matches!(self, Self::BelowLogStart | Self::TopicRemade | Self::BeyondLogEnd)
    }
}

/// A gap as it is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedGap {
    pub topic: String,
    pub partition: i32,
    pub cause: Cause,
    /// Where reading went on.
    pub next_offset: i64,
    /// At most, where all are counted; else those that were known.
    pub passed_over: i64,
    pub counted: bool,
    pub at: Millis,
}

impl NotedGap {
    pub fn key(&self) -> String {
        let Self { topic, partition, cause, next_offset, .. } = self;
        format!("{GAP}/{topic}/{partition}/{}/{next_offset}", cause.name())
    }

    pub fn note(&self) -> Note {
        Note::new(GAP, self.at)
            .with("topic", self.topic.clone())
            .with("partition", self.partition.to_string())
            .with("cause", self.cause.name())
            .with("next_offset", self.next_offset.to_string())
            .with("passed_over", self.passed_over.to_string())
            .with("counted", self.counted.to_string())
    }

    /// None: it is a note of another kind, or of a later version.
    fn of(note: &Note) -> Option<Self> {
        let number = |field: &str| note.get(field)?.parse().ok();
        let cause = note.get("cause")?;
        (note.kind == GAP).then_some(())?;
        Some(Self {
            topic: note.get("topic")?.to_owned(),
            partition: note.get("partition")?.parse().ok()?,
            cause: Cause::ALL.into_iter().find(|known| known.name() == cause)?,
            next_offset: number("next_offset")?,
            passed_over: number("passed_over")?,
            // Notes of before did not say it, or took for all what was known.
            counted: cause != Cause::TopicRemade.name() && note.get("counted").is_none_or(|counted| counted == "true"),
            at: note.at,
        })
    }
}

/// Every gap that nobody has acknowledged, with the key of its note.
pub fn open(notes: &NoteBook) -> BTreeMap<&str, NotedGap> {
    notes.iter().filter_map(|(key, note)| Some((key.as_str(), NotedGap::of(note)?))).collect()
}

/// Whether records of a partition are missing and nobody has said that this is known.
pub fn holds(notes: &NoteBook, topic: &str, partition: i32) -> bool {
    open(notes).values().any(|gap| gap.cause.loses() && gap.topic == topic && gap.partition == partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_open_until_the_note_is_gone_and_holds_where_records_are_missing() {
        let gap = |cause, partition| {
            let topic = "views".to_owned();
            NotedGap { topic, partition, cause, next_offset: 12, passed_over: 7, counted: true, at: 1_767_225_600_000 }
        };
        let (lost, said) = (gap(Cause::BelowLogStart, 1), gap(Cause::ForeignCommit, 2));
        let mut notes: NoteBook = [&lost, &said].into_iter().map(|gap| (gap.key(), gap.note())).collect();
        notes.insert("org".to_owned(), Note::new("org", 0).with("cause", "below_log_start"));
        notes.insert("gap/of/later".to_owned(), Note::new(GAP, 0).with("cause", "moonlight"));
        assert_eq!(open(&notes).into_values().collect::<Vec<_>>(), [lost.clone(), said.clone()]);
        assert!(holds(&notes, "views", 1) && !holds(&notes, "views", 2) && !holds(&notes, "polls", 1));
        notes.remove(&lost.key());
        assert_eq!(open(&notes).into_values().collect::<Vec<_>>(), [said]);
        assert!(!holds(&notes, "views", 1));
    }
}
