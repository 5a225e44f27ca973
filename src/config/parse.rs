//! What the file says, turned into what the program works with; every problem on the way is noted and the rest goes
//! on with a default, so that one run finds them all.

use std::fs;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::raw::{Leaf, RawConfig, Table};
use super::{Config, Environment, Invalid, Problem, Secret};

pub(super) fn parse(text: &str, base_dir: &Path, environment: Environment) -> Result<Config, Invalid> {
    let mut raw: RawConfig = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or("").lines().count().max(1));
        Invalid(vec![Problem::new(&format!("line {line}"), &format!("not TOML: {}", error.message()), "")])
    })?;
    let mut check = Check { problems: Vec::new(), base_dir, environment };
    check.unknown("", &mut raw);
    let application = check.field("application", raw.application, NAME, |text| name(&text, 100));
    let kafka = check.kafka(raw.kafka);
    let topics = check.topics(raw.topics);
    let registry = check.optional_table("registry", raw.registry, Check::registry);
    let fold = check.fold(raw.fold);
    let state = check.state(raw.state);
    let sink = check.sink(raw.sink);
    let salesforce = check.optional_table("salesforce", raw.salesforce, Check::salesforce);
    let http = check.http(raw.http);
    if check.problems.is_empty() {
        let application = application.unwrap_or_else(|| "rollbook".to_owned());
        Ok(Config { application, kafka, topics, registry, fold, state, sink, salesforce, http })
    } else {
        Err(Invalid(check.problems))
    }
}

/// What [`name`] takes of a setting that begins the names of groups and transactions.
pub(super) const NAME: &str = "a name: letters, digits, '.', '_' and '-', at most 100";

/// Collects problems while values are taken.
pub(super) struct Check<'a> {
    problems: Vec<Problem>,
    base_dir: &'a Path,
    pub(super) environment: Environment<'a>,
}

impl Check<'_> {
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn note(&mut self, path: &str, message: &str, hint: &str) {
        self.problems.push(Problem::new(path, message, hint));
    }

    /// A field of its type that `accept` takes; None and a problem otherwise, None alone when absent.
    pub(super) fn field<T, U>(
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

    pub(super) fn required<T: Default>(&mut self, path: &str, leaf: Leaf<T>, expected: &str) -> T {
        if matches!(leaf, Leaf::Absent) {
            self.note(path, "missing", &format!("set it to {expected}"));
        }
        self.field(path, leaf, expected, Some).unwrap_or_default()
    }

    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        path: &str,
        leaf: Leaf<i64>,
        default: T,
        range: RangeInclusive<i64>,
    ) -> T {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let accept = |value| range.contains(&value).then_some(value).and_then(|value| T::try_from(value).ok());
        self.field(path, leaf, &expected, accept).unwrap_or(default)
    }

    pub(super) fn duration(&mut self, path: &str, leaf: Leaf<String>, default: Duration) -> Duration {
        let accept = |text: String| {
            let value: jiff::SignedDuration = text.parse().ok()?;
            let value = Duration::try_from(value).ok()?;
            (Duration::from_millis(1)..=Duration::from_hours(1)).contains(&value).then_some(value)
        };
        self.field(path, leaf, "a duration like \"100ms\" or \"30s\", at most an hour", accept).unwrap_or(default)
    }

    /// Bytes, written "512MiB".
    pub(super) fn bytes(&mut self, path: &str, leaf: Leaf<String>, default: usize) -> usize {
        let accept = |text: String| {
            let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
            let (number, shift) = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))?;
            number.trim().parse::<usize>().ok()?.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
        };
        self.field(path, leaf, "a size like \"512MiB\" or \"2GiB\"", accept).unwrap_or(default)
    }

    /// A table and a problem for each of its fields that nobody knows; empty when absent.
    pub(super) fn table<T: Table>(&mut self, path: &str, leaf: Leaf<T>) -> T {
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
            let known = T::fields().join(", ");
            self.note(&full, "no such setting", &format!("there are {known}"));
        }
    }

    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.base_dir.join(text)
    }

    pub(super) fn file(&mut self, path: &str, leaf: Leaf<String>) -> Option<PathBuf> {
        let file = self.field(path, leaf, "the path of a file", Some).map(|text| self.path(&text))?;
        if let Err(error) = fs::File::open(&file) {
            self.note(path, &format!("`{}` cannot be read: {error}", file.display()), "");
        }
        Some(file)
    }

    /// A secret out of a file, else out of the environment. The line end that editors add is cut off.
    pub(super) fn secret(&mut self, path: &str, leaf: Leaf<String>, variable: &str) -> Option<SecretString> {
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

    /// The same, of a login: its file is read again at each one. Also as it is now.
    pub(super) fn login_secret(
        &mut self,
        path: &str,
        leaf: Leaf<String>,
        variable: &str,
    ) -> Option<(Secret, SecretString)> {
        let file = if let Leaf::Value(text) = &leaf { Some(self.path(text)) } else { None };
        let now = self.secret(path, leaf, variable)?;
        Some((file.map_or_else(|| Secret::fixed(now.clone()), Secret::of_file), now))
    }

    pub(super) fn required_login_secret(
        &mut self,
        path: &str,
        leaf: Leaf<String>,
        variable: &str,
    ) -> (Secret, SecretString) {
        self.login_secret(path, leaf, variable).unwrap_or_else(|| {
            self.note(path, "missing", &format!("set it to the path of a file, or set {variable}"));
            (Secret::fixed(SecretString::default()), SecretString::default())
        })
    }

    pub(super) fn url(&mut self, path: &str, leaf: Leaf<String>) -> String {
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

/// Letters, digits, '.', '_' and '-': what Kafka takes in names of topics, groups and instances.
pub(super) fn name(text: &str, len_max: usize) -> Option<String> {
    let legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (legal && (1..=len_max).contains(&text.len()) && text != "." && text != "..").then(|| text.to_owned())
}

pub(super) fn host_port(server: &str) -> bool {
    server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

pub(super) fn property_text(value: &toml::Value) -> Option<String> {
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
