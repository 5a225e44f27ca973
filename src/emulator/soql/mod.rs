//! SOQL: the query language of Salesforce, as far as the emulator answers it truthfully.
//!
//! ```text
//!  text ─ lexer ─ parser ─▶ Query ─ bind (schema) ─▶ Plan ─ find, filter, order, group, project ─▶ Answer
//! ```
//!
//! What is not implemented is `MALFORMED_QUERY`, never a best effort: a query that ignores a clause would hide exactly
//! the mistakes that an emulator is there to show. Names and types are checked before the first row is read, so that a
//! wrong query fails on an empty org too. Conditions are two-valued, as in Salesforce: `Status != 'Sent'` holds for a
//! row without a status. Days are those of UTC.

mod bind;
mod fault;
mod group;
mod lexer;
mod parser;
mod plan;
mod project;
mod query;
mod run;

use serde_json::Value;

use super::schema::{FieldDef, ObjectDef, Schema};

pub use fault::{Code, Error};
pub use parser::parse;
pub use project::columns;
pub use query::Query;
pub use run::run;

/// Where rows come from.
pub trait Rows {
    type Row;

    /// All rows of an object, oldest first, deleted ones included.
    fn scan<'a>(&'a self, object: &ObjectDef) -> impl Iterator<Item = &'a Self::Row>
    where
        Self::Row: 'a;

    /// A row by its 18-character id, deleted or not.
    fn by_id(&self, object: &ObjectDef, id: &str) -> Option<&Self::Row>;

    /// The live rows that hold `value`, compared as the field compares; None without an index.
    fn find(&self, object: &ObjectDef, field: &FieldDef, value: &str) -> Option<Vec<&Self::Row>>;

    /// As the API answers it; a number of `FieldKind::Number` is a JSON double.
    fn value(&self, object: &ObjectDef, row: &Self::Row, field: &FieldDef) -> Value;

    fn deleted(&self, row: &Self::Row) -> bool;
}

/// What a query runs against.
pub struct Context<'a, R> {
    pub rows: &'a R,
    pub schema: &'a Schema,
    /// `queryAll`: deleted rows too.
    pub deleted: bool,
    /// `/services/data/vNN.0`, for the records' URLs.
    pub base: &'a str,
    /// What `TODAY` means: milliseconds since 1970.
    pub now: i64,
}

/// What a query found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Rows, except for `COUNT()`: what it counted.
    pub total: usize,
    /// Records with their `attributes`.
    pub records: Vec<Value>,
}
