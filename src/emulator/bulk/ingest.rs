//! Ingest jobs as a client makes them: described as JSON, with their rows in a call of their own or, a few of them, in
//! the same one.

use std::time::Duration;

use crate::emulator::jobs::{Format, Ingest, Job, Kind, Operation, State, Task, choice, unknown_choice};
use crate::emulator::org::Body;
use crate::emulator::schema::{ObjectDef, Schema};
use crate::emulator::service::Service;
use crate::emulator::wire::{Call, DataCall, Method, Refusal, Reply};

/// Of rows that come with the job's description.
const MULTIPART_CHARS_MAX: usize = 100_000;

/// `POST /jobs/ingest`
pub fn create(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    let part = |name: &str| call.call.parts.iter().find(|part| part.name == name).map(|part| part.content.clone());
    let form = call.call.header("content-type").is_some_and(|kind| kind.starts_with("multipart/form-data"));
    let (body, content) = match (part("job"), part("content")) {
        (None, None) if !form => (call.call.json()?, None),
        (Some(job), Some(content)) => (Call { body: job, ..Call::new(Method::Post, "", "") }.json()?, Some(content)),
        _ => return Err(Refusal::bad("INVALIDJOB", "InvalidJob : a multipart request has the parts job and content")),
    };
    if content.as_ref().is_some_and(|content| String::from_utf8_lossy(content).chars().count() > MULTIPART_CHARS_MAX) {
        let message =
            format!("InvalidJob : a multipart request takes at most {MULTIPART_CHARS_MAX} characters of data");
        return Err(Refusal::bad("INVALIDJOB", message));
    }
    let schema = service.org.schema();
    let object = object(&schema, &body)?;
    let ingest = describe(object, &body)?;
    let format = Format::parse(&body)?;
    if service.jobs.batches.remaining() == 0 {
        return Err(Refusal::bad("EXCEEDEDQUOTA", "ApiBatchItems Limit exceeded."));
    }
    let job = service.jobs.add(|id, created| Job {
        id,
        created,
        modified: created,
        state: if content.is_some() { State::UploadComplete } else { State::Open },
        version: call.version,
        object: object.name.clone(),
        format,
        error: None,
        claimed: false,
        active: Duration::ZERO,
        task: Task::Ingest(Ingest { content, ..ingest }),
    })?;
    Ok(Reply::json(200, job.summary(service.org.user_id()).into()))
}

fn object<'a>(schema: &'a Schema, body: &Body) -> Result<&'a ObjectDef, Refusal> {
    let name = choice(body, "object")?.unwrap_or_default();
    let unknown = || Refusal::bad("INVALIDJOB", format!("InvalidJob : Unable to find object: {name}"));
    schema.object(name).ok_or_else(unknown)
}

fn describe(object: &ObjectDef, body: &Body) -> Result<Ingest, Refusal> {
    let operation = match choice(body, "operation")?.unwrap_or_default() {
        "insert" => Operation::Insert,
        "update" => Operation::Update,
        "upsert" => Operation::Upsert,
        "delete" => Operation::Delete,
        "hardDelete" => {
            let message = "hardDelete operation requires special user profile permission, please contact your system \
                           administrator";
            return Err(Refusal::bad("FEATURENOTENABLED", message));
        }
        other => return Err(unknown_choice("operation", other)),
    };
    if let Some(other) = choice(body, "contentType")?.filter(|kind| *kind != "CSV") {
        return Err(unknown_choice("contentType", other));
    }
    let key = if operation == Operation::Upsert { Some(key(object, body)?) } else { None };
    Ok(Ingest { operation, key, content: None, table: None, outcomes: Vec::new() })
}

fn key(object: &ObjectDef, body: &Body) -> Result<String, Refusal> {
    let Some(name) = choice(body, "externalIdFieldName")?.filter(|name| !name.is_empty()) else {
        let message = format!(
            "InvalidJob : External ID was blank for {}. An External ID must be specified for upsert.",
            object.name
        );
        return Err(Refusal::bad("INVALIDJOB", message));
    };
    let field = object.field(name).filter(|field| field.external_id || field.id_lookup || field.name == "Id");
    let field = field.ok_or_else(|| {
        let message = format!(
            "InvalidJob : Field name provided, {name} does not match an External ID, Salesforce Id, or indexed field for {}",
            object.name
        );
        Refusal::bad("INVALIDJOB", message)
    })?;
    Ok(field.name.clone())
}

/// `PUT /jobs/ingest/ID/batches`
pub fn upload(service: &mut Service, call: &DataCall<'_>, id: &str) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Put])?;
    // That there is no such job is told first.
    service.jobs.get(Kind::Ingest, id)?;
    if let Some(kind) = call.call.header("content-type").filter(|kind| !kind.starts_with("text/csv")) {
        return Err(Refusal::new(415, "UNSUPPORTED_MEDIA_TYPE", format!("Content-Type '{kind}' is not text/csv")));
    }
    service.jobs.upload(id, &call.call.body)?;
    Ok(Reply::empty(201))
}
