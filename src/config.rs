//! The configuration: what the file may say, and what the program works with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// A valid configuration.
pub struct Config {
    /// Prefix of group ids and transactional ids.
    pub application: String,
    pub kafka: Kafka,
    pub topics: Topics,
    pub registry: Option<Registry>,
    pub fold: Fold,
    pub sink: Sink,
    pub salesforce: Salesforce,
    pub http: Http,
}

pub struct Kafka {
    /// `host:port,…`
    pub bootstrap: String,
    /// Stable name of this instance: static membership and a stable transactional id. None: a random one.
    pub instance: Option<String>,
    /// librdkafka properties that are passed through (security, timeouts), secrets resolved.
    pub properties: BTreeMap<String, SecretString>,
}

pub struct Topics {
    pub registrations: String,
    pub attendance: String,
    pub polls: String,
    pub reactions: String,
    pub views: String,
    pub sessions: String,
    /// Events that stood in the wrong partition, re-keyed.
    pub resolved: String,
    /// The winning records of the sessions topic.
    pub catalogue: String,
    pub state: String,
    pub upserts: String,
    pub outcomes: String,
    pub dead_letters: String,
    /// Partitions of topics that are created; existing inputs decide for the rest.
    pub partitions: i32,
    pub replication_factor: i32,
    /// Whether absent topics are created at start.
    pub create: bool,
}

/// A schema registry that speaks Confluent's API.
pub struct Registry {
    /// May have a path.
    pub url: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// PEM file of the authority that signed the registry's certificate.
    pub ca_file: Option<PathBuf>,
}

pub struct Fold {
    pub threads: usize,
    /// Commit interval when caught up.
    pub commit_interval: Duration,
    /// Commit interval while behind.
    pub commit_interval_behind: Duration,
    /// A commit is due at this many dirty pieces, whatever the interval.
    pub commit_pieces_max: usize,
    /// Larger values are refused.
    pub value_bytes_max: usize,
}

pub struct Sink {
    /// Rows per collections call, at most 200.
    pub batch_rows_max: usize,
    pub requests_in_flight_max: usize,
    /// Rows read ahead of the slowest outcome, per instance.
    pub rows_pending_max: usize,
    /// Attempts of one row at errors that may pass, before it is a dead letter. Outages of the whole org do not count.
    pub attempts_max: u32,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

pub struct Salesforce {
    /// Where tokens come from: My Domain, login.salesforce.com, test.salesforce.com, or the emulator.
    pub login_url: String,
    /// For example "62.0".
    pub api_version: String,
    pub auth: Auth,
    pub request_timeout: Duration,
    pub ca_file: Option<PathBuf>,
}

pub enum Auth {
    ClientCredentials {
        client_id: String,
        client_secret: SecretString,
    },
    /// `private_key` is PEM.
    JwtBearer {
        client_id: String,
        username: String,
        private_key: SecretString,
        audience: String,
    },
}

pub struct Http {
    /// Metrics and health. Port 0: any free one.
    pub listen: SocketAddr,
}
