//! Logins and the tokens they give: OAuth client credentials, JWT bearer and refresh token, the older password and SOAP
//! logins by setting.
//!
//! Tokens are opaque and live in memory only: after a restart every client meets 401 `INVALID_SESSION_ID`, as it does
//! when a real session times out, and there is no `expires_in` to plan by.

mod jwt;
mod refresh;
mod secret;
mod soap;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::wire::{Call, Refusal, Reply, parse_form};
use refresh::{RefreshTokens, Refused};

pub use jwt::JwtKey;
pub use secret::{random_secret, same};

/// Who may log in, and how.
#[derive(Clone)]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: SecretString,
    /// What the signature of a JWT is checked against.
    pub jwt_key: JwtKey,
    /// Username of the integration user.
    pub username: String,
    /// Password of the OAuth password grant and of the SOAP login. None: both are refused, as new orgs do.
    pub password: Option<SecretString>,
    /// A refresh token that the user has given to the consumer. None: the grant is refused.
    pub refresh_token: Option<SecretString>,
    /// Whether each refresh token is good for one login only.
    pub rotate_refresh_tokens: bool,
    /// How long a token is good. None: until it is revoked.
    pub token_lifetime: Option<Duration>,
}

/// The org and the user that a token speaks for.
#[derive(Clone, Debug)]
pub struct Identity {
    pub org_id: String,
    pub user_id: String,
    pub username: String,
}

/// The tokens given out.
pub struct Sessions {
    credentials: Credentials,
    identity: Identity,
    issued: HashMap<String, Instant>,
    refresh_tokens: RefreshTokens,
}

/// An OAuth error: another envelope than REST's.
struct OAuthError {
    status: u16,
    error: &'static str,
    description: &'static str,
}

impl Sessions {
    pub fn new(credentials: Credentials, identity: Identity) -> Self {
        let refresh_tokens = RefreshTokens::new(credentials.refresh_token.clone(), credentials.rotate_refresh_tokens);
        Self { credentials, identity, issued: HashMap::new(), refresh_tokens }
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Gives out a token, in the form `ORG!…` that clients check for.
    pub fn issue(&mut self) -> String {
        let mut bytes = [0; 48];
        openssl::rand::rand_bytes(&mut bytes).expect("the system's source of randomness answers");
        let org = self.identity.org_id.get(..15).unwrap_or_default();
        let token = format!("{org}!AQ{}", URL_SAFE_NO_PAD.encode(bytes).replace('-', "."));
        self.issued.insert(token.clone(), Instant::now());
        token
    }

    pub fn set_client_secret(&mut self, secret: SecretString) {
        self.credentials.client_secret = secret;
    }

    pub fn check(&self, token: &str) -> Result<(), Refusal> {
        if self.active(token) { Ok(()) } else { Err(Refusal::session()) }
    }

    /// Makes every token given out so far invalid.
    pub fn expire_all(&mut self) {
        self.issued.clear();
    }

    fn active(&self, token: &str) -> bool {
        self.issued
            .get(token)
            .is_some_and(|issued| self.credentials.token_lifetime.is_none_or(|lifetime| issued.elapsed() < lifetime))
    }

    /// Everything under `/services/oauth2`.
    pub fn oauth(&mut self, call: &Call, resource: &str) -> Reply {
        let mut form = call.query.clone();
        form.extend(parse_form(&String::from_utf8_lossy(&call.body)));
        let form: HashMap<String, String> = form.into_iter().collect();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        match resource {
            "token" => self.token(call, &form).unwrap_or_else(OAuthError::reply),
            "revoke" => self.revoke(field("token")).unwrap_or_else(OAuthError::reply),
            "introspect" => self.introspect(call, &form).unwrap_or_else(OAuthError::reply),
            "userinfo" => match call.token().or(Ok(field("access_token"))).and_then(|token| self.check(token)) {
                Ok(()) => Reply::json(200, self.user_info(&call.base_url)),
                Err(_) => Reply::text(403, "text/html", "Bad_OAuth_Token".into()),
            },
            _ => Refusal::not_found().reply(),
        }
    }

    fn revoke(&mut self, token: &str) -> Result<Reply, OAuthError> {
        if self.refresh_tokens.revoke(token) {
            self.expire_all();
        } else if self.issued.remove(token).is_none() {
            return Err(OAuthError::new(400, "unsupported_token_type", "this token type is not supported"));
        }
        Ok(Reply::empty(200))
    }

    fn token(&mut self, call: &Call, form: &HashMap<String, String>) -> Result<Reply, OAuthError> {
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let mut refresh_token = None;
        let with_signature = match field("grant_type") {
            "client_credentials" => self.authenticate_client(call, form).map(|()| true)?,
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                let claims = self.credentials.jwt_key.verify(field("assertion")).map_err(OAuthError::grant)?;
                let audience = claims.check(&self.credentials.client_id, &self.identity.username);
                audience.and_then(|audience| check_audience(audience, &call.base_url)).map_err(OAuthError::grant)?;
                false
            }
            "password" => {
                self.authenticate_client(call, form)?;
                self.check_password(field("username"), field("password")).map_err(OAuthError::grant)?;
                true
            }
            "refresh_token" => {
                refresh_token = self.refresh(call, form)?;
                true
            }
            _ => return Err(OAuthError::new(400, "unsupported_grant_type", "grant type not supported")),
        };
        let token = self.issue();
        let mut reply = self.token_reply(&token, &call.base_url, with_signature);
        if let (Some(refresh_token), Some(reply)) = (refresh_token, reply.as_object_mut()) {
            reply.insert("refresh_token".into(), refresh_token.into());
        }
        Ok(Reply::json(200, reply))
    }

