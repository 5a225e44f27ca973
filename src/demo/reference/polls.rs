//! The row of `Kaltura_User_Polls__c` of one member and entry.

use std::collections::BTreeSet;

use super::event::{Act, Answer, Event};
use super::measure::{cut, not_blank};
use super::{Entry, Fields, common_fields, newest};

/// Polls that the object has room for.
const SLOTS: usize = 10;

/// Longest text of a slot, in UTF-16 units.
const TEXT_UNITS_MAX: usize = 255;

/// None: no poll event yet.
pub fn fields(entry: &Entry<'_>) -> Option<Fields> {
    let mut polls: Vec<Poll<'_>> = poll_ids(entry).into_iter().map(|poll_id| Poll::of(entry, poll_id)).collect();
    if polls.is_empty() {
        return None;
    }
    // None sorts before any position, so whether there is one is asked first.
    polls.sort_by_key(|poll| (poll.position.is_none(), poll.position, poll.first_at, poll.id));
    let mut fields = common_fields(entry);
    for slot in 0..SLOTS {
        let poll = polls.get(slot);
        let number = slot + 1;
        let mut set = |what: &str, text: Option<&str>| {
            fields.insert(format!("poll_{number}_{what}__c"), cut(text, TEXT_UNITS_MAX));
        };
        set("type", poll.and_then(|poll| poll.visual_type));
        set("answer", poll.and_then(|poll| poll.answer));
        set("question", poll.and_then(|poll| poll.question));
    }
    Some(fields)
}

/// How many polls have an answer that stands.
pub fn answered(entry: &Entry<'_>) -> usize {
    poll_ids(entry).into_iter().filter(|poll_id| Poll::of(entry, poll_id).answer.is_some()).count()
}

/// One poll as the member left it.
struct Poll<'e> {
    id: &'e str,
    position: Option<i64>,
    first_at: i64,
    visual_type: Option<&'e str>,
    question: Option<&'e str>,
    /// None: withdrawn.
    answer: Option<&'e str>,
}

impl<'e> Poll<'e> {
    fn of(entry: &Entry<'e>, poll_id: &'e str) -> Self {
        let of_this_poll = |event: &&Event| answer(event).is_some_and(|answer| answer.poll_id == poll_id);
        let events: Vec<&'e Event> = entry.events.iter().copied().filter(of_this_poll).collect();
        // An empty answer is a value like any other here: it stands until a newer one.
        let newest_answer = newest::of(&events, |event| answer(event).map(|answer| answer.answer.trim()));
        Self {
            id: poll_id,
            position: newest::of(&events, |event| answer(event)?.position),
            first_at: events.iter().map(|event| event.occurred_at).min().unwrap_or_default(),
            visual_type: newest::text(&events, |event| answer(event)?.poll_type.as_deref()),
            question: newest::text(&events, |event| answer(event)?.question.as_deref()),
            answer: newest_answer.and_then(not_blank),
        }
    }
}

fn poll_ids<'e>(entry: &Entry<'e>) -> BTreeSet<&'e str> {
    entry.events.iter().filter_map(|event| answer(event)).map(|answer| answer.poll_id.as_str()).collect()
}

fn answer(event: &Event) -> Option<&Answer> {
    if let Act::Poll(answer) = &event.act { Some(answer) } else { None }
}
