//! `rollbook produce`: sends hand-made events, one JSON object a line, the way a producer should.
//!
//! Each line goes through the same decoder as the records of the fold, so what would become a dead letter is listed
//! here with its line number and is not sent. Key and partition follow from the event.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::{Exit, Global, print_json};
use crate::config::Config;
use crate::event::{Decoded, DecodedSession, Decoder, EventKind, Headers, Ignored, Record};
use crate::id::{MemberKey, SalesforceId};
use crate::kafka::scan::Scanner;
use crate::kafka::send::{Outgoing, Sender};
use crate::kafka::topics::Topic;
use crate::route;
use crate::upsert::email_fits;

#[derive(Debug, Args)]
pub struct Arguments {
    /// JSON lines; `-` reads stdin
    file: PathBuf,
    /// Kind of every line that has no `kind` of its own: registration, attendance, poll, reaction, view, session
    #[arg(long, value_parser = parse_kind)]
    kind: Option<Kind>,
    /// Check every line, send nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Event(EventKind),
    Session,
}

fn parse_kind(text: &str) -> Result<Kind, &'static str> {
    if text == "session" {
        return Ok(Kind::Session);
    }
    EventKind::from_name(text)
        .map(Kind::Event)
        .ok_or("not one of registration, attendance, poll, reaction, view, session")
}

impl Kind {
    fn topic(self) -> Topic {
        match self {
            Self::Event(kind) => Topic::of_events(kind),
            Self::Session => Topic::Sessions,
        }
    }
}

/// A line that is sent.
#[derive(Debug)]
struct Accepted {
    line: usize,
    kind: Kind,
    key: String,
    value: Vec<u8>,
    /// Sent all the same: the topic keeps what this version of the fold ignores.
    ignored: Option<Ignored>,
    /// Its address is none that the org takes: the rows are written without it.
    address_refused: bool,
}

/// A line that is not.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    line: usize,
    reason: &'static str,
    detail: String,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let checker = Checker { decoder: Decoder::new(config.fold.value_bytes_max), kind: arguments.kind };
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for (number, line) in open(&arguments.file)?.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read line {} of the input", number + 1))?;
        if !line.trim().is_empty() {
            match checker.check(number + 1, &line) {
                Ok(line) => accepted.push(line),
                Err(line) => refused.push(line),
            }
        }
    }
    let failed = if arguments.dry_run { 0 } else { send(&config, &accepted)? };
    report(arguments.dry_run, &accepted, &refused, (failed, global.json));
    // What changes nothing is not what somebody sends by hand on purpose.
    let counts = refused.is_empty() && accepted.iter().all(|line| line.ignored.is_none());
    Ok(match (failed, counts) {
        (1.., _) => Exit::Temporary,
        (0, false) => Exit::Refusals,
        (0, true) => Exit::Done,
    })
}

fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| format!("cannot open `{}`", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

struct Checker {
    decoder: Decoder,
    /// Of lines that do not say.
    kind: Option<Kind>,
}

impl Checker {
    fn check(&self, line: usize, text: &str) -> Result<Accepted, Refused> {
        let refused = |reason, detail: String| Refused { line, reason, detail };
        let mut event: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| refused("undecodable", "not a JSON object".to_owned()))?;
        let kind = match event.shift_remove("kind") {
            Some(kind) => parse_kind(kind.as_str().unwrap_or_default()).map_err(|why| format!("`kind` is {why}")),
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

/// Returns how many were not acknowledged.
fn send(config: &Config, accepted: &[Accepted]) -> anyhow::Result<usize> {
    let sender = Sender::new(config)?;
    let mut partitions = BTreeMap::new();
    for (tag, line) in accepted.iter().enumerate() {
        let topic = line.kind.topic().name(&config.topics);
        let count = match partitions.get(topic) {
            Some(count) => *count,
            None => *partitions.entry(topic).or_insert(Scanner::new(config)?.partitions(topic)?),
        };
        let key = line.key.as_bytes();
        let partition = route::partition(key, count);
        let key = (!key.is_empty()).then_some(key);
        let outgoing = Outgoing { topic, partition, key, value: Some(&line.value), headers: &[], timestamp: None };
        sender.send(&outgoing, tag)?;
    }
    let deliveries = sender.finish()?;
    for delivery in &deliveries {
        if let (Err(code), Some(line)) = (&delivery.result, accepted.get(delivery.tag)) {
            eprintln!("line {} was not acknowledged: {code}", line.line);
        }
    }
    Ok(deliveries.iter().filter(|delivery| delivery.result.is_err()).count())
}

fn report(dry_run: bool, accepted: &[Accepted], refused: &[Refused], (failed, as_json): (usize, bool)) {
    let mut by_topic: BTreeMap<&str, usize> = BTreeMap::new();
    for line in accepted {
        *by_topic.entry(line.kind.topic().label()).or_default() += 1;
    }
    let addresses_refused = accepted.iter().filter(|line| line.address_refused).map(|line| line.line);
    let ignored = accepted.iter().filter_map(|line| Some((line.line, line.ignored.as_ref()?)));
    if as_json {
        let refused = refused
            .iter()
            .map(|Refused { line, reason, detail }| json!({ "line": line, "reason": reason, "detail": detail }));
        print_json(&json!({
            "dry_run": dry_run,
            "accepted": by_topic,
            "not_acknowledged": failed,
            "addresses_refused": addresses_refused.collect::<Value>(),
            "ignored": ignored.map(|(line, ignored)| ignored_json(line, ignored)).collect::<Value>(),
            "refused": refused.collect::<Value>(),
        }));
        return;
    }
    for Refused { line, reason, detail } in refused {
        say!("line {line} refused: {reason}: {detail}");
    }
    let mut ignored_count = 0;
    for (line, ignored) in ignored {
        ignored_count += 1;
        say!("line {line} will be ignored: {}: {}", ignored.reason.code(), ignored.detail());
    }
    for line in addresses_refused {
        eprintln!("line {line}: warning: `email` is no address that Salesforce takes; the rows are written without it");
    }
    let verb = if dry_run { "would send" } else { "sent" };
    for (topic, count) in by_topic {
        say!("{verb} {count} to {topic}");
    }
    let will_be = if ignored_count > 0 { format!(" ({ignored_count} of them will be ignored)") } else { String::new() };
    say!("{} accepted{will_be}, {} refused", accepted.len(), refused.len());
}

fn ignored_json(line: usize, ignored: &Ignored) -> Value {
    let Ignored { reason, field, found, nearest, .. } = ignored;
    json!({
        "line": line,
        "reason": reason.code(),
        "field": field,
        "symbol": found.symbol(),
        "nearest": nearest,
        "detail": ignored.detail(),
    })
}

#[cfg(test)]
mod tests {
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
        let ignored = ignored_json(7, &line.ignored.unwrap());
        assert_eq!((&ignored["field"], &ignored["symbol"]), (&json!("action"), &json!("REGISTERD")));
        assert_eq!((&ignored["nearest"], &ignored["line"]), (&json!("REGISTERED"), &json!(7)));
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
