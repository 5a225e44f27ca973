//! Single records: describe, create, read, update, delete, and the same by external id.

use serde_json::json;

use super::record;
use crate::emulator::org::Access;
use crate::emulator::rows::{Upserted, attempt, create, external_id, known, matches, no_external_id, upsert};
use crate::emulator::schema::{FieldDef, ObjectDef, describe};
use crate::emulator::service::Service;
use crate::emulator::wire::{DataCall, Method, Refusal, Reply};
use crate::id::SalesforceId;

/// From this version on a write by external id answers with `created`, and an update with a body.
const UPSERT_RESULT_SINCE: u32 = 46;

/// A record addressed by the value of a field.
pub struct Key<'a> {
    pub object: &'a str,
    pub field: &'a str,
    pub value: &'a str,
}

pub fn global(service: &Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Get, Method::Head])?;
    let base = call.base();
    let schema = service.org.schema();
    let sobjects: Vec<_> = schema.objects().map(|object| describe::summary(object, &base)).collect();
    Ok(Reply::json(200, json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sobjects })))
}

pub fn describe(service: &Service, call: &DataCall<'_>, object: &str) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Get, Method::Head])?;
    let schema = service.org.schema();
    Ok(Reply::json(200, describe::object(&schema, known(&schema, object)?, &call.base())))
}

/// `/sobjects/X`: metadata, or a new record.
pub fn collection(service: &mut Service, call: &DataCall<'_>, object: &str) -> Result<Reply, Refusal> {
    let schema = service.org.schema();
    let object = known(&schema, object)?;
    match call.call.method {
        Method::Get | Method::Head => {
            let summary = describe::summary(object, &call.base());
            Ok(Reply::json(200, json!({ "objectDescribe": summary, "recentItems": [] })))
        }
        Method::Post => {
            let id = create(&mut service.org, object, &call.call.json()?)?;
            Ok(created(call, object, id, json!({ "id": id.as_str(), "success": true, "errors": [] })))
        }
        other @ (Method::Put | Method::Patch | Method::Delete) => Err(Refusal::method(other, "GET,HEAD,POST")),
    }
}

/// `/sobjects/X/ID`
pub fn by_id(service: &mut Service, call: &DataCall<'_>, object: &str, id: &str) -> Result<Reply, Refusal> {
    let schema = service.org.schema();
    let object = known(&schema, object)?;
    if call.call.method == Method::Post && id.eq_ignore_ascii_case("Id") {
        let id = create(&mut service.org, object, &call.call.json()?)?;
        return Ok(created(call, object, id, record::success(id.as_str(), Some(true))));
    }
    if SalesforceId::parse(id).is_none() {
        return Err(no_external_id(id));
    }
    match call.call.method {
        Method::Get | Method::Head => {
            let found = service.org.record(&object.name, id).filter(|found| !found.deleted);
            read(service, call, object, found.map(|found| found.id).as_slice())
        }
        Method::Patch => {
            let body = call.call.json()?;
            attempt(&mut service.org, |org| org.update(&object.name, id, &body, Access::User))?;
            Ok(Reply::empty(204))
        }
        Method::Delete => {
            attempt(&mut service.org, |org| org.delete(&object.name, id, Access::User))?;
            Ok(Reply::empty(204))
        }
        other @ (Method::Post | Method::Put) => Err(Refusal::method(other, "GET,HEAD,PATCH,DELETE")),
    }
}

/// `/sobjects/X/FIELD/VALUE`
pub fn by_external_id(service: &mut Service, call: &DataCall<'_>, key: &Key<'_>) -> Result<Reply, Refusal> {
    let schema = service.org.schema();
    let object = known(&schema, key.object)?;
    let field = external_id(object, key.field)?;
    if call.call.method == Method::Patch {
        return upsert_one(service, call, object, field, key.value);
    }
    let found = matches(&service.org, object, field, key.value)?;
    if found.len() > 1 {
        return Ok(several(call, object, &found));
    }
    match call.call.method {
        Method::Get | Method::Head => read(service, call, object, &found),
        Method::Delete => {
            let id = found.first().ok_or_else(Refusal::not_found)?;
            attempt(&mut service.org, |org| org.delete(&object.name, id.as_str(), Access::User))?;
            Ok(Reply::empty(204))
        }
        other @ (Method::Post | Method::Put | Method::Patch) => Err(Refusal::method(other, "GET,HEAD,PATCH,DELETE")),
    }
}

fn upsert_one(
    service: &mut Service,
    call: &DataCall<'_>,
    object: &ObjectDef,
    field: &FieldDef,
    value: &str,
) -> Result<Reply, Refusal> {
    let body = call.call.json()?;
    let in_body = body.keys().find(|name| name.eq_ignore_ascii_case(&field.name) || name.eq_ignore_ascii_case("id"));
    if let Some(name) = in_body {
        let message = format!("The {name} field should not be specified in the sobject data.");
        return Err(Refusal::bad("INVALID_FIELD", message));
    }
    if call.call.param("updateOnly") == Some("true") && matches(&service.org, object, field, value)?.is_empty() {
        return Err(Refusal::not_found());
    }
    let outcome = upsert(&mut service.org, object, field, value, &body)?;
    let modern = call.version >= UPSERT_RESULT_SINCE;
    Ok(match outcome {
        Upserted::Created(id) => created(call, object, id, record::success(id.as_str(), modern.then_some(true))),
        Upserted::Updated(id) if modern => Reply::json(200, record::success(id.as_str(), Some(false))),
        Upserted::Updated(_) => Reply::empty(204),
        Upserted::Several(found) => several(call, object, &found),
    })
}

fn read(service: &Service, call: &DataCall<'_>, object: &ObjectDef, found: &[SalesforceId]) -> Result<Reply, Refusal> {
    let id = found.first().ok_or_else(Refusal::not_found)?;
    let found = service.org.record(&object.name, id.as_str()).ok_or_else(Refusal::not_found)?;
    let fields = record::fields(object, call.call.param("fields"))?;
    Ok(Reply::json(200, record::shown(&service.org, object, found, &fields, &call.base()).into()))
}

fn created(call: &DataCall<'_>, object: &ObjectDef, id: SalesforceId, body: serde_json::Value) -> Reply {
    let location = format!("{}/sobjects/{}/{id}", call.base(), object.name);
    Reply::json(201, body).with_header("Location", location)
}

fn several(call: &DataCall<'_>, object: &ObjectDef, found: &[SalesforceId]) -> Reply {
    let base = call.base();
    let urls: Vec<String> = found.iter().map(|id| format!("{base}/sobjects/{}/{id}", object.name)).collect();
    Reply::json(300, json!(urls))
}
