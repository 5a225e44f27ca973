//! librdkafka properties that are passed through: which ones Rollbook keeps for itself, and which ones are secret.
//!
//! Anything that decides who owns a partition, where reading starts or what a commit means is Rollbook's: a property
//! that changes it would make the guarantees untrue without a sign.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Properties that cannot be set, with the setting to use in their place, if there is one.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.bootstrap"),
    ("metadata.broker.list", "set kafka.bootstrap"),
    ("client.id", "set application"),
    ("group.id", "set application, which the group ids start with"),
    ("group.instance.id", "set kafka.instance"),
    ("transactional.id", "set application and kafka.instance, which it is made of"),
    ("group.protocol", ""),
    ("partition.assignment.strategy", ""),
    ("enable.auto.commit", ""),
    ("enable.auto.offset.store", ""),
    ("auto.offset.reset", ""),
    ("isolation.level", ""),
    ("enable.idempotence", ""),
    ("acks", ""),
    ("request.required.acks", ""),
    ("partitioner", ""),
    ("enable.partition.eof", ""),
    ("allow.auto.create.topics", "set topics.create"),
];

/// Secret properties that may also come from the environment, with the variable's name.
pub(super) const FROM_ENVIRONMENT: &[(&str, &str)] = &[
    ("sasl.password", "ROLLBOOK_KAFKA_SASL_PASSWORD"),
    ("sasl.oauthbearer.client.secret", "ROLLBOOK_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"),
    ("ssl.key.password", "ROLLBOOK_KAFKA_SSL_KEY_PASSWORD"),
    ("ssl.keystore.password", "ROLLBOOK_KAFKA_SSL_KEYSTORE_PASSWORD"),
];

/// Whether a property's value is masked wherever it is shown.
pub(super) fn secret(name: &str) -> bool {
    // The last part of these names a place, not the secret.
    let shown = matches!(name.rsplit('.').next(), Some("url" | "location"));
    !shown
        && ["password", "secret", "jaas", "token", ".pem", "oauthbearer.config"].iter().any(|part| name.contains(part))
}

/// What is wrong with a property, and a hint.
pub(super) fn problem(name: &str, value: &str) -> Option<(String, String)> {
    if let Some((_, hint)) = OWNED.iter().find(|(owned, _)| *owned == name) {
        return Some(("is set by Rollbook itself".to_owned(), (*hint).to_owned()));
    }
    let mut probe = ClientConfig::new();
    probe.set(name, value);
    match probe.create_native_config() {
        Err(KafkaError::ClientConfig(_, message, ..)) if !secret(name) => {
            Some((message, "see librdkafka's CONFIGURATION.md".to_owned()))
        }
        Err(_) => Some(("is not accepted by librdkafka".to_owned(), "see librdkafka's CONFIGURATION.md".to_owned())),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_secret_and_locations_are_not() {
        for name in ["sasl.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "sasl.jaas.config"] {
            assert!(secret(name), "{name}");
        }
        for name in ["ssl.key.location", "sasl.oauthbearer.token.endpoint.url", "sasl.username"] {
            assert!(!secret(name), "{name}");
        }
    }

    #[test]
    fn unknown_and_owned_properties_are_problems() {
        assert!(problem("group.id", "x").is_some());
        assert!(problem("no.such.property", "x").is_some());
        assert!(problem("socket.timeout.ms", "often").is_some());
        assert_eq!(problem("socket.timeout.ms", "1000"), None);
    }
}
