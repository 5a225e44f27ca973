//! The result of a deployment as a tree of values: JSON as it is, XML by walking it.

use serde_json::{Value, json};

use super::options::Options;
use crate::emulator::org::timestamp_now;
use crate::emulator::schema::Component;

pub fn result(id: &str, user: &str, options: Options, components: &[Component]) -> Value {
    let now = timestamp_now();
    let (failed, good): (Vec<_>, Vec<_>) = components.iter().partition(|component| component.problem.is_some());
    let status = match (failed.is_empty(), options.rollback_on_error) {
        (true, _) => "Succeeded",
        (false, true) => "Failed",
        (false, false) if good.is_empty() => "Failed",
        (false, false) => "SucceededPartial",
    };
    let mut successes: Vec<Value> = good.iter().map(|component| message(component, &now)).collect();
    if failed.is_empty() {
        // The list of components is answered like one.
        successes.push(json!({
            "changed": true, "componentType": "", "created": false, "createdDate": now, "deleted": false,
            "fileName": "package.xml", "fullName": "package.xml", "success": true,
        }));
    }
    json!({
        "checkOnly": options.check_only,
        "completedDate": now,
        "createdBy": user.get(..15).unwrap_or(user),
        "createdByName": "Integration User",
        "createdDate": now,
        "details": {
            "componentFailures": failed.iter().map(|component| message(component, &now)).collect::<Vec<_>>(),
            "componentSuccesses": successes,
            "runTestResult": { "numFailures": 0, "numTestsRun": 0, "totalTime": 0.0 },
        },
        "done": true,
        "id": id,
        "ignoreWarnings": options.ignore_warnings,
        "lastModifiedDate": now,
        "numberComponentErrors": failed.len(),
        "numberComponentsDeployed": good.len(),
        "numberComponentsTotal": components.len(),
        "numberTestErrors": 0,
        "numberTestsCompleted": 0,
        "numberTestsTotal": 0,
        "rollbackOnError": options.rollback_on_error,
        "runTestsEnabled": false,
        "startDate": now,
        "status": status,
        "success": failed.is_empty(),
    })
}

fn message(component: &Component, now: &str) -> Value {
    let failed = component.problem.as_ref();
    let mut message = json!({
        "changed": failed.is_none() && component.changed,
        "componentType": component.kind,
        "created": failed.is_none() && component.created,
        "createdDate": now,
        "deleted": false,
        "fileName": component.path,
        "fullName": component.name,
        "success": failed.is_none(),
    });
    if let (Some(error), Some(message)) = (failed, message.as_object_mut()) {
        if let Some((line, column)) = error.place() {
            message.insert("lineNumber".to_owned(), line.into());
            message.insert("columnNumber".to_owned(), column.into());
        }
        message.insert("problem".to_owned(), error.told().into());
        message.insert("problemType".to_owned(), "Error".into());
    }
    message
}

/// Without the components, unless somebody asks for them.
pub fn shown(result: &Value, details: bool) -> Value {
    let mut shown = result.clone();
    if let (false, Some(shown)) = (details, shown.as_object_mut()) {
        shown.remove("details");
    }
    shown
}
