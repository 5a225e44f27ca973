//! A piece of an aggregate to the record of `rollbook.state`, and back.
//!
//! Canonical: pieces that hold the same facts (and the same notes of the caller) encode to the same bytes. Reading goes
//! through the joins, so that no bytes can make a state that breaks their invariants.

use crate::avro::{self, ReadError, Reader, Writer};
use crate::event::Millis;
use crate::lattice::{IdSet, IntervalSet, Latest, Register, Stamp, TimeSet};

use super::connection::Connection;
use super::entry::{EntryPiece, ReactionSets};
use super::member::{FactKind, MemberPiece};
use super::poll::PollPiece;

/// A piece read back. Which entry an entry's piece belongs to stands in the record's key.
#[derive(Clone, Debug)]
pub enum Piece {
    Member(MemberPiece),
    Entry(Box<EntryPiece>),
}

/// Reads a record of `rollbook.state`, single-object header included.
pub fn decode_piece(record: &[u8]) -> Result<Piece, ReadError> {
    let mut from = Reader::object(&avro::STATE, record)?;
    let member = from.option(read_member)?;
    let entry = from.option(read_entry)?;
    if !from.0.is_empty() {
        return Err(ReadError::Length);
    }
    match (member, entry) {
        (Some(member), None) => Ok(Piece::Member(member)),
        (None, Some(entry)) => Ok(Piece::Entry(Box::new(entry))),
        _ => Err(ReadError::Branch),
    }
}

impl MemberPiece {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write(&mut out);
        out.0
    }

    /// Appends the piece's record.
    pub fn write(&self, out: &mut Writer) {
        out.0.extend_from_slice(&avro::STATE.header);
        out.option(Some(self), |out, piece| {
            out.array(piece.facts.iter(), |out, (kind, at)| {
                out.long(symbol(*kind));
                out.long(at.0);
            });
            out.array(piece.presences.iter(), |out, (entry, at)| {
                out.text(entry);
                out.long(at.0);
            });
            out.long(piece.row_hash.cast_signed());
        });
        out.option(None::<()>, |_, ()| ());
    }
}

/// Position in the schema's enum, where 0 is UNKNOWN.
fn symbol(kind: FactKind) -> i64 {
    FactKind::ALL.into_iter().zip(1..).find(|(known, _)| *known == kind).map_or(0, |(_, symbol)| symbol)
}

fn read_member(from: &mut Reader<'_>) -> Result<MemberPiece, ReadError> {
    let mut piece = MemberPiece::default();
    from.array(|from| {
        let (symbol, at) = (from.long()?, from.long()?);
        let (kind, _) =
            FactKind::ALL.into_iter().zip(1..).find(|(_, known)| *known == symbol).ok_or(ReadError::Branch)?;
        piece.facts.at(&kind, |kind| *kind).join(at);
        Ok(())
    })?;
    from.array(|from| {
        let entry = from.text()?;
        piece.presences.at(entry, |id| id.into()).join(from.long()?);
        Ok(())
    })?;
    piece.row_hash = from.long()?.cast_unsigned();
    Ok(piece)
}

impl EntryPiece {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write(&mut out);
        out.0
    }

    /// Appends the piece's record.
    pub fn write(&self, out: &mut Writer) {
        out.0.extend_from_slice(&avro::STATE.header);
        out.option(None::<()>, |_, ()| ());
        out.option(Some(self), write_entry);
    }
}

fn write_entry(out: &mut Writer, piece: &EntryPiece) {
    out.bool(piece.counted);
    out.long(piece.last_sign_at.0);
    write_register(out, &piece.entry_name, write_text);
    write_register(out, &piece.channel_id, |out, value| out.long(*value));
    for text in [&piece.channel_name, &piece.email, &piece.user] {
        write_register(out, text, write_text);
    }
    for set in piece.intervals() {
        write_intervals(out, set);
    }
    write_ids(out, &piece.plays);
    for ids in piece.reactions.all() {
        write_ids(out, ids);
    }
    out.array(piece.connections.iter(), |out, (id, connection)| {
        out.long(id.cast_signed());
        for times in connection.sets() {
            write_times(out, times);
        }
    });
    out.array(piece.polls.iter(), |out, (id, poll)| write_poll(out, id, poll));
    out.long(piece.engagement_row_hash.cast_signed());
    out.long(piece.polls_row_hash.cast_signed());
}

fn read_entry(from: &mut Reader<'_>) -> Result<EntryPiece, ReadError> {
    let mut piece = EntryPiece { counted: from.bool()?, last_sign_at: Latest(from.long()?), ..EntryPiece::default() };
    piece.entry_name = read_register(from, read_text)?;
    piece.channel_id = read_register(from, Reader::long)?;
    for text in [&mut piece.channel_name, &mut piece.email, &mut piece.user] {
        *text = read_register(from, read_text)?;
    }
    let live = &mut piece.live;
    for set in [
        &mut live.high,
        &mut live.good,
        &mut live.fair,
        &mut live.low,
        &mut live.no,
        &mut piece.recorded,
        &mut piece.playhead,
    ] {
        *set = read_intervals(from)?;
    }
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
            *times = read_times(from)?;
        }
        piece.connections.at(&id, |id| *id).join(&connection);
        Ok(())
    })?;
    from.array(|from| {
        let id = from.text()?;
        let poll = read_poll(from)?;
        piece.polls.at(id, |id| id.into()).join(poll);
        Ok(())
    })?;
    piece.engagement_row_hash = from.long()?.cast_unsigned();
    piece.polls_row_hash = from.long()?.cast_unsigned();
    Ok(piece)
}

