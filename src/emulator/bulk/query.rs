//! Query jobs: a query is checked when its job is made, and answered when it is carried out.
//!
//! What comes back is a table, so a query that does not make one row of a record is refused: aggregates, grouping,
//! offsets and `FIELDS()`.

use std::time::Duration;

use serde_json::Value;

use crate::emulator::jobs::{Format, Job, Query, State, Task, choice, unknown_choice};
use crate::emulator::org::Org;
use crate::emulator::search;
use crate::emulator::service::Service;
use crate::emulator::soql;
use crate::emulator::wire::{DataCall, Refusal, Reply};

/// `POST /jobs/query`
pub fn create(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    let body = call.call.json()?;
    let deleted = match choice(&body, "operation")?.unwrap_or_default() {
        "query" => false,
        "queryAll" => true,
        other => return Err(unknown_choice("operation", other)),
    };
    if let Some(other) = choice(&body, "contentType")?.filter(|kind| *kind != "CSV") {
        return Err(unknown_choice("contentType", other));
    }
    let format = Format::parse(&body)?;
    let text = choice(&body, "query")?.unwrap_or_default().to_owned();
    let parsed = soql::parse(&text).map_err(|error| Refusal::bad(error.code.as_str(), error.message))?;
    if let Some(problem) = parsed.beyond_bulk() {
        return Err(Refusal::bad("API_ERROR", problem));
    }
    let columns = search::columns(&service.org, &text)?;
    let object = columns.get("entityName").and_then(Value::as_str).unwrap_or_default().to_owned();
    let queries = &mut service.jobs.queries;
    if !queries.take() {
        let (max, asked) = (queries.max, queries.used + 1);
        let message = format!("Max bulk v2 query jobs ({max}) per 24 hrs has been reached ({asked})");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    let job = service.jobs.add(|id, created| Job {
        id,
        created,
        modified: created,
        state: State::UploadComplete,
        version: call.version,
        object,
        format,
        error: None,
        claimed: false,
        active: Duration::ZERO,
        task: Task::Query(Query { text, deleted, header: Vec::new(), rows: Vec::new() }),
    })?;
    Ok(Reply::json(200, job.summary(service.org.user_id()).into()))
}

/// Finds the rows.
pub fn run(org: &Org, query: &mut Query) -> Result<(), Refusal> {
    let described = search::columns(org, &query.text)?;
    let mut columns = Vec::new();
    flatten(described.get("columnMetadata").unwrap_or(&Value::Null), &[], &mut columns);
    let found = search::run(org, &query.text, query.deleted, "")?;
    let row = |record: &Value| columns.iter().map(|column| column.value(record)).collect();
    query.rows = found.records.iter().map(row).collect();
    query.header = columns.into_iter().map(|column| column.path.join(".")).collect();
    Ok(())
}

/// A column of the answer: `Lead.Email`.
struct Column {
    path: Vec<String>,
    time: bool,
}

/// Parents nest in a description of columns; in CSV they are paths.
fn flatten(described: &Value, parents: &[String], columns: &mut Vec<Column>) {
    for column in described.as_array().into_iter().flatten() {
        let mut path = parents.to_vec();
        path.extend(column.get("columnName").and_then(Value::as_str).map(str::to_owned));
        let nested =
            column.get("joinColumns").filter(|nested| nested.as_array().is_some_and(|nested| !nested.is_empty()));
        match nested {
            Some(nested) => flatten(nested, &path, columns),
            None => columns.push(Column { path, time: column.get("apexType") == Some(&Value::from("Datetime")) }),
        }
    }
}

impl Column {
    /// Null is nothing; a point in time ends in `Z` here, where REST writes `+0000`.
    fn value(&self, record: &Value) -> String {
        let value = self.path.iter().try_fold(record, |value, name| value.get(name));
        match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) if self.time => text.replace("+0000", "Z"),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}
