//! Records that are gone before anybody can have read them, where a gap holds its partition until somebody has
//! acknowledged it.
//!
//! What is lost are copies of what was read, so that the same comes out in the end.

use std::collections::BTreeMap;

use crate::config::OnGap;
use crate::gap::{self, NotedGap};
use crate::kafka::membership::TopicPartition;
use crate::note::{Note, NoteBook};
use crate::route;
use crate::topic_table::Topic;

use super::History;
use super::feed::{PARTITIONS, Sent};
use super::log::Entry;
use super::seen::{Seen, seen};

impl History {
    pub(super) fn holds(&self) -> bool {
        self.config.fold.on_gap == OnGap::Hold
    }

    /// What befalls a history in which gaps hold, beside everything else.
    pub(super) fn lose_or_acknowledge(&self) {
        match self.kafka.turns.random(|rng| rng.u8(..10)) {
            0..3 => self.lose_copies(),
            3 => self.acknowledge(),
            _ => {}
        }
    }

    /// Copies of one record: the first ones are gone, the others wait behind the gap.
    pub(super) fn lose_copies(&self) {
        let turns = &self.kafka.turns;
        let copied: Vec<&Sent> = self.sent.iter().filter(|sent| folded_where_it_stands(sent)).collect();
        let Some(sent) = turns.random(|rng| rng.choice(&copied).copied()) else { return };
        let topic = sent.input.name(&self.config.topics);
        let (lost, kept) = turns.random(|rng| (rng.usize(1..4), rng.usize(1..4)));
        let logs = &mut self.kafka.broker().logs;
        let committed = logs.own_offsets.get(&(topic.to_owned(), sent.partition)).copied();
        let log = logs.partition(topic, sent.partition);
        // Nothing else is lost with them.
        let Some(read_to) = committed.filter(|committed| *committed == log.end()) else { return };
        seen(Seen::CopiesLost);
        (0..lost).for_each(|_| log.append(sent.entry.clone()));
        log.lose(read_to);
        (0..kept).for_each(|_| log.append(sent.entry.clone()));
    }

    /// Somebody says of every gap that it is known.
    pub(super) fn acknowledge(&self) {
        for key in self.open_gaps().keys() {
            let tombstone = Entry::new(Some(key.as_bytes()), None, self.kafka.wall_clock());
            self.kafka.append(&self.config.topics.notes, 0, tombstone);
        }
    }

    /// Whether nothing is read behind a gap that nobody has acknowledged, whoever owns its partition.
    pub(super) fn gaps_hold(&self) -> Result<(), String> {
        if !self.holds() {
            return Ok(());
        }
        let mut waits_at: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for gap in self.open_gaps().into_values() {
            let at = waits_at.entry((gap.topic, gap.partition)).or_default();
            *at = gap.next_offset.max(*at);
        }
        let logs = &mut self.kafka.broker().logs;
        for (place, at) in waits_at {
            let committed = logs.own_offsets.get(&place).copied().unwrap_or(0);
            if committed > at {
                return Err(format!(
                    "{place:?} waits at {at} until its gap is acknowledged, and was read to {committed}"
                ));
            }
            if logs.partition(&place.0, place.1).end() > at {
                seen(Seen::GapHeld);
            }
        }
        Ok(())
    }

    /// By the keys of their notes.
    pub(super) fn open_gaps(&self) -> BTreeMap<String, NotedGap> {
        let mut book = NoteBook::new();
        for (_, log) in self.kafka.broker().logs.topic(&self.config.topics.notes) {
            for (_, entry) in log.all() {
                let key = String::from_utf8(entry.key.clone().unwrap_or_default()).expect("keys are texts");
                match entry.value.as_deref() {
                    Some(value) => drop(book.insert(key, Note::decode(value).expect("the fold writes notes"))),
                    None => drop(book.remove(&key)),
                }
            }
        }
        let open = gap::open(&book).into_iter().filter(|(_, gap)| gap.cause.loses());
        open.map(|(key, gap)| (key.to_owned(), gap)).collect()
    }
}

/// An event that has no other outcome than to be folded by whoever reads it.
fn folded_where_it_stands(sent: &Sent) -> bool {
    let Entry { key, value, .. } = &sent.entry;
    sent.input != Topic::Sessions
        && value.as_deref().is_some_and(|value| value.starts_with(br#"{"event_id""#))
        && sent.partition == route::partition(key.as_deref().unwrap_or_default(), PARTITIONS)
}
