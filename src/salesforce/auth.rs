//! Access tokens: OAuth client credentials, JWT bearer and refresh token.
//!
//! Salesforce names no expiry with a token, so a token is used until a request is refused with it. Many requests are
//! in flight then, and all of them are refused: the first asks for a new token, the others wait for its answer. That
//! holds for a failure too, or twenty refused logins in a row would lock the user out.
//!
//! Secrets are read from their files at each login: whoever changes one puts the new one there, and it is found.
//!
//! An org that rotates refresh tokens has forgotten the old one when its answer comes. So the exchange is a task of its
//! own, which a caller that gives up does not break off, and the new one is stored before anything else is done with
//! the answer. Where it cannot be stored it is kept, and the lock on its file with it, until it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::words::{Said, safe_code};
use crate::config::{Auth, HeldToken, Secret, SecretError, TokenFile, TokenFileError};
use crate::id::SalesforceId;

/// Lifetime of an assertion; Salesforce takes at most three minutes.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(3);

/// How long another process may take to log in with the same file, and how often it is looked whether it has.
const HELD_WAIT: Duration = Duration::from_secs(30);
const HELD_LOOK: Duration = Duration::from_millis(20);

/// An access token and the host that takes it.
pub struct Token {
    pub secret: SecretString,
    pub instance_url: String,
    /// The org that gave it. None: it did not say.
    pub org: Option<SalesforceId>,
    /// Which token of the process this is, so that a refused request can say which one was refused.
    generation: u64,
}

/// Why there is no token. Shared by all that waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoginError {
    #[error("could not reach the token endpoint")]
    Transport(#[source] Arc<reqwest::Error>),
    #[error("the token endpoint answered {status}, not with a token")]
    NotOauth { status: u16 },
    /// `description` is Salesforce's, with whatever may be a secret or a person in it masked.
    #[error("login refused: {code}{description}{}", hint(.code))]
    Refused { code: OauthCode, description: Said },
    #[error("`instance_url` of the token response is no URL")]
    InstanceUrl,
    #[error("could not sign the assertion with the private key")]
    Sign(#[from] Arc<openssl::error::ErrorStack>),
    #[error("could not use the file of the secret")]
    SecretFile(#[source] Arc<SecretError>),
    #[error("could not use the file of the refresh token")]
    TokenFile(#[source] Arc<TokenFileError>),
    #[error("another process has been logging in with the same refresh token for {HELD_WAIT:?}")]
    TokenHeld,
    #[error(
        "could not store the new refresh token; until it is stored, this process alone has it (hint: do not stop it)"
    )]
    Unsaved(#[source] Arc<TokenFileError>),
    #[error("the login was broken off")]
    BrokenOff,
}

/// OAuth's error codes, as far as Salesforce sends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OauthCode {
    InvalidGrant,
    InvalidClient,
    UnsupportedGrantType,
    Other(String),
}

impl std::fmt::Display for OauthCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidClient => "invalid_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::Other(code) if code.is_empty() => "another OAuth error",
            Self::Other(code) => code,
        })
    }
}

fn hint(code: &OauthCode) -> &'static str {
    match code {
        OauthCode::InvalidGrant => {
            " (hint: client credentials work on the org's My Domain only and need a run-as user; a JWT needs the right \
             audience, an approved user and a clock that is right; a refresh token that is used up or revoked is \
             replaced by logging in as the user again)"
        }
        OauthCode::InvalidClient => " (hint: check salesforce.auth.client_id and the secret)",
        OauthCode::UnsupportedGrantType => " (hint: switch the flow on in the external client app)",
        OauthCode::Other(_) => "",
    }
}

/// The tokens of one login.
pub struct Tokens {
    auth: Auth,
    token_url: String,
    current: Arc<tokio::sync::Mutex<Current>>,
    /// Logins that have ended, read before the lock is taken: one that ended meanwhile is the answer to this call too.
    logins: AtomicU64,
}

#[derive(Default)]
struct Current {
    token: Option<Arc<Token>>,
    failure: Option<LoginError>,
    unsaved: Option<Unsaved>,
}

/// A refresh token that the org gave and that the file does not have yet.
struct Unsaved {
    held: HeldToken,
    successor: SecretString,
}

impl Unsaved {
    fn save(&self) -> Result<(), LoginError> {
        self.held.replace(&self.successor).map_err(|error| LoginError::Unsaved(Arc::new(error)))
    }
}

impl Tokens {
    pub fn new(auth: Auth, login_url: &str) -> Self {
        Self {
            auth,
            token_url: format!("{}/services/oauth2/token", login_url.trim_end_matches('/')),
            current: Arc::default(),
            logins: AtomicU64::new(0),
        }
    }

