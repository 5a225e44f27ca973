//! The org: rows, indexes, rules. Synchronous and single-threaded; the server puts one lock around it.
//!
//! A request is a transaction: [`Org::commit`] makes its changes durable, [`Org::rollback_to`] takes back those since a
//! savepoint. Every rule of Salesforce that a writer can run into is checked here, whichever resource the row came by.

mod check;
mod delete;
mod deployed;
mod draft;
mod journal;
mod lock;
mod member;
mod number;
mod people;
mod rules;
mod seed;
mod status;
mod table;
mod time;
mod write;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::schema::{Derived, FieldDef, FieldKind, ObjectDef, Schema, Source};
use crate::id::SalesforceId;
use deployed::Deployed;
use journal::Journal;
use lock::Locks;
use rules::Rules;
use table::Table;

pub use check::cell_of;
pub use draft::{Access, Body};
pub use journal::JournalError;
pub use number::numbered_id;
pub use rules::{DuplicateRule, ValidationRule};
pub use seed::Person;
pub use table::{Cell, Record};
pub use time::{now, timestamp, timestamp_now};

/// Rows and rules of one emulated org.
pub struct Org {
    schema: Arc<Schema>,
    tables: Vec<Table>,
    journal: Option<Journal>,
    deployed: Deployed,
    /// What the open transaction changed, oldest first.
    undo: Vec<Undo>,
    /// Rows that were changed, until somebody counts them.
    changes: Vec<(String, Change)>,
    locks: Locks,
    rules: Rules,
    converted_leads_editable: bool,
    organization: SalesforceId,
    user: SalesforceId,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created,
    Updated,
    Deleted,
}

/// How one change is taken back.
struct Undo {
    table: usize,
    row: usize,
    /// None: the row was new.
    before: Option<Record>,
}

