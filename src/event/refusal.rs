//! Why a record is refused (a dead letter) or ignored: closed lists, each reason with its code, for metrics and for
//! `docs/reason-codes.md`.

use std::fmt;

/// Why a record became a dead letter. In the order in which they are judged: the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalReason {
    NoValue,
    ValueTooLarge,
    UnknownKind,
    UnknownSchema,
    IncompatibleSchema,
    Undecodable,
    EventIdMissing,
    SourceMissing,
    OccurredAtMissing,
    PollIdMissing,
    CampaignIdMissing,
    CampaignIdInvalid,
    PersonIdMissing,
    PersonIdInvalid,
    IntervalReversed,
    IntervalTooLong,
    TimeTooEarly,
    TimeTooLate,
    TextTooLong,
}

impl RefusalReason {
    pub const ALL: [Self; 19] = [
        Self::NoValue,
        Self::ValueTooLarge,
        Self::UnknownKind,
        Self::UnknownSchema,
        Self::IncompatibleSchema,
        Self::Undecodable,
        Self::EventIdMissing,
        Self::SourceMissing,
        Self::OccurredAtMissing,
        Self::PollIdMissing,
        Self::CampaignIdMissing,
        Self::CampaignIdInvalid,
        Self::PersonIdMissing,
        Self::PersonIdInvalid,
        Self::IntervalReversed,
        Self::IntervalTooLong,
        Self::TimeTooEarly,
        Self::TimeTooLate,
        Self::TextTooLong,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::NoValue => "no_value",
            Self::ValueTooLarge => "value_too_large",
            Self::UnknownKind => "unknown_kind",
            Self::UnknownSchema => "unknown_schema",
            Self::IncompatibleSchema => "incompatible_schema",
            Self::Undecodable => "undecodable",
            Self::EventIdMissing => "event_id_missing",
            Self::SourceMissing => "source_missing",
            Self::OccurredAtMissing => "occurred_at_missing",
            Self::PollIdMissing => "poll_id_missing",
            Self::CampaignIdMissing => "campaign_id_missing",
            Self::CampaignIdInvalid => "campaign_id_invalid",
            Self::PersonIdMissing => "person_id_missing",
            Self::PersonIdInvalid => "person_id_invalid",
            Self::IntervalReversed => "interval_reversed",
            Self::IntervalTooLong => "interval_too_long",
            Self::TimeTooEarly => "time_too_early",
            Self::TimeTooLate => "time_too_late",
            Self::TextTooLong => "text_too_long",
        }
    }
}

/// A refused record: the reason, and what was wrong in words that hold no personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: RefusalReason,
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.detail)
    }
}

/// Why an accepted record changes nothing and makes no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IgnoreReason {
    /// A reaction, poll, view, join, leave or device event without an entry.
    NoEntry,
    /// An action, reaction, phase or mode that this version does not know.
    UnknownSymbol,
    LoweredHand,
    /// A document view: kept on the topic, not folded by this version.
    DocumentView,
}

impl IgnoreReason {
    pub const ALL: [Self; 4] = [Self::NoEntry, Self::UnknownSymbol, Self::LoweredHand, Self::DocumentView];

    pub fn code(self) -> &'static str {
        match self {
            Self::NoEntry => "no_entry",
            Self::UnknownSymbol => "unknown_symbol",
            Self::LoweredHand => "lowered_hand",
            Self::DocumentView => "document_view",
        }
    }
}
