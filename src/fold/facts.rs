//! The facts of pieces to Avro, and back.
//!
//! A piece is written at every commit that changes it, and read at every start: it says nothing twice. Times are written
//! since the last sign of life, which is near to most of them, and stamps once ([`Stamps`]).
//!
//! Canonical: pieces that hold the same facts encode to the same bytes. Reading goes through the joins, so that no bytes can
//! make a state that breaks their invariants.

use crate::avro::{ReadError, Reader, Writer};
use crate::lattice::{KEYS_MAX, Latest, Register};
use crate::time::Millis;

use super::connection::Connection;
use super::entry::{EntryPiece, ReactionSets};
use super::member::{FactKind, MemberPiece};
use super::poll::{PollPiece, kept};
use super::sets::{read_ids, read_intervals, read_times, write_ids, write_intervals, write_times};
use super::stamps::Stamps;

/// A piece read back. Which entry an entry's piece belongs to stands in the record's key.
#[derive(Clone, Debug)]
pub enum Piece {
    Member(MemberPiece),
    Entry(Box<EntryPiece>),
}

pub(super) fn write_member(out: &mut Writer, piece: &MemberPiece) {
    out.array(piece.facts.iter(), |out, (kind, at)| {
        out.long(symbol(*kind));
        out.long(at.0);
    });
    out.array(piece.presences.iter(), |out, (entry, at)| {
        out.text(entry);
        out.long(at.0);
    });
}

/// Position in the schema's enum, where 0 is UNKNOWN.
fn symbol(kind: FactKind) -> i64 {
    FactKind::ALL.into_iter().zip(1..).find(|(known, _)| *known == kind).map_or(0, |(_, symbol)| symbol)
}

pub(super) fn read_member(from: &mut Reader<'_>) -> Result<MemberPiece, ReadError> {
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
        let at = from.long()?;
        if let Some(latest) = piece.presences.at_within(entry, KEYS_MAX, |id| id.into()) {
            latest.join(at);
        }
        Ok(())
    })?;
    Ok(piece)
}

pub(super) fn write_entry(out: &mut Writer, piece: &EntryPiece) {
    let base = piece.last_sign_at.0;
    let mut stamps = Stamps::since(base);
    out.bool(piece.counted);
    out.long(base);
    out.option(piece.says_something().then_some(piece), |out, piece| {
        write_text(out, &mut stamps, &piece.entry_name);
        write_number(out, &mut stamps, &piece.channel_id);
        for text in [&piece.channel_name, &piece.email, &piece.user] {
            write_text(out, &mut stamps, text);
        }
    });
    for (set, base) in piece.intervals().into_iter().zip(bases(base)) {
        write_intervals(out, set, base);
    }
    write_ids(out, &piece.plays);
    out.option(piece.reactions.any(), |out, sets| sets.all().iter().for_each(|ids| write_ids(out, ids)));
    out.array(piece.connections.iter(), |out, (id, connection)| {
        write_hash(out, *id);
        for times in connection.sets() {
            write_times(out, times, base);
        }
    });
    out.array(piece.polls.iter(), |out, (id, poll)| {
        out.text(id);
        out.long(poll.first_at.0.wrapping_sub(base));
        for text in [&poll.answer, &poll.poll_type, &poll.question] {
            write_text(out, &mut stamps, text);
        }
        write_number(out, &mut stamps, &poll.position);
    });
}

pub(super) fn read_entry<'a>(from: &mut Reader<'a>) -> Result<EntryPiece, ReadError> {
    let (counted, base) = (from.bool()?, from.long()?);
    let mut piece = EntryPiece { counted, last_sign_at: Latest(base), ..EntryPiece::default() };
    let mut stamps = Stamps::since(base);
    from.option(|from| {
        read_text(from, &mut stamps, &mut piece.entry_name)?;
        read_number(from, &mut stamps, &mut piece.channel_id)?;
        for text in [&mut piece.channel_name, &mut piece.email, &mut piece.user] {
            read_text(from, &mut stamps, text)?;
        }
        Ok(())
    })?;
    for (set, base) in piece.intervals_mut().into_iter().zip(bases(base)) {
        *set = read_intervals(from, base)?;
    }
    // Those of before may have more than there are now.
    piece.close_gaps();
    piece.plays = read_ids(from)?;
    let mut reactions = ReactionSets::default();
    from.option(|from| {
        for ids in reactions.all_mut() {
            *ids = read_ids(from)?;
        }
        Ok(())
    })?;
    piece.reactions = reactions.into();
    from.array(|from| {
        let id = read_hash(from)?;
        let mut connection = Connection::default();
        for times in connection.sets_mut() {
            *times = read_times(from, base)?;
        }
        if let Some(ours) = piece.connections.at_within(&id, KEYS_MAX, |id| *id) {
            ours.join(&connection);
        }
        Ok(())
    })?;
    from.array(|from: &mut Reader<'a>| {
        let id = from.text()?;
        let mut poll = PollPiece::default();
        poll.first_at.join(base.wrapping_add(from.long()?));
        for text in [&mut poll.answer, &mut poll.poll_type, &mut poll.question] {
            read_text(from, &mut stamps, text)?;
        }
        read_number(from, &mut stamps, &mut poll.position)?;
        if let Some(ours) = piece.polls.at_within(id, KEYS_MAX, |id| id.into()) {
            ours.join(poll);
        }
        Ok(())
    })?;
    Ok(piece)
}

/// What the intervals are written since, in their order: the last of them are positions, and no times.
fn bases(times: Millis) -> [i64; 7] {
    [times, times, times, times, times, times, 0]
}

fn write_text<'a>(out: &mut Writer, stamps: &mut Stamps<'a>, register: &'a Register<String>) {
    stamps.write(out, register.stated(), |out, text| out.text(text));
}

fn read_text<'a>(
    from: &mut Reader<'a>,
    stamps: &mut Stamps<'a>,
    register: &mut Register<String>,
) -> Result<(), ReadError> {
    stamps.read(from, |from, stamp| {
        register.put(stamp, kept(from.text()?));
        Ok(())
    })
}

fn write_number<'a>(out: &mut Writer, stamps: &mut Stamps<'a>, register: &'a Register<i64>) {
    stamps.write(out, register.stated(), |out, number| out.long(*number));
}

fn read_number<'a>(
    from: &mut Reader<'a>,
    stamps: &mut Stamps<'a>,
    register: &mut Register<i64>,
) -> Result<(), ReadError> {
    stamps.read(from, |from, stamp| {
        register.put(stamp, &from.long()?);
        Ok(())
    })
}

/// 0 stands for none.
fn write_hash(out: &mut Writer, hash: u64) {
    out.option((hash != 0).then_some(hash), |out, hash| out.0.extend_from_slice(&hash.to_be_bytes()));
}

pub(super) fn read_hash(from: &mut Reader<'_>) -> Result<u64, ReadError> {
    let hash = from.option(|from| from.take(size_of::<u64>())?.first_chunk().copied().ok_or(ReadError::Short))?;
    Ok(hash.map_or(0, u64::from_be_bytes))
}
