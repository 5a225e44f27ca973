//! Bytes of a Kafka record to a valid [`Event`], a reason to ignore it, or a [`Refusal`].
//!
//! Invariant: what leaves this room as an [`Event`] is complete and counted: ids are 18 characters, times are in
//! range, intervals run forwards, and everything the fold would ignore has been sorted out. The fold therefore has
//! no error path.

mod decode;
mod ignored;
mod json;
mod plan;
mod refusal;
mod samples;
mod session;
mod skip;
mod slots;
mod validate;

use std::borrow::Cow;

use crate::id::MemberKey;
use crate::lattice::Name;
use crate::time::Millis;

pub use decode::{Decoder, EARLIER, Headers, Record, SchemaNeeded};
pub use ignored::{Found, Ignored};
pub use refusal::{IgnoreReason, Refusal, RefusalReason};
pub use samples::{Place, Sample, Samples};
pub use session::{DecodedSession, Session, SessionKey};
pub use validate::email_holds;

/// The five kinds of event topics; part of an event's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    Registration,
    Attendance,
    Poll,
    Reaction,
    View,
}

impl EventKind {
    pub const ALL: [Self; 5] = [Self::Registration, Self::Attendance, Self::Poll, Self::Reaction, Self::View];

    /// Name of the kind in headers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Attendance => "attendance",
            Self::Poll => "poll",
            Self::Reaction => "reaction",
            Self::View => "view",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One accepted event. Texts borrow from the record where the format allows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    pub member: MemberKey,
    pub kind: EventKind,
    pub source: Cow<'a, str>,
    pub event_id: Cow<'a, str>,
    pub occurred_at: Millis,
    /// Trimmed, never blank. Present on every event but registrations and visits.
    pub entry_id: Option<Name>,
    pub entry_name: Option<Cow<'a, str>>,
    pub channel_id: Option<i64>,
    pub channel_name: Option<Cow<'a, str>>,
    pub email: Option<Cow<'a, str>>,
    pub user: Option<Cow<'a, str>>,
    pub act: Act<'a>,
}

/// What the person did.
#[derive(Clone, Debug, PartialEq)]
pub enum Act<'a> {
    Registration(RegistrationAction),
    Visit {
        phase: Option<VisitPhase>,
    },
    Join {
        connection: Option<Cow<'a, str>>,
    },
    Leave {
        connection: Option<Cow<'a, str>>,
    },
    /// A whole interval: a join at its start and, where known, a leave at its end.
    Presence {
        connection: Option<Cow<'a, str>>,
        start: Millis,
        end: Option<Millis>,
    },
    Device {
        connection: Option<Cow<'a, str>>,
        device: Device,
        on: bool,
    },
    Poll(PollAnswer<'a>),
    Reaction(Reaction<'a>),
    View(View<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationAction {
    Created,
    Invited,
    Registered,
    AutoConfirmed,
    Confirmed,
    Unregistered,
    Blocked,
    Unblocked,
    GuestAdded,
    AttendeeAdded,
    EmailSent,
    EmailOpened,
    LinkClicked,
    EmailOptedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitPhase {
    PreEvent,
    During,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Mic,
    Cam,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PollAnswer<'a> {
    /// Trimmed, never blank.
    pub poll_id: Cow<'a, str>,
    pub poll_type: Option<Cow<'a, str>>,
    pub question: Option<Cow<'a, str>>,
    /// Several choices joined with "; ". Empty: the answer is withdrawn.
    pub answer: Cow<'a, str>,
    pub position: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reaction<'a> {
    Clap,
    Heart,
    Think,
    Wow,
    Smile,
    RaiseHand,
    AddToCalendar,
    Message { message_id: Option<Cow<'a, str>> },
    Question { thread_id: Option<Cow<'a, str>> },
}

#[expect(clippy::struct_excessive_bools, reason = "four facts that a player reports, independent of each other")]
#[derive(Clone, Debug, PartialEq)]
pub struct View<'a> {
    pub live: bool,
    pub play_id: Option<Cow<'a, str>>,
    pub start: Millis,
    /// None: not known, so no time counts.
    pub end: Option<Millis>,
    /// Both ends known; may run backwards, and then covers nothing.
    pub playhead: Option<(i64, i64)>,
    pub in_focus: bool,
    pub full_screen: bool,
    pub sound_on: bool,
}

/// What decoding makes of one record.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives on the stack at a time; a box would cost an allocation per record"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<'a> {
    Event(Event<'a>),
    /// Counted, changes nothing.
    Ignored(Ignored),
    /// A dead letter.
    Refused(Refusal),
}
