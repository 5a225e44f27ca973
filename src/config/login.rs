//! The login to Salesforce: which flow takes what, and which of its hosts serves which flow.

use std::error::Error as _;

use openssl::pkey::{Id, PKey, Private};
use secrecy::ExposeSecret;

use super::parse::Check;
use super::raw::{self, Leaf};
use super::{Auth, Secret, TokenFile, TokenFileError};

const FLOWS: &str = "\"client_credentials\", \"jwt_bearer\" or \"refresh_token\"";
const CLIENT_SECRET: &str = "ROLLBOOK_SALESFORCE_CLIENT_SECRET";

/// Everybody's login hosts, of production and of sandboxes.
const PRODUCTION: &str = "login.salesforce.com";
const SANDBOXES: &str = "test.salesforce.com";

fn rsa(key: &PKey<Private>) -> bool {
    key.id() == Id::RSA
}

impl Check<'_> {
    pub(super) fn auth(&mut self, leaf: Leaf<raw::RawAuth>, login_url: &str) -> Auth {
        let raw = self.table("salesforce.auth", leaf);
        let flow = self.required("salesforce.auth.flow", raw.flow, FLOWS);
        self.login_host(login_url, &flow);
        let client_id = self.required("salesforce.auth.client_id", raw.client_id, "the app's consumer key");
        let secret = "salesforce.auth.client_secret_file";
        match flow.as_str() {
            "jwt_bearer" => {
                self.unused(&flow, "client_secret_file", &raw.client_secret_file);
                self.unused(&flow, "refresh_token_file", &raw.refresh_token_file);
                let audience = self.field("salesforce.auth.audience", raw.audience, "a URL", Some);
                Auth::JwtBearer {
                    client_id,
                    username: self.required("salesforce.auth.username", raw.username, "the integration user's name"),
                    private_key: self.private_key(raw.private_key_file),
                    audience: audience.unwrap_or_else(|| audience_of(login_url)),
                }
            }
            "refresh_token" => {
                self.unused(&flow, "username", &raw.username);
                self.unused(&flow, "private_key_file", &raw.private_key_file);
                self.unused(&flow, "audience", &raw.audience);
                Auth::RefreshToken {
                    client_id,
                    client_secret: self
                        .login_secret(secret, raw.client_secret_file, CLIENT_SECRET)
                        .map(|(secret, _)| secret),
                    refresh_token_file: self.token_file(raw.refresh_token_file),
                }
            }
            _ => {
                if flow == "client_credentials" {
                    self.unused(&flow, "username", &raw.username);
                    self.unused(&flow, "private_key_file", &raw.private_key_file);
                    self.unused(&flow, "audience", &raw.audience);
                    self.unused(&flow, "refresh_token_file", &raw.refresh_token_file);
                } else if !flow.is_empty() {
                    self.note("salesforce.auth.flow", "is no known flow", &format!("write {FLOWS}"));
                }
                let (client_secret, _) = self.required_login_secret(secret, raw.client_secret_file, CLIENT_SECRET);
                Auth::ClientCredentials { client_id, client_secret }
            }
        }
    }

    /// What Salesforce would refuse at the first login.
    fn login_host(&mut self, login_url: &str, flow: &str) {
        let Some(url) = reqwest::Url::parse(login_url).ok() else { return };
        let host = url.host_str().unwrap_or_default();
        let path = "salesforce.login_url";
        if flow == "client_credentials" && [PRODUCTION, SANDBOXES].contains(&host) {
            let hint = "write the org's My Domain, like \"https://example.my.salesforce.com\"";
            self.note(path, "is a host that takes no client credentials", hint);
        }
        if host.ends_with(".lightning.force.com") {
            let hint = "write the org's My Domain, like \"https://example.my.salesforce.com\"";
            self.note(path, "is a host for people, which gives no tokens", hint);
        }
        if url.path().contains("/services/") {
            self.note(path, "has the path of an endpoint", "write the URL without it; Rollbook adds it");
        }
    }

    fn private_key(&mut self, leaf: Leaf<String>) -> Secret {
        let path = "salesforce.auth.private_key_file";
        let problems = self.count();
        let (kept, key) = self.required_login_secret(path, leaf, "ROLLBOOK_SALESFORCE_PRIVATE_KEY");
        // With an empty passphrase, as OpenSSL would ask the terminal for the one of an encrypted key.
        let readable =
            || PKey::private_key_from_pem_passphrase(key.expose_secret().as_bytes(), b"").is_ok_and(|key| rsa(&key));
        if self.count() == problems && !readable() {
            let hint = "openssl genrsa 2048 makes one; the app has the certificate for it";
            self.note(path, "is no unencrypted RSA private key in PEM", hint);
        }
        kept
    }

    /// Must be writable whether the org rotates or not: nobody knows before the first login, which may use the token up.
    fn token_file(&mut self, leaf: Leaf<String>) -> TokenFile {
        let path = "salesforce.auth.refresh_token_file";
        let problems = self.count();
        let text = self.required(path, leaf, "the path of a file that Rollbook may replace");
        let file = TokenFile::new(self.path(&text));
        if self.count() == problems
            && let Err(error) = file.check()
        {
            let hint = match error {
                TokenFileError::Empty { .. } => "log in once as the integration user, and put the refresh token there",
                TokenFileError::Open { .. } | TokenFileError::Replace { .. } | TokenFileError::Mounted { .. } => {
                    "an org with rotation gives a new token at each login: keep the file in a folder of its own that \
                     Rollbook may write to"
                }
            };
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            self.note(path, &format!("{error}{cause}"), hint);
        }
        file
    }

    /// A setting of another flow: whoever wrote it means that flow, or left a secret lying about.
    fn unused(&mut self, flow: &str, field: &str, leaf: &Leaf<String>) {
        if !matches!(leaf, Leaf::Absent) {
            let hint = "remove it, or choose the flow that it belongs to";
            self.note(&format!("salesforce.auth.{field}"), &format!("is not used by the flow \"{flow}\""), hint);
        }
    }
}

/// What Salesforce wants as the audience of an assertion: one of its login hosts, also where My Domain is asked.
fn audience_of(login_url: &str) -> String {
    let url = reqwest::Url::parse(login_url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
    let Some(domain) = host.strip_suffix(".my.salesforce.com") else {
        return match host {
            PRODUCTION | SANDBOXES => format!("https://{host}"),
            // A site of Experience Cloud, a proxy, the emulator.
            _ => login_url.to_owned(),
        };
    };
    // "example--uat" is the sandbox "uat" of "example", with "sandbox" behind it in orgs with enhanced domains.
    let sandbox = domain.contains("--") || domain.ends_with(".sandbox") || domain.ends_with(".scratch");
    format!("https://{}", if sandbox { SANDBOXES } else { PRODUCTION })
}
