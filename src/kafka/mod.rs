//! What all Kafka clients of the process share: connection settings, topics, the schema registry.

pub mod registry;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use secrecy::ExposeSecret;

use crate::config::Config;

/// Connection and security settings, the same for every client of the process.
pub fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (name, value) in &config.kafka.properties {
        client.set(name, value.expose_secret());
    }
    client.set("bootstrap.servers", &config.kafka.bootstrap);
    client.set("client.id", &config.application);
    client.set_log_level(RDKafkaLogLevel::Warning);
    client
}
