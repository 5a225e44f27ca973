//! What queries found that was too much for one page, until the client has read it.

use std::collections::VecDeque;

use serde_json::Value;

use super::wire::Refusal;

/// A user has ten open cursors in a real org; the oldest goes first.
const CURSORS_MAX: usize = 10;

/// The open cursors of the user.
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

/// Some rows of a cursor.
pub struct Page<'a> {
    pub rows: &'a [Value],
    /// Of the cursor.
    pub total: usize,
    /// Where the next page begins. None: this is the last one.
    pub next: Option<usize>,
}

impl Cursors {
    /// The id of the new cursor.
    pub fn open(&mut self, page_rows: usize, rows: Vec<Value>) -> String {
        if self.open.len() == CURSORS_MAX {
            self.open.pop_front();
        }
        self.opened += 1;
        let id = format!("01gRB000{:07}AAA", self.opened);
        self.open.push_back(Cursor { id: id.clone(), page_rows, rows });
        id
    }

    /// A page of a cursor, from one of its rows on.
    pub fn page(&self, id: &str, from: usize) -> Result<Page<'_>, Refusal> {
        let cursor = self.open.iter().find(|cursor| cursor.id == id).ok_or_else(invalid_locator)?;
        let total = cursor.rows.len();
        let to = total.min(from.saturating_add(cursor.page_rows));
        let rows = cursor.rows.get(from..to).ok_or_else(invalid_locator)?;
        Ok(Page { rows, total, next: (to < total).then_some(to) })
    }
}

pub fn invalid_locator() -> Refusal {
    Refusal::bad("INVALID_QUERY_LOCATOR", "invalid query locator")
}
