//! What a broker says of topics: their ids, how many partitions they have, and what we may do with them.
//!
//! A topic that was deleted and made anew is told from the one before by its id alone. One that we may not describe is
//! not absent: the same look tells them apart. A broker that does not know the question has no ids to tell: its topics are
//! counted by what every broker knows.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;

use super::{Allowed, Owned, Question, allowed, answer, text};

/// How a broker of before topic ids says that it has none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// Brokers that are asked one after the other; each takes its share of the time.
const BROKERS_MAX: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// None: the broker does not tell.
    pub id: Option<String>,
    pub partitions: i32,
    /// The brokers that lead its partitions, where somebody does.
    pub leaders: BTreeMap<i32, i32>,
}

/// What a broker says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// With what we may do, if it was asked and the broker tells.
    There(Described, Option<Allowed>),
    Absent,
    /// We may not even ask.
    Denied,
    /// It cannot say at present.
    Unknown,
}

/// Those of these topics that exist, by name.
pub fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> KafkaResult<BTreeMap<String, Described>> {
    let seen = look(client, topics, false, timeout)?;
    let there = |(topic, seen)| if let Seen::There(described, _) = seen { Some((topic, described)) } else { None };
    Ok(seen.into_iter().filter_map(there).collect())
}

/// Each of these topics, by name; `rights`: with what we may do.
pub fn look<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    rights: bool,
    timeout: Duration,
) -> KafkaResult<BTreeMap<String, Seen>> {
    // Any broker knows the topics. By itself librdkafka asks the controller, which a cluster may be without for a while,
    // and its mock always.
    let Some(topic) = topics.first() else { return Ok(BTreeMap::new()) };
    let metadata = client.fetch_metadata(Some(topic), timeout)?;
    let brokers: Vec<i32> = metadata.brokers().iter().map(MetadataBroker::id).take(BROKERS_MAX).collect();
    let timeout = timeout / u32::try_from(brokers.len().max(1)).unwrap_or(1);
    let mut failed = KafkaError::AdminOp(RDKafkaErrorCode::AllBrokersDown);
    for broker in brokers {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        match ask(client, topics, &Question { operation, broker: Some(broker), rights, timeout }) {
            Err(error) if unknown_to_the_broker(&error) => return counted(client, topics, timeout),
            Err(error) => failed = error,
            seen => return seen,
        }
    }
    Err(failed)
}

fn unknown_to_the_broker(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{NotImplemented, UnsupportedFeature, UnsupportedVersion};
    matches!(error, KafkaError::AdminOp(NotImplemented | UnsupportedFeature | UnsupportedVersion))
}

/// Without ids and rights. Topics are asked for together, as asking for one by name may create it.
fn counted<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> KafkaResult<BTreeMap<String, Seen>> {
    let metadata = client.fetch_metadata(None, timeout)?;
    let seen = topics.iter().map(|topic| {
        let found = metadata.topics().iter().find(|it| it.name() == *topic && !it.partitions().is_empty());
        let seen = found.map_or(Seen::Absent, |found| {
            let partitions = i32::try_from(found.partitions().len()).unwrap_or(i32::MAX);
            let leaders = found.partitions().iter().map(|it| (it.id(), it.leader())).filter(|(_, leader)| *leader >= 0);
            Seen::There(Described { id: None, partitions, leaders: leaders.collect() }, None)
        });
        ((*topic).to_owned(), seen)
    });
    Ok(seen.collect())
}

fn ask<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    question: &Question,
) -> KafkaResult<BTreeMap<String, Seen>> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let event = answer(client, question, |options, queue| {
        // SAFETY: the names live until the end of `ask`, and are copied; options and queue live for this call.
        unsafe {
            let collection = Owned {
                pointer: sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
                free: sys::rd_kafka_TopicCollection_destroy,
            };
            sys::rd_kafka_DescribeTopics(client.native_ptr(), collection.pointer, options, queue);
        }
    })?;
    // SAFETY: the event is not null and lives to the end of this function.
    let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.pointer) };
    if result.is_null() {
        return Err(KafkaError::AdminOp(RDKafkaErrorCode::Fail));
    }
    let mut count = 0;
    // SAFETY: the result belongs to the event; librdkafka says how many pointers stand there, all of them valid.
    unsafe {
        let all = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        Ok((0..count).filter_map(|place| seen(*all.add(place))).collect())
    }
}

