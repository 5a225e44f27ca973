//! What all Kafka clients of the process share: connection settings, membership, transactions, the changelog.

pub mod admin;
pub mod changelog;
pub mod clock;
pub mod member;
pub mod membership;
pub mod notes;
pub mod positions;
pub mod producer;
mod records;
pub mod registry;
pub mod scan;
pub mod send;
pub mod sizes;
pub mod topic_ids;
pub mod topics;
pub mod transaction;
pub mod unread;

use std::time::Duration;

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, ClientContext};
use secrecy::ExposeSecret;
use tracing::warn;

use crate::config::{Config, GroupProtocol};

use membership::Membership;
use producer::{Deliveries, TopicProducer};

/// A member that died is replaced after this long, unless `kafka.properties` says otherwise.
const SESSION_TIMEOUT_MS: &str = "10000";
/// A dead producer's transaction blocks its partitions at most this long. Longer than the longest commit interval and
/// a slow flush together.
const TRANSACTION_TIMEOUT_MS: &str = "20000";
/// Dead letters carry the value that was too large for its topic's default.
pub const MESSAGE_BYTES_MAX: &str = "10485760";
/// One try to reach the transaction coordinator.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Context of a consumer that reads to the ends: librdkafka reports every end as an error, which it is not.
struct ToTheEnd;

impl ClientContext for ToTheEnd {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            warn!(%error, reason, "kafka reports an error");
        }
    }
}

impl ConsumerContext for ToTheEnd {}

/// Connection and security settings, the same for every client of the process.
pub fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (name, value) in &config.kafka.properties {
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

/// The group of a stage.
pub fn group(config: &Config, stage: &str) -> String {
    format!("{}-{stage}", config.application)
}

/// A member of a consumer group that commits nothing by itself. `member` tells the members of one instance apart.
pub fn group_consumer(config: &Config, group: &str, member: &str) -> KafkaResult<BaseConsumer<Membership>> {
    let mut client = client_config(config);
    client.set("group.id", self::group(config, group));
    match config.fold.group_protocol {
        GroupProtocol::Classic => {
            client.set("partition.assignment.strategy", "range");
            set_session_timeout(&mut client);
            if let Some(instance) = &config.kafka.instance {
                client.set("group.instance.id", format!("{instance}-{member}"));
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
    // How soon a partition that was added, or a topic that was made anew, is noticed; the default is five minutes.
    if client.get(METADATA_INTERVAL).is_none() {
        client.set(METADATA_INTERVAL, METADATA_INTERVAL_MS);
    }
    BaseConsumer::from_config_and_context(&client, Membership::default())
}

/// A producer with its transactions initialised: whatever a predecessor of the same id left open is aborted.
pub fn transactional_producer(
    config: &Config,
    transactional_id: &str,
    stop: impl Fn() -> bool,
) -> KafkaResult<Option<TopicProducer>> {
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
    let producer: TopicProducer = client.create_with_context(Deliveries::default())?;
    while !stop() {
        match producer.init_transactions(INIT_TIMEOUT) {
            Ok(()) => return Ok(Some(producer)),
            Err(rdkafka::error::KafkaError::Transaction(error)) if error.is_retriable() => {
                warn!(error = %error, "the transaction coordinator is waited for");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
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
