//! The picture as text for a terminal: a line per question, aligned, times in UTC to the minute.

use std::fmt::{self, Display, Formatter};

use indicatif::HumanCount;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::event::Sample;

use super::{Calls, Fold, Forecast, Ignored, Lag, Salesforce, Sink, Status};

/// Kinds of mistakes that are shown; there are rarely more, and the list is a command of its own.
const MISTAKES_SHOWN: usize = 3;

/// Of the names at the left.
const NAME_WIDTH: usize = 14;

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let up = self.started_at.map(|at| format!(", up since {}", self.time(at))).unwrap_or_default();
        line(f, "rollbook", &format!("{}{up}", self.version))?;
        line(f, "ready", if self.ready { "yes" } else { "no" })?;
        for it in &self.loops {
            let why = it.waits_for.as_deref().map(|why| format!("not yet: {why}"));
            line(f, &format!("  {}", it.name), why.as_deref().unwrap_or("yes"))?;
        }
        if !self.waiting.is_empty() {
            line(f, "waiting for", &self.waiting.join(", "))?;
        }
        self.lag(f)?;
        if let Some(fold) = &self.fold {
            line(f, "fold", &self.folding(fold))?;
        }
        if let Some(sink) = &self.sink {
            sink.lines(f)?;
        }
        let letters: Vec<String> =
            self.dead_letters.iter().map(|(stage, count)| format!("{stage} {}", grouped(*count))).collect();
        if !letters.is_empty() {
            line(f, "dead letters", &format!("{} since the start", letters.join(", ")))?;
        }
        if let Some(ignored) = &self.ignored {
            ignored.lines(f)?;
        }
        self.gaps.lines(f)?;
        if let Some(salesforce) = &self.salesforce {
            line(f, "calls", &self.calls(salesforce.calls.as_ref()))?;
            line(f, "forecast", &self.forecast(&salesforce.forecast))?;
            line(f, "stopped", salesforce.stopped())?;
        }
        Ok(())
    }
}

impl Status {
    /// `16:40Z`, with the date where it is not that of the question.
    fn time(&self, at: Timestamp) -> String {
        let [day, today] = [at, self.asked_at].map(|at| at.to_zoned(TimeZone::UTC).date());
        at.strftime(if day == today { "%H:%MZ" } else { "%Y-%m-%d %H:%MZ" }).to_string()
    }

    fn lag(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let total: i64 = self.lag.iter().filter_map(|lag| lag.records).sum();
        let known = self.lag.iter().all(|lag| lag.records.is_some()) && (self.ready || !self.lag.is_empty());
        if known {
            line(f, "not yet read", &format!("{} records in the partitions of this instance", grouped(total)))?;
        } else {
            line(f, "not yet read", "not known")?;
        }
        for Lag { topic, records, unknown_partitions, worst_partition, worst_records } in &self.lag {
            let name = format!("  {topic}");
            match (records, worst_partition) {
                (Some(0), _) => {}
                (Some(records), Some(worst)) => {
                    let worst = format!("most in partition {worst}: {}", grouped(*worst_records));
                    line(f, &name, &format!("{:>11}  {worst}", grouped(*records)))?;
                }
                _ => line(f, &name, &format!("  not known of {unknown_partitions} partitions"))?,
            }
        }
        Ok(())
    }

    fn folding(&self, fold: &Fold) -> String {
        let Fold { partitions, restore_records, last_commit_at, pending_commits: _ } = fold;
        let commit =
            last_commit_at.map_or_else(|| "no commit yet".to_owned(), |at| format!("last commit {}", self.time(at)));
        let restore = match restore_records {
            0 => String::new(),
            left => format!(", {} changelog records to restore", grouped(*left)),
        };
        format!("{partitions} partitions, {commit}{restore}")
    }

    fn calls(&self, calls: Option<&Calls>) -> String {
        let Some(Calls { used, limit, share, reserve, told_at }) = calls else {
            return "not told by Salesforce yet".to_owned();
        };
        let [used, limit, share, reserve] = [used, limit, share, reserve].map(|count| grouped(*count));
        let told_at = self.time(*told_at);
        format!("{used} of {limit} used (told at {told_at}); our share {share}, {reserve} kept for others")
    }

    fn forecast(&self, forecast: &Forecast) -> String {
        match forecast {
            Forecast::Unknown => "not known yet".to_owned(),
            Forecast::Lasts => "the calls of the day last".to_owned(),
            Forecast::RunsOut { at } => format!("at this rate our share is used up at {}", self.time(*at)),
            Forecast::UsedUp => "our share is used up; rows go on as calls of yesterday are forgotten".to_owned(),
        }
    }
}

