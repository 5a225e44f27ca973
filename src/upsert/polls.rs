//! The row of Kaltura_User_Polls__c: one per member and entry, with up to ten polls.

use crate::avro::Writer;
use crate::fold::{Catalogue, EntryPiece, PollPiece};
use crate::id::MemberKey;

use super::Object;
use super::field::{POLLS, POLLS_MAX};
use super::row::{Derived, Raw, Whose, write_row};

/// Appends the row; there is none before the first poll event.
pub fn write_polls(
    out: &mut Writer,
    key: &MemberKey,
    entry_id: &str,
    piece: &EntryPiece,
    catalogue: &Catalogue,
) -> Derived {
    if piece.polls.is_empty() {
        return Derived::Nothing;
    }
    let session = catalogue.get(key.campaign, Some(entry_id));
    let entry_name = session.and_then(|session| session.name.as_ref()).or(piece.entry_name.get());
    let head = [
        Raw::Text(key.person_is_lead().then_some(key.person.as_str())),
        Raw::Text(Some(entry_id)),
        Raw::Text(entry_name.map(String::as_str)),
        Raw::Text(piece.email.get().map(String::as_str)),
    ];
    let slots = numbered(piece).into_iter().take(POLLS_MAX).flat_map(slot);
    let mut values = [Raw::Text(None); POLLS.len()];
    for (value, raw) in values.iter_mut().zip(head.into_iter().chain(slots)) {
        *value = raw;
    }
    write_row(out, Object::Polls, Whose { member: key, entry_id: Some(entry_id) }, &POLLS, values)
}

/// By position, those without one last; then by the earliest answer; then by poll id, which is the order of the state.
fn numbered(piece: &EntryPiece) -> Vec<&PollPiece> {
    let mut polls: Vec<_> = piece.polls.iter().map(|(_, poll)| poll).collect();
    polls.sort_by_key(|poll| {
        let position = poll.position.get();
        (position.is_none(), position, poll.first_at.0)
    });
    polls
}

fn slot(poll: &PollPiece) -> [Raw<'_>; 3] {
    [&poll.poll_type, &poll.answer, &poll.question].map(|text| Raw::Text(text.get().map(String::as_str)))
}
