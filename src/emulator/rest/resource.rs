//! Which resource answers a call: one that comes alone, or inside of another call.

use serde_json::{Value, json};

use super::{collections, limits, query, sobjects};
use crate::emulator::metadata;
use crate::emulator::service::Service;
use crate::emulator::wire::{DataCall, Refusal, Reply};

pub fn respond(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    let lower: Vec<String> = call.path.iter().map(|segment| segment.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (lower.as_slice(), call.path) {
        ([], _) => Ok(Reply::json(200, root(service, call))),
        (["limits"], _) => Ok(Reply::json(200, limits::report(service, call.version))),
        (["sobjects"], _) => sobjects::global(service, call),
        (["sobjects", _], [_, object]) => sobjects::collection(service, call, object),
        (["sobjects", _, "describe"], [_, object, _]) => sobjects::describe(service, call, object),
        (["sobjects", _, _], [_, object, id]) => sobjects::by_id(service, call, object, id),
        (["sobjects", _, _, _], [_, object, field, value]) => {
            sobjects::by_external_id(service, call, &sobjects::Key { object, field, value })
        }
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