    /// The token in use, or a new one where there is none or where `refused` is the one in use.
    pub async fn get(
        self: &Arc<Self>,
        http: &reqwest::Client,
        refused: Option<&Token>,
    ) -> Result<Arc<Token>, LoginError> {
        let logins_before = self.logins.load(Ordering::Acquire);
        let mut current = Arc::clone(&self.current).lock_owned().await;
        if let Some(token) = &current.token
            && refused.is_none_or(|refused| refused.generation != token.generation)
        {
            return Ok(Arc::clone(token));
        }
        if self.logins.load(Ordering::Acquire) != logins_before
            && let Some(failure) = &current.failure
        {
            return Err(failure.clone());
        }
        current.token = None;
        let (tokens, http) = (Arc::clone(self), http.clone());
        // A task of its own: what the org answers must be stored, also where nobody waits for the token any more.
        let login = tokio::spawn(async move {
            let generation = tokens.logins.load(Ordering::Acquire) + 1;
            let result = tokens.log_in(&http, generation, &mut current.unsaved).await.map(Arc::new);
            current.failure = result.as_ref().err().cloned();
            current.token = result.as_ref().ok().cloned();
            tokens.logins.fetch_add(1, Ordering::AcqRel);
            result
        });
        login.await.unwrap_or(Err(LoginError::BrokenOff))
    }

    /// The next request logs in.
    pub async fn forget(&self) {
        self.current.lock().await.token = None;
    }

    /// Returns when no login is under way. Before the process ends, or a refresh token could be lost.
    pub async fn settled(&self) {
        drop(self.current.lock().await);
    }

    async fn log_in(
        &self,
        http: &reqwest::Client,
        generation: u64,
        unsaved: &mut Option<Unsaved>,
    ) -> Result<Token, LoginError> {
        if let Some(waiting) = &unsaved {
            waiting.save()?;
            *unsaved = None;
        }
        let held = match &self.auth {
            Auth::RefreshToken { refresh_token_file, .. } => Some(hold(refresh_token_file).await?),
            Auth::ClientCredentials { .. } | Auth::JwtBearer { .. } => None,
        };
        let granted = self.ask(http, &self.form(held.as_ref())?).await?;
        let org = granted.org();
        // Crash here: where the org rotates, the file has a token that it takes no longer; somebody must log in again.
        if let (Some(held), Some(successor)) = (held, granted.refresh_token) {
            unsaved.insert(Unsaved { held, successor: successor.into() }).save()?;
            *unsaved = None;
        }
        let instance_url = granted.instance_url.trim_end_matches('/').to_owned();
        reqwest::Url::parse(&instance_url).map_err(|_| LoginError::InstanceUrl)?;
        Ok(Token { secret: granted.access_token.into(), instance_url, org, generation })
    }

