//! The configuration: one TOML file, checked whole before anything starts.
//!
//! What the file may say (`raw`) and what the program works with (the types here) are two things: a [`Config`] that
//! exists is valid, so no stage checks it again. Every problem is reported at once, with its path and a hint;
//! deserialising straight into these types would stop at the first one.
//!
//! Secrets come from files, then from the environment. They have no `Debug` and are masked when the effective
//! configuration is printed. Nothing outside this room reads the environment.

mod effective;
mod login;
mod parse;
mod properties;
mod proxy;
mod raw;
mod secret;
mod sections;
mod token_file;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

pub use proxy::Proxy;
pub use secret::{Secret, SecretError};
pub use token_file::{HeldToken, TokenFile, TokenFileError};

pub use crate::topic_table::Topics;

/// A valid configuration.
#[derive(Clone, Serialize)]
pub struct Config {
    /// Prefix of group ids and transactional ids. Default "rollbook".
    pub application: String,
    pub kafka: Kafka,
    pub topics: Topics,
    /// Absent: records with a registry's schema id are refused as of an unknown schema.
    pub registry: Option<Registry>,
    pub fold: Fold,
    pub state: State,
    pub sink: Sink,
    /// Absent only where the sink does not run.
    pub salesforce: Option<Salesforce>,
    pub http: Http,
}

#[derive(Clone, Serialize)]
pub struct Kafka {
    /// `host:port,…`. No default.
    pub bootstrap: String,
    /// Stable name of this instance: static membership and a stable transactional id. None: a random one.
    pub instance: Option<String>,
    /// librdkafka properties that are passed through (security, timeouts), secrets resolved. Default none.
    #[serde(serialize_with = "effective::properties")]
    pub properties: BTreeMap<String, SecretString>,
    /// Files that some of the properties stand in, which are read again whenever a client is made.
    #[serde(skip)]
    pub properties_files: BTreeMap<String, PathBuf>,
}

impl Kafka {
    /// The properties with what stands in their files now. A file that cannot be read, as in the middle of being
    /// replaced, has what it had at the start.
    pub fn properties_now(&self) -> BTreeMap<String, SecretString> {
        let mut properties = self.properties.clone();
        for (name, file) in &self.properties_files {
            if let Some(now) = std::fs::read_to_string(file).ok().filter(|secret| !secret.trim().is_empty()) {
                properties.insert(name.clone(), SecretString::from(now.trim_end_matches(['\r', '\n'])));
            }
        }
        properties
    }

    /// A digest of everything that logins and certificates are read from.
    pub fn secrets_digest(&self) -> u64 {
        let certificates = self.properties.iter().filter(|(name, _)| name.ends_with(".location"));
        let named = certificates.map(|(_, place)| PathBuf::from(place.expose_secret()));
        let mut digest = Xxh3::new();
        for file in self.properties_files.values().cloned().chain(named) {
            digest.update(&std::fs::read(&file).unwrap_or_default());
            digest.update(file.as_os_str().as_encoded_bytes());
        }
        digest.digest()
    }
}

/// A schema registry that speaks Confluent's API.
#[derive(Clone, Serialize)]
pub struct Registry {
    /// May have a path. No default.
    pub url: String,
    pub username: Option<String>,
    #[serde(serialize_with = "effective::optional_secret")]
    pub password: Option<SecretString>,
    /// PEM file of the authority that signed the registry's certificate. None: those of the system.
    pub ca_file: Option<PathBuf>,
    /// As the environment says.
    #[serde(skip)]
    pub proxy: Proxy,
}

#[derive(Clone, Debug, Serialize)]
pub struct Fold {
    /// Consumer threads of this instance. Default 1: one core folds more than most brokers deliver.
    pub threads: usize,
    /// How partitions change hands. Default classic: every broker has it.
    pub group_protocol: GroupProtocol,
    /// What happens to a partition of which records are gone. Default continue: to wait brings nothing back.
    pub on_gap: OnGap,
    /// Commit interval when caught up. Default 100 ms: what the end-to-end latency at light load is made of.
    #[serde(serialize_with = "effective::duration")]
    pub commit_interval: Duration,
    /// Commit interval while behind. Default 2 s: a piece that changes often is then written once for many events.
    #[serde(serialize_with = "effective::duration")]
    pub commit_interval_behind: Duration,
    /// A commit is due at this many dirty pieces, whatever the interval. Default 400000: keeps a transaction
    /// below 250 MB, and lets a few hundred thousand members be folded for as long as `commit_interval_behind`.
    pub commit_pieces_max: usize,
    /// Larger values, in bytes, are refused. Default 1000000: Kafka's own default limit for a record is just above.
    pub value_bytes_max: usize,
}

