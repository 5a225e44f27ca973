//! Looks after positions while partitions are read: nothing is passed over without a word.
//!
//! What is found that asks for another place to read from is settled by taking the partitions over anew, so that one
//! place decides (`positions`). Records that are gone are counted, said, and noted until somebody acknowledges it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rdkafka::TopicPartitionList;
use tracing::{error, info, warn};

use crate::dead_letter::Stage;
use crate::gap::{Cause, NotedGap};
use crate::kafka::member::Member;
use crate::kafka::membership::{TopicPartition, listed};
use crate::kafka::positions::Ends;
use crate::kafka::questions::Answer;
use crate::kafka::said;
use crate::kafka::transaction::Outgoing;
use crate::topic_table::Topic;

use crate::stage::fold::unled;

use super::Worker;
use super::asking::Asked;
use crate::stage::fold::gap::Gap;
use crate::stage::fold::inputs::Jump;
use crate::stage::fold::{Error, attempt};

impl<M: Member> Worker<M> {
    /// Now and then compares what is read with what stands in the logs, and settles what could not be before. The
    /// question is answered beside the loop.
    pub(super) fn look(&mut self) -> Result<(), Error> {
        if self.tenure.lost() || self.tenure.taking_over() || self.parts.member.rebalance_pending() {
            return Ok(());
        }
        self.release()?;
        let (now, answering_since) = (self.parts.member.now(), self.parts.member.answering_since());
        if !self.assigned_nothing() && self.asking.due(now, answering_since) {
            self.ask();
        }
        match self.answer()? {
            None => Ok(()),
            Some((asked, Ok(answer))) => {
                self.refuse_remade_states(&answer)?;
                self.settle_rest(&answer)?;
                if self.compare(asked, &answer) { self.take_over_anew() } else { Ok(()) }
            }
            Some((asked, Err(error))) => {
                self.next_offsets.put_back(asked.jumps);
                if let Some(times) = said::again("the ends of the inputs are not known") {
                    warn!(thread = %self.parts.name, error = %error, times, "the ends of the inputs are not known");
                }
                Ok(())
            }
        }
    }

    fn assigned_nothing(&self) -> bool {
        self.next_offsets.assigned().next().is_none()
    }

    /// Reads what has a leader by now.
    fn settle_rest(&mut self, answer: &Answer) -> Result<(), Error> {
        if !self.positions.settling() {
            return Ok(());
        }
        let settled = self.settle_answered(answer);
        if settled.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (input, partition) in settled {
            list.add_partition(input.name(&self.parts.config.topics), partition);
        }
        attempt("resume partitions", self.parts.member.resume(&self.readable(&list)))
    }

    /// True where the partitions are to be taken over anew.
    fn compare(&mut self, asked: Asked, answer: &Answer) -> bool {
        let mut beyond = BTreeSet::new();
        let mut other = false;
        self.judge_jumps(asked.jumps, answer);
        for ((input, partition), asked_at) in asked.positions {
            // What was given up meanwhile is compared by its owner.
            let Some(position) = self.next_offsets.position(input, partition) else { continue };
            self.look_for_leader((input, partition), answer, false);
            let id = answer.topics.get(input.name(&self.parts.config.topics)).and_then(|it| it.id.clone());
            let before = self.positions.id(input);
            if before.is_some() && id.is_some() && before != id.as_deref() {
                other = true;
                continue;
            }
            let Some(ends) = self.ends_of((input, partition), answer) else { continue };
            self.positions.ends_are((input, partition), id.as_deref(), ends);
            if ends.start > position {
                let gap = Gap { cause: Cause::BelowLogStart, passed_over: ends.start - position, counted: true };
                self.gap((input, partition), ends.start, gap);
            }
            self.held_lag((input, partition), ends.end - position);
            if ends.end < asked_at {
                beyond.insert((input, partition));
            }
        }
        // Said twice, it is no answer of a broker that is about to catch up.
        let shorter = self.positions.beyond.intersection(&beyond).next().is_some();
        self.positions.beyond = beyond;
        self.look_for_strangers(answer);
        self.look_for_growth(answer);
        shorter || other
    }

    fn ends_of(&self, partition: (Topic, i32), answer: &Answer) -> Option<Ends> {
        answer.ends.get(&self.place(partition)).copied()
    }

