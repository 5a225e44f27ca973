//! Salesforce's REST API, as far as Rollbook uses it.
//!
//! A request is sent at most twice: a second time only where Salesforce answered that the token is no longer valid.
//! Everything else that may be tried again is the caller's to try again, who knows what the request was for.
//!
//! Errors carry codes, statuses and field names, never a message of Salesforce: messages repeat values of the row.

mod auth;
pub mod bulk;
mod collections;
mod composite;
pub(crate) mod query;
pub mod wire;
mod words;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

pub use auth::{LoginError, OauthCode};
pub use collections::ROWS_MAX;
pub use composite::{Collection, Target};
pub(crate) use words::{fields_of, safe_code};

use crate::config;
use crate::disposition::{Disposition, Fault, Scope, Wait, disposition};
use crate::id::SalesforceId;
use auth::{Token, Tokens};
use wire::RequestFault;

/// Named in the change events of what is written, so that a reader of those can tell its own writes.
const CALL_OPTIONS: &str = "client=rollbook";

/// A client of one org. Clones share the token and the connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    tokens: Arc<Tokens>,
    /// The only org that may be asked for anything; None: any.
    org: Mutex<Option<SalesforceId>>,
    /// `/services/data/v62.0`
    base_path: String,
    usage: Usage,
}

/// The last `Sforce-Limit-Info`; -1 before the first.
struct Usage {
    used: AtomicI64,
    limit: AtomicI64,
}

