//! Headers of consumed records, and of the records that re-keyed events become.
//!
//! Names are compared without regard to case: producers write `ce_id` and `Content-Type` as their libraries do. Of
//! several headers of one name the first counts, so a re-keyed record must not carry one of ours from elsewhere before
//! the one that we add: it would be read as an event of another kind.

use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};

use crate::event::{EventKind, Headers as RecordHeaders};
use crate::time::Millis;

/// Kind of a re-keyed event: the topic does not tell it any more.
pub const KIND_HEADER: &str = "rollbook.kind";
/// Where a re-keyed event stood first: `topic/partition/offset`.
pub(super) const ORIGIN_HEADER: &str = "rollbook.origin";
/// Kafka timestamp of the record as which a re-keyed event stood first, in milliseconds; absent where it had none. The
/// re-keyed record has the time of its writing: with the first one's a broker could delete it before it is read.
pub const FIRST_TIMESTAMP_HEADER: &str = "rollbook-first-timestamp";

/// Headers as librdkafka holds them; parsed only if somebody asks.
pub struct MessageHeaders<'a, M>(pub &'a M);

impl<M: Message> RecordHeaders for MessageHeaders<'_, M> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        first(self.0.headers()?, name)
    }
}

impl<M: Message> MessageHeaders<'_, M> {
    /// By which an event is judged: the first record's timestamp. What other producers say in our header counts for
    /// nothing, so it is asked of re-keyed records alone; one of an earlier version has the first timestamp as its own.
    pub fn first_timestamp(&self, rekeyed: bool) -> Option<Millis> {
        let said = if rekeyed { self.0.headers().and_then(first_timestamp) } else { None };
        said.or_else(|| self.0.timestamp().to_millis())
    }
}

/// What a re-keyed record says of the first one.
pub(super) fn first_timestamp(headers: &impl Headers) -> Option<Millis> {
    std::str::from_utf8(first(headers, FIRST_TIMESTAMP_HEADER)?).ok()?.parse().ok()
}

/// The headers of the record as which a re-keyed event stood first.
pub(super) fn listed(headers: &impl Headers) -> Vec<(String, Option<Vec<u8>>)> {
    const OURS: [&str; 3] = [KIND_HEADER, ORIGIN_HEADER, FIRST_TIMESTAMP_HEADER];
    let own = headers.iter().filter(|header| !OURS.iter().any(|ours| header.key.eq_ignore_ascii_case(ours)));
    own.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

pub(super) fn first<'h>(headers: &'h impl Headers, name: &str) -> Option<&'h [u8]> {
    headers.iter().find(|header| header.key.eq_ignore_ascii_case(name))?.value
}

/// The headers of a re-keyed event: its own, without what an earlier hop said, and ours.
pub fn rekeyed(
    own: Option<&impl Headers>,
    kind: EventKind,
    origin: &str,
    first_timestamp: Option<Millis>,
) -> OwnedHeaders {
    let ours = [
        (KIND_HEADER, Some(kind.name().to_owned())),
        (ORIGIN_HEADER, Some(origin.to_owned())),
        (FIRST_TIMESTAMP_HEADER, first_timestamp.map(|at| at.to_string())),
    ];
    let said_again = |header: &Header<'_, &[u8]>| ours.iter().any(|(key, _)| header.key.eq_ignore_ascii_case(key));
    let kept = own.into_iter().flat_map(Headers::iter).filter(|header| !said_again(header));
    let headers = kept.fold(OwnedHeaders::new(), OwnedHeaders::insert);
    ours.iter()
        .filter_map(|(key, value)| Some(Header { key, value: Some(value.as_deref()?) }))
        .fold(headers, OwnedHeaders::insert)
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

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
        let own = headers(&[
            ("Rollbook.Kind", "poll"),
            ("ce_id", "1"),
            ("rollbook.origin", "elsewhere"),
            ("Rollbook-First-Timestamp", "0"),
        ]);
        let rekeyed = rekeyed(Some(own.as_borrowed()), EventKind::View, "views/0/7", Some(5));
        assert_eq!(first(rekeyed.as_borrowed(), KIND_HEADER), Some(b"view".as_slice()));
        assert_eq!(first(rekeyed.as_borrowed(), ORIGIN_HEADER), Some(b"views/0/7".as_slice()));
        assert_eq!(first(rekeyed.as_borrowed(), FIRST_TIMESTAMP_HEADER), Some(b"5".as_slice()));
        assert_eq!(first(rekeyed.as_borrowed(), "ce_id"), Some(b"1".as_slice()));
        assert_eq!(rekeyed.count(), 4);
    }

    #[test]
    fn the_first_timestamp_is_kept_through_every_hop_and_believed_of_re_keyed_records_alone() {
        let message = |at, headers| {
            OwnedMessage::new(None, None, "topic".to_owned(), Timestamp::CreateTime(at), 0, 0, Some(headers))
        };
        let stray = message(7, headers(&[("rollbook-first-timestamp", "99")]));
        assert_eq!(MessageHeaders(&stray).first_timestamp(false), Some(7));
        let hop = |of: &OwnedMessage, is_rekeyed| {
            let first = MessageHeaders(of).first_timestamp(is_rekeyed);
            message(1_000, rekeyed(of.headers(), EventKind::View, "views/0/7", first))
        };
        let once = hop(&stray, false);
        let twice = hop(&once, true);
        assert_eq!(MessageHeaders(&once).first_timestamp(true), Some(7));
        assert_eq!(MessageHeaders(&twice).first_timestamp(true), Some(7));
        let earlier = message(5, headers(&[(KIND_HEADER, "view")]));
        assert_eq!(MessageHeaders(&earlier).first_timestamp(true), Some(5), "it has the first timestamp as its own");
    }
}
