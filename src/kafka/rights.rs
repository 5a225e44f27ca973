//! Whether what is read and written is there, is led by somebody, and may be read and written.
//!
//! A right that is taken away shows differently to each client, and to most of them once: librdkafka says so of a
//! partition when it begins, a topic that we may not describe leaves the assignment without an error, and what stands
//! idle says nothing at all. So one asks for all of them, whatever client it is that reads, and what is missing is
//! *waited for* until brokers say that it is there again. What does not come although they do, `stall` sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tracing::warn;

use super::native::Allowed;
use super::native::groups::{self, Group};
use super::native::topics::{Described, Seen, look};
use super::watch::Watch;
use super::{ToTheEnd, client_config, group, said};
use crate::config::Config;
use crate::dead_letter::Stage;
use crate::topic_table::{Access, Topic};

/// Between two looks; what is missing at two of them is missing. One request for all topics, and two for each group.
const LOOK_EVERY: Duration = Duration::from_secs(4);
/// How soon an end is noticed.
const TURN: Duration = Duration::from_millis(200);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Words of librdkafka's that are heard after each look.
const WORDS_MAX: usize = 50;
/// Of what is missing, as much is named.
const NAMED_MAX: usize = 6;
/// Who waits, for the watch.
const WHO: &str = "rights";

/// What a process with some stages does with a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    access: Access,
    /// Whether all of it waits for a partition without a leader: of an input the others are read on, and whoever reads it
    /// names what is missing.
    whole: bool,
}

/// Looks until `stop`, on a thread of its own. To be called when the topics are there.
pub fn start(
    config: &Arc<Config>,
    stages: &[Stage],
    watch: &Arc<Watch>,
    stop: impl Fn() -> bool + Send + 'static,
) -> std::io::Result<()> {
    let (config, watch, stages) = (Arc::clone(config), Arc::clone(watch), stages.to_vec());
    thread::Builder::new().name("kafka-rights".to_owned()).spawn(move || run(&config, &stages, &watch, stop))?;
    Ok(())
}

fn run(config: &Config, stages: &[Stage], watch: &Watch, stop: impl Fn() -> bool) {
    let (needs, groups) = (needs(stages, config), groups_of(stages, config));
    let (mut client, mut secrets, mut before) = (None, watch.secrets(), BTreeSet::new());
    let mut looked: Option<Instant> = None;
    while !stop() {
        thread::sleep(TURN);
        // Nobody who does not answer has anything to say of rights.
        if looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) || watch.answering_since().is_none() {
            continue;
        }
        if std::mem::replace(&mut secrets, watch.secrets()) != watch.secrets() {
            client = None;
        }
        let found = ask(config, &mut client, &needs, &groups);
        looked = Some(Instant::now());
        match found {
            Ok(missing) => watch.waits(WHO, reason(&twice(&mut before, missing))),
            Err(error) => {
                client = None;
                if let Some(times) = said::again("brokers do not say what may be read and written") {
                    warn!(%error, times, "brokers do not say what may be read and written");
                }
            }
        }
    }
}

fn ask(
    config: &Config,
    client: &mut Option<BaseConsumer<ToTheEnd>>,
    needs: &BTreeMap<String, Need>,
    groups: &[String],
) -> KafkaResult<BTreeSet<String>> {
    let client = match client {
        Some(client) => client,
        None => client.insert(client_config(config).create_with_context(ToTheEnd)?),
    };
    let names: Vec<&str> = needs.keys().map(String::as_str).collect();
    let seen = look(client.client(), &names, true, ANSWERS_WITHIN)?;
    let described = groups.iter().map(|group| (group, groups::describe(client.client(), group, ANSWERS_WITHIN)));
    let described: Vec<_> = described.collect();
    for _ in 0..WORDS_MAX {
        client.poll(Duration::ZERO);
    }
    let of_topics = needs.iter().filter_map(|(topic, need)| missing(topic, *need, seen.get(topic)?));
    let of_groups = described.into_iter().filter_map(|(group, found)| missing_of_group(group, &found));
    Ok(of_topics.chain(of_groups).collect())
}

/// By name of the topic.
fn needs(stages: &[Stage], config: &Config) -> BTreeMap<String, Need> {
    let need = |topic: Topic| {
        let access = topic.access(stages);
        let need = Need { access, whole: topic.own() };
        (access != Access::default()).then(|| (topic.name(&config.topics).to_owned(), need))
    };
    Topic::ALL.into_iter().filter_map(need).collect()
}

fn groups_of(stages: &[Stage], config: &Config) -> Vec<String> {
    stages.iter().map(|stage| group(config, stage.name())).collect()
}

/// What is missing of a topic, in words.
fn missing(topic: &str, need: Need, seen: &Seen) -> Option<String> {
    let right = match seen {
        Seen::Absent => return Some(format!("topic `{topic}` does not exist")),
        Seen::Unknown => return None,
        Seen::Denied => "DESCRIBE",
        Seen::There(described, allowed) => {
            let allowed = allowed.unwrap_or(Allowed { read: true, write: true });
            match (need.access.read && !allowed.read, need.access.write && !allowed.write) {
                (true, true) => "READ and WRITE",
                (true, false) => "READ",
                (false, true) => "WRITE",
                (false, false) => return need.whole.then(|| unled(topic, described))?,
            }
        }
    };
    Some(format!("Kafka denies {right} on topic `{topic}`"))
}

