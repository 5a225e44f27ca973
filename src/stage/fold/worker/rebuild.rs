//! Clients that do not get over an outage, or that librdkafka has given up, are made anew while the process goes on.
//!
//! To end the process instead would be simpler, and is what an orchestrator mends; but an outage that takes longer than
//! its patience then leaves nobody, and a client that stands still without an error would not end it at all. A new
//! membership begins as a new process does: what was folded and not committed is forgotten, and read again from where
//! the last commit ended. Whether the last transaction went through does not matter, as folding again changes nothing.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{info, warn};

use crate::kafka::member::Member;
use crate::kafka::transaction::Commits as _;
use crate::kafka::twins::Twin;
use crate::kafka::vigil::Verdict;

use super::{Worker, WorkerParts};
use crate::stage::fold::Error;
use crate::stage::fold::tally::Tally;

/// Between two tries to make clients at all.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// At the shutdown the last commit is waited for so long while Kafka does not answer. Without it events are folded again.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Between two signs of life in a pause.
const BEAT_EVERY: Duration = Duration::from_millis(200);

/// Makes a member and who commits for it.
pub type Join<M> = Box<dyn Fn() -> Result<(M, <M as Member>::Committer), Error> + Send>;

impl Error {
    /// Whether other clients may do what these could not.
    pub(super) fn passes(&self) -> bool {
        match self {
            // Settings that a group refuses it refuses for ever.
            Self::Kafka { source, .. } => !matches!(
                source.rdkafka_error_code(),
                Some(RDKafkaErrorCode::InvalidSessionTimeout | RDKafkaErrorCode::InconsistentGroupProtocol)
            ),
            Self::WornOut(_) | Self::Stalled { .. } | Self::Outside | Self::Outdated => true,
            Self::Twin(_)
            | Self::StateWiped { .. }
            | Self::StateRemade { .. }
            | Self::Born { .. }
            | Self::Restore { .. }
            | Self::Registry(_)
            | Self::Disk(_)
            | Self::Thread { .. } => false,
        }
    }

    /// Whether somebody else was taken for us.
    fn fenced(&self) -> bool {
        if let Self::WornOut(source) = self {
            return fences_producers(source);
        }
        matches!(self, Self::Kafka { source, .. }
            if source.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId))
    }
}

fn fences_producers(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(error.rdkafka_error_code(), Some(Fenced | InvalidProducerEpoch | ProducerFenced))
}

impl<M: Member> Worker<M> {
    /// Goes on with other clients after an error that these cannot get over; other errors come back.
    pub(super) fn mend(&mut self, error: Error) -> Result<(), Error> {
        if !error.passes() || self.parts.shutdown.requested() {
            return Err(error);
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        warn!(thread = %self.parts.name, cause, "{error}; the Kafka clients are made anew, what was not committed is folded again");
        self.parts.metrics.clients_rebuilt.inc();
        let fenced = error.fenced();
        let now = self.parts.member.now();
        if fenced && self.mending.fences.fenced(now, self.parts.member.undisturbed()) {
            let other = self.parts.member.others();
            return Err(Error::Twin(Twin { instance: self.parts.instance.clone(), other }));
        }
        self.forget_membership();
        let pause = self.mending.next_pause(fenced);
        self.pause(pause);
        self.join_again()
    }

    /// Who ends anyway makes no other clients for what these cannot do.
    pub(super) fn after_shutdown(&self, error: Error) -> Result<(), Error> {
        if !error.passes() || !self.parts.shutdown.requested() {
            return Err(error);
        }
        warn!(thread = %self.parts.name, "{error}; what was not committed is folded again by whoever is next");
        Ok(())
    }

    pub(super) fn wait_for_commit(&mut self) -> Result<(), Error> {
        let WorkerParts { committer, health, shutdown, member, .. } = &mut self.parts;
        let mut asked_to_end = None;
        let goes_on = |right: Option<String>| {
            health.beat();
            member.waits(right.map(|right| format!("Kafka denies {right}")));
            if !shutdown.requested() || member.answering_since().is_some() {
                return true;
            }
            let since = *asked_to_end.get_or_insert_with(|| member.now());
            member.now().saturating_duration_since(since) < ENDS_WITHIN
        };
        match committer.wait(goes_on) {
            Some(result) => self.committed(result),
            None => Ok(()),
        }
    }

    fn join_again(&mut self) -> Result<(), Error> {
        while !self.parts.shutdown.requested() {
            match (self.parts.join)() {
                Ok((member, committer)) => {
                    self.parts.committer = committer;
                    self.parts.member = Arc::new(member);
                    self.mending.vigil.heard(self.parts.member.now());
                    info!(thread = %self.parts.name, "the consumer group is joined again");
                    return Ok(());
                }
                Err(error) if error.passes() => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    warn!(thread = %self.parts.name, cause, "{error}; trying again");
                    self.pause(TRY_AGAIN);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As for a process that was killed: whoever owns the partitions next begins where the last commit ended.
    fn forget_membership(&mut self) {
        self.progress.end();
        self.held = None;
        for (input, partition) in self.next_offsets.assigned() {
            self.parts.metrics.forget_partition(input, partition);
        }
        self.forget_question();
        self.positions.clear();
        self.forget_uncommitted();
        self.committing = Tally::default();
        self.tenure.clear();
        self.report_assigned();
        self.restoring_share.set(0);
        self.parts.health.ready(false, "the consumer group is joined again");
        self.parts.member.leave();
    }

    fn pause(&self, pause: Duration) {
        let end = self.parts.member.now() + pause;
        while self.parts.member.now() < end && !self.parts.shutdown.requested() {
            self.parts.health.beat();
            self.parts.member.sleep(BEAT_EVERY);
        }
    }

    /// Whether the group has forgotten the member, or the member the group; and what brokers do not let it do.
    pub(super) fn watch_over(&mut self) -> Result<(), Error> {
        let member = &self.parts.member;
        if member.outdated() {
            return Err(Error::Outdated);
        }
        member.waits(self.parts.committer.missing_right().map(|right| format!("Kafka denies {right}")));
        let (now, answering, arrived) = (member.now(), member.answering_since(), member.arrived());
        let owns = !self.tenure.lost() && !self.tenure.is_empty();
        if self.mending.vigil.look(now, (arrived, owns), answering) == Verdict::Well {
            return Ok(());
        }
        // Who has lost its partitions hears of it from the group.
        if self.tenure.lost() {
            return Err(Error::Outside);
        }
        let listed = member.listed();
        // The question took a while: what has come meanwhile is served first.
        if member.rebalance_pending() {
            return Ok(());
        }
        let (now, arrived) = (member.now(), member.arrived());
        if self.mending.vigil.answered(listed, arrived, now, answering) { Err(Error::Outside) } else { Ok(()) }
    }
}
