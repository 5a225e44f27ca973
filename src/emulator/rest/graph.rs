//! Graphs of calls: in each of them a call may refer to the answers of others, and all of it happens or nothing.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::composite::{self, Subrequest};
use crate::emulator::service::Service;
use crate::emulator::wire::{DataCall, Method, Refusal, Reply};

const GRAPHS_MAX: usize = 75;
/// Calls of all graphs together.
const NODES_MAX: usize = 500;
/// Of a chain of calls that refer to each other.
const DEPTH_MAX: usize = 15;
/// Versions, methods and objects that differ.
const KINDS_MAX: usize = 15;
/// When so many graphs have failed, the rest is not begun.
const FAILURES_MAX: usize = 14;
/// The first API version that has it.
const SINCE: u32 = 50;

/// A graph, parsed.
struct Graph {
    id: String,
    requests: Vec<Subrequest>,
}

/// `POST /composite/graph`
pub fn respond(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    if call.version < SINCE {
        return Err(Refusal::not_found());
    }
    call.call.only(&[Method::Post])?;
    let body = call.call.json()?;
    let graphs = body.get("graphs").and_then(Value::as_array);
    let graphs = graphs.ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", "graphs must be specified"))?;
    let graphs: Vec<Graph> = graphs.iter().map(parse).collect::<Result<_, _>>()?;
    check(&graphs)?;
    let (mut shown, mut failures) = (Vec::with_capacity(graphs.len()), 0);
    for Graph { id, requests } in &graphs {
        let (answers, fine) = if failures < FAILURES_MAX {
            composite::run(service, call, requests, true)
        } else {
            (requests.iter().map(not_begun).collect(), false)
        };
        failures += usize::from(!fine);
        shown.push(json!({
            "graphId": id, "graphResponse": { "compositeResponse": answers }, "isSuccessful": fine,
        }));
    }
    Ok(Reply::json(200, json!({ "graphs": shown })))
}

fn parse(graph: &Value) -> Result<Graph, Refusal> {
    let nothing = Map::new();
    let body = graph.as_object().unwrap_or(&nothing);
    let id = body.get("graphId").and_then(Value::as_str);
    let id = id.ok_or_else(|| Refusal::bad("MISSING_ARGUMENT", "graphId must be specified in every graph"))?;
    let requests = composite::subrequests(body)?;
    if requests.iter().any(|request| request.path().get(1).is_none_or(|part| !part.eq_ignore_ascii_case("sobjects"))) {
        return Err(Refusal::bad("INVALID_INPUT", "the subrequests of a graph are those of /sobjects"));
    }
    Ok(Graph { id: id.to_owned(), requests })
}

fn check(graphs: &[Graph]) -> Result<(), Refusal> {
    let within = |count: usize, max: usize, what: &str| {
        let exceeded = || Refusal::bad("LIMIT_EXCEEDED", format!("Limit exceeded: at most {max} {what}"));
        (count <= max).then_some(()).ok_or_else(exceeded)
    };
    within(graphs.len(), GRAPHS_MAX, "graphs in a request")?;
    within(graphs.iter().map(|graph| graph.requests.len()).sum(), NODES_MAX, "nodes in a request")?;
    let names: HashSet<&str> = graphs.iter().map(|graph| graph.id.as_str()).collect();
    if names.len() < graphs.len() {
        return Err(Refusal::bad("INVALID_INPUT", "every graphId must be different"));
    }
    for Graph { requests, .. } in graphs {
        let kind = |request: &Subrequest| {
            let path = request.path();
            (path.first().cloned(), request.method().name(), path.get(2).map(|name| name.to_ascii_lowercase()))
        };
        within(requests.iter().map(kind).collect::<HashSet<_>>().len(), KINDS_MAX, "different nodes in a graph")?;
        within(depth(requests), DEPTH_MAX, "levels of nodes in a graph")?;
    }
    Ok(())
}

/// The longest chain of references. Only what stands before can be referred to.
fn depth(requests: &[Subrequest]) -> usize {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for request in requests {
        let below = request.references().iter().filter_map(|name| depths.get(name.as_str()).copied()).max();
        depths.insert(&request.reference_id, below.unwrap_or(0) + 1);
    }
    depths.into_values().max().unwrap_or(0)
}

fn not_begun(request: &Subrequest) -> Value {
    let message = "The graph was not processed because too many other graphs failed.";
    json!({
        "body": Refusal::bad("PROCESSING_HALTED", message).envelope(), "httpHeaders": {},
        "httpStatusCode": 400, "referenceId": request.reference_id,
    })
}
