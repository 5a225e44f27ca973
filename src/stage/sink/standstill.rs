//! Notices that the loop stood still, and holds back what it would send until the partitions are known to be ours.
//!
//! A process that was frozen for longer than the group waits has lost its partitions and does not know it yet. Its
//! pending rows may be older than what their new owner has written since, and Salesforce has no version to refuse them
//! by. So the first thing after a stand-still is a commit, which the group refuses to a former member.

use std::time::Duration;

use tokio::time::Instant;

/// Well below any session timeout that a broker takes (6 s, unless it is told otherwise). A false alarm costs a commit.
const STANDSTILL: Duration = Duration::from_secs(2);

/// Pause before the group is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub struct Standstill {
    last_turn: Instant,
    /// When the group is to be asked; None: the partitions are ours.
    ask_at: Option<Instant>,
    /// A question is under way.
    asked: bool,
}

impl Standstill {
    pub fn new(now: Instant) -> Self {
        Self { last_turn: now, ask_at: None, asked: false }
    }

    /// One turn of the loop. True where the group is to be asked now.
    pub fn turn(&mut self, now: Instant) -> bool {
        if now.duration_since(self.last_turn) >= STANDSTILL {
            self.ask_at = Some(now);
            // An answer from before the stand-still says nothing.
            self.asked = false;
        }
        self.last_turn = now;
        let ask = !self.asked && self.ask_at.is_some_and(|at| at <= now);
        self.asked |= ask;
        ask
    }

    /// Whether nothing may be sent.
    pub fn unsure(&self) -> bool {
        self.ask_at.is_some()
    }

    /// When the loop must turn again for this.
    pub fn wake_at(&self) -> Option<Instant> {
        self.ask_at.filter(|_| !self.asked)
    }

    /// The group's answer. A refusal, or a broker that is away: asked again, until a rebalance settles it.
    pub fn answered(&mut self, ours: bool, now: Instant) {
        if self.asked {
            self.asked = false;
            self.ask_at = (!ours).then(|| now + ASK_AGAIN);
        }
    }

    /// A new assignment is ours.
    pub fn assigned(&mut self) {
        self.ask_at = None;
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_standstill_nothing_is_sent_until_the_group_has_answered() {
        let start = Instant::now();
        let mut standstill = Standstill::new(start);
        assert!(!standstill.turn(start + STANDSTILL / 2));
        assert!(!standstill.unsure());
        let woken = start + STANDSTILL * 2;
        assert!(standstill.turn(woken));
        assert!(!standstill.turn(woken), "asked once");
        assert!(standstill.unsure());
        standstill.answered(false, woken);
        assert_eq!(standstill.wake_at(), Some(woken + ASK_AGAIN));
        assert!(standstill.turn(woken + ASK_AGAIN));
        standstill.answered(true, woken + ASK_AGAIN);
        assert!(!standstill.unsure());
    }

    #[test]
    fn an_assignment_settles_it_and_a_late_answer_is_none() {
        let start = Instant::now();
        let mut standstill = Standstill::new(start);
        assert!(standstill.turn(start + STANDSTILL));
        standstill.assigned();
        standstill.answered(false, start + STANDSTILL);
        assert!(!standstill.unsure());
    }
}
