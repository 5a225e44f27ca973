//! The JSON that Salesforce speaks, as far as the client reads it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// One record as it is sent: field names to values, `attributes` first.
pub type Record = Map<String, Value>;

/// An error of a whole request; the body is an array of these.
#[derive(Clone, Debug, Deserialize)]
pub struct RequestFault {
    #[serde(rename = "errorCode", default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub fields: Vec<String>,
}

/// One row's result of a collections call.
#[derive(Clone, Debug, Deserialize)]
pub struct SaveResult {
    pub id: Option<String>,
    pub success: bool,
    /// Absent before API version 46 and on some operations.
    pub created: Option<bool>,
    #[serde(default)]
    pub errors: Vec<RowFault>,
}

/// An error of one row.
#[derive(Clone, Debug, Deserialize)]
pub struct RowFault {
    #[serde(rename = "statusCode", alias = "errorCode", default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub fields: Vec<String>,
}

/// One page of a query.
#[derive(Debug, Deserialize)]
pub struct QueryPage {
    pub done: bool,
    #[serde(rename = "nextRecordsUrl")]
    pub next_records_url: Option<String>,
    pub records: Vec<Record>,
}

/// What `describe` says of an object, as far as `doctor` asks.
#[derive(Debug, Deserialize)]
pub struct Describe {
    pub name: String,
    #[serde(default)]
    pub createable: bool,
    #[serde(default)]
    pub updateable: bool,
    pub fields: Vec<FieldDescribe>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "the names and shape are Salesforce's")]
pub struct FieldDescribe {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub length: u32,
    #[serde(default)]
    pub precision: u32,
    #[serde(default)]
    pub scale: u32,
    #[serde(default)]
    pub external_id: bool,
    #[serde(default)]
    pub unique: bool,
    #[serde(default)]
    pub case_sensitive: bool,
    #[serde(default)]
    pub createable: bool,
    #[serde(default)]
    pub updateable: bool,
    #[serde(default)]
    pub reference_to: Vec<String>,
}

/// One entry of `limits`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Limit {
    #[serde(rename = "Max")]
    pub max: i64,
    #[serde(rename = "Remaining")]
    pub remaining: i64,
}
