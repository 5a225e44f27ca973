//! A row on its way in: what is asked for, on whose behalf, and what it would make of the row.

use serde_json::{Map, Value};

use super::table::{Cell, Record};
use crate::emulator::wire::Refusal;

/// A record as JSON.
pub type Body = Map<String, Value>;

/// On whose behalf a write happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The integration user, with the permissions that its permission sets grant.
    User,
    /// The org itself: seeds, demos and tests may set what users may not.
    System,
}

/// A row on its way in.
pub(super) struct Draft {
    pub record: Record,
    /// Columns that the body set.
    pub changed: Vec<usize>,
}

impl Draft {
    pub fn take(&mut self, cells: Vec<(usize, Cell)>) {
        for (column, cell) in cells {
            self.record.set(column, cell);
            self.changed.push(column);
        }
    }
}

pub(super) fn required(fields: Vec<String>) -> Refusal {
    let message = format!("Required fields are missing: [{}]", fields.join(", "));
    Refusal { fields, ..Refusal::bad("REQUIRED_FIELD_MISSING", message) }
}

pub(super) fn allow(permitted: bool, access: Access) -> Result<(), Refusal> {
    if permitted || access == Access::System {
        return Ok(());
    }
    Err(Refusal::new(403, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id"))
}
