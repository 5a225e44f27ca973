//! The flat record that every format is read into, and the table of what may stand in it.
//!
//! One struct of slots for all kinds, because a reader by plan needs places to write to, not types: what a slot means
//! for a kind is decided once, in `validate`. The table of fields is made from the embedded schemas, so that JSON,
//! Avro and the documents name the same things. A field that this version does not fold has no slot; its text is
//! still held to the length limit.

#![expect(clippy::wildcard_enum_match_arm, reason = "of Avro's thirty types only the named ones are read")]

use std::borrow::Cow;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::schema::{RecordField, UnionSchema};

use super::{EventKind, RegistrationAction, VisitPhase};
use crate::avro::{self, Embedded};

/// Longest text field, in UTF-8 bytes.
pub(super) const TEXT_BYTES_MAX: usize = 32_768;

/// What a record's schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Event(EventKind),
    Session,
}

/// A field of an embedded schema, and where its value goes.
#[derive(Debug)]
pub(super) struct Field {
    pub name: &'static str,
    pub aliases: &'static [String],
    pub nullable: bool,
    pub slot: Slot,
}

/// Where a field's value goes. None: read, checked and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Text(Option<TextSlot>),
    Integer(Option<NumberSlot>),
    Time(Option<NumberSlot>),
    Flag(Option<FlagSlot>),
    /// The kind's own enum: action, reaction or mode.
    Symbol,
    Phase,
    Answer,
    Fields,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextSlot {
    EventId,
    Source,
    CampaignId,
    PersonId,
    EntryId,
    Email,
    User,
    EntryName,
    ChannelName,
    Connection,
    Poll,
    PollType,
    Question,
    Message,
    Thread,
    Play,
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberSlot {
    /// A session's `updated_at` too.
    OccurredAt,
    StartedAt,
    EndedAt,
    ChannelId,
    Position,
    PlayheadStart,
    PlayheadEnd,
    ScheduledStart,
    ScheduledEnd,
    ActualStart,
    ActualEnd,
    Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlagSlot {
    InFocus,
    FullScreen,
    SoundOn,
}

/// A symbol of the kind's own enum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Symbol {
    #[default]
    Unknown,
    Registration(RegistrationAction),
    Visit,
    Join,
    Leave,
    Presence,
    MicOn,
    MicOff,
    CamOn,
    CamOff,
    Clap,
    Heart,
    Think,
    Wow,
    Smile,
    RaiseHand,
    LowerHand,
    AddToCalendar,
    Message,
    Question,
    Live,
    Recorded,
    Document,
}

/// The phase of a visit; a symbol of the future is not the same as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Known(VisitPhase),
    Unknown,
}

/// The values of one record. Absent and null are one.
#[derive(Debug, Default)]
pub(super) struct Slots<'r> {
    texts: [Option<Cow<'r, str>>; 17],
    numbers: [Option<i64>; 12],
    flags: [bool; 3],
    pub symbol: Symbol,
    pub phase: Option<Phase>,
    /// What stands in the place of a symbol or phase that this version does not know.
    pub unknown_symbol: Option<Cow<'r, str>>,
    pub unknown_phase: Option<Cow<'r, str>>,
    /// Choices are joined already.
    pub answer: Option<Cow<'r, str>>,
    /// The first field whose text is over the limit.
    pub too_long: Option<&'static str>,
}

impl<'r> Slots<'r> {
    #[inline]
    pub fn set_text(&mut self, name: &'static str, slot: Option<TextSlot>, text: Option<Cow<'r, str>>) {
        if let Some(text) = &text {
            self.check_length(name, text);
        }
        if let Some(place) = slot.and_then(|slot| self.texts.get_mut(slot as usize)) {
            *place = text;
        }
    }

    #[inline]
    pub fn check_length(&mut self, name: &'static str, text: &str) {
        if text.len() > TEXT_BYTES_MAX && self.too_long.is_none() {
            self.too_long = Some(name);
        }
    }

