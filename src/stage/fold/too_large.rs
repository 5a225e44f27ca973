//! Dead letters of records that no broker takes for their size.
//!
//! A re-keyed event is larger than the one that was read, by its headers, and stands in a topic of its own, whose setting
//! may be smaller; a letter holds a whole record. Of both the beginning is kept, and where the whole stands.

use rdkafka::message::{Header, OwnedHeaders};

use crate::dead_letter::{DeadLetter, RECORD_TOO_LARGE, Stage};
use crate::kafka::sizes::Substitute;
use crate::kafka::transaction::Outgoing;
use crate::time::Millis;
use crate::topic_table::{Oversize, Topic};

use super::headers::{ORIGIN_HEADER, first, first_timestamp, listed};

/// Says why in the letter's record, for readers who do not read the letter.
pub fn reason_header(code: &str) -> OwnedHeaders {
    OwnedHeaders::new().insert(Header { key: "rollbook.reason", value: Some(code) })
}

/// What is written in the record's place. None: it is no record that a letter can be about.
pub fn substitute(topic: Topic, record: &Outgoing<'_>, now: Millis) -> Option<Substitute> {
    let letter = match topic.row().oversize {
        Oversize::Letter => of_rekeyed(record, now)?,
        Oversize::Beginning => DeadLetter::decode(record.value?).ok().filter(|letter| letter.cut.is_none())?,
        Oversize::Waits => return None,
    };
    let letter = letter.beginning();
    Some(Substitute {
        key: letter.record_key().map(<[u8]>::to_vec),
        value: letter.encode(),
        headers: Some(reason_header(&letter.reason)),
        about: letter.topic,
    })
}

fn of_rekeyed(record: &Outgoing<'_>, now: Millis) -> Option<DeadLetter> {
    let headers = record.headers.as_ref()?.as_borrowed();
    let (at, offset) = std::str::from_utf8(first(headers, ORIGIN_HEADER)?).ok()?.rsplit_once('/')?;
    let (topic, partition) = at.rsplit_once('/')?;
    Some(DeadLetter {
        stage: Stage::Fold,
        reason: RECORD_TOO_LARGE.to_owned(),
        detail: "the event is not keyed by its member, and larger than the topic of re-keyed events takes".to_owned(),
        hint:
            "raise max.message.bytes of that topic (rollbook topics check) or key the event by its member; then redrive"
                .to_owned(),
        topic: topic.to_owned(),
        partition: partition.parse().ok()?,
        offset: offset.parse().ok()?,
        timestamp: first_timestamp(headers),
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: listed(headers),
        object: None,
        external_id: None,
        fields: Vec::new(),
        attempts: 1,
        at: now,
        cut: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::headers::rekeyed;
    use super::*;
    use crate::dead_letter::Cut;
    use crate::event::EventKind;

    #[test]
    fn the_letter_of_a_rekeyed_event_says_where_it_stands() {
        let own = OwnedHeaders::new().insert(Header { key: "ce_id", value: Some("1") });
        let headers = rekeyed(Some(own.as_borrowed()), EventKind::View, "my/views/3/70", Some(5));
        let value = vec![b'x'; 2_000_000];
        let record =
            Outgoing { key: Some(b"member"), value: Some(&value), headers: Some(headers), ..Outgoing::default() };
        let written = substitute(Topic::Resolved, &record, 9).unwrap();
        let letter = DeadLetter::decode(&written.value).unwrap();
        assert_eq!((letter.topic.as_str(), letter.partition, letter.offset), ("my/views", 3, 70));
        assert_eq!(
            (letter.reason.as_str(), letter.timestamp, letter.cut),
            (RECORD_TOO_LARGE, Some(5), Some(Cut::of(&value)))
        );
        assert!(written.value.len() < 100_000 && written.about == "my/views");
        assert_eq!(letter.headers, [("ce_id".to_owned(), Some(b"1".to_vec()))], "our own say what the letter says");
    }

    #[test]
    fn a_letter_that_is_too_large_is_cut_once_and_states_have_none() {
        let headers = rekeyed(None::<&OwnedHeaders>, EventKind::View, "views/3/70", None);
        let record = Outgoing { value: Some(b"value"), headers: Some(headers), ..Outgoing::default() };
        let mut letter = of_rekeyed(&record, 9).unwrap();
        letter.reason = "undecodable".to_owned();
        let (whole, cut) = (letter.encode(), letter.beginning().encode());
        let letter = |value| substitute(Topic::DeadLetters, &Outgoing { value: Some(value), ..Outgoing::default() }, 9);
        assert_eq!(letter(&whole).map(|written| written.value), Some(cut.clone()));
        assert!(letter(&cut).is_none(), "it waits for the topic's setting");
        assert!(substitute(Topic::State, &record, 9).is_none());
    }
}
