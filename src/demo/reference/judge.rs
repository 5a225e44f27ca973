//! What a record says, decided a second time: refused, ignored, or an event, each as the contract has it.
//!
//! It knows the contract (the texts of the schemas, and the rules of docs/producing.md) and nothing of the decoder: a
//! record is read whole into a tree of JSON first, whatever it was written as, and the rules are asked one after the
//! other. Were the reference given what the decoder lets through, a record that is wrongly refused would be missing on
//! both sides, and what is wrongly read would be wrong on both sides; nobody would notice.

use super::Record;
use super::contract::Registered;
use super::event::{Act, Answer, Device, Event, Member, Reaction, Session, Statement, Subject, View};
use super::measure;
use super::read::{Read, read};
use crate::event::EventKind;

/// 1 January 2000, UTC.
const EARLIEST: i128 = 946_684_800_000;
const DAY: i128 = 86_400_000;

/// What becomes of a record on a topic of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Accepted(Box<Event>),
    Ignored(&'static str),
    Refused(&'static str),
}

/// Decides, by the contract alone. Values are below the size limit.
pub fn judge(kind: EventKind, record: &Record<'_>, registered: &Registered) -> Judgement {
    let decided = || {
        let read = read(record, record.value.ok_or("no_value")?, registered)?;
        refused(Some(kind), record, &read)?;
        Ok(ignored(kind, &read).map_or_else(
            || event(kind, &read).map_or(Judgement::Refused("no_event"), |event| Judgement::Accepted(Box::new(event))),
            Judgement::Ignored,
        ))
    };
    decided().unwrap_or_else(Judgement::Refused)
}

/// What a record of the sessions topic says, or the code of its refusal.
pub fn statement(record: &Record<'_>, registered: &Registered) -> Result<Statement, &'static str> {
    let Some(value) = record.value else {
        let key = record.key.and_then(|key| std::str::from_utf8(key).ok()).ok_or("campaign_id_missing")?;
        let (campaign, entry_id) = key.split_once('_').unwrap_or((key, ""));
        first(&[(campaign.trim().is_empty(), "campaign_id_missing")])?;
        let campaign = id_of(campaign, &["701"]).ok_or("campaign_id_invalid")?;
        let entry_id = Some(entry_id.trim().to_owned()).filter(|id| !id.is_empty());
        return Ok(Statement::Forgets(Subject { campaign, entry_id }));
    };
    let read = read(record, value, registered)?;
    refused(None, record, &read)?;
    session(&read).map(Statement::Says).ok_or("no_statement")
}

/// The first reason to refuse, in the order of the contract. Without a kind: a statement of the catalogue.
fn refused(kind: Option<EventKind>, record: &Record<'_>, read: &Read) -> Result<(), &'static str> {
    let time = |name: &str| read.time(name).map(i128::from);
    let at = if kind.is_some() { time("occurred_at") } else { time("updated_at") };
    let (campaign, person) = (read.as_sent("campaign_id"), read.as_sent("lead_id"));
    let lacking = [
        (read.as_sent("event_id").is_none(), "event_id_missing"),
        (read.as_sent("source").is_none(), "source_missing"),
        (at.is_none(), "occurred_at_missing"),
        (kind == Some(EventKind::Poll) && read.as_sent("poll_id").is_none(), "poll_id_missing"),
        (campaign.is_none(), "campaign_id_missing"),
        (campaign.is_some_and(|id| id_of(id, &["701"]).is_none()), "campaign_id_invalid"),
        (kind.is_some() && person.is_none(), "person_id_missing"),
        (person.is_some_and(|id| id_of(id, &["00Q", "003"]).is_none()), "person_id_invalid"),
    ];
    first(&lacking)?;
    let at = at.unwrap_or_default();
    let (started_at, ended_at) = (time("started_at"), time("ended_at"));
    let interval = kind == Some(EventKind::View) || read.symbol("action") == Some(Ok("PRESENCE"));
    let length = ended_at.map(|end| end - started_at.unwrap_or(at)).filter(|_| interval);
    let times = || [Some(at), started_at, ended_at].into_iter().flatten();
    let latest = record.timestamp.map(|at| i128::from(at) + DAY);
    first(&[
        (length.is_some_and(|length| length < 0), "interval_reversed"),
        (length.is_some_and(|length| length > DAY), "interval_too_long"),
        (times().any(|time| time < EARLIEST), "time_too_early"),
        (latest.is_some_and(|latest| times().any(|time| time > latest)), "time_too_late"),
        (read.too_long, "text_too_long"),
    ])
}

fn first(reasons: &[(bool, &'static str)]) -> Result<(), &'static str> {
    reasons.iter().find(|(holds, _)| *holds).map_or(Ok(()), |(_, code)| Err(code))
}

/// Why an event changes nothing: first what it is, then what it lacks.
fn ignored(kind: EventKind, read: &Read) -> Option<&'static str> {
    let field = match kind {
        EventKind::Registration | EventKind::Attendance => "action",
        EventKind::Reaction => "reaction",
        EventKind::View => "mode",
        EventKind::Poll => "",
    };
    let symbol = match read.symbol(field) {
        Some(Ok(symbol)) => symbol,
        _ if kind == EventKind::Poll => "",
        Some(Err(_)) | None => return Some("unknown_symbol"),
    };
    let phase_unknown = matches!(read.symbol("phase"), Some(Err(phase)) if !phase.trim().is_empty());
    match symbol {
        "VISIT" if phase_unknown => return Some("unknown_symbol"),
        "LOWER_HAND" => return Some("lowered_hand"),
        "DOCUMENT" => return Some("document_view"),
        _ => {}
    }
    let needs_entry = kind != EventKind::Registration && symbol != "VISIT";
    (needs_entry && read.text("entry_id").is_none()).then_some("no_entry")
}

/// What was neither refused nor ignored.
fn event(kind: EventKind, read: &Read) -> Option<Event> {
    Some(Event {
        member: Member {
            campaign: id_of(read.as_sent("campaign_id")?, &["701"])?,
            person: id_of(read.as_sent("lead_id")?, &["00Q", "003"])?,
        },
        source: read.as_sent("source")?.to_owned(),
        event_id: read.as_sent("event_id")?.to_owned(),
        occurred_at: read.time("occurred_at")?,
        entry_id: read.text("entry_id"),
        entry_name: read.text("entry_name"),
        channel_id: read.number("channel_id"),
        channel_name: read.text("channel_name"),
        email: read.text("email").filter(|text| measure::email(text).is_some()),
        user: read.text("user"),
        act: act(kind, read)?,
    })
}

fn act(kind: EventKind, read: &Read) -> Option<Act> {
    let symbol = |name: &str| read.symbol(name).and_then(Result::ok).map(str::to_owned);
    Some(match kind {
        EventKind::Registration => Act::Registration(symbol("action")?),
        EventKind::Attendance => attendance(&symbol("action")?, symbol("phase"), read)?,
        EventKind::Poll => Act::Poll(Answer {
            poll_id: read.text("poll_id")?,
            poll_type: read.text("poll_type"),
            question: read.text("question"),
            answer: read.text("answer").unwrap_or_default(),
            position: read.number("position"),
        }),
        EventKind::Reaction => {
            let symbol = symbol("reaction")?;
            let message_id = read.text("message_id").filter(|_| symbol == "MESSAGE");
            let thread_id = read.text("thread_id").filter(|_| symbol == "QUESTION");
            Act::Reaction(Reaction { symbol, message_id, thread_id })
        }
        EventKind::View => Act::View(View {
            live: symbol("mode")? == "LIVE",
            play_id: read.text("play_id"),
            start: read.time("started_at").or(read.time("occurred_at"))?,
            end: read.time("ended_at"),
            playhead: read.number("playhead_start_ms").zip(read.number("playhead_end_ms")),
            in_focus: read.flag("in_focus"),
            full_screen: read.flag("full_screen"),
            sound_on: read.flag("sound_on"),
        }),
    })
}

fn attendance(action: &str, phase: Option<String>, read: &Read) -> Option<Act> {
    let connection = read.text("connection_id");
    let device = |device, on| Act::Device { connection: connection.clone(), device, on };
    Some(match action {
        "VISIT" => Act::Visit { phase },
        "JOIN" => Act::Join { connection },
        "LEAVE" => Act::Leave { connection },
        "PRESENCE" => {
            let start = read.time("started_at").or(read.time("occurred_at"))?;
            Act::Presence { connection, start, end: read.time("ended_at") }
        }
        "MIC_ON" => device(Device::Mic, true),
        "MIC_OFF" => device(Device::Mic, false),
        "CAM_ON" => device(Device::Cam, true),
        "CAM_OFF" => device(Device::Cam, false),
        _ => return None,
    })
}

fn session(read: &Read) -> Option<Session> {
    let campaign = id_of(read.as_sent("campaign_id")?, &["701"])?;
    Some(Session {
        subject: Subject { campaign, entry_id: read.text("entry_id") },
        updated_at: read.time("updated_at")?,
        source: read.as_sent("source")?.to_owned(),
        event_id: read.as_sent("event_id")?.to_owned(),
        name: read.text("name"),
        channel_id: read.number("channel_id"),
        channel_name: read.text("channel_name"),
        scheduled_start: read.time("scheduled_start"),
        scheduled_end: read.time("scheduled_end"),
        actual_start: read.time("actual_start"),
        actual_end: read.time("actual_end"),
        duration_ms: read.number("duration_ms"),
    })
}

/// With 18 characters. None: not 15 or 18 ASCII letters and digits that begin so; of 18 the last three follow from the
/// case of the others.
fn id_of(text: &str, prefixes: &[&str]) -> Option<String> {
    let legal = text.chars().all(|c| c.is_ascii_alphanumeric()) && prefixes.iter().any(|it| text.starts_with(it));
    let head = text.get(..15).filter(|_| legal)?;
    let letter = |five: &[u8]| {
        let bits = five.iter().rev().fold(0, |bits, byte| bits * 2 + usize::from(byte.is_ascii_uppercase()));
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345".get(bits).map(|letter| char::from(*letter))
    };
    let suffix: String = head.as_bytes().chunks(5).map_while(letter).collect();
    let whole = format!("{head}{suffix}");
    (text.len() == 15 || text == whole).then_some(whole)
}
