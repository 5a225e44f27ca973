//! Up to 25 calls in one, which costs one: later ones may refer to what earlier ones answered.

use serde_json::{Value, json};

use super::{DataCall, route};
use crate::emulator::server::Service;
use crate::emulator::wire::{Body, Call, Method, Refusal, Reply};

const SUBREQUESTS_MAX: usize = 25;
/// Of which so many may be collections or queries.
const HEAVY_MAX: usize = 5;

struct Subrequest {
    method: Method,
    url: String,
    reference_id: String,
    body: Value,
}

struct Answer {
    reference_id: String,
    reply: Reply,
}

pub fn respond(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    super::sobjects::only(call.call, &[Method::Post])?;
    let body = call.call.json()?;
    let all_or_none = body.get("allOrNone").and_then(Value::as_bool).unwrap_or(false);
    let requests = body.get("compositeRequest").and_then(Value::as_array);
    let requests = requests.ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", "compositeRequest must be specified"))?;
    let requests: Vec<Subrequest> = requests.iter().map(parse).collect::<Result<_, _>>()?;
    check(&requests)?;
    let savepoint = service.org.savepoint();
    let mut answers: Vec<Answer> = Vec::with_capacity(requests.len());
    for request in requests {
        let reply = perform(service, call, &request, &answers);
        answers.push(Answer { reference_id: request.reference_id, reply });
        if all_or_none && answers.last().is_some_and(|answer| answer.reply.status >= 400) {
            service.org.rollback_to(savepoint);
            return Ok(halted(&body, &answers));
        }
    }
    let answers: Vec<Value> = answers.iter().map(show).collect();
    Ok(Reply::json(200, json!({ "compositeResponse": answers })))
}

fn parse(request: &Value) -> Result<Subrequest, Refusal> {
    let text = |name: &str| {
        let missing = || Refusal::bad("MISSING_ARGUMENT", format!("{name} must be specified in every subrequest"));
        request.get(name).and_then(Value::as_str).ok_or_else(missing)
    };
    let method = Method::parse(text("method")?);
    let method = method.ok_or_else(|| Refusal::bad("JSON_PARSER_ERROR", "method is no HTTP method"))?;
    let reference_id = text("referenceId")?;
    if !reference_id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!(
            "Provided referenceId ('{reference_id}') must start with a letter or a number, and it can \
                               contain only letters, numbers and underscores ('_')."
        );
        return Err(Refusal::bad("JSON_PARSER_ERROR", message));
    }
    let headers = request.get("httpHeaders").and_then(Value::as_object);
    let reserved = ["accept", "authorization", "content-type"];
    if headers.is_some_and(|headers| headers.keys().any(|name| reserved.contains(&name.to_lowercase().as_str()))) {
        return Err(Refusal::bad(
            "JSON_PARSER_ERROR",
            "a subrequest cannot have Accept, Authorization or Content-Type",
        ));
    }
    Ok(Subrequest {
        method,
        url: text("url")?.to_owned(),
        reference_id: reference_id.to_owned(),
        body: request.get("body").cloned().unwrap_or_default(),
    })
}

fn check(requests: &[Subrequest]) -> Result<(), Refusal> {
    if requests.len() > SUBREQUESTS_MAX {
        let message = format!("Limit exceeded: a composite request can hold at most {SUBREQUESTS_MAX} subrequests");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    let heavy = |request: &&Subrequest| {
        let path = request.url.to_lowercase();
        path.contains("/composite/sobjects") || path.contains("/query")
    };
    if requests.iter().filter(heavy).count() > HEAVY_MAX {
        let message = format!("Limit exceeded: at most {HEAVY_MAX} subrequests can be collections or queries");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    let mut names: Vec<&str> = requests.iter().map(|request| request.reference_id.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Refusal::bad("JSON_PARSER_ERROR", "every referenceId must be different"));
    }
    Ok(())
}

fn perform(service: &mut Service, outer: &DataCall<'_>, request: &Subrequest, answers: &[Answer]) -> Reply {
    let mut answer = || {
        let url = resolve(&request.url, answers)?;
        let body = resolve_value(&request.body, answers)?;
        let mut call = Call::new(request.method, &url, &outer.call.base_url);
        call.headers.clone_from(&outer.call.headers);
        if !body.is_null() {
            call.body = body.to_string().into_bytes();
        }
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["services", "data", version, inner @ ..] if !matches!(inner, ["composite"]) => {
                let version = version.trim_start_matches('v').trim_end_matches(".0").parse();
                let version = version.map_err(|_| Refusal::not_found())?;
                route(service, &DataCall { call: &call, version, path: inner })
            }
            _ => Err(Refusal::not_found()),
        }
    };
    let answer: Result<Reply, Refusal> = answer();
    answer.unwrap_or_else(|refusal| {
        service.refused.push(refusal.code);
        refusal.reply()
    })
}

