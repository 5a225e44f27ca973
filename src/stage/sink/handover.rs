//! Partitions that come and go.

use std::sync::mpsc as std_mpsc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use super::{Sink, outbox};
use crate::kafka::topics::Topic;

/// Partitions that leave as soon as they are quiet.
pub(super) struct Handover {
    pub partitions: Vec<i32>,
    pub deadline: Instant,
    /// None at the shutdown.
    pub reply: Option<std_mpsc::SyncSender<Vec<(i32, i64)>>>,
}

impl Sink<'_> {
    /// Rows of a log that is gone go before those of the new one, and behind what jobs carry.
    pub(super) fn take_places(&mut self) {
        if self.takeover.is_empty()
            && let Some(places) = self.places.take()
        {
            self.outbox.placed(&places, self.clock.now());
        }
    }

    pub(super) fn revoked(
        &mut self,
        (partitions, unread): (Vec<i32>, Vec<outbox::Source>),
        reply: std_mpsc::SyncSender<Vec<(i32, i64)>>,
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
        self.outbox.give_up_gone(self.clock.now());
        if self.handover.is_none() {
            let deadline = Instant::now() + self.handover_wait;
            self.handover = Some(Handover { partitions, deadline, reply: None });
        }
    }

    /// Lets partitions go once nothing of theirs is in flight.
    pub(super) fn hand_over(&mut self) {
        let Some(handover) = self.handover.take() else { return };
        if !self.outbox.quiet(&handover.partitions) && Instant::now() < handover.deadline {
            self.handover = Some(handover);
            return;
        }
        let offsets = self.outbox.leave(&handover.partitions, self.clock.now());
        match handover.reply {
            // Crash here: the offsets are not committed; the next owner sends these rows again, which changes nothing.
            Some(reply) => {
                // The thread has stopped waiting; the rows are read again.
                let _late = reply.send(offsets);
            }
            None => self.last_offsets = offsets,
        }
    }
}
