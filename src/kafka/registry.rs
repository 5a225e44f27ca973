//! Client of a schema registry that speaks Confluent's API (Confluent, Apicurio under `/apis/ccompat/v7`, Redpanda,
//! Karapace).
//!
//! An answer is the schema's text, or why there will be none: no schema of this id, a reference that leads nowhere, too
//! many of them. Everything else is an error that may pass, and the caller waits and asks again: taking an outage for "no
//! such schema" would throw good records away, and waiting for what never comes would stop all records for five bytes.
//! A 404 without the registry's own error code is either: an id that its API cannot take, or a path that leads elsewhere.
//! It counts as an answer only where `GET /subjects` is answered as a registry does.
//!
//! What a schema refers to is fetched too and written into it, so that what leaves here stands alone.
//!
//! Errors name the path asked for and the status, never the URL's user part or the credentials.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Certificate, Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value as Json;
use tracing::debug;

use crate::config;
use crate::event::{Refusal, RefusalReason};

/// A registry answers from memory; one that takes longer is not well.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Schemas that one schema may refer to, directly and through others.
const REFERENCES_MAX: usize = 64;

/// Confluent's error codes for a subject, a version and an id that do not exist.
const NOT_FOUND: [i64; 3] = [40_401, 40_402, 40_403];

/// Ids are 31 bits wide in Confluent's API, which answers larger ones in many ways; no registry has given one away.
const ID_MAX: u32 = i32::MAX.unsigned_abs();

/// The schema's text with all that it refers to, or why every record of this id is refused.
pub type Schema = Result<String, Refusal>;

/// Reads schemas by id.
pub struct Registry {
    http: Client,
    base: Url,
    credentials: Option<(String, Option<SecretString>)>,
}

/// Why the registry gave no answer. All may pass, so the caller tries again.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("ask the schema registry for `{path}`")]
    Unreachable {
        path: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("ask the schema registry for `{path}`: it answered {status}\n  hint: {hint}")]
    Status { path: String, status: StatusCode, hint: &'static str },
    #[error(
        "ask the schema registry for `{path}`: the answer is not of Confluent's API\n  hint: check the path of registry.url"
    )]
    Answer { path: String },
}

impl RegistryError {
    /// The error and its causes on one line, for a log: a certificate of an unknown authority shows in a cause alone.
    pub fn with_causes(&self) -> String {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        causes.fold(self.to_string(), |told, cause| format!("{told}: {cause}"))
    }
}

/// Why no client could be made of the settings.
#[derive(Debug, thiserror::Error)]
pub enum RegistrySetupError {
    #[error("registry.url is no http or https URL")]
    Url,
    #[error("read registry.ca_file `{path}`")]
    CaFile {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("set up the connection to the schema registry")]
    Client(#[source] reqwest::Error),
}

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(default)]
    references: Vec<Reference>,
}

/// A name in a schema's text that stands for a version of a subject.
#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct Refused {
    error_code: i64,
}

/// What the registry said to a question.
enum Said {
    Schema(Answer),
    /// There is none, and asking again will not make one.
    None,
    /// There may be none, or the path leads elsewhere: this it is where it does.
    Perhaps(RegistryError),
}

