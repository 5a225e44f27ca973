//! What was read, judged: the order of refusals, then what is ignored, then the event.
//!
//! The order is part of the contract, since a record may be wrong in several ways and two implementations have to
//! name the same one: identity, poll, campaign, person, interval, times, texts. Refused comes before ignored. Where
//! two reasons to ignore apply, what the event is (symbol, hand, document) comes before what it lacks (entry).

use std::borrow::Cow;

use crate::id::{MemberKey, SalesforceId};
use crate::lattice::Name;
use crate::time::Millis;

use super::slots::{FlagSlot, NumberSlot, Phase, Slots, Symbol, TEXT_BYTES_MAX, TextSlot, blank, trimmed};
use super::{
    Act, Decoded, DecodedSession, Device, Event, EventKind, IgnoreReason, Ignored, PollAnswer, Reaction, Refusal,
    RefusalReason, Session, SessionKey, View,
};

/// 2000-01-01T00:00:00Z.
const EARLIEST: Millis = 946_684_800_000;

/// Longest interval, and how far a time may lie after its record's own timestamp.
const DAY: Millis = 24 * 60 * 60 * 1000;

/// Longest email address, in UTF-16 units.
const EMAIL_UNITS_MAX: usize = 80;

/// One event of a kind.
pub(super) fn event<'r>(kind: EventKind, slots: &mut Slots<'r>, timestamp: Option<Millis>) -> Decoded<'r> {
    let mut identity = match judge(kind, slots, timestamp) {
        Ok(identity) => identity,
        Err(refusal) => return Decoded::Refused(refusal),
    };
    let act = match act(slots, &mut identity) {
        Ok(act) => act,
        Err(reason) => return Decoded::Ignored(Ignored::of(reason, kind, slots)),
    };
    let entry_id = slots.take_trimmed(TextSlot::EntryId).map(|id| Name::from(&*id));
    if entry_id.is_none() && needs_entry(&act) {
        return Decoded::Ignored(Ignored::of(IgnoreReason::NoEntry, kind, slots));
    }
    Decoded::Event(Event {
        member: identity.member,
        kind,
        source: identity.source,
        event_id: identity.event_id,
        occurred_at: identity.occurred_at,
        entry_id,
        entry_name: slots.take_trimmed(TextSlot::EntryName),
        channel_id: slots.number(NumberSlot::ChannelId),
        channel_name: slots.take_trimmed(TextSlot::ChannelName),
        email: slots.take_trimmed(TextSlot::Email).filter(|email| email_holds(email)),
        user: slots.take_trimmed(TextSlot::User),
        act,
    })
}

/// One statement of the session catalogue. Only its `updated_at` is held to the bounds of time: a session may be
/// planned for next year.
pub(super) fn session(slots: &mut Slots<'_>, timestamp: Option<Millis>) -> Result<DecodedSession, Refusal> {
    let (event_id, source) = origin(slots)?;
    let updated_at = slots
        .number(NumberSlot::OccurredAt)
        .ok_or_else(|| refusal(RefusalReason::OccurredAtMissing, "`updated_at` is absent"))?;
    let campaign = campaign(slots)?;
    check_times(&[("updated_at", Some(updated_at))], timestamp)?;
    check_texts(slots)?;
    let entry_id = slots.take_trimmed(TextSlot::EntryId).map(Cow::into_owned);
    Ok(DecodedSession::Session(Session {
        key: SessionKey { campaign, entry_id },
        updated_at,
        source: source.into_owned(),
        event_id: event_id.into_owned(),
        name: slots.take_trimmed(TextSlot::Name).map(Cow::into_owned),
        channel_id: slots.number(NumberSlot::ChannelId),
        channel_name: slots.take_trimmed(TextSlot::ChannelName).map(Cow::into_owned),
        scheduled_start: slots.number(NumberSlot::ScheduledStart),
        scheduled_end: slots.number(NumberSlot::ScheduledEnd),
        actual_start: slots.number(NumberSlot::ActualStart),
        actual_end: slots.number(NumberSlot::ActualEnd),
        duration_ms: slots.number(NumberSlot::Duration),
    }))
}

/// A session's record without a value: its key says what is no longer known.
pub(super) fn tombstone(key: Option<&[u8]>) -> Result<DecodedSession, Refusal> {
    let key = key.filter(|key| !key.is_empty());
    let key =
        key.ok_or_else(|| refusal(RefusalReason::CampaignIdMissing, "a record without value has no key either"))?;
    let parsed = std::str::from_utf8(key).ok().and_then(SessionKey::parse);
    parsed.map(DecodedSession::Tombstone).ok_or_else(|| {
        let detail = "the key of a record without value is neither a campaign id nor {campaign_id}_{entry_id}";
        refusal(RefusalReason::CampaignIdInvalid, detail)
    })
}

