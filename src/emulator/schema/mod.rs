//! The objects and fields of the emulated org.
//!
//! The standard objects are written down in `standard`; custom objects, fields and permission sets are read from an
//! SFDX source tree, the very files that deploy to a real org. A second, hand-written definition of the custom fields
//! would be simpler to load, and would let a test pass with a field that the deployed org does not have.
//!
//! Field-level security is part of it: a custom field that no permission set grants is absent, as it is for the
//! integration user of a real org. Only `fields` of an `ObjectDef` is what that user sees.

mod component;
mod declare;
pub mod describe;
mod element;
mod embedded;
mod field;
mod object;
mod permission;
mod source;
mod standard;

use std::path::Path;

pub use component::Component;
pub use field::{Derived, FieldDef, FieldKind};
pub use object::ObjectDef;
pub use source::{Error, Source};

use permission::Grants;

/// Every object of the org, by name without regard to case.
#[derive(Clone, Debug)]
pub struct Schema {
    objects: Vec<ObjectDef>,
    grants: Grants,
}

impl Schema {
    /// The standard objects alone.
    pub fn standard() -> Self {
        let mut schema = Self { objects: standard::objects(), grants: Grants::default() };
        schema.grant();
        schema
    }

    /// The standard objects and the source tree that ships with Rollbook.
    pub fn load_embedded() -> Self {
        let mut schema = Self::standard();
        schema.apply(&embedded::sources()).expect("the embedded tree is loaded by a test");
        schema
    }

    /// The standard objects and every `objects/` and `permissionsets/` file below `dir`.
    pub fn load_dir(dir: &Path) -> Result<Self, Error> {
        let mut schema = Self::standard();
        schema.apply(&source::read_dir(dir)?)?;
        Ok(schema)
    }

    /// Adds what the sources declare: all of it or nothing.
    pub fn apply(&mut self, sources: &[Source]) -> Result<(), Error> {
        let (next, components) = self.deployed(sources);
        if let Some(error) = components.into_iter().find_map(|component| component.problem) {
            return Err(error);
        }
        *self = next;
        Ok(())
    }

    /// The schema with what is good of the sources, and what became of each component.
    pub fn deployed(&self, sources: &[Source]) -> (Self, Vec<Component>) {
        let mut next = self.clone();
        let mut components = declare::declare(&mut next.objects, sources);
        components.extend(permission::collect(&mut next.grants, &next.objects, sources));
        next.grant();
        (next, components)
    }

    /// The objects that the user sees, in the order of declaration.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectDef> {
        self.objects.iter().filter(|object| object.readable)
    }

    /// All objects, seen or not.
    pub fn declared(&self) -> impl Iterator<Item = &ObjectDef> {
        self.objects.iter()
    }

    pub fn object(&self, name: &str) -> Option<&ObjectDef> {
        self.objects().find(|object| object.name.eq_ignore_ascii_case(name))
    }

    /// The object that a record id belongs to.
    pub fn object_of_id(&self, id: &str) -> Option<&ObjectDef> {
        let prefix = id.get(..3)?;
        self.objects().find(|object| object.key_prefix == prefix)
    }

    fn grant(&mut self) {
        for object in &mut self.objects {
            self.grants.apply(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_tree_loads_and_names_ignore_case() {
        let schema = Schema::load_embedded();
        let member = schema.object("campaignmember").expect("standard object");
        let key = member.field("EXTERNAL_ID__C").expect("required fields need no grant");
        assert_eq!((key.name.as_str(), key.length, key.case_sensitive), ("external_id__c", 100, false));
        assert!(key.required && key.unique && key.external_id && key.id_lookup);
        assert_eq!(
            schema.object_of_id("00vxx0000000001AAA").map(|object| object.name.as_str()),
            Some("CampaignMember")
        );
    }

    #[test]
    fn a_broken_deployment_changes_nothing() {
        let mut schema = Schema::standard();
        let good = Source::new(
            "objects/Lead/fields/Score__c.field-meta.xml",
            "<CustomField><fullName>Score__c</fullName><label>Score</label><type>Text</type><length>9</length>\
             <required>true</required></CustomField>",
        );
        let bad = Source::new("objects/Lead/fields/Bad__c.field-meta.xml", "<CustomField>");
        assert!(schema.apply(&[good.clone(), bad]).is_err());
        assert!(schema.object("Lead").is_some_and(|lead| lead.field("Score__c").is_none()));
        schema.apply(&[good]).expect("the field alone is fine");
        assert!(schema.object("Lead").is_some_and(|lead| lead.field("Score__c").is_some()));
    }
}
