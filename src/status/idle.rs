//! Waits until everything is read, folded and written.
//!
//! An instance that says "nothing to read, nothing pending" may have read a record and not made its row yet. So the
//! brokers are asked as well, in the order in which data flows: the fold has committed every record of its inputs, whose
//! rows are on the upserts by then, in the same transaction; then the sink has committed every upsert, which it does for
//! rows with an outcome alone. In between the instance is asked whether it derives rows again, which no offset shows:
//! a statement of the catalogue is one record, and changes the rows of thousands of members after it was committed. All
//! of this has to hold twice in a row, with nothing new on any topic. What a foreign member of our groups has committed
//! proves nothing, and while there is one, what it is assigned is read by nobody.

use std::error::Error;
use std::iter::successors;
use std::thread;
use std::time::{Duration, Instant};

use super::Status;
use crate::config::Config;
use crate::dead_letter::Stage;
use crate::kafka;
use crate::kafka::scan::ScanError;
use crate::kafka::unread::{Ends, Group};
use crate::topic_table::Topic;

/// Between two looks; longer than an instance takes to hear of a catalogue statement that another one has written.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// So often in a row everything has to be done.
const LOOKS: usize = 2;

/// What is waited for, and where.
pub struct Wait<'a> {
    pub config: &'a Config,
    pub stages: Vec<Stage>,
    pub timeout: Duration,
    /// What an instance says of itself, or why nothing is known of it.
    pub ask: &'a dyn Fn() -> Result<Status, String>,
}

/// How it was at the last look.
pub struct Ended {
    /// What is not done; empty: nothing.
    pub open: Vec<String>,
    pub status: Option<Status>,
}

/// The groups whose offsets are looked at; None where the stage is not waited for.
struct Groups {
    fold: Option<Group>,
    sink: Option<Group>,
}

/// One look at everything.
struct Look {
    /// What is not done; empty: nothing.
    open: Vec<String>,
    ends: Ends,
    status: Option<Status>,
}

