//! What the file says, turned into what the program works with; every problem on the way is noted and the rest goes
//! on with a default, so that one run finds them all.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::raw::{self, Leaf, Table};
use super::{Auth, Config, Environment, Fold, Http, Invalid, Kafka, Problem, Registry, Salesforce, Sink, Topics};
use super::{properties, raw::RawConfig};

pub(super) fn parse(text: &str, base_dir: &Path, environment: Environment) -> Result<Config, Invalid> {
    let mut raw: RawConfig = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or("").lines().count().max(1));
        Invalid(vec![Problem::new(&format!("line {line}"), &format!("not TOML: {}", error.message()), "")])
    })?;
    let mut check = Check { problems: Vec::new(), base_dir, environment };
    check.unknown("", &mut raw);
    let application = check.field("application", raw.application, "a name", |text| name(&text, 100));
    let kafka = check.kafka(raw.kafka);
    let topics = check.topics(raw.topics);
    let registry = check.optional_table("registry", raw.registry, Check::registry);
    let fold = check.fold(raw.fold);
    let sink = check.sink(raw.sink);
    let salesforce = check.optional_table("salesforce", raw.salesforce, Check::salesforce);
    let http = check.http(raw.http);
    if check.problems.is_empty() {
        let application = application.unwrap_or_else(|| "rollbook".to_owned());
        Ok(Config { application, kafka, topics, registry, fold, sink, salesforce, http })
    } else {
        Err(Invalid(check.problems))
    }
}

/// Collects problems while values are taken.
struct Check<'a> {
    problems: Vec<Problem>,
    base_dir: &'a Path,
    environment: Environment<'a>,
}

impl Check<'_> {
    fn note(&mut self, path: &str, message: &str, hint: &str) {
        self.problems.push(Problem::new(path, message, hint));
    }

    /// A field of its type that `accept` takes; None and a problem otherwise, None alone when absent.
    fn field<T, U>(
        &mut self,
        path: &str,
        leaf: Leaf<T>,
        expected: &str,
        accept: impl FnOnce(T) -> Option<U>,
    ) -> Option<U> {
        match leaf {
            Leaf::Absent => None,
            Leaf::Wrong(found) => {
                self.note(path, &format!("{found}, not {expected}"), "");
                None
            }
            Leaf::Value(value) => {
                let accepted = accept(value);
                if accepted.is_none() {
                    self.note(path, &format!("is not {expected}"), "");
                }
                accepted
            }
        }
    }

    fn required<T: Default>(&mut self, path: &str, leaf: Leaf<T>, expected: &str) -> T {
        if matches!(leaf, Leaf::Absent) {
            self.note(path, "missing", &format!("set it to {expected}"));
        }
        self.field(path, leaf, expected, Some).unwrap_or_default()
    }

    fn number<T: TryFrom<i64>>(&mut self, path: &str, leaf: Leaf<i64>, default: T, range: RangeInclusive<i64>) -> T {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let accept = |value| range.contains(&value).then_some(value).and_then(|value| T::try_from(value).ok());
        self.field(path, leaf, &expected, accept).unwrap_or(default)
    }

    fn duration(&mut self, path: &str, leaf: Leaf<String>, default: Duration) -> Duration {
        let accept = |text: String| {
            let value: jiff::SignedDuration = text.parse().ok()?;
            let value = Duration::try_from(value).ok()?;
            (Duration::from_millis(1)..=Duration::from_hours(1)).contains(&value).then_some(value)
        };
        self.field(path, leaf, "a duration like \"100ms\" or \"30s\", at most an hour", accept).unwrap_or(default)
    }

    /// A table and a problem for each of its fields that nobody knows; empty when absent.
    fn table<T: Table>(&mut self, path: &str, leaf: Leaf<T>) -> T {
        let mut table = self.field(path, leaf, "a table", Some).unwrap_or_default();
        self.unknown(path, &mut table);
        table
    }

    fn optional_table<T: Table, U>(
        &mut self,
        path: &str,
        leaf: Leaf<T>,
        build: impl FnOnce(&mut Self, T) -> U,
    ) -> Option<U> {
        if matches!(leaf, Leaf::Absent) {
            return None;
        }
        let table = self.table(path, leaf);
        Some(build(self, table))
    }

    fn unknown<T: Table>(&mut self, path: &str, table: &mut T) {
        for name in table.take_unknown().into_keys() {
            let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let known = T::FIELDS.join(", ");
            self.note(&full, "no such setting", &format!("there are {known}"));
        }
    }

    fn path(&self, text: &str) -> PathBuf {
        self.base_dir.join(text)
    }

    fn file(&mut self, path: &str, leaf: Leaf<String>) -> Option<PathBuf> {
        let file = self.field(path, leaf, "the path of a file", Some).map(|text| self.path(&text))?;
        if let Err(error) = fs::File::open(&file) {
            self.note(path, &format!("`{}` cannot be read: {error}", file.display()), "");
        }
        Some(file)
    }

    /// A secret out of a file, else out of the environment. The line end that editors add is cut off.
    fn secret(&mut self, path: &str, leaf: Leaf<String>, variable: &str) -> Option<SecretString> {
        let Some(text) = self.field(path, leaf, "the path of a file", Some) else {
            return (self.environment)(variable).map(SecretString::from);
        };
        let file = self.path(&text);
        match fs::read_to_string(&file) {
            Ok(secret) if secret.trim().is_empty() => self.note(path, &format!("`{}` is empty", file.display()), ""),
            Ok(secret) => return Some(SecretString::from(secret.trim_end_matches(['\r', '\n']))),
            Err(error) => self.note(path, &format!("`{}` cannot be read: {error}", file.display()), ""),
        }
        // The problem is noted; a value keeps it from being reported as missing, too.
        Some(SecretString::default())
    }

    fn required_secret(&mut self, path: &str, leaf: Leaf<String>, variable: &str) -> SecretString {
        self.secret(path, leaf, variable).unwrap_or_else(|| {
            self.note(path, "missing", &format!("set it to the path of a file, or set {variable}"));
            SecretString::default()
        })
    }

    fn url(&mut self, path: &str, leaf: Leaf<String>) -> String {
        let url = self.required(path, leaf, "a URL");
        if url.is_empty() {
            return url;
        }
        match url_problem(&url) {
            Some((message, hint)) => self.note(path, message, hint),
            None => return url.trim_end_matches('/').to_owned(),
        }
        url
    }
}

