//! Queries, answered in pages: the first with the call, the rest from a cursor that keeps what was found.

use serde_json::json;

use crate::emulator::cursors::{Page, invalid_locator};
use crate::emulator::search;
use crate::emulator::service::Service;
use crate::emulator::wire::{DataCall, Method, Refusal, Reply};

const PAGE_ROWS: usize = 2_000;
const PAGE_ROWS_MIN: usize = 200;
pub fn respond(service: &mut Service, call: &DataCall<'_>) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Get, Method::Head])?;
    let text = call.call.param("q").ok_or_else(|| Refusal::bad("MALFORMED_QUERY", "a query needs the parameter q"))?;
    let with_deleted = call.path.first().is_some_and(|name| name.eq_ignore_ascii_case("queryAll"));
    if call.call.param("columns") == Some("true") {
        return Ok(Reply::json(200, search::columns(&service.org, text)?));
    }
    let found = search::run(&service.org, text, with_deleted, &call.base())?;
    let total = found.total;
    let page_rows = page_rows(call);
    if found.records.len() <= page_rows {
        return Ok(Reply::json(200, json!({ "totalSize": total, "done": true, "records": found.records })));
    }
    let id = service.cursors.open(page_rows, found.records);
    page(service, call, &id, 0)
}

/// `/query/01g…-2000`
pub fn next_page(service: &mut Service, call: &DataCall<'_>, locator: &str) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Get, Method::Head])?;
    let parts = locator.rsplit_once('-').and_then(|(id, from)| Some((id, from.parse().ok()?)));
    let (id, from) = parts.ok_or_else(invalid_locator)?;
    page(service, call, id, from)
}

fn page(service: &Service, call: &DataCall<'_>, id: &str, from: usize) -> Result<Reply, Refusal> {
    let Page { rows, total, next } = service.cursors.page(id, from)?;
    let mut body = json!({ "totalSize": total, "done": next.is_none(), "records": rows });
    if let (Some(next), Some(body)) = (next, body.as_object_mut()) {
        body.insert("nextRecordsUrl".into(), format!("{}/query/{id}-{next}", call.base()).into());
    }
    Ok(Reply::json(200, body))
}

/// `Sforce-Query-Options: batchSize=500`
fn page_rows(call: &DataCall<'_>) -> usize {
    let header = call.call.header("sforce-query-options").unwrap_or_default();
    let size = header.split([',', ';']).find_map(|option| option.trim().strip_prefix("batchSize="));
    size.and_then(|size| size.trim().parse().ok()).unwrap_or(PAGE_ROWS).clamp(PAGE_ROWS_MIN, PAGE_ROWS)
}
