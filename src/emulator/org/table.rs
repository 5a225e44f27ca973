//! The rows of one object and the hash indexes over them.
//!
//! Rows are never moved: a row's position is its name inside the emulator, and a deleted row stays, flagged, as it
//! does in a real org's recycle bin. Indexes hold live rows only.

use std::collections::HashMap;

use crate::emulator::schema::{FieldDef, FieldKind, ObjectDef};
use crate::id::SalesforceId;

/// A stored value. What is computed on reading has no cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Number(f64),
    Text(Box<str>),
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: SalesforceId,
    /// Milliseconds since 1970.
    pub created: i64,
    pub modified: i64,
    pub deleted: bool,
    /// The record whose delete took this one along.
    pub taken_by: Option<SalesforceId>,
    /// By column; columns past the end are null.
    cells: Vec<Cell>,
}

/// All rows of an object.
pub struct Table {
    pub object: String,
    columns: Vec<String>,
    rows: Vec<Record>,
    by_id: HashMap<SalesforceId, usize>,
    indexes: Vec<Index>,
    /// Number of the next row; part of its id and its auto-number.
    pub next: u64,
}

/// Live rows by the value of one column.
struct Index {
    column: usize,
    case_sensitive: bool,
    rows: HashMap<Box<str>, Vec<usize>>,
}

impl Cell {
    pub fn text(text: &str) -> Self {
        if text.is_empty() { Self::Null } else { Self::Text(text.into()) }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }
}

impl Record {
    pub fn new(id: SalesforceId, now: i64) -> Self {
        Self { id, created: now, modified: now, deleted: false, taken_by: None, cells: Vec::new() }
    }

    pub fn cell(&self, column: usize) -> &Cell {
        self.cells.get(column).unwrap_or(&Cell::Null)
    }

    pub fn set(&mut self, column: usize, cell: Cell) {
        if self.cells.len() <= column {
            self.cells.resize(column + 1, Cell::Null);
        }
        if let Some(slot) = self.cells.get_mut(column) {
            *slot = cell;
        }
    }
}

impl Table {
    pub fn new(object: &ObjectDef) -> Self {
        let mut table = Self {
            object: object.name.clone(),
            columns: Vec::new(),
            rows: Vec::new(),
            by_id: HashMap::new(),
            indexes: Vec::new(),
            next: 1,
        };
        table.adapt(object);
        table
    }

    /// Takes on what the object is now: new fields are empty, rows stay as they are.
    pub fn adapt(&mut self, object: &ObjectDef) {
        self.indexes.clear();
        for field in object.fields.iter().filter(|field| field.derived.is_none()) {
            let column = self.column_or_new(&field.name);
            if indexed(field) {
                let mut index = Index { column, case_sensitive: exact(field), rows: HashMap::new() };
                for (at, record) in self.rows.iter().enumerate() {
                    index.insert(index.key_of(record), at);
                }
                self.indexes.push(index);
            }
        }
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The journal may know fields that the schema has lost.
    pub fn column_or_new(&mut self, name: &str) -> usize {
        self.column(name).unwrap_or_else(|| {
            self.columns.push(name.to_owned());
            self.columns.len() - 1
        })
    }

    /// Deleted rows included, oldest first.
    pub fn rows(&self) -> &[Record] {
        &self.rows
    }

    pub fn row(&self, at: usize) -> Option<&Record> {
        self.rows.get(at)
    }

    pub fn position(&self, id: SalesforceId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub fn by_id(&self, id: SalesforceId) -> Option<&Record> {
        self.row(self.position(id)?)
    }

    /// Live rows that hold `value` in an indexed column; None if the column has no index.
    pub fn find(&self, column: usize, value: &str) -> Option<&[usize]> {
        let index = self.indexes.iter().find(|index| index.column == column)?;
        Some(index.rows.get(&*index.key(value)).map_or(&[], Vec::as_slice))
    }

    pub fn push(&mut self, record: Record) -> usize {
        let at = self.rows.len();
        self.by_id.insert(record.id, at);
        for index in &mut self.indexes {
            let key = index.key_of(&record);
            index.insert(key, at);
        }
        self.rows.push(record);
        at
    }

    /// Puts `record` in the place of the row at `at` and hands back what stood there.
    pub fn replace(&mut self, at: usize, record: Record) -> Option<Record> {
        let slot = self.rows.get_mut(at)?;
        for index in &mut self.indexes {
            let (before, after) = (index.key_of(slot), index.key_of(&record));
            // A campaign's entry lists all of its members: touch it only if the row leaves or comes.
            if before != after {
                index.remove(before, at);
                index.insert(after, at);
            }
        }
        Some(std::mem::replace(slot, record))
    }

    /// Takes the newest row away again.
    pub fn pop(&mut self) {
        let Some(record) = self.rows.pop() else { return };
        self.by_id.remove(&record.id);
        for index in &mut self.indexes {
            let key = index.key_of(&record);
            index.remove(key, self.rows.len());
        }
    }
}

impl Index {
    /// None for a row that is not in the index.
    fn key_of(&self, record: &Record) -> Option<Box<str>> {
        let text = record.cell(self.column).as_str().filter(|_| !record.deleted)?;
        Some(self.key(text))
    }

    fn insert(&mut self, key: Option<Box<str>>, at: usize) {
        if let Some(key) = key {
            self.rows.entry(key).or_default().push(at);
        }
    }

    fn remove(&mut self, key: Option<Box<str>>, at: usize) {
        let Some(key) = key else { return };
        let Some(rows) = self.rows.get_mut(&key) else { return };
        // What is taken back is new, so it stands near the end.
        if let Some(place) = rows.iter().rposition(|row| *row == at) {
            rows.remove(place);
        }
        if rows.is_empty() {
            self.rows.remove(&key);
        }
    }

    fn key(&self, text: &str) -> Box<str> {
        if self.case_sensitive { text.into() } else { text.to_lowercase().into() }
    }
}

/// Fields that are looked up by value. An owner is not: all rows have the same.
fn indexed(field: &FieldDef) -> bool {
    let lookup = field.kind == FieldKind::Reference && !field.reference_to.iter().any(|object| object == "User");
    lookup || field.kind.textual() && (field.unique || field.external_id || field.id_lookup)
}

fn exact(field: &FieldDef) -> bool {
    field.kind.identifier() || field.case_sensitive
}