impl Registry {
    pub fn new(settings: &config::Registry) -> Result<Self, RegistrySetupError> {
        let mut base: Url = settings.url.parse().map_err(|_| RegistrySetupError::Url)?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(RegistrySetupError::Url);
        }
        let in_url = (!base.username().is_empty())
            .then(|| (base.username().to_owned(), base.password().map(|password| password.to_owned().into())));
        let in_settings = settings.username.clone().map(|username| (username, settings.password.clone()));
        // From here on they travel in a header alone, so that no error shows them.
        base.set_username("").map_err(|()| RegistrySetupError::Url)?;
        base.set_password(None).map_err(|()| RegistrySetupError::Url)?;
        let http = Client::builder().timeout(TIMEOUT);
        let mut http = settings.proxy.of_client(http).map_err(RegistrySetupError::Client)?;
        if let Some(path) = &settings.ca_file {
            let unread = |source| RegistrySetupError::CaFile { path: path.display().to_string(), source };
            let pem = std::fs::read(path).map_err(unread)?;
            for certificate in Certificate::from_pem_bundle(&pem).map_err(RegistrySetupError::Client)? {
                http = http.add_root_certificate(certificate);
            }
        }
        let http = http.build().map_err(RegistrySetupError::Client)?;
        Ok(Self { http, base, credentials: in_settings.or(in_url) })
    }

    pub async fn schema(&self, id: u32) -> Result<Schema, RegistryError> {
        let unknown = |detail: String| Err(Refusal { reason: RefusalReason::UnknownSchema, detail });
        if id > ID_MAX {
            return Ok(unknown("no registry gives such an id".to_owned()));
        }
        let Some(answer) = self.get(&["schemas", "ids", &id.to_string()]).await? else {
            return Ok(unknown("the registry has no such schema".to_owned()));
        };
        if answer.references.is_empty() {
            return Ok(Ok(answer.schema));
        }
        let mut texts = BTreeMap::new();
        let mut open = answer.references;
        while let Some(reference) = open.pop() {
            // One that was met before, perhaps on a way around.
            if texts.contains_key(&reference.name) {
                continue;
            }
            if texts.len() == REFERENCES_MAX {
                let detail = format!("it refers to more than {REFERENCES_MAX} others");
                return Ok(Err(Refusal { reason: RefusalReason::IncompatibleSchema, detail }));
            }
            let Reference { name, subject, version } = reference;
            let Some(referred) = self.get(&["subjects", &subject, "versions", &version.to_string()]).await? else {
                let missing =
                    format!("it refers to version {version} of `{subject}`, which the registry does not have");
                return Ok(unknown(missing));
            };
            texts.insert(name, referred.schema);
            open.extend(referred.references);
        }
        Ok(Ok(stand_alone(&answer.schema, &texts)))
    }

    /// None: there is no such schema.
    async fn get(&self, segments: &[&str]) -> Result<Option<Answer>, RegistryError> {
        match self.ask(segments).await? {
            Said::Schema(answer) => Ok(Some(answer)),
            Said::None => Ok(None),
            Said::Perhaps(error) if self.answers().await? => {
                debug!(error = error.to_string(), "taken for `no such schema`: the registry itself answers");
                Ok(None)
            }
            Said::Perhaps(error) => Err(error),
        }
    }

    /// Whether what is behind the URL answers as a registry does.
    async fn answers(&self) -> Result<bool, RegistryError> {
        let (status, body) = self.fetch(&["subjects"]).await?;
        Ok(status.is_success() && serde_json::from_slice::<Vec<String>>(&body).is_ok())
    }

    async fn ask(&self, segments: &[&str]) -> Result<Said, RegistryError> {
        let (status, body) = self.fetch(segments).await?;
        let path = segments.join("/");
        if status.is_success() {
            return serde_json::from_slice(&body).map(Said::Schema).map_err(|_| RegistryError::Answer { path });
        }
        let refused: Option<Refused> = serde_json::from_slice(&body).ok();
        if status == StatusCode::NOT_FOUND && refused.is_some_and(|refused| NOT_FOUND.contains(&refused.error_code)) {
            return Ok(Said::None);
        }
        let error = RegistryError::Status { path, status, hint: hint(status) };
        if lasts(status) { Ok(Said::Perhaps(error)) } else { Err(error) }
    }

    async fn fetch(&self, segments: &[&str]) -> Result<(StatusCode, Bytes), RegistryError> {
        let path = segments.join("/");
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut parts) => {
                parts.pop_if_empty().extend(segments);
            }
            Err(()) => return Err(RegistryError::Answer { path }),
        }
        let mut request =
            self.http.get(url).header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some((username, password)) = &self.credentials {
            request = request.basic_auth(username, password.as_ref().map(ExposeSecret::expose_secret));
        }
        let unreachable = |source: reqwest::Error| RegistryError::Unreachable { path, source: source.without_url() };
        let answered = async {
            let response = request.send().await?;
            Ok((response.status(), response.bytes().await?))
        };
        answered.await.map_err(unreachable)
    }
}

