//! The workers: take the running jobs forward, a step of each in turn.
//!
//! A step is a transaction as a call is one: it waits for the locks of others, keeps its own for as long as a write
//! takes, and its changes are durable when it ends. Several workers, because jobs run side by side in a real org: with
//! one, two jobs below one campaign would never meet, and the second would never pass the first.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::query;
use crate::emulator::counters::Counters;
use crate::emulator::jobs::{Claimed, Column, Format, Ingest, Job, Keep, Operation, Outcome, State, Table, Task};
use crate::emulator::org::{Access, Body, Org, cell_of, now};
use crate::emulator::pace::{Turn, pause};
use crate::emulator::rows::{attempt, create, external_id, matches, normal, repeated, upsert_by_key};
use crate::emulator::schema::{FieldDef, ObjectDef, describe};
use crate::emulator::service::{Service, Shared};
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

/// Rows that are written together.
const CHUNK_ROWS: usize = 200;
/// Rows of a batch, of which the org has an allocation.
const BATCH_ROWS: usize = 10_000;

/// Why a job fails whose changes cannot be kept.
const UNWRITABLE: &str = "InternalServerError : the emulator's data directory cannot be written";

/// A row on its way in.
struct Draft {
    id: Option<String>,
    body: Result<Body, Refusal>,
}

/// Carries jobs out for as long as the emulator runs.
pub async fn run(shared: Arc<Shared>) {
    let ready = shared.lock().jobs.ready();
    loop {
        let claimed = {
            let jobs = &mut shared.lock().jobs;
            (!jobs.held).then(|| jobs.claim()).flatten().map(|id| (id, jobs.delay))
        };
        let Some((id, delay)) = claimed else {
            ready.notified().await;
            continue;
        };
        pause(delay).await;
        shared.transact(|service, turn| step(service, id, turn)).await;
        tokio::task::yield_now().await;
    }
}

/// Takes the next job one step forward, on order. False: there is none.
pub fn step_once(service: &mut Service) -> bool {
    let Some(id) = service.jobs.claim() else { return false };
    service.org.begin();
    let done = step(service, id, Turn { first: true, last: true }).is_some();
    service.count_changes();
    done
}

/// Takes a job one step forward. None: it did nothing, because it met a lock.
fn step(service: &mut Service, id: SalesforceId, turn: Turn) -> Option<()> {
    // Only a call that panicked leaves something open: it was never answered.
    service.org.rollback_to(0);
    let Service { org, jobs, counters, .. } = service;
    org.set_duplicate_rule_header("");
    // Deleted or aborted since it was claimed, perhaps.
    let Some(Claimed { job, batches, failure, keep }) = jobs.claimed(id) else { return Some(()) };
    let (started, before) = (Instant::now(), job.state);
    match job.state {
        State::UploadComplete => begin(org, job),
        // Begun by a process that is gone.
        State::InProgress if matches!(&job.task, Task::Ingest(Ingest { table: None, .. })) => begin(org, job),
        State::InProgress => {
            if let Some(failure) = failure.take_if(|failure| chunks(job) >= failure.after_chunks) {
                job.fail(failure.message);
            } else if turn.first && next_batch(job) && !batches.take() {
                job.fail("ExceededQuota : ApiBatchItems Limit exceeded.");
            } else {
                advance((org, keep, counters), job, turn)?;
            }
        }
        State::Open | State::JobComplete | State::Failed | State::Aborted => {}
    }
    job.claimed = false;
    job.active += started.elapsed();
    job.modified = now();
    if job.state != before && keep.state(job).is_err() {
        job.fail(UNWRITABLE);
    }
    Some(())
}

fn chunks(job: &Job) -> usize {
    if let Task::Ingest(ingest) = &job.task { ingest.outcomes.len().div_ceil(CHUNK_ROWS) } else { 0 }
}

/// Whether the next chunk begins a batch.
fn next_batch(job: &Job) -> bool {
    let Task::Ingest(Ingest { outcomes, table: Some(table), .. }) = &job.task else { return false };
    outcomes.len() < table.len() && outcomes.len() % BATCH_ROWS == 0
}