fn resolve_value(value: &Value, answers: &[Answer]) -> Result<Value, Refusal> {
    Ok(match value {
        Value::String(text) => resolve(text, answers)?.into(),
        Value::Array(items) => items.iter().map(|item| resolve_value(item, answers)).collect::<Result<_, _>>()?,
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| Ok((name.clone(), resolve_value(value, answers)?));
            Value::Object(members.iter().map(member).collect::<Result<_, Refusal>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// Puts values in the place of `@{reference.path}`.
fn resolve(text: &str, answers: &[Answer]) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, (reference, after))) =
        rest.split_once("@{").and_then(|(before, tail)| Some((before, tail.split_once('}')?)))
    {
        out.push_str(before);
        let value = lookup(reference, answers);
        out.push_str(&value.ok_or_else(|| {
            let message =
                format!("Invalid reference specified. No value for {reference} found in the responses so far");
            Refusal::bad("PROCESSING_HALTED", message)
        })?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// `ref.list[0].id` in the answer of `ref`.
fn lookup(reference: &str, answers: &[Answer]) -> Option<String> {
    let (name, path) = reference.split_once('.').unwrap_or((reference, ""));
    // A list at the top is written `ref[0].id`.
    let (name, index) = name.split_once('[').map_or((name, None), |(name, index)| (name, Some(index)));
    let answer = answers.iter().find(|answer| answer.reference_id == name && answer.reply.status < 300)?;
    let Body::Json(body) = &answer.reply.body else { return None };
    let mut value = match index {
        Some(index) => body.get(index.trim_end_matches(']').parse::<usize>().ok()?)?,
        None => body,
    };
    for part in path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty()) {
        value = match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            Value::Object(members) => members.iter().find(|(key, _)| key.eq_ignore_ascii_case(part))?.1,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
        };
    }
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

fn show(answer: &Answer) -> Value {
    let body = match &answer.reply.body {
        Body::Json(body) => body.clone(),
        Body::Empty => Value::Null,
        Body::Text { text, .. } => text.as_str().into(),
    };
    let headers: serde_json::Map<String, Value> =
        answer.reply.headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    json!({
        "body": body, "httpHeaders": headers,
        "httpStatusCode": answer.reply.status, "referenceId": answer.reference_id,
    })
}

/// All or none, and one failed: the others, done or not, are answered as taken back.
fn halted(body: &serde_json::Map<String, Value>, answers: &[Answer]) -> Reply {
    let refusal = Refusal::bad(
        "PROCESSING_HALTED",
        "The transaction was rolled back since another operation in the same transaction failed.",
    );
    let failed = answers.last();
    let all = body.get("compositeRequest").and_then(Value::as_array).into_iter().flatten();
    let shown = all.map(|request| {
        let reference_id = request.get("referenceId").and_then(Value::as_str).unwrap_or_default();
        match failed.filter(|failed| failed.reference_id == reference_id) {
            Some(failed) => show(failed),
            None => show(&Answer { reference_id: reference_id.to_owned(), reply: refusal.reply() }),
        }
    });
    let shown: Vec<Value> = shown.collect();
    Reply::json(200, json!({ "compositeResponse": shown }))
}
