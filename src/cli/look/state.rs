//! `rollbook state`: what is known of one member, and the rows derived of it, by reading the one partition that can
//! hold it.
//!
//! It reads the changelog, not a running instance: the answer is what is committed.

use std::collections::BTreeMap;

use anyhow::anyhow;
use clap::Args;
use rdkafka::Message;
use serde_json::{Map, Value, json};
use tracing::warn;

use crate::cli::{Exit, Global, print_json, time};
use crate::config::Config;
use crate::event::{DecodedSession, Decoder, Headers, Record};
use crate::fold::{Aggregate, Catalogue, EntryPiece, FactKind, Piece, decode_piece};
use crate::id::{MemberKey, SalesforceId};
use crate::kafka::scan::{Next, Range, ScanError, Scanner};
use crate::lattice::IntervalSet;
use crate::route;
use crate::upsert::{self, Row, RowRefusal};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Salesforce id of the Campaign, 15 or 18 characters
    #[arg(value_parser = parse_campaign)]
    campaign: SalesforceId,
    /// Salesforce id of the Lead or Contact, 15 or 18 characters
    #[arg(value_parser = parse_person)]
    lead: SalesforceId,
}

fn parse_campaign(text: &str) -> Result<SalesforceId, &'static str> {
    SalesforceId::parse(text).filter(|id| id.has_prefix("701")).ok_or("no id of a Campaign (701…)")
}

fn parse_person(text: &str) -> Result<SalesforceId, &'static str> {
    SalesforceId::parse(text)
        .filter(|id| id.has_prefix("00Q") || id.has_prefix("003"))
        .ok_or("no id of a Lead (00Q…) or Contact (003…)")
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let member = MemberKey { campaign: arguments.campaign, person: arguments.lead };
    let pieces = read_pieces(&config, &member)?;
    if pieces.is_empty() {
        return Err(anyhow!("nothing is known of member `{member}`"));
    }
    let mut aggregate = Aggregate::default();
    for (entry, piece) in pieces {
        aggregate.join_piece((!entry.is_empty()).then_some(&entry), piece);
    }
    let catalogue = read_catalogue(&config, member.campaign)?;
    let rows = upsert::rows(&member, &aggregate, &catalogue);
    if global.json {
        let rows = rows.iter().map(row_json).collect::<Value>();
        print_json(&json!({ "member": member.to_string(), "aggregate": aggregate_json(&aggregate), "rows": rows }));
    } else {
        say!("member {member}\n");
        print_tree(&aggregate_json(&aggregate), 0);
        for row in &rows {
            say!();
            print_tree(&row_json(row), 0);
        }
    }
    Ok(Exit::Done)
}

/// The member's pieces by entry id, the member's own under "".
fn read_pieces(config: &Config, member: &MemberKey) -> Result<BTreeMap<String, Piece>, ScanError> {
    let (scanner, topic) = (Scanner::new(config)?, &config.topics.state);
    let partition = route::partition(&member.bytes(), scanner.partitions(topic)?);
    let range = Range::of(topic).partitions([partition]).keys(&member.bytes());
    let mut pieces = BTreeMap::new();
    scanner.read(&[range], |record| {
        if let Some(entry) = entry_of(record.key().unwrap_or_default(), member) {
            match record.payload().map(decode_piece) {
                Some(Ok(piece)) => {
                    pieces.insert(entry, piece);
                }
                Some(Err(error)) => warn!(partition, offset = record.offset(), %error, "not a piece of this version"),
                None => {
                    pieces.remove(&entry);
                }
            }
        }
        Next::On
    })?;
    Ok(pieces)
}

/// The entry id in a changelog key of this member: empty for the member's own piece.
fn entry_of(key: &[u8], member: &MemberKey) -> Option<String> {
    let rest = key.strip_prefix(&member.bytes())?;
    if rest.is_empty() {
        return Some(String::new());
    }
    std::str::from_utf8(rest.strip_prefix(b"_")?).ok().map(str::to_owned)
}

/// What the catalogue says of one campaign.
fn read_catalogue(config: &Config, campaign: SalesforceId) -> Result<Catalogue, ScanError> {
    // Records that Rollbook wrote itself: of any size, and never with a registry's schema.
    let decoder = Decoder::new(usize::MAX);
    let mut catalogue = Catalogue::default();
    let range = Range::of(&config.topics.catalogue).keys(campaign.as_str().as_bytes());
    Scanner::new(config)?.read(&[range], |record| {
        let headers: &dyn Headers = &();
        let (key, value) = (record.key(), record.payload());
        match decoder.decode_session(&Record { kind: None, key, value, timestamp: None, headers }) {
            Ok(DecodedSession::Session(session)) => {
                catalogue.apply(session);
            }
            Ok(DecodedSession::Tombstone(key)) => {
                catalogue.remove(&key);
            }
            Ok(DecodedSession::Refused(refusal)) => {
                warn!(reason = refusal.reason.code(), "a catalogue record is not of this version");
            }
            Err(needed) => warn!(%needed, "a catalogue record is not of this version"),
        }
        Next::On
    })?;
    Ok(catalogue)
}

