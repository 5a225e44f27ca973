//! The rows on disk: an append-only file of JSON lines, one whole row per change.
//!
//! Each request's changes are written and synced in one go before its answer leaves, so an answered write survives a
//! crash. A torn last line belongs to a request that was never answered and is dropped. At start the file is rewritten
//! with one line per row, into a second file that then takes the first one's name. So a second process on the same
//! directory would write into a file that is gone, and rows of an object that the schema lacks would be lost: both are
//! refused.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::table::{Cell, Record, Table};
use crate::id::SalesforceId;

const FILE: &str = "rows.jsonl";
/// Locked as long as a process has the directory; the lock ends with the process, however that ends.
const LOCK: &str = "lock";

/// The open file.
pub struct Journal {
    file: File,
    /// Bytes in it.
    length: u64,
    /// Bytes of whole lines that were found when it was opened, before it was compacted.
    recovered: u64,
    path: PathBuf,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot use the data directory `{path}`")]
    Io { path: PathBuf, source: io::Error },
    #[error("line {line} of `{path}` is no row\nhint: move the file away to start with an empty org")]
    Line { path: PathBuf, line: usize },
    #[error(
        "line {line} of `{path}` is of `{object}`, which the schema does not have\n\
         hint: start with the --schema that these rows were written with, or with another --data"
    )]
    Object { path: PathBuf, line: usize, object: String },
    #[error("another process uses the data directory `{path}`\nhint: give each emulator its own")]
    InUse { path: PathBuf },
}

impl Journal {
    /// Reads what is there into `tables` and leaves a compacted file.
    pub fn open(directory: &Path, tables: &mut [Table]) -> Result<Self, JournalError> {
        let path = directory.join(FILE);
        let fail = |source| JournalError::Io { path: path.clone(), source };
        fs::create_dir_all(directory).map_err(fail)?;
        let lock = File::create(directory.join(LOCK)).map_err(fail)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::InUse { path: directory.to_owned() },
            TryLockError::Error(source) => fail(source),
        })?;
        let recovered = match File::open(&path) {
            Ok(file) => replay(BufReader::new(file), tables).map_err(|problem| match problem {
                Problem::Io(source) => fail(source),
                Problem::Line(line) => JournalError::Line { path: path.clone(), line },
                Problem::Object(line, object) => JournalError::Object { path: path.clone(), line, object },
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(fail(error)),
        };
        compact(directory, &path, tables).map_err(fail)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        Ok(Self { file, length, recovered, path, _lock: lock })
    }

    /// Appends lines and waits until they are on disk.
    pub fn append(&mut self, lines: &str) -> Result<(), JournalError> {
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        self.length += written.as_ref().map_or(0, |()| lines.len() as u64);
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }
}

impl Journal {
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn recovered(&self) -> u64 {
        self.recovered
    }
}

enum Problem {
    Io(io::Error),
    Line(usize),
    Object(usize, String),
}

/// The bytes of its whole lines.
fn replay(file: BufReader<File>, tables: &mut [Table]) -> Result<u64, Problem> {
    let (mut bad, mut length) = (None, 0);
    for (number, line) in file.split(b'\n').enumerate() {
        // Only the last line may be torn: a bad one with another after it means damage.
        if let Some(line) = bad {
            return Err(Problem::Line(line));
        }
        let line = line.map_err(Problem::Io)?;
        match restore(&line, tables) {
            _ if line.is_empty() => {}
            Some(Restored::Row) => length += line.len() as u64 + 1,
            Some(Restored::NoTable(object)) => return Err(Problem::Object(number + 1, object)),
            None => bad = Some(number + 1),
        }
    }
    Ok(length)
}

enum Restored {
    Row,
    /// A row of an object that the schema does not have.
    NoTable(String),
}

/// None: the line is no row.
fn restore(line: &[u8], tables: &mut [Table]) -> Option<Restored> {
    let row: Value = serde_json::from_slice(line).ok()?;
    let object = row.get("object")?.as_str()?;
    let id = SalesforceId::parse(row.get("id")?.as_str()?)?;
    let mut record = Record::new(id, row.get("created")?.as_i64()?);
    record.modified = row.get("modified")?.as_i64()?;
    record.deleted = row.get("deleted")?.as_bool()?;
    record.taken_by = row.get("taken_by").and_then(|id| SalesforceId::parse(id.as_str()?));
    let number = row.get("number")?.as_u64()?;
    let fields = row.get("fields")?.as_object()?;
    let Some(table) = tables.iter_mut().find(|table| table.object == object) else {
        return Some(Restored::NoTable(object.to_owned()));
    };
    for (name, value) in fields {
        let column = table.column_or_new(name);
        record.set(column, from_json(value)?);
    }
    table.next = table.next.max(number);
    match table.position(id) {
        Some(at) => {
            table.replace(at, record);
        }
        None => {
            table.push(record);
        }
    }
    Some(Restored::Row)
}

fn compact(directory: &Path, path: &Path, tables: &[Table]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // Rows hold names and addresses: nobody else's business.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let mut out = BufWriter::new(file);
    for table in tables {
        for record in table.rows() {
            out.write_all(line(table, record).as_bytes())?;
        }
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&fresh, path)?;
    // The new name is durable once its directory is.
    File::open(directory)?.sync_all()
}

/// One row as a line; `number` keeps ids from being given twice.
pub fn line(table: &Table, record: &Record) -> String {
    let fields: Map<String, Value> = table
        .columns()
        .iter()
        .enumerate()
        .map(|(column, name)| (name.clone(), to_json(record.cell(column))))
        .filter(|(_, value)| !value.is_null())
        .collect();
    let row = json!({
        "object": table.object, "id": record.id.as_str(), "created": record.created, "modified": record.modified,
        "deleted": record.deleted, "taken_by": record.taken_by.map(|id| id.to_string()), "number": table.next,
        "fields": fields,
    });
    format!("{row}\n")
}

fn to_json(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(value) => (*value).into(),
        Cell::Number(value) => (*value).into(),
        Cell::Text(text) => (**text).into(),
    }
}

fn from_json(value: &Value) -> Option<Cell> {
    Some(match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Bool(*value),
        Value::Number(value) => Cell::Number(value.as_f64()?),
        Value::String(text) => Cell::Text(text.as_str().into()),
        Value::Array(_) | Value::Object(_) => return None,
    })
}
