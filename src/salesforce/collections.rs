//! sObject Collections: up to 200 rows in one call, each with a result of its own.

use reqwest::Method;
use serde_json::{Value, json};

use super::wire::{Record, SaveResult};
use super::{Client, Error};

/// Rows that Salesforce takes in one call.
pub const ROWS_MAX: usize = 200;

impl Client {
    /// Upserts rows of one object by the external id in this field. Results are in the order of the rows.
    pub async fn upsert(&self, object: &str, external_id: &str, rows: Vec<Record>) -> Result<Vec<SaveResult>, Error> {
        let path = self.path(&format!("composite/sobjects/{object}/{external_id}"));
        self.collection(Method::PATCH, &path, rows).await
    }

    /// Updates rows by the `id` that each holds.
    pub async fn update(&self, rows: Vec<Record>) -> Result<Vec<SaveResult>, Error> {
        let path = self.path("composite/sobjects");
        self.collection(Method::PATCH, &path, rows).await
    }

    /// Creates rows.
    pub async fn create(&self, rows: Vec<Record>) -> Result<Vec<SaveResult>, Error> {
        let path = self.path("composite/sobjects");
        self.collection(Method::POST, &path, rows).await
    }

    async fn collection(&self, method: Method, path: &str, rows: Vec<Record>) -> Result<Vec<SaveResult>, Error> {
        let sent = rows.len();
        let body = rows_of(rows);
        let results: Vec<SaveResult> = self.call(method, path, Some(&body)).await?;
        // A result that cannot be told to its row is no result.
        if results.len() == sent { Ok(results) } else { Err(Error::Body { status: 200 }) }
    }
}

/// The body of a collection.
pub(super) fn rows_of(rows: Vec<Record>) -> Value {
    let rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
    json!({ "allOrNone": false, "records": rows })
}
