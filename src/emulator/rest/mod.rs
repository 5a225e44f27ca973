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
mod resource;
mod sobjects;
mod tree;
mod version;

use super::pace::Turn;
use super::service::Service;
use super::wire::{Call, DataCall, Method, Refusal, Reply};
use super::{bulk, metadata};

/// Answers a call; its changes are durable before it returns. None: it did nothing, because it met a lock.
pub fn respond(service: &mut Service, call: &Call, turn: Turn) -> Option<Reply> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let reply = match path.as_slice() {
        ["services", "oauth2", resource] => service.sessions.oauth(call, resource),
        ["services", "Soap", "u", version, ..] if call.method == Method::Post => {
            service.sessions.soap_login(call, version)
        }
        ["services", "Soap", "m", _, ..] if call.method == Method::Post => metadata::respond_soap(service, call),
        ["services", "data"] => Reply::json(200, version::list()),
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
    let number = version::number(version)?;
    if unpaid {
        service.counters.charge()?;
    }
    Ok(number)
}

/// Calls that hold others, and jobs, come alone.
fn route(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    let lower: Vec<String> = call.path.iter().map(|segment| segment.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (lower.as_slice(), call.path) {
        (["jobs", ..], _) => bulk::respond(service, call),
        (["composite"], _) => composite::respond(service, call),
        (["composite", "batch"], _) => batch::respond(service, call),
        (["composite", "graph"], _) => graph::respond(service, call),
        (["composite", "tree", _], [_, _, object]) => tree::respond(service, call, object),
        _ => resource::respond(service, call),
    }
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
