//! What a query would answer: the description of its columns, without a row.

use serde_json::{Value, json};

use super::bind;
use super::fault::Error;
use super::plan::{Column, Node, Output, Source};
use super::query::{Function, Query};
use crate::emulator::schema::{FieldDef, FieldKind, Schema, describe};

/// The answer to a query with `columns=true`: what it would return, nothing of it.
pub fn columns(query: &Query, schema: &Schema) -> Result<Value, Error> {
    let (object, output) = bind::output(&query.select, schema).map_err(|fault| fault.tell(&query.text))?;
    let columns = match &output {
        Output::Count => Vec::new(),
        Output::Records(shape) => shape.nodes.iter().map(node_column).collect(),
        Output::Groups(groups) => {
            let key = |column: &Column<'_>| match &column.source {
                Source::Key(at) => groups.by.get(*at).map(|route| field_column(route.field)),
                Source::Aggregate(function, route) => Some(aggregate_column(&column.name, *function, route.field)),
            };
            groups.columns.iter().filter_map(key).collect()
        }
    };
    let selects_id = matches!(&output, Output::Records(shape)
        if shape.nodes.iter().any(|node| matches!(node, Node::Field(field) if field.name == "Id")));
    Ok(json!({
        "columnMetadata": columns,
        "entityName": object.name,
        "groupBy": matches!(output, Output::Groups(_)),
        "idSelected": selects_id,
        "keyPrefix": object.key_prefix,
    }))
}

fn node_column(node: &Node<'_>) -> Value {
    match node {
        Node::Field(field) => field_column(field),
        Node::Parent { reference, shape } => {
            let mut column = field_column(reference);
            if let Some(column) = column.as_object_mut() {
                let name = reference.relationship_name.clone().unwrap_or_default();
                column.insert("columnName".to_owned(), name.clone().into());
                column.insert("displayName".to_owned(), name.into());
                let nested: Vec<Value> = shape.nodes.iter().map(node_column).collect();
                column.insert("joinColumns".to_owned(), nested.into());
            }
            column
        }
    }
}

fn field_column(field: &FieldDef) -> Value {
    json!({
        "aggregate": false,
        "apexType": apex_type(field.kind),
        "booleanType": field.kind == FieldKind::Boolean,
        "columnName": field.name,
        "custom": field.custom,
        "displayName": field.name,
        "foreignKeyName": field.reference_to.first(),
        "insertable": field.createable,
        "joinColumns": [],
        "numberType": field.kind.numeric(),
        "textType": field.kind.textual() || field.kind.identifier(),
        "updatable": field.updateable,
    })
}

fn aggregate_column(name: &str, function: Function, field: &FieldDef) -> Value {
    let counts = matches!(function, Function::Count | Function::CountDistinct);
    let mut column = field_column(field);
    if let Some(column) = column.as_object_mut() {
        column.insert("aggregate".to_owned(), true.into());
        column.insert("columnName".to_owned(), name.into());
        column.insert("displayName".to_owned(), name.into());
        if counts {
            column.insert("apexType".to_owned(), "Integer".into());
            column.insert("numberType".to_owned(), true.into());
            column.insert("textType".to_owned(), false.into());
        }
    }
    column
}

fn apex_type(kind: FieldKind) -> &'static str {
    match describe::type_name(kind) {
        "id" | "reference" => "Id",
        "double" => "Double",
        "int" => "Integer",
        "boolean" => "Boolean",
        "date" => "Date",
        "datetime" => "Datetime",
        _ => "String",
    }
}
