//! A piece of an aggregate to the record of `rollbook.state`, and back.
//!
//! A record is an envelope: the kind of the subject, the facts, a branch for each kind of piece, and the marks. Whose piece
//! it is stands in the record's key. Two pieces of the same facts and marks are the same bytes.

use crate::avro::{self, ReadError, Reader, Writer};
use crate::id::SubjectKind;

use super::earlier;
use super::entry::EntryPiece;
use super::facts::{self, Piece};
use super::marks::Marks;
use super::member::MemberPiece;

/// Places of the kinds of pieces in the schema's union.
const MEMBER_BRANCH: i64 = 0;
const ENTRY_BRANCH: i64 = 1;

/// Reads a record of `rollbook.state`, single-object header included.
pub fn decode_piece(record: &[u8]) -> Result<Piece, ReadError> {
    let Ok(mut from) = Reader::object(&avro::STATE, record) else { return earlier::decode(record) };
    if from.long()? != SubjectKind::Member as i64 {
        return Err(ReadError::Branch);
    }
    let piece = match from.long()? {
        MEMBER_BRANCH => {
            let read = facts::read_member(&mut from)?;
            Piece::Member(MemberPiece { marks: Marks::read(&mut from)?, ..read })
        }
        ENTRY_BRANCH => {
            let read = facts::read_entry(&mut from)?;
            Piece::Entry(Box::new(EntryPiece { marks: Marks::read(&mut from)?, ..read }))
        }
        _ => return Err(ReadError::Branch),
    };
    if from.0.is_empty() { Ok(piece) } else { Err(ReadError::Length) }
}

/// Begins the record of a piece of a member.
fn begin(out: &mut Writer, branch: i64) {
    out.0.extend_from_slice(&avro::STATE.header);
    out.long(SubjectKind::Member as i64);
    out.long(branch);
}

impl MemberPiece {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write(&mut out);
        out.0
    }

    /// What it says: the record without its marks, which are the same for pieces of the same facts.
    pub fn encode_facts(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write_facts(&mut out);
        out.0
    }

    /// Appends the piece's record.
    pub fn write(&self, out: &mut Writer) {
        self.write_facts(out);
        self.marks.write(out);
    }

    fn write_facts(&self, out: &mut Writer) {
        begin(out, MEMBER_BRANCH);
        facts::write_member(out, self);
    }
}

impl EntryPiece {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write(&mut out);
        out.0
    }

    /// See [`MemberPiece::encode_facts`].
    pub fn encode_facts(&self) -> Vec<u8> {
        let mut out = Writer::default();
        begin(&mut out, ENTRY_BRANCH);
        facts::write_entry(&mut out, self);
        out.0
    }

    /// Appends the piece's record.
    pub fn write(&self, out: &mut Writer) {
        begin(out, ENTRY_BRANCH);
        facts::write_entry(out, self);
        self.marks.write(out);
    }
}