/// Whether the same question is answered in the same way for as long as nobody changes something.
fn lasts(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNPROCESSABLE_ENTITY
    )
}

fn hint(status: StatusCode) -> &'static str {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        "check registry.username and registry.password_file"
    } else if status == StatusCode::NOT_FOUND {
        "check the path of registry.url"
    } else {
        "look at the registry's own log"
    }
}

/// The schema with the definition of each reference in the place of its first mention. Texts that are no JSON stay as
/// they are: the decoder refuses them by name.
fn stand_alone(text: &str, texts: &BTreeMap<String, String>) -> String {
    let Ok(mut schema) = serde_json::from_str::<Json>(text) else { return text.to_owned() };
    let mut definitions: BTreeMap<String, Json> =
        texts.iter().filter_map(|(name, text)| Some((name.clone(), serde_json::from_str(text).ok()?))).collect();
    define(&mut schema, "", &mut definitions);
    schema.to_string()
}

fn define(schema: &mut Json, namespace: &str, definitions: &mut BTreeMap<String, Json>) {
    match schema {
        Json::String(name) => {
            let full = if name.contains('.') { name.clone() } else { format!("{namespace}.{name}") };
            let found = definitions.remove(&full).or_else(|| definitions.remove(name.as_str()));
            if let Some(mut definition) = found {
                if let Some(members) = definition.as_object_mut() {
                    // Its own namespace is none where it names none, not the one it comes to stand in.
                    members.entry("namespace").or_insert_with(|| "".into());
                }
                define(&mut definition, "", definitions);
                *schema = definition;
            }
        }
        Json::Array(branches) => branches.iter_mut().for_each(|branch| define(branch, namespace, definitions)),
        Json::Object(members) => {
            let full_name = members.get("name").and_then(Json::as_str).and_then(|name| name.rsplit_once('.'));
            let own = full_name.map(|(space, _)| space).or_else(|| members.get("namespace").and_then(Json::as_str));
            let namespace = own.unwrap_or(namespace).to_owned();
            for inner in ["type", "items", "values"] {
                if let Some(inner) = members.get_mut(inner) {
                    define(inner, &namespace, definitions);
                }
            }
            for field in members.get_mut("fields").and_then(Json::as_array_mut).into_iter().flatten() {
                if let Some(kind) = field.get_mut("type") {
                    define(kind, &namespace, definitions);
                }
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_defined_where_they_are_first_named() {
        let text = r#"{"type":"record","name":"View","namespace":"rollbook","fields":[
            {"name":"a","type":["null","Place"]},{"name":"b","type":"rollbook.Place"},{"name":"c","type":"Plain"}]}"#;
        let place = r#"{"type":"record","name":"rollbook.Place","fields":[{"name":"x","type":"rollbook.Unit"}]}"#;
        let unit = r#"{"type":"enum","name":"Unit","namespace":"rollbook","symbols":["M"]}"#;
        let plain = r#"{"type":"fixed","name":"Plain","size":2}"#;
        let texts = [("rollbook.Place", place), ("rollbook.Unit", unit), ("Plain", plain)];
        let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let alone = stand_alone(text, &texts);
        let schema = apache_avro::Schema::parse_str(&alone).expect("it stands alone");
        let apache_avro::Schema::Record(record) = schema else { panic!("{alone}") };
        assert_eq!(record.fields.len(), 3);
        assert_eq!(alone.matches("symbols").count(), 1);
    }
}
