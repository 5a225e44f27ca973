//! The table of objects: one file each, with its fields, its parents and how its row is derived.

mod engagement;
mod member;
mod polls;

use std::fmt;

use super::def::ObjectDef;
use super::field::FieldDef;
use super::object::Object;

/// By number, from 1 on without a gap.
const OBJECTS: &[&ObjectDef] = &[&member::DEF, &engagement::DEF, &polls::DEF];

impl Object {
    #[expect(clippy::indexing_slicing, reason = "the compiler evaluates it, and refuses what is out of bounds")]
    pub const ALL: [Self; OBJECTS.len()] = {
        let mut all = [OBJECTS[0].object; OBJECTS.len()];
        let mut at = 1;
        while at < all.len() {
            all[at] = OBJECTS[at].object;
            assert!(all[at].number() as usize == at + 1, "the numbers have no gap");
            at += 1;
        }
        all
    };

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|object| object.number() == number)
    }

    pub fn from_api_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|object| object.api_name() == name)
    }

    pub fn def(self) -> &'static ObjectDef {
        let at = usize::from(self.number()).wrapping_sub(1);
        OBJECTS.get(at).expect("objects are made of the table, whose numbers have no gap")
    }

    /// API name.
    pub fn api_name(self) -> &'static str {
        self.def().name
    }

    pub fn fields(self) -> &'static [FieldDef] {
        self.def().fields
    }

    /// Whether rows of another object have its rows for parents.
    pub fn is_parent(self) -> bool {
        OBJECTS.iter().any(|def| def.parent_rows().any(|parent| parent == self))
    }

    /// The field of this name, if a row may go without it. Salesforce compares names without regard to case.
    pub fn optional_field(self, name: &str) -> Option<&'static FieldDef> {
        self.fields().iter().find(|field| field.optional && field.name.eq_ignore_ascii_case(name))
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.api_name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::upsert::{ParentOf, When};

    #[test]
    fn the_table_keeps_its_word() {
        for object in Object::ALL {
            let def = object.def();
            assert_eq!(
                (Object::from_number(object.number()), Object::from_api_name(def.name)),
                (Some(object), Some(object))
            );
            let parents = def.parents.iter().filter_map(|parent| match parent.of {
                ParentOf::Row(of) => Some((of.def().level, parent.when)),
                ParentOf::Campaign | ParentOf::Lead | ParentOf::Contact => None,
            });
            let above: Vec<_> = parents.collect();
            let level = above.iter().map(|(level, _)| level + 1).max().unwrap_or(0);
            assert_eq!(def.level, level, "{object:?} stands one below the lowest of its parents");
            assert!(above.iter().all(|(_, when)| *when == When::Always), "{object:?}: rows follow their parents");
            let own = def.fields.iter().map(|field| field.name);
            let names = own.chain(def.parents.iter().map(|parent| parent.field)).chain([def.external_id.name]);
            let names: Vec<String> = names.map(str::to_ascii_lowercase).collect();
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{object:?} has a field once");
        }
        assert_eq!((Object::from_number(0), Object::from_number(200)), (None, None));
    }
}
