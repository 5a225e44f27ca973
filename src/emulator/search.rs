//! Joins the query engine to the org's rows.

use serde_json::Value;

use super::org::{Org, Record};
use super::schema::{FieldDef, ObjectDef};
use super::soql::{self, Answer, Context, Rows};
use super::wire::Refusal;

impl Rows for Org {
    type Row = Record;

    fn scan<'a>(&'a self, object: &ObjectDef) -> impl Iterator<Item = &'a Record>
    where
        Record: 'a,
    {
        self.rows(&object.name).iter()
    }

    fn by_id(&self, object: &ObjectDef, id: &str) -> Option<&Record> {
        self.record(&object.name, id)
    }

    fn find(&self, object: &ObjectDef, field: &FieldDef, value: &str) -> Option<Vec<&Record>> {
        Self::find(self, &object.name, &field.name, value)
    }

    fn value(&self, object: &ObjectDef, row: &Record, field: &FieldDef) -> Value {
        Self::value(self, object, row, field)
    }

    fn deleted(&self, row: &Record) -> bool {
        row.deleted
    }
}

/// Runs a query; `with_deleted` is what `queryAll` adds.
pub fn run(org: &Org, text: &str, with_deleted: bool, base: &str) -> Result<Answer, Refusal> {
    let schema = org.schema();
    let now = jiff::Timestamp::now().as_millisecond();
    let context = Context { rows: org, schema: &schema, deleted: with_deleted, base, now };
    let answer = soql::parse(text).and_then(|query| soql::run(&query, &context));
    answer.map_err(|error| Refusal::bad(error.code.as_str(), error.message))
}

/// What `columns=true` answers: names and types in place of rows.
pub fn columns(org: &Org, text: &str) -> Result<Value, Refusal> {
    let answer = soql::parse(text).and_then(|query| soql::columns(&query, &org.schema()));
    answer.map_err(|error| Refusal::bad(error.code.as_str(), error.message))
}
