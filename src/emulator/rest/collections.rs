//! Up to 200 records in one call: each row succeeds or fails for itself, unless the caller wants all or none.
//!
//! A request that is understood is answered with 200, even when every row of it failed.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::record;
use crate::emulator::org::{Access, Body, Org};
use crate::emulator::rows::{RowResult, attempt, external_id, known, normal, repeated, upsert_by_key};
use crate::emulator::schema::{FieldDef, ObjectDef, Schema};
use crate::emulator::service::Service;
use crate::emulator::wire::{DataCall, Method, Refusal, Reply};

const ROWS_MAX: usize = 200;
/// The first API version that has it.
const UPSERT_SINCE: u32 = 46;
const RETRIEVE_MAX: usize = 2_000;
/// Consecutive records of one type make a chunk.
const CHUNKS_MAX: usize = 10;

/// `PATCH /composite/sobjects/X/FIELD`
pub fn upsert(service: &mut Service, call: &DataCall<'_>, object: &str, field: &str) -> Result<Reply, Refusal> {
    if call.version < UPSERT_SINCE {
        return Err(Refusal::not_found());
    }
    call.call.only(&[Method::Patch])?;
    let schema = service.org.schema();
    let object = known(&schema, object)?;
    let field = external_id(object, field)?;
    let (records, all_or_none) = records(call)?;
    let keys: Vec<Option<String>> = records.iter().map(|body| key_of(body, field)).collect();
    let repeated = repeated(&keys, field);
    let run = |org: &mut Org| {
        let row =
            |(body, key): (&Body, &Option<String>)| upsert_one(org, object, field, (body, key.as_deref(), &repeated));
        records.iter().zip(&keys).map(row).collect()
    };
    rows(service, all_or_none, run)
}

/// `/composite/sobjects`: records of mixed types.
pub fn mixed(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    let schema = service.org.schema();
    match call.call.method {
        Method::Post | Method::Patch => {
            let (records, all_or_none) = records(call)?;
            check_chunks(&records)?;
            let create = call.call.method == Method::Post;
            let run = |org: &mut Org| {
                records
                    .iter()
                    .map(|body| if create { create_one(org, &schema, body) } else { update_one(org, &schema, body) })
                    .collect()
            };
            rows(service, all_or_none, run)
        }
        Method::Delete => {
            let ids = ids(call.call.param("ids").unwrap_or_default(), ROWS_MAX)?;
            let all_or_none = call.call.param("allOrNone") == Some("true");
            rows(service, all_or_none, |org| ids.iter().map(|id| delete_one(org, &schema, id)).collect())
        }
        other @ (Method::Get | Method::Head | Method::Put) => Err(Refusal::method(other, "POST,PATCH,DELETE")),
    }
}

/// `/composite/sobjects/X`: several records by id, null where there is none.
pub fn retrieve(service: &mut Service, call: &DataCall<'_>, object: &str) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Get, Method::Post])?;
    let schema = service.org.schema();
    let object = known(&schema, object)?;
    let list = |body: &Body, name: &str| {
        let texts = body.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        texts.collect::<Vec<_>>().join(",")
    };
    let (ids_text, fields) = if call.call.method == Method::Post {
        let body = call.call.json()?;
        (list(&body, "ids"), list(&body, "fields"))
    } else {
        let param = |name| call.call.param(name).unwrap_or_default().to_owned();
        (param("ids"), param("fields"))
    };
    if fields.is_empty() {
        return Err(Refusal::bad("MISSING_ARGUMENT", "fields must be specified"));
    }
    let fields = record::fields(object, Some(&fields))?;
    let base = call.base();
    let row = |id: &String| -> Value {
        let found = service.org.record(&object.name, id).filter(|found| !found.deleted);
        found.map_or(Value::Null, |found| record::shown(&service.org, object, found, &fields, &base).into())
    };
    let rows: Vec<Value> = ids(&ids_text, RETRIEVE_MAX)?.iter().map(row).collect();
    Ok(Reply::json(200, rows.into()))
}

fn ids(list: &str, max: usize) -> Result<Vec<String>, Refusal> {
    let ids: Vec<String> = list.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect();
    if ids.is_empty() {
        return Err(Refusal::bad("MISSING_ARGUMENT", "ids must be specified"));
    }
    within(ids.len(), max).map(|()| ids)
}

fn within(count: usize, max: usize) -> Result<(), Refusal> {
    if count <= max {
        return Ok(());
    }
    let message = format!("record limit reached. cannot submit more than {max} records into this method");
    Err(Refusal::bad("EXCEEDED_ID_LIMIT", message))
}

/// The records of a body, each with its `attributes.type`.
fn records(call: &DataCall<'_>) -> Result<(Vec<Body>, bool), Refusal> {
    let mut body = call.call.json()?;
    let all_or_none = match body.get("allOrNone") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(all_or_none)) => *all_or_none,
        Some(_) => return Err(Refusal::bad("JSON_PARSER_ERROR", "allOrNone must be a boolean at [line:1, column:2]")),
    };
    let Some(Value::Array(records)) = body.remove("records") else {
        return Err(Refusal::bad("MISSING_ARGUMENT", "records must be specified"));
    };
    within(records.len(), ROWS_MAX)?;
    let record = |record| {
        let typed = if let Value::Object(record) = record { Some(record) } else { None };
        let untyped = || Refusal::bad("INVALID_TYPE", "every record must have an attributes map with a value for type");
        typed.filter(|record| type_of(record).is_some()).ok_or_else(untyped)
    };
    Ok((records.into_iter().map(record).collect::<Result<_, _>>()?, all_or_none))
}