fn row_json(row: &Result<Row, RowRefusal>) -> Value {
    match row {
        Ok(row) => {
            let fields: Map<String, Value> =
                row.fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_json())).collect();
            json!({ "object": row.object.api_name(), "external_id": row.external_id, "fields": fields })
        }
        Err(refusal) => json!({
            "object": refusal.object.api_name(), "external_id": refusal.external_id,
            "refused": refusal.code(), "field": refusal.field, "detail": refusal.detail,
        }),
    }
}

fn aggregate_json(aggregate: &Aggregate) -> Value {
    let facts = FactKind::ALL.into_iter().filter_map(|kind| {
        let at = aggregate.member.latest(kind)?;
        Some((format!("{kind:?}"), time(at).into()))
    });
    let presences = aggregate.member.presences().map(|(entry, at)| (entry.unwrap_or("").to_owned(), time(at).into()));
    let entries = aggregate.entries.iter().map(|(id, piece)| (id.to_string(), entry_json(piece)));
    json!({
        "facts": facts.collect::<Map<_, _>>(),
        "latest_presence_by_entry": presences.collect::<Map<_, _>>(),
        "entries": entries.collect::<Map<_, _>>(),
    })
}

fn entry_json(piece: &EntryPiece) -> Value {
    let reactions = &piece.reactions;
    let polls = piece.polls.iter().map(|(id, poll)| {
        let poll = json!({
            "type": poll.poll_type.get(), "question": poll.question.get(), "answer": poll.answer.get(),
            "position": poll.position.get(), "first_at": time(poll.first_at.0),
        });
        (id.to_string(), poll)
    });
    json!({
        "has_row": piece.counted,
        "last_sign_at": time(piece.last_sign_at.0),
        "entry_name": piece.entry_name.get(),
        "channel_id": piece.channel_id.get(),
        "channel_name": piece.channel_name.get(),
        "email": piece.email.get(),
        "user": piece.user.get(),
        "live": {
            "high": intervals(&piece.live.high), "good": intervals(&piece.live.good),
            "fair": intervals(&piece.live.fair), "low": intervals(&piece.live.low), "no": intervals(&piece.live.no),
        },
        "recorded": intervals(&piece.recorded),
        "playhead_ms": piece.playhead.iter().map(|(start, end)| json!([start, end])).collect::<Value>(),
        "counts": {
            "plays": piece.plays.len(), "claps": reactions.claps.len(), "hearts": reactions.hearts.len(),
            "thinks": reactions.thinks.len(), "wows": reactions.wows.len(), "smiles": reactions.smiles.len(),
            "raised_hands": reactions.raised_hands.len(), "calendar_adds": reactions.calendar_adds.len(),
            "messages": reactions.messages.len(), "threads": reactions.threads.len(),
            "connections": piece.connections.iter().len(),
        },
        "polls": polls.collect::<Map<_, _>>(),
    })
}

fn intervals(set: &IntervalSet) -> Value {
    set.iter().map(|(start, end)| json!([time(start), time(end)])).collect()
}

/// Indented lines; what is empty or unknown is left out.
fn print_tree(value: &Value, depth: usize) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                say!("{indent}{name}");
                print_tree(value, depth + 1);
            }
            Value::Array(items) if !items.is_empty() => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                say!("{indent}{name}: {}", items.join(" "));
            }
            Value::String(text) => say!("{indent}{name}: {text}"),
            Value::Number(number) => say!("{indent}{name}: {number}"),
            Value::Bool(truth) => say!("{indent}{name}: {truth}"),
            Value::Null | Value::Object(_) | Value::Array(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changelog_key_belongs_to_one_member_only() {
        let campaign = parse_campaign("70103000000cnFX").unwrap();
        let member = MemberKey { campaign, person: parse_person("00Q0300000Aczgf").unwrap() };
        assert_eq!(entry_of(member.to_string().as_bytes(), &member), Some(String::new()));
        assert_eq!(entry_of(format!("{member}_1_a").as_bytes(), &member), Some("1_a".to_owned()));
        assert_eq!(entry_of(format!("{member}x").as_bytes(), &member), None);
        assert_eq!(entry_of(b"70103000000cnFXAAY", &member), None);
    }
}