    /// The next refresh token, where there is one. Apps need not ask for the secret, but a wrong one is refused.
    fn refresh(&mut self, call: &Call, form: &HashMap<String, String>) -> Result<Option<String>, OAuthError> {
        if form.contains_key("client_secret") || call.header("authorization").is_some() {
            self.authenticate_client(call, form)?;
        } else if form.get("client_id") != Some(&self.credentials.client_id) {
            return Err(OAuthError::new(400, "invalid_client_id", "client identifier invalid"));
        }
        let token = form.get("refresh_token").map_or("", String::as_str);
        self.refresh_tokens.exchange(token, random_secret).map_err(|refused| {
            if refused == Refused::UsedBefore {
                self.expire_all();
            }
            OAuthError::grant("expired access/refresh token")
        })
    }

    /// Client id and secret, in the body or as HTTP Basic.
    fn authenticate_client(&self, call: &Call, form: &HashMap<String, String>) -> Result<(), OAuthError> {
        let basic = call.header("authorization").and_then(|header| header.split_once(' '));
        let basic = basic.filter(|(kind, _)| kind.eq_ignore_ascii_case("basic"));
        let decoded = basic.and_then(|(_, pair)| STANDARD.decode(pair.trim()).ok());
        let pair = decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (id, secret) = match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some(pair) => pair,
            None => {
                (form.get("client_id").map_or("", String::as_str), form.get("client_secret").map_or("", String::as_str))
            }
        };
        if id != self.credentials.client_id {
            return Err(OAuthError::new(400, "invalid_client_id", "client identifier invalid"));
        }
        if !same(secret, self.credentials.client_secret.expose_secret()) {
            return Err(OAuthError::new(401, "invalid_client", "invalid client credentials"));
        }
        Ok(())
    }

    fn check_password(&self, username: &str, password: &str) -> Result<(), &'static str> {
        let expected = self.credentials.password.as_ref().ok_or("authentication failure")?;
        let right = username == self.identity.username && same(password, expected.expose_secret());
        right.then_some(()).ok_or("authentication failure - Invalid Password")
    }

    fn token_reply(&self, token: &str, base_url: &str, with_signature: bool) -> Value {
        let mut reply = json!({
            "access_token": token,
            "scope": "api id",
            "instance_url": base_url,
            "id": self.identity_url(base_url),
            "token_type": "Bearer",
        });
        if let (true, Some(reply)) = (with_signature, reply.as_object_mut()) {
            let issued_at = jiff::Timestamp::now().as_millisecond().to_string();
            let digest = openssl::sha::sha256(format!("{token}{issued_at}").as_bytes());
            reply.insert("issued_at".into(), issued_at.into());
            reply.insert("signature".into(), STANDARD.encode(digest).into());
        }
        reply
    }

    fn introspect(&self, call: &Call, form: &HashMap<String, String>) -> Result<Reply, OAuthError> {
        self.authenticate_client(call, form)?;
        let token = form.get("token").map_or("", String::as_str);
        if !self.active(token) {
            return Ok(Reply::json(200, json!({ "active": false })));
        }
        Ok(Reply::json(
            200,
            json!({
                "active": true,
                "scope": "api id",
                "client_id": self.credentials.client_id,
                "username": self.identity.username,
                "sub": self.identity_url(&call.base_url),
                "token_type": "access_token",
            }),
        ))
    }

    pub fn identity_url(&self, base_url: &str) -> String {
        format!("{base_url}/id/{}/{}", self.identity.org_id, self.identity.user_id)
    }

    pub fn user_info(&self, base_url: &str) -> Value {
        let Identity { org_id, user_id, username } = &self.identity;
        let id = self.identity_url(base_url);
        json!({
            "id": id, "sub": id, "user_id": user_id, "organization_id": org_id,
            "username": username, "preferred_username": username, "nick_name": "integration",
            "name": "Integration User", "display_name": "Integration User", "email": username,
            "active": true, "user_type": "STANDARD", "language": "en_US", "locale": "en_US", "utcOffset": 0,
            "urls": {
                "rest": format!("{base_url}/services/data/v{{version}}/"),
                "sobjects": format!("{base_url}/services/data/v{{version}}/sobjects/"),
                "query": format!("{base_url}/services/data/v{{version}}/query/"),
            },
        })
    }
}

/// Real orgs take the login hosts; clients that were given a URL send that, with or without the slash.
fn check_audience(audience: &str, base_url: &str) -> Result<(), &'static str> {
    let host = audience.trim_end_matches('/');
    let salesforce = host.starts_with("https://") && host.ends_with(".salesforce.com");
    (salesforce || host == base_url).then_some(()).ok_or("audience is invalid")
}

impl OAuthError {
    fn new(status: u16, error: &'static str, description: &'static str) -> Self {
        Self { status, error, description }
    }

    fn grant(description: &'static str) -> Self {
        Self::new(400, "invalid_grant", description)
    }

    fn reply(self) -> Reply {
        Reply::json(self.status, json!({ "error": self.error, "error_description": self.description }))
    }
}