fn write_poll(out: &mut Writer, id: &str, poll: &PollPiece) {
    out.text(id);
    out.long(poll.first_at.0);
    let (stamp, answer) = poll.answer.stated().expect("every event of a poll states an answer");
    write_statement(out, stamp, answer, write_text);
    write_register(out, &poll.poll_type, write_text);
    write_register(out, &poll.question, write_text);
    write_register(out, &poll.position, |out, value| out.long(*value));
}

fn read_poll(from: &mut Reader<'_>) -> Result<PollPiece, ReadError> {
    let mut poll = PollPiece::default();
    poll.first_at.join(from.long()?);
    read_statement(from, &mut poll.answer, read_text)?;
    poll.poll_type = read_register(from, read_text)?;
    poll.question = read_register(from, read_text)?;
    poll.position = read_register(from, Reader::long)?;
    Ok(poll)
}

#[expect(clippy::ptr_arg, reason = "the type of a register's value")]
fn write_text(out: &mut Writer, text: &String) {
    out.text(text);
}

fn read_text(from: &mut Reader<'_>) -> Result<String, ReadError> {
    Ok(from.text()?.to_owned())
}

fn write_register<V: Ord>(out: &mut Writer, register: &Register<V>, value: impl Fn(&mut Writer, &V)) {
    out.option(register.stated(), |out, (stamp, stated)| write_statement(out, stamp, stated, value));
}

fn write_statement<V>(out: &mut Writer, stamp: Stamp<'_>, stated: &V, value: impl Fn(&mut Writer, &V)) {
    out.long(stamp.at);
    out.text(stamp.source);
    out.text(stamp.event_id);
    value(out, stated);
}

fn read_register<'a, V: Ord + Clone + Default>(
    from: &mut Reader<'a>,
    value: impl Fn(&mut Reader<'a>) -> Result<V, ReadError>,
) -> Result<Register<V>, ReadError> {
    let mut register = Register::default();
    from.option(|from| read_statement(from, &mut register, value))?;
    Ok(register)
}

fn read_statement<'a, V: Ord + Clone>(
    from: &mut Reader<'a>,
    register: &mut Register<V>,
    value: impl Fn(&mut Reader<'a>) -> Result<V, ReadError>,
) -> Result<(), ReadError> {
    let stamp = Stamp { at: from.long()?, source: from.text()?, event_id: from.text()? };
    register.put(stamp, &value(from)?);
    Ok(())
}

/// As gaps: the first start, its length, the gap to the next start, its length, …
fn write_intervals(out: &mut Writer, set: &IntervalSet) {
    if !set.is_empty() {
        out.length(2 * set.iter().len());
        let mut last = 0;
        for bound in set.iter().flat_map(|(start, end)| [start, end]) {
            // Wraps for intervals longer than 63 bits, and wraps back where it is read.
            out.long(bound.wrapping_sub(last));
            last = bound;
        }
    }
    out.long(0);
}

fn read_intervals(from: &mut Reader<'_>) -> Result<IntervalSet, ReadError> {
    let mut set = IntervalSet::default();
    let mut last: i64 = 0;
    let mut open = None;
    from.array(|from| {
        last = last.wrapping_add(from.long()?);
        match open.take() {
            None => open = Some(last),
            Some(start) => {
                set.insert(start, last);
            }
        }
        Ok(())
    })?;
    if open.is_some() { Err(ReadError::Length) } else { Ok(set) }
}

fn write_times(out: &mut Writer, times: &TimeSet) {
    let mut last = 0;
    out.array(times.iter(), |out, at| {
        out.long(at.wrapping_sub(last));
        last = at;
    });
}

fn read_times(from: &mut Reader<'_>) -> Result<TimeSet, ReadError> {
    let mut times = Vec::new();
    let mut last: Millis = 0;
    from.array(|from| {
        last = last.wrapping_add(from.long()?);
        times.push(last);
        Ok(())
    })?;
    Ok(times.into_iter().collect())
}

fn write_ids(out: &mut Writer, ids: &IdSet) {
    out.length(8 * ids.len());
    for id in ids.iter() {
        out.0.extend_from_slice(&id.to_be_bytes());
    }
}

fn read_ids(from: &mut Reader<'_>) -> Result<IdSet, ReadError> {
    let (ids, rest) = from.bytes()?.as_chunks();
    if !rest.is_empty() {
        return Err(ReadError::Length);
    }
    Ok(ids.iter().map(|id| u64::from_be_bytes(*id)).collect())
}