/// Calls of the last 24 hours and how many the org allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiUsage {
    pub used: i64,
    pub limit: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not set up the HTTP client")]
    Http(#[source] reqwest::Error),
    #[error("could not read the certificate file `{path}`")]
    CaFile {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("could not log in to Salesforce")]
    Login(#[from] LoginError),
    #[error("the login leads to the org {found}, not to {expected}")]
    OtherOrg { expected: SalesforceId, found: SalesforceId },
    #[error("could not reach Salesforce")]
    Transport(#[source] reqwest::Error),
    /// `code` is empty where the body was not Salesforce's: a proxy's page, a maintenance page, nothing.
    #[error("Salesforce answered {status} {code}")]
    Refused { status: u16, code: String, fields: Vec<String>, disposition: Disposition },
    #[error("Salesforce answered {status} with a body that is not what was asked for")]
    Body { status: u16 },
}

impl Error {
    /// What to do about a request that ended in this error.
    pub fn disposition(&self) -> Disposition {
        match self {
            // Somebody mends it: the app, the user, the file of the secret, which is read again.
            Self::Login(
                LoginError::Refused { .. }
                | LoginError::InstanceUrl
                | LoginError::Sign(_)
                | LoginError::SecretFile(_)
                | LoginError::TokenFile(_),
            ) => Disposition::Wait(Wait::Login),
            // A 4xx that is not OAuth's is a wrong host, but also a proxy's bad hour.
            Self::Login(
                LoginError::Transport(_)
                | LoginError::NotOauth { .. }
                | LoginError::TokenHeld
                | LoginError::Unsaved(_)
                | LoginError::BrokenOff,
            )
            | Self::Transport(_)
            | Self::Body { .. }
            // Only of a client that is not made yet.
            | Self::Http(_)
            | Self::CaFile { .. } => Disposition::Wait(Wait::Outage),
            Self::OtherOrg { .. } => Disposition::Wait(Wait::Org),
            Self::Refused { disposition, .. } => *disposition,
        }
    }

    /// Salesforce's error code, or a fixed word; bounded, without personal data.
    pub fn code(&self) -> &str {
        match self {
            Self::Http(_) | Self::CaFile { .. } => "settings",
            Self::Login(_) => "login",
            Self::OtherOrg { .. } => "org_changed",
            Self::Transport(_) => "transport",
            Self::Refused { code, .. } if !code.is_empty() => code,
            Self::Refused { .. } => "no_code",
            Self::Body { .. } => "body",
        }
    }
}

struct Request<'a> {
    method: Method,
    path: &'a str,
    body: Body<'a>,
    /// In place of the one of the settings.
    timeout: Option<Duration>,
}

enum Body<'a> {
    None,
    Json(&'a serde_json::Value),
    Csv(Bytes),
}

/// An answer of success.
struct Answer {
    status: StatusCode,
    headers: header::HeaderMap,
    body: Bytes,
}

impl Client {
    /// Checks the settings; the first request logs in.
    pub fn new(settings: &config::Salesforce) -> Result<Self, Error> {
        let mut headers = header::HeaderMap::new();
        headers.insert("sforce-call-options", header::HeaderValue::from_static(CALL_OPTIONS));
        // Assignment rules would hand Leads to other owners at every update.
        headers.insert("sforce-auto-assign", header::HeaderValue::from_static("FALSE"));
        let mut http = reqwest::Client::builder()
            .timeout(settings.request_timeout)
            // A redirect would carry the token, or the secret, to another host.
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers);
        http = settings.proxy.of_client(http).map_err(Error::Http)?;
        if let Some(path) = &settings.ca_file {
            let pem =
                std::fs::read(path).map_err(|source| Error::CaFile { path: path.display().to_string(), source })?;
            http = http.add_root_certificate(reqwest::Certificate::from_pem(&pem).map_err(Error::Http)?);
        }
        let inner = Inner {
            http: http.build().map_err(Error::Http)?,
            tokens: Arc::new(Tokens::new(settings.auth.clone(), &settings.login_url)),
            org: Mutex::default(),
            base_path: format!("/services/data/v{}", settings.api_version),
            usage: Usage { used: AtomicI64::new(-1), limit: AtomicI64::new(-1) },
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Gets a token, so that wrong credentials are seen at the start; the org that gave it, where it says.
    pub async fn log_in(&self) -> Result<Option<SalesforceId>, Error> {
        Ok(self.inner.tokens.get(&self.inner.http, None).await?.org)
    }

    /// The same, with a new token: whoever changed the login meanwhile may have led it elsewhere.
    pub async fn log_in_anew(&self) -> Result<Option<SalesforceId>, Error> {
        self.inner.tokens.forget().await;
        self.log_in().await
    }

    /// From now on no request goes to another org.
    pub fn keep_to(&self, org: SalesforceId) {
        *self.inner.org.lock().unwrap_or_else(PoisonError::into_inner) = Some(org);
    }

    /// Every token that a request is sent with comes from here.
    async fn token(&self, refused: Option<&Token>) -> Result<Arc<Token>, Error> {
        let token = self.inner.tokens.get(&self.inner.http, refused).await?;
        let expected = *self.inner.org.lock().unwrap_or_else(PoisonError::into_inner);
        match (expected, token.org) {
            (Some(expected), Some(found)) if expected != found => Err(Error::OtherOrg { expected, found }),
            _ => Ok(token),
        }
    }

    /// Returns when no login is under way: to be waited for before the process ends.
    pub async fn settled(&self) {
        self.inner.tokens.settled().await;
    }

    /// What the last response said of the call budget.
    pub fn api_usage(&self) -> Option<ApiUsage> {
        let used = self.inner.usage.used.load(Ordering::Relaxed);
        let limit = self.inner.usage.limit.load(Ordering::Relaxed);
        (used >= 0 && limit >= 0).then_some(ApiUsage { used, limit })
    }

    /// The limits that the org reports.
    pub async fn limits(&self) -> Result<BTreeMap<String, wire::Limit>, Error> {
        // Some entries have sub-entries per app; only Max and Remaining are read.
        self.call(Method::GET, &self.path("limits"), None).await
    }

    fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.inner.base_path)
    }

    /// Sends JSON, or nothing, and reads JSON.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<T, Error> {
        let body = body.map_or(Body::None, Body::Json);
        let answer = self.exchange(Request { method, path, body, timeout: None }).await?;
        serde_json::from_slice(&answer.body).map_err(|_| Error::Body { status: answer.status.as_u16() })
    }

    /// Sends a request and takes its answer; after a 401 once more, with a new token.
    async fn exchange(&self, request: Request<'_>) -> Result<Answer, Error> {
        let token = self.token(None).await?;
        let response = self.send(&request, &token).await?;
        let response = if response.status() == StatusCode::UNAUTHORIZED {
            let token = self.token(Some(&token)).await?;
            self.send(&request, &token).await?
        } else {
            response
        };
        self.read_usage(response.headers());
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| Error::Transport(error.without_url()))?;
        if status.is_success() {
            Ok(Answer { status, headers, body })
        } else {
            Err(self.refused(status.as_u16(), serde_json::from_slice(&body).ok()))
        }
    }

    fn refused(&self, status: u16, faults: Option<Vec<RequestFault>>) -> Error {
        // The last calls are handed out before the count is told.
        let exhausted = self.api_usage().map(|usage| usage.used * 100 >= usage.limit * 99);
        refused(status, faults, exhausted)
    }

    async fn send(&self, request: &Request<'_>, token: &Token) -> Result<reqwest::Response, Error> {
        let Request { method, path, body, timeout } = request;
        let mut sent = self
            .inner
            .http
            .request(method.clone(), format!("{}{path}", token.instance_url))
            .bearer_auth(token.secret.expose_secret());
        sent = match body {
            Body::None => sent,
            Body::Json(json) => sent.json(json),
            Body::Csv(csv) => sent.header(header::CONTENT_TYPE, "text/csv").body(csv.clone()),
        };
        if let Some(timeout) = timeout {
            sent = sent.timeout(*timeout);
        }
        // The URL holds the query, hence ids.
        sent.send().await.map_err(|error| Error::Transport(error.without_url()))
    }

    fn read_usage(&self, headers: &header::HeaderMap) {
        if let Some(usage) = headers.get("sforce-limit-info").and_then(|value| parse_usage(value.to_str().ok()?)) {
            self.inner.usage.used.store(usage.used, Ordering::Relaxed);
            self.inner.usage.limit.store(usage.limit, Ordering::Relaxed);
        }
    }
}

