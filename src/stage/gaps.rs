//! What is noted, as metrics: gaps that nobody has acknowledged, and how many notes there are of each kind. Every instance
//! shows those of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Topics;
use crate::gap::{Cause, open};
use crate::kafka::noted::Noted;
use crate::metrics::Metrics;
use crate::note::{self, NoteBook};
use crate::topic_table::Topic;

/// Keeps the metrics; to be dropped with the stages.
pub async fn show(noted: Noted, topics: Topics, metrics: Arc<Metrics>) {
    let mut changes = noted.changes();
    loop {
        if let Some(known) = noted.known() {
            show_once(&known, &topics, &metrics);
        }
        // The reader ends with the process.
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn show_once(notes: &NoteBook, topics: &Topics, metrics: &Metrics) {
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
    for kind in note::KINDS.into_iter().map(Some).chain([None]) {
        let standing = notes.values().filter(|note| note.known_kind() == kind).count();
        metrics.notes.standing(kind).set(i64::try_from(standing).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gap::NotedGap;
    use crate::note::{GAP, Note, ORG};

    #[test]
    fn the_metrics_count_what_is_open_now_and_what_a_later_version_has_noted() {
        let gap = |cause, partition| {
            let topic = Topics::default().views;
            NotedGap { topic, partition, cause, next_offset: 12, passed_over: 7, counted: true, at: 1_767_225_600_000 }
        };
        let (lost, said) = (gap(Cause::BelowLogStart, 1), gap(Cause::ForeignCommit, 2));
        let mut notes: NoteBook = [&lost, &said].into_iter().map(|gap| (gap.key(), gap.note())).collect();
        notes.insert("pause/sink".to_owned(), Note::new("pause", 7));
        let metrics = Metrics::new();
        show_once(&notes, &Topics::default(), &metrics);
        assert_eq!(metrics.positions.open_gaps(Topic::Views, Cause::BelowLogStart).get(), 1);
        let standing = |kind| metrics.notes.standing(kind).get();
        assert_eq!([Some(GAP), Some(ORG), None].map(standing), [2, 0, 1], "one is of a later version");
        notes.remove(&lost.key());
        show_once(&notes, &Topics::default(), &metrics);
        assert_eq!(metrics.positions.open_gaps(Topic::Views, Cause::BelowLogStart).get(), 0);
        assert_eq!(metrics.positions.open_gaps(Topic::Views, Cause::ForeignCommit).get(), 1);
    }
}
