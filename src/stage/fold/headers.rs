//! Headers of consumed records, and of the records that re-keyed events become.
//!
//! Names are compared without regard to case: producers write `ce_id` and `Content-Type` as their libraries do. Of
//! several headers of one name the first counts, so a re-keyed record must not carry one of ours from elsewhere before
//! the one that we add: it would be read as an event of another kind.

use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};

use crate::event::{EventKind, Headers as RecordHeaders};

/// Kind of a re-keyed event: the topic does not tell it any more.
pub const KIND_HEADER: &str = "rollbook.kind";
/// Where a re-keyed event stood first: `topic/partition/offset`.
const ORIGIN_HEADER: &str = "rollbook.origin";

/// Headers as librdkafka holds them; parsed only if somebody asks.
pub struct MessageHeaders<'a, M>(pub &'a M);

impl<M: Message> RecordHeaders for MessageHeaders<'_, M> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        first(self.0.headers()?, name)
    }
}

fn first<'h>(headers: &'h impl Headers, name: &str) -> Option<&'h [u8]> {
    headers.iter().find(|header| header.key.eq_ignore_ascii_case(name))?.value
}

/// The headers of a re-keyed event: its own, without what an earlier hop said, and ours.
pub fn rekeyed(own: Option<&impl Headers>, kind: EventKind, origin: &str) -> OwnedHeaders {
    let ours = [(KIND_HEADER, kind.name()), (ORIGIN_HEADER, origin)];
    let said_again = |header: &Header<'_, &[u8]>| ours.iter().any(|(key, _)| header.key.eq_ignore_ascii_case(key));
    let kept = own.into_iter().flat_map(Headers::iter).filter(|header| !said_again(header));
    let headers = kept.fold(OwnedHeaders::new(), OwnedHeaders::insert);
    ours.into_iter().fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&str, &str)]) -> OwnedHeaders {
        of.iter().fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }))
    }

    #[test]
    fn a_header_is_found_in_any_case_and_the_first_counts() {
        let headers = headers(&[("CE_Id", "1"), ("ce_id", "2")]);
        assert_eq!(first(headers.as_borrowed(), "ce_id"), Some(b"1".as_slice()));
        assert_eq!(first(headers.as_borrowed(), "ce_source"), None);
    }

    #[test]
    fn a_rekeyed_event_says_its_kind_whatever_it_said_before() {
        let own = headers(&[("Rollbook.Kind", "poll"), ("ce_id", "1"), ("rollbook.origin", "elsewhere")]);
        let rekeyed = rekeyed(Some(own.as_borrowed()), EventKind::View, "views/0/7");
        assert_eq!(first(rekeyed.as_borrowed(), KIND_HEADER), Some(b"view".as_slice()));
        assert_eq!(first(rekeyed.as_borrowed(), ORIGIN_HEADER), Some(b"views/0/7".as_slice()));
        assert_eq!(first(rekeyed.as_borrowed(), "ce_id"), Some(b"1".as_slice()));
        assert_eq!(rekeyed.count(), 3);
    }
}
