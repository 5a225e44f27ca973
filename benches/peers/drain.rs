//! A bare drain: what librdkafka alone costs. Records are counted and thrown away.
//!
//! It runs in a process of its own, as this benchmark started once more, and stays until it is killed, so that it is
//! measured as the other peers are. The calls go to librdkafka directly: no binding could be in the way.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::process::Command;
use std::ptr;

use rdkafka::bindings as sys;
use sys::{rd_kafka_resp_err_t as Code, rd_kafka_t as Handle};

use crate::input::PARTITIONS;
use crate::peer::{Peer, Run};

/// The first argument that makes this binary a drain.
pub const SUBCOMMAND: &str = "drain";

const BATCH: usize = 10_000;
const WAIT_MS: i32 = 100;
/// `RD_KAFKA_PARTITION_UA`, which the bindings leave out.
const ANY_PARTITION: i32 = -1;

pub fn command(run: &Run<'_>) -> Command {
    let binary = std::env::current_exe().expect("this binary is a file");
    let mut command = Command::new(binary);
    let how = if run.peer == Peer::DrainBatch { "batch" } else { "poll" };
    let interval = run.options.commit_ms.to_string();
    command.args([SUBCOMMAND, how, &run.broker.bootstrap(), &run.group(), &run.input.topic, &interval]);
    command
}

/// How far the drain is.
struct Drain {
    consumer: *mut Handle,
    /// Partitions whose end was not met yet.
    open: BTreeSet<i32>,
    records: u64,
    bytes: usize,
}

pub fn run(arguments: &[String]) {
    let [how, bootstrap, group, topic, interval] = arguments else { panic!("wrong arguments of a drain") };
    let settings = [
        ("bootstrap.servers", bootstrap.as_str()),
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("auto.commit.interval.ms", interval),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
        // As Rollbook: the default of a second stalls a drain whenever the local queue was full.
        ("fetch.queue.backoff.ms", "1"),
    ];
    let consumer = subscribed(&settings, topic);
    let mut drain = Drain { consumer, open: (0..PARTITIONS).collect(), records: 0, bytes: 0 };
    if how == "batch" { drain.batches() } else { drain.polls() }
}

#[expect(unsafe_code, reason = "librdkafka's own interface is what is measured")]
fn subscribed(settings: &[(&str, &str)], topic: &str) -> *mut Handle {
    let mut why: [c_char; 512] = [0; 512];
    // SAFETY: the texts outlive the calls, which copy them; the configuration is the new handle's.
    unsafe {
        let configuration = sys::rd_kafka_conf_new();
        for (name, value) in settings {
            let (name, value) = (text(name), text(value));
            let set = sys::rd_kafka_conf_set(configuration, name.as_ptr(), value.as_ptr(), why.as_mut_ptr(), why.len());
            assert!(set == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK, "{:?}", CStr::from_ptr(why.as_ptr()));
        }
        let kind = sys::rd_kafka_type_t::RD_KAFKA_CONSUMER;
        let consumer = sys::rd_kafka_new(kind, configuration, why.as_mut_ptr(), why.len());
        assert!(!consumer.is_null(), "{:?}", CStr::from_ptr(why.as_ptr()));
        sys::rd_kafka_poll_set_consumer(consumer);
        let topics = sys::rd_kafka_topic_partition_list_new(1);
        sys::rd_kafka_topic_partition_list_add(topics, text(topic).as_ptr(), ANY_PARTITION);
        assert_eq!(sys::rd_kafka_subscribe(consumer, topics), Code::RD_KAFKA_RESP_ERR_NO_ERROR);
        sys::rd_kafka_topic_partition_list_destroy(topics);
        consumer
    }
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no setting holds a zero")
}

impl Drain {
    #[expect(unsafe_code, reason = "librdkafka's own interface is what is measured")]
    fn batches(&mut self) -> ! {
        let mut messages = vec![ptr::null_mut(); BATCH];
        // SAFETY: the handle lives as long as the process.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(self.consumer) };
        loop {
            // SAFETY: the array has room for as many messages as are asked for; the queue is never given back.
            let count =
                unsafe { sys::rd_kafka_consume_batch_queue(queue, WAIT_MS, messages.as_mut_ptr(), messages.len()) };
            for message in messages.iter().take(usize::try_from(count).expect("the queue can be read")) {
                self.take(*message);
            }
        }
    }

    #[expect(unsafe_code, reason = "librdkafka's own interface is what is measured")]
    fn polls(&mut self) -> ! {
        loop {
            // SAFETY: the handle lives as long as the process.
            let message = unsafe { sys::rd_kafka_consumer_poll(self.consumer, WAIT_MS) };
            if !message.is_null() {
                self.take(message);
            }
        }
    }

    #[expect(unsafe_code, reason = "librdkafka's own interface is what is measured")]
    fn take(&mut self, message: *mut sys::rd_kafka_message_t) {
        // SAFETY: librdkafka made the message and gave it away; it is read before it is destroyed, and once.
        let (error, partition, length) = unsafe {
            let taken = ((*message).err, (*message).partition, (*message).len);
            sys::rd_kafka_message_destroy(message);
            taken
        };
        if error == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            self.records += 1;
            self.bytes += length;
            return;
        }
        assert!(error == Code::RD_KAFKA_RESP_ERR__PARTITION_EOF, "{error:?}");
        self.open.remove(&partition);
        if self.open.is_empty() {
            self.commit();
        }
    }

    /// What was taken, without waiting for the interval.
    #[expect(unsafe_code, reason = "librdkafka's own interface is what is measured")]
    fn commit(&self) {
        // SAFETY: no list means the offsets of all that was handed out.
        let error = unsafe { sys::rd_kafka_commit(self.consumer, ptr::null(), 0) };
        println!("{} records, {} bytes: {error:?}", self.records, self.bytes);
    }
}
