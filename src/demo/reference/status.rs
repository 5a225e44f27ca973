//! The status of a member on the ladder `kaltura`, from all of the member's events at once.

use std::cmp::Ordering;

use super::event::{Act, Event, Millis};

/// A kind of fact about a member. The order of the ladder's rungs is the order here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
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
}

const LADDER: [(Fact, &str); 7] = [
    (Fact::Created, "Created"),
    (Fact::Invited, "Invited"),
    (Fact::Registered, "Registered"),
    (Fact::AutoConfirmed, "autoConfirmed"),
    (Fact::Confirmed, "Confirmed"),
    (Fact::Attended, "Attended"),
    (Fact::Participated, "Participated"),
];

/// None: nothing is known that has a status. `start` tells when an entry, or the campaign, starts.
pub fn status(events: &[&Event], start: impl Fn(Option<&str>) -> Option<Millis>) -> Option<&'static str> {
    let facts: Vec<(Fact, Millis)> = events.iter().filter_map(|event| fact(event, &start)).collect();
    let latest = |wanted: Fact| facts.iter().filter(|(fact, _)| *fact == wanted).map(|(_, at)| *at).max();
    if let Some(blocked) = latest(Fact::Blocked)
        && latest(Fact::Unblocked).is_none_or(|unblocked| blocked >= unblocked)
    {
        return Some("Blocked");
    }
    let Some(unregistered) = latest(Fact::Unregistered) else {
        return LADDER.iter().rev().find(|(rung, _)| latest(*rung).is_some()).map(|(_, name)| *name);
    };
    let mut since = LADDER.iter().rev().filter(|(rung, _)| *rung >= Fact::Registered);
    let highest = since.find(|(rung, _)| latest(*rung).is_some_and(|at| at > unregistered));
    Some(highest.map_or("Un-registered", |(_, name)| name))
}

fn fact(event: &Event, start: impl Fn(Option<&str>) -> Option<Millis>) -> Option<(Fact, Millis)> {
    let by_start = |at: Millis| match start(event.entry_id.as_deref()).map(|start| at.cmp(&start)) {
        Some(Ordering::Less) => Fact::Attended,
        Some(Ordering::Equal | Ordering::Greater) | None => Fact::Participated,
    };
    let at = event.occurred_at;
    match &event.act {
        Act::Registration(action) => registration(action).map(|fact| (fact, at)),
        Act::Visit { phase: Some(phase) } if phase == "PRE_EVENT" => Some((Fact::Attended, at)),
        Act::Visit { phase: Some(_) } => Some((Fact::Participated, at)),
        Act::Visit { phase: None } | Act::Join { .. } => Some((by_start(at), at)),
        Act::Presence { start: joined_at, .. } => Some((by_start(*joined_at), *joined_at)),
        Act::View(view) => view.live.then(|| (by_start(at), at)),
        Act::Leave { .. } | Act::Device { .. } | Act::Poll(_) | Act::Reaction(_) => None,
    }
}

fn registration(action: &str) -> Option<Fact> {
    match action {
        "CREATED" => Some(Fact::Created),
        "INVITED" | "INVITED_TO_REGISTER" => Some(Fact::Invited),
        "REGISTERED" => Some(Fact::Registered),
        "AUTO_CONFIRMED" => Some(Fact::AutoConfirmed),
        "CONFIRMED" => Some(Fact::Confirmed),
        "UNREGISTERED" => Some(Fact::Unregistered),
        "BLOCKED" => Some(Fact::Blocked),
        "UNBLOCKED" => Some(Fact::Unblocked),
        // Facts of the ladder `triggers`.
        _ => None,
    }
}
