//! A row as the API shows it, and the result objects that every kind of write answers with.

use serde_json::{Map, Value, json};

use crate::emulator::org::{Org, Record};
use crate::emulator::schema::{FieldDef, ObjectDef};
use crate::emulator::wire::Refusal;

/// `attributes` and the fields asked for; all of them if none are named.
pub fn shown(org: &Org, object: &ObjectDef, record: &Record, fields: &[&FieldDef], base: &str) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("attributes".into(), attributes(object, record, base));
    for field in fields {
        row.insert(field.name.clone(), org.value(object, record, field));
    }
    row
}

pub fn attributes(object: &ObjectDef, record: &Record, base: &str) -> Value {
    json!({ "type": object.name, "url": url(object, record, base) })
}

pub fn url(object: &ObjectDef, record: &Record, base: &str) -> String {
    format!("{base}/sobjects/{}/{}", object.name, record.id)
}

/// The fields of a comma-separated list, or all.
pub fn fields<'a>(object: &'a ObjectDef, list: Option<&str>) -> Result<Vec<&'a FieldDef>, Refusal> {
    let Some(list) = list else { return Ok(object.fields.iter().collect()) };
    let field = |name: &str| object.field(name).ok_or_else(|| Refusal::no_column(name, &object.name));
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(field).collect()
}

/// A row's success in a collection, or a single write's.
pub fn success(id: &str, created: Option<bool>) -> Value {
    let mut result = json!({ "id": id, "success": true, "errors": [] });
    if let (Some(created), Some(result)) = (created, result.as_object_mut()) {
        result.insert("created".into(), created.into());
    }
    result
}

/// A row's failure in a collection. A row that was rolled back with its siblings keeps its id.
pub fn failure(refusal: &Refusal, created: Option<bool>, id: Option<&str>) -> Value {
    let mut result = json!({ "success": false, "errors": [refusal.row_error()] });
    if let Some(result) = result.as_object_mut() {
        if let Some(created) = created {
            result.insert("created".into(), created.into());
        }
        if let Some(id) = id {
            result.insert("id".into(), id.into());
        }
    }
    result
}
