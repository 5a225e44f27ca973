//! Gaps that nobody has acknowledged: on `rollbook.notes`, so that they outlive the process that met them.
//!
//! A gap is noted in the transaction that moves over it, under a key that the same gap has whoever meets it. A person
//! who has seen to it removes the note (`rollbook gaps ack`); until then every instance shows it, and where
//! `fold.on_gap` is `hold` its partition waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kafka::notes::{NoteBook, Notes};
use crate::kafka::positions::Cause;
use crate::kafka::topics::Topic;
use crate::metrics::Metrics;
use crate::note::Note;
use crate::time::Millis;

/// Kind of the notes.
pub const KIND: &str = "gap";

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
        format!("{KIND}/{topic}/{partition}/{}/{next_offset}", cause.name())
    }

    pub fn note(&self) -> Note {
        Note::new(KIND, self.at)
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
        (note.kind == KIND).then_some(())?;
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

/// Keeps the metric of the open gaps; to be dropped with the stages.
pub async fn show(notes: Notes, topics: crate::config::Topics, metrics: Arc<Metrics>) {
    let mut changes = notes.changes();
    loop {
        if let Some(known) = notes.known() {
            show_once(&known, &topics, &metrics);
        }
        // The follower ends with the process.
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn show_once(notes: &NoteBook, topics: &crate::config::Topics, metrics: &Metrics) {
    let mut counts: BTreeMap<(Topic, Cause), i64> = BTreeMap::new();
    for gap in open(notes).values() {
        // One of a topic that has another name by now is listed all the same, and shown by none.
        if let Some(topic) = Topic::ALL.into_iter().find(|topic| topic.name(topics) == gap.topic) {
            *counts.entry((topic, gap.cause)).or_default() += 1;
        }
    }
    for (topic, cause) in Topic::POSITIONED.into_iter().flat_map(|topic| Cause::ALL.map(|cause| (topic, cause))) {
        metrics.positions.open_gaps(topic, cause).set(counts.get(&(topic, cause)).copied().unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Topics;

    fn gap(cause: Cause, partition: i32) -> NotedGap {
        let topic = Topics::default().views;
        NotedGap { topic, partition, cause, next_offset: 12, passed_over: 7, counted: true, at: 1_767_225_600_000 }
    }

    #[test]
    fn what_is_noted_is_open_until_the_note_is_gone_and_holds_where_records_are_missing() {
        let (lost, said) = (gap(Cause::BelowLogStart, 1), gap(Cause::ForeignCommit, 2));
        let mut notes: NoteBook = [&lost, &said].into_iter().map(|gap| (gap.key(), gap.note())).collect();
        notes.insert("org".to_owned(), Note::new("org", 0).with("cause", "below_log_start"));
        notes.insert("gap/of/later".to_owned(), Note::new(KIND, 0).with("cause", "moonlight"));
        assert_eq!(open(&notes).into_values().collect::<Vec<_>>(), [lost.clone(), said]);
        let views = Topics::default().views;
        assert!(holds(&notes, &views, 1) && !holds(&notes, &views, 2) && !holds(&notes, "polls", 1));
        let metrics = Metrics::new();
        show_once(&notes, &Topics::default(), &metrics);
        assert_eq!(metrics.positions.open_gaps(Topic::Views, Cause::BelowLogStart).get(), 1);
        notes.remove(&lost.key());
        show_once(&notes, &Topics::default(), &metrics);
        assert_eq!(metrics.positions.open_gaps(Topic::Views, Cause::BelowLogStart).get(), 0);
        assert_eq!(metrics.positions.open_gaps(Topic::Views, Cause::ForeignCommit).get(), 1);
    }
}
