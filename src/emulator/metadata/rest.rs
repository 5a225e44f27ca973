//! The Metadata API's REST resource: `metadata/deployRequest`.

use serde_json::{Value, json};

use crate::emulator::deploy::Options;
use crate::emulator::service::Service;
use crate::emulator::wire::{DataCall, Method, Refusal, Reply};

/// `POST /metadata/deployRequest`: a zip and its options, as a form of two parts. The command line calls the second one
/// `entity_content`, Salesforce's guide calls it `json`.
pub fn start(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    if call.call.method != Method::Post {
        return Err(Refusal::method(call.call.method, "POST"));
    }
    let part = |names: &[&str]| call.call.parts.iter().find(|part| names.contains(&part.name.as_str()));
    let missing = |name: &str| Refusal::bad("MISSING_ARGUMENT", format!("the part {name} must be specified"));
    let zip = part(&["file"]).ok_or_else(|| missing("file"))?;
    let options = part(&["entity_content", "json"]).ok_or_else(|| missing("json"))?;
    let options: Value = serde_json::from_slice(&options.content)
        .map_err(|error| Refusal::bad("JSON_PARSER_ERROR", error.to_string()))?;
    let given = options.get("deployOptions").cloned().unwrap_or_default();
    let options = Options::read(|name| given.get(name).is_some_and(|flag| *flag == json!(true) || flag == "true"));
    let id = service.deployments.deploy(&mut service.org, &zip.content, options)?;
    let pending = json!({
        "checkOnly": options.check_only, "done": false, "id": id, "ignoreWarnings": options.ignore_warnings,
        "rollbackOnError": options.rollback_on_error, "status": "Pending", "success": false,
    });
    Ok(Reply::json(
        201,
        json!({
            "id": id, "validatedDeployRequestId": null, "deployOptions": given, "deployResult": pending,
        }),
    ))
}

/// `GET /metadata/deployRequest/ID`
pub fn status(service: &Service, call: &DataCall<'_>, id: &str) -> Result<Reply, Refusal> {
    if call.call.method != Method::Get {
        return Err(Refusal::method(call.call.method, "GET"));
    }
    let details = call.call.param("includeDetails") == Some("true");
    let result = service.deployments.result(id, details)?;
    let url = format!("{}{}/metadata/deployRequest/{id}", call.call.base_url, call.base());
    Ok(Reply::json(200, json!({ "id": id, "url": url, "deployResult": result })))
}
