//! Rows to the records of an answer.

use serde_json::{Map, Value, json};

use super::plan::{Node, Shape};
use super::rows::{Context, Rows};

/// A record with its `attributes`; a parent is an object of its own, or null.
pub(super) fn record<R: Rows>(shape: &Shape<'_>, context: &Context<'_, R>, row: &R::Row) -> Value {
    let rows = context.rows;
    let object = shape.object;
    let id = object.field("Id").map(|field| rows.value(object, row, field)).unwrap_or_default();
    let url = format!("{}/sobjects/{}/{}", context.base, object.name, id.as_str().unwrap_or_default());
    let mut record = Map::new();
    record.insert("attributes".to_owned(), json!({ "type": object.name, "url": url }));
    for node in &shape.nodes {
        match node {
            Node::Field(field) => {
                record.insert(field.name.clone(), rows.value(object, row, field));
            }
            Node::Parent { reference, shape } => {
                let id = rows.value(object, row, reference);
                let parent = id.as_str().and_then(|id| rows.by_id(shape.object, id));
                let parent = parent.filter(|parent| context.deleted || !rows.deleted(parent));
                let name = reference.relationship_name.clone().unwrap_or_default();
                record.insert(name, parent.map_or(Value::Null, |parent| self::record(shape, context, parent)));
            }
        }
    }
    Value::Object(record)
}
