//! Hand-made events, one JSON object a line: checked as the fold will judge them, and sent the way a producer should.
//!
//! Each line goes through the same decoder as the records of the fold, so what would become a dead letter is told with its
//! line number and is not sent. Key and partition follow from the event.

use std::str::FromStr;

use rdkafka::error::RDKafkaErrorCode;
use serde_json::{Map, Value};

use crate::config::Config;
use crate::event::{Decoded, DecodedSession, Decoder, EventKind, Headers, Ignored, Record};
use crate::id::{MemberKey, SalesforceId};
use crate::kafka::scan::ScanError;
use crate::kafka::send::{Homes, Outgoing, SendError, Sender};
use crate::topic_table::Topic;
use crate::upsert::email_fits;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Event(EventKind),
    Session,
}

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "session" {
            return Ok(Self::Session);
        }
        EventKind::from_name(text)
            .map(Self::Event)
            .ok_or("not one of registration, attendance, poll, reaction, view, session")
    }
}

impl Kind {
    pub fn topic(self) -> Topic {
        match self {
            Self::Event(kind) => Topic::of_events(kind),
            Self::Session => Topic::Sessions,
        }
    }
}

/// A line that is sent.
#[derive(Debug)]
pub struct Accepted {
    /// From 1.
    pub line: usize,
    pub kind: Kind,
    pub key: String,
    pub value: Vec<u8>,
    /// Sent all the same: the topic keeps what this version of the fold ignores.
    pub ignored: Option<Ignored>,
    /// Its address is none that the org takes: the rows are written without it.
    pub address_refused: bool,
}

/// A line that is not.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub line: usize,
    pub reason: &'static str,
    pub detail: String,
}

pub struct Checker {
    decoder: Decoder,
    /// Of lines that do not say.
    kind: Option<Kind>,
}

impl Checker {
    /// By the rules of a fold with this configuration; `kind` is that of lines that do not say.
    pub fn new(config: &Config, kind: Option<Kind>) -> Self {
        Self { decoder: Decoder::new(config.fold.value_bytes_max), kind }
    }

    pub fn check(&self, line: usize, text: &str) -> Result<Accepted, Refused> {
        let refused = |reason, detail: String| Refused { line, reason, detail };
        let mut event: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| refused("undecodable", "not a JSON object".to_owned()))?;
        let kind = match event.shift_remove("kind") {
            Some(kind) => kind.as_str().unwrap_or_default().parse::<Kind>().map_err(|why| format!("`kind` is {why}")),
            None => self.kind.ok_or_else(|| "the line names no kind; hint: add \"kind\", or say --kind".to_owned()),
        };
        let kind = kind.map_err(|why| refused("unknown_kind", why))?;
        let address = event.get("email").and_then(Value::as_str).map(str::trim).filter(|address| !address.is_empty());
        let address_refused = address.is_some_and(|address| !email_fits(address));
        let value = serde_json::to_vec(&event).expect("what was read as JSON can be written as JSON");
        let headers: &dyn Headers = &();
        let timestamp = Some(jiff::Timestamp::now().as_millisecond());
        let mut record = Record { kind: None, key: None, value: Some(&value), timestamp, headers };
        let unreadable = |_| refused("unknown_schema", "not JSON".to_owned());
        let (key, ignored) = match kind {
            Kind::Session => match self.decoder.decode_session(&record).map_err(unreadable)? {
                DecodedSession::Session(session) => (session.key.to_text(), None),
                DecodedSession::Tombstone(key) => (key.to_text(), None),
                DecodedSession::Refused(refusal) => return Err(refused(refusal.reason.code(), refusal.detail)),
            },
            Kind::Event(kind) => {
                record.kind = Some(kind);
                match self.decoder.decode(&record).map_err(unreadable)? {
                    Decoded::Event(event) => (event.member.to_string(), None),
                    Decoded::Ignored(ignored) => (member(&event), Some(ignored)),
                    Decoded::Refused(refusal) => return Err(refused(refusal.reason.code(), refusal.detail)),
                }
            }
        };
        Ok(Accepted { line, kind, key, value, ignored, address_refused })
    }
}

