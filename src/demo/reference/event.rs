//! What the reference knows of the world, in types of its own: an event, a statement of the catalogue.
//!
//! Symbols stay the texts that the schemas have for them: each rule names the ones that it is about, and there is no
//! translation in which one could be taken for another.

use std::fmt;

/// Milliseconds since 1970, UTC.
pub type Millis = i64;

/// One person in one campaign, both ids with 18 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub campaign: String,
    pub person: String,
}

impl Member {
    pub fn person_is_lead(&self) -> bool {
        self.person.starts_with("00Q")
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.campaign, self.person)
    }
}

/// Something that counts. Texts are trimmed and not blank; source and id stand as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub member: Member,
    pub source: String,
    pub event_id: String,
    pub occurred_at: Millis,
    pub entry_id: Option<String>,
    pub entry_name: Option<String>,
    pub channel_id: Option<i64>,
    pub channel_name: Option<String>,
    pub email: Option<String>,
    pub user: Option<String>,
    pub act: Act,
}

/// What the person did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The action's symbol.
    Registration(String),
    /// The phase's symbol.
    Visit {
        phase: Option<String>,
    },
    Join {
        connection: Option<String>,
    },
    Leave {
        connection: Option<String>,
    },
    Presence {
        connection: Option<String>,
        start: Millis,
        end: Option<Millis>,
    },
    Device {
        connection: Option<String>,
        device: Device,
        on: bool,
    },
    Poll(Answer),
    Reaction(Reaction),
    View(View),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Mic,
    Cam,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub poll_id: String,
    pub poll_type: Option<String>,
    pub question: Option<String>,
    /// Empty: withdrawn.
    pub answer: String,
    pub position: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    pub symbol: String,
    /// Of a message, where it has one.
    pub message_id: Option<String>,
    /// Of a question, where it has one.
    pub thread_id: Option<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "four facts that a player reports, independent of each other")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub live: bool,
    pub play_id: Option<String>,
    pub start: Millis,
    pub end: Option<Millis>,
    /// Only where both ends are told.
    pub playhead: Option<(i64, i64)>,
    pub in_focus: bool,
    pub full_screen: bool,
    pub sound_on: bool,
}

/// What a statement is about: an entry, or the campaign itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub campaign: String,
    pub entry_id: Option<String>,
}

/// A record of the sessions topic, in the order of its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Says(Session),
    /// A tombstone.
    Forgets(Subject),
}

/// One statement, whole: what it does not say is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub subject: Subject,
    pub updated_at: Millis,
    pub source: String,
    pub event_id: String,
    pub name: Option<String>,
    pub channel_id: Option<i64>,
    pub channel_name: Option<String>,
    pub scheduled_start: Option<Millis>,
    pub scheduled_end: Option<Millis>,
    pub actual_start: Option<Millis>,
    pub actual_end: Option<Millis>,
    pub duration_ms: Option<i64>,
}