    /// What stands in the log and did not come is a mark of a transaction, or was compacted away.
    fn judge_jumps(&mut self, jumps: Vec<Jump>, answer: &Answer) {
        let (judged, unknown): (Vec<Jump>, Vec<Jump>) =
            jumps.into_iter().partition(|it| self.ends_of((it.input, it.partition), answer).is_some());
        self.next_offsets.put_back(unknown);
        for Jump { input, partition, from, to } in judged {
            let Some(ends) = self.ends_of((input, partition), answer).filter(|ends| ends.start > from) else {
                continue;
            };
            if let Some(position) = self.next_offsets.position(input, partition) {
                let passed_over = ends.start.min(to) - from;
                let gap = Gap { cause: Cause::BelowLogStart, passed_over, counted: true };
                self.gap((input, partition), position, gap);
            }
        }
    }

    pub(super) fn place(&self, (input, partition): (Topic, i32)) -> TopicPartition {
        (input.name(&self.parts.config.topics).to_owned(), partition)
    }

    /// Members stand where they were born, so that these topics never grow: what runs goes on, and nothing starts any more.
    fn look_for_growth(&mut self, answer: &Answer) {
        let config = Arc::clone(&self.parts.config);
        let homes = self.parts.partitions;
        let found = Topic::HOMES.into_iter().find_map(|topic| {
            let name = topic.name(&config.topics);
            let described = answer.topics.get(name).filter(|described| described.partitions != homes)?;
            Some((name, described.partitions))
        });
        let grown = found.map(|(topic, partitions)| {
            if let Some(times) = said::again("a topic that never grows was grown") {
                error!(
                    topic,
                    partitions,
                    born = homes,
                    times,
                    "a topic has other partitions than members were divided among; no instance can start\n  \
                     hint: see `Partitions of Rollbook's own topics` in deploy/runbook.md"
                );
            }
            format!("`{topic}` to have {homes} partitions again, not {partitions}: nothing can start (rollbook topics check)")
        });
        self.positions.grown_is(grown);
    }

    /// A member of our group that is none of ours takes partitions away, and reads for nobody.
    fn look_for_strangers(&mut self, answer: &Answer) {
        let Some(strangers) = answer.strangers.clone() else { return };
        self.parts.metrics.positions.strangers(Stage::Fold).set(i64::try_from(strangers.len()).unwrap_or(i64::MAX));
        if strangers != self.positions.strangers {
            if strangers.is_empty() {
                info!("no other application is a member of the fold's group any more");
            } else {
                let members = strangers.join(", ");
                error!(members, "another application is a member of the fold's group; what it is assigned waits");
            }
            self.positions.strangers = strangers;
        }
    }

    /// Commits what was folded, and takes everything over once more.
    fn take_over_anew(&mut self) -> Result<(), Error> {
        warn!(thread = %self.parts.name, "an input is not what it was; its partitions are taken over anew");
        self.flush()?;
        if self.tenure.lost() {
            return Ok(());
        }
        self.tenure.start_over();
        if self.incremental() {
            self.tenure.skip();
            return self.gain(&[]);
        }
        let assignment = attempt("list the assignment", self.parts.member.assignment())?;
        self.assign(&listed(&assignment))
    }

    /// Something was passed over, or nearly: it is noted in the commit that moves over it, and counted and said when that is
    /// done. Who has lost its partitions without knowing finds gaps that are none: others have read what is gone.
    pub(super) fn gap(&mut self, (input, partition): (Topic, i32), from: i64, gap: Gap) {
        let Gap { cause, passed_over, counted } = gap;
        let config = Arc::clone(&self.parts.config);
        let topic = input.name(&config.topics).to_owned();
        let at = self.parts.member.wall_clock();
        let noted = NotedGap { topic, partition, cause, next_offset: from, passed_over, counted, at };
        let (key, value) = (noted.key(), noted.note().encode());
        let record =
            Outgoing { partition: Some(0), key: Some(key.as_bytes()), value: Some(&value), ..Outgoing::default() };
        self.records.push(Topic::Notes, record);
        self.next_offsets.go_on_at(input, partition, from);
        if cause.loses() && self.holds() {
            self.hold(input, partition, Some((&key, &value)));
        }
        self.tally.gaps.push((input, noted));
    }

    /// Whether an answer tells the ends of a partition. `at_once`: it is not read before.
    pub(super) fn look_for_leader(&mut self, (input, partition): (Topic, i32), answer: &Answer, at_once: bool) {
        let topic = input.name(&self.parts.config.topics);
        let why = unled::why(answer, topic, partition);
        if !self.positions.unled.look((input, partition), why, at_once) {
            return;
        }
        self.parts.metrics.set_stalled(input, partition, why.is_some());
        unled::say(topic, partition, why);
    }
}