/// `api-usage=18/5000; per-app-api-usage=…`
fn parse_usage(header: &str) -> Option<ApiUsage> {
    let part = header.split(';').find_map(|part| part.trim().strip_prefix("api-usage="))?;
    let (used, limit) = part.split_once('/')?;
    Some(ApiUsage { used: used.trim().parse().ok()?, limit: limit.trim().parse().ok()? })
}

/// An error body is an array of faults, of which the first decides; anything else has no code.
fn refused(status: u16, faults: Option<Vec<RequestFault>>, exhausted: Option<bool>) -> Error {
    let fault = faults.and_then(|faults| faults.into_iter().next()).unwrap_or(RequestFault {
        code: String::new(),
        message: String::new(),
        fields: Vec::new(),
    });
    let disposition = disposition(&Fault {
        scope: Scope::Request,
        status,
        code: &fault.code,
        message: &fault.message,
        fields: &fault.fields,
        exhausted,
    });
    let fields = fields_of(fault.fields, &fault.message);
    Error::Refused { status, code: safe_code(fault.code), fields, disposition }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_header_is_read_in_all_its_forms() {
        let expected = Some(ApiUsage { used: 18, limit: 5000 });
        assert_eq!(parse_usage("api-usage=18/5000"), expected);
        assert_eq!(parse_usage("api-usage=18/5000; per-app-api-usage=17/250(appName=x)"), expected);
        assert_eq!(parse_usage("api-bursts=1/750; api-usage=18/5000"), expected);
        assert_eq!(parse_usage("per-app-api-usage=17/250"), None);
    }

    #[test]
    fn an_error_keeps_no_message_of_salesforce() {
        let body = br#"[{"message":"Email: invalid email address: x@y","errorCode":"INVALID_EMAIL_ADDRESS"}]"#;
        let error = refused(400, serde_json::from_slice(body).ok(), None);
        assert!(!format!("{error:?} {error}").contains("x@y"));
        assert_eq!(error.code(), "INVALID_EMAIL_ADDRESS");
    }

    #[test]
    fn a_page_instead_of_json_is_an_outage() {
        assert_eq!(refused(503, None, None).disposition(), Disposition::Wait(Wait::Outage));
        assert_eq!(refused(413, None, None).disposition(), Disposition::Isolate);
    }
}
