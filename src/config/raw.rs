//! What the file may say, before any of it is believed.
//!
//! Serde stops at the first value of a wrong type and at the first unknown field. Here every field is a [`Leaf`] that
//! takes whatever stands there and remembers what was wrong, and every table keeps the fields that it does not know:
//! so one run reports them all.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::topic_table::Topic;

/// A field: absent, of its type, or of another.
#[derive(Debug, Default)]
pub(super) enum Leaf<T> {
    #[default]
    Absent,
    Value(T),
    Wrong(String),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Leaf<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        toml::Value::deserialize(from).map(Self::of)
    }
}

impl<T: DeserializeOwned> Leaf<T> {
    fn of(value: toml::Value) -> Self {
        let found = value.type_str();
        // The error's own text is left out: it repeats the value, which may be a secret in the wrong place.
        T::deserialize(value).map_or_else(|_| Self::Wrong(is_a(found)), Self::Value)
    }
}

/// "is an integer", "is a string".
pub(super) fn is_a(found: &str) -> String {
    let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("is {article} {found}")
}

/// Fields that a table does not have.
pub(super) type Unknown = BTreeMap<String, toml::Value>;

/// One table of the file: its fields, and those that nobody knows.
macro_rules! table {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $(pub(super) $field: Leaf<$type>,)*
            #[serde(flatten)]
            pub(super) unknown: Unknown,
        }

        impl Table for $name {
            fn fields() -> Vec<&'static str> {
                vec![$(stringify!($field)),*]
            }

            fn take_unknown(&mut self) -> Unknown {
                std::mem::take(&mut self.unknown)
            }
        }
    };
}

/// A table knows its fields, so that a misspelt one can be answered with the right one.
pub(super) trait Table: Default + DeserializeOwned {
    fn fields() -> Vec<&'static str>;

    fn take_unknown(&mut self) -> Unknown;
}

table!(RawConfig {
    application: String,
    kafka: RawKafka,
    topics: RawTopics,
    registry: RawRegistry,
    fold: RawFold,
    state: RawState,
    sink: RawSink,
    salesforce: RawSalesforce,
    http: RawHttp,
});

table!(RawKafka {
    bootstrap: String,
    instance: String,
    properties: BTreeMap<String, toml::Value>,
    properties_files: BTreeMap<String, toml::Value>,
});

/// `[topics]`: the names of those that are in the table of topics, and the shape of all.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTopics {
    pub(super) partitions: Leaf<i64>,
    pub(super) replication_factor: Leaf<i64>,
    pub(super) create: Leaf<bool>,
    pub(super) check_settings: Leaf<bool>,
    #[serde(flatten)]
    names: Unknown,
}

impl RawTopics {
    pub(super) fn take_name(&mut self, topic: Topic) -> Leaf<String> {
        self.names.remove(topic.label()).map_or(Leaf::Absent, Leaf::of)
    }
}

impl Table for RawTopics {
    fn fields() -> Vec<&'static str> {
        let shape = ["partitions", "replication_factor", "create", "check_settings"];
        Topic::ALL.into_iter().map(Topic::label).chain(shape).collect()
    }

    fn take_unknown(&mut self) -> Unknown {
        let named = |name: &String| Topic::ALL.iter().any(|topic| topic.label() == name);
        let (names, unknown) = std::mem::take(&mut self.names).into_iter().partition(|(name, _)| named(name));
        self.names = names;
        unknown
    }
}

table!(RawRegistry { url: String, username: String, password_file: String, ca_file: String });

table!(RawFold {
    threads: i64,
    group_protocol: String,
    on_gap: String,
    commit_interval: String,
    commit_interval_behind: String,
    commit_pieces_max: i64,
    value_bytes_max: i64,
});

table!(RawState { dir: String, memory_max: String, save_interval: String });

table!(RawSink {
    batch_rows_max: i64,
    requests_in_flight_max: i64,
    batch_wait: String,
    budget_reserve_percent: i64,
    bulk_rows_min: i64,
    bulk_patience: i64,
    rows_pending_max: i64,
    attempts_max: i64,
    lock_wait: String,
    backoff_min: String,
    backoff_max: String,
});

table!(RawSalesforce {
    login_url: String,
    api_version: String,
    request_timeout: String,
    ca_file: String,
    proxy: String,
    proxy_username: String,
    proxy_password_file: String,
    auth: RawAuth,
});

table!(RawAuth {
    flow: String,
    client_id: String,
    client_secret_file: String,
    username: String,
    private_key_file: String,
    audience: String,
    refresh_token_file: String,
});

table!(RawHttp { listen: String });
