//! The topics: what each is for, how it must be set up, creating the absent ones and refusing wrong ones.
//!
//! One instance owns partition *p* of every input, of the state and of the upserts, so these have the same number of
//! partitions. A changelog that is deleted by age loses members; an event topic that is compacted loses events. Both
//! are quiet and final, so a start on such topics is refused, with the command that mends it.

use crate::config::Topics;

/// The topics by what they are for; their names are settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Registrations,
    Attendance,
    Polls,
    Reactions,
    Views,
    Resolved,
    Sessions,
    Catalogue,
    State,
    Upserts,
    Outcomes,
    DeadLetters,
}

impl Topic {
    pub const ALL: [Self; 12] = [
        Self::Registrations,
        Self::Attendance,
        Self::Polls,
        Self::Reactions,
        Self::Views,
        Self::Resolved,
        Self::Sessions,
        Self::Catalogue,
        Self::State,
        Self::Upserts,
        Self::Outcomes,
        Self::DeadLetters,
    ];

    /// Those whose records end in a counted outcome.
    pub const CONSUMED: [Self; 7] = [
        Self::Registrations,
        Self::Attendance,
        Self::Polls,
        Self::Reactions,
        Self::Views,
        Self::Resolved,
        Self::Sessions,
    ];

    /// Name in metrics and messages, whatever the topic is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::Registrations => "registrations",
            Self::Attendance => "attendance",
            Self::Polls => "polls",
            Self::Reactions => "reactions",
            Self::Views => "views",
            Self::Resolved => "resolved",
            Self::Sessions => "sessions",
            Self::Catalogue => "catalogue",
            Self::State => "state",
            Self::Upserts => "upserts",
            Self::Outcomes => "outcomes",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// Name of the topic on the broker.
    pub fn name(self, topics: &Topics) -> &str {
        match self {
            Self::Registrations => &topics.registrations,
            Self::Attendance => &topics.attendance,
            Self::Polls => &topics.polls,
            Self::Reactions => &topics.reactions,
            Self::Views => &topics.views,
            Self::Resolved => &topics.resolved,
            Self::Sessions => &topics.sessions,
            Self::Catalogue => &topics.catalogue,
            Self::State => &topics.state,
            Self::Upserts => &topics.upserts,
            Self::Outcomes => &topics.outcomes,
            Self::DeadLetters => &topics.dead_letters,
        }
    }
}