    async fn ask(&self, http: &reqwest::Client, form: &[(&'static str, String)]) -> Result<Granted, LoginError> {
        let transport = |error: reqwest::Error| LoginError::Transport(Arc::new(error.without_url()));
        let response = http.post(&self.token_url).form(form).send().await.map_err(transport)?;
        let status = response.status();
        let body = response.bytes().await.map_err(transport)?;
        if !status.is_success() {
            return Err(refusal(status.as_u16(), &body));
        }
        serde_json::from_slice(&body).map_err(|_| LoginError::NotOauth { status: status.as_u16() })
    }

    /// `held` is the refresh token, where the flow has one.
    fn form(&self, held: Option<&HeldToken>) -> Result<Vec<(&'static str, String)>, LoginError> {
        let secret = |secret: &SecretString| secret.expose_secret().to_owned();
        let read = |kept: &Secret| kept.read().map_err(|error| LoginError::SecretFile(Arc::new(error)));
        Ok(match &self.auth {
            Auth::ClientCredentials { client_id, client_secret } => vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", client_id.clone()),
                ("client_secret", secret(&read(client_secret)?)),
            ],
            Auth::JwtBearer { client_id, username, private_key, audience } => {
                let claims = Claims { client_id, username, audience, expires_at: now() + ASSERTION_LIFETIME };
                vec![
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
                    ("assertion", assertion(&claims, &read(private_key)?).map_err(Arc::new)?),
                ]
            }
            Auth::RefreshToken { client_id, client_secret, .. } => {
                let client_secret = client_secret.as_ref().map(read).transpose()?;
                let client_secret = client_secret.map(|it| ("client_secret", secret(&it)));
                let refresh_token = held.map(|held| ("refresh_token", secret(&held.secret)));
                [("grant_type", "refresh_token".to_owned()), ("client_id", client_id.clone())]
                    .into_iter()
                    .chain(client_secret)
                    .chain(refresh_token)
                    .collect()
            }
        })
    }
}

/// Reads the refresh token again before each login: another process may have used up the one that was read before.
async fn hold(file: &TokenFile) -> Result<HeldToken, LoginError> {
    let until = tokio::time::Instant::now() + HELD_WAIT;
    while tokio::time::Instant::now() < until {
        match file.try_hold() {
            Ok(Some(held)) => return Ok(held),
            // Looking again, as a thread that waits for a lock cannot be called off.
            Ok(None) => tokio::time::sleep(HELD_LOOK).await,
            Err(error) => return Err(LoginError::TokenFile(Arc::new(error))),
        }
    }
    Err(LoginError::TokenHeld)
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    instance_url: String,
    /// Takes the place of the one that was sent.
    #[serde(default)]
    refresh_token: Option<String>,
    /// `https://login.salesforce.com/id/ORG/USER`
    #[serde(default)]
    id: String,
}

impl Granted {
    /// An access token begins with the org's id, too, where it is no JWT.
    fn org(&self) -> Option<SalesforceId> {
        let named = self.id.rsplit('/').nth(1);
        let begins = self.access_token.split_once('!').map(|(org, _)| org);
        let ids = [named, begins].into_iter().flatten().filter_map(SalesforceId::parse);
        ids.into_iter().find(|id| id.has_prefix("00D"))
    }
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

fn refusal(status: u16, body: &[u8]) -> LoginError {
    match serde_json::from_slice::<Refused>(body) {
        Ok(refused) if status < 500 => LoginError::Refused {
            code: match refused.error.as_str() {
                "invalid_grant" => OauthCode::InvalidGrant,
                "invalid_client" | "invalid_client_id" => OauthCode::InvalidClient,
                "unsupported_grant_type" => OauthCode::UnsupportedGrantType,
                other => OauthCode::Other(safe_code(other.to_owned())),
            },
            description: Said::masked(&refused.error_description),
        },
        _ => LoginError::NotOauth { status },
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

struct Claims<'a> {
    client_id: &'a str,
    username: &'a str,
    audience: &'a str,
    expires_at: Duration,
}

/// A signed JWT (RFC 7523): `header.claims.signature`, RS256.
fn assertion(claims: &Claims<'_>, private_key: &SecretString) -> Result<String, openssl::error::ErrorStack> {
    let header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
    let body = serde_json::json!({
        "iss": claims.client_id,
        "sub": claims.username,
        "aud": claims.audience,
        "exp": claims.expires_at.as_secs(),
    });
    let claimed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(body.to_string()));
    // With an empty passphrase, or OpenSSL would ask the terminal for that of an encrypted key.
    let key: PKey<Private> = PKey::private_key_from_pem_passphrase(private_key.expose_secret().as_bytes(), b"")?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    let signature = signer.sign_oneshot_to_vec(claimed.as_bytes())?;
    Ok(format!("{claimed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use openssl::rsa::Rsa;
    use openssl::sign::Verifier;

    use super::*;

    #[test]
    fn the_assertion_is_verified_by_the_public_key() {
        let rsa = Rsa::generate(2048).unwrap();
        let pem = String::from_utf8(rsa.private_key_to_pem().unwrap()).unwrap();
        let expires_at = Duration::from_hours(500_000);
        let claims = Claims { client_id: "key", username: "robot", audience: "https://login.example", expires_at };
        let jwt = assertion(&claims, &SecretString::from(pem)).unwrap();
        let parts: Vec<&str> = jwt.split('.').collect();
        let [header, body, signature] = parts.as_slice() else { panic!("three parts") };
        let public = PKey::from_rsa(Rsa::public_key_from_pem(&rsa.public_key_to_pem().unwrap()).unwrap()).unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &public).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(verifier.verify_oneshot(&signature, format!("{header}.{body}").as_bytes()).unwrap());
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
        assert_eq!(
            claims,
            serde_json::json!({"iss": "key", "sub": "robot", "aud": "https://login.example", "exp": 1_800_000_000})
        );
    }

    #[test]
    fn a_refused_login_says_why_and_repeats_nothing_of_what_was_sent() {
        let body = br#"{"error":"invalid_grant","error_description":"audience is invalid: client_secret=ab%20c"}"#;
        let text = refusal(400, body).to_string();
        assert!(text.contains("invalid_grant: audience is invalid") && !text.contains("ab%"), "{text}");
        assert!(matches!(refusal(503, b"<html>"), LoginError::NotOauth { status: 503 }));
    }

    #[test]
    fn the_org_is_told_by_the_identity_or_else_by_the_token() {
        let granted = |id: &str, access_token: &str| {
            let text = serde_json::json!({ "access_token": access_token, "instance_url": "", "id": id });
            serde_json::from_value::<Granted>(text).unwrap().org().map(|org| org.to_string())
        };
        let org = Some("00D300000000001EAA".to_owned());
        let identity = "https://login.salesforce.com/id/00D300000000001EAA/005300000000001AAA";
        assert_eq!(granted(identity, "eyJ.jwt"), org);
        assert_eq!(granted("", "00D300000000001!AQ.x"), org);
        assert_eq!(granted("", "eyJ.jwt"), None);
    }
}
