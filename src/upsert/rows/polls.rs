//! The row of Kaltura_User_Polls__c: one per member and entry, with up to ten polls.

use crate::avro::Writer;
use crate::fold::{Catalogue, EntryPiece, PollPiece};
use crate::id::MemberKey;
use crate::upsert::def::{Derivation, Derived, ExternalId, ObjectDef, Policy};
use crate::upsert::field::{EMAIL, ENTRY_ID, ENTRY_NAME, EXTERNAL_ID, EXTERNAL_ID_LENGTH, FieldDef, LEAD, text};
use crate::upsert::object::Object;
use crate::upsert::row::{Raw, Whose, write_row};

use super::member::MEMBER;

impl Object {
    pub const POLLS: Self = Self::new(3);
}

pub(super) const DEF: ObjectDef = ObjectDef {
    object: Object::POLLS,
    name: "Kaltura_User_Polls__c",
    external_id: ExternalId { name: EXTERNAL_ID, length: EXTERNAL_ID_LENGTH },
    level: 1,
    parents: &[MEMBER],
    fields: &FIELDS,
    typed: 4 + 3 * POLLS_MAX,
    policy: Policy::Upsert,
    derivation: Derivation::Entry(write),
};

/// Polls that a row holds.
const POLLS_MAX: usize = 10;

const FIELDS: [FieldDef; 4 + 3 * POLLS_MAX] = [
    LEAD,
    ENTRY_ID,
    ENTRY_NAME,
    EMAIL,
    text("poll_1_type__c", 255),
    text("poll_1_answer__c", 255),
    text("poll_1_question__c", 255),
    text("poll_2_type__c", 255),
    text("poll_2_answer__c", 255),
    text("poll_2_question__c", 255),
    text("poll_3_type__c", 255),
    text("poll_3_answer__c", 255),
    text("poll_3_question__c", 255),
    text("poll_4_type__c", 255),
    text("poll_4_answer__c", 255),
    text("poll_4_question__c", 255),
    text("poll_5_type__c", 255),
    text("poll_5_answer__c", 255),
    text("poll_5_question__c", 255),
    text("poll_6_type__c", 255),
    text("poll_6_answer__c", 255),
    text("poll_6_question__c", 255),
    text("poll_7_type__c", 255),
    text("poll_7_answer__c", 255),
    text("poll_7_question__c", 255),
    text("poll_8_type__c", 255),
    text("poll_8_answer__c", 255),
    text("poll_8_question__c", 255),
    text("poll_9_type__c", 255),
    text("poll_9_answer__c", 255),
    text("poll_9_question__c", 255),
    text("poll_10_type__c", 255),
    text("poll_10_answer__c", 255),
    text("poll_10_question__c", 255),
];

/// Appends the row; there is none before the first poll event.
fn write(out: &mut Writer, key: &MemberKey, entry_id: &str, piece: &EntryPiece, catalogue: &Catalogue) -> Derived {
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
    let mut values = [Raw::Text(None); FIELDS.len()];
    for (value, raw) in values.iter_mut().zip(head.into_iter().chain(slots)) {
        *value = raw;
    }
    write_row(out, &DEF, Whose { member: key, entry_id: Some(entry_id) }, &FIELDS, values)
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