/// What the members of the fold's group speak with the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// Everybody gives up every partition at each change; static membership.
    Classic,
    /// KIP-848, Kafka 4: only what moves is given up.
    Consumer,
}

/// What happens to a partition of which records are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnGap {
    Continue,
    /// It alone waits until somebody has acknowledged the gap.
    Hold,
}

#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// Folder for states that memory has no room for, and for a start that need not read everything again. Only a cache:
    /// it may be lost. It holds personal data and is readable by its owner alone. Default: what the
    /// platform gives a service or a user for its state, never a folder that all users share ([`state_dir`]). Empty: none,
    /// states are held in memory whole.
    pub dir: Option<PathBuf>,
    /// Estimate of the memory that states may take; what is used least goes to disk. Default 1GiB: some million pieces.
    #[serde(serialize_with = "effective::bytes")]
    pub memory_max: usize,
    /// How often states are saved, so that a start reads no more than what has changed since. Default 30 s.
    #[serde(serialize_with = "effective::duration")]
    pub save_interval: Duration,
}

#[derive(Clone, Debug, Serialize)]
pub struct Sink {
    /// Rows per collections call. Default and maximum 200: Salesforce's limit.
    pub batch_rows_max: usize,
    /// Requests under way to Salesforce at most; how many there are adapts. Default 8: well below its 25 long-running
    /// ones.
    pub requests_in_flight_max: usize,
    /// How long a request that is not full waits for more rows while another is under way; alone it waits a twentieth
    /// of it after the last row that came. Default 100 ms: the fold's own interval.
    #[serde(serialize_with = "effective::duration")]
    pub batch_wait: Duration,
    /// Share of the org's daily calls that is left to people and other applications, in percent. Default 20.
    pub budget_reserve_percent: u8,
    /// Rows of one object below which a backlog is never sent by the Bulk API; 0 turns it off. Default 2000, as Salesforce
    /// advises. Above it the cheaper way is taken.
    pub bulk_rows_min: usize,
    /// So many times the calls of a job may be spent on rows that people wait for, as a job takes longer. Default 4; 0:
    /// whatever is enough for a job goes as one.
    pub bulk_patience: usize,
    /// Rows read ahead of the slowest outcome, per instance. Default 200000: a Bulk job and what comes behind it, about
    /// 180 MB.
    pub rows_pending_max: usize,
    /// Attempts of one row at refusals that another way of writing it may mend, before it is a dead letter. Outages, row
    /// locks and what else passes do not count. Default 8: with the backoff below 13 to 25 s.
    pub attempts_max: u32,
    /// How long a row is held and tried again that meets what passes, as a lock does, before it is a dead letter. Default 1 h: longer than
    /// imports and recalculations of others hold a campaign.
    #[serde(serialize_with = "effective::duration")]
    pub lock_wait: Duration,
    /// First wait before another attempt. Default 200 ms.
    #[serde(serialize_with = "effective::duration")]
    pub backoff_min: Duration,
    /// Longest wait before another attempt. Default 30 s.
    #[serde(serialize_with = "effective::duration")]
    pub backoff_max: Duration,
}

#[derive(Clone, Serialize)]
pub struct Salesforce {
    /// Where tokens come from: My Domain, login.salesforce.com, test.salesforce.com, or the emulator. No default.
    pub login_url: String,
    /// Default "62.0".
    pub api_version: String,
    /// One request, from connecting to the last byte. Default 120 s: Salesforce gives up a call at that age.
    #[serde(serialize_with = "effective::duration")]
    pub request_timeout: Duration,
    /// PEM file of the authority that signed the certificate. None: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Default: as `HTTPS_PROXY` and the like say. Empty: none. What is on this machine and what `NO_PROXY` names is never
    /// reached through one.
    pub proxy: Proxy,
    pub auth: Auth,
}

