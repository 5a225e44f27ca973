//! What belongs to a member as a whole: the facts that decide its status.
//!
//! Joins, live views and visits without a phase are *presences*: whether one means "attended" or "participated"
//! depends on the start of the entry, which may become known later, so the decision is left to the status ladder. Of
//! each entry only the latest presence M is kept. That is enough: with U the time of the un-registration and S the
//! start, a presence later than U and not before S exists exactly if M is both, and one later than U at all exists
//! exactly if M is. So M alone gives participated, attended or nothing, as all of them together would.

use crate::event::{Act, Event, RegistrationAction, VisitPhase};
use crate::lattice::heap::recount;
use crate::lattice::{KEYS_MAX, Keyed, Latest, Name};
use crate::time::Millis;

use super::marks::Marks;

/// Kinds of facts. Those after `Unblocked` serve other ladders than `kaltura`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactKind {
    Created,
    Invited,
    Registered,
    AutoConfirmed,
    Confirmed,
    Attended,
    Participated,
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

impl FactKind {
    /// In the order of the schema's symbols, after UNKNOWN.
    pub const ALL: [Self; 16] = [
        Self::Created,
        Self::Invited,
        Self::Registered,
        Self::AutoConfirmed,
        Self::Confirmed,
        Self::Attended,
        Self::Participated,
        Self::Unregistered,
        Self::Blocked,
        Self::Unblocked,
        Self::GuestAdded,
        Self::AttendeeAdded,
        Self::EmailSent,
        Self::EmailOpened,
        Self::LinkClicked,
        Self::EmailOptedOut,
    ];

    fn of_registration(action: RegistrationAction) -> Self {
        match action {
            RegistrationAction::Created => Self::Created,
            RegistrationAction::Invited => Self::Invited,
            RegistrationAction::Registered => Self::Registered,
            RegistrationAction::AutoConfirmed => Self::AutoConfirmed,
            RegistrationAction::Confirmed => Self::Confirmed,
            RegistrationAction::Unregistered => Self::Unregistered,
            RegistrationAction::Blocked => Self::Blocked,
            RegistrationAction::Unblocked => Self::Unblocked,
            RegistrationAction::GuestAdded => Self::GuestAdded,
            RegistrationAction::AttendeeAdded => Self::AttendeeAdded,
            RegistrationAction::EmailSent => Self::EmailSent,
            RegistrationAction::EmailOpened => Self::EmailOpened,
            RegistrationAction::LinkClicked => Self::LinkClicked,
            RegistrationAction::EmailOptedOut => Self::EmailOptedOut,
        }
    }
}

/// The member's own piece of the aggregate.
#[derive(Clone, Debug, Default)]
pub struct MemberPiece {
    /// Latest time of each kind of fact.
    pub(super) facts: Keyed<FactKind, Latest>,
    /// Latest undecided presence per entry; "" for visits that named none.
    pub(super) presences: Keyed<Name, Latest>,
    /// Not part of the lattice.
    pub marks: Marks<1, 1>,
    /// Changed since the caller last cleared it. Not part of the lattice.
    pub dirty: bool,
    /// Somebody waits for some of what has changed since then. Not part of the lattice.
    pub awaited: bool,
    /// Bytes of the heap when it was last written or read. Not part of the lattice.
    pub memory: u32,
}

impl MemberPiece {
    pub(super) fn apply(&mut self, event: &Event<'_>) -> bool {
        let entry = event.entry_id.as_ref();
        let changed = match (&event.act, entry) {
            (Act::Registration(action), _) => self.fact(FactKind::of_registration(*action), event.occurred_at),
            (Act::Visit { phase: Some(VisitPhase::PreEvent) }, _) => self.fact(FactKind::Attended, event.occurred_at),
            (Act::Visit { phase: Some(VisitPhase::During) }, _) => self.fact(FactKind::Participated, event.occurred_at),
            (Act::Visit { phase: None }, _) => self.presence(entry.unwrap_or(&Name::EMPTY), event.occurred_at),
            (Act::Join { .. }, Some(entry)) => self.presence(entry, event.occurred_at),
            (Act::Presence { start, .. }, Some(entry)) => self.presence(entry, *start),
            (Act::View(view), Some(entry)) if view.live => self.presence(entry, event.occurred_at),
            (
                Act::Join { .. }
                | Act::Leave { .. }
                | Act::Presence { .. }
                | Act::Device { .. }
                | Act::Poll(_)
                | Act::Reaction(_)
                | Act::View(_),
                _,
            ) => false,
        };
        self.dirty |= changed;
        changed
    }

    pub fn holds_nothing(&self) -> bool {
        self.facts.is_empty() && self.presences.is_empty() && self.marks.says_nothing()
    }

    /// See [`EntryPiece::saturated`](super::EntryPiece::saturated).
    pub fn saturated(&self) -> bool {
        self.presences.len() >= KEYS_MAX
    }

    /// See [`EntryPiece::shed`](super::EntryPiece::shed).
    pub fn shed(&mut self) -> bool {
        let kept = self.presences.len() / 2;
        if kept > 0 {
            self.presences.keep(kept);
        }
        kept > 0
    }

    /// See [`EntryPiece::count_memory`](super::EntryPiece::count_memory).
    pub fn count_memory(&mut self) -> isize {
        let facts = self.facts.heap(|_, _| 0) + self.presences.heap(|entry, _| Name::heap(entry.len()));
        let now = facts + self.marks.heap();
        recount(&mut self.memory, now)
    }

    /// Touches the piece's list; see `store/warm.rs`.
    pub fn warm(&self) -> u64 {
        self.presences.warm()
    }

    fn fact(&mut self, kind: FactKind, at: Millis) -> bool {
        self.facts.at(&kind, |kind| *kind).join(at)
    }

    fn presence(&mut self, entry: &Name, at: Millis) -> bool {
        self.presences.at_within(entry, KEYS_MAX, Name::clone).is_some_and(|latest| latest.join(at))
    }

    pub fn join(&mut self, other: Self) -> bool {
        let mut changed = self.facts.join(other.facts, |ours, theirs| ours.join(theirs.0));
        changed |= self.presences.join_within(other.presences, KEYS_MAX, |ours, theirs| ours.join(theirs.0));
        self.marks.fill(other.marks);
        self.dirty |= changed;
        changed
    }

    /// Latest time of a kind of fact.
    pub fn latest(&self, kind: FactKind) -> Option<Millis> {
        self.facts.get(&kind).map(|latest| latest.0)
    }

    /// Latest undecided presence of each entry, the entry None where a visit named none.
    pub fn presences(&self) -> impl Iterator<Item = (Option<&str>, Millis)> + '_ {
        self.presences.iter().map(|(entry, at)| ((!entry.is_empty()).then_some(&**entry), at.0))
    }
}
