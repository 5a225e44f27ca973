//! From a call to its reply: who may call, what it costs, and which resource answers.
//!
//! Names of resources, objects and fields are compared without regard to case and a trailing slash means nothing,
//! because clients differ in both.

mod batch;
mod collections;
mod composite;
mod graph;
mod limits;
mod query;
mod record;
mod sobjects;
mod tree;

use serde_json::{Value, json};

use super::pace::Turn;
use super::service::Service;
use super::wire::{Call, DataCall, Method, Refusal, Reply};
use super::{auth, bulk, metadata};

/// The versions served: 31.0 to 67.0. Older ones are retired.
const VERSIONS: std::ops::RangeInclusive<u32> = 31..=67;

/// Answers a call; its changes are durable before it returns. None: it did nothing, because it met a lock.
pub fn respond(service: &mut Service, call: &Call, turn: Turn) -> Option<Reply> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let reply = match path.as_slice() {
        ["services", "oauth2", resource] => service.sessions.oauth(call, resource),
        ["services", "Soap", "u", version, ..] if call.method == Method::Post => {
            auth::soap_login(&mut service.sessions, call, version)
        }
        ["services", "Soap", "m", _, ..] if call.method == Method::Post => metadata::respond_soap(service, call),
        ["services", "data"] => Reply::json(200, versions()),
        ["services", "data", version, path @ ..] => data(service, (call, turn), version, path)?,
        ["id", _, _] => identity(service, call).unwrap_or_else(|refusal| refusal.reply()),
        _ => Refusal::not_found().reply(),
    };
    service.counters.answered(call, reply.status);
    Some(reply)
}

fn data(service: &mut Service, (call, turn): (&Call, Turn), version: &str, path: &[&str]) -> Option<Reply> {
    // Only a call that panicked leaves something open: it was never answered.
    service.org.rollback_to(0);
    service.refused.clear();
    service.counters.drop_reserved();
    let reply = match admit(service, call, version, turn.first) {
        Ok(version) => {
            let duplicates = call.header("sforce-duplicate-rule-header").unwrap_or_default();
            service.org.set_duplicate_rule_header(duplicates);
            let reply = route(service, &DataCall { call, version, path });
            if service.org.met_lock() && !turn.last {
                service.org.rollback_to(0);
                service.counters.drop_reserved();
                return None;
            }
            let lost = |_| Refusal::new(503, "SERVER_UNAVAILABLE", "the emulator's data directory cannot be written");
            service.org.commit().map_err(lost).and(reply)
        }
        Err(refusal) => Err(refusal),
    };
    service.refused.extend(reply.as_ref().err().map(|refusal| refusal.code));
    for code in service.refused.drain(..) {
        service.counters.refused(code);
    }
    service.counters.take_reserved();
    let reply = reply.unwrap_or_else(|refusal| refusal.reply());
    Some(reply.with_header("Sforce-Limit-Info", service.counters.limit_info()))
}

/// Token, version, allocation: in this order, and only a call that passes the first two costs anything.
fn admit(service: &mut Service, call: &Call, version: &str, unpaid: bool) -> Result<u32, Refusal> {
    service.sessions.check(call.token()?)?;
    let number = self::version(version)?;
    if unpaid {
        service.counters.charge()?;
    }
    Ok(number)
}

/// The number of a version that is served.
fn version(text: &str) -> Result<u32, Refusal> {
    let number = text.strip_prefix('v').and_then(|text| text.strip_suffix(".0"));
    let number: u32 = number.and_then(|number| number.parse().ok()).ok_or_else(Refusal::not_found)?;
    match number {
        number if number < *VERSIONS.start() => {
            Err(Refusal::new(410, "GONE", "The requested resource is no longer available"))
        }
        number if VERSIONS.contains(&number) => Ok(number),
        _ => Err(Refusal::not_found()),
    }
}

