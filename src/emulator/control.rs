//! The control surface under `/emulator/`, which only an emulator has.
//!
//! It can break the org at will, so it wants a token of its own in `x-emulator-token`; only the metrics are open, as they
//! hold counts and nothing else.

use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::auth::same;
use super::bulk;
use super::fault::Fault;
use super::org::Org;
use super::service::{Service, Shared};
use super::wire::{Body, Call, Method, Refusal, Reply};

pub fn respond(shared: &Shared, call: &Call) -> Reply {
    let path: Vec<&str> = call.path.iter().skip(1).map(String::as_str).collect();
    if let (Method::Get, ["metrics"]) = (call.method, path.as_slice()) {
        return Reply::text(200, "text/plain; version=0.0.4", shared.lock().counters.render());
    }
    let given = call.header("x-emulator-token").unwrap_or_default();
    if !same(given, shared.control_token.expose_secret()) {
        return Refusal::new(403, "CONTROL_TOKEN", "the header x-emulator-token is missing or wrong").reply();
    }
    command(shared, call, &path).unwrap_or_else(|refusal| refusal.reply())
}

fn command(shared: &Shared, call: &Call, path: &[&str]) -> Result<Reply, Refusal> {
    let mut service = shared.lock();
    match (call.method, path) {
        (Method::Post, ["faults"]) => {
            let fault: Fault = parse(call)?;
            if let Some(problem) = fault.problem() {
                return Err(Refusal::bad("INVALID_FIELD", problem));
            }
            service.faults.add(fault);
        }
        (Method::Delete, ["faults"]) => service.faults.clear(),
        (Method::Post, ["tokens", "expire"]) => service.sessions.expire_all(),
        (Method::Put, ["bulk", "hold"]) => service.jobs.set_held(true),
        (Method::Delete, ["bulk", "hold"]) => service.jobs.set_held(false),
        (Method::Post, ["bulk", "step"]) => {
            let stepped = bulk::step_once(&mut service);
            return Ok(Reply { body: Body::Json(json!({ "stepped": stepped })), ..Reply::empty(200) });
        }
        (Method::Post, ["bulk", "fail"]) => {
            service.jobs.fail_next(parse(call)?);
        }
        (Method::Post, ["bulk", "expire"]) => service.jobs.expire(),
        (Method::Post, ["locks", record]) => service.org.lock_record(record),
        (Method::Delete, ["locks", record]) => service.org.unlock_record(record),
        (Method::Put, ["rules", "validation", object, name]) => {
            service.org.put_validation_rule(object, name, parse(call)?)?;
        }
        (Method::Put, ["rules", "duplicate", object, name]) => {
            service.org.put_duplicate_rule(object, name, parse(call)?)?;
        }
        (Method::Delete, ["rules", object, name]) => {
            if !service.org.remove_rule(object, name) {
                return Err(Refusal::not_found());
            }
        }
        (Method::Post, ["leads", lead, "convert", contact]) => {
            change(&mut service, |org| org.convert_lead(lead, contact))?;
        }
        (Method::Put, ["leads", "converted", "editable"]) => service.org.set_converted_leads_editable(true),
        (Method::Delete, ["leads", "converted", "editable"]) => service.org.set_converted_leads_editable(false),
        (Method::Post, ["records", winner, "merge", loser]) => change(&mut service, |org| org.merge(winner, loser))?,
        (Method::Post, ["records", id, "undelete"]) => change(&mut service, |org| org.undelete(id))?,
        (Method::Put, ["limits", name, limit]) => {
            let limit = limit.parse().map_err(|_| Refusal::bad("JSON_PARSER_ERROR", "the limit is no number"))?;
            match *name {
                "DailyApiRequests" => service.counters.set_limit(limit),
                "DailyBulkApiBatches" => service.jobs.batches.max = limit,
                "DailyBulkV2QueryJobs" => service.jobs.queries.max = limit,
                _ => return Err(Refusal::not_found()),
            }
        }
        (Method::Get, ["rows", object]) => {
            let rows = service.org.dump(object).ok_or_else(Refusal::not_found)?;
            return Ok(Reply { body: Body::Json(json!(rows)), ..Reply::empty(200) });
        }
        _ => return Err(Refusal::not_found()),
    }
    Ok(Reply::empty(204))
}

/// What a person does in the org, as one transaction.
fn change(service: &mut Service, work: impl FnOnce(&mut Org) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let savepoint = service.org.savepoint();
    work(&mut service.org).inspect_err(|_| service.org.rollback_to(savepoint))?;
    let lost = |_| Refusal::new(503, "SERVER_UNAVAILABLE", "the emulator's data directory cannot be written");
    service.org.commit().map_err(lost)?;
    service.count_changes();
    Ok(())
}

fn parse<T: DeserializeOwned>(call: &Call) -> Result<T, Refusal> {
    serde_json::from_slice(&call.body).map_err(|error| Refusal::bad("JSON_PARSER_ERROR", error.to_string()))
}