/// A broker that is away may have it alone. Whoever reads or writes there stands still, and its clients are made anew.
fn unled(topic: &str, described: &Described) -> Option<String> {
    let mut unled = (0..described.partitions).filter(|partition| !described.leaders.contains_key(partition));
    let first = unled.next()?;
    let more = unled.count();
    let more = if more > 0 { format!(", nor have {more} more") } else { String::new() };
    Some(format!("partition {first} of topic `{topic}` has no leader{more}"))
}

fn missing_of_group(group: &str, found: &KafkaResult<Group>) -> Option<String> {
    let denied = match found {
        Ok(group) => group.allowed.is_some_and(|allowed| !allowed.read),
        Err(error) => matches!(error, KafkaError::AdminOp(RDKafkaErrorCode::GroupAuthorizationFailed)),
    };
    denied.then(|| format!("Kafka denies READ on group `{group}`"))
}

/// What is missing now and was at the look before: a broker that has just started may not have heard of everything.
fn twice(before: &mut BTreeSet<String>, missing: BTreeSet<String>) -> BTreeSet<String> {
    let twice = missing.intersection(before).cloned().collect();
    *before = missing;
    twice
}

fn reason(missing: &BTreeSet<String>) -> Option<String> {
    let more = missing.len().saturating_sub(NAMED_MAX);
    let named: Vec<&str> = missing.iter().map(String::as_str).take(NAMED_MAX).collect();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!named.is_empty()).then(|| named.join("; ") + &more)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const READ: Need = Need { access: Access { read: true, write: false }, whole: false };
    const BOTH: Access = Access { read: true, write: true };

    fn there(allowed: Option<Allowed>) -> Seen {
        Seen::There(Described { id: None, partitions: 3, leaders: BTreeMap::new() }, allowed)
    }

    #[test]
    fn what_is_missing_is_named() {
        let (both, none) = (Allowed { read: true, write: true }, Allowed::default());
        let said = |need, seen| missing("views", need, &seen);
        assert_eq!(said(READ, there(Some(both))), None);
        assert_eq!(said(READ, there(None)), None, "a broker that does not tell denies nothing");
        assert_eq!(said(READ, Seen::Unknown), None);
        assert_eq!(said(READ, there(Some(none))).unwrap(), "Kafka denies READ on topic `views`");
        let write = Need { access: BOTH, whole: false };
        assert_eq!(said(write, there(Some(none))).unwrap(), "Kafka denies READ and WRITE on topic `views`");
        assert_eq!(said(READ, Seen::Denied).unwrap(), "Kafka denies DESCRIBE on topic `views`");
        assert_eq!(said(READ, Seen::Absent).unwrap(), "topic `views` does not exist");
        let of_group = |found| missing_of_group("rollbook-fold", &found);
        assert_eq!(of_group(Ok(Group::default())), None);
        let denied = Group { allowed: Some(none), ..Group::default() };
        assert_eq!(of_group(Ok(denied)).unwrap(), "Kafka denies READ on group `rollbook-fold`");
        assert!(of_group(Err(KafkaError::AdminOp(RDKafkaErrorCode::GroupAuthorizationFailed))).is_some());
        assert_eq!(of_group(Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))), None);
    }

    #[test]
    fn a_partition_of_our_own_topics_that_nobody_leads_is_named() {
        let own = Need { access: BOTH, whole: true };
        let led = |leaders: &[i32], allowed| {
            let leaders = leaders.iter().map(|partition| (*partition, 1)).collect();
            Seen::There(Described { id: None, partitions: 3, leaders }, allowed)
        };
        let said = |need, seen| missing("state", need, &seen);
        assert_eq!(said(own, led(&[0, 1, 2], None)), None);
        assert_eq!(said(own, led(&[0, 2], None)).unwrap(), "partition 1 of topic `state` has no leader");
        let most = "partition 0 of topic `state` has no leader, nor have 1 more";
        assert_eq!(said(own, led(&[1], Some(Allowed { read: true, write: true }))).unwrap(), most);
        assert_eq!(
            said(own, led(&[1], Some(Allowed::default()))).unwrap(),
            "Kafka denies READ and WRITE on topic `state`"
        );
        assert_eq!(said(READ, led(&[1], None)), None, "an input waits by itself");
    }

    #[test]
    fn what_is_missing_at_two_looks_is_waited_for_and_one_look_without_it_ends_that() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let mut before = BTreeSet::new();
        assert_eq!(reason(&twice(&mut before, set(&["a"]))), None);
        assert_eq!(reason(&twice(&mut before, set(&["a", "b"]))).unwrap(), "a");
        assert_eq!(reason(&twice(&mut before, set(&["a", "b"]))).unwrap(), "a; b");
        assert_eq!(reason(&twice(&mut before, set(&["b"]))).unwrap(), "b");
        assert_eq!(reason(&twice(&mut before, set(&[]))), None);
        let many = set(&["1", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(reason(&many).unwrap(), "1; 2; 3; 4; 5; 6; and 2 more");
    }

    #[test]
    fn every_topic_is_needed_by_somebody() {
        let config = Config::parse("[kafka]\nbootstrap = \"broker:9092\"\n", Path::new("."), &|_| None).unwrap();
        let both = needs(&[Stage::Fold, Stage::Sink], &config);
        assert_eq!(both.len(), Topic::ALL.len());
        let sink = needs(&[Stage::Sink], &config);
        assert_eq!(
            sink["rollbook.upserts"],
            Need { whole: true, ..READ },
            "whoever only writes rows of the org writes no upserts"
        );
        assert!(!sink.contains_key("views"));
        assert_eq!(groups_of(&[Stage::Sink], &config), ["rollbook-sink"]);
    }
}