/// Also where the subrequests of a composite call come in.
fn route(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    let lower: Vec<String> = call.path.iter().map(|segment| segment.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (lower.as_slice(), call.path) {
        ([], _) => Ok(Reply::json(200, root(service, call))),
        (["limits"], _) => Ok(Reply::json(200, limits::report(service, call.version))),
        (["jobs", ..], _) => bulk::respond(service, call),
        (["sobjects"], _) => sobjects::global(service, call),
        (["sobjects", _], [_, object]) => sobjects::collection(service, call, object),
        (["sobjects", _, "describe"], [_, object, _]) => sobjects::describe(service, call, object),
        (["sobjects", _, _], [_, object, id]) => sobjects::by_id(service, call, object, id),
        (["sobjects", _, _, _], [_, object, field, value]) => {
            sobjects::by_external_id(service, call, &sobjects::Key { object, field, value })
        }
        (["composite"], _) => composite::respond(service, call),
        (["composite", "batch"], _) => batch::respond(service, call),
        (["composite", "graph"], _) => graph::respond(service, call),
        (["composite", "tree", _], [_, _, object]) => tree::respond(service, call, object),
        (["composite", "sobjects"], _) => collections::mixed(service, call),
        (["composite", "sobjects", _], [_, _, object]) => collections::retrieve(service, call, object),
        (["composite", "sobjects", _, _], [_, _, object, field]) => collections::upsert(service, call, object, field),
        (["metadata", "deployrequest"], _) => metadata::start_rest(service, call),
        (["metadata", "deployrequest", _], [_, _, id]) => metadata::status_rest(service, call, id),
        (["query" | "queryall"], _) => query::respond(service, call),
        (["query" | "queryall", _], [_, locator]) => query::next_page(service, call, locator),
        _ => Err(Refusal::not_found()),
    }
}

fn versions() -> Value {
    /// Labels follow the seasons: v31 is Summer '14, three releases a year.
    const SEASONS: [&str; 3] = ["Summer", "Winter", "Spring"];
    let version = |number: u32| {
        let since = number - VERSIONS.start();
        let season = usize::try_from(since % 3).ok().and_then(|at| SEASONS.get(at)).unwrap_or(&"");
        let year = 14 + since.div_ceil(3);
        json!({
            "label": format!("{season} '{year}"),
            "url": format!("/services/data/v{number}.0"),
            "version": format!("{number}.0"),
        })
    };
    VERSIONS.map(version).collect()
}

fn root(service: &Service, call: &DataCall<'_>) -> Value {
    let base = call.base();
    json!({
        "identity": service.sessions.identity_url(&call.call.base_url),
        "composite": format!("{base}/composite"),
        "jobs": format!("{base}/jobs"),
        "limits": format!("{base}/limits"),
        "query": format!("{base}/query"),
        "queryAll": format!("{base}/queryAll"),
        "sobjects": format!("{base}/sobjects"),
    })
}

/// The token comes in the header, or in the query as jsforce sends it.
fn identity(service: &Service, call: &Call) -> Result<Reply, Refusal> {
    let token = call.param("oauth_token").map_or_else(|| call.token(), Ok)?;
    service.sessions.check(token)?;
    let known = [service.sessions.identity().org_id.as_str(), service.sessions.identity().user_id.as_str()];
    let asked = [call.path.get(1), call.path.get(2)].map(|id| id.map_or("", String::as_str));
    // Ids come in both lengths.
    if known.iter().zip(asked).all(|(known, asked)| asked.len() >= 15 && known.starts_with(asked)) {
        return Ok(Reply::json(200, service.sessions.user_info(&call.base_url)));
    }
    Err(Refusal::not_found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_carry_the_label_of_their_season() {
        let versions = versions();
        let label = |version: &str| {
            let all = versions.as_array().expect("a list");
            all.iter().find(|entry| entry["version"] == version).map(|entry| entry["label"].clone())
        };
        assert_eq!(label("31.0"), Some(json!("Summer '14")));
        assert_eq!(label("62.0"), Some(json!("Winter '25")));
        assert_eq!(label("67.0"), Some(json!("Summer '26")));
        assert_eq!(label("30.0"), None);
    }
}
