//! The row of `UserSessionEngagement__c` of one member and entry.

use std::collections::BTreeSet;

use serde_json::Value;

use super::event::{Act, Device, Event, Millis, Reaction, View};
use super::measure::{self, Span, count, cut, minutes, percent, ratio};
use super::{Entry, Fields, common_fields, newest, polls};

/// Largest number of a `Number(18, 0)`.
const NUMBER_18_MAX: u64 = 999_999_999_999_999_999;

/// None: nothing yet that makes a row, or a number that its field cannot hold.
pub fn fields(entry: &Entry<'_>) -> Option<Fields> {
    if !entry.events.iter().any(|event| makes_a_row(event)) {
        return None;
    }
    let session = entry.session;
    let event_channel = || newest::of(&entry.events, |event| event.channel_id);
    let channel_id = session.and_then(|session| session.channel_id).or_else(event_channel);
    if channel_id.is_some_and(|id| id.unsigned_abs() > NUMBER_18_MAX) {
        return None;
    }
    let catalogue_channel = session.and_then(|session| session.channel_name.as_deref()).and_then(measure::not_blank);
    let event_channel_name = || newest::text(&entry.events, |event| event.channel_name.as_deref());

    let mut fields = common_fields(entry);
    let mut set = |name: &str, value: Value| {
        fields.insert(format!("{name}__c"), value);
    };
    set("user", cut(newest::text(&entry.events, |event| event.user.as_deref()), 200));
    set("channel_id", channel_id.map_or(Value::Null, Value::from));
    set("channel_name", cut(catalogue_channel.or_else(event_channel_name), 200));
    set("mic_on", minutes(measure::union(&switched_on(entry, Device::Mic))));
    set("cam_on", minutes(measure::union(&switched_on(entry, Device::Cam))));
    set("answered_polls", count(polls::answered(entry)));
    fields.extend(watched(entry));
    fields.extend(reactions(entry));
    Some(fields)
}

fn makes_a_row(event: &Event) -> bool {
    match event.act {
        Act::Registration(_) | Act::Visit { .. } => false,
        Act::Join { .. }
        | Act::Leave { .. }
        | Act::Presence { .. }
        | Act::Device { .. }
        | Act::Poll(_)
        | Act::Reaction(_)
        | Act::View(_) => true,
    }
}

/// How attentively a moment was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    No,
    Low,
    Fair,
    Good,
    High,
}

fn level(view: &View) -> Level {
    match (view.in_focus, view.full_screen, view.sound_on) {
        (true, true, _) => Level::High,
        (true, false, true) => Level::Good,
        (false, _, true) => Level::Fair,
        (true, false, false) => Level::Low,
        (false, _, false) => Level::No,
    }
}

