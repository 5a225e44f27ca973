//! What the loop has asked about its logs, and when it asks again.
//!
//! Answers come later, and the loop reads on meanwhile: so what was true when it asked is kept with the question, and an
//! answer is compared with that. Whatever changes hands makes a question void, as its answer may be older than the offsets
//! that the new owner goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaResult;

use crate::dead_letter::Stage;
use crate::kafka;
use crate::kafka::member::Member;
use crate::kafka::questions::{Answer, Question};
use crate::kafka::stall::Stall;
use crate::topic_table::Topic;

use super::Worker;
use crate::stage::fold::Error;
use crate::stage::fold::inputs::Jump;

/// Between two looks at the logs: a gap is noticed within 30 seconds, and the questions cost a few milliseconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// The same while partitions wait to be settled.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
/// Questions that are not answered are asked ever less often.
const INTERVAL_MAX: Duration = Duration::from_mins(1);
/// While brokers answer others an answer takes less, however many of them are away (see `kafka::positions`).
const ANSWERED_WITHIN: Duration = Duration::from_mins(1);
/// Who comes new into the group is noticed sooner, as it brings a rebalance.
const STRANGERS_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Default)]
pub(super) struct Asking {
    asked: Option<(Asked, Stall)>,
    /// Not before.
    next: Option<Instant>,
    /// Questions in a row that were not answered.
    failed: u32,
    /// Since when brokers answered when this was last of interest.
    answering: Option<Instant>,
    strangers_asked: Option<Instant>,
}

/// What was so when it was asked.
#[derive(Default)]
pub(super) struct Asked {
    /// The next offset to be read.
    pub positions: BTreeMap<(Topic, i32), i64>,
    /// Offsets that had not come.
    pub jumps: Vec<Jump>,
}

impl Asking {
    pub fn under_way(&self) -> bool {
        self.asked.is_some()
    }

    /// An outage has no answers, so that nobody asks; and its end is no time to wait for what it has cost.
    pub fn due(&mut self, now: Instant, answering_since: Option<Instant>) -> bool {
        let Some(since) = answering_since else { return false };
        if self.answering.replace(since) != Some(since) && self.failed > 0 {
            (self.next, self.failed) = (None, 0);
        }
        self.asked.is_none() && self.next.is_none_or(|next| now >= next)
    }

    /// Something is taken over: whatever is to be asked is asked at once.
    pub fn begin(&mut self) {
        (self.next, self.failed, self.strangers_asked) = (None, 0, None);
    }

    /// It could not be asked, or not everything was there.
    pub fn soon(&mut self, now: Instant) {
        self.next = Some(now + SETTLE_INTERVAL);
    }

    fn answered(&mut self, now: Instant, settling: bool) {
        self.failed = 0;
        self.next = Some(now + if settling { SETTLE_INTERVAL } else { LOOK_INTERVAL });
    }

    fn not_answered(&mut self, now: Instant, settling: bool) {
        let interval = if settling { SETTLE_INTERVAL } else { LOOK_INTERVAL };
        self.next = Some(now + (interval * 2_u32.saturating_pow(self.failed)).min(INTERVAL_MAX));
        self.failed = self.failed.saturating_add(1).min(10);
    }
}

impl<M: Member> Worker<M> {
    /// Asks about everything that is assigned here.
    pub(super) fn ask(&mut self) {
        let (now, config) = (self.parts.member.now(), &self.parts.config);
        let topics = &config.topics;
        let strangers_due = self.asking.strangers_asked.is_none_or(|then| self.since(then) >= STRANGERS_INTERVAL);
        let strangers = (strangers_due && !self.tenure.restoring())
            .then(|| (kafka::group(config, Stage::Fold.name()), config.application.clone()));
        let place = |(input, partition): (Topic, i32)| (input.name(topics).to_owned(), partition);
        let names: BTreeSet<&str> = Topic::CONSUMED.into_iter().chain(Topic::HOMES).map(|it| it.name(topics)).collect();
        let question = Question {
            topics: names.into_iter().map(str::to_owned).collect(),
            partitions: self.next_offsets.assigned().map(place).collect(),
            strangers,
        };
        if question.strangers.is_some() {
            self.asking.strangers_asked = Some(now);
        }
        self.parts.member.ask(question);
        let positions = self.next_offsets.positions().map(|(input, partition, next)| ((input, partition), next));
        let asked = Asked { positions: positions.collect(), jumps: self.next_offsets.take_jumps() };
        self.asking.asked = Some((asked, Stall::new(now)));
    }

    /// The answer, if it is there by now, with what was so when it was asked.
    pub(super) fn answer(&mut self) -> Result<Option<(Asked, KafkaResult<Answer>)>, Error> {
        let Some((_, stall)) = &self.asking.asked else { return Ok(None) };
        let member = &self.parts.member;
        let Some(answer) = member.answer() else {
            let stalled = stall.stalled(member.now(), member.answering_since(), ANSWERED_WITHIN);
            let waited_for = "ask for the ends of the inputs";
            return if stalled { Err(Error::Stalled { waited_for }) } else { Ok(None) };
        };
        let asked = self.asking.asked.take().map(|(asked, _)| asked).unwrap_or_default();
        let (now, settling) = (self.parts.member.now(), self.positions.settling());
        match answer {
            Ok(_) => self.asking.answered(now, settling),
            Err(_) => self.asking.not_answered(now, settling),
        }
        Ok(Some((asked, answer)))
    }

    /// Nobody waits for the answer any more. What had not come is judged by the next one.
    pub(super) fn forget_question(&mut self) {
        if let Some((asked, _)) = self.asking.asked.take() {
            self.next_offsets.put_back(asked.jumps);
        }
        self.asking.begin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_are_not_answered_are_asked_ever_less_often() {
        let (mut asking, start) = (Asking::default(), Instant::now());
        let since = Some(start);
        assert!(asking.due(start, since));
        let mut pauses = Vec::new();
        let mut now = start;
        for _ in 0..5 {
            asking.not_answered(now, false);
            let next = asking.next.unwrap();
            pauses.push((next - now).as_secs());
            assert!(asking.due(next, since) && !asking.due(now, since));
            now = next;
        }
        assert_eq!(pauses, [10, 20, 40, 60, 60]);
        asking.answered(now, false);
        assert!(asking.due(now + LOOK_INTERVAL, since) && !asking.due(now + LOOK_INTERVAL / 2, since));
        asking.answered(now, true);
        assert!(asking.due(now + SETTLE_INTERVAL, since), "what waits to be settled is asked for soon");
        asking.begin();
        assert!(asking.due(now, since));
    }

    #[test]
    fn nobody_asks_in_an_outage_and_its_end_is_the_end_of_the_pause() {
        let (mut asking, start) = (Asking::default(), Instant::now());
        assert!(asking.due(start, Some(start)));
        for _ in 0..6 {
            asking.not_answered(start, true);
        }
        assert!(!asking.due(start + INTERVAL_MAX, None), "nobody answers");
        assert!(!asking.due(start + SETTLE_INTERVAL, Some(start)), "nothing has changed");
        let back = start + Duration::from_secs(2);
        assert!(asking.due(back, Some(back)));
        asking.not_answered(back, true);
        assert!(!asking.due(back, Some(back)) && asking.due(back + SETTLE_INTERVAL, Some(back)), "it begins anew");
    }
}