/// Reads what the job is about. Rows that are wrong fail later, one by one; what concerns them all fails the job.
fn begin(org: &Org, job: &mut Job) {
    job.state = State::InProgress;
    let Task::Ingest(ingest) = &mut job.task else { return };
    let schema = org.schema();
    let content = ingest.content.as_deref().unwrap_or_default();
    let Some(object) = schema.object(&job.object) else {
        return job.fail(format!("InvalidJob : Unable to find object: {}", job.object));
    };
    match Table::read(content, job.format, (&schema, object), (ingest.operation, ingest.key.as_deref())) {
        Ok(table) => ingest.table = Some(table),
        Err(why) => job.fail(why),
    }
}

/// None: it met a lock.
fn advance((org, keep, counters): (&mut Org, &Keep, &Counters), job: &mut Job, turn: Turn) -> Option<()> {
    match &mut job.task {
        Task::Query(query) => match query::run(org, query) {
            Ok(()) => job.state = State::JobComplete,
            Err(refusal) => job.fail(format!("InvalidBatch : Failed to process query: {}", tell(&refusal))),
        },
        Task::Ingest(ingest) => {
            let schema = org.schema();
            let object = schema.object(&job.object);
            let outcomes = object.map(|object| chunk(org, object, ingest, job.format)).unwrap_or_default();
            if org.met_lock() && !turn.last {
                org.rollback_to(0);
                return None;
            }
            let kept = keep.chunk(job.id, &outcomes, org);
            // Crash here: the journal is too short for the outcomes, and the chunk is carried out again.
            if kept.is_err() || org.commit().is_err() {
                org.rollback_to(0);
                job.fail(UNWRITABLE);
                return Some(());
            }
            for outcome in &outcomes {
                if let Outcome::Failed { error, .. } = outcome {
                    counters.refused(error.split(':').next().unwrap_or_default());
                }
            }
            ingest.outcomes.extend(outcomes);
            if ingest.table.as_ref().is_none_or(|table| ingest.outcomes.len() >= table.len()) {
                job.state = State::JobComplete;
            }
        }
    }
    Some(())
}

/// Carries out the next rows.
fn chunk(org: &mut Org, object: &ObjectDef, ingest: &Ingest, format: Format) -> Vec<Outcome> {
    let (Some(table), Some(content)) = (&ingest.table, &ingest.content) else { return Vec::new() };
    let from = ingest.outcomes.len();
    let rows = table.rows(content, format, from..table.len().min(from + CHUNK_ROWS));
    let drafts: Vec<Draft> = rows.map(|(row, broken)| draft(object, table, &row, broken)).collect();
    if let Some(key) = ingest.key.as_deref().and_then(|key| external_id(object, key).ok()) {
        return upsert(org, object, key, drafts);
    }
    drafts.into_iter().map(|draft| write(org, object, ingest.operation, draft)).collect()
}

fn draft(object: &ObjectDef, table: &Table, row: &csv::StringRecord, broken: bool) -> Draft {
    let mut draft = Draft { id: None, body: Ok(Body::new()) };
    if broken {
        draft.body = Err(Refusal::bad("INVALID_FIELD", "a quote stands inside of a value or next to a space"));
    } else if row.len() != table.columns.len() {
        let message = format!("the row has {} values for {} columns", row.len(), table.columns.len());
        draft.body = Err(Refusal::bad("INVALID_FIELD", message));
    }
    for (at, (column, text)) in table.columns.iter().zip(row).enumerate().filter(|(_, (_, text))| !text.is_empty()) {
        if *column == Column::Id {
            draft.id = Some(text.to_owned());
        } else if let Ok(body) = &mut draft.body
            && let Err(refusal) = put(object, body, column, (at, text))
        {
            draft.body = Err(refusal);
        }
    }
    draft
}

/// Puts a value in its place. An empty one would not be here: it says nothing.
fn put(object: &ObjectDef, body: &mut Body, column: &Column, (at, text): (usize, &str)) -> Result<(), Refusal> {
    match column {
        Column::Id => {}
        Column::Parent { lookup, .. } if text == "#N/A" => {
            body.insert(lookup.clone(), Value::Null);
        }
        Column::Parent { relationship, key, .. } => {
            let parent = Body::from_iter([(key.clone(), text.into())]);
            body.insert(relationship.clone(), parent.into());
        }
        Column::Field(name) => {
            let value = object.field(name).map_or(Ok(Value::Null), |field| value(field, (at, text)))?;
            body.insert(name.clone(), value);
        }
    }
    Ok(())
}

