//! What is to be known of an object: the kinds of answers that the table of `rows` gives.
//!
//! What any room wants to know of an object it asks here. A branch by name wherever objects differ looks simpler; but a
//! fourth object then touches every room that writes, counts, waits for or checks rows, and each of them decides anew what
//! a parent is.

use super::field::{FieldDef, Source};
use super::object::Object;
use super::refusal::RowRefusal;
use crate::avro::Writer;
use crate::fold::{Catalogue, EntryPiece, MemberPiece};
use crate::id::MemberKey;

/// A row of the table.
#[derive(Debug)]
pub struct ObjectDef {
    pub object: Object,
    /// API name.
    pub name: &'static str,
    pub external_id: ExternalId,
    /// Rows of a lower level are written before those of a higher one. 0: no row that is written is its parent.
    pub level: u8,
    pub parents: &'static [ParentDef],
    /// Every field that is written, in the order in which a row has them, without external id and parents.
    pub fields: &'static [FieldDef],
    /// So many of the fields, from the first on, stand in the record that the schema has for the object, at the place in its
    /// union that the number says: they are quicker to write. The others stand by name. 0: the schema has none.
    pub typed: usize,
    pub policy: Policy,
    pub derivation: Derivation,
}

impl ObjectDef {
    /// Its place in the schema's union of rows.
    pub(super) fn branch(&self) -> i64 {
        if self.typed > 0 { i64::from(self.object.number()) } else { 0 }
    }

    /// The objects whose rows are parents of its rows.
    pub fn parent_rows(&self) -> impl Iterator<Item = Object> + use<> {
        self.parents.iter().filter_map(|parent| match parent.of {
            ParentOf::Row(object) => Some(object),
            ParentOf::Campaign | ParentOf::Lead | ParentOf::Contact => None,
        })
    }

    /// Whether a record names parents that it keeps for good, so that a new one is sent otherwise than one that is there.
    pub fn makes(&self) -> bool {
        self.parents.iter().any(|parent| parent.when == When::OnCreate)
    }

    /// The field that a source gives.
    pub fn field_of(&self, source: Source) -> Option<&'static FieldDef> {
        self.fields.iter().find(|field| field.source == source)
    }

    /// The fields that stand in the schema's record.
    pub fn typed_fields(&self) -> &'static [FieldDef] {
        self.fields.get(..self.typed).unwrap_or_default()
    }
}

/// The field that a row is known by.
#[derive(Clone, Copy, Debug)]
pub struct ExternalId {
    pub name: &'static str,
    /// UTF-16 units that it holds.
    pub length: usize,
}

/// A record that a row names.
#[derive(Clone, Copy, Debug)]
pub struct ParentDef {
    pub of: ParentOf,
    /// API name of the field that takes the record's id.
    pub field: &'static str,
    pub when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentOf {
    /// A row that is written, too: that of the same member, of an object that has one for each.
    Row(Object),
    Campaign,
    /// The person, where it is a lead.
    Lead,
    /// The person, where it is a contact.
    Contact,
}

/// When a row is sent with the id of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// An existing record is refused with it.
    OnCreate,
    Always,
}

/// What writing a row may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Make the record, or change it.
    Upsert,
}

/// Of what a row is made, and by whom.
#[derive(Clone, Copy, Debug)]
pub enum Derivation {
    /// One row for each member.
    Member(fn(&mut Writer, &MemberKey, &MemberPiece, &Catalogue) -> Derived),
    /// One for each member and entry.
    Entry(fn(&mut Writer, &MemberKey, &str, &EntryPiece, &Catalogue) -> Derived),
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Derived {
    /// There is none.
    Nothing,
    /// Its record was appended, but for what its end says of the sending (`finish_upsert`).
    Row,
    /// Nothing was appended.
    Refused(RowRefusal),
}
