//! Whether rows go by composite calls or as a Bulk job: a pure rule, whose table is in docs/sink.md.
//!
//! A job costs the same handful of calls whether it holds two thousand rows or a hundred thousand, a composite call holds
//! a thousand rows. But a job is carried out when Salesforce finds the time, and until it has ended nothing else goes to
//! its campaigns. So a burst that people wait for goes by composite calls until jobs are cheaper by far; rows that nobody
//! waits for, or rows for which there are too few calls, go the cheaper way.

use std::collections::BTreeMap;

use crate::time::Millis;
use crate::upsert::Object;

/// Calls of a job: create, upload, close, three polls and two results.
pub const JOB_CALLS: usize = 8;

/// Whoever waited so long does not mind minutes more.
const OLD_MS: Millis = 3_600_000;

/// What waits to be sent.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// Rows of each object that could go now, and those that are still to be read.
    pub rows: BTreeMap<Object, usize>,
    /// How long ago the oldest event behind them was.
    pub age: Millis,
    /// What is ours of the calls of the day and not spent; None where Salesforce has told nothing.
    pub calls_left: Option<i64>,
}

/// What the settings say.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Rows that a composite call holds.
    pub call_rows: usize,
    /// Calls that a job takes.
    pub job_calls: usize,
    /// Fewer rows are no job; 0: there are no jobs.
    pub job_rows_min: usize,
    /// So many times the calls of a job may be spent on rows that people wait for.
    pub patience: usize,
}

/// The objects whose rows go as a job.
pub fn by_bulk(backlog: &Backlog, costs: Costs) -> Vec<Object> {
    let calls = |rows: usize| rows.div_ceil(costs.call_rows.max(1));
    let all: usize = backlog.rows.values().map(|rows| calls(*rows)).sum();
    // Twice what the backlog takes: there is a rest of the day.
    let short = backlog.calls_left.is_some_and(|left| usize::try_from(left).unwrap_or(0) < all * 2);
    let patience = if short || backlog.age >= OLD_MS { costs.patience.min(1) } else { costs.patience };
    let cheaper =
        |rows: usize| costs.job_rows_min > 0 && rows >= costs.job_rows_min && calls(rows) > patience * costs.job_calls;
    backlog.rows.iter().filter(|(_, rows)| cheaper(**rows)).map(|(object, _)| *object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs { call_rows: 1_000, job_calls: JOB_CALLS, job_rows_min: 2_000, patience: 4 };

    fn objects(rows: [usize; 3], age: Millis, calls_left: Option<i64>) -> Vec<Object> {
        let rows = Object::ALL.into_iter().zip(rows).collect();
        by_bulk(&Backlog { rows, age, calls_left }, COSTS)
    }

    /// The table of the documentation: rows of the members, age in minutes, calls left, and which way they go.
    #[test]
    fn the_table_of_the_documentation_is_the_rule() {
        let listed = include_str!("../../../../docs/sink.md");
        let rows = [
            (8_000, 0, Some(15_000), false),
            (8_001, 60, Some(15_000), true),
            (32_000, 0, Some(15_000), false),
            (32_001, 0, Some(15_000), true),
            (20_000, 0, Some(40), false),
            (20_000, 0, Some(39), true),
            (150_000, 0, None, true),
        ];
        for (rows, minutes, left, bulk) in rows {
            let chosen = objects([rows, 0, 0], minutes * 60_000, left);
            assert_eq!(!chosen.is_empty(), bulk, "{rows} rows, {minutes} minutes, {left:?} left");
            let grouped =
                if rows >= 1_000 { format!("{},{:03}", rows / 1_000, rows % 1_000) } else { rows.to_string() };
            let left = match left {
                None => "not known".to_owned(),
                Some(left @ 1_000..) => format!("{},{:03}", left / 1_000, left % 1_000),
                Some(left) => left.to_string(),
            };
            let age = if minutes == 0 { "now".to_owned() } else { "an hour".to_owned() };
            let line = format!("| {grouped} | {age} | {left} | {} |", if bulk { "Bulk" } else { "composite" });
            assert!(listed.contains(&line), "docs/sink.md lacks {line}");
        }
    }

    #[test]
    fn each_object_is_judged_by_its_own_rows_and_too_few_are_no_job() {
        assert_eq!(objects([40_000, 30_000, 0], 0, Some(15_000)), [Object::CAMPAIGN_MEMBER]);
        let all = [Object::CAMPAIGN_MEMBER, Object::ENGAGEMENT, Object::POLLS];
        assert_eq!(objects([40_000, 40_000, 40_000], 0, Some(15_000)), all);
        let small = Costs { call_rows: 10, ..COSTS };
        let rows = BTreeMap::from([(Object::POLLS, 1_999)]);
        assert_eq!(by_bulk(&Backlog { rows, age: OLD_MS, calls_left: None }, small), []);
        let rows = BTreeMap::from([(Object::POLLS, 2_000)]);
        assert_eq!(by_bulk(&Backlog { rows, age: OLD_MS, calls_left: None }, small), [Object::POLLS]);
    }

    #[test]
    fn a_minimum_of_nothing_turns_jobs_off() {
        let rows = BTreeMap::from([(Object::POLLS, 1_000_000)]);
        let off = Costs { job_rows_min: 0, ..COSTS };
        assert_eq!(by_bulk(&Backlog { rows, age: OLD_MS, calls_left: Some(1) }, off), []);
    }
}
