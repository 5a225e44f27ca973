//! Events written by hand, as JSON: one member doing one thing.

use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use rollbook::time::Millis;
use serde_json::{Map, Value, json};

use super::world::World;
use crate::harness::Record;

/// Tuesday, 14 May 2024, 09:00 UTC.
pub const NINE: Millis = 1_715_677_200_000;
pub const MINUTE: Millis = 60_000;

pub const ENTRY: &str = "1_keynote";

/// A good event of a kind; `changes` are merged over it, and null takes a field away.
pub fn payload(kind: EventKind, member: MemberKey, event_id: &str, changes: &Value) -> Value {
    let common = json!({
        "event_id": event_id,
        "source": "pipeline",
        "occurred_at": NINE,
        "campaign_id": member.campaign.as_str(),
        "lead_id": member.person.as_str(),
        "entry_id": ENTRY,
    });
    let own = match kind {
        EventKind::Registration => json!({ "action": "REGISTERED" }),
        EventKind::Attendance => json!({ "action": "JOIN" }),
        EventKind::Poll => json!({ "poll_id": "poll", "answer": "yes" }),
        EventKind::Reaction => json!({ "reaction": "CLAP" }),
        EventKind::View => json!({ "mode": "LIVE", "ended_at": NINE + MINUTE }),
    };
    let mut fields = Map::new();
    for (name, value) in [&common, &own, changes].into_iter().filter_map(Value::as_object).flatten() {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    Value::Object(fields)
}

/// The record of such an event, with its member's key.
pub fn record(world: &World, kind: EventKind, member: MemberKey, event_id: &str, changes: &Value) -> Record {
    let value = payload(kind, member, event_id, changes).to_string();
    Record::new(world.topic(kind), member.to_string(), value)
}
