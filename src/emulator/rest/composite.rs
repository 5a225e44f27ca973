//! Up to 25 calls in one, which costs one: later ones may refer to what earlier ones answered.

use serde_json::{Map, Value, json};

use super::{resource, version};
use crate::emulator::service::Service;
use crate::emulator::wire::{Body, Call, DataCall, Method, Refusal, Reply};

const SUBREQUESTS_MAX: usize = 25;
/// Of which so many may be collections or queries.
const HEAVY_MAX: usize = 5;

/// One of the calls in a call.
pub struct Subrequest {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    pub reference_id: String,
    pub body: Value,
}

struct Answer {
    reference_id: String,
    reply: Reply,
}

/// `POST /composite`
pub fn respond(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Post])?;
    let body = call.call.json()?;
    let all_or_none = flag(&body, "allOrNone")?;
    // Collated or not, subrequests are carried out in their order: clients may not count on it, and need not fear it.
    flag(&body, "collateSubrequests")?;
    let requests = subrequests(&body)?;
    if requests.len() > SUBREQUESTS_MAX {
        let message = format!("Limit exceeded: a composite request can hold at most {SUBREQUESTS_MAX} subrequests");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    if requests.iter().filter(|request| heavy(&path_of(&request.url))).count() > HEAVY_MAX {
        let message = format!("Limit exceeded: at most {HEAVY_MAX} subrequests can be collections or queries");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    let (answers, _) = run(service, call, &requests, all_or_none);
    Ok(Reply::json(200, json!({ "compositeResponse": answers })))
}

/// A member of a request that is true or false, and false if it is not there.
pub fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(Refusal::bad("JSON_PARSER_ERROR", format!("{name} must be a boolean at [line:1, column:2]"))),
    }
}

/// The `compositeRequest` of a request or of a graph. What is wrong with one of them fails them all.
pub fn subrequests(body: &Map<String, Value>) -> Result<Vec<Subrequest>, Refusal> {
    let requests = body.get("compositeRequest").and_then(Value::as_array);
    let requests = requests.ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", "compositeRequest must be specified"))?;
    let requests: Vec<Subrequest> = requests.iter().map(parse).collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = requests.iter().map(|request| request.reference_id.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Refusal::bad("JSON_PARSER_ERROR", "every referenceId must be different"));
    }
    Ok(requests)
}

/// Carries subrequests out, one after another, and says whether all went well. Of all or none, a failed one takes back
/// what was done, and the others are answered so.
pub fn run(
    service: &mut Service,
    call: &DataCall<'_>,
    requests: &[Subrequest],
    all_or_none: bool,
) -> (Vec<Value>, bool) {
    let savepoint = service.org.savepoint();
    let mut answers: Vec<Answer> = Vec::with_capacity(requests.len());
    let mut fine = true;
    for request in requests {
        let reply = perform(service, call, request, (&answers, all_or_none)).unwrap_or_else(|refusal| {
            service.refused.push(refusal.code);
            refusal.reply()
        });
        let failed = reply.status >= 400 || all_or_none && any_row_failed(&reply);
        answers.push(Answer { reference_id: request.reference_id.clone(), reply });
        fine &= !failed;
        if failed && all_or_none {
            service.org.rollback_to(savepoint);
            return (halted(requests, answers.last()), false);
        }
    }
    (answers.iter().map(show).collect(), fine)
}

/// A collection answers 200 even if rows of it failed.
fn any_row_failed(reply: &Reply) -> bool {
    let Body::Json(Value::Array(rows)) = &reply.body else { return false };
    rows.iter().any(|row| row.get("success") == Some(&Value::Bool(false)))
}

