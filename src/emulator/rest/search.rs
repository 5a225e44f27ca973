//! Joins the query engine to the org's rows.

use serde_json::Value;

use crate::emulator::org::Org;
use crate::emulator::wire::Refusal;

/// What a query found.
pub struct Found {
    pub total: usize,
    pub rows: Vec<Value>,
}

pub fn run(_org: &Org, _text: &str, _with_deleted: bool, _base: &str) -> Result<Found, Refusal> {
    Err(Refusal::bad("MALFORMED_QUERY", "not yet"))
}
