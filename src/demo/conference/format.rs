//! An event put into a record: the formats, ids and habits of many producers.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{Feed, Partition, Record};
use crate::avro::{self, Embedded};
use crate::event::{Act, Device, Event, EventKind, PollAnswer, Reaction, RegistrationAction, View, VisitPhase};
use crate::id::MemberKey;

/// The payload's fields by name, without those that are null.
pub type Payload = Map<String, Value>;

/// The record of an accepted event. `somebody` else's key stands over it now and then.
pub fn record(rng: &mut Rng, event: &Event<'_>, somebody: MemberKey) -> Record {
    let mut payload = payload(rng, event);
    let mut headers = Vec::new();
    if rng.u8(0..10) == 0 {
        // A CloudEvents producer: the envelope tells what the payload leaves out.
        for (header, field) in [("ce_id", "event_id"), ("ce_source", "source")] {
            if let Some(Value::String(text)) = payload.remove(field) {
                headers.push((header, text));
            }
        }
    }
    let mut key = Some(event.member.to_string());
    let mut partition = Partition::OfKey;
    match rng.u8(0..250) {
        0 | 1 => partition = Partition::Wrong,
        // 15-character ids: it is somebody, but not in the form that routes.
        2 => key = Some(format!("{}_{}", short(event.member.campaign.as_str()), short(event.member.person.as_str()))),
        3 => key = None,
        4 => key = Some(somebody.to_string()),
        _ => {}
    }
    let value = Some(bytes(rng, event.kind, payload));
    Record {
        feed: Feed::Events(event.kind),
        key: key.map(String::into_bytes),
        partition,
        timestamp: None,
        headers,
        value,
    }
}

/// Avro or JSON, whatever comes.
pub fn bytes(rng: &mut Rng, kind: EventKind, payload: Payload) -> Vec<u8> {
    if rng.bool() { single_object(schema(kind), payload) } else { Value::from(payload).to_string().into_bytes() }
}

fn single_object(schema: &Embedded, payload: Payload) -> Vec<u8> {
    let value = apache_avro::types::Value::from(Value::from(payload));
    let value = value.resolve(&schema.schema).expect("the payload has the fields of its schema");
    let body = apache_avro::to_avro_datum(&schema.schema, value).expect("a resolved value is written");
    [schema.header.as_slice(), &body].concat()
}

fn schema(kind: EventKind) -> &'static Embedded {
    match kind {
        EventKind::Registration => &avro::REGISTRATION,
        EventKind::Attendance => &avro::ATTENDANCE,
        EventKind::Poll => &avro::POLL,
        EventKind::Reaction => &avro::REACTION,
        EventKind::View => &avro::VIEW,
    }
}

/// The id without the suffix that follows from it.
fn short(id: &str) -> &str {
    id.get(..15).unwrap_or(id)
}

