//! Watches over a membership: a member that has not come to know its partitions although Kafka answers is made anew.
//!
//! librdkafka may stay outside of its group after an outage, without an assignment, an error or a word. What it says of
//! itself tells one that waits from one that has arrived; what the group says tells one that waits for others (a
//! rebalance takes as long as the slowest member) from one that nobody knows. A member with nothing to do, because there
//! are more members than partitions, has arrived and is listed: it is left alone.

use std::time::{Duration, Instant};

use super::stall::Stall;

/// The limit is so many times the session timeout, halved; and not less than [`LIMIT_MIN`].
const SESSION_HALVES: u32 = 3;
const LIMIT_MIN: Duration = Duration::from_secs(10);
/// So many times the limit a member may wait for others, as the group says that it does.
const JOINING_LIMITS: u32 = 4;

/// What the group says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// One of a group that has its partitions.
    Member,
    /// One of a group that is about to share them out.
    Joining,
    Stranger,
    /// It cannot be asked: it does not answer, or does not list members of this protocol.
    Unknown,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Well,
    /// The group is to be asked.
    Ask,
}

pub struct Vigil {
    limit: Duration,
    /// Moves while librdkafka says that it has arrived, with partitions.
    stall: Stall,
    /// Moves as that does, and whenever the group has given a reason to wait.
    patience: Stall,
}

impl Vigil {
    pub fn new(session_timeout: Duration, now: Instant) -> Self {
        let limit = (session_timeout * SESSION_HALVES / 2).max(LIMIT_MIN);
        Self { limit, stall: Stall::new(now), patience: Stall::new(now) }
    }

    /// The member has heard of its group, or has been heard.
    pub fn heard(&mut self, now: Instant) {
        self.stall.moved(now);
        self.patience.moved(now);
    }

    /// One look. `arrived`: librdkafka says that it knows what it has; `owns`: and that is something.
    pub fn look(&mut self, now: Instant, (arrived, owns): (bool, bool), answering_since: Option<Instant>) -> Verdict {
        if arrived && owns {
            self.heard(now);
        }
        if self.patience.stalled(now, answering_since, self.limit) { Verdict::Ask } else { Verdict::Well }
    }

    /// The group's answer. True where the member is to be made anew.
    pub fn answered(&mut self, listed: Listed, arrived: bool, now: Instant, answering_since: Option<Instant>) -> bool {
        self.patience.moved(now);
        match listed {
            // It says that it has nothing to do, and the group knows it; by KIP-848 its own word must do.
            Listed::Member | Listed::Unknown if arrived => {
                self.stall.moved(now);
                false
            }
            Listed::Joining => self.stall.stalled(now, answering_since, self.limit * JOINING_LIMITS),
            Listed::Member | Listed::Stranger | Listed::Unknown => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(10);

    fn second(start: Instant, second: u64) -> Instant {
        start + Duration::from_secs(second)
    }

    #[test]
    fn a_member_that_never_hears_again_is_made_anew_and_an_outage_is_no_reason() {
        let start = Instant::now();
        let mut vigil = Vigil::new(SESSION, start);
        assert_eq!(vigil.look(second(start, 300), (false, false), None), Verdict::Well, "nobody is answered");
        let back = second(start, 300);
        assert_eq!(vigil.look(second(start, 314), (false, false), Some(back)), Verdict::Well);
        assert_eq!(vigil.look(second(start, 315), (false, false), Some(back)), Verdict::Ask);
        assert!(vigil.answered(Listed::Stranger, false, second(start, 315), Some(back)));
    }

    #[test]
    fn one_of_more_members_than_partitions_is_left_alone() {
        let start = Instant::now();
        let mut vigil = Vigil::new(SESSION, start);
        let mut asked = 0;
        for at in 1..1_000 {
            let now = second(start, at);
            if vigil.look(now, (true, false), Some(start)) == Verdict::Ask {
                asked += 1;
                let listed = if asked % 2 == 0 { Listed::Member } else { Listed::Unknown };
                assert!(!vigil.answered(listed, true, now, Some(start)), "{listed:?}");
            }
        }
        assert!((50..100).contains(&asked), "now and then: {asked}");
    }

    #[test]
    fn who_waits_for_others_may_do_so_and_not_for_ever() {
        let start = Instant::now();
        let mut vigil = Vigil::new(SESSION, start);
        let mut over = None;
        for at in 1..200 {
            let now = second(start, at);
            let asks = vigil.look(now, (false, false), Some(start)) == Verdict::Ask;
            if asks && vigil.answered(Listed::Joining, false, now, Some(start)) {
                over = Some(at);
                break;
            }
        }
        assert_eq!(over, Some(60));
        let mut vigil = Vigil::new(SESSION, start);
        assert!(vigil.answered(Listed::Stranger, true, second(start, 20), Some(start)), "nobody knows it");
        vigil.heard(start);
    }
}