fn watched(entry: &Entry<'_>) -> Fields {
    let views: Vec<&View> = entry.events.iter().filter_map(|event| view(event)).collect();
    let (live, recorded): (Vec<&View>, Vec<&View>) = views.iter().partition(|view| view.live);
    let levels: Vec<(Span, Level)> =
        live.iter().filter_map(|view| Some((span(view.start, view.end?), level(view)))).collect();
    let live_spans: Vec<Span> = levels.iter().map(|(span, _)| *span).collect();
    let live_time = measure::union(&live_spans);
    let at = |wanted: Level| -> i128 {
        let pieces = measure::pieces(&live_spans).into_iter();
        let at_level = pieces.filter(|&piece| measure::covering(&levels, piece).max() == Some(&wanted));
        at_level.map(Span::length).sum()
    };
    let recorded_spans: Vec<Span> =
        recorded.iter().filter_map(|view| view.end.map(|end| span(view.start, end))).collect();
    let plays: BTreeSet<&str> = views.iter().filter_map(|view| view.play_id.as_deref()).collect();
    [
        ("plays__c", count(plays.len())),
        ("vod_minutes_viewed__c", minutes(measure::union(&recorded_spans))),
        ("live_minutes_viewed__c", minutes(live_time)),
        ("total_vod_completion_rate__c", completion(entry, &recorded)),
        ("no_live_engagement_rate__c", percent(at(Level::No), live_time)),
        ("low_live_engagement_rate__c", percent(at(Level::Low), live_time)),
        ("fair_live_engagement_rate__c", percent(at(Level::Fair), live_time)),
        ("good_live_engagement_rate__c", percent(at(Level::Good), live_time)),
        ("high_live_engagement_rate__c", percent(at(Level::High), live_time)),
        ("combined_live_engaged_users_play_time_ratio__c", ratio(at(Level::Good) + at(Level::High), live_time)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn completion(entry: &Entry<'_>, recorded: &[&View]) -> Value {
    let duration = entry.session.and_then(|session| session.duration_ms);
    let Some(duration) = duration.filter(|&duration| duration > 0) else { return Value::Null };
    let playheads: Vec<Span> = recorded
        .iter()
        .filter_map(|view| view.playhead)
        .filter(|(from, to)| from < to)
        .map(|(from, to)| span(from.clamp(0, duration), to.clamp(0, duration)))
        .collect();
    percent(measure::union(&playheads), duration.into())
}

fn reactions(entry: &Entry<'_>) -> Fields {
    let distinct = |wanted: &str| {
        let events = entry.events.iter().filter(|event| reaction(event).is_some_and(|it| it.symbol == wanted));
        events.map(|event| newest::identity(event)).collect::<BTreeSet<_>>().len()
    };
    let clicks = [
        ("clap_clicked_count__c", distinct("CLAP")),
        ("heart_clicked_count__c", distinct("HEART")),
        ("think_clicked_count__c", distinct("THINK")),
        ("wow_clicked_count__c", distinct("WOW")),
        ("smile_clicked_count__c", distinct("SMILE")),
    ];
    let others = [
        ("total_reactions_activity__c", clicks.iter().map(|(_, clicks)| clicks).sum()),
        ("raise_hand__c", distinct("RAISE_HAND")),
        ("add_to_calendar__c", distinct("ADD_TO_CALENDAR")),
        ("messages_sent_group__c", messages(entry)),
        ("qna_threads__c", threads(entry)),
    ];
    clicks.into_iter().chain(others).map(|(name, items)| (name.to_owned(), count(items))).collect()
}

/// A message or thread: by an id of its own, or else by that of its event.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Named<'e> {
    Own(&'e str),
    Event((&'e str, &'e str)),
}

impl<'e> Named<'e> {
    fn of(own: Option<&'e str>, event: &'e Event) -> Self {
        own.map_or_else(|| Self::Event(newest::identity(event)), Self::Own)
    }
}

fn messages(entry: &Entry<'_>) -> usize {
    named(entry, "MESSAGE", |message| message.message_id.as_deref())
}

fn threads(entry: &Entry<'_>) -> usize {
    named(entry, "QUESTION", |question| question.thread_id.as_deref())
}

fn named(entry: &Entry<'_>, symbol: &str, own: fn(&Reaction) -> Option<&str>) -> usize {
    let sent = entry.events.iter().filter_map(|event| {
        let reaction = reaction(event).filter(|reaction| reaction.symbol == symbol)?;
        Some(Named::of(own(reaction), event))
    });
    sent.collect::<BTreeSet<_>>().len()
}

/// A device switched on ends at the first switching off or leave of its connection at or after it; without one at the
/// session's end, or at the last sign of life where the catalogue does not tell that end.
fn switched_on(entry: &Entry<'_>, wanted: Device) -> Vec<Span> {
    let session_end = entry.session.and_then(|session| session.actual_end);
    let mut spans = Vec::new();
    for event in &entry.events {
        let Act::Device { connection, device, on: true } = &event.act else { continue };
        if *device != wanted {
            continue;
        }
        let on_at = event.occurred_at;
        let ends = entry.events.iter().filter_map(|event| device_end(event, wanted, connection.as_deref()));
        let first_end = ends.filter(|&end| end >= on_at).min();
        let end = first_end.or(session_end).or_else(|| last_sign_of_life(entry));
        spans.extend(end.filter(|&end| end > on_at).map(|end| span(on_at, end)));
    }
    spans
}

/// When this event switches the device of that connection off.
fn device_end(event: &Event, wanted: Device, wanted_connection: Option<&str>) -> Option<Millis> {
    let (connection, at) = match &event.act {
        Act::Device { connection, device, on: false } if *device == wanted => (connection, event.occurred_at),
        Act::Leave { connection } => (connection, event.occurred_at),
        Act::Presence { connection, end: Some(end), .. } => (connection, *end),
        Act::Device { .. }
        | Act::Presence { .. }
        | Act::Registration(_)
        | Act::Visit { .. }
        | Act::Join { .. }
        | Act::Poll(_)
        | Act::Reaction(_)
        | Act::View(_) => return None,
    };
    (connection.as_deref() == wanted_connection).then_some(at)
}

/// The latest time of an event, a presence being a join at its start, or the latest end of an interval.
fn last_sign_of_life(entry: &Entry<'_>) -> Option<Millis> {
    let signs = entry.events.iter().flat_map(|event| [Some(event.occurred_at), joined_at(event), interval_end(event)]);
    signs.flatten().max()
}

fn joined_at(event: &Event) -> Option<Millis> {
    if let Act::Presence { start, .. } = &event.act { Some(*start) } else { None }
}

fn interval_end(event: &Event) -> Option<Millis> {
    if let Act::Presence { end, .. } | Act::View(View { end, .. }) = &event.act { *end } else { None }
}

fn view(event: &Event) -> Option<&View> {
    if let Act::View(view) = &event.act { Some(view) } else { None }
}

fn reaction(event: &Event) -> Option<&Reaction> {
    if let Act::Reaction(reaction) = &event.act { Some(reaction) } else { None }
}

fn span(start: i64, end: i64) -> Span {
    Span { start, end }
}
