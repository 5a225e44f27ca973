//! A member's whole state as one value of the disk, and back.

use crate::avro::{Reader, Writer};
use crate::fold::{Aggregate, Piece, decode_piece};
use crate::lattice::Name;

use super::disk::DiskError;

/// Appends the state; nothing for an aggregate that holds nothing.
pub(super) fn write(out: &mut Writer, aggregate: &Aggregate) {
    if aggregate.holds_nothing() {
        return;
    }
    piece(out, |out| aggregate.member.write(out));
    for (entry_id, entry) in aggregate.entries.iter() {
        out.text(entry_id);
        piece(out, |out| entry.write(out));
    }
}

/// Length and record of a piece.
fn piece(out: &mut Writer, write: impl FnOnce(&mut Writer)) {
    let start = out.0.len();
    out.0.extend_from_slice(&[0; LENGTH_BYTES]);
    write(out);
    let len = u32::try_from(out.0.len() - start - LENGTH_BYTES).expect("a piece is no longer than a Kafka record");
    if let Some(place) = out.0.get_mut(start..start + LENGTH_BYTES) {
        place.copy_from_slice(&len.to_le_bytes());
    }
}

const LENGTH_BYTES: usize = 4;

pub(super) fn read(bytes: &[u8]) -> Result<Aggregate, DiskError> {
    let mut from = Reader(bytes);
    let mut aggregate = Aggregate::default();
    match next(&mut from)? {
        (Piece::Member(mut member), len) => {
            member.record_len = len;
            aggregate.member = member;
        }
        (Piece::Entry(_), _) => return Err(DiskError::Content),
    }
    while !from.0.is_empty() {
        let entry_id = from.text().map_err(|_| DiskError::Content)?;
        match next(&mut from)? {
            (Piece::Entry(mut entry), len) => {
                entry.record_len = len;
                *aggregate.entries.at(entry_id, |id| Name::from(id)) = entry;
            }
            (Piece::Member(_), _) => return Err(DiskError::Content),
        }
    }
    Ok(aggregate)
}

/// A piece and the length of its record.
fn next(from: &mut Reader<'_>) -> Result<(Piece, u32), DiskError> {
    let mut read = || {
        let len = u32::from_le_bytes(*from.take(LENGTH_BYTES).ok()?.first_chunk()?);
        Some((decode_piece(from.take(usize::try_from(len).ok()?).ok()?).ok()?, len))
    };
    read().ok_or(DiskError::Content)
}
