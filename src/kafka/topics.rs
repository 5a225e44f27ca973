//! What a broker has of the topics: which are absent, which are wrong, and how that is mended. What each is for and how it
//! must be made stands in the table (`topic_table`).
//!
//! Members are divided among the partitions of `rollbook.resolved`: whoever reads *p* of it owns *p* of the state, of the
//! upserts and of the jobs, so these have the same number of partitions, and keep it. Inputs may have others, and may
//! grow. A changelog that is deleted by age loses members; an event topic that is compacted loses events. Both
//! are quiet and final, so a start on such topics is refused, with the command that mends it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::topic_table::{Bytes, Cleanup, Partitions, RECORD_BYTES_MAX, Topic, Topics};

/// Room for a batch of small records, as the producers make them.
const BATCH_BYTES_MAX: u64 = 1_000_000;
/// What a re-keyed event takes beside its value: its key, its headers and ours. With the default of
/// `fold.value_bytes_max` it is as large as a broker's default allows.
const BESIDE_VALUE_BYTES: u64 = 48_588;
/// How much larger the topic of re-keyed events is created than it has to be: many headers are no reason for a letter.
const HEADROOM_BYTES: u64 = 1024 * 1024;

/// Largest record that each of our own topics has to take. None: the topic is somebody else's.
pub fn record_bytes(topic: Topic, survey: &Survey, value_bytes_max: usize) -> Option<u64> {
    match topic.row().record {
        Bytes::Largest => Some(RECORD_BYTES_MAX),
        // Of what is compressed in an input, the broker says the smaller size.
        Bytes::Inputs => {
            let inputs =
                survey.iter().filter(|(topic, _)| !topic.own()).filter_map(|(_, found)| found.message_bytes_max);
            let value = u64::try_from(value_bytes_max).unwrap_or(u64::MAX).saturating_add(BESIDE_VALUE_BYTES);
            inputs.chain([value]).max()
        }
        Bytes::Batch => Some(BATCH_BYTES_MAX),
        Bytes::Theirs => None,
    }
}

/// The same setting for a topic that is created, where it differs from what the topic is made for anyway.
pub fn created_bytes(topic: Topic, survey: &Survey, value_bytes_max: usize) -> Option<u64> {
    let bytes = record_bytes(topic, survey, value_bytes_max).filter(|_| topic.row().record == Bytes::Inputs);
    bytes.map(|bytes| bytes.saturating_add(HEADROOM_BYTES).min(i32::MAX.unsigned_abs().into()))
}

/// What the broker says about a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub partitions: i32,
    /// None: the broker does not tell.
    pub cleanup_policy: Option<String>,
    /// None: the broker does not tell.
    pub message_bytes_max: Option<u64>,
    /// How long, and up to what size, records are kept; -1: for ever.
    pub retention_ms: Option<i64>,
    pub retention_bytes: Option<i64>,
}

/// The topics that exist.
pub type Survey = BTreeMap<Topic, Found>;

/// One thing that is wrong with a topic, and the command that mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicProblem {
    pub topic: String,
    pub message: String,
    pub remedy: String,
}

impl fmt::Display for TopicProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    hint: {}", self.topic, self.message, self.remedy)
    }
}

/// Among how many partitions members are divided: those of `rollbook.resolved`, which never grows, or of what belongs to
/// it. Before there is any: the most that an input has, else the setting.
pub fn partitions(topics: &Topics, survey: &Survey) -> i32 {
    let of = |topic: &Topic| survey.get(topic).map(|found| found.partitions);
    let homes = Topic::HOMES.iter().find_map(of);
    homes.or_else(|| Topic::EVENTS.iter().filter_map(of).max()).unwrap_or(topics.partitions)
}

/// That somebody has set a number of partitions and existing topics have decided for another one.
pub fn setting_note(topics: &Topics, survey: &Survey) -> Option<String> {
    let (set, divided) = (topics.partitions, partitions(topics, survey));
    (set != divided && set != Topics::default().partitions).then(|| {
        format!(
            "topics.partitions = {set} is not in effect: existing topics divide members among {divided} partitions; \
             hint: `Partitions of Rollbook's own topics` in deploy/runbook.md says how to have more"
        )
    })
}

