//! What a field is that is written, and the fields that several objects have.
//!
//! Rows are made of these definitions, and what deploys to an org can be compared with them.

/// One field of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDef {
    /// API name.
    pub name: &'static str,
    pub kind: FieldKind,
    /// Its value comes from people or from a measurement: where the org does not take it, the row is written without it.
    /// Without the others a row would be about nobody, or about nothing.
    pub optional: bool,
    pub source: Source,
    pub mode: Mode,
}

/// Where a field's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What is known of the piece, and the catalogue.
    Facts,
    /// The lead that the member is. It is written as what became of it.
    Person,
    /// The status ladder: one of the campaign's own statuses, which must be there before it is written.
    Ladder,
}

/// What becomes of the field where there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is emptied.
    Replace,
    /// The org keeps what it has.
    ReplaceIfAny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// At most so many UTF-16 units.
    Text(usize),
    /// Number(18, 0).
    Integer,
    /// Number(16, 2): 16 digits before the point, 2 after it.
    Decimal,
    /// Email, at most 80 characters.
    Email,
    /// Lookup(Lead); empty for a Contact.
    LeadLookup,
    /// A picklist whose values Rollbook makes.
    Picklist,
}

/// Length of an Email field.
pub const EMAIL_LENGTH: usize = 80;

/// Length of the external id of our own objects.
pub(super) const EXTERNAL_ID_LENGTH: usize = 255;

/// Name of the external id field, as `deploy/salesforce` has it.
pub(super) const EXTERNAL_ID: &str = "external_id__c";

const fn optional(name: &'static str, kind: FieldKind) -> FieldDef {
    FieldDef { name, kind, optional: true, source: Source::Facts, mode: Mode::Replace }
}

pub(super) const fn text(name: &'static str, length: usize) -> FieldDef {
    optional(name, FieldKind::Text(length))
}

pub(super) const fn integer(name: &'static str) -> FieldDef {
    optional(name, FieldKind::Integer)
}

pub(super) const fn decimal(name: &'static str) -> FieldDef {
    optional(name, FieldKind::Decimal)
}

pub(super) const LEAD: FieldDef =
    FieldDef { optional: false, source: Source::Person, ..optional("Lead__c", FieldKind::LeadLookup) };
pub(super) const ENTRY_ID: FieldDef = FieldDef { optional: false, ..text("entry_id__c", 11) };
pub(super) const ENTRY_NAME: FieldDef = text("entry_name__c", 200);
pub(super) const EMAIL: FieldDef = optional("email__c", FieldKind::Email);
