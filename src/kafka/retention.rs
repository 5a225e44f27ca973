//! What the retention of the event topics means for the day on which states have to be built anew: it is worth a sentence
//! while there is time, and too late to learn when the state is gone.

use std::time::Duration;

use super::topics::Survey;
use crate::config::Topics;
use crate::topic_table::Topic;

/// Kept for ever.
const ALL: i64 = -1;

/// None: every event is kept, or the broker does not tell.
pub fn note(topics: &Topics, survey: &Survey) -> Option<String> {
    let short = Topic::ALL.into_iter().filter(|topic| !topic.own() && topic.event_topic()).filter_map(|topic| {
        let found = survey.get(&topic)?;
        let by_time = found.retention_ms.filter(|ms| *ms != ALL);
        let by_size = found.retention_bytes.filter(|bytes| *bytes != ALL);
        let name = topic.name(topics);
        match (by_time, by_size) {
            (Some(ms), _) => Some(format!("{name} for {}", time(ms))),
            (None, Some(bytes)) => Some(format!("{name} up to {bytes} bytes a partition")),
            (None, None) => None,
        }
    });
    let short: Vec<String> = short.collect();
    (!short.is_empty()).then(|| {
        format!(
            "states can only be rebuilt from all events, and these topics do not keep theirs: {}; set retention.ms=-1 and \
             retention.bytes=-1 where a rebuild is to be possible (deploy/runbook.md, Rebuilding the state)",
            short.join(", ")
        )
    })
}

/// In whole days, where it is any.
fn time(ms: i64) -> String {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    match ms / DAY_MS {
        0 => format!("{:?}", Duration::from_millis(ms.unsigned_abs())),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::topics::Found;

    fn note_of(retention: &[(Topic, Option<i64>, Option<i64>)]) -> Option<String> {
        let found = |(topic, retention_ms, retention_bytes): &(Topic, _, _)| {
            let found = Found { retention_ms: *retention_ms, retention_bytes: *retention_bytes, ..Found::default() };
            (*topic, found)
        };
        note(&Topics::default(), &retention.iter().map(found).collect())
    }

    #[test]
    fn topics_that_forget_events_are_named_once() {
        let week = Some(7 * 24 * 60 * 60 * 1000);
        let said = note_of(&[
            (Topic::Views, week, Some(-1)),
            (Topic::Polls, Some(-1), Some(1_000)),
            (Topic::Reactions, Some(-1), Some(-1)),
            (Topic::Attendance, Some(90_000), None),
            // What is re-keyed is read again from where it came.
            (Topic::Resolved, week, None),
            (Topic::Outcomes, week, None),
        ]);
        let named = "attendance for 90s, polls up to 1000 bytes a partition, views for 7 days; set retention.ms=-1";
        assert!(said.as_ref().unwrap().contains(named), "{said:?}");
        assert_eq!(note_of(&[(Topic::Views, Some(-1), Some(-1)), (Topic::Outcomes, week, None)]), None);
        assert_eq!(note_of(&[(Topic::Views, None, None)]), None, "nobody tells");
    }
}
