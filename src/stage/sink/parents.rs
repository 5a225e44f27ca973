//! Asks Salesforce what became of leads, contacts and campaigns: deleted ones are answered too, so that "deleted" and
//! "never there" are told apart.

use super::found::id;
use super::outbox::Parent;
use crate::id::SalesforceId;
use crate::salesforce::query::{KEYS_MAX, quote_all};
use crate::salesforce::wire::Record;
use crate::salesforce::{Client, Error};

/// Id prefix, object, and the fields that tell.
const KINDS: [(&str, &str, &str); 3] = [
    ("00Q", "Lead", "Id, IsDeleted, MasterRecordId, IsConverted, ConvertedContactId"),
    ("003", "Contact", "Id, IsDeleted, MasterRecordId"),
    ("701", "Campaign", "Id, IsDeleted"),
];

pub async fn find_parents(client: &Client, ids: &[SalesforceId]) -> Result<Vec<(SalesforceId, Parent)>, Error> {
    let queries = KINDS.iter().flat_map(|(prefix, object, fields)| {
        let ids: Vec<&str> = ids.iter().filter(|id| id.has_prefix(prefix)).map(SalesforceId::as_str).collect();
        let query = |ids: &[&str]| format!("SELECT {fields} FROM {object} WHERE Id IN ({})", quote_all(ids.to_vec()));
        ids.chunks(KEYS_MAX).map(query).collect::<Vec<_>>()
    });
    let records = client.query_with_deleted(&queries.collect::<Vec<_>>()).await?;
    Ok(records.iter().filter_map(|record| Some((id(record, "Id")?, parent(record)))).collect())
}

/// A lead that was converted lives on as its contact, even where it was deleted later.
fn parent(record: &Record) -> Parent {
    let flag = |field: &str| record.get(field).and_then(serde_json::Value::as_bool).unwrap_or(false);
    match (id(record, "ConvertedContactId"), id(record, "MasterRecordId")) {
        (Some(contact), _) if flag("IsConverted") => Parent::Converted(Some(contact)),
        (_, Some(into)) => Parent::Merged(into),
        _ if flag("IsDeleted") => Parent::Deleted,
        _ if flag("IsConverted") => Parent::Converted(None),
        _ => Parent::There,
    }
}