    /// An answer of several choices, each a text like any other: trimmed, none where it is blank. The joined text is
    /// bounded as the choices are.
    pub fn set_choices(&mut self, name: &'static str, choices: &[Cow<'r, str>]) {
        for choice in choices {
            self.check_length(name, choice);
        }
        let texts = choices.iter().map(|choice| choice.trim());
        let chosen: Vec<&str> = texts.filter(|choice| !choice.is_empty()).collect();
        let joined = chosen.join("; ");
        self.check_length(name, &joined);
        self.answer = Some(Cow::Owned(joined));
    }

    #[inline]
    pub fn set_number(&mut self, slot: Option<NumberSlot>, number: Option<i64>) {
        if let Some(place) = slot.and_then(|slot| self.numbers.get_mut(slot as usize)) {
            *place = number;
        }
    }

    #[inline]
    pub fn set_flag(&mut self, slot: Option<FlagSlot>, flag: bool) {
        if let Some(place) = slot.and_then(|slot| self.flags.get_mut(slot as usize)) {
            *place = flag;
        }
    }

    /// Fills a text that is absent or blank; replaces nothing.
    pub fn fill_text(&mut self, name: &'static str, slot: TextSlot, text: Option<Cow<'r, str>>) {
        if self.text(slot).is_none_or(blank) {
            self.set_text(name, Some(slot), text);
        }
    }

    /// The kind's own symbol. What is not known is kept as it was sent, for whoever asks.
    pub fn set_symbol(&mut self, shape: Shape, name: Cow<'r, str>) {
        self.symbol = shape.symbol(&name);
        self.unknown_symbol = (self.symbol == Symbol::Unknown).then_some(name);
    }

    pub fn set_phase(&mut self, name: Cow<'r, str>) {
        let phase = Phase::of(&name);
        self.unknown_phase = (phase == Phase::Unknown).then_some(name);
        self.phase = Some(phase);
    }

    pub fn text(&self, slot: TextSlot) -> Option<&str> {
        self.texts.get(slot as usize)?.as_deref()
    }

    /// The text as sent, unless it is blank.
    pub fn take_as_sent(&mut self, slot: TextSlot) -> Option<Cow<'r, str>> {
        self.texts.get_mut(slot as usize)?.take().filter(|text| !blank(text))
    }

    /// The text without the blanks around it, unless nothing is left.
    pub fn take_trimmed(&mut self, slot: TextSlot) -> Option<Cow<'r, str>> {
        self.texts.get_mut(slot as usize)?.take().map(trimmed).filter(|text| !text.is_empty())
    }

    pub fn number(&self, slot: NumberSlot) -> Option<i64> {
        self.numbers.get(slot as usize).copied().flatten()
    }

    pub fn flag(&self, slot: FlagSlot) -> bool {
        self.flags.get(slot as usize).copied().unwrap_or(false)
    }
}

pub(super) fn blank(text: &str) -> bool {
    text.trim_start().is_empty()
}

pub(super) fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

impl Shape {
    pub const ALL: [Self; 6] = [
        Self::Event(EventKind::Registration),
        Self::Event(EventKind::Attendance),
        Self::Event(EventKind::Poll),
        Self::Event(EventKind::Reaction),
        Self::Event(EventKind::View),
        Self::Session,
    ];

