//! What all Kafka clients of the process share: connection settings, membership, transactions, the changelog.

pub mod admin;
pub mod changelog;
pub mod clock;
pub mod commit;
pub mod committer;
pub mod epoch;
pub mod fetches;
pub mod follower;
pub mod foreign;
pub mod member;
pub mod membership;
pub mod native;
pub mod noted;
pub mod notes;
pub mod positions;
pub mod producer;
pub mod questions;
mod records;
pub mod registry;
pub mod retention;
pub mod rights;
pub mod said;
pub mod scan;
pub mod send;
pub mod sizes;
pub mod stall;
pub mod topics;
pub mod transaction;
pub mod twins;
pub mod unread;
pub mod vigil;
pub mod watch;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, ClientContext, Message};
use secrecy::ExposeSecret;
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::{Config, GroupProtocol};

use membership::Membership;

/// A member that died is replaced after this long, unless `kafka.properties` says otherwise.
const SESSION_TIMEOUT_MS: &str = "10000";
/// A dead producer's transaction blocks its partitions at most this long. Longer than the longest commit interval and
/// a slow flush together.
const TRANSACTION_TIMEOUT_MS: &str = "20000";
/// Dead letters carry the value that was too large for its topic's default.
pub const MESSAGE_BYTES_MAX: &str = "10485760";
/// A broker that is back is found within this, not within librdkafka's ten seconds; an instance has a dozen clients.
const RECONNECT_MS_MAX: &str = "2000";

const METADATA_INTERVAL: &str = "topic.metadata.refresh.interval.ms";
const METADATA_INTERVAL_MS: &str = "10000";
/// Largest answer that a client takes from a broker, unless `kafka.properties` says otherwise. librdkafka takes it for the
/// bound of what a batch may unpack to, too (confluentinc/librdkafka#5260): with its default of 100 MB a batch of a megabyte
/// that unpacks to 60 MB is never read, since the room for it is tripled until it fits. A third of this is always enough;
/// nothing is set aside for it.
const RECEIVE_BYTES_MAX: u64 = 1_000_000_000;
const RECEIVE_BYTES: &str = "receive.message.max.bytes";
/// What is around the records of an answer.
const RECEIVE_BYTES_BESIDE: u64 = 512;

/// Context of a client that has nothing of its own to hear. librdkafka reports every end of a partition as an error,
/// which it is not.
struct ToTheEnd;

impl ClientContext for ToTheEnd {
    fn error(&self, error: KafkaError, reason: &str) {
        said::error(&error, reason);
    }
}

impl ConsumerContext for ToTheEnd {}

/// Connection and security settings, the same for every client of the process.
pub fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("reconnect.backoff.max.ms", RECONNECT_MS_MAX);
    for (name, value) in &config.kafka.properties_now() {
        client.set(name, value.expose_secret());
    }
    client.set("bootstrap.servers", &config.kafka.bootstrap);
    client.set("client.id", &config.application);
    client.set_log_level(RDKafkaLogLevel::Warning);
    if client.get(RECEIVE_BYTES).is_none() {
        let fetched = client.get("fetch.max.bytes").and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or_default();
        let bytes =
            RECEIVE_BYTES_MAX.max(fetched.saturating_add(RECEIVE_BYTES_BESIDE)).min(i32::MAX.unsigned_abs().into());
        client.set(RECEIVE_BYTES, bytes.to_string());
    }
    client
}

/// Of members of groups alone: librdkafka warns of it in a producer.
pub fn set_session_timeout(client: &mut ClientConfig) {
    const NAME: &str = "session.timeout.ms";
    if client.get(NAME).is_none() {
        client.set(NAME, SESSION_TIMEOUT_MS);
    }
}

/// How soon members of groups notice a partition that was added, a topic that was made anew, or one that may be read again;
/// librdkafka's default is five minutes.
pub fn set_metadata_interval(client: &mut ClientConfig) {
    if client.get(METADATA_INTERVAL).is_none() {
        client.set(METADATA_INTERVAL, METADATA_INTERVAL_MS);
    }
}

/// After how long a silent member is missed. By the consumer protocol the broker decides; what matters here is how long a
/// member may take to hear of its group, which is a few heartbeats.
pub fn session_timeout(config: &Config) -> Duration {
    if config.fold.group_protocol == GroupProtocol::Consumer {
        return Duration::from_secs(10);
    }
    let set = config.kafka.properties.get("session.timeout.ms").map(|value| value.expose_secret().to_owned());
    let millis = set.as_deref().unwrap_or(SESSION_TIMEOUT_MS).parse().unwrap_or(10_000);
    Duration::from_millis(millis)
}

/// What tells a member of a group apart from all others: which instance it is of, and which of its members.
#[derive(Clone, Debug)]
pub struct MemberName {
    pub instance: String,
    /// Within the instance: `fold-0`, `sink`.
    pub member: String,
}

impl MemberName {
    /// The client id of the member, by which the group's description shows who it is and where.
    pub fn client_id(&self, config: &Config) -> String {
        format!("{}-{}-{}@{}", config.application, self.instance, self.member, host())
    }

