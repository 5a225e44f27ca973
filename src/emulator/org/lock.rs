//! Row locks: a write locks its row and every parent that the row points to, until its request ends.
//!
//! The org carries requests out one after another, so a lock matters only while a request *lasts*: the server keeps the
//! locks of a finished transaction until its answer leaves. Whoever meets one of them takes back what it did and tries
//! again when they are released; since nobody waits with locks in hand, nobody can wait in a circle.

use std::collections::HashSet;

use super::Org;
use super::table::Record;
use crate::emulator::schema::{FieldKind, ObjectDef};
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

/// Who has which rows.
#[derive(Default)]
pub(super) struct Locks {
    /// On order, until they are freed on order.
    ordered: HashSet<SalesforceId>,
    /// Of requests that are carried out and not yet answered.
    kept: HashSet<SalesforceId>,
    /// Of the transaction under way.
    taken: HashSet<SalesforceId>,
    /// The transaction under way met a lock of another request.
    met: bool,
}

impl Org {
    /// Locks a record as if somebody else held it for longer than anybody waits.
    pub fn lock_record(&mut self, id: &str) {
        self.locks.ordered.extend(SalesforceId::parse(id));
    }

    pub fn unlock_record(&mut self, id: &str) {
        if let Some(id) = SalesforceId::parse(id) {
            self.locks.ordered.remove(&id);
        }
    }

    /// A transaction begins: it has no locks yet.
    pub fn begin(&mut self) {
        self.locks.taken.clear();
        self.locks.met = false;
    }

    /// Whether the transaction met a row that another request still has.
    pub fn met_lock(&self) -> bool {
        self.locks.met
    }

    /// The transaction's locks outlive it, until [`Org::release_locks`].
    pub fn keep_locks(&mut self) -> Vec<SalesforceId> {
        let taken: Vec<SalesforceId> = self.locks.taken.drain().collect();
        self.locks.kept.extend(&taken);
        taken
    }

    pub fn release_locks(&mut self, ids: &[SalesforceId]) {
        for id in ids {
            self.locks.kept.remove(id);
        }
    }

    /// Locks a row and its parents. Owners are not among them: whoever owns everything would lock everything.
    pub(super) fn lock(&mut self, object: &ObjectDef, record: &Record) -> Result<(), Refusal> {
        let parent = |field: &&_| {
            let field: &crate::emulator::schema::FieldDef = field;
            let user = field.reference_to.iter().any(|object| object == "User");
            field.kind == FieldKind::Reference && field.derived.is_none() && !user
        };
        let parents = object.fields.iter().filter(parent);
        let parents = parents.filter_map(|field| SalesforceId::parse(self.text(record, object, &field.name)?));
        let ids: Vec<SalesforceId> = std::iter::once(record.id).chain(parents).collect();
        let locks = &mut self.locks;
        if let Some(id) = ids.iter().find(|id| locks.kept.contains(id) || locks.ordered.contains(id)) {
            locks.met |= locks.kept.contains(id);
            let message = format!("unable to obtain exclusive access to this record or 1 records: {id}");
            return Err(Refusal::bad("UNABLE_TO_LOCK_ROW", message));
        }
        locks.taken.extend(ids);
        Ok(())
    }
}