impl Ignored {
    fn lines(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let counted = self.records.iter().filter(|(_, count)| **count > 0);
        let counted: Vec<String> = counted.map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect();
        let counted = if counted.is_empty() { "none".to_owned() } else { counted.join(", ") };
        line(f, "ignored", &format!("{counted} since the start"))?;
        let mistakes: Vec<&Sample> = self.samples.iter().filter(|sample| sample.of_mistake()).collect();
        for sample in mistakes.iter().take(MISTAKES_SHOWN) {
            line(f, "", &format!("{} {}: {}", grouped_u64(sample.records), sample.kind, sample.detail))?;
        }
        match mistakes.len().saturating_sub(MISTAKES_SHOWN) {
            0 => Ok(()),
            more => line(f, "", &format!("and {more} more kinds; `rollbook ignored` lists them")),
        }
    }
}

impl Sink {
    fn lines(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { pending_rows, held_rows, held_by_reason, in_flight_requests, window_requests, bulk_jobs } = self;
        let by_reason: Vec<_> =
            held_by_reason.iter().map(|(code, rows)| format!("{code} {}", grouped(*rows))).collect();
        let by_reason = if by_reason.is_empty() { String::new() } else { format!(" ({})", by_reason.join(", ")) };
        let rows = format!("{} pending, {} held{by_reason}", grouped(*pending_rows), grouped(*held_rows));
        line(f, "rows", &rows)?;
        line(f, "requests", &format!("{in_flight_requests} in flight, {window_requests} at once at most now"))?;
        line(f, "bulk jobs", &format!("{bulk_jobs} under way"))
    }
}

impl Salesforce {
    /// What is not sent for want of calls. What can wait stops first, so there are only these.
    fn stopped(&self) -> &'static str {
        let stopped = |lane: &str| self.lanes_stopped.iter().any(|it| it == lane);
        if stopped("live") {
            "all rows"
        } else if stopped("retry") {
            "old rows, refused rows"
        } else if stopped("backfill") {
            "old rows"
        } else {
            "nothing"
        }
    }
}

pub(super) fn line(f: &mut Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "{name:NAME_WIDTH$}{text}")
}

/// `12,345`. No count is below zero.
pub(super) fn grouped(count: i64) -> String {
    grouped_u64(count.unsigned_abs())
}

