//! Partitions that come and go.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use super::positions::Positions;
use super::{RECORD_WAIT, Sink, outbox};
use crate::topic_table::Topic;

/// Partitions that leave as soon as they are quiet.
pub(super) struct Handover {
    pub partitions: Vec<i32>,
    pub deadline: Instant,
    /// None at the shutdown.
    pub reply: Option<std_mpsc::SyncSender<LastOffsets>>,
}

/// A log, and what is to be committed of it.
pub type LastOffsets = (u32, Vec<(i32, i64)>);

/// Which rows nobody reads again, as an orderly stop asks: the topic may be deleted, or made anew, and nobody has noticed.
pub(super) struct Ending {
    positions: Arc<Positions>,
    asked: JoinSet<u32>,
    /// Those of logs before this one.
    gone_below: Option<u32>,
    /// What did not end in time was given up.
    late: bool,
}

impl Ending {
    pub fn new(positions: Arc<Positions>) -> Self {
        Self { positions, asked: JoinSet::new(), gone_below: None, late: false }
    }

    fn ask(&mut self) {
        let positions = Arc::clone(&self.positions);
        self.asked.spawn_blocking(move || positions.gone_below());
    }

    /// The answer, where it is asked for.
    pub async fn answered(&mut self) -> Option<u32> {
        let answer = self.asked.join_next().await?;
        Some(answer.unwrap_or_else(|_| self.positions.log()))
    }

    pub fn take(&mut self, gone_below: u32) {
        self.gone_below = Some(gone_below);
    }
}

impl Sink<'_> {
    /// Rows of a log that is gone go before those of the new one, and behind what jobs carry.
    pub(super) fn take_places(&mut self) {
        if self.takeover.is_empty()
            && !self.stopping
            && let Some(places) = self.places.take()
        {
            self.outbox.placed(&places, self.clock.now());
        }
    }

    pub(super) fn revoked(
        &mut self,
        (partitions, unread): (Vec<i32>, Vec<outbox::Source>),
        reply: std_mpsc::SyncSender<LastOffsets>,
    ) {
        self.assigned = None;
        self.takeover = JoinSet::new();
        self.places = None;
        self.to_read.clear();
        for partition in &partitions {
            self.process.forget_lag(Topic::Upserts, *partition);
        }
        let now = self.clock.now();
        self.outbox.revoke(&partitions, now);
        // The thread is inside the rebalance: what is in the channel was read before it.
        while let Ok(source) = self.records.try_recv() {
            self.outbox.push(source, now);
        }
        for source in unread {
            self.outbox.push(source, now);
        }
        let deadline = Instant::now() + self.handover_wait;
        self.handover = Some(Handover { partitions, deadline, reply: Some(reply) });
    }

    pub(super) fn stop(&mut self) {
        info!(in_flight = self.outbox.in_flight(), "sink stops");
        self.stopping = true;
        let partitions = self.outbox.partitions();
        self.outbox.revoke(&partitions, self.clock.now());
        self.ending.ask();
        let deadline = Instant::now() + self.handover_wait;
        let handover = self.handover.get_or_insert(Handover { partitions: Vec::new(), deadline, reply: None });
        handover.partitions.extend(partitions);
    }

    /// Rows that nobody reads again have their letters before the process ends, also those whose calls failed meanwhile.
    fn give_up_gone(&mut self) {
        if let Some(gone_below) = self.ending.gone_below.filter(|_| self.stopping) {
            self.outbox.give_up_gone(gone_below, self.clock.now());
        }
    }

    /// Lets partitions go once nothing of theirs is in flight.
    pub(super) fn hand_over(&mut self) {
        self.give_up_gone();
        let Some(handover) = self.handover.take() else { return };
        let known = !self.stopping || self.ending.gone_below.is_some();
        let quiet = known && self.outbox.quiet(&handover.partitions);
        if !quiet && Instant::now() < handover.deadline {
            self.handover = Some(handover);
            return;
        }
        let offsets = self.outbox.leave(&handover.partitions, self.clock.now());
        let log = self.outbox.log();
        if self.stopping && !quiet && !self.ending.late {
            // Crash here, or Kafka is away: rows of a log that is gone have no outcome.
            self.ending.late = true;
            self.ending.gone_below.get_or_insert(self.ending.positions.log());
            self.give_up_gone();
            let deadline = Instant::now() + RECORD_WAIT;
            self.handover = Some(Handover { partitions: handover.partitions, deadline, reply: None });
        }
        match handover.reply {
            // Crash here: the offsets are not committed; the next owner sends these rows again, which changes nothing.
            Some(reply) => {
                // The thread has stopped waiting; the rows are read again.
                let _late = reply.send((log, offsets));
            }
            None => self.last_offsets.extend(offsets),
        }
    }
}