fn type_of(record: &Body) -> Option<&str> {
    record.get("attributes")?.get("type")?.as_str()
}

fn check_chunks(records: &[Body]) -> Result<(), Refusal> {
    let types: Vec<Option<&str>> = records.iter().map(type_of).collect();
    let changes = types.windows(2).filter(|pair| pair.first() != pair.last()).count();
    if changes < CHUNKS_MAX {
        return Ok(());
    }
    Err(Refusal::bad("LIMIT_EXCEEDED", format!("a request can hold at most {CHUNKS_MAX} chunks of consecutive types")))
}

fn key_of(record: &Body, field: &FieldDef) -> Option<String> {
    let value = member(record, &field.name)?;
    let number = || value.is_number().then(|| value.to_string());
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned).or_else(number)
}

fn member<'a>(record: &'a Body, name: &str) -> Option<&'a Value> {
    record.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn upsert_one(
    org: &mut Org,
    object: &ObjectDef,
    field: &FieldDef,
    (record, key, repeated): (&Body, Option<&str>, &HashSet<String>),
) -> RowResult {
    let refused = |refusal| RowResult { outcome: Err(refusal), created: Some(false) };
    if !type_of(record).is_some_and(|name| name.eq_ignore_ascii_case(&object.name)) {
        let message = format!("the record's type is not the type of the request: {}", object.name);
        return refused(Refusal::bad("INVALID_TYPE", message));
    }
    if member(record, "Id").is_some() && field.name != "Id" {
        return refused(
            Refusal::bad("INVALID_FIELD", "The Id field should not be specified in the sobject data.").on("Id"),
        );
    }
    let mut body = record.clone();
    body.retain(|name, _| !name.eq_ignore_ascii_case(&field.name));
    upsert_by_key(org, object, field, (&body, key.map(|key| (key, repeated.contains(&normal(key, field))))))
}

fn create_one(org: &mut Org, schema: &Schema, record: &Body) -> RowResult {
    let outcome = typed(schema, record)
        .and_then(|object| attempt(org, |org| org.insert(&object.name, record, Access::User)))
        .map(|id| id.to_string());
    RowResult { outcome, created: None }
}

fn update_one(org: &mut Org, schema: &Schema, record: &Body) -> RowResult {
    let mut update = || {
        let object = typed(schema, record)?;
        let id = member(record, "Id").and_then(Value::as_str);
        let id = id.ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", "Id not specified in an update call"))?;
        let mut body = record.clone();
        body.retain(|name, _| !name.eq_ignore_ascii_case("Id"));
        attempt(org, |org| org.update(&object.name, id, &body, Access::User)).map(|id| id.to_string())
    };
    RowResult { outcome: update(), created: None }
}

fn delete_one(org: &mut Org, schema: &Schema, id: &str) -> RowResult {
    let object = schema.object_of_id(id);
    let object = object.ok_or_else(|| Refusal::bad("MALFORMED_ID", format!("malformed id {id}")));
    let deleted = object.and_then(|object| attempt(org, |org| org.delete(&object.name, id, Access::User)));
    RowResult { outcome: deleted.map(|id| id.to_string()), created: None }
}

fn typed<'a>(schema: &'a Schema, record: &Body) -> Result<&'a ObjectDef, Refusal> {
    let name = type_of(record).unwrap_or_default();
    let unknown = || Refusal::bad("INVALID_TYPE", format!("sObject type '{name}' is not supported."));
    schema.object(name).ok_or_else(unknown)
}

/// Runs the rows in order and puts their results together.
fn rows(
    service: &mut Service,
    all_or_none: bool,
    run: impl FnOnce(&mut Org) -> Vec<RowResult>,
) -> Result<Reply, Refusal> {
    let org = &mut service.org;
    let savepoint = org.savepoint();
    let mut results = run(org);
    // A value of the wrong JSON type makes the whole request unreadable.
    let unreadable =
        |result: &&mut RowResult| matches!(&result.outcome, Err(refusal) if refusal.code == "JSON_PARSER_ERROR");
    if let Some(RowResult { outcome: Err(refusal), .. }) = results.iter_mut().find(unreadable) {
        org.rollback_to(savepoint);
        return Err(refusal.clone());
    }
    let rolled_back = all_or_none && results.iter().any(|result| result.outcome.is_err());
    if rolled_back {
        org.rollback_to(savepoint);
    }
    service
        .refused
        .extend(results.iter().filter_map(|result| result.outcome.as_ref().err()).map(|refusal| refusal.code));
    let rows: Vec<Value> = results.iter().map(|result| row(result, rolled_back)).collect();
    Ok(Reply::json(200, json!(rows)))
}

fn row(result: &RowResult, rolled_back: bool) -> Value {
    match &result.outcome {
        Ok(id) if rolled_back => {
            let refusal = Refusal::bad(
                "ALL_OR_NONE_OPERATION_ROLLED_BACK",
                "Record rolled back because not all records were valid and the request was using AllOrNone header",
            );
            record::failure(&refusal, result.created, Some(id))
        }
        Ok(id) => record::success(id, result.created),
        Err(refusal) => record::failure(refusal, result.created, None),
    }
}
