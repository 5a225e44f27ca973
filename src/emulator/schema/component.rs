//! What a deployment does to a schema, told component by component.
//!
//! The first error would be enough to say that a tree is no schema. Who deploys wants all of them, each with its place.

use super::source::Error;

/// One object, field or permission set of a deployment, and what became of it.
#[derive(Debug)]
pub struct Component {
    /// Salesforce's word: `CustomField`.
    pub kind: String,
    /// `X__c.a__c` of a field.
    pub name: String,
    pub path: String,
    /// The org did not have it.
    pub created: bool,
    /// The org had none, or another one.
    pub changed: bool,
    pub problem: Option<Error>,
}

impl Component {
    pub fn new(kind: &str, name: &str, path: &str) -> Self {
        let (kind, name, path) = (kind.to_owned(), name.to_owned(), path.to_owned());
        Self { kind, name, path, created: false, changed: false, problem: None }
    }

    /// What was there before, and what is there now.
    pub(super) fn made<T: PartialEq>(mut self, before: Option<&T>, after: &T) -> Self {
        self.created = before.is_none();
        self.changed = before != Some(after);
        self
    }

    #[must_use]
    pub fn failed(mut self, error: Error) -> Self {
        self.problem = Some(error);
        self
    }
}