/// Who did what, when: all that an event cannot be without.
struct Identity<'r> {
    event_id: Cow<'r, str>,
    source: Cow<'r, str>,
    occurred_at: Millis,
    poll_id: Option<Cow<'r, str>>,
    member: MemberKey,
    start: Millis,
}

fn judge<'r>(kind: EventKind, slots: &mut Slots<'r>, timestamp: Option<Millis>) -> Result<Identity<'r>, Refusal> {
    let (event_id, source) = origin(slots)?;
    let occurred_at = slots
        .number(NumberSlot::OccurredAt)
        .ok_or_else(|| refusal(RefusalReason::OccurredAtMissing, "`occurred_at` is absent"))?;
    let poll_id = slots.take_trimmed(TextSlot::Poll);
    if kind == EventKind::Poll && poll_id.is_none() {
        return Err(refusal(RefusalReason::PollIdMissing, "`poll_id` is absent or blank"));
    }
    let member = MemberKey { campaign: campaign(slots)?, person: person(slots)? };
    let (started_at, ended_at) = (slots.number(NumberSlot::StartedAt), slots.number(NumberSlot::EndedAt));
    let start = started_at.unwrap_or(occurred_at);
    if kind == EventKind::View || slots.symbol == Symbol::Presence {
        check_interval(start, ended_at)?;
    }
    let times = [("occurred_at", Some(occurred_at)), ("started_at", started_at), ("ended_at", ended_at)];
    check_times(&times, timestamp)?;
    check_texts(slots)?;
    Ok(Identity { event_id, source, occurred_at, poll_id, member, start })
}

fn origin<'r>(slots: &mut Slots<'r>) -> Result<(Cow<'r, str>, Cow<'r, str>), Refusal> {
    let event_id = slots
        .take_as_sent(TextSlot::EventId)
        .ok_or_else(|| refusal(RefusalReason::EventIdMissing, "`event_id` is absent or blank, and so is ce_id"))?;
    let source = slots
        .take_as_sent(TextSlot::Source)
        .ok_or_else(|| refusal(RefusalReason::SourceMissing, "`source` is absent or blank, and so is ce_source"))?;
    Ok((event_id, source))
}

fn campaign(slots: &Slots<'_>) -> Result<SalesforceId, Refusal> {
    let text = slots.text(TextSlot::CampaignId).filter(|text| !blank(text));
    let text = text.ok_or_else(|| refusal(RefusalReason::CampaignIdMissing, "`campaign_id` is absent or blank"))?;
    salesforce_id(text, &["701"])
        .map_err(|why| refusal(RefusalReason::CampaignIdInvalid, format!("`campaign_id` {why}")))
}

fn person(slots: &Slots<'_>) -> Result<SalesforceId, Refusal> {
    let text = slots.text(TextSlot::PersonId).filter(|text| !blank(text));
    let text = text.ok_or_else(|| refusal(RefusalReason::PersonIdMissing, "`lead_id` is absent or blank"))?;
    salesforce_id(text, &["00Q", "003"])
        .map_err(|why| refusal(RefusalReason::PersonIdInvalid, format!("`lead_id` {why}")))
}

fn salesforce_id(text: &str, prefixes: &[&str]) -> Result<SalesforceId, String> {
    let Some(id) = SalesforceId::parse(text) else {
        return Err(match text.chars().count() {
            18 if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                "has a suffix that does not fit its first 15 characters".to_owned()
            }
            15 | 18 => "has other characters than ASCII letters and digits".to_owned(),
            count => format!("has {count} characters, not 15 or 18"),
        });
    };
    if prefixes.iter().any(|prefix| id.has_prefix(prefix)) {
        Ok(id)
    } else {
        Err(format!("does not begin with {}", prefixes.join(" or ")))
    }
}

fn check_interval(start: Millis, end: Option<Millis>) -> Result<(), Refusal> {
    let Some(end) = end else { return Ok(()) };
    if end < start {
        return Err(refusal(RefusalReason::IntervalReversed, format!("`ended_at` {end} is before the start {start}")));
    }
    if end.saturating_sub(start) > DAY {
        let detail = format!("`ended_at` {end} is more than 24 hours after the start {start}");
        return Err(refusal(RefusalReason::IntervalTooLong, detail));
    }
    Ok(())
}

/// Whatever is too early is said before anything that is too late.
fn check_times(times: &[(&str, Option<Millis>)], timestamp: Option<Millis>) -> Result<(), Refusal> {
    let known = || times.iter().filter_map(|(field, time)| time.map(|time| (field, time)));
    if let Some((field, time)) = known().find(|(_, time)| *time < EARLIEST) {
        return Err(refusal(RefusalReason::TimeTooEarly, format!("`{field}` {time} is before 2000")));
    }
    let Some(timestamp) = timestamp else { return Ok(()) };
    let latest = timestamp.saturating_add(DAY);
    match known().find(|(_, time)| *time > latest) {
        None => Ok(()),
        Some((field, time)) => {
            let detail = format!("`{field}` {time} is more than 24 hours after the record's timestamp {timestamp}");
            Err(refusal(RefusalReason::TimeTooLate, detail))
        }
    }
}