/// # Safety
/// The description must be of a result that still lives.
unsafe fn seen(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<(String, Seen)> {
    let (mut partitions, mut operations) = (0, 0);
    // SAFETY: as promised to this function; texts are copied before it returns.
    unsafe {
        let name = text(sys::rd_kafka_TopicDescription_name(topic))?;
        let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Some((name, without(error.into())));
        }
        let places = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let leaders = (0..partitions).filter_map(|place| leader(*places.add(place))).collect();
        let uuid = sys::rd_kafka_TopicDescription_topic_id(topic);
        let id = if uuid.is_null() { None } else { text(sys::rd_kafka_Uuid_base64str(uuid)) };
        let id = id.filter(|id| id != NO_ID);
        let may = sys::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut operations);
        let described = Described { id, partitions: i32::try_from(partitions).unwrap_or(i32::MAX), leaders };
        Some((name, Seen::There(described, allowed(may, operations))))
    }
}

/// A partition and who leads it. None: nobody does.
///
/// # Safety
/// The partition must be of a result that still lives.
unsafe fn leader(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> Option<(i32, i32)> {
    // SAFETY: as promised to this function; the node belongs to the partition.
    unsafe {
        let node = sys::rd_kafka_TopicPartitionInfo_leader(partition);
        (!node.is_null()).then(|| (sys::rd_kafka_TopicPartitionInfo_partition(partition), sys::rd_kafka_Node_id(node)))
    }
}

fn without(error: RDKafkaErrorCode) -> Seen {
    if matches!(error, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) {
        Seen::Absent
    } else if error == RDKafkaErrorCode::TopicAuthorizationFailed {
        Seen::Denied
    } else {
        Seen::Unknown
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[test]
    fn a_broker_that_knows_no_ids_tells_how_many_partitions_there_are() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("views", 3, 1).unwrap();
        let mut client = ClientConfig::new();
        let consumer: BaseConsumer = client.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        let seen = counted(consumer.client(), &["views", "polls"], Duration::from_secs(10)).unwrap();
        let Seen::There(views, None) = &seen["views"] else { panic!("{seen:?}") };
        assert_eq!((views.id.as_deref(), views.partitions, views.leaders.len()), (None, 3, 3));
        assert_eq!(seen["polls"], Seen::Absent);
        let refused = |code| unknown_to_the_broker(&KafkaError::AdminOp(code));
        assert!(refused(RDKafkaErrorCode::UnsupportedFeature) && refused(RDKafkaErrorCode::UnsupportedVersion));
        // An outage is waited for: without ids a topic that was made anew would be taken for the one before.
        assert!(!refused(RDKafkaErrorCode::OperationTimedOut) && !refused(RDKafkaErrorCode::BrokerTransportFailure));
    }

    #[test]
    fn a_cluster_without_a_controller_tells_its_topics_too() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("views", 3, 1).unwrap();
        let mut client = ClientConfig::new();
        let consumer: BaseConsumer = client.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        let within = Duration::from_secs(10);
        let described = describe(consumer.client(), &["views", "polls"], within).unwrap();
        assert_eq!(described.keys().collect::<Vec<_>>(), ["views"]);
        assert_eq!(described["views"].partitions, 3);
        let seen = look(consumer.client(), &["views", "polls"], true, within).unwrap();
        assert!(matches!(seen["views"], Seen::There(_, None)), "it does not tell what we may do: {seen:?}");
        assert_eq!(seen["polls"], Seen::Absent);
    }

    #[test]
    fn another_broker_is_asked_where_the_first_does_not_answer() {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic("views", 3, 1).unwrap();
        let mut client = ClientConfig::new();
        let consumer: BaseConsumer = client.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        let within = Duration::from_secs(9);
        let metadata = consumer.fetch_metadata(Some("views"), within).unwrap();
        let first = metadata.brokers().first().expect("there are three").id();
        cluster.broker_down(first).unwrap();
        let described = describe(consumer.client(), &["views"], within).unwrap();
        assert_eq!(described["views"].partitions, 3);
    }

    #[test]
    fn a_broker_that_is_away_is_an_error_in_time() {
        let mut client = ClientConfig::new();
        let consumer: BaseConsumer = client.set("bootstrap.servers", "127.0.0.1:1").create().unwrap();
        assert!(describe(consumer.client(), &["views"], Duration::from_millis(300)).is_err());
    }
}
