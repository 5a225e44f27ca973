//! How a client of HTTP reaches its hosts: straight, or through a proxy.
//!
//! Left alone, the HTTP client takes `HTTP_PROXY` for this machine's own addresses, too: the client secret of an emulator
//! on loopback went to the proxy in clear text. So the environment is read here, and what is near never goes out.

use reqwest::{ClientBuilder, NoProxy, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use super::effective::MASK;
use super::parse::Check;
use super::raw::Leaf;

/// What no proxy is asked for, whatever is set, in the form of `NO_PROXY`.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The way of one client.
#[derive(Clone)]
pub struct Proxy {
    /// None: everything goes straight.
    server: Option<Server>,
    /// Hosts that are reached straight all the same, in the form of `NO_PROXY`.
    straight: String,
}

#[derive(Clone)]
struct Server {
    /// Without a login.
    url: String,
    login: Option<(String, SecretString)>,
}

impl Proxy {
    /// Everything goes straight.
    pub fn none() -> Self {
        Self { server: None, straight: LOOPBACK.to_owned() }
    }

    /// A client that is made like this one, and goes this way.
    pub fn of_client(&self, http: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        // Else the environment's proxies are used beside this one.
        let http = http.no_proxy();
        let Some(Server { url, login }) = &self.server else { return Ok(http) };
        let mut proxy = reqwest::Proxy::all(url)?;
        if let Some((username, password)) = login {
            proxy = proxy.basic_auth(username, password.expose_secret());
        }
        Ok(http.proxy(proxy.no_proxy(NoProxy::from_string(&self.straight))))
    }
}

/// As in the file, with the login of a proxy masked.
impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.server {
            None => to.serialize_str(""),
            Some(Server { url, login: None }) => to.serialize_str(url),
            Some(Server { url, login: Some(_) }) => {
                let (scheme, host) = url.split_once("://").unwrap_or(("http", url));
                to.serialize_str(&format!("{scheme}://{MASK}@{host}"))
            }
        }
    }
}

/// The settings of a proxy.
pub(super) struct RawProxy {
    pub url: Leaf<String>,
    pub username: Leaf<String>,
    pub password_file: Leaf<String>,
}

impl Check<'_> {
    /// The way to `salesforce.login_url`.
    pub(super) fn salesforce_proxy(&mut self, raw: RawProxy, login_url: &str) -> Proxy {
        const PATH: &str = "salesforce.proxy";
        let set = !matches!(raw.url, Leaf::Absent);
        let url = self.field(PATH, raw.url, "the URL of a proxy, or empty", Some).unwrap_or_default();
        let username = self.field("salesforce.proxy_username", raw.username, "a text", Some);
        let variable = "ROLLBOOK_SALESFORCE_PROXY_PASSWORD";
        // A variable alone asks for nothing.
        let wanted = username.is_some() || !matches!(raw.password_file, Leaf::Absent);
        let password =
            wanted.then(|| self.secret("salesforce.proxy_password_file", raw.password_file, variable)).flatten();
        if username.is_some() != password.is_some() {
            let hint = "set salesforce.proxy_username and either salesforce.proxy_password_file or \
                        ROLLBOOK_SALESFORCE_PROXY_PASSWORD";
            self.note(PATH, "has a user name or a password, but not both", hint);
        }
        let login = username.zip(password);
        if login.is_some() && url.is_empty() {
            self.note(PATH, "missing, but it has a login", "set it to the URL of the proxy");
        }
        if !set {
            return self.proxy_of_environment(login_url);
        }
        let straight = self.straight();
        if url.is_empty() {
            return Proxy { server: None, straight };
        }
        let host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
        match Url::parse(&url) {
            Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
                self.note(PATH, "holds a user name or password", "URLs are logged; there are settings for both");
            }
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && host(&parsed) => {}
            _ => self.note(PATH, "is no URL of an HTTP proxy", "write it like \"http://proxy.example.com:3128\""),
        }
        Proxy { server: Some(Server { url: url.trim_end_matches('/').to_owned(), login }), straight }
    }

    /// What the environment says of the way to a URL. What it names that is no HTTP proxy is passed over.
    pub(super) fn proxy_of_environment(&self, target: &str) -> Proxy {
        let named = |names: &[&str]| names.iter().find_map(|name| (self.environment)(name));
        let of_scheme = if target.starts_with("https:") {
            named(&["HTTPS_PROXY", "https_proxy"])
        } else if named(&["REQUEST_METHOD"]).is_some() {
            // Of a CGI script the upper-case name is a header of the request that called it.
            named(&["http_proxy"])
        } else {
            named(&["HTTP_PROXY", "http_proxy"])
        };
        let url = of_scheme.or_else(|| named(&["ALL_PROXY", "all_proxy"]));
        Proxy { server: url.and_then(|url| Server::parse(&url)), straight: self.straight() }
    }

    fn straight(&self) -> String {
        let named = ["NO_PROXY", "no_proxy"].iter().find_map(|name| (self.environment)(name));
        named.map_or_else(|| LOOPBACK.to_owned(), |named| format!("{LOOPBACK},{named}"))
    }
}

impl Server {
    /// A URL with its login in it, as environments have it.
    fn parse(text: &str) -> Option<Self> {
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let decoded = |text: &str| percent_decoded(text);
        let login = (!url.username().is_empty())
            .then(|| (decoded(url.username()), SecretString::from(decoded(url.password().unwrap_or_default()))));
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        Some(Self { url: url.as_str().trim_end_matches('/').to_owned(), login })
    }
}

/// A part of a URL as it was meant.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        if let Some(byte) = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(b'%');
            rest = after;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_of_an_environments_proxy_is_taken_out_of_its_url() {
        let server = Server::parse("http://me:p%40ss%25@proxy.example:3128/").unwrap();
        assert_eq!(server.url, "http://proxy.example:3128");
        let (username, password) = server.login.clone().unwrap();
        assert_eq!((username.as_str(), password.expose_secret()), ("me", "p@ss%"));
        let shown = serde_json::to_string(&Proxy { server: Some(server), straight: String::new() }).unwrap();
        assert_eq!(shown, "\"http://********@proxy.example:3128\"");
        assert_eq!(Server::parse("proxy.example:3128").unwrap().url, "http://proxy.example:3128");
        assert!(Server::parse("socks5://proxy.example").is_none());
    }
}
