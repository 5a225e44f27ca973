//! Up to 25 calls in one that know nothing of each other: each is done for itself, and each costs one.

use serde_json::{Value, json};

use super::composite::flag;
use super::{resource, version};
use crate::emulator::service::Service;
use crate::emulator::wire::{Body, Call, DataCall, Method, Refusal, Reply};

const SUBREQUESTS_MAX: usize = 25;

/// `POST /composite/batch`
pub fn respond(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Post])?;
    let body = call.call.json()?;
    let halt = flag(&body, "haltOnError")?;
    let requests = body.get("batchRequests").and_then(Value::as_array);
    let requests = requests.ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", "batchRequests must be specified"))?;
    if requests.len() > SUBREQUESTS_MAX {
        let message = format!("Limit exceeded: a batch request can hold at most {SUBREQUESTS_MAX} subrequests");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    let calls: Vec<Call> = requests.iter().map(|request| parse(request, call.call)).collect::<Result<_, _>>()?;
    let (mut results, mut failed) = (Vec::with_capacity(calls.len()), false);
    for (at, inner) in calls.iter().enumerate() {
        let reply = if halt && failed {
            let message = "Batch processing halted per request, because an error occurred in a previous subrequest.";
            Err(Refusal::new(412, "BATCH_PROCESSING_HALTED", message))
        } else {
            // The call itself has paid for the first.
            let paid = if at == 0 { Ok(()) } else { service.counters.reserve() };
            paid.and_then(|()| perform(service, inner))
        };
        let reply = reply.unwrap_or_else(|refusal| {
            service.refused.push(refusal.code);
            refusal.reply()
        });
        failed |= reply.status >= 400;
        let result = match reply.body {
            Body::Json(body) => body,
            Body::Empty => Value::Null,
            Body::Text { text, .. } => text.into(),
        };
        results.push(json!({ "statusCode": reply.status, "result": result }));
    }
    Ok(Reply::json(200, json!({ "hasErrors": failed, "results": results })))
}

/// `{"method": "PATCH", "url": "v62.0/sobjects/…", "richInput": {…}}`
fn parse(request: &Value, outer: &Call) -> Result<Call, Refusal> {
    let text = |name: &str| {
        let missing = || Refusal::bad("MISSING_ARGUMENT", format!("{name} must be specified in every subrequest"));
        request.get(name).and_then(Value::as_str).ok_or_else(missing)
    };
    let method = Method::parse(&text("method")?.to_uppercase());
    let method = method.ok_or_else(|| Refusal::bad("JSON_PARSER_ERROR", "method is no HTTP method"))?;
    let url = text("url")?;
    let url = url.trim_start_matches("/services/data").trim_start_matches('/');
    let mut call = Call::new(method, url, &outer.base_url);
    call.headers.clone_from(&outer.headers);
    if let Some(input) = request.get("richInput").filter(|input| !input.is_null()) {
        call.body = input.to_string().into_bytes();
    }
    Ok(call)
}

fn perform(service: &mut Service, call: &Call) -> Result<Reply, Refusal> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [number, inner @ ..] if !inner.first().is_some_and(|first| first.eq_ignore_ascii_case("composite")) => {
            resource::respond(service, &DataCall { call, version: version::number(number)?, path: inner })
        }
        _ => Err(Refusal::not_found()),
    }
}
