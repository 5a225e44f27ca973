//! Pieces as earlier versions wrote them.
//!
//! The changelog keeps a piece until it changes, which may be never: what a version has written is read by all later
//! ones. Both had the hashes of rows among the facts, and no other marks. In the first one each register says its stamp in
//! full, times are since 1970, and hashes are numbers.

use std::sync::LazyLock;

use crate::avro::{self, Embedded, ReadError, Reader};
use crate::lattice::{KEYS_MAX, Latest, Register, Stamp};

use super::connection::Connection;
use super::entry::{EntryPiece, ReactionSets};
use super::facts::{self, Piece};
use super::marks::Marks;
use super::member::MemberPiece;
use super::poll::{PollPiece, kept};
use super::sets::{read_ids, read_intervals, read_times};

/// The second without a branch of the union; else the same.
static FIRST: LazyLock<Embedded> =
    LazyLock::new(|| avro::embed("state/1", include_str!("../../schemas/earlier/state/1.avsc")));
static SECOND: LazyLock<Embedded> =
    LazyLock::new(|| avro::embed("state/2", include_str!("../../schemas/earlier/state/2.avsc")));

/// Places of pieces of entries in the union of the second version.
const FIRST_ENTRY: i64 = 1;
const SECOND_ENTRY: i64 = 2;

pub(super) fn decode(record: &[u8]) -> Result<Piece, ReadError> {
    let mut from = Reader::object(&SECOND, record).or_else(|_| Reader::object(&FIRST, record))?;
    let member = from.option(|from| {
        let read = facts::read_member(from)?;
        let hash = from.long()?.cast_unsigned();
        Ok(MemberPiece { marks: Marks::of_earlier([hash]), ..read })
    })?;
    let entry = match from.long()? {
        0 => None,
        FIRST_ENTRY => {
            let read = read_entry(&mut from)?;
            Some((read, [from.long()?.cast_unsigned(), from.long()?.cast_unsigned()]))
        }
        SECOND_ENTRY => {
            let read = facts::read_entry(&mut from)?;
            Some((read, [facts::read_hash(&mut from)?, facts::read_hash(&mut from)?]))
        }
        _ => return Err(ReadError::Branch),
    };
    if !from.0.is_empty() {
        return Err(ReadError::Length);
    }
    match (member, entry) {
        (Some(member), None) => Ok(Piece::Member(member)),
        (None, Some((read, hashes))) => {
            Ok(Piece::Entry(Box::new(EntryPiece { marks: Marks::of_earlier(hashes), ..read })))
        }
        _ => Err(ReadError::Branch),
    }
}

fn read_entry(from: &mut Reader<'_>) -> Result<EntryPiece, ReadError> {
    let mut piece = EntryPiece { counted: from.bool()?, last_sign_at: Latest(from.long()?), ..EntryPiece::default() };
    read_text(from, &mut piece.entry_name)?;
    read_number(from, &mut piece.channel_id)?;
    for text in [&mut piece.channel_name, &mut piece.email, &mut piece.user] {
        read_text(from, text)?;
    }
    for set in piece.intervals_mut() {
        *set = read_intervals(from, 0)?;
    }
    // Those of before may have more than there are now.
    piece.close_gaps();
    piece.plays = read_ids(from)?;
    let mut reactions = ReactionSets::default();
    for ids in reactions.all_mut() {
        *ids = read_ids(from)?;
    }
    piece.reactions = reactions.into();
    from.array(|from| {
        let id = from.long()?.cast_unsigned();
        let mut connection = Connection::default();
        for times in connection.sets_mut() {
            *times = read_times(from, 0)?;
        }
        if let Some(ours) = piece.connections.at_within(&id, KEYS_MAX, |id| *id) {
            ours.join(&connection);
        }
        Ok(())
    })?;
    from.array(|from| {
        let id = from.text()?;
        let poll = read_poll(from)?;
        if let Some(ours) = piece.polls.at_within(id, KEYS_MAX, |id| id.into()) {
            ours.join(poll);
        }
        Ok(())
    })?;
    Ok(piece)
}

fn read_poll(from: &mut Reader<'_>) -> Result<PollPiece, ReadError> {
    let mut poll = PollPiece::default();
    poll.first_at.join(from.long()?);
    let stamp = read_stamp(from)?;
    poll.answer.put(stamp, kept(from.text()?));
    read_text(from, &mut poll.poll_type)?;
    read_text(from, &mut poll.question)?;
    read_number(from, &mut poll.position)?;
    Ok(poll)
}

fn read_text(from: &mut Reader<'_>, register: &mut Register<String>) -> Result<(), ReadError> {
    from.option(|from| Ok(register.put(read_stamp(from)?, kept(from.text()?))))?;
    Ok(())
}

fn read_number(from: &mut Reader<'_>, register: &mut Register<i64>) -> Result<(), ReadError> {
    from.option(|from| Ok(register.put(read_stamp(from)?, &from.long()?)))?;
    Ok(())
}

fn read_stamp<'a>(from: &mut Reader<'a>) -> Result<Stamp<'a>, ReadError> {
    Ok(Stamp { at: from.long()?, source: from.text()?, event_id: from.text()? })
}
