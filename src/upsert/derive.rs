//! Which rows an aggregate has: said here once, for whoever sends, shows or compares them.
//!
//! A piece has a row of each object that is derived of pieces of its kind, where that finds one. Whoever lists the objects
//! for himself is the one who forgets the next.

use super::def::{Derivation, Derived};
use super::object::Object;
use super::record::Row;
use super::refusal::RowRefusal;
use super::row::finish_upsert;
use super::sending::Sending;
use crate::avro::Writer;
use crate::fold::{Aggregate, Catalogue, EntryPiece, MemberPiece};
use crate::id::MemberKey;

/// A piece of an aggregate, as rows are derived of it.
#[derive(Clone, Copy, Debug)]
pub enum Facts<'a> {
    Member(&'a MemberPiece),
    /// With the entry's id.
    Entry(&'a str, &'a EntryPiece),
}

impl<'a> Facts<'a> {
    /// All pieces of an aggregate, the member's own first: its rows are parents of the others.
    pub fn of(aggregate: &'a Aggregate) -> impl Iterator<Item = Self> {
        let entries = aggregate.entries.iter().map(|(id, piece)| Self::Entry(id, piece));
        std::iter::once(Self::Member(&aggregate.member)).chain(entries)
    }

    /// The objects that such pieces have rows of.
    pub fn objects(self) -> impl Iterator<Item = Object> + use<> {
        let of_members = matches!(self, Self::Member(_));
        Object::ALL.into_iter().filter(move |object| match object.def().derivation {
            Derivation::Member(_) => of_members,
            Derivation::Entry(_) => !of_members,
        })
    }

    pub fn entry_id(self) -> Option<&'a str> {
        match self {
            Self::Member(_) => None,
            Self::Entry(id, _) => Some(id),
        }
    }
}

/// Appends the record of the piece's row of an object, all but its end.
pub fn write_row(
    out: &mut Writer,
    object: Object,
    member: &MemberKey,
    facts: Facts<'_>,
    catalogue: &Catalogue,
) -> Derived {
    match (object.def().derivation, facts) {
        (Derivation::Member(write), Facts::Member(piece)) => write(out, member, piece, catalogue),
        (Derivation::Entry(write), Facts::Entry(id, piece)) => write(out, member, id, piece, catalogue),
        (Derivation::Member(_), Facts::Entry(..)) | (Derivation::Entry(_), Facts::Member(_)) => Derived::Nothing,
    }
}

/// All rows of a member, for people and tests.
pub fn rows(member: &MemberKey, aggregate: &Aggregate, catalogue: &Catalogue) -> Vec<Result<Row, RowRefusal>> {
    let named = Facts::of(aggregate).flat_map(|facts| facts.objects().map(move |object| (object, facts)));
    named.filter_map(|(object, facts)| row(object, member, facts, catalogue)).collect()
}

/// The piece's row of an object, for people and tests.
pub fn row(
    object: Object,
    member: &MemberKey,
    facts: Facts<'_>,
    catalogue: &Catalogue,
) -> Option<Result<Row, RowRefusal>> {
    let mut out = Writer::default();
    match write_row(&mut out, object, member, facts, catalogue) {
        Derived::Nothing => return None,
        Derived::Refused(refusal) => return Some(Err(refusal)),
        Derived::Row => finish_upsert(&mut out, object, member, &Sending::default()),
    }
    Some(Ok(Row::read(&out.0).expect("a record that was just written")))
}