#[derive(Clone, Serialize)]
#[serde(tag = "flow", rename_all = "snake_case")]
pub enum Auth {
    ClientCredentials {
        client_id: String,
        client_secret: Secret,
    },
    /// `private_key` is PEM.
    JwtBearer {
        client_id: String,
        username: String,
        private_key: Secret,
        /// Default: the login host of production or of sandboxes, as `login_url` tells; of other hosts, `login_url`.
        audience: String,
    },
    RefreshToken {
        client_id: String,
        /// None where the app does not ask for it.
        client_secret: Option<Secret>,
        /// Holds the token, and takes the next one where the org rotates.
        refresh_token_file: TokenFile,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct Http {
    /// Metrics and health. Port 0: any free one. Default 127.0.0.1:9464: nothing is open to the network unasked.
    pub listen: SocketAddr,
}

impl Default for Fold {
    fn default() -> Self {
        Self {
            threads: 1,
            group_protocol: GroupProtocol::Classic,
            on_gap: OnGap::Continue,
            commit_interval: Duration::from_millis(100),
            commit_interval_behind: Duration::from_secs(2),
            commit_pieces_max: 400_000,
            value_bytes_max: 1_000_000,
        }
    }
}

impl Default for State {
    /// In memory alone: where a folder would be depends on the environment.
    fn default() -> Self {
        Self { dir: None, memory_max: 1 << 30, save_interval: Duration::from_secs(30) }
    }
}

/// The folder for states where none is set: a subfolder of what systemd made for the service, since that one may be open to
/// others; else the user's own by the XDG base directory specification; else, of a service that has no home, the
/// system's.
pub fn state_dir(environment: Environment) -> PathBuf {
    let absolute = |text: String| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    let named = |name| environment(name).and_then(absolute);
    // Several are separated by colons; the first is the service's own.
    let of_service = environment("STATE_DIRECTORY").and_then(|list| absolute(list.split(':').next()?.to_owned()));
    let of_user = || named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")));
    of_service
        .map(|folder| folder.join("state"))
        .or_else(|| Some(of_user()?.join("rollbook")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/rollbook"))
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            batch_rows_max: 200,
            requests_in_flight_max: 8,
            batch_wait: Duration::from_millis(100),
            budget_reserve_percent: 20,
            bulk_rows_min: 2_000,
            bulk_patience: 4,
            rows_pending_max: 200_000,
            attempts_max: 8,
            lock_wait: Duration::from_hours(1),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)) }
    }
}

/// Looks up an environment variable; tests pass their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads and checks a file; relative paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, Invalid> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let hint = "name the file with --config, or set ROLLBOOK_CONFIG; rollbook.example.toml is a start";
            Invalid(vec![Problem::new(&path.display().to_string(), &format!("cannot be read: {error}"), hint)])
        })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")), &read_environment)
    }

    /// Checks the text of a file.
    pub fn parse(text: &str, base_dir: &Path, environment: Environment) -> Result<Self, Invalid> {
        parse::parse(text, base_dir, environment)
    }

    /// The effective configuration as TOML, secrets masked.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("the keys of every table are strings")
    }

    /// The effective configuration as JSON, secrets masked.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("the keys of every map are strings")
    }

    /// The section that the sink cannot do without.
    pub fn require_salesforce(&self) -> Result<&Salesforce, Invalid> {
        self.salesforce.as_ref().ok_or_else(|| {
            let hint = "add the section, or leave the sink out with --stages fold";
            Invalid(vec![Problem::new("salesforce", "missing, and the sink writes to Salesforce", hint)])
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn read_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Of the setting, as in `kafka.bootstrap`.
    pub path: String,
    pub message: String,
    pub hint: String,
}

impl Problem {
    fn new(path: &str, message: &str, hint: &str) -> Self {
        Self { path: path.to_owned(), message: message.to_owned(), hint: hint.to_owned() }
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} problem{}", if count == 1 { "" } else { "s" })?;
        for Problem { path, message, hint } in &self.0 {
            write!(f, "\n  {path}: {message}")?;
            if !hint.is_empty() {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}