impl Wait<'_> {
    pub fn run(&self) -> Result<Ended, ScanError> {
        let deadline = Instant::now() + self.timeout;
        let of = |stage: Stage| {
            let group = kafka::group(self.config, stage.name());
            self.stages.contains(&stage).then(|| Group::new(self.config, &group, deadline)).transpose()
        };
        let groups = Groups { fold: of(Stage::Fold)?, sink: of(Stage::Sink)? };
        let mut before: Option<Ends> = None;
        let mut in_a_row = 0;
        loop {
            let look = self.look(&groups);
            in_a_row = match (look.open.is_empty(), before.as_ref() == Some(&look.ends)) {
                (true, true) => in_a_row + 1,
                (true, false) => 1,
                (false, _) => 0,
            };
            let idle = in_a_row >= LOOKS;
            if idle || Instant::now() + LOOK_INTERVAL >= deadline {
                let Look { mut open, status, ends: _ } = look;
                if open.is_empty() && !idle {
                    open.push("it has not lasted yet".to_owned());
                }
                return Ok(Ended { open, status });
            }
            before = Some(look.ends);
            thread::sleep(LOOK_INTERVAL);
        }
    }

    fn look(&self, groups: &Groups) -> Look {
        let mut look = Look { open: Vec::new(), ends: Ends::new(), status: None };
        for group in groups.fold.iter().chain(&groups.sink) {
            strangers(&mut look, group);
        }
        for input in Topic::CONSUMED {
            if let Some(group) = &groups.fold {
                self.committed(&mut look, group, input, "is not folded");
            }
        }
        self.instance(&mut look);
        if let Some(group) = &groups.sink {
            self.committed(&mut look, group, Topic::Upserts, "has rows without an outcome");
        }
        look
    }

    fn committed(&self, look: &mut Look, group: &Group, topic: Topic, what: &str) {
        // The first reason is enough, and the brokers are spared the rest.
        if !look.open.is_empty() {
            return;
        }
        let name = topic.name(&self.config.topics);
        match group.unread(name) {
            Ok((None, ends)) => look.ends.extend(ends),
            Ok((Some(unread), _)) => {
                let (partition, why) = (unread.partition, unread.why());
                look.open.push(format!("partition {partition} of `{name}` {what}: {why}"));
            }
            Err(error) => look.open.push(format!("`{name}` cannot be looked at: {}", chain(&error))),
        }
    }

    /// What the instance knows of itself.
    fn instance(&self, look: &mut Look) {
        match (self.ask)() {
            Ok(status) => {
                look.open.extend(open_in(&status, &self.stages));
                look.status = Some(status);
            }
            Err(why) => look.open.push(why),
        }
    }
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    successors(Some(error), |error| (*error).source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn strangers(look: &mut Look, group: &Group) {
    if !look.open.is_empty() {
        return;
    }
    match group.strangers() {
        Ok(strangers) => look.open.extend(
            strangers.iter().map(|who| format!("{who} is a member of our group: nobody reads what it is assigned")),
        ),
        Err(error) => look.open.push(format!("the members of our groups are not known: {error}")),
    }
}

/// What an instance is not done with, of the work of these stages.
fn open_in(status: &Status, stages: &[Stage]) -> Vec<String> {
    let wanted = |of_sink| stages.contains(if of_sink { &Stage::Sink } else { &Stage::Fold });
    let mut open = Vec::new();
    for it in status.loops.iter().filter(|it| wanted(it.name == Stage::Sink.name())) {
        if let Some(why) = &it.waits_for {
            open.push(format!("{} is not ready: {why}", it.name));
        }
    }
    for lag in status.lag.iter().filter(|lag| wanted(lag.topic == Topic::Upserts.label())) {
        match lag.records {
            None => open.push(format!("it is not known how much of {} there is to read", lag.topic)),
            Some(0) => {}
            Some(records) => open.push(format!("{records} records of {} are not read", lag.topic)),
        }
    }
    if status.fold.as_ref().is_some_and(|fold| wanted(false) && fold.pending_commits > 0) {
        open.push("the fold has something to commit, or derives rows again".to_owned());
    }
    if let Some(sink) = status.sink.as_ref().filter(|sink| wanted(true) && sink.pending_rows > 0) {
        open.push(format!("{} rows have no outcome, {} of them are held", sink.pending_rows, sink.held_rows));
    }
    open
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_work_of_the_stages_that_were_named_is_waited_for() {
        let lag = |topic: &str, records: i64| json!({ "topic": topic, "records": records, "unknown_partitions": 0, "worst_partition": 0, "worst_records": records });
        let status = |of_fold: i64, of_sink: i64| -> Status {
            let waits = |records: i64| (records > 0).then_some("it is behind");
            serde_json::from_value(json!({
                "version": "1", "asked_at": "2026-06-01T12:00:00Z", "started_at": null, "ready": false, "waiting": [],
                "loops": [{ "name": "fold-0", "waits_for": waits(of_fold) }, { "name": "sink", "waits_for": waits(of_sink) }],
                "lag": [lag("views", of_fold), lag(Topic::Upserts.label(), of_sink)],
                "fold": { "partitions": 1, "restore_records": 0, "last_commit_at": null, "pending_commits": of_fold },
                "sink": {
                    "pending_rows": of_sink, "held_rows": 0, "held_by_reason": {}, "in_flight_requests": 0,
                    "window_requests": 1, "bulk_jobs": 0,
                },
                "salesforce": null, "dead_letters": {}, "ignored": null,
            }))
            .expect("as an instance answers")
        };
        for (of_fold, of_sink) in [(3, 0), (0, 3), (3, 3), (0, 0)] {
            let open = |stages: &[Stage]| open_in(&status(of_fold, of_sink), stages).len();
            let per_stage = |records: i64| if records > 0 { 3 } else { 0 };
            assert_eq!(open(&[Stage::Fold]), per_stage(of_fold));
            assert_eq!(open(&[Stage::Sink]), per_stage(of_sink));
            assert_eq!(open(&[Stage::Fold, Stage::Sink]), per_stage(of_fold) + per_stage(of_sink));
        }
    }
}