fn check_texts(slots: &Slots<'_>) -> Result<(), Refusal> {
    match slots.too_long {
        None => Ok(()),
        Some(field) => {
            let detail = format!("a text of `{field}` has more than {TEXT_BYTES_MAX} bytes");
            Err(refusal(RefusalReason::TextTooLong, detail))
        }
    }
}

pub(super) fn refusal(reason: RefusalReason, detail: impl Into<String>) -> Refusal {
    Refusal { reason, detail: detail.into() }
}

fn act<'r>(slots: &mut Slots<'r>, identity: &mut Identity<'r>) -> Result<Act<'r>, IgnoreReason> {
    let connection = slots.take_trimmed(TextSlot::Connection);
    let device = |connection, device, on| Act::Device { connection, device, on };
    Ok(match slots.symbol {
        // A poll has no symbol.
        Symbol::Unknown => match identity.poll_id.take() {
            Some(poll_id) => Act::Poll(poll(slots, poll_id)),
            None => return Err(IgnoreReason::UnknownSymbol),
        },
        Symbol::Registration(action) => Act::Registration(action),
        Symbol::Visit => match slots.phase {
            None => Act::Visit { phase: None },
            Some(Phase::Known(phase)) => Act::Visit { phase: Some(phase) },
            Some(Phase::Unknown) => return Err(IgnoreReason::UnknownSymbol),
        },
        Symbol::Join => Act::Join { connection },
        Symbol::Leave => Act::Leave { connection },
        Symbol::Presence => Act::Presence { connection, start: identity.start, end: slots.number(NumberSlot::EndedAt) },
        Symbol::MicOn => device(connection, Device::Mic, true),
        Symbol::MicOff => device(connection, Device::Mic, false),
        Symbol::CamOn => device(connection, Device::Cam, true),
        Symbol::CamOff => device(connection, Device::Cam, false),
        Symbol::Clap => Act::Reaction(Reaction::Clap),
        Symbol::Heart => Act::Reaction(Reaction::Heart),
        Symbol::Think => Act::Reaction(Reaction::Think),
        Symbol::Wow => Act::Reaction(Reaction::Wow),
        Symbol::Smile => Act::Reaction(Reaction::Smile),
        Symbol::RaiseHand => Act::Reaction(Reaction::RaiseHand),
        Symbol::LowerHand => return Err(IgnoreReason::LoweredHand),
        Symbol::AddToCalendar => Act::Reaction(Reaction::AddToCalendar),
        Symbol::Message => Act::Reaction(Reaction::Message { message_id: slots.take_trimmed(TextSlot::Message) }),
        Symbol::Question => Act::Reaction(Reaction::Question { thread_id: slots.take_trimmed(TextSlot::Thread) }),
        Symbol::Live => Act::View(view(slots, identity.start, true)),
        Symbol::Recorded => Act::View(view(slots, identity.start, false)),
        Symbol::Document => return Err(IgnoreReason::DocumentView),
    })
}

fn poll<'r>(slots: &mut Slots<'r>, poll_id: Cow<'r, str>) -> PollAnswer<'r> {
    PollAnswer {
        poll_id,
        poll_type: slots.take_trimmed(TextSlot::PollType),
        question: slots.take_trimmed(TextSlot::Question),
        answer: slots.answer.take().map(trimmed).unwrap_or_default(),
        position: slots.number(NumberSlot::Position),
    }
}

fn view<'r>(slots: &mut Slots<'r>, start: Millis, live: bool) -> View<'r> {
    View {
        live,
        play_id: slots.take_trimmed(TextSlot::Play),
        start,
        end: slots.number(NumberSlot::EndedAt),
        playhead: slots.number(NumberSlot::PlayheadStart).zip(slots.number(NumberSlot::PlayheadEnd)),
        in_focus: slots.flag(FlagSlot::InFocus),
        full_screen: slots.flag(FlagSlot::FullScreen),
        sound_on: slots.flag(FlagSlot::SoundOn),
    }
}

fn needs_entry(act: &Act<'_>) -> bool {
    !matches!(act, Act::Registration(_) | Act::Visit { .. })
}

/// Whether a trimmed text counts as an email address.
pub fn email_holds(email: &str) -> bool {
    let Some((user, host)) = email.split_once('@') else { return false };
    let blank_inside = email.contains(char::is_whitespace);
    let short_enough = email.len() <= EMAIL_UNITS_MAX || email.encode_utf16().count() <= EMAIL_UNITS_MAX;
    !user.is_empty() && !host.is_empty() && !host.contains('@') && !blank_inside && short_enough
}
