//! The SOAP `login` call that simple-salesforce and jsforce make by default: enough of it to log in, nothing more.

use secrecy::ExposeSecret as _;

use super::{Identity, Sessions, same};
use crate::emulator::wire::{Call, Reply};

/// Answers `POST /services/Soap/u/NN.0`.
pub fn login(sessions: &mut Sessions, call: &Call, version: &str) -> Reply {
    let body = String::from_utf8_lossy(&call.body);
    let Some((username, password)) = login_fields(&body) else {
        return fault("UNKNOWN_EXCEPTION", "No operation available for request: only login is served here");
    };
    let expected = sessions.credentials.password.as_ref().map(|password| password.expose_secret().to_owned());
    let right = expected.is_some_and(|expected| same(&password, &expected));
    if !right || username != sessions.identity.username {
        return fault("INVALID_LOGIN", "Invalid username, password, security token; or user locked out.");
    }
    let token = sessions.issue();
    let Identity { org_id, user_id, username } = sessions.identity();
    let server = format!("{}/services/Soap/u/{version}/{org_id}", call.base_url);
    let (token, server, username) = (escape(&token), escape(&server), escape(username));
    envelope(
        200,
        &format!(
            "<loginResponse><result><metadataServerUrl>{server}</metadataServerUrl><passwordExpired>false</passwordExpired>\
             <sandbox>false</sandbox><serverUrl>{server}</serverUrl><sessionId>{token}</sessionId>\
             <userId>{user_id}</userId><userInfo><organizationId>{org_id}</organizationId>\
             <organizationName>Rollbook Emulator</organizationName><sessionSecondsValid>7200</sessionSecondsValid>\
             <userId>{user_id}</userId><userName>{username}</userName></userInfo></result></loginResponse>"
        ),
    )
}

/// Prefixes differ from client to client, so elements are found by their local names.
fn login_fields(body: &str) -> Option<(String, String)> {
    let document = roxmltree::Document::parse(body).ok()?;
    let login = document.descendants().find(|node| node.tag_name().name() == "login")?;
    let text = |name: &str| {
        let node = login.children().find(|node| node.tag_name().name() == name)?;
        Some(node.text().unwrap_or_default().to_owned())
    };
    Some((text("username")?, text("password")?))
}

fn fault(code: &str, message: &str) -> Reply {
    envelope(
        500,
        &format!(
            "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
             <sf:LoginFault xmlns:sf=\"urn:fault.partner.soap.sforce.com\"><sf:exceptionCode>{code}</sf:exceptionCode>\
             <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault>"
        ),
    )
}

fn envelope(status: u16, body: &str) -> Reply {
    Reply::text(
        status,
        "text/xml;charset=UTF-8",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
             xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns=\"urn:partner.soap.sforce.com\">\
             <soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
        ),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
