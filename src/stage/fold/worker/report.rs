//! What a fold thread tells of itself at every turn.

use tracing::info;

use crate::kafka::changelog::Changelog;
use crate::kafka::member::Member;
use crate::kafka::membership::Lag;
use crate::kafka::said;
use crate::kafka::transaction::Commits;
use crate::metrics::{Dependency, Metrics, Share};
use crate::topic_table::Topic;

use super::Worker;
use crate::stage::fold::inputs::input_of;

/// What the log says while the schema registry is away.
pub(super) const REGISTRY_WAITED_FOR: &str = "the schema registry is waited for";

/// What this thread adds to gauges that are sums over threads.
pub(super) struct Shares {
    pieces: Share,
    memory: Share,
    /// 1 while something was read, or is derived again, that is not committed.
    commits: Share,
    /// 1 while the schema registry is waited for.
    registry: Share,
}

impl Shares {
    pub fn of(metrics: &Metrics) -> Self {
        Self {
            pieces: Share::of(&metrics.state_entries),
            memory: Share::of(&metrics.state_memory),
            commits: Share::of(&metrics.commit_pending),
            registry: Share::of(&metrics.waiting(Dependency::Registry)),
        }
    }
}

impl<M: Member> Worker<M> {
    /// What is paused has nothing to come.
    fn look_at_fetch(&mut self, input: Topic, lag: &Lag) {
        let paused = self.tenure.restoring() || self.held.is_some() || self.positions.waits(input, lag.partition);
        let (name, now) = (input.name(&self.parts.config.topics), self.parts.member.now());
        let stalled = self.fetches.look_at((input, name), &Lag { paused, ..lag.clone() }, now);
        let unled = self.positions.unled.waits((input, lag.partition));
        self.parts.metrics.set_stalled(input, lag.partition, unled || stalled);
    }

    /// Every thread has the whole catalogue, so whichever reports last is right.
    pub(super) fn report_sessions(&self) {
        self.parts.metrics.catalogue_sessions.set(gauge(self.parts.catalogue.len()));
    }

    /// Whether the schema registry is waited for. The log says so once for all threads.
    pub(super) fn waits_for_registry(&mut self, waits: bool) {
        self.shares.registry.set(waits.into());
        let everybody_has_it = self.parts.metrics.waiting(Dependency::Registry).get() == 0;
        if everybody_has_it && said::over(REGISTRY_WAITED_FOR) {
            info!("the schema registry answers again");
        }
    }

    /// Of partitions that are paused for long librdkafka tells what it knew when it fetched last: nothing to read, while
    /// records pile up. What it has told until now is forgotten, too.
    pub(super) fn lags_are_unknown(&self) {
        drop(self.parts.member.take_lags());
        for (input, partition, _) in self.next_offsets.positions() {
            self.parts.metrics.lag_unknown(input, partition);
        }
        self.parts.health.knows_lag(false);
    }

    pub(super) fn report(&mut self) {
        let lags = self.parts.member.take_lags();
        if !lags.is_empty() || self.tenure.is_empty() || self.positions.reason_changed() {
            let stalled = self.fetches.reason(|input, it| self.next_offsets.has(input, it));
            let open = self.tenure.log().and_then(Changelog::open_transaction);
            self.parts.member.waits_for_records(open.or_else(|| self.positions.reason()).or(stalled));
        }
        for lag in lags {
            let input = input_of(&lag.topic, &self.parts.config.topics);
            // Statistics may still tell of what went to somebody else.
            if let Some(input) = input.filter(|input| self.next_offsets.has(*input, lag.partition)) {
                self.parts.metrics.set_lag(input, lag.partition, lag.records);
                self.look_at_fetch(input, &lag);
                self.pass_marks(input, &lag);
            }
        }
        let metrics = &self.parts.metrics;
        self.parts.health.knows_lag(metrics.lags_known(|topic, it| self.next_offsets.has(topic, it)));
        let committing = self.parts.committer.in_flight() || self.anything_to_commit();
        self.shares.pieces.set(gauge(self.store.pieces()));
        self.shares.memory.set(gauge(self.store.memory()));
        self.shares.commits.set(i64::from(committing));
        self.restoring_share.set(i64::from(self.tenure.taking_over()));
    }
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
