//! One field: what it holds, who may set it, and how it is derived when nobody sets it.

use serde_json::Value;

/// A field as the integration user sees it. `createable` and `updateable` already include its permissions.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "Salesforce's own independent field properties")]
pub struct FieldDef {
    pub name: String,
    pub label: String,
    pub kind: FieldKind,
    /// Characters; 0 where a length means nothing.
    pub length: usize,
    pub custom: bool,
    /// A create without it fails with `REQUIRED_FIELD_MISSING`, unless it has a default.
    pub required: bool,
    pub nillable: bool,
    pub unique: bool,
    /// Of the unique index and of the match by external id.
    pub case_sensitive: bool,
    pub external_id: bool,
    /// Usable in `PATCH /sobjects/X/{field}/{value}`.
    pub id_lookup: bool,
    pub createable: bool,
    pub updateable: bool,
    pub name_field: bool,
    pub default: Option<Value>,
    pub picklist: Vec<String>,
    /// Values outside of `picklist` are refused.
    pub restricted: bool,
    /// Objects that a reference may point to.
    pub reference_to: Vec<String>,
    /// Name of the parent in SOQL paths (`Lead`, `Lead__r`).
    pub relationship_name: Option<String>,
    /// Name of the list of children on the parent.
    pub child_relationship: Option<String>,
    /// The record goes with its parent: the field of a master-detail relationship.
    pub cascade: bool,
    /// Display format of an auto-number, such as `USE-{000000}`.
    pub auto_number: Option<String>,
    /// Never stored: computed from other fields whenever it is read.
    pub derived: Option<Derived>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Id,
    Text,
    TextArea,
    /// Answered as a double: `1.0`.
    Number {
        precision: u8,
        scale: u8,
    },
    /// A standard whole number, answered without a decimal point.
    Int,
    Boolean,
    Date,
    DateTime,
    Email,
    Phone,
    Url,
    Picklist,
    Reference,
}

/// How a read-only field of a standard object follows from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derived {
    /// First and last name, joined by a space.
    FullName,
    /// The first path whose parent exists.
    FirstOf(&'static [&'static str]),
    /// `Contact` when the member has a contact, else `Lead`.
    PersonType,
}

impl FieldDef {
    /// A writable, optional field without constraints.
    pub(super) fn new(name: &str, kind: FieldKind, length: usize) -> Self {
        Self {
            name: name.to_owned(),
            label: name.to_owned(),
            kind,
            length,
            custom: name.ends_with("__c"),
            required: false,
            // A checkbox is never null.
            nillable: kind != FieldKind::Boolean,
            unique: false,
            case_sensitive: false,
            external_id: false,
            id_lookup: false,
            createable: true,
            updateable: true,
            name_field: false,
            default: (kind == FieldKind::Boolean).then_some(Value::Bool(false)),
            picklist: Vec::new(),
            restricted: false,
            reference_to: Vec::new(),
            relationship_name: None,
            child_relationship: None,
            cascade: false,
            auto_number: None,
            derived: None,
        }
    }

    pub(super) fn text(name: &str, length: usize) -> Self {
        Self::new(name, FieldKind::Text, length)
    }

    pub(super) fn reference(name: &str, parents: &[&str]) -> Self {
        let mut field = Self::new(name, FieldKind::Reference, 18);
        field.reference_to = parents.iter().map(|&parent| parent.to_owned()).collect();
        field.relationship_name = name.strip_suffix("Id").map(str::to_owned);
        field
    }

    pub(super) fn picklist(name: &str, length: usize, values: &[&str]) -> Self {
        let mut field = Self::new(name, FieldKind::Picklist, length);
        field.picklist = values.iter().map(|&value| value.to_owned()).collect();
        field
    }

    pub(super) fn required(mut self) -> Self {
        self.required = true;
        self.nillable = false;
        self
    }

    pub(super) fn create_only(mut self) -> Self {
        self.updateable = false;
        self
    }

    pub(super) fn read_only(mut self) -> Self {
        self.createable = false;
        self.updateable = false;
        self
    }

    pub(super) fn derived(mut self, how: Derived) -> Self {
        self.derived = Some(how);
        self.read_only()
    }

    pub(super) fn id_lookup(mut self) -> Self {
        self.id_lookup = true;
        self
    }

    pub(super) fn naming(mut self) -> Self {
        self.name_field = true;
        self
    }

    pub(super) fn default_to(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Digits in all, of a number.
    pub fn precision(&self) -> u8 {
        if let FieldKind::Number { precision, .. } = self.kind { precision } else { 0 }
    }

    /// Digits after the point, of a number.
    pub fn scale(&self) -> u8 {
        if let FieldKind::Number { scale, .. } = self.kind { scale } else { 0 }
    }

    /// A create may leave it out and it still has a value.
    pub fn defaulted_on_create(&self) -> bool {
        self.default.is_some() || self.auto_number.is_some()
    }
}

impl FieldKind {
    /// Holds characters: compared without regard to case, cut by length.
    pub fn textual(self) -> bool {
        matches!(self, Self::Text | Self::TextArea | Self::Email | Self::Phone | Self::Url | Self::Picklist)
    }

    /// Holds a record id.
    pub fn identifier(self) -> bool {
        matches!(self, Self::Id | Self::Reference)
    }

    pub fn numeric(self) -> bool {
        matches!(self, Self::Number { .. } | Self::Int)
    }
}