/// The sections.
impl Check<'_> {
    fn kafka(&mut self, leaf: Leaf<raw::RawKafka>) -> Kafka {
        let raw = self.table("kafka", leaf);
        let bootstrap = self.required("kafka.bootstrap", raw.bootstrap, "\"host:port\", several with commas");
        if !bootstrap.is_empty() && !bootstrap.split(',').all(|server| host_port(server.trim())) {
            self.note("kafka.bootstrap", "is not a list of host:port", "write \"broker-1:9092,broker-2:9092\"");
        }
        let instance = self.field("kafka.instance", raw.instance, "a name", |text| name(&text, 100));
        let values = self.field("kafka.properties", raw.properties, "a table", Some).unwrap_or_default();
        let files = self.field("kafka.properties_files", raw.properties_files, "a table", Some).unwrap_or_default();
        Kafka { bootstrap, instance, properties: self.properties(values, files) }
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
                self.note(&path, &format!("is a {}, not a text, number or boolean", value.type_str()), "");
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
            let leaf = file
                .as_str()
                .map_or(Leaf::Wrong(format!("is a {}", file.type_str())), |text| Leaf::Value(text.to_owned()));
            let value = self.secret(&path, leaf, "").unwrap_or_default();
            if let Some((message, hint)) = properties::problem(&name, secrecy::ExposeSecret::expose_secret(&value)) {
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

    fn topics(&mut self, leaf: Leaf<raw::RawTopics>) -> Topics {
        let raw = self.table("topics", leaf);
        let default = Topics::default();
        let mut seen = BTreeMap::new();
        let mut topic = |field: &str, leaf, default| {
            let path = format!("topics.{field}");
            let expected = "a topic name: letters, digits, '.', '_' and '-', at most 249";
            let topic: String = self.field(&path, leaf, expected, |text: String| name(&text, 249)).unwrap_or(default);
            if let Some(other) = seen.insert(topic.clone(), path.clone()) {
                self.note(&path, &format!("names the same topic as {other}"), "give each its own");
            }
            topic
        };
        Topics {
            registrations: topic("registrations", raw.registrations, default.registrations),
            attendance: topic("attendance", raw.attendance, default.attendance),
            polls: topic("polls", raw.polls, default.polls),
            reactions: topic("reactions", raw.reactions, default.reactions),
            views: topic("views", raw.views, default.views),
            sessions: topic("sessions", raw.sessions, default.sessions),
            resolved: topic("resolved", raw.resolved, default.resolved),
            catalogue: topic("catalogue", raw.catalogue, default.catalogue),
            state: topic("state", raw.state, default.state),
            upserts: topic("upserts", raw.upserts, default.upserts),
            outcomes: topic("outcomes", raw.outcomes, default.outcomes),
            dead_letters: topic("dead_letters", raw.dead_letters, default.dead_letters),
            partitions: self.number("topics.partitions", raw.partitions, default.partitions, 1..=10_000),
            replication_factor: self.number(
                "topics.replication_factor",
                raw.replication_factor,
                default.replication_factor,
                1..=32,
            ),
            create: self.field("topics.create", raw.create, "true or false", Some).unwrap_or(default.create),
        }
    }

    fn registry(&mut self, raw: raw::RawRegistry) -> Registry {
        let url = self.url("registry.url", raw.url);
        let username = self.field("registry.username", raw.username, "a text", Some);
        let password = self.secret("registry.password_file", raw.password_file, "ROLLBOOK_REGISTRY_PASSWORD");
        if username.is_some() != password.is_some() {
            let hint = "set registry.username and either registry.password_file or ROLLBOOK_REGISTRY_PASSWORD";
            self.note("registry", "has a user name or a password, but not both", hint);
        }
        Registry { url, username, password, ca_file: self.file("registry.ca_file", raw.ca_file) }
    }

    fn fold(&mut self, leaf: Leaf<raw::RawFold>) -> Fold {
        let raw = self.table("fold", leaf);
        let default = Fold::default();
        let fold = Fold {
            threads: self.number("fold.threads", raw.threads, default.threads, 1..=256),
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

    fn sink(&mut self, leaf: Leaf<raw::RawSink>) -> Sink {
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
            rows_pending_max: self.number(
                "sink.rows_pending_max",
                raw.rows_pending_max,
                default.rows_pending_max,
                1..=10_000_000,
            ),
            attempts_max: self.number("sink.attempts_max", raw.attempts_max, default.attempts_max, 1..=1_000),
            backoff_min: self.duration("sink.backoff_min", raw.backoff_min, default.backoff_min),
            backoff_max: self.duration("sink.backoff_max", raw.backoff_max, default.backoff_max),
        };
        if sink.backoff_min > sink.backoff_max {
            self.note("sink.backoff_max", "is shorter than sink.backoff_min", "");
        }
        sink
    }

    fn salesforce(&mut self, raw: raw::RawSalesforce) -> Salesforce {
        let login_url = self.url("salesforce.login_url", raw.login_url);
        let version = |text: String| text.strip_suffix(".0")?.parse::<u32>().is_ok().then_some(text);
        let api_version = self.field("salesforce.api_version", raw.api_version, "a version like \"62.0\"", version);
        let default = Duration::from_mins(2);
        Salesforce {
            auth: self.auth(raw.auth, &login_url),
            login_url,
            api_version: api_version.unwrap_or_else(|| "62.0".to_owned()),
            request_timeout: self.duration("salesforce.request_timeout", raw.request_timeout, default),
            ca_file: self.file("salesforce.ca_file", raw.ca_file),
        }
    }

    fn auth(&mut self, leaf: Leaf<raw::RawAuth>, login_url: &str) -> Auth {
        let raw = self.table("salesforce.auth", leaf);
        let flow = self.required("salesforce.auth.flow", raw.flow, "\"client_credentials\" or \"jwt_bearer\"");
        let client_id = self.required("salesforce.auth.client_id", raw.client_id, "the app's consumer key");
        if flow == "jwt_bearer" {
            let audience = self.field("salesforce.auth.audience", raw.audience, "a URL", Some);
            return Auth::JwtBearer {
                client_id,
                username: self.required("salesforce.auth.username", raw.username, "the integration user's name"),
                private_key: self.required_secret(
                    "salesforce.auth.private_key_file",
                    raw.private_key_file,
                    "ROLLBOOK_SALESFORCE_PRIVATE_KEY",
                ),
                audience: audience.unwrap_or_else(|| login_url.to_owned()),
            };
        }
        if !flow.is_empty() && flow != "client_credentials" {
            self.note("salesforce.auth.flow", "is no known flow", "write \"client_credentials\" or \"jwt_bearer\"");
        }
        let path = "salesforce.auth.client_secret_file";
        let variable = "ROLLBOOK_SALESFORCE_CLIENT_SECRET";
        Auth::ClientCredentials {
            client_id,
            client_secret: self.required_secret(path, raw.client_secret_file, variable),
        }
    }

    fn http(&mut self, leaf: Leaf<raw::RawHttp>) -> Http {
        let raw = self.table("http", leaf);
        let listen = self.field("http.listen", raw.listen, "an address like \"127.0.0.1:9464\"", |text| {
            text.parse::<SocketAddr>().ok()
        });
        listen.map_or_else(Http::default, |listen| Http { listen })
    }
}

/// Letters, digits, '.', '_' and '-': what Kafka takes in names of topics, groups and instances.
fn name(text: &str, len_max: usize) -> Option<String> {
    let legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (legal && (1..=len_max).contains(&text.len()) && text != "." && text != "..").then(|| text.to_owned())
}

fn host_port(server: &str) -> bool {
    server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn property_text(value: &toml::Value) -> Option<String> {
    value
        .as_str()
        .map(str::to_owned)
        .or_else(|| value.as_integer().map(|number| number.to_string()))
        .or_else(|| value.as_float().map(|number| number.to_string()))
        .or_else(|| value.as_bool().map(|truth| truth.to_string()))
}

/// What is wrong with a URL that secrets are sent to.
fn url_problem(url: &str) -> Option<(&'static str, &'static str)> {
    let Ok(parsed) = reqwest::Url::parse(url) else {
        return Some(("is not a URL", "write it like \"https://example.my.salesforce.com\""));
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Some(("holds a user name or password", "URLs are logged; there are settings for both"));
    }
    let host = parsed.host_str().unwrap_or("");
    // A name without a dot is one of this machine or of a container network.
    let near =
        !host.contains(['.', ':']) || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match parsed.scheme() {
        "https" => None,
        "http" if near => None,
        "http" => Some(("is not encrypted", "use https; http is taken for this machine and container networks only")),
        _ => Some(("is neither http nor https", "")),
    }
}
