//! The literal of an event: what it says is its act, everything else is blank.

use std::borrow::Cow;

use rollbook::event::{Act, Event, EventKind};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::lattice::Name;
use rollbook::time::Millis;

/// The entry of events that name no other.
pub const ENTRY: &str = "1_entry";

/// One member, for tests that need no second.
pub fn member() -> MemberKey {
    let id = |text| SalesforceId::parse(text).expect("an id");
    MemberKey { campaign: id("70103000000cnFX"), person: id("00Q0300000Aczgf") }
}

/// An event of [`member`] in [`ENTRY`], of the kind that such an act has.
pub fn event(event_id: impl Into<Cow<'static, str>>, occurred_at: Millis, act: Act<'static>) -> Event<'static> {
    Event {
        member: member(),
        kind: kind(&act),
        source: "source".into(),
        event_id: event_id.into(),
        occurred_at,
        entry_id: Some(Name::from(ENTRY)),
        entry_name: None,
        channel_id: None,
        channel_name: None,
        email: None,
        user: None,
        act,
    }
}

fn kind(act: &Act<'_>) -> EventKind {
    match act {
        Act::Registration(_) => EventKind::Registration,
        Act::Visit { .. } | Act::Join { .. } | Act::Leave { .. } | Act::Presence { .. } | Act::Device { .. } => {
            EventKind::Attendance
        }
        Act::Poll(_) => EventKind::Poll,
        Act::Reaction(_) => EventKind::Reaction,
        Act::View(_) => EventKind::View,
    }
}
