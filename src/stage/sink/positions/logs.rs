//! Which log is read: a topic that is deleted and made anew has another one, whose offsets say nothing of the one before.

use std::sync::atomic::Ordering;

use super::{Positions, Seen};
use crate::stage::sink::outbox::Places;

impl Positions {
    /// The topic was told, and is another one where its id is.
    pub(super) fn count_log(&self, seen: &mut Seen) {
        if seen.last_id.is_some() && seen.topic_id.is_some() && seen.last_id != seen.topic_id {
            self.log.fetch_add(1, Ordering::AcqRel);
        }
        seen.last_id = seen.topic_id.clone().or(seen.last_id.take());
        if seen.places.is_none() {
            seen.places = Some(seen.assigned.iter().map(|partition| (*partition, None)).collect());
        }
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
