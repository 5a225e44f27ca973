//! What a broker says of topics: their ids, and how many partitions they have.
//!
//! A topic that was deleted and made anew is told from the one before by its id alone, and rdkafka has no call for it. So
//! this room, and no other, talks to librdkafka itself: `rd_kafka_DescribeTopics`. What makes that sound:
//! - everything that librdkafka hands out to be freed is in an [`Owned`], which frees it once, after its last use, in
//!   the order in which Rust drops: the queue and the event before the client, which is borrowed for the whole call;
//! - pointers into a result are read before the event is freed that owns them, and copied;
//! - no pointer to Rust's memory stays with librdkafka: it copies the names.

#![expect(unsafe_code, reason = "rdkafka lacks the call; see above")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;

/// How a broker of before topic ids says that it has none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// The answer comes through a queue, a little after the request's own end.
const QUEUE_MARGIN: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// None: the broker does not tell.
    pub id: Option<String>,
    pub partitions: i32,
    /// The brokers that lead its partitions, where somebody does.
    pub leaders: BTreeMap<i32, i32>,
}

/// Those of these topics that exist, by name.
pub fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> KafkaResult<BTreeMap<String, Described>> {
    // Any broker knows the topics. By itself librdkafka asks the controller, which a cluster may be without for a while,
    // and its mock always.
    let Some(topic) = topics.first() else { return Ok(BTreeMap::new()) };
    let metadata = client.fetch_metadata(Some(topic), timeout)?;
    let broker = metadata.brokers().first().map(MetadataBroker::id);
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`, which is borrowed; the names live until the end, and are copied. What is
    // made is freed by its `Owned`.
    let event = unsafe {
        let collection = Owned {
            pointer: sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            free: sys::rd_kafka_TopicCollection_destroy,
        };
        let options = Owned {
            pointer: sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            free: sys::rd_kafka_AdminOptions_destroy,
        };
        sys::rd_kafka_AdminOptions_set_request_timeout(options.pointer, millis(timeout), ptr::null_mut(), 0);
        if let Some(broker) = broker {
            sys::rd_kafka_AdminOptions_set_broker(options.pointer, broker, ptr::null_mut(), 0);
        }
        let queue = Owned { pointer: sys::rd_kafka_queue_new(rk), free: sys::rd_kafka_queue_destroy };
        sys::rd_kafka_DescribeTopics(rk, collection.pointer, options.pointer, queue.pointer);
        let event = sys::rd_kafka_queue_poll(queue.pointer, millis(timeout + QUEUE_MARGIN));
        Owned { pointer: event, free: sys::rd_kafka_event_destroy }
    };
    if event.pointer.is_null() {
        return Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
    }
    // SAFETY: the event is not null and lives to the end of this function.
    let (failed, result) =
        unsafe { (sys::rd_kafka_event_error(event.pointer), sys::rd_kafka_event_DescribeTopics_result(event.pointer)) };
    if failed != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(KafkaError::AdminOp(failed.into()));
    }
    if result.is_null() {
        return Err(KafkaError::AdminOp(RDKafkaErrorCode::Fail));
    }
    let mut count = 0;
    // SAFETY: the result belongs to the event; librdkafka says how many pointers stand there, all of them valid.
    unsafe {
        let all = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let described = (0..count).filter_map(|place| described(*all.add(place)));
        Ok(described.collect())
    }
}

/// None: there is no such topic.
///
/// # Safety
/// The description must be of a result that still lives.
unsafe fn described(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<(String, Described)> {
    let mut partitions = 0;
    // SAFETY: as promised to this function; texts are copied before it returns.
    unsafe {
        let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let name = text(sys::rd_kafka_TopicDescription_name(topic))?;
        let places = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let leaders = (0..partitions).filter_map(|place| leader(*places.add(place))).collect();
        let uuid = sys::rd_kafka_TopicDescription_topic_id(topic);
        let id = if uuid.is_null() { None } else { text(sys::rd_kafka_Uuid_base64str(uuid)) };
        let id = id.filter(|id| id != NO_ID);
        Some((name, Described { id, partitions: i32::try_from(partitions).unwrap_or(i32::MAX), leaders }))
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

/// # Safety
/// Null, or a text that ends in a zero.
unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: as promised to this function.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// What librdkafka made and this room frees.
struct Owned<T> {
    pointer: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: it came from the maker that belongs to `free`, and nothing else frees it.
            unsafe { (self.free)(self.pointer) }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[test]
    fn a_cluster_without_a_controller_tells_its_topics_too() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("views", 3, 1).unwrap();
        let mut client = ClientConfig::new();
        let consumer: BaseConsumer = client.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        let described = describe(consumer.client(), &["views", "polls"], Duration::from_secs(10)).unwrap();
        assert_eq!(described.keys().collect::<Vec<_>>(), ["views"]);
        assert_eq!(described["views"].partitions, 3);
    }

    #[test]
    fn a_broker_that_is_away_is_an_error_in_time() {
        let mut client = ClientConfig::new();
        let consumer: BaseConsumer = client.set("bootstrap.servers", "127.0.0.1:1").create().unwrap();
        assert!(describe(consumer.client(), &["views"], Duration::from_millis(300)).is_err());
    }
}
