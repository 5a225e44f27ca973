//! The Metadata API's SOAP service: `deploy` and `checkDeployStatus`.
//!
//! simple-salesforce calls both below a path of its own, `…/deployRequest`; what the body asks for decides.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roxmltree::{Document, Node};
use serde_json::{Map, Value, json};

use crate::emulator::deploy::Options;
use crate::emulator::service::Service;
use crate::emulator::soap::{Dialect, escape};
use crate::emulator::wire::{Call, Refusal, Reply};

const METADATA: Dialect = Dialect {
    namespace: "http://soap.sforce.com/2006/04/metadata",
    faults: "http://soap.sforce.com/2006/04/metadata",
    fault: "UnexpectedErrorFault",
};

/// Answers `POST /services/Soap/m/NN.0`.
pub fn respond(service: &mut Service, call: &Call) -> Reply {
    let answer = answer(service, call);
    answer.unwrap_or_else(|refusal| {
        service.counters.refused(refusal.code);
        METADATA.fault(&refusal)
    })
}

fn answer(service: &mut Service, call: &Call) -> Result<Reply, Refusal> {
    let body = std::str::from_utf8(&call.body).map_err(|_| Refusal::bad("UNKNOWN_EXCEPTION", "the body is no text"))?;
    let document = Document::parse(body);
    let document =
        document.map_err(|error| Refusal::bad("UNKNOWN_EXCEPTION", format!("the body is no XML: {error}")))?;
    let unknown = || Refusal::bad("UNKNOWN_EXCEPTION", "No operation available for request");
    let (operation, session) = METADATA.operation(&document).ok_or_else(unknown)?;
    let illegal = "Invalid Session ID found in SessionHeader: Illegal Session";
    let checked = service.sessions.check(session.unwrap_or_default());
    checked.map_err(|_| Refusal::new(500, "INVALID_SESSION_ID", illegal))?;
    service.counters.charge()?;
    match operation.tag_name().name() {
        "deploy" => deploy(service, operation),
        "checkDeployStatus" => status(service, operation),
        _ => Err(unknown()),
    }
}

fn deploy(service: &mut Service, operation: Node<'_, '_>) -> Result<Reply, Refusal> {
    // Long texts come in lines.
    let text: String = METADATA.text(operation, "ZipFile").unwrap_or_default().split_whitespace().collect();
    let zip = STANDARD.decode(text).map_err(|error| Refusal::bad("INVALID_OPERATION", format!("ZipFile: {error}")))?;
    let options = METADATA.child(operation, "DeployOptions");
    let options = Options::read(|name| options.is_some_and(|options| flag(options, name)));
    let id = service.deployments.deploy(&mut service.org, &zip, options)?;
    Ok(METADATA.reply(&format!(
        "<deployResponse><result><done>false</done><id>{id}</id><state>Queued</state></result></deployResponse>"
    )))
}

fn status(service: &Service, operation: Node<'_, '_>) -> Result<Reply, Refusal> {
    let id = METADATA.text(operation, "asyncProcessId").unwrap_or_default();
    let result = service.deployments.result(id, flag(operation, "includeDetails"))?;
    let result = json!({ "result": result });
    let inner = result.as_object().map(xml).unwrap_or_default();
    Ok(METADATA.reply(&format!("<checkDeployStatusResponse>{inner}</checkDeployStatusResponse>")))
}

/// simple-salesforce writes `True`.
fn flag(parent: Node<'_, '_>, name: &str) -> bool {
    METADATA.text(parent, name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

/// Members become elements, lists repeat theirs.
fn xml(members: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (name, value) in members {
        let values = if let Value::Array(values) = value { values.iter().collect() } else { vec![value] };
        for value in values {
            let inner = match value {
                Value::Object(members) => xml(members),
                Value::String(text) => escape(text),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
            };
            write!(out, "<{name}>{inner}</{name}>").expect("a string takes what is written to it");
        }
    }
    out
}