impl Change {
    /// `before` is None for a new row.
    fn of(before: Option<&Record>, after: &Record) -> Self {
        match before {
            None => Self::Created,
            Some(before) if after.deleted && !before.deleted => Self::Deleted,
            Some(_) => Self::Updated,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

impl Org {
    /// Opens the org: the rows of `data`, or an empty one with its organization and integration user.
    /// `id` is that of a new org; one that was kept keeps its own.
    pub fn open(
        mut schema: Schema,
        data: Option<&Path>,
        username: &str,
        id: Option<SalesforceId>,
    ) -> Result<Self, JournalError> {
        let deployed = Deployed::open(data, &mut schema)?;
        let mut tables: Vec<Table> = schema.declared().map(Table::new).collect();
        let journal = data.map(|directory| Journal::open(directory, &mut tables)).transpose()?;
        let mut org = Self {
            schema: Arc::new(schema),
            tables,
            journal,
            deployed,
            undo: Vec::new(),
            changes: Vec::new(),
            locks: Locks::default(),
            rules: Rules::default(),
            converted_leads_editable: false,
            organization: id.unwrap_or_else(|| number::first_id("00D")),
            user: number::first_id("005"),
        };
        if let Some(kept) = org.rows("Organization").first() {
            org.organization = kept.id;
        }
        org.seed(username);
        org.commit()?;
        Ok(org)
    }

    pub fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.schema)
    }

    /// Takes on the schema that a deployment of `sources` made. Rows stay; new fields of theirs are empty.
    pub fn adopt(&mut self, schema: Schema, sources: Vec<Source>) -> Result<(), JournalError> {
        self.deployed.keep(sources)?;
        for object in schema.declared() {
            match self.tables.iter_mut().find(|table| table.object == object.name) {
                Some(table) => table.adapt(object),
                None => self.tables.push(Table::new(object)),
            }
        }
        self.schema = Arc::new(schema);
        Ok(())
    }

    pub fn org_id(&self) -> &str {
        self.organization.as_str()
    }

    pub fn user_id(&self) -> &str {
        self.user.as_str()
    }

    /// Rows of an object, oldest first, deleted ones included. Empty for an object that does not exist.
    pub fn rows(&self, object: &str) -> &[Record] {
        self.table(object).map_or(&[], Table::rows)
    }

    pub fn record(&self, object: &str, id: &str) -> Option<&Record> {
        self.table(object)?.by_id(SalesforceId::parse(id)?)
    }

    /// Live rows whose indexed field has this value; None if the field has no index.
    pub fn find(&self, object: &str, field: &str, value: &str) -> Option<Vec<&Record>> {
        let table = self.table(object)?;
        let rows = table.find(table.column(field)?, value)?;
        Some(rows.iter().filter_map(|at| table.row(*at)).collect())
    }

    /// A field's value as the API answers it.
    pub fn value(&self, object: &ObjectDef, record: &Record, field: &FieldDef) -> Value {
        match field.name.as_str() {
            "Id" => return record.id.as_str().into(),
            "IsDeleted" => return record.deleted.into(),
            "CreatedDate" => return timestamp(record.created).into(),
            "LastModifiedDate" | "SystemModstamp" => return timestamp(record.modified).into(),
            "CreatedById" | "LastModifiedById" => return self.user.as_str().into(),
            _ => {}
        }
        match field.derived {
            Some(Derived::FullName) => self.full_name(object, record),
            Some(Derived::FirstOf(paths)) => {
                paths.iter().find_map(|path| self.follow(object, record, path)).unwrap_or_default()
            }
            Some(Derived::PersonType) => {
                let contact = self.cell(record, object, "ContactId").is_some_and(|cell| !cell.is_null());
                if contact { "Contact".into() } else { "Lead".into() }
            }
            None => stored_value(self.cell(record, object, &field.name).unwrap_or(&Cell::Null), field.kind),
        }
    }

    /// All live rows of an object with every visible field, oldest first.
    pub fn dump(&self, object: &str) -> Option<Vec<Map<String, Value>>> {
        let object = self.schema.object(object)?;
        let row = |record: &Record| {
            object.fields.iter().map(|field| (field.name.clone(), self.value(object, record, field))).collect()
        };
        Some(self.rows(&object.name).iter().filter(|record| !record.deleted).map(row).collect())
    }

    /// Where the transaction stands; to come back to.
    pub fn savepoint(&self) -> usize {
        self.undo.len()
    }

    pub fn rollback_to(&mut self, savepoint: usize) {
        while self.undo.len() > savepoint {
            let Some(Undo { table, row, before }) = self.undo.pop() else { return };
            let Some(table) = self.tables.get_mut(table) else { return };
            match before {
                Some(record) => {
                    table.replace(row, record);
                }
                None => table.pop(),
            }
        }
    }

    /// Ends the transaction; what it changed is on disk afterwards. On failure nothing of it remains.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        let lines = self.pending();
        let change = |(table, record, before): (&Table, &Record, _)| (table.object.clone(), Change::of(before, record));
        let mut changes = self.changed().map(change).collect();
        // Crash here: the client has no answer, and sends the rows again.
        let written = match self.journal.as_mut().filter(|_| !lines.is_empty()) {
            Some(journal) => journal.append(&lines),
            None => Ok(()),
        };
        match written {
            Ok(()) => {
                self.undo.clear();
                self.changes.append(&mut changes);
            }
            Err(_) => self.rollback_to(0),
        }
        written
    }

    /// How long the journal is once the transaction is in it. None: there is no journal.
    pub fn journal_end(&self) -> Option<u64> {
        Some(self.journal.as_ref()?.length() + self.pending().len() as u64)
    }

