//! What is said in the log again and again is said once, and then at most once a minute, with how often it came.
//!
//! An outage makes each of a dozen clients tell of each broker several times a second. The log has a line of each kind;
//! that Kafka does not answer, and for how long, the watch says (`watch`). What was said is kept for the whole process,
//! as there is one log.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

/// Between two lines of one kind.
const INTERVAL: Duration = Duration::from_mins(1);
/// Kinds that are told apart; more are one kind. A line that says its own number would be a kind each time.
const KINDS_MAX: usize = 256;
/// Of a line, what tells its kind.
const KIND_CHARACTERS: usize = 120;

static SAID: LazyLock<Mutex<Said>> = LazyLock::new(Mutex::default);

/// How often something came since it was said, itself counted, if it is to be said now. `what` is a constant text.
pub fn again(what: &str) -> Option<u64> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).again(what, Instant::now())
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

#[derive(Default)]
struct Said {
    /// By kind, when it was said and how often it has come since.
    kinds: BTreeMap<String, (Instant, u64)>,
}

impl Said {
    fn again(&mut self, what: &str, now: Instant) -> Option<u64> {
        if let Some((said_at, since)) = self.kinds.get_mut(what) {
            *since += 1;
            if now.saturating_duration_since(*said_at) < INTERVAL {
                return None;
            }
            *said_at = now;
            return Some(std::mem::take(since));
        }
        if self.kinds.len() >= KINDS_MAX {
            self.kinds.retain(|_, (said_at, _)| now.saturating_duration_since(*said_at) < INTERVAL);
        }
        if self.kinds.len() >= KINDS_MAX {
            return None;
        }
        self.kinds.insert(what.to_owned(), (now, 0));
        Some(1)
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
    fn each_kind_is_said_once_and_then_every_minute_with_its_count() {
        let (mut said, start) = (Said::default(), Instant::now());
        assert_eq!(said.again("away", start), Some(1));
        for second in 1..60 {
            assert_eq!(said.again("away", start + Duration::from_secs(second)), None);
        }
        assert_eq!(said.again("other", start + Duration::from_secs(5)), Some(1));
        assert_eq!(said.again("away", start + INTERVAL), Some(60));
        assert_eq!(said.again("away", start + INTERVAL), None);
    }

    #[test]
    fn kinds_are_bounded_and_old_ones_make_room() {
        let (mut said, start) = (Said::default(), Instant::now());
        for number in 0..KINDS_MAX {
            assert_eq!(said.again(&number.to_string(), start), Some(1));
        }
        assert_eq!(said.again("one too many", start), None);
        assert_eq!(said.again("one too many", start + INTERVAL), Some(1));
    }

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