fn grouped_u64(count: u64) -> String {
    HumanCount(count).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Loop;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn sample(symbol: &str, records: u64) -> Sample {
        Sample {
            reason: "unknown_symbol".to_owned(),
            kind: "registration".to_owned(),
            field: "action".to_owned(),
            symbol: Some(symbol.to_owned()),
            nearest: None,
            detail: format!("`action` is `{symbol}`, which is not known"),
            records,
            topic: "registrations".to_owned(),
            partition: 0,
            offset: 7,
            at: None,
        }
    }

    fn status(ready: bool, forecast: Forecast, lanes_stopped: &[&str]) -> Status {
        let calls =
            Calls { used: 11_204, limit: 15_000, share: 12_000, reserve: 3_000, told_at: at("2026-11-22T07:37:59Z") };
        let lanes_stopped = lanes_stopped.iter().map(ToString::to_string).collect();
        let views =
            Lag { records: Some(1_204_000), worst_partition: Some(3), worst_records: 800_000, ..Lag::none("views") };
        let polls = Lag::none("polls");
        Status {
            version: "0.1.0".to_owned(),
            asked_at: at("2026-11-22T07:38:12Z"),
            started_at: Some(at("2026-11-21T23:59:59Z")),
            ready,
            loops: vec![
                Loop { name: "fold-0".to_owned(), waits_for: None },
                Loop { name: "sink".to_owned(), waits_for: (!ready).then(|| "partitions".to_owned()) },
            ],
            waiting: if ready { Vec::new() } else { vec!["kafka".to_owned(), "salesforce".to_owned()] },
            lag: vec![polls, views],
            fold: Some(Fold {
                partitions: 4,
                restore_records: 0,
                last_commit_at: Some(at("2026-11-22T07:38:11Z")),
                pending_commits: 0,
            }),
            sink: Some(Sink {
                pending_rows: 1_000,
                held_rows: 2,
                held_by_reason: BTreeMap::from([("STORAGE_LIMIT_EXCEEDED".to_owned(), 2)]),
                in_flight_requests: 1,
                window_requests: 8,
                bulk_jobs: 3,
            }),
            salesforce: Some(Salesforce { calls: ready.then_some(calls), forecast, lanes_stopped }),
            dead_letters: BTreeMap::from([("fold".to_owned(), 3), ("sink".to_owned(), 0)]),
            gaps: super::super::Gaps {
                unacknowledged: if ready {
                    BTreeMap::new()
                } else {
                    BTreeMap::from([("views topic_remade".to_owned(), 2)])
                },
                held_partitions: 0,
                strangers: i64::from(!ready),
            },
            ignored: Some(Ignored {
                records: BTreeMap::from([("lowered_hand".to_owned(), 0), ("unknown_symbol".to_owned(), 1_800)]),
                samples: vec![sample("REGISTERD", 800), sample("CREATD", 1_000)],
            }),
        }
    }

    #[test]
    fn a_ready_instance_in_a_few_aligned_lines() {
        let text = status(true, Forecast::RunsOut { at: at("2026-11-22T16:40:59Z") }, &["backfill"]).to_string();
        assert_eq!(
            text,
            "\
rollbook      0.1.0, up since 2026-11-21 23:59Z
ready         yes
  fold-0      yes
  sink        yes
not yet read  1,204,000 records in the partitions of this instance
  views         1,204,000  most in partition 3: 800,000
fold          4 partitions, last commit 07:38Z
rows          1,000 pending, 2 held (STORAGE_LIMIT_EXCEEDED 2)
requests      1 in flight, 8 at once at most now
bulk jobs     3 under way
dead letters  fold 3, sink 0 since the start
ignored       unknown_symbol 1,800 since the start
              800 registration: `action` is `REGISTERD`, which is not known
              1,000 registration: `action` is `CREATD`, which is not known
calls         11,204 of 15,000 used (told at 07:37Z); our share 12,000, 3,000 kept for others
forecast      at this rate our share is used up at 16:40Z
stopped       old rows
"
        );
    }

    #[test]
    fn an_instance_that_is_not_ready_says_what_it_waits_for() {
        let text = status(false, Forecast::Unknown, &[]).to_string();
        for said in [
            "ready         no\n",
            "  fold-0      yes\n",
            "  sink        not yet: partitions\n",
            "waiting for   kafka, salesforce\n",
            "calls         not told by Salesforce yet\n",
            "gaps          views topic_remade 2; see `rollbook gaps list`\n",
            "strangers     1 members of our groups are other applications'; the log names them\n",
        ] {
            assert!(text.contains(said), "{said}{text}");
        }
    }

    #[test]
    fn what_there_is_to_read_is_not_known_before_it_is_told() {
        let mut status = status(false, Forecast::Unknown, &[]);
        status.lag[0] = Lag { records: None, unknown_partitions: 2, ..Lag::none("polls") };
        let text = status.to_string();
        assert!(
            text.contains("not yet read  not known\n  polls         not known of 2 partitions\n  views  "),
            "{text}"
        );
        status.lag.clear();
        assert!(status.to_string().contains("not yet read  not known\n"), "{status}");
        status.ready = true;
        assert!(status.to_string().contains("not yet read  0 records"), "a spare instance reads nothing: {status}");
    }

    #[test]
    fn the_forecast_is_a_sentence() {
        let said = |forecast| {
            let text = status(true, forecast, &[]).to_string();
            text.lines().find_map(|line| line.strip_prefix("forecast      ")).unwrap().to_owned()
        };
        assert_eq!(said(Forecast::Unknown), "not known yet");
        assert_eq!(said(Forecast::Lasts), "the calls of the day last");
        let tomorrow = Forecast::RunsOut { at: at("2026-11-23T03:05:00Z") };
        assert_eq!(said(tomorrow), "at this rate our share is used up at 2026-11-23 03:05Z");
        assert!(said(Forecast::UsedUp).starts_with("our share is used up;"));
    }

    #[test]
    fn what_stands_still_for_want_of_calls_is_named() {
        let said = |lanes: &[&str]| status(true, Forecast::Lasts, lanes).salesforce.unwrap().stopped();
        assert_eq!(said(&[]), "nothing");
        assert_eq!(said(&["backfill"]), "old rows");
        assert_eq!(said(&["backfill", "retry"]), "old rows, refused rows");
        assert_eq!(said(&["backfill", "live", "retry"]), "all rows");
    }
}
