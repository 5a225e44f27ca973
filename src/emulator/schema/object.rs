//! An object of the org: what the integration user sees of it, and what exists.

use std::collections::HashMap;

use super::field::FieldDef;

/// An object as the integration user sees it.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "Salesforce's own independent object properties")]
pub struct ObjectDef {
    pub name: String,
    pub label: String,
    pub plural_label: String,
    /// First three characters of its record ids.
    pub key_prefix: String,
    pub custom: bool,
    pub readable: bool,
    pub createable: bool,
    pub updateable: bool,
    pub deletable: bool,
    /// What the user sees, in the order of declaration.
    pub fields: Vec<FieldDef>,
    by_name: HashMap<String, usize>,
    /// What exists, seen or not.
    pub(super) declared: Vec<FieldDef>,
}

impl ObjectDef {
    pub(super) fn new(name: &str, label: &str, plural_label: &str, key_prefix: &str) -> Self {
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            plural_label: plural_label.to_owned(),
            key_prefix: key_prefix.to_owned(),
            custom: name.ends_with("__c"),
            readable: true,
            createable: true,
            updateable: true,
            deletable: true,
            fields: Vec::new(),
            by_name: HashMap::new(),
            declared: Vec::new(),
        }
    }

    /// A visible field, by name without regard to case.
    pub fn field(&self, name: &str) -> Option<&FieldDef> {
        match self.by_name.get(name) {
            Some(&at) => self.fields.get(at),
            None => self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)),
        }
    }

    /// The lookup behind a relationship name (`Lead`, `Lead__r`).
    pub fn relationship(&self, name: &str) -> Option<&FieldDef> {
        self.fields.iter().find(|field| {
            field.relationship_name.as_deref().is_some_and(|relationship| relationship.eq_ignore_ascii_case(name))
        })
    }

    /// The field that names a record to people: `Name`, mostly.
    pub fn name_field(&self) -> Option<&FieldDef> {
        self.fields.iter().find(|field| field.name_field)
    }

    pub(super) fn declare(&mut self, field: FieldDef) {
        match self.declared.iter_mut().find(|known| known.name.eq_ignore_ascii_case(&field.name)) {
            Some(known) => *known = field,
            None => self.declared.push(field),
        }
    }

    pub(super) fn show(&mut self, fields: Vec<FieldDef>) {
        self.by_name = fields.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
        self.fields = fields;
    }
}
