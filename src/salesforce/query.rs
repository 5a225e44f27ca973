//! SOQL queries with paging, and `describe`.

use reqwest::Method;

use super::wire::{Describe, QueryPage, Record};
use super::{Client, Error};

/// Keys of one query: 200 of 37 characters, quoted and encoded, stay below the 16,384 bytes that a URL may have.
pub const KEYS_MAX: usize = 200;

/// Queries that one call takes.
pub const QUERIES_MAX: usize = 5;

/// The resource that answers live records, and the one that answers those of the recycle bin too.
pub(super) const LIVE: &str = "query";
pub(super) const WITH_DELETED: &str = "queryAll";

impl Client {
    /// All records of a query.
    pub async fn query(&self, soql: &str) -> Result<Vec<Record>, Error> {
        self.pages(&resource(LIVE, soql)).await
    }

    pub(super) async fn pages(&self, resource: &str) -> Result<Vec<Record>, Error> {
        let mut page: QueryPage = self.call(Method::GET, &self.path(resource), None).await?;
        let mut records = std::mem::take(&mut page.records);
        while let Some(next) = page.next_records_url.take() {
            // It is appended to the host: anything but a path could name another one.
            if !next.starts_with('/') {
                return Err(Error::Body { status: 200 });
            }
            page = self.call(Method::GET, &next, None).await?;
            records.append(&mut page.records);
        }
        if page.done { Ok(records) } else { Err(Error::Body { status: 200 }) }
    }

    pub async fn describe(&self, object: &str) -> Result<Describe, Error> {
        self.call(Method::GET, &self.path(&format!("sobjects/{object}/describe")), None).await
    }
}

/// The resource of a query, below the version.
pub(super) fn resource(kind: &str, soql: &str) -> String {
    format!("{kind}?q={}", encode(soql))
}

/// Percent-encodes a value of the URL's query.
pub(super) fn encode(soql: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(soql.len() * 2);
    for byte in soql.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A text literal of SOQL.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// `'a','b'` for an IN list.
pub(crate) fn quote_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(quote).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_leave_its_quotes() {
        assert_eq!(quote(r"a\' OR Id != '"), r"'a\\\' OR Id != \''");
        assert_eq!(quote_all(["a", "b"]), "'a','b'");
    }

    #[test]
    fn a_query_is_encoded_for_the_url() {
        assert_eq!(encode("Id = 'a+b'&é"), "Id+%3D+%27a%2Bb%27%26%C3%A9");
    }
}
