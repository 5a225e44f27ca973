//! Fields of a record that a query has found.

use crate::id::SalesforceId;
use crate::salesforce::wire::Record;

pub(super) fn text<'a>(record: &'a Record, field: &str) -> Option<&'a str> {
    record.get(field)?.as_str()
}

pub(super) fn id(record: &Record, field: &str) -> Option<SalesforceId> {
    SalesforceId::parse(text(record, field)?)
}