/// Absent topics, with the number of partitions to create them with.
pub fn absent(topics: &Topics, survey: &Survey) -> Vec<(Topic, i32)> {
    let of_inputs = partitions(topics, survey);
    let count = |topic: Topic| match topic.row().partitions {
        Partitions::One => 1,
        Partitions::Inputs | Partitions::Homes => of_inputs,
        Partitions::Setting => topics.partitions,
    };
    Topic::ALL.into_iter().filter(|topic| !survey.contains_key(topic)).map(|topic| (topic, count(topic))).collect()
}

/// Everything that is wrong with the topics that exist. `value_bytes_max` is the largest value that the fold accepts.
pub fn problems(topics: &Topics, survey: &Survey, value_bytes_max: usize) -> Vec<TopicProblem> {
    let expected = partitions(topics, survey);
    let mut problems = Vec::new();
    for (topic, found) in survey {
        let name = topic.name(topics);
        let mut note = |message: String, remedy: String| {
            problems.push(TopicProblem { topic: name.to_owned(), message, remedy });
        };
        if topic.row().partitions == Partitions::Homes && found.partitions != expected {
            let message = format!("has {} partitions, members are divided among {expected}", found.partitions);
            note(message, partitions_remedy(name));
        }
        if let Some(policy) = &found.cleanup_policy
            && !allowed(*topic, policy)
        {
            let wanted = topic.row().cleanup.policy();
            let message = format!("has cleanup.policy={policy}, must have {wanted}");
            note(message, settings_remedy(name, &format!("cleanup.policy={wanted}")));
        }
        if let Some(bytes) = found.message_bytes_max
            && let Some(needed) = record_bytes(*topic, survey, value_bytes_max).filter(|needed| bytes < *needed)
        {
            let message = format!("takes records of {bytes} bytes, one may have {needed}{}", whence(*topic));
            note(message, settings_remedy(name, &format!("max.message.bytes={needed}")));
        }
    }
    problems
}

/// Why a record may be so large, where it does not go without saying.
fn whence(topic: Topic) -> &'static str {
    if topic.row().record == Bytes::Inputs {
        ": events that are re-keyed are as large as the inputs and fold.value_bytes_max allow"
    } else {
        ""
    }
}

/// A compacted topic that is also deleted by age forgets members; events that are compacted lose all but the last.
fn allowed(topic: Topic, policy: &str) -> bool {
    let mut parts = policy.split(',').map(str::trim).filter(|part| !part.is_empty());
    match topic.row().cleanup {
        Cleanup::Compact => policy.trim() == "compact",
        // No policy at all keeps everything, which is fine.
        Cleanup::Delete => parts.all(|part| part == "delete"),
    }
}

fn settings_remedy(name: &str, setting: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server HOST:PORT --alter --entity-type topics --entity-name {name} \
         --add-config {setting}"
    )
}