fn parse(request: &Value) -> Result<Subrequest, Refusal> {
    let text = |name: &str| {
        let missing = || Refusal::bad("MISSING_ARGUMENT", format!("{name} must be specified in every subrequest"));
        request.get(name).and_then(Value::as_str).ok_or_else(missing)
    };
    let method = Method::parse(text("method")?);
    let method = method.ok_or_else(|| Refusal::bad("JSON_PARSER_ERROR", "method is no HTTP method"))?;
    let reference_id = text("referenceId")?;
    let begins = reference_id.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || !reference_id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!(
            "Provided referenceId ('{reference_id}') must start with a letter or a number, and it can contain only letters, \
             numbers and underscores ('_')."
        );
        return Err(Refusal::bad("JSON_PARSER_ERROR", message));
    }
    let headers = request.get("httpHeaders").and_then(Value::as_object).into_iter().flatten();
    let headers: Vec<(String, String)> = headers
        .map(|(name, value)| (name.to_lowercase(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    let reserved = ["accept", "authorization", "content-type"];
    if headers.iter().any(|(name, _)| reserved.contains(&name.as_str())) {
        return Err(Refusal::bad(
            "JSON_PARSER_ERROR",
            "a subrequest cannot have Accept, Authorization or Content-Type",
        ));
    }
    Ok(Subrequest {
        method,
        url: text("url")?.to_owned(),
        headers,
        reference_id: reference_id.to_owned(),
        body: request.get("body").cloned().unwrap_or_default(),
    })
}

impl Subrequest {
    /// The subrequests that this one refers to.
    pub fn references(&self) -> Vec<String> {
        let mut names = Vec::new();
        let text = format!("{} {}", self.url, self.body);
        for (at, _) in text.match_indices("@{") {
            let reference = text.get(at + 2..).and_then(|rest| rest.split(['}', '.', '[']).next());
            names.extend(reference.map(str::to_owned));
        }
        names
    }

    pub fn method(&self) -> Method {
        self.method
    }

    /// What follows `/services/data/` in the URL, the version first.
    pub fn path(&self) -> Vec<String> {
        path_of(&self.url)
    }
}

/// What follows `/services/data/`.
fn path_of(url: &str) -> Vec<String> {
    Call::new(Method::Get, url, "").path.into_iter().skip(2).collect()
}

/// Collections and queries, of which a composite call takes few.
fn heavy(path: &[String]) -> bool {
    let path: Vec<String> = path.iter().skip(1).map(|part| part.to_ascii_lowercase()).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(path.as_slice(), ["composite", "sobjects", ..] | ["query" | "queryall", ..])
}

fn perform(
    service: &mut Service,
    outer: &DataCall<'_>,
    request: &Subrequest,
    (answers, all_or_none): (&[Answer], bool),
) -> Result<Reply, Refusal> {
    let url = resolve(&request.url, answers)?;
    let mut body = resolve_value(&request.body, answers)?;
    let mut call = Call::new(request.method, &url, &outer.call.base_url);
    call.headers = request.headers.iter().chain(&outer.call.headers).cloned().collect();
    let path: Vec<String> = call.path.clone();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let ["services", "data", version, inner @ ..] = path.as_slice() else { return Err(Refusal::not_found()) };
    let is = |name: &str| inner.first().is_some_and(|first| first.eq_ignore_ascii_case(name));
    let collections = is("composite") && inner.get(1).is_some_and(|part| part.eq_ignore_ascii_case("sobjects"));
    if !(collections || is("sobjects") || is("query") || is("queryAll")) {
        return Err(Refusal::not_found());
    }
    if let (true, Some(body)) = (collections && all_or_none, body.as_object_mut()) {
        body.insert("allOrNone".into(), true.into());
    }
    if collections && all_or_none {
        call.query.insert(0, ("allOrNone".into(), "true".into()));
    }
    if !body.is_null() {
        call.body = body.to_string().into_bytes();
    }
    let version = version::number(version)?;
    service.org.set_duplicate_rule_header(call.header("sforce-duplicate-rule-header").unwrap_or_default());
    resource::respond(service, &DataCall { call: &call, version, path: inner })
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
            let name = reference.split(['.', '[']).next().unwrap_or_default();
            let message = format!("Invalid reference specified. No value for {reference} found in {name}");
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
            Value::Object(members) => members.get(part)?,
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
fn halted(requests: &[Subrequest], failed: Option<&Answer>) -> Vec<Value> {
    let refusal = Refusal::bad(
        "PROCESSING_HALTED",
        "The transaction was rolled back since another operation in the same transaction failed.",
    );
    let shown = requests.iter().map(|Subrequest { reference_id, .. }| {
        match failed.filter(|failed| failed.reference_id == *reference_id) {
            Some(failed) => show(failed),
            None => show(&Answer { reference_id: reference_id.clone(), reply: refusal.reply() }),
        }
    });
    shown.collect()
}
