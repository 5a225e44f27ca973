//! What clients of Kafka, and the loops that wait for them, say again and again: see `repeated`.
//!
//! An outage makes each of a dozen clients tell of each broker several times a second. The log has a line of each kind;
//! that Kafka does not answer, and for how long, the watch says (`watch`). What was said is kept for the whole process,
//! as there is one log.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

use crate::repeated::Repeated;

/// Of a line, what tells its kind.
const KIND_CHARACTERS: usize = 120;

static SAID: LazyLock<Mutex<Repeated>> = LazyLock::new(Mutex::default);

/// How often something came since it was said, itself counted, if it is to be said now. `what` is a constant text.
pub fn again(what: &str) -> Option<u64> {
    all().again(what, Instant::now())
}

/// What was waited for is there, for everybody: when it is gone again it is said at once. Whether anything was said.
pub fn over(what: &str) -> bool {
    all().over(what)
}

fn all() -> MutexGuard<'static, Repeated> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same for a line of librdkafka, whose kind is what is left without names of threads and numbers.
pub fn line_again(line: &str) -> Option<u64> {
    again(&kind(line))
}

/// An error that a client reports of itself as a whole. That all brokers are down, each client says of itself, however
/// many there are; the lines of librdkafka name the broker and the reason.
pub fn error(error: &KafkaError, reason: &str) {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, PartitionEOF, Resolve};
    match error.rdkafka_error_code() {
        Some(PartitionEOF) => {}
        Some(AllBrokersDown | BrokerTransportFailure | Resolve) => debug!(%error, reason, "kafka reports an error"),
        _ => {
            if let Some(times) = line_again(reason) {
                warn!(%error, reason, times, "kafka reports an error");
            }
        }
    }
}

/// Thread names, numbers and what librdkafka adds of its own count ("after 0ms in state CONNECT, 29 identical error(s)
/// suppressed") differ from line to line and mean the same.
fn kind(line: &str) -> String {
    let line =
        line.find("[thrd:").and_then(|start| line.get(start..)?.split_once("]: ")).map_or(line, |(_, rest)| rest);
    let line = line.split_once(" (after ").map_or(line, |(line, _)| line);
    line.chars().filter(|character| !character.is_ascii_digit()).take(KIND_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_clients_about_one_broker_are_of_one_kind() {
        let one = "FAIL [thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection \
                   refused (after 0ms in state CONNECT)";
        let two = "FAIL [thrd:GroupCoordinator]: 127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection \
                   refused (after 12ms in state CONNECT, 29 identical error(s) suppressed)";
        assert_eq!(kind(one), kind(two));
        assert_ne!(kind(one), kind("FAIL [thrd:x]: SASL authentication error"));
    }
}
