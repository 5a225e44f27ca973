//! Watches over a membership: a member that has not come to know its partitions although Kafka answers is made anew.
//!
//! librdkafka may stay outside of its group after an outage, without an assignment, an error or a word. What it says of
//! itself tells one that waits from one that has arrived; what the group says tells one that waits for others (a
//! rebalance takes as long as the slowest member) from one that nobody knows. A member with nothing to do, because there
//! are more members than partitions, has arrived and is listed: it is left alone. The group is asked twice before a
//! member is given up: the answer may be of a moment ago, and a rebalance may have ended meanwhile.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaResult;

use super::native::groups::Group;
use super::stall::Stall;

/// The limit is so many times the session timeout, halved; and not less than [`LIMIT_MIN`].
const SESSION_HALVES: u32 = 3;
const LIMIT_MIN: Duration = Duration::from_secs(10);
/// So many times the limit a member may wait for others, as the group says that it does.
const JOINING_LIMITS: u32 = 4;
/// Between an answer that speaks against the member and the question whether it still holds.
const DOUBT_FOR: Duration = Duration::from_secs(2);

/// What the group says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// One of a group that has its partitions.
    Member,
    /// One of a group that is about to share them out.
    Joining,
    Stranger,
    /// It does not answer, or its answer says nothing that is of use here.
    Unknown,
}

impl Listed {
    /// Of a group by KIP-848 it counts alone that one waits for others there, who are slow to give up what it is to have:
    /// the rest a member is told itself.
    pub fn waiting(found: &KafkaResult<Group>, client_id: &str) -> Self {
        let waits = |group: &Group| !group.stable && group.members.iter().any(|member| member.client_id == client_id);
        if found.as_ref().is_ok_and(waits) { Self::Joining } else { Self::Unknown }
    }
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
    /// The group's last answer spoke against the member.
    doubted: Option<Instant>,
}

impl Vigil {
    pub fn new(session_timeout: Duration, now: Instant) -> Self {
        let limit = (session_timeout * SESSION_HALVES / 2).max(LIMIT_MIN);
        Self { limit, stall: Stall::new(now), patience: Stall::new(now), doubted: None }
    }

    /// The member has heard of its group, or has been heard.
    pub fn heard(&mut self, now: Instant) {
        self.stall.moved(now);
        self.patience.moved(now);
        self.doubted = None;
    }

    /// One look. `arrived`: librdkafka says that it knows what it has; `owns`: and that is something.
    pub fn look(&mut self, now: Instant, (arrived, owns): (bool, bool), answering_since: Option<Instant>) -> Verdict {
        if arrived && owns {
            self.heard(now);
        }
        if answering_since.is_none() {
            self.doubted = None;
        }
        let doubts = self.doubted.is_some_and(|doubted| now.saturating_duration_since(doubted) >= DOUBT_FOR);
        if doubts || self.patience.stalled(now, answering_since, self.limit) { Verdict::Ask } else { Verdict::Well }
    }

    /// The group's answer; `arrived` as it is after it. True where the member is to be made anew.
    pub fn answered(&mut self, listed: Listed, arrived: bool, now: Instant, answering_since: Option<Instant>) -> bool {
        self.patience.moved(now);
        let doubted = self.doubted.take();
        match listed {
            // It says that it has nothing to do, and the group knows it; by KIP-848 its own word must do.
            Listed::Member | Listed::Unknown if arrived => {
                self.stall.moved(now);
                false
            }
            Listed::Joining => self.stall.stalled(now, answering_since, self.limit * JOINING_LIMITS),
            Listed::Member | Listed::Stranger | Listed::Unknown => {
                self.doubted = Some(doubted.unwrap_or(now));
                doubted.is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    use super::super::native::groups::GroupMember;
    use super::*;

    /// It was made anew over and over for as long as a slow member kept what it was to have.
    #[test]
    fn a_member_by_kip_848_has_patience_with_others_and_no_other_answer_counts() {
        let group = |stable, client_id: &str| {
            let member = GroupMember { client_id: client_id.to_owned(), host: "/10.0.0.7".to_owned() };
            Ok(Group { members: vec![member], stable, allowed: None })
        };
        assert_eq!(Listed::waiting(&group(false, "one"), "one"), Listed::Joining);
        for found in [
            group(true, "one"),
            group(false, "two"),
            Ok(Group::default()),
            Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut)),
        ] {
            assert_eq!(Listed::waiting(&found, "one"), Listed::Unknown, "{found:?}");
        }
        let (mut vigil, start) = (Vigil::new(SESSION, Instant::now()), Instant::now());
        let anew = (15..60).step_by(5).find(|at| {
            let now = second(start, *at);
            vigil.look(now, (false, false), Some(start)) == Verdict::Ask
                && vigil.answered(Listed::waiting(&group(false, "one"), "one"), false, now, Some(start))
        });
        assert_eq!(anew, None);
    }

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
        assert!(!vigil.answered(Listed::Stranger, false, second(start, 315), Some(back)), "it is asked twice");
        assert_eq!(vigil.look(second(start, 316), (false, false), Some(back)), Verdict::Well);
        assert_eq!(vigil.look(second(start, 317), (false, false), Some(back)), Verdict::Ask);
        assert!(vigil.answered(Listed::Stranger, false, second(start, 317), Some(back)));
    }

    /// The group was asked while it shared its partitions out: the answer is of before, the assignment of after.
    #[test]
    fn a_rebalance_that_ends_while_the_group_is_asked_is_no_reason() {
        let start = Instant::now();
        let mut vigil = Vigil::new(SESSION, start);
        assert_eq!(vigil.look(second(start, 15), (false, false), Some(start)), Verdict::Ask);
        assert!(!vigil.answered(Listed::Member, false, second(start, 18), Some(start)));
        assert_eq!(vigil.look(second(start, 18), (true, true), Some(start)), Verdict::Well, "it has its partitions");
        assert_eq!(vigil.look(second(start, 20), (true, true), Some(start)), Verdict::Well);
        assert_eq!(vigil.look(second(start, 35), (false, false), Some(start)), Verdict::Ask);
        assert!(!vigil.answered(Listed::Stranger, false, second(start, 35), Some(start)), "the doubt was over");
        assert_eq!(vigil.look(second(start, 36), (false, false), None), Verdict::Well);
        assert_eq!(vigil.look(second(start, 40), (false, false), Some(second(start, 37))), Verdict::Well, "an outage");
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
        assert!(!vigil.answered(Listed::Stranger, true, second(start, 20), Some(start)), "nobody knows it");
        assert!(vigil.answered(Listed::Stranger, true, second(start, 22), Some(start)), "nobody ever will");
    }
}
