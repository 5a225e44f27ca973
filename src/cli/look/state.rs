//! `rollbook state`: what is committed of one member, and the rows derived of it.

use anyhow::anyhow;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::{Exit, Global, print_json, time};
use crate::committed::{self, Committed};
use crate::fold::{Aggregate, EntryPiece, FactKind};
use crate::id::{MemberKey, SalesforceId};
use crate::lattice::IntervalSet;
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
    let Some(Committed { aggregate, catalogue }) = committed::of(&config, &member)? else {
        return Err(anyhow!("nothing is known of member `{member}`"));
    };
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
