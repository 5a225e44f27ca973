//! The SOAP `login` call that simple-salesforce and jsforce make by default: enough of it to log in, nothing more.

use secrecy::ExposeSecret as _;

use super::secret::same;
use super::{Identity, Sessions};
use crate::emulator::soap::{Dialect, escape};
use crate::emulator::wire::{Call, Refusal, Reply};

const PARTNER: Dialect = Dialect {
    namespace: "urn:partner.soap.sforce.com",
    faults: "urn:fault.partner.soap.sforce.com",
    fault: "LoginFault",
};

impl Sessions {
    /// Answers `POST /services/Soap/u/NN.0`.
    pub fn soap_login(&mut self, call: &Call, version: &str) -> Reply {
        let body = String::from_utf8_lossy(&call.body);
        let Some((username, password)) = login_fields(&body) else {
            let message = "No operation available for request: only login is served here";
            return PARTNER.fault(&Refusal::new(500, "UNKNOWN_EXCEPTION", message));
        };
        let expected = self.credentials.password.as_ref().map(|password| password.expose_secret().to_owned());
        let right = expected.is_some_and(|expected| same(&password, &expected));
        if !right || username != self.identity.username {
            let message = "Invalid username, password, security token; or user locked out.";
            return PARTNER.fault(&Refusal::new(500, "INVALID_LOGIN", message));
        }
        let token = self.issue();
        let Identity { org_id, user_id, username } = self.identity();
        let [server, metadata] =
            ["u", "m"].map(|api| escape(&format!("{}/services/Soap/{api}/{version}/{org_id}", call.base_url)));
        let (token, username) = (escape(&token), escape(username));
        PARTNER.reply(&format!(
            "<loginResponse><result><metadataServerUrl>{metadata}</metadataServerUrl>\
             <passwordExpired>false</passwordExpired><sandbox>false</sandbox><serverUrl>{server}</serverUrl>\
             <sessionId>{token}</sessionId><userId>{user_id}</userId><userInfo><organizationId>{org_id}</organizationId>\
             <organizationName>Rollbook Emulator</organizationName><sessionSecondsValid>7200</sessionSecondsValid>\
             <userId>{user_id}</userId><userName>{username}</userName></userInfo></result></loginResponse>"
        ))
    }
}

fn login_fields(body: &str) -> Option<(String, String)> {
    let document = roxmltree::Document::parse(body).ok()?;
    let (login, _) = PARTNER.operation(&document).filter(|(operation, _)| operation.tag_name().name() == "login")?;
    let text = |name| PARTNER.text(login, name).map(str::to_owned);
    Some((text("username")?, text("password")?))
}