    /// What client ids of members of this name begin with, wherever they run.
    pub fn client_ids(&self, config: &Config) -> String {
        format!("{}-{}-{}@", config.application, self.instance, self.member)
    }
}

/// The machine's name, for people; a text for any that has none.
fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    named.ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown-host".to_owned())
}

/// The group of a stage.
pub fn group(config: &Config, stage: &str) -> String {
    format!("{}-{stage}", config.application)
}

/// The headers of a record, copied.
pub fn headers_of(message: &impl Message) -> Vec<(String, Option<Vec<u8>>)> {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

/// The name of a static member that reads these topics. A group gives one that comes back what it had, and does not look
/// whether it wants something else by now: who reads other topics is somebody else, and the group divides anew.
pub fn static_id(name: &str, topics: &[&str]) -> String {
    let mut topics = topics.to_vec();
    topics.sort_unstable();
    // No name of a topic has a line's end.
    format!("{name}-{:016x}", xxh3_64(topics.join("\n").as_bytes()))
}

/// A member of a consumer group that commits nothing by itself.
pub fn group_consumer(config: &Config, group: &str, name: &MemberName) -> KafkaResult<BaseConsumer<Membership>> {
    let mut client = client_config(config);
    client.set("client.id", name.client_id(config));
    client.set("group.id", self::group(config, group));
    match config.fold.group_protocol {
        GroupProtocol::Classic => {
            client.set("partition.assignment.strategy", "range");
            set_session_timeout(&mut client);
            if let Some(instance) = &config.kafka.instance {
                let topics = crate::topic_table::Topic::CONSUMED.map(|topic| topic.name(&config.topics));
                client.set("group.instance.id", static_id(&format!("{instance}-{}", name.member), &topics));
            }
        }
        // No static member: the group refuses one that comes back before the broker misses it, and librdkafka takes
        // the refusal for the end. Timeouts are the broker's, and librdkafka takes none.
        GroupProtocol::Consumer => {
            client.set("group.protocol", "consumer").set("group.remote.assignor", "range");
            client.remove("session.timeout.ms");
            client.remove("heartbeat.interval.ms");
        }
    }
    client.set("enable.auto.commit", "false");
    client.set("auto.offset.reset", "earliest");
    client.set("isolation.level", "read_committed");
    // The default of a second stalls a drain whenever the local queue was full.
    client.set("fetch.queue.backoff.ms", "1");
    // Whoever starts is not ready before the first of them: soon, and yet no burden with hundreds of partitions.
    client.set("statistics.interval.ms", "500");
    set_metadata_interval(&mut client);
    BaseConsumer::from_config_and_context(&client, Membership::default())
}

/// Settings of a transactional producer.
pub fn transactional_client(config: &Config, transactional_id: &str) -> ClientConfig {
    let mut client = client_config(config);
    client.set("transactional.id", transactional_id);
    client.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
    client.set("message.max.bytes", MESSAGE_BYTES_MAX);
    client.set("compression.type", "lz4");
    client.set("partitioner", "murmur2_random");
    client.set("linger.ms", "2");
    client.set("queue.buffering.max.messages", "1000000");
    // A transaction counts by itself what was not delivered, and nobody asks about what was.
    client.set("delivery.report.only.error", "true");
    client
}

/// Drops a client on a thread of its own, and waits for that so long at most, if at all: the end of a client that librdkafka
/// has given up may never come.
pub fn let_go<T: Send + 'static>(client: T, within: Duration) {
    let (ended, end) = mpsc::channel();
    let going = thread::Builder::new().name("kafka-goes".to_owned()).spawn(move || {
        drop(client);
        // Nobody may wait any more.
        let _ = ended.send(());
    });
    // A thread that cannot be started has dropped the client here.
    if going.is_ok() && !within.is_zero() && end.recv_timeout(within).is_err() {
        warn!("a Kafka client does not come to its end; it is left behind");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_client_takes_what_a_batch_unpacks_to_and_what_the_file_says() {
        let taken = |properties: &str| {
            let text = format!("[kafka]\nbootstrap = \"broker:9092\"\n[kafka.properties]\n{properties}");
            let config = Config::parse(&text, Path::new("."), &|_| None).unwrap();
            let client = client_config(&config);
            client.create_native_config().unwrap().get(RECEIVE_BYTES).unwrap()
        };
        assert_eq!(taken(""), "1000000000");
        assert_eq!(taken("\"fetch.max.bytes\" = 1500000000"), "1500000512", "it is no less than what is fetched");
        assert_eq!(taken("\"fetch.max.bytes\" = 1000\n\"receive.message.max.bytes\" = 5000"), "5000");
    }

    #[test]
    fn tls_and_sasl_are_in_the_default_binary() {
        let features = ClientConfig::new().create_native_config().unwrap().get("builtin.features").unwrap();
        for feature in ["ssl", "sasl_plain", "sasl_scram", "sasl_oauthbearer", "lz4", "zstd", "gzip", "snappy"] {
            assert!(features.split(',').any(|built_in| built_in == feature), "{feature} is not in {features}");
        }
    }
}
