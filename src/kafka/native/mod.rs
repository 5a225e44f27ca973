//! Questions to brokers that rdkafka has no calls for: what topics and groups are, and what we may do with them.
//!
//! This room, and no other, talks to librdkafka itself: `rd_kafka_DescribeTopics` and `rd_kafka_DescribeConsumerGroups`.
//! What makes that sound:
//! - everything that librdkafka hands out to be freed is in an [`Owned`], which frees it once, after its last use, in
//!   the order in which Rust drops: the queue and the event before the client, which is borrowed for the whole call;
//! - pointers into a result are read before the event is freed that owns them, and copied;
//! - no pointer to Rust's memory stays with librdkafka: it copies the names;
//! - what librdkafka says in enums is read as numbers: a later version may know more of them.

#![expect(unsafe_code, reason = "rdkafka lacks the calls; see above")]

pub mod groups;
pub mod topics;

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

/// The answer comes through a queue, a little after the request's own end.
const QUEUE_MARGIN: Duration = Duration::from_millis(500);

/// What a broker says that we may do with a topic or a group. Who may read or write may describe, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    pub read: bool,
    pub write: bool,
}

/// How a question is asked.
struct Question {
    operation: sys::rd_kafka_admin_op_t,
    /// None: librdkafka chooses whom to ask.
    broker: Option<i32>,
    /// Whether the broker is to say what we may do.
    rights: bool,
    timeout: Duration,
}

/// Asks, and waits for the answer: an event that is no error. `send` sends the request with these options, to be answered
/// on this queue.
fn answer<C: ClientContext>(
    client: &Client<C>,
    question: &Question,
    send: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
) -> KafkaResult<Owned<sys::rd_kafka_event_t>> {
    let (rk, timeout) = (client.native_ptr(), question.timeout);
    // SAFETY: `rk` lives as long as `client`, which is borrowed; null is how the calls take no buffer for errors. What is
    // made is freed by its `Owned`.
    let event = unsafe {
        let options = Owned {
            pointer: sys::rd_kafka_AdminOptions_new(rk, question.operation),
            free: sys::rd_kafka_AdminOptions_destroy,
        };
        sys::rd_kafka_AdminOptions_set_request_timeout(options.pointer, millis(timeout), ptr::null_mut(), 0);
        if let Some(broker) = question.broker {
            sys::rd_kafka_AdminOptions_set_broker(options.pointer, broker, ptr::null_mut(), 0);
        }
        let asks = c_int::from(question.rights);
        let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.pointer, asks);
        drop(Owned { pointer: refused, free: sys::rd_kafka_error_destroy });
        let queue = Owned { pointer: sys::rd_kafka_queue_new(rk), free: sys::rd_kafka_queue_destroy };
        send(options.pointer, queue.pointer);
        let event = sys::rd_kafka_queue_poll(queue.pointer, millis(timeout + QUEUE_MARGIN));
        Owned { pointer: event, free: sys::rd_kafka_event_destroy }
    };
    if event.pointer.is_null() {
        return Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
    }
    // SAFETY: the event is not null and lives to the end of this function.
    let failed = unsafe { sys::rd_kafka_event_error(event.pointer) };
    if failed != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(KafkaError::AdminOp(failed.into()));
    }
    Ok(event)
}

/// None: the broker does not tell. One that answers at all lets us describe: a list without that is none.
///
/// # Safety
/// Null, or that many operations.
unsafe fn allowed(operations: *const sys::rd_kafka_AclOperation_t, count: usize) -> Option<Allowed> {
    use sys::rd_kafka_AclOperation_t as Operation;
    let operations = operations.cast::<u32>();
    // SAFETY: as promised to this function; a C enum of this kind is as large as an unsigned number.
    let has = |operation: Operation| (0..count).any(|place| unsafe { *operations.add(place) } == operation as u32);
    let told = !operations.is_null() && has(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE);
    told.then(|| Allowed {
        read: has(Operation::RD_KAFKA_ACL_OPERATION_READ),
        write: has(Operation::RD_KAFKA_ACL_OPERATION_WRITE),
    })
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
