//! What the decoder tells, in the reference's words.

use std::borrow::Cow;

use rollbook::demo::conference::Statement;
use rollbook::demo::reference::Judgement;
use rollbook::demo::reference::event as told;
use rollbook::event::{Act, Decoded, Device, Event, Reaction, RegistrationAction, Session, SessionKey, VisitPhase};

/// What the decoder made of a record, in the reference's words.
pub fn judged(decoded: &Decoded<'_>) -> Judgement {
    match decoded {
        Decoded::Event(event) => Judgement::Accepted(Box::new(in_words(event))),
        Decoded::Ignored(ignored) => Judgement::Ignored(ignored.reason.code()),
        Decoded::Refused(refusal) => Judgement::Refused(refusal.reason.code()),
    }
}

/// The decoder's event in the reference's words.
pub fn in_words(event: &Event<'_>) -> told::Event {
    let own = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
    told::Event {
        member: told::Member { campaign: event.member.campaign.to_string(), person: event.member.person.to_string() },
        source: event.source.clone().into_owned(),
        event_id: event.event_id.clone().into_owned(),
        occurred_at: event.occurred_at,
        entry_id: event.entry_id.as_deref().map(str::to_owned),
        entry_name: own(&event.entry_name),
        channel_id: event.channel_id,
        channel_name: own(&event.channel_name),
        email: own(&event.email),
        user: own(&event.user),
        act: act_in_words(&event.act),
    }
}

fn act_in_words(act: &Act<'_>) -> told::Act {
    let own = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
    match act {
        Act::Registration(action) => told::Act::Registration(symbol_of(*action).to_owned()),
        Act::Visit { phase } => told::Act::Visit {
            phase: phase.map(|phase| if phase == VisitPhase::During { "DURING" } else { "PRE_EVENT" }.to_owned()),
        },
        Act::Join { connection } => told::Act::Join { connection: own(connection) },
        Act::Leave { connection } => told::Act::Leave { connection: own(connection) },
        Act::Presence { connection, start, end } => {
            told::Act::Presence { connection: own(connection), start: *start, end: *end }
        }
        Act::Device { connection, device, on } => {
            let device = if *device == Device::Mic { told::Device::Mic } else { told::Device::Cam };
            told::Act::Device { connection: own(connection), device, on: *on }
        }
        Act::Poll(poll) => told::Act::Poll(told::Answer {
            poll_id: poll.poll_id.clone().into_owned(),
            poll_type: own(&poll.poll_type),
            question: own(&poll.question),
            answer: poll.answer.clone().into_owned(),
            position: poll.position,
        }),
        Act::Reaction(reaction) => told::Act::Reaction(reaction_in_words(reaction)),
        Act::View(view) => told::Act::View(told::View {
            live: view.live,
            play_id: own(&view.play_id),
            start: view.start,
            end: view.end,
            playhead: view.playhead,
            in_focus: view.in_focus,
            full_screen: view.full_screen,
            sound_on: view.sound_on,
        }),
    }
}

/// Two kinds of invitation are one fact to the decoder.
fn symbol_of(action: RegistrationAction) -> &'static str {
    match action {
        RegistrationAction::Created => "CREATED",
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
    }
}

fn reaction_in_words(reaction: &Reaction<'_>) -> told::Reaction {
    let (mut message, mut thread) = (None, None);
    let symbol = match reaction {
        Reaction::Clap => "CLAP",
        Reaction::Heart => "HEART",
        Reaction::Think => "THINK",
        Reaction::Wow => "WOW",
        Reaction::Smile => "SMILE",
        Reaction::RaiseHand => "RAISE_HAND",
        Reaction::AddToCalendar => "ADD_TO_CALENDAR",
        Reaction::Message { message_id } => {
            message = message_id.as_deref().map(str::to_owned);
            "MESSAGE"
        }
        Reaction::Question { thread_id } => {
            thread = thread_id.as_deref().map(str::to_owned);
            "QUESTION"
        }
    };
    told::Reaction { symbol: symbol.to_owned(), message_id: message, thread_id: thread }
}

/// The reference's reading as the decoder can tell it: two kinds of invitation are one fact.
pub fn as_it_counts(judgement: Judgement) -> Judgement {
    let Judgement::Accepted(mut event) = judgement else { return judgement };
    if event.act == told::Act::Registration("INVITED_TO_REGISTER".to_owned()) {
        event.act = told::Act::Registration("INVITED".to_owned());
    }
    Judgement::Accepted(event)
}

pub fn statement_in_words(statement: &Statement) -> told::Statement {
    match statement {
        Statement::Says(it) => told::Statement::Says(session(it)),
        Statement::Forgets(key) => told::Statement::Forgets(subject(key)),
    }
}

pub fn subject(key: &SessionKey) -> told::Subject {
    told::Subject { campaign: key.campaign.to_string(), entry_id: key.entry_id.clone() }
}

pub fn session(session: &Session) -> told::Session {
    told::Session {
        subject: subject(&session.key),
        updated_at: session.updated_at,
        source: session.source.clone(),
        event_id: session.event_id.clone(),
        name: session.name.clone(),
        channel_id: session.channel_id,
        channel_name: session.channel_name.clone(),
        scheduled_start: session.scheduled_start,
        scheduled_end: session.scheduled_end,
        actual_start: session.actual_start,
        actual_end: session.actual_end,
        duration_ms: session.duration_ms,
    }
}
