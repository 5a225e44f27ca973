//! Where the group says that reading goes on, who said so, and what stands in the logs.
//!
//! Anybody may commit offsets to our group: a console consumer that was given its name, or a person who resets them. What
//! we commit carries a stamp, in the offset's metadata: that it is ours, of which topic (one that was made anew under the
//! same name has other records), and, on `rollbook.resolved` alone, that the partition's state was *born*, and among how
//! many. Offsets that say so without a state are those of a state that was wiped.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::groups::GroupInfo;
use rdkafka::{Offset, TopicPartitionList};

use super::membership::TopicPartition;
use super::native::groups::describe;
use super::native::topics::Described;

/// Leaders that do not answer may take so long together.
const ALL_WITHIN: Duration = Duration::from_secs(30);
/// How a stamp begins.
const OURS: &str = "rollbook";

/// What stands beside an offset that Rollbook commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// None: the broker does not tell ids.
    pub topic_id: Option<String>,
    /// The partition's state was born, among so many partitions.
    pub born: Option<i32>,
}

impl Stamp {
    /// None: somebody else committed it, or Rollbook before it had stamps.
    pub fn parse(metadata: &str) -> Option<Self> {
        let mut words = metadata.split(' ');
        if words.next() != Some(OURS) {
            return None;
        }
        let mut stamp = Self::default();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "id" => stamp.topic_id = Some(value.to_owned()),
                "born" => stamp.born = value.parse().ok(),
                // A later version says more.
                _ => {}
            }
        }
        Some(stamp)
    }

    pub fn to_text(&self) -> String {
        let id = self.topic_id.as_ref().map(|id| format!(" id={id}")).unwrap_or_default();
        let born = self.born.map(|partitions| format!(" born={partitions}")).unwrap_or_default();
        format!("{OURS}{id}{born}")
    }
}

/// An offset of the group's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// None: it is not of our making.
    pub stamp: Option<Stamp>,
}

impl Committed {
    /// Whether its stamp names another topic of this name. Without ids nobody knows.
    pub fn of_another(&self, topic_id: Option<&str>) -> bool {
        let stamped = self.stamp.as_ref().and_then(|stamp| stamp.topic_id.as_deref());
        stamped.is_some() && topic_id.is_some() && stamped != topic_id
    }
}

/// What the group has of these partitions, where it has anything.
pub fn committed(offsets: &TopicPartitionList) -> BTreeMap<TopicPartition, Committed> {
    let elements = offsets.elements();
    let known = elements.iter().filter_map(|element| {
        let Offset::Offset(offset) = element.offset() else { return None };
        let committed = Committed { offset, stamp: Stamp::parse(element.metadata()) };
        Some(((element.topic().to_owned(), element.partition()), committed))
    });
    known.collect()
}

/// Start and end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub start: i64,
    /// The last stable offset.
    pub end: i64,
}

/// Starts and ends of these partitions' logs, in two questions to each broker.
pub fn log_ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> KafkaResult<BTreeMap<TopicPartition, Ends>> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ask = |which: Offset| {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition_offset(topic, *partition, which)?;
        }
        consumer.offsets_for_times(list, timeout)
    };
    let (starts, ends) = (ask(Offset::Beginning)?, ask(Offset::End)?);
    let mut found = BTreeMap::new();
    for (topic, partition) in partitions {
        let offset = |list: &TopicPartitionList| match list.find_partition(topic, *partition).map(|it| it.offset()) {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        };
        // A partition without a leader, or one that is gone, has no ends now.
        if let (Some(start), Some(end)) = (offset(&starts), offset(&ends)) {
            found.insert((topic.clone(), *partition), Ends { start, end });
        }
    }
    Ok(found)
}

/// Starts and ends of these partitions' logs, each leader asked for itself: what nobody leads, or somebody who does not
/// answer, lacks, and holds up nothing else.
pub fn ends_by_leader<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topics: &BTreeMap<String, Described>,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> BTreeMap<TopicPartition, Ends> {
    let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
    for partition in partitions {
        let leader = topics.get(&partition.0).and_then(|described| described.leaders.get(&partition.1));
        if let Some(leader) = leader {
            by_leader.entry(*leader).or_default().push(partition.clone());
        }
    }
    let mut found = BTreeMap::new();
    let asked = Instant::now();
    for led in by_leader.values() {
        // Whoever is left is asked the next time, if those before have gone by then.
        if asked.elapsed() >= ALL_WITHIN {
            break;
        }
        ends_of(consumer, led, timeout, &mut found);
    }
    found
}

/// An error of one partition is that of the whole answer, so that the others are asked for without it.
fn ends_of<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    timeout: Duration,
    found: &mut BTreeMap<TopicPartition, Ends>,
) {
    match log_ends(consumer, partitions, timeout) {
        Ok(ends) => found.extend(ends),
        Err(error) if partitions.len() > 1 && answered(&error) => {
            let (one, other) = partitions.split_at(partitions.len() / 2);
            ends_of(consumer, one, timeout, found);
            ends_of(consumer, other, timeout, found);
        }
        Err(_) => {}
    }
}

/// Whether it was a broker that said no.
fn answered(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, RequestTimedOut};
    !matches!(
        error.rdkafka_error_code(),
        None | Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut | RequestTimedOut)
    )
}

/// Members of the group that are none of ours, by the name and address that they give: `console-consumer at /10.0.0.7`.
pub fn strangers<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    (group, application): (&str, &str),
    timeout: Duration,
) -> KafkaResult<Vec<String>> {
    let members = describe(consumer.client(), group, timeout)?.members;
    let strange = members.into_iter().filter(|member| !ours(&member.client_id, application));
    Ok(strange.map(|member| format!("{} at {}", member.client_id, member.host)).collect())
}

/// Whether a build that names its members by the application alone is in the group: it commits without stamps.
pub fn earlier_builds<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    (group, application): (&str, &str),
    timeout: Duration,
) -> KafkaResult<bool> {
    let groups = consumer.fetch_group_list(Some(group), timeout)?;
    let mut members = groups.groups().iter().filter(|found| found.name() == group).flat_map(GroupInfo::members);
    Ok(members.any(|member| earlier(member.client_id(), application)))
}

/// Since members of ours say where they run, their commits have stamps.
fn earlier(client_id: &str, application: &str) -> bool {
    ours(client_id, application) && !client_id.contains('@')
}

/// Every client of ours has the application's name, and may say more behind it.
fn ours(client_id: &str, application: &str) -> bool {
    client_id
        .strip_prefix(application)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '@', '/', '.', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_what_others_say_is_none() {
        for stamp in [
            Stamp::default(),
            Stamp { topic_id: Some("p8CPbUq8R_CXm1hSRgTzJg".to_owned()), born: None },
            Stamp { topic_id: Some("p8CPbUq8R_CXm1hSRgTzJg".to_owned()), born: Some(6) },
        ] {
            assert_eq!(Stamp::parse(&stamp.to_text()), Some(stamp));
        }
        assert_eq!(Stamp::parse("rollbook later=1 born=x"), Some(Stamp::default()), "a later version says more");
        for other in ["", "rollbooks", "console", "born=6"] {
            assert_eq!(Stamp::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_client_is_ours_by_the_applications_name() {
        assert!(ours("rollbook", "rollbook") && ours("rollbook-host-7", "rollbook"));
        assert!(earlier("rollbook", "rollbook") && !earlier("rollbook-a-sink@host-7", "rollbook"));
        assert!(!earlier("console-consumer", "rollbook"));
        assert!(!ours("console-consumer", "rollbook") && !ours("rollbooks", "rollbook") && !ours("", "rollbook"));
    }
}
