//! The newest value among events, and who is the same event twice.

use super::event::{Event, Millis};
use super::measure::not_blank;

/// Where events stand in line.
pub fn order(event: &Event) -> (Millis, &str, &str) {
    (event.occurred_at, &event.source, &event.event_id)
}

/// Which event it is, within a member and a kind.
pub fn identity(event: &Event) -> (&str, &str) {
    (&event.source, &event.event_id)
}

/// The value of the last event in line that has one; on a total tie the greatest.
pub fn of<'e, T: Ord>(events: &[&'e Event], value: impl Fn(&'e Event) -> Option<T>) -> Option<T> {
    let mut found: Vec<_> = events.iter().filter_map(|event| value(event).map(|value| (order(event), value))).collect();
    found.sort();
    found.pop().map(|(_, value)| value)
}

/// The newest text that is not blank, trimmed.
pub fn text<'e>(events: &[&'e Event], value: impl Fn(&'e Event) -> Option<&'e str>) -> Option<&'e str> {
    of(events, |event| value(event).and_then(not_blank))
}