    /// How much of the journal was whole when the org was opened.
    pub fn journal_recovered(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::recovered)
    }

    /// The rows that the transaction changed, as the journal takes them.
    fn pending(&self) -> String {
        match &self.journal {
            Some(_) => self.changed().map(|(table, record, _)| journal::line(table, record)).collect(),
            None => String::new(),
        }
    }

    /// The rows that the transaction changed, each once, with what stood there before.
    fn changed(&self) -> impl Iterator<Item = (&Table, &Record, Option<&Record>)> {
        let mut seen = HashSet::new();
        self.undo.iter().filter_map(move |Undo { table, row, before }| {
            let changed = self.tables.get(*table).filter(|_| seen.insert((*table, *row)))?;
            Some((changed, changed.row(*row)?, before.as_ref()))
        })
    }

    /// Rows that committed transactions changed since the last time.
    pub fn take_changes(&mut self) -> Vec<(String, Change)> {
        std::mem::take(&mut self.changes)
    }

    fn table_index(&self, object: &str) -> Option<usize> {
        self.tables.iter().position(|table| table.object == object)
    }

    fn table(&self, object: &str) -> Option<&Table> {
        self.tables.get(self.table_index(object)?)
    }

    fn cell<'a>(&'a self, record: &'a Record, object: &ObjectDef, field: &str) -> Option<&'a Cell> {
        let table = self.table(&object.name)?;
        Some(record.cell(table.column(field)?))
    }

    fn text<'a>(&'a self, record: &'a Record, object: &ObjectDef, field: &str) -> Option<&'a str> {
        self.cell(record, object, field)?.as_str()
    }

    fn full_name(&self, object: &ObjectDef, record: &Record) -> Value {
        let parts = ["FirstName", "LastName"].map(|name| self.text(record, object, name));
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ").into()
    }

    /// Follows `Contact.Account.Name`; None where a parent on the way does not exist.
    fn follow(&self, object: &ObjectDef, record: &Record, path: &str) -> Option<Value> {
        let Some((relationship, rest)) = path.split_once('.') else {
            return Some(self.value(object, record, object.field(path)?));
        };
        let reference = object.relationship(relationship)?;
        let id = self.text(record, object, &reference.name)?;
        let parent = self.schema.object_of_id(id)?;
        let record = self.record(&parent.name, id)?;
        self.follow(parent, record, rest)
    }

    fn table_push(&mut self, table: usize, record: Record) {
        if let Some(rows) = self.tables.get_mut(table) {
            let row = rows.push(record);
            self.undo.push(Undo { table, row, before: None });
        }
    }

    fn table_replace(&mut self, table: usize, row: usize, record: Record) {
        if let Some(before) = self.tables.get_mut(table).and_then(|rows| rows.replace(row, record)) {
            self.undo.push(Undo { table, row, before: Some(before) });
        }
    }
}

fn stored_value(cell: &Cell, kind: FieldKind) -> Value {
    match cell {
        Cell::Null if kind == FieldKind::Boolean => false.into(),
        Cell::Null => Value::Null,
        Cell::Bool(value) => (*value).into(),
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers are checked on writing")]
        Cell::Number(value) if kind == FieldKind::Int => (*value as i64).into(),
        Cell::Number(value) => (*value).into(),
        Cell::Text(text) => (**text).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let mut org = Org::open(Schema::load_embedded(), None, "a@b.example", None).expect("nothing on disk");
        let campaign = org.put_campaign("Conference").expect("a campaign").to_string();
        let person = Person { first_name: "Ann", last_name: "Example", email: "a@b.example", company: Some("C") };
        let lead = org.put_person(&person).expect("a lead").to_string();
        let member = |lead: &str| json!({ "CampaignId": campaign, "LeadId": lead, "external_id__c": lead });
        org.put("CampaignMember", member(&lead)).expect("a member");
        let look = |org: &Org| {
            let rows: Vec<_> =
                ["Campaign", "CampaignMemberStatus", "Lead", "CampaignMember"].map(|o| org.dump(o)).into();
            let found = org.find("CampaignMember", "CampaignId", &campaign).map(|found| found.len());
            let by_key = org.find("CampaignMember", "external_id__c", &lead).map(|found| found.len());
            (rows, found, by_key, org.find("Lead", "Email", "new@b.example").map(|found| found.len()))
        };
        let before = look(&org);

        let savepoint = org.savepoint();
        let email = json!({ "Email": "new@b.example" });
        org.update("Lead", &lead, email.as_object().expect("an object"), Access::User).expect("a good email");
        let other = org.put_person(&person).expect("a lead").to_string();
        org.put("CampaignMember", member(&other)).expect("a member");
        org.delete("Campaign", &campaign, Access::System).expect("it exists");
        assert_ne!(look(&org), before);
        org.rollback_to(savepoint);
        assert_eq!(look(&org), before);
    }
}