    /// Name in an optional JSON member `kind`, and of the schema's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Event(kind) => kind.name(),
            Self::Session => "session",
        }
    }

    /// The shape that a record schema of this name describes, in whatever namespace.
    pub fn of_record(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.record_name() == name)
    }

    fn record_name(self) -> &'static str {
        match &self.schema().schema {
            Schema::Record(record) => &record.name.name,
            _ => "",
        }
    }

    pub fn schema(self) -> &'static Embedded {
        match self {
            Self::Event(EventKind::Registration) => &avro::REGISTRATION,
            Self::Event(EventKind::Attendance) => &avro::ATTENDANCE,
            Self::Event(EventKind::Poll) => &avro::POLL,
            Self::Event(EventKind::Reaction) => &avro::REACTION,
            Self::Event(EventKind::View) => &avro::VIEW,
            Self::Session => &avro::SESSION,
        }
    }

    /// The fields of its schema, in order.
    pub fn fields(self) -> &'static [Field] {
        static FIELDS: LazyLock<Vec<(Shape, Vec<Field>)>> =
            LazyLock::new(|| Shape::ALL.into_iter().map(|shape| (shape, shape.make_fields())).collect());
        FIELDS.iter().find(|(shape, _)| *shape == self).map_or(&[], |(_, fields)| fields)
    }

    fn make_fields(self) -> Vec<Field> {
        match &self.schema().schema {
            Schema::Record(record) => record.fields.iter().map(Field::of).collect(),
            _ => Vec::new(),
        }
    }

    pub fn field(self, name: &str) -> Option<&'static Field> {
        let fields = self.fields();
        let aliased = || fields.iter().find(|field| field.aliases.iter().any(|alias| alias == name));
        fields.iter().find(|field| field.name == name).or_else(aliased)
    }

    /// The symbol of this name; the formats' texts may be in any case.
    pub fn symbol(self, name: &str) -> Symbol {
        let known = self.own_symbols().iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Symbol::Unknown, |(_, symbol)| *symbol)
    }

    fn own_symbols(self) -> &'static [(&'static str, Symbol)] {
        match self {
            Self::Event(EventKind::Registration) => REGISTRATION_SYMBOLS,
            Self::Event(EventKind::Attendance) => ATTENDANCE_SYMBOLS,
            Self::Event(EventKind::Reaction) => REACTION_SYMBOLS,
            Self::Event(EventKind::View) => VIEW_SYMBOLS,
            Self::Event(EventKind::Poll) | Self::Session => &[],
        }
    }

    /// Names of the symbols that a slot may hold.
    pub fn symbols(self, slot: Slot) -> impl Iterator<Item = &'static str> {
        let (phases, own): (&[_], &[_]) = if slot == Slot::Phase { (PHASES, &[]) } else { (&[], self.own_symbols()) };
        phases.iter().map(|(name, _)| *name).chain(own.iter().map(|(name, _)| *name))
    }
}

impl Phase {
    pub fn of(name: &str) -> Self {
        let known = PHASES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Self::Unknown, |(_, phase)| Self::Known(*phase))
    }
}

impl Field {
    fn of(field: &'static RecordField) -> Self {
        let name = field.name.as_str();
        let nullable = matches!(&field.schema, Schema::Union(union) if union.variants().contains(&Schema::Null));
        let aliases = field.aliases.as_deref().unwrap_or_default();
        Self { name, aliases, nullable, slot: Slot::of(name, &field.schema) }
    }
}

impl Slot {
    fn of(name: &str, schema: &Schema) -> Self {
        match schema {
            Schema::Union(union) => Self::of_union(name, union),
            Schema::Long => Self::Integer(NumberSlot::of(name)),
            Schema::TimestampMillis => Self::Time(NumberSlot::of(name)),
            Schema::Boolean => Self::Flag(FlagSlot::of(name)),
            Schema::Enum(_) if name == "phase" => Self::Phase,
            Schema::Enum(_) => Self::Symbol,
            Schema::Map(_) => Self::Fields,
            Schema::Array(_) => Self::Answer,
            // A test holds the schemas to the types above and to texts.
            _ => Self::Text(TextSlot::of(name)),
        }
    }

    /// The type beside null; the answer alone has two, and the last one says so.
    fn of_union(name: &str, union: &UnionSchema) -> Self {
        union.variants().last().map_or(Self::Text(None), |schema| Self::of(name, schema))
    }
}

impl TextSlot {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "event_id" => Self::EventId,
            "source" => Self::Source,
            "campaign_id" => Self::CampaignId,
            "lead_id" => Self::PersonId,
            "entry_id" => Self::EntryId,
            "email" => Self::Email,
            "user" => Self::User,
            "entry_name" => Self::EntryName,
            "channel_name" => Self::ChannelName,
            "connection_id" => Self::Connection,
            "poll_id" => Self::Poll,
            "poll_type" => Self::PollType,
            "question" => Self::Question,
            "message_id" => Self::Message,
            "thread_id" => Self::Thread,
            "play_id" => Self::Play,
            "name" => Self::Name,
            _ => return None,
        })
    }
}