fn partitions_remedy(name: &str) -> String {
    format!("see `Partitions of Rollbook's own topics` in deploy/runbook.md; {name} must never grow")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE_BYTES_MAX: usize = 1_000_000;

    fn right() -> Survey {
        let topics = Topics::default();
        absent(&topics, &Survey::new())
            .into_iter()
            .map(|(topic, partitions)| {
                let cleanup_policy = Some(topic.row().cleanup.policy().to_owned());
                (
                    topic,
                    Found { partitions, cleanup_policy, message_bytes_max: Some(RECORD_BYTES_MAX), ..Found::default() },
                )
            })
            .collect()
    }

    fn problems_after(change: impl FnOnce(&mut Survey)) -> Vec<String> {
        let mut survey = right();
        change(&mut survey);
        problems(&Topics::default(), &survey, VALUE_BYTES_MAX).into_iter().map(|problem| problem.topic).collect()
    }

    #[test]
    fn what_is_created_has_no_problem() {
        assert_eq!(problems_after(|_| ()), Vec::<String>::new());
        assert_eq!(absent(&Topics::default(), &right()), []);
    }

    #[test]
    fn existing_inputs_decide_the_partitions_of_what_is_created() {
        let views = Found { partitions: 12, ..Found::default() };
        let survey = Survey::from([(Topic::Views, views)]);
        let absent: BTreeMap<_, _> = absent(&Topics::default(), &survey).into_iter().collect();
        for topic in [Topic::Polls, Topic::Resolved, Topic::State, Topic::Upserts, Topic::BulkJobs] {
            assert_eq!(absent.get(&topic), Some(&12), "{topic:?}");
        }
        assert_eq!(absent.get(&Topic::Outcomes), Some(&6));
    }

    #[test]
    fn a_number_that_was_set_and_is_not_in_effect_is_said() {
        let note = |partitions: i32, views: i32| {
            let survey = Survey::from([(Topic::Views, Found { partitions: views, ..Found::default() })]);
            setting_note(&Topics { partitions, ..Topics::default() }, &survey)
        };
        let said = note(5, 3).unwrap();
        assert!(
            said.contains("topics.partitions = 5 is not in effect") && said.contains("among 3 partitions"),
            "{said}"
        );
        assert_eq!((note(5, 5), note(6, 3)), (None, None), "the default asks for nothing");
    }

    #[test]
    fn wrong_topics_are_all_reported_at_once() {
        let wrong = problems_after(|survey| {
            survey.get_mut(&Topic::Upserts).unwrap().partitions = 3;
            survey.get_mut(&Topic::Views).unwrap().cleanup_policy = Some("compact".to_owned());
            survey.get_mut(&Topic::State).unwrap().cleanup_policy = Some("compact,delete".to_owned());
            survey.get_mut(&Topic::BulkJobs).unwrap().message_bytes_max = Some(1_048_588);
            survey.get_mut(&Topic::DeadLetters).unwrap().message_bytes_max = Some(1_048_588);
        });
        let wanted = ["views", "rollbook.state", "rollbook.upserts", "rollbook.bulk-jobs", "rollbook.dead-letters"];
        assert_eq!(wrong, wanted);
    }

    #[test]
    fn inputs_may_grow_and_what_members_are_divided_among_does_not() {
        let mut survey = right();
        let before = partitions(&Topics::default(), &survey);
        for (topic, found) in &mut survey {
            found.partitions = if topic.own() { found.partitions } else { 2 * before };
        }
        assert_eq!(problems(&Topics::default(), &survey, 0), []);
        assert_eq!(partitions(&Topics::default(), &survey), before);
        survey.remove(&Topic::Resolved);
        assert_eq!(partitions(&Topics::default(), &survey), before, "what belongs to it says so");
    }

    #[test]
    fn what_the_inputs_let_in_our_own_topics_take() {
        let small = |survey: &mut Survey| {
            for found in survey.values_mut() {
                found.message_bytes_max = Some(1_048_588);
            }
        };
        let sized = problems_after(small);
        let largest = Topic::ALL.into_iter().filter(|topic| topic.row().record == Bytes::Largest);
        assert_eq!(sized, largest.map(Topic::default_name).collect::<Vec<_>>(), "the broker's default");
        assert!(sized.len() >= 3, "{sized:?}");
        let of_resolved = |survey: &Survey, value_bytes_max| {
            let problems = problems(&Topics::default(), survey, value_bytes_max).into_iter();
            problems.filter(|it| it.topic == "rollbook.resolved").map(|it| it.remedy).collect::<Vec<_>>()
        };
        let mut survey = right();
        small(&mut survey);
        assert_eq!(of_resolved(&survey, VALUE_BYTES_MAX), Vec::<String>::new());
        let raised = of_resolved(&survey, 3_000_000).concat();
        assert!(raised.ends_with("--add-config max.message.bytes=3048588"), "{raised}");
        survey.get_mut(&Topic::Views).unwrap().message_bytes_max = Some(5_000_000);
        let of_input = of_resolved(&survey, VALUE_BYTES_MAX).concat();
        assert!(of_input.ends_with("--add-config max.message.bytes=5000000"), "{of_input}");
        // One that is created has room for what is beside a value, and so for the next start.
        let bytes = created_bytes(Topic::Resolved, &survey, VALUE_BYTES_MAX);
        assert_eq!(bytes, Some(5_000_000 + HEADROOM_BYTES));
        survey.get_mut(&Topic::Resolved).unwrap().message_bytes_max = bytes;
        assert_eq!(of_resolved(&survey, VALUE_BYTES_MAX), Vec::<String>::new());
    }

    #[test]
    fn what_the_broker_does_not_tell_is_no_problem() {
        let untold = problems_after(|survey| {
            for found in survey.values_mut() {
                (found.cleanup_policy, found.message_bytes_max) = (None, None);
            }
        });
        assert_eq!(untold, Vec::<String>::new());
    }
}
