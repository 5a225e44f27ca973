//! Writing a row, whichever call it came by: a single write, one of a collection, or a line of a job.
//!
//! A row that fails takes back what it had done, and nothing else: what that means for its siblings is for the call to say.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::org::{Access, Body, Cell, Org, cell_of};
use super::schema::{FieldDef, ObjectDef, Schema};
use super::wire::Refusal;
use crate::id::SalesforceId;

/// What an upsert did, or found in its way.
pub enum Upserted {
    Created(SalesforceId),
    Updated(SalesforceId),
    /// The key matches several records.
    Several(Vec<SalesforceId>),
}

/// What became of one row.
pub struct RowResult {
    pub outcome: Result<String, Refusal>,
    /// Whether the row was, or would have been, an insert. None: the operation does not say.
    pub created: Option<bool>,
}

/// Upserts a row by its key, of which the caller knows whether other rows have it too.
pub fn upsert_by_key(
    org: &mut Org,
    object: &ObjectDef,
    field: &FieldDef,
    (body, key): (&Body, Option<(&str, bool)>),
) -> RowResult {
    let refused = |refusal| RowResult { outcome: Err(refusal), created: Some(false) };
    let key = match key {
        None => return refused(Refusal::bad("MISSING_ARGUMENT", format!("{} not specified", field.name))),
        Some((key, true)) => {
            let refusal = Refusal::bad("DUPLICATE_VALUE", format!("Duplicate external id specified: {key}"));
            return refused(refusal.on(&field.name));
        }
        Some((key, false)) => key,
    };
    let exists = matches(org, object, field, key).is_ok_and(|found| !found.is_empty());
    let outcome = match upsert(org, object, field, key, body) {
        Ok(Upserted::Created(id) | Upserted::Updated(id)) => Ok(id.to_string()),
        Ok(Upserted::Several(found)) => {
            let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("{}: more than one record found for external id field: [{found}]", field.name);
            Err(Refusal::bad("DUPLICATE_EXTERNAL_ID", message).on(&field.name))
        }
        Err(refusal) => Err(refusal),
    };
    RowResult { outcome, created: Some(!exists) }
}

/// A key as its field compares it.
pub fn normal(key: &str, field: &FieldDef) -> String {
    if field.case_sensitive { key.to_owned() } else { key.to_lowercase() }
}

/// Keys that more than one row has: all of those rows fail.
pub fn repeated(keys: &[Option<String>], field: &FieldDef) -> HashSet<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for key in keys.iter().flatten() {
        *counts.entry(normal(key, field)).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(key, _)| key).collect()
}

/// Inserts or updates by the value of an external id field, which `body` does not repeat.
pub fn upsert(
    org: &mut Org,
    object: &ObjectDef,
    field: &FieldDef,
    value: &str,
    body: &Body,
) -> Result<Upserted, Refusal> {
    match matches(org, object, field, value)?.as_slice() {
        [] if field.name == "Id" => Err(Refusal::no_record()),
        [] => {
            let mut body = body.clone();
            body.insert(field.name.clone(), value.into());
            create(org, object, &body).map(Upserted::Created)
        }
        [id] => {
            let updated = attempt(org, |org| org.update(&object.name, id.as_str(), body, Access::User));
            updated.map(Upserted::Updated)
        }
        several => Ok(Upserted::Several(several.to_vec())),
    }
}

/// Live records that a key addresses.
pub fn matches(org: &Org, object: &ObjectDef, field: &FieldDef, value: &str) -> Result<Vec<SalesforceId>, Refusal> {
    if field.name == "Id" {
        let found = org.record(&object.name, value).filter(|found| !found.deleted);
        return Ok(found.map(|found| found.id).into_iter().collect());
    }
    // What could not be stored in the field cannot be found in it either, and is refused in the same words.
    let cell = cell_of(field, &value.into())?;
    if let Some(found) = cell.as_str().and_then(|value| org.find(&object.name, &field.name, value)) {
        return Ok(found.into_iter().map(|record| record.id).collect());
    }
    let wanted = match cell {
        Cell::Number(number) => json!(number),
        Cell::Text(text) => json!(&*text),
        Cell::Null | Cell::Bool(_) => return Ok(Vec::new()),
    };
    let live = org.rows(&object.name).iter().filter(|record| !record.deleted);
    Ok(live.filter(|record| org.value(object, record, field) == wanted).map(|record| record.id).collect())
}

/// The field that a URL names as a key.
pub fn external_id<'a>(object: &'a ObjectDef, name: &str) -> Result<&'a FieldDef, Refusal> {
    let field = object.field(name).filter(|field| field.external_id || field.id_lookup || field.name == "Id");
    field.ok_or_else(|| no_external_id(name))
}

pub fn no_external_id(name: &str) -> Refusal {
    Refusal::new(404, "NOT_FOUND", format!("Provided external ID field does not exist or is not accessible: {name}"))
}

pub fn create(org: &mut Org, object: &ObjectDef, body: &Body) -> Result<SalesforceId, Refusal> {
    attempt(org, |org| org.insert(&object.name, body, Access::User))
}

/// Runs one write; what a failed one had done already is taken back.
pub fn attempt<T>(org: &mut Org, write: impl FnOnce(&mut Org) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let savepoint = org.savepoint();
    write(org).inspect_err(|_| org.rollback_to(savepoint))
}

pub fn known<'a>(schema: &'a Schema, object: &str) -> Result<&'a ObjectDef, Refusal> {
    schema.object(object).ok_or_else(Refusal::not_found)
}
