//! Which log is read: a topic that is deleted and made anew has another one, whose offsets say nothing of the one before.

use std::sync::atomic::Ordering;

use rdkafka::consumer::Consumer;

use super::{ANSWERS_WITHIN, Positions, Seen};
use crate::kafka::native::topics::{self, look};
use crate::kafka::questions::Answer;
use crate::stage::sink::outbox::Places;

impl Positions {
    /// The topic was told, and is another one where its id is.
    pub(super) fn count_log(&self, seen: &mut Seen) {
        if seen.last_id.is_some() && seen.topic_id.is_some() && seen.last_id != seen.topic_id {
            self.log.fetch_add(1, Ordering::AcqRel);
        }
        seen.last_id = seen.topic_id.clone().or(seen.last_id.take());
        if seen.places.is_none() {
            seen.places = Some(seen.assigned.iter().flatten().map(|partition| (*partition, None)).collect());
        }
    }

    /// Tells which log is read where nobody could say so at the assignment: also of one without partitions, as rows that
    /// were read wait for it. True where it is told now.
    pub(super) fn told_late(&self, answer: &Answer) -> bool {
        let mut seen = self.seen();
        let described = answer.topics.get(&self.config.topics.upserts);
        let Some(described) = described.filter(|_| seen.assigned.is_some() && seen.places.is_none()) else {
            return false;
        };
        seen.topic_id.clone_from(&described.id);
        self.count_log(&mut seen);
        true
    }

    /// What is waited for where nobody says which log is read.
    pub(super) fn untold(&self, seen: &Seen, answer: &Answer) -> Option<String> {
        let topic = &self.config.topics.upserts;
        let told = seen.assigned.is_none() || seen.places.is_some() || answer.topics.contains_key(topic);
        (!told).then(|| format!("topic `{topic}` cannot be described: nobody knows whether rows are read again"))
    }

    /// Rows of logs before this one nobody reads again, as the broker says now. Where it does not answer, none of the log
    /// that was read last are meant: letters of them could not be written either.
    pub fn gone_below(&self) -> u32 {
        let topic = self.config.topics.upserts.as_str();
        let asked = self.clients().and_then(|ours| look(ours.client.client(), &[topic], false, ANSWERS_WITHIN));
        let seen = self.seen();
        let gone = match asked.ok().and_then(|mut all| all.remove(topic)) {
            Some(topics::Seen::Absent) => true,
            Some(topics::Seen::There(found, _)) => {
                seen.last_id.is_some() && found.id.is_some() && found.id != seen.last_id
            }
            Some(topics::Seen::Denied | topics::Seen::Unknown) | None => false,
        };
        self.log() + u32::from(gone)
    }

    /// Which log is read.
    pub fn log(&self) -> u32 {
        self.log.load(Ordering::Acquire)
    }

    /// What the assignment reads, as far as it is known. None: not even which log.
    pub fn places(&self) -> Option<Places> {
        let partitions = self.seen().places.clone()?;
        Some(Places { log: self.log(), partitions })
    }
}
