//! What a query runs against, as far as the language has to know it: it does not know an org.

use serde_json::Value;

use crate::emulator::schema::{FieldDef, ObjectDef, Schema};

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