/// A value as JSON would have it. All of CSV is text, so a value of another type is an error of its row here.
fn value(field: &FieldDef, (at, text): (usize, &str)) -> Result<Value, Refusal> {
    let value = match text {
        "#N/A" => return Ok(Value::Null),
        "1" if describe::type_name(field.kind) == "boolean" => true.into(),
        "0" if describe::type_name(field.kind) == "boolean" => false.into(),
        text => Value::from(text),
    };
    match cell_of(field, &value) {
        Err(refusal) if refusal.code == "JSON_PARSER_ERROR" => {
            let kind = describe::soap_type(field.kind);
            let message = format!(
                "Failed to deserialize field at col {at}. Due to, '{text}' is not a valid value for the type {kind}"
            );
            Err(Refusal::bad("INVALID_FIELD", message).on(&field.name))
        }
        // Any other problem is the org's to find, in the order in which it looks.
        _ => Ok(value),
    }
}

fn write(org: &mut Org, object: &ObjectDef, operation: Operation, Draft { id, body }: Draft) -> Outcome {
    let named = || {
        let call = if operation == Operation::Delete { "a delete" } else { "an update" };
        id.as_deref().ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", format!("Id not specified in {call} call")))
    };
    let done = body.and_then(|body| match operation {
        Operation::Insert | Operation::Upsert if id.is_some() => {
            let message = "cannot specify Id in an insert call";
            Err(Refusal::bad("INVALID_FIELD_FOR_INSERT_UPDATE", message).on("Id"))
        }
        Operation::Insert | Operation::Upsert => create(org, object, &body),
        Operation::Update => {
            let id = named()?;
            attempt(org, |org| org.update(&object.name, id, &body, Access::User))
        }
        Operation::Delete => {
            let id = named()?;
            attempt(org, |org| org.delete(&object.name, id, Access::User))
        }
    });
    let known = |org: &Org| org.record(&object.name, id.as_deref()?).map(|record| record.id);
    match done {
        Ok(id) => Outcome::Done { id, created: operation == Operation::Insert },
        Err(refusal) => Outcome::Failed { id: known(org), error: tell(&refusal) },
    }
}

fn upsert(org: &mut Org, object: &ObjectDef, key: &FieldDef, mut drafts: Vec<Draft>) -> Vec<Outcome> {
    let value = |draft: &mut Draft| match draft {
        Draft { id, .. } if key.name == "Id" => id.take(),
        Draft { body: Ok(body), .. } => body.shift_remove(&key.name)?.as_str().map(str::to_owned),
        Draft { .. } => None,
    };
    let keys: Vec<Option<String>> = drafts.iter_mut().map(value).collect();
    let again = repeated(&keys, key);
    let pairs = drafts.into_iter().zip(keys);
    pairs.map(|(draft, value)| upsert_one(org, object, key, (draft, value, &again))).collect()
}

fn upsert_one(
    org: &mut Org,
    object: &ObjectDef,
    key: &FieldDef,
    (draft, value, again): (Draft, Option<String>, &HashSet<String>),
) -> Outcome {
    // Without an id there is nothing to find: a new record.
    if key.name == "Id" && value.is_none() {
        return write(org, object, Operation::Insert, draft);
    }
    let found = value.as_deref().and_then(|value| matches(org, object, key, value).ok()?.first().copied());
    let failed = |refusal: &Refusal| Outcome::Failed { id: found, error: tell(refusal) };
    let body = match draft {
        Draft { body: Err(refusal), .. } => return failed(&refusal),
        Draft { id: Some(_), .. } => {
            let refusal = Refusal::bad("INVALID_FIELD", "The Id field should not be specified in the sobject data.");
            return failed(&refusal.on("Id"));
        }
        Draft { body: Ok(body), id: None } => body,
    };
    let known = value.as_deref().map(|value| (value, again.contains(&normal(value, key))));
    let result = upsert_by_key(org, object, key, (&body, known));
    match result.outcome {
        Ok(id) => match SalesforceId::parse(&id) {
            Some(id) => Outcome::Done { id, created: result.created == Some(true) },
            None => failed(&Refusal::no_record()),
        },
        Err(refusal) => failed(&refusal),
    }
}

/// `CODE:message:Field,Field --`
fn tell(refusal: &Refusal) -> String {
    let Refusal { code, message, fields, .. } = refusal;
    if fields.is_empty() { format!("{code}:{message}:--") } else { format!("{code}:{message}:{} --", fields.join(",")) }
}