/// The member's key out of an event that is ignored, and so has passed as one with valid ids.
fn member(event: &Map<String, Value>) -> String {
    let id = |name| event.get(name).and_then(Value::as_str).and_then(SalesforceId::parse);
    let ids = id("campaign_id").zip(id("lead_id"));
    ids.map(|(campaign, person)| MemberKey { campaign, person }.to_string()).unwrap_or_default()
}

/// Sends them; returns the lines that were not acknowledged, and why.
pub fn send(config: &Config, accepted: &[Accepted]) -> Result<Vec<(usize, RDKafkaErrorCode)>, Error> {
    let sender = Sender::new(config)?;
    let mut homes = Homes::new(config)?;
    for (tag, line) in accepted.iter().enumerate() {
        let topic = line.kind.topic().name(&config.topics);
        let key = line.key.as_bytes();
        let partition = homes.of(topic, key)?;
        let key = (!key.is_empty()).then_some(key);
        let outgoing = Outgoing { topic, partition, key, value: Some(&line.value), headers: &[], timestamp: None };
        sender.send(&outgoing, tag)?;
    }
    let failed = sender.finish()?.into_iter().filter_map(|delivery| {
        let line = accepted.get(delivery.tag)?;
        Some((line.line, delivery.result.err()?))
    });
    Ok(failed.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str) -> Result<Accepted, Refused> {
        Checker { decoder: Decoder::new(1_000_000), kind: None }.check(1, text)
    }

    #[test]
    fn a_line_gets_the_member_as_its_key_and_loses_its_kind() {
        let line = r#"{"kind":"registration","event_id":"1","source":"s","occurred_at":"2026-01-01T00:00:00Z",
            "campaign_id":"70103000000cnFX","lead_id":"00Q0300000Aczgf","action":"REGISTERED"}"#;
        let line = check(line).unwrap();
        assert_eq!(line.key, "70103000000cnFXAAY_00Q0300000AczgfEAB");
        assert_eq!((line.kind.topic(), line.ignored), (Topic::Registrations, None));
        assert!(!String::from_utf8(line.value).unwrap().contains("kind"));
    }

    #[test]
    fn a_line_that_will_be_ignored_says_what_it_may_have_been_meant_to_be() {
        let line = r#"{"kind":"registration","event_id":"1","source":"s","occurred_at":"2026-01-01T00:00:00Z",
            "campaign_id":"70103000000cnFX","lead_id":"00Q0300000Aczgf","action":"REGISTERD"}"#;
        let line = check(line).unwrap();
        assert_eq!(line.key, "70103000000cnFXAAY_00Q0300000AczgfEAB", "it goes where the member is");
        let ignored = line.ignored.unwrap();
        assert_eq!((ignored.field, ignored.found.symbol()), ("action", Some("REGISTERD")));
        assert_eq!(ignored.nearest, Some("REGISTERED"));
    }

    #[test]
    fn an_address_that_salesforce_refuses_is_warned_of_and_sent() {
        let line = |email: &str| {
            let line = json!({
                "kind": "registration", "event_id": "1", "source": "s", "occurred_at": "2026-01-01T00:00:00Z",
                "campaign_id": "70103000000cnFX", "lead_id": "00Q0300000Aczgf", "action": "REGISTERED", "email": email,
            });
            check(&line.to_string()).unwrap().address_refused
        };
        assert!(line("ann@example,org"));
        assert!(!line(" ann@example.org ") && !line(""));
    }

    #[test]
    fn a_line_that_would_be_a_dead_letter_is_refused_with_its_reason() {
        assert_eq!(check("no JSON").unwrap_err().reason, "undecodable");
        let nameless = check(r#"{"event_id":"1"}"#).unwrap_err();
        assert!(nameless.reason == "unknown_kind" && nameless.detail.contains("--kind"), "{nameless:?}");
        let misspelt = check(r#"{"kind":"veiw","event_id":"1"}"#).unwrap_err();
        assert!(misspelt.reason == "unknown_kind" && misspelt.detail.contains("reaction, view"), "{misspelt:?}");
        assert_eq!(check(r#"{"kind":"view","source":"s"}"#).unwrap_err().reason, "event_id_missing");
    }
}