/// What the producer would say of the event.
pub fn payload(rng: &mut Rng, event: &Event<'_>) -> Payload {
    let short_ids = rng.u8(0..20) == 0;
    let id = |id: &str| if short_ids { short(id).to_owned() } else { id.to_owned() };
    let padded = rng.u8(0..20) == 0;
    let entry_id = event.entry_id.as_deref().map(|id| if padded { format!(" {id}\u{a0}") } else { id.to_owned() });
    let common = json!({
        "event_id": event.event_id,
        "source": event.source,
        "occurred_at": event.occurred_at,
        "campaign_id": id(event.member.campaign.as_str()),
        "lead_id": id(event.member.person.as_str()),
        "email": event.email,
        "user": event.user,
        "entry_id": entry_id,
        "entry_name": event.entry_name,
        "channel_id": event.channel_id,
        "channel_name": event.channel_name,
    });
    let own = match &event.act {
        Act::Registration(action) => registration(rng, *action),
        Act::Poll(answer) => poll(rng, answer),
        Act::Reaction(reaction) => reaction_fields(reaction),
        Act::View(view) => view_fields(rng, event, view),
        Act::Visit { .. } | Act::Join { .. } | Act::Leave { .. } | Act::Presence { .. } | Act::Device { .. } => {
            attendance(&event.act)
        }
    };
    let fields = [common, own].into_iter().filter_map(|fields| match fields {
        Value::Object(fields) => Some(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    });
    fields.flatten().filter(|(_, value)| !value.is_null()).collect()
}

fn registration(rng: &mut Rng, action: RegistrationAction) -> Value {
    let symbol = match action {
        RegistrationAction::Created => "CREATED",
        RegistrationAction::Invited if rng.bool() => "INVITED_TO_REGISTER",
        RegistrationAction::Invited => "INVITED",
        RegistrationAction::Registered => "REGISTERED",
        RegistrationAction::AutoConfirmed => "AUTO_CONFIRMED",
        RegistrationAction::Confirmed => "CONFIRMED",
        RegistrationAction::Unregistered => "UNREGISTERED",
        RegistrationAction::Blocked => "BLOCKED",
        RegistrationAction::Unblocked => "UNBLOCKED",
        RegistrationAction::GuestAdded => "GUEST_ADDED",
        RegistrationAction::AttendeeAdded => "ATTENDEE_ADDED",
        RegistrationAction::EmailSent => "EMAIL_SENT",
        RegistrationAction::EmailOpened => "EMAIL_OPENED",
        RegistrationAction::LinkClicked => "LINK_CLICKED",
        RegistrationAction::EmailOptedOut => "EMAIL_OPTED_OUT",
    };
    json!({ "action": symbol, "utm_source": rng.bool().then_some("newsletter"), "fields": { "tshirt": "M" } })
}

fn attendance(act: &Act<'_>) -> Value {
    match act {
        Act::Visit { phase } => {
            let phase = phase.map(|phase| match phase {
                VisitPhase::PreEvent => "PRE_EVENT",
                VisitPhase::During => "DURING",
            });
            json!({ "action": "VISIT", "phase": phase })
        }
        Act::Join { connection } => json!({ "action": "JOIN", "connection_id": connection }),
        Act::Leave { connection } => json!({ "action": "LEAVE", "connection_id": connection }),
        Act::Presence { connection, start, end } => {
            json!({ "action": "PRESENCE", "connection_id": connection, "started_at": start, "ended_at": end })
        }
        Act::Device { connection, device, on } => {
            let action = match (device, on) {
                (Device::Mic, true) => "MIC_ON",
                (Device::Mic, false) => "MIC_OFF",
                (Device::Cam, true) => "CAM_ON",
                (Device::Cam, false) => "CAM_OFF",
            };
            json!({ "action": action, "connection_id": connection })
        }
        Act::Registration(_) | Act::Poll(_) | Act::Reaction(_) | Act::View(_) => Value::Null,
    }
}

fn poll(rng: &mut Rng, poll: &PollAnswer<'_>) -> Value {
    let answer = match (poll.answer.is_empty(), poll.answer.contains("; ")) {
        (true, _) => rng.choice([json!(null), json!(""), json!([])]).unwrap_or_default(),
        (false, true) => poll.answer.split("; ").collect(),
        (false, false) => poll.answer.as_ref().into(),
    };
    json!({
        "poll_id": poll.poll_id,
        "poll_type": poll.poll_type,
        "question": poll.question,
        "answer": answer,
        "position": poll.position,
    })
}

fn reaction_fields(reaction: &Reaction<'_>) -> Value {
    match reaction {
        Reaction::Clap => json!({ "reaction": "CLAP" }),
        Reaction::Heart => json!({ "reaction": "HEART" }),
        Reaction::Think => json!({ "reaction": "THINK" }),
        Reaction::Wow => json!({ "reaction": "WOW" }),
        Reaction::Smile => json!({ "reaction": "SMILE" }),
        Reaction::RaiseHand => json!({ "reaction": "RAISE_HAND" }),
        Reaction::AddToCalendar => json!({ "reaction": "ADD_TO_CALENDAR" }),
        Reaction::Message { message_id } => json!({ "reaction": "MESSAGE", "message_id": message_id }),
        Reaction::Question { thread_id } => json!({ "reaction": "QUESTION", "thread_id": thread_id, "text": "Why?" }),
    }
}

fn view_fields(rng: &mut Rng, event: &Event<'_>, view: &View<'_>) -> Value {
    let recorded = if rng.bool() { "ON_DEMAND" } else { "REPLAY" };
    // What is left out means the same as what is said.
    let started_at = (view.start != event.occurred_at || rng.bool()).then_some(view.start);
    let mut flag = |on: bool| (on || rng.bool()).then_some(on);
    json!({
        "mode": if view.live { "LIVE" } else { recorded },
        "play_id": view.play_id,
        "started_at": started_at,
        "ended_at": view.end,
        "playhead_start_ms": view.playhead.map(|(from, _)| from),
        "playhead_end_ms": view.playhead.map(|(_, to)| to),
        "in_focus": flag(view.in_focus),
        "full_screen": flag(view.full_screen),
        "sound_on": flag(view.sound_on),
    })
}
