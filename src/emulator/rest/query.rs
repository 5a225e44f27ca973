//! Queries, answered in pages: the first with the call, the rest from a cursor that keeps what was found.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::emulator::search;
use crate::emulator::server::Service;
use crate::emulator::wire::{DataCall, Method, Refusal, Reply};

const PAGE_ROWS: usize = 2_000;
const PAGE_ROWS_MIN: usize = 200;
/// A user has ten open cursors in a real org; the oldest goes first.
const CURSORS_MAX: usize = 10;

/// What queries found that was too much for one page.
#[derive(Default)]
pub struct Cursors {
    open: VecDeque<Cursor>,
    opened: u64,
}

struct Cursor {
    id: String,
    page_rows: usize,
    rows: Vec<Value>,
}

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
    let cursor = service.cursors.open.iter().find(|cursor| cursor.id == id).ok_or_else(invalid_locator)?;
    let total = cursor.rows.len();
    let to = total.min(from.saturating_add(cursor.page_rows));
    let rows = cursor.rows.get(from..to).ok_or_else(invalid_locator)?;
    let mut body = json!({ "totalSize": total, "done": to == total, "records": rows });
    if let (true, Some(body)) = (to < total, body.as_object_mut()) {
        body.insert("nextRecordsUrl".into(), format!("{}/query/{id}-{to}", call.base()).into());
    }
    Ok(Reply::json(200, body))
}

/// `Sforce-Query-Options: batchSize=500`
fn page_rows(call: &DataCall<'_>) -> usize {
    let header = call.call.header("sforce-query-options").unwrap_or_default();
    let size = header.split([',', ';']).find_map(|option| option.trim().strip_prefix("batchSize="));
    size.and_then(|size| size.trim().parse().ok()).unwrap_or(PAGE_ROWS).clamp(PAGE_ROWS_MIN, PAGE_ROWS)
}

fn invalid_locator() -> Refusal {
    Refusal::bad("INVALID_QUERY_LOCATOR", "invalid query locator")
}

impl Cursors {
    fn open(&mut self, page_rows: usize, rows: Vec<Value>) -> String {
        if self.open.len() == CURSORS_MAX {
            self.open.pop_front();
        }
        self.opened += 1;
        let id = format!("01gRB000{:07}AAA", self.opened);
        self.open.push_back(Cursor { id: id.clone(), page_rows, rows });
        id
    }
}
