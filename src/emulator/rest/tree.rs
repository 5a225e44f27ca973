//! Records with their children in one call, all of them new: all are made or none.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::emulator::org::{Body, Org};
use crate::emulator::rows::{create, known};
use crate::emulator::schema::{FieldDef, ObjectDef, Schema};
use crate::emulator::service::Service;
use crate::emulator::wire::{DataCall, Method, Refusal, Reply};
use crate::id::SalesforceId;

const RECORDS_MAX: usize = 200;
const LEVELS_MAX: usize = 5;
const TYPES_MAX: usize = 5;

/// A record of a tree, its parent before it.
struct Node<'a> {
    object: &'a ObjectDef,
    reference_id: String,
    body: Body,
    /// Its place in the list, and the field that points there.
    parent: Option<(usize, &'a FieldDef)>,
}

/// `POST /composite/tree/X`
pub fn respond(service: &mut Service, call: &DataCall<'_>, object: &str) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Post])?;
    let schema = service.org.schema();
    let object = known(&schema, object)?;
    let body = call.call.json()?;
    let mut nodes = Vec::new();
    collect(&schema, (object, body.get("records")), None, &mut nodes)?;
    check(&nodes)?;
    let savepoint = service.org.savepoint();
    Ok(match make(&mut service.org, nodes) {
        Ok(results) => Reply::json(201, json!({ "hasErrors": false, "results": results })),
        Err((reference_id, refusal)) => {
            service.org.rollback_to(savepoint);
            let result = json!({ "referenceId": reference_id, "errors": [refusal.row_error()] });
            Reply::json(400, json!({ "hasErrors": true, "results": [result] }))
        }
    })
}

fn collect<'a>(
    schema: &'a Schema,
    (object, records): (&'a ObjectDef, Option<&Value>),
    parent: Option<(usize, usize, &'a FieldDef)>,
    nodes: &mut Vec<Node<'a>>,
) -> Result<(), Refusal> {
    let level = parent.map_or(1, |(level, ..)| level + 1);
    if level > LEVELS_MAX {
        return Err(Refusal::bad("INVALID_INPUT", format!("a tree can be at most {LEVELS_MAX} levels deep")));
    }
    let records = records.and_then(Value::as_array);
    for record in records.ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", "records must be specified"))? {
        let nothing = Map::new();
        let record = record.as_object().unwrap_or(&nothing);
        let attribute = |name: &str| record.get("attributes")?.get(name)?.as_str();
        let reference_id = attribute("referenceId")
            .ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", "referenceId must be specified for every record"))?;
        if !attribute("type").is_some_and(|name| name.eq_ignore_ascii_case(&object.name)) {
            let message = format!("the type of record {reference_id} is not {}", object.name);
            return Err(Refusal::bad("INVALID_TYPE", message));
        }
        let (children, fields): (Vec<_>, Vec<_>) =
            record.iter().partition(|(_, value)| value.get("records").is_some_and(Value::is_array));
        let at = nodes.len();
        let body = fields.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let parent = parent.map(|(_, at, field)| (at, field));
        nodes.push(Node { object, reference_id: reference_id.to_owned(), body, parent });
        for (name, value) in children {
            let (child, field) = child(schema, object, name)?;
            collect(schema, (child, value.get("records")), Some((level, at, field)), nodes)?;
        }
    }
    Ok(())
}

/// The object behind the name of a list of children, and its field that points back.
fn child<'a>(schema: &'a Schema, parent: &ObjectDef, name: &str) -> Result<(&'a ObjectDef, &'a FieldDef), Refusal> {
    let named = |field: &&FieldDef| {
        let children = field.child_relationship.as_deref();
        children.is_some_and(|children| children.eq_ignore_ascii_case(name))
            && field.reference_to.contains(&parent.name)
    };
    let found = schema.objects().find_map(|object| Some((object, object.fields.iter().find(named)?)));
    found.ok_or_else(|| Refusal::no_column(name, &parent.name))
}

fn check(nodes: &[Node<'_>]) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::bad("INVALID_INPUT", message));
    if nodes.len() > RECORDS_MAX {
        return invalid(format!("a request can hold at most {RECORDS_MAX} records"));
    }
    let types: HashSet<&str> = nodes.iter().map(|node| node.object.name.as_str()).collect();
    if types.len() > TYPES_MAX {
        return invalid(format!("a request can hold records of at most {TYPES_MAX} types"));
    }
    let mut names = HashSet::new();
    match nodes.iter().find(|node| !names.insert(node.reference_id.as_str())) {
        Some(again) => invalid(format!("Duplicate ReferenceId provided in the request: {}", again.reference_id)),
        None => Ok(()),
    }
}

/// Makes the records. An error comes with the name of its record.
fn make(org: &mut Org, nodes: Vec<Node<'_>>) -> Result<Vec<Value>, (String, Refusal)> {
    let mut ids: Vec<SalesforceId> = Vec::with_capacity(nodes.len());
    let mut results = Vec::with_capacity(nodes.len());
    for Node { object, reference_id, mut body, parent } in nodes {
        if let Some((id, field)) = parent.and_then(|(at, field)| Some((ids.get(at)?, field))) {
            body.insert(field.name.clone(), id.as_str().into());
        }
        let id = create(org, object, &body).map_err(|refusal| (reference_id.clone(), refusal))?;
        ids.push(id);
        results.push(json!({ "referenceId": reference_id, "id": id.as_str() }));
    }
    Ok(results)
}
