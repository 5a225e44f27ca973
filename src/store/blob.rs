//! A member's whole state as one value of the disk, and back.

use crate::avro::{Reader, Writer};
use crate::fold::{Aggregate, Piece, decode_piece};

use super::error::DiskError;

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
        Piece::Member(mut member) => {
            member.count_memory();
            aggregate.member = member;
        }
        Piece::Entry(_) => return Err(DiskError::Content),
    }
    while !from.0.is_empty() {
        let entry_id = from.text().map_err(|_| DiskError::Content)?;
        match next(&mut from)? {
            Piece::Entry(mut entry) => {
                entry.count_memory();
                aggregate.entries.join_at(
                    entry_id,
                    entry,
                    |id| id.into(),
                    |ours, again| {
                        ours.join(*again);
                    },
                );
            }
            Piece::Member(_) => return Err(DiskError::Content),
        }
    }
    Ok(aggregate)
}

fn next(from: &mut Reader<'_>) -> Result<Piece, DiskError> {
    let mut read = || {
        let len = u32::from_le_bytes(*from.take(LENGTH_BYTES).ok()?.first_chunk()?);
        decode_piece(from.take(usize::try_from(len).ok()?).ok()?).ok()
    };
    read().ok_or(DiskError::Content)
}
