//! The sections of the file, one function each: which field takes what, and what must hold between fields.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::parse::{Check, NAME, host_port, name, property_text};
use super::proxy::RawProxy;
use super::raw::{self, Leaf};
use super::{
    Fold, GroupProtocol, Http, Kafka, OnGap, Registry, Salesforce, Sink, State, Topics, properties, state_dir,
};

fn group_protocol(text: &str) -> Option<GroupProtocol> {
    match text {
        "classic" => Some(GroupProtocol::Classic),
        "consumer" => Some(GroupProtocol::Consumer),
        _ => None,
    }
}

fn on_gap(text: &str) -> Option<OnGap> {
    match text {
        "continue" => Some(OnGap::Continue),
        "hold" => Some(OnGap::Hold),
        _ => None,
    }
}

/// The first version whose collections can be upserted.
const API_VERSION_MIN: u32 = 46;

impl Check<'_> {
    pub(super) fn kafka(&mut self, leaf: Leaf<raw::RawKafka>) -> Kafka {
        let raw = self.table("kafka", leaf);
        let given = matches!(raw.bootstrap, Leaf::Value(_));
        let bootstrap = self.required("kafka.bootstrap", raw.bootstrap, "\"host:port\", several with commas");
        if given && !bootstrap.split(',').all(|server| host_port(server.trim())) {
            self.note("kafka.bootstrap", "is not a list of host:port", "write \"broker-1:9092,broker-2:9092\"");
        }
        let instance = self.field("kafka.instance", raw.instance, NAME, |text| name(&text, 100));
        let values = self.field("kafka.properties", raw.properties, "a table", Some).unwrap_or_default();
        let files = self.field("kafka.properties_files", raw.properties_files, "a table", Some).unwrap_or_default();
        let place = |(name, file): (&String, &toml::Value)| Some((name.clone(), self.path(file.as_str()?)));
        let properties_files = files.iter().filter_map(place).collect();
        Kafka { bootstrap, instance, properties: self.properties(values, files), properties_files }
    }

    fn properties(
        &mut self,
        values: BTreeMap<String, toml::Value>,
        files: BTreeMap<String, toml::Value>,
    ) -> BTreeMap<String, SecretString> {
        let mut properties = BTreeMap::new();
        for (name, value) in values {
            let path = format!("kafka.properties.{name:?}");
            let Some(text) = property_text(&value) else {
                self.note(&path, &format!("{}, not a text, number or boolean", raw::is_a(value.type_str())), "");
                continue;
            };
            if files.contains_key(&name) {
                self.note(&path, "is in kafka.properties_files, too", "keep the file");
            }
            if let Some((message, hint)) = properties::problem(&name, &text) {
                self.note(&path, &message, &hint);
            }
            properties.insert(name, SecretString::from(text));
        }
        for (name, file) in files {
            let path = format!("kafka.properties_files.{name:?}");
            let leaf =
                file.as_str().map_or(Leaf::Wrong(raw::is_a(file.type_str())), |text| Leaf::Value(text.to_owned()));
            let value = self.secret(&path, leaf, "").unwrap_or_default();
            if let Some((message, hint)) = properties::problem(&name, value.expose_secret()) {
                self.note(&path, &message, &hint);
            }
            properties.insert(name, value);
        }
        for (name, variable) in properties::FROM_ENVIRONMENT {
            if !properties.contains_key(*name)
                && let Some(value) = (self.environment)(variable)
            {
                properties.insert((*name).to_owned(), SecretString::from(value));
            }
        }
        properties
    }

    pub(super) fn topics(&mut self, leaf: Leaf<raw::RawTopics>) -> Topics {
        let mut raw = self.table("topics", leaf);
        let mut seen = BTreeMap::new();
        let names = Topics::named(|topic| {
            let path = format!("topics.{}", topic.label());
            let expected = "a topic name: letters, digits, '.', '_' and '-', at most 249";
            let given = self.field(&path, raw.take_name(topic), expected, |text: String| name(&text, 249));
            let given = given.unwrap_or_else(|| topic.default_name().to_owned());
            if let Some(other) = seen.insert(given.clone(), path.clone()) {
                self.note(&path, &format!("names the same topic as {other}"), "give each its own");
            }
            given
        });
        Topics {
            partitions: self.number("topics.partitions", raw.partitions, names.partitions, 1..=10_000),
            replication_factor: self.number(
                "topics.replication_factor",
                raw.replication_factor,
                names.replication_factor,
                1..=32,
            ),
            create: self.field("topics.create", raw.create, "true or false", Some).unwrap_or(names.create),
            check_settings: self
                .field("topics.check_settings", raw.check_settings, "true or false", Some)
                .unwrap_or(names.check_settings),
            ..names
        }
    }

    pub(super) fn registry(&mut self, raw: raw::RawRegistry) -> Registry {
        let url = self.url("registry.url", raw.url);
        let username = self.field("registry.username", raw.username, "a text", Some);
        let password = self.secret("registry.password_file", raw.password_file, "ROLLBOOK_REGISTRY_PASSWORD");
        if username.is_some() != password.is_some() {
            let hint = "set registry.username and either registry.password_file or ROLLBOOK_REGISTRY_PASSWORD";
            self.note("registry", "has a user name or a password, but not both", hint);
        }
        let proxy = self.proxy_of_environment(&url);
        Registry { url, username, password, ca_file: self.file("registry.ca_file", raw.ca_file), proxy }
    }

    pub(super) fn fold(&mut self, leaf: Leaf<raw::RawFold>) -> Fold {
        let raw = self.table("fold", leaf);
        let default = Fold::default();
        let fold = Fold {
            threads: self.number("fold.threads", raw.threads, default.threads, 1..=256),
            group_protocol: self
                .field("fold.group_protocol", raw.group_protocol, "\"classic\" or \"consumer\"", |text| {
                    group_protocol(&text)
                })
                .unwrap_or(default.group_protocol),
            on_gap: self
                .field("fold.on_gap", raw.on_gap, "\"continue\" or \"hold\"", |text| on_gap(&text))
                .unwrap_or(default.on_gap),
            commit_interval: self.duration("fold.commit_interval", raw.commit_interval, default.commit_interval),
            commit_interval_behind: self.duration(
                "fold.commit_interval_behind",
                raw.commit_interval_behind,
                default.commit_interval_behind,
            ),
            commit_pieces_max: self.number(
                "fold.commit_pieces_max",
                raw.commit_pieces_max,
                default.commit_pieces_max,
                1..=10_000_000,
            ),
            // A refused record goes whole into a dead letter, of which the topic takes 10 MiB.
            value_bytes_max: self.number(
                "fold.value_bytes_max",
                raw.value_bytes_max,
                default.value_bytes_max,
                1_000..=8_000_000,
            ),
        };
        if fold.commit_interval > fold.commit_interval_behind {
            let hint = "a backlog is folded faster with fewer commits";
            self.note("fold.commit_interval_behind", "is shorter than fold.commit_interval", hint);
        }
        fold
    }

    pub(super) fn state(&mut self, leaf: Leaf<raw::RawState>) -> State {
        let raw = self.table("state", leaf);
        let default = State::default();
        let dir = self.field("state.dir", raw.dir, "the path of a folder, or empty", Some::<String>);
        State {
            dir: match dir {
                None => Some(state_dir(self.environment)),
                Some(dir) => (!dir.is_empty()).then(|| self.path(&dir)),
            },
            memory_max: self.bytes("state.memory_max", raw.memory_max, default.memory_max),
            save_interval: self.duration("state.save_interval", raw.save_interval, default.save_interval),
        }
    }

    pub(super) fn sink(&mut self, leaf: Leaf<raw::RawSink>) -> Sink {
        let raw = self.table("sink", leaf);
        let default = Sink::default();
        let sink = Sink {
            batch_rows_max: self.number("sink.batch_rows_max", raw.batch_rows_max, default.batch_rows_max, 1..=200),
            requests_in_flight_max: self.number(
                "sink.requests_in_flight_max",
                raw.requests_in_flight_max,
                default.requests_in_flight_max,
                1..=100,
            ),
            batch_wait: self.duration("sink.batch_wait", raw.batch_wait, default.batch_wait),
            budget_reserve_percent: self.number(
                "sink.budget_reserve_percent",
                raw.budget_reserve_percent,
                default.budget_reserve_percent,
                0..=99,
            ),
            bulk_rows_min: self.number("sink.bulk_rows_min", raw.bulk_rows_min, default.bulk_rows_min, 0..=150_000),
            bulk_patience: self.number("sink.bulk_patience", raw.bulk_patience, default.bulk_patience, 0..=1_000),
            rows_pending_max: self.number(
                "sink.rows_pending_max",
                raw.rows_pending_max,
                default.rows_pending_max,
                1..=10_000_000,
            ),
            attempts_max: self.number("sink.attempts_max", raw.attempts_max, default.attempts_max, 1..=1_000),
            lock_wait: self.duration("sink.lock_wait", raw.lock_wait, default.lock_wait),
            backoff_min: self.duration("sink.backoff_min", raw.backoff_min, default.backoff_min),
            backoff_max: self.duration("sink.backoff_max", raw.backoff_max, default.backoff_max),
        };
        if sink.backoff_min > sink.backoff_max {
            self.note("sink.backoff_max", "is shorter than sink.backoff_min", "");
        }
        sink
    }

    pub(super) fn salesforce(&mut self, raw: raw::RawSalesforce) -> Salesforce {
        let login_url = self.url("salesforce.login_url", raw.login_url);
        let version = |text: String| {
            let number: u32 = text.strip_suffix(".0")?.parse().ok()?;
            (number >= API_VERSION_MIN).then_some(text)
        };
        let expected = "a version like \"62.0\", at least \"46.0\"";
        let api_version = self.field("salesforce.api_version", raw.api_version, expected, version);
        let default = Duration::from_mins(2);
        let proxy = RawProxy { url: raw.proxy, username: raw.proxy_username, password_file: raw.proxy_password_file };
        Salesforce {
            proxy: self.salesforce_proxy(proxy, &login_url),
            auth: self.auth(raw.auth, &login_url),
            login_url,
            api_version: api_version.unwrap_or_else(|| "62.0".to_owned()),
            request_timeout: self.duration("salesforce.request_timeout", raw.request_timeout, default),
            ca_file: self.file("salesforce.ca_file", raw.ca_file),
        }
    }

    pub(super) fn http(&mut self, leaf: Leaf<raw::RawHttp>) -> Http {
        let raw = self.table("http", leaf);
        let listen = self.field("http.listen", raw.listen, "an address like \"127.0.0.1:9464\"", |text| {
            text.parse::<SocketAddr>().ok()
        });
        listen.map_or_else(Http::default, |listen| Http { listen })
    }
}