impl NumberSlot {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "occurred_at" | "updated_at" => Self::OccurredAt,
            "started_at" => Self::StartedAt,
            "ended_at" => Self::EndedAt,
            "channel_id" => Self::ChannelId,
            "position" => Self::Position,
            "playhead_start_ms" => Self::PlayheadStart,
            "playhead_end_ms" => Self::PlayheadEnd,
            "scheduled_start" => Self::ScheduledStart,
            "scheduled_end" => Self::ScheduledEnd,
            "actual_start" => Self::ActualStart,
            "actual_end" => Self::ActualEnd,
            "duration_ms" => Self::Duration,
            _ => return None,
        })
    }
}

impl FlagSlot {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "in_focus" => Self::InFocus,
            "full_screen" => Self::FullScreen,
            "sound_on" => Self::SoundOn,
            _ => return None,
        })
    }
}

const PHASES: &[(&str, VisitPhase)] = &[("PRE_EVENT", VisitPhase::PreEvent), ("DURING", VisitPhase::During)];

const REGISTRATION_SYMBOLS: &[(&str, Symbol)] = &[
    ("CREATED", Symbol::Registration(RegistrationAction::Created)),
    ("INVITED", Symbol::Registration(RegistrationAction::Invited)),
    // With or without a request to register, an invitation is one fact.
    ("INVITED_TO_REGISTER", Symbol::Registration(RegistrationAction::Invited)),
    ("REGISTERED", Symbol::Registration(RegistrationAction::Registered)),
    ("AUTO_CONFIRMED", Symbol::Registration(RegistrationAction::AutoConfirmed)),
    ("CONFIRMED", Symbol::Registration(RegistrationAction::Confirmed)),
    ("UNREGISTERED", Symbol::Registration(RegistrationAction::Unregistered)),
    ("BLOCKED", Symbol::Registration(RegistrationAction::Blocked)),
    ("UNBLOCKED", Symbol::Registration(RegistrationAction::Unblocked)),
    ("GUEST_ADDED", Symbol::Registration(RegistrationAction::GuestAdded)),
    ("ATTENDEE_ADDED", Symbol::Registration(RegistrationAction::AttendeeAdded)),
    ("EMAIL_SENT", Symbol::Registration(RegistrationAction::EmailSent)),
    ("EMAIL_OPENED", Symbol::Registration(RegistrationAction::EmailOpened)),
    ("LINK_CLICKED", Symbol::Registration(RegistrationAction::LinkClicked)),
    ("EMAIL_OPTED_OUT", Symbol::Registration(RegistrationAction::EmailOptedOut)),
];

const ATTENDANCE_SYMBOLS: &[(&str, Symbol)] = &[
    ("VISIT", Symbol::Visit),
    ("JOIN", Symbol::Join),
    ("LEAVE", Symbol::Leave),
    ("PRESENCE", Symbol::Presence),
    ("MIC_ON", Symbol::MicOn),
    ("MIC_OFF", Symbol::MicOff),
    ("CAM_ON", Symbol::CamOn),
    ("CAM_OFF", Symbol::CamOff),
];

const REACTION_SYMBOLS: &[(&str, Symbol)] = &[
    ("CLAP", Symbol::Clap),
    ("HEART", Symbol::Heart),
    ("THINK", Symbol::Think),
    ("WOW", Symbol::Wow),
    ("SMILE", Symbol::Smile),
    ("RAISE_HAND", Symbol::RaiseHand),
    ("LOWER_HAND", Symbol::LowerHand),
    ("ADD_TO_CALENDAR", Symbol::AddToCalendar),
    ("MESSAGE", Symbol::Message),
    ("QUESTION", Symbol::Question),
];

const VIEW_SYMBOLS: &[(&str, Symbol)] = &[
    ("LIVE", Symbol::Live),
    ("ON_DEMAND", Symbol::Recorded),
    ("REPLAY", Symbol::Recorded),
    ("DOCUMENT", Symbol::Document),
];
