//! CSV as it was uploaded: where its rows begin, and what its columns mean.
//!
//! The `csv` crate takes nearly anything for CSV. Salesforce does not: lines must end as the job says, and a quote stands
//! at the edge of a value or is doubled. So one pass over the bytes finds the rows and what is wrong with them, and the
//! crate then reads a few rows at a time from where they begin, without a second copy of them all.

use std::ops::Range;

use csv::{Reader, ReaderBuilder, StringRecord, Terminator};
use serde::{Deserialize, Serialize};

use super::format::Format;
use crate::emulator::schema::{FieldDef, ObjectDef, Schema};

/// Rows and columns of an upload.
pub struct Table {
    pub header: StringRecord,
    pub columns: Vec<Column>,
    rows: Vec<Row>,
}

/// A row by where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    start: usize,
    /// A quote stands where none may.
    broken: bool,
}

/// What the values of a column are for.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    Id,
    Field(String),
    /// `Lead__r.Email`: the record that a lookup points to, by a key of that record.
    Parent {
        lookup: String,
        relationship: String,
        key: String,
    },
}

/// What is done with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    Insert,
    Update,
    Upsert,
    Delete,
}

/// Where the scan of the bytes stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Row,
    Value,
    Inside,
    Quoted,
    /// Behind a quote that ends a value, or is the first of two.
    Quote,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        }
    }
}

impl Table {
    /// Reads the header and finds the rows. An error is the job's error message.
    pub fn read(
        content: &[u8],
        format: Format,
        (schema, object): (&Schema, &ObjectDef),
        (operation, key): (Operation, Option<&str>),
    ) -> Result<Self, String> {
        let text = str::from_utf8(content).map_err(|_| "ClientInputError : the data is not UTF-8")?;
        let mut rows = scan(content, format)?;
        if rows.is_empty() {
            return Ok(Self { header: StringRecord::new(), columns: Vec::new(), rows });
        }
        rows.remove(0);
        // The crate takes a byte order mark away; to Salesforce it is part of the first name.
        if text.starts_with('\u{feff}') {
            let first = text.lines().next().and_then(|line| line.split(char::from(format.delimiter())).next());
            return Err(format!("InvalidBatch : Field name not found : {}", first.unwrap_or_default()));
        }
        let header = reader(content, format).into_records().next().and_then(Result::ok).unwrap_or_default();
        let columns: Vec<Column> = header.iter().map(|name| column(schema, object, name)).collect::<Result<_, _>>()?;
        check(&columns, &header, operation, key)?;
        Ok(Self { header, columns, rows })
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Rows from one number up to another, each with whether its quotes are wrong.
    pub fn rows(
        &self,
        content: &[u8],
        format: Format,
        numbers: Range<usize>,
    ) -> impl Iterator<Item = (StringRecord, bool)> {
        let place = |number: usize| self.rows.get(number).map_or(content.len(), |row| row.start);
        let part = content.get(place(numbers.start)..place(numbers.end)).unwrap_or_default();
        let broken = self.rows.iter().skip(numbers.start).map(|row| row.broken);
        reader(part, format).into_records().map(Result::unwrap_or_default).zip(broken)
    }
}

fn reader(content: &[u8], format: Format) -> Reader<&[u8]> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(format.delimiter())
        .terminator(if format.crlf { Terminator::CRLF } else { Terminator::Any(b'\n') })
        .from_reader(content)
}

/// Every row, the header first. Empty lines are no rows.
fn scan(bytes: &[u8], format: Format) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    let mut place = Place::Row;
    let mut before = 0;
    for (start, &byte) in bytes.iter().enumerate() {
        // A lone carriage return ends no line.
        let torn = format.crlf && before == b'\r' && byte != b'\n';
        if place != Place::Quoted && (torn || byte == b'\n' && format.crlf != (before == b'\r')) {
            let setting = format.line_ending();
            return Err(format!(
                "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {setting}"
            ));
        }
        if place == Place::Row && !matches!(byte, b'\r' | b'\n') {
            rows.push(Row { start, broken: false });
            place = Place::Value;
        }
        let next = match (place, byte) {
            (Place::Quoted, b'"') => Place::Quote,
            (Place::Quoted, _) | (Place::Quote | Place::Value, b'"') => Place::Quoted,
            (_, b'\n') | (Place::Row, _) => Place::Row,
            (_, byte) if byte == format.delimiter() => Place::Value,
            (Place::Quote, b'\r') => Place::Quote,
            (Place::Value | Place::Inside | Place::Quote, _) => Place::Inside,
        };
        let misplaced = place == Place::Inside && byte == b'"' || place == Place::Quote && next == Place::Inside;
        if let (true, Some(row)) = (misplaced, rows.last_mut()) {
            row.broken = true;
        }
        (place, before) = (next, byte);
    }
    if let (Place::Quoted, Some(row)) = (place, rows.last_mut()) {
        row.broken = true;
    }
    Ok(rows)
}

fn column(schema: &Schema, object: &ObjectDef, name: &str) -> Result<Column, String> {
    let unknown = || format!("InvalidBatch : Field name not found : {name}");
    if let Some(field) = object.field(name) {
        return Ok(if field.name == "Id" { Column::Id } else { Column::Field(field.name.clone()) });
    }
    let (kind, path) = name.split_once(':').map_or((None, name), |(kind, path)| (Some(kind), path));
    let (relationship, key) = path.split_once('.').ok_or_else(unknown)?;
    let lookup = object.relationship(relationship).ok_or_else(unknown)?;
    let several = lookup.reference_to.len() > 1;
    if kind.is_some() && !several {
        let message = "type is not needed for non polymorphic foreign key references";
        return Err(format!("InvalidBatch : {message}: {relationship}"));
    }
    let asked = |target: &&String| kind.map_or(!several, |kind| target.eq_ignore_ascii_case(kind));
    let target = lookup.reference_to.iter().find(asked).and_then(|target| schema.object(target)).ok_or_else(unknown)?;
    let key = target.field(key).filter(|key| identifies(key)).ok_or_else(unknown)?;
    Ok(Column::Parent { lookup: lookup.name.clone(), relationship: relationship.to_owned(), key: key.name.clone() })
}

fn identifies(field: &FieldDef) -> bool {
    field.name != "Id" && (field.external_id || field.id_lookup)
}

/// Whether the columns are those that the operation needs.
fn check(columns: &[Column], names: &StringRecord, operation: Operation, key: Option<&str>) -> Result<(), String> {
    for (at, column) in columns.iter().enumerate() {
        if columns.iter().take(at).any(|other| other == column) {
            let name = names.get(at).unwrap_or_default();
            return Err(format!("InvalidBatch : Duplicate field name : {name}"));
        }
    }
    let needed = match operation {
        Operation::Insert => return Ok(()),
        Operation::Delete if columns != [Column::Id] => {
            return Err("InvalidBatch : The 'delete' batch must contain only ids".to_owned());
        }
        Operation::Delete | Operation::Update => "Id",
        Operation::Upsert => key.unwrap_or("Id"),
    };
    let there = columns.iter().any(|column| match column {
        Column::Id => needed == "Id",
        Column::Field(name) => name == needed,
        Column::Parent { .. } => false,
    });
    if there { Ok(()) } else { Err(format!("InvalidBatch : Field name not found : {needed}")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn format(delimiter: &str, line_ending: &str) -> Format {
        let body = json!({ "columnDelimiter": delimiter, "lineEnding": line_ending });
        Format::parse(body.as_object().expect("an object")).expect("a known format")
    }

    fn read(content: &str, format: Format, operation: Operation) -> Result<Table, String> {
        let schema = Schema::load_embedded();
        let object = schema.object("CampaignMember").expect("a standard object");
        Table::read(content.as_bytes(), format, (&schema, object), (operation, Some("external_id__c")))
    }

    #[track_caller]
    fn check(content: &str, format: Format, expected: &[(&[&str], bool)]) {
        let table = read(content, format, Operation::Upsert).expect("good columns");
        let rows: Vec<_> = table.rows(content.as_bytes(), format, 0..table.len()).collect();
        let rows: Vec<_> = rows.iter().map(|(row, broken)| (row.iter().collect::<Vec<_>>(), *broken)).collect();
        let expected: Vec<_> = expected.iter().map(|(row, broken)| (row.to_vec(), *broken)).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn values_are_cut_at_delimiters_and_lines_outside_of_quotes() {
        let (comma, tab) = (format("COMMA", "LF"), format("TAB", "CRLF"));
        let text = "external_id__c,Status\na,Sent\n\"b,\"\"1\n2\",\"\"\nc, Sent";
        check(text, comma, &[(&["a", "Sent"], false), (&["b,\"1\n2", ""], false), (&["c", " Sent"], false)]);
        check(
            "external_id__c\tStatus\r\na,b\tSent\r\n\r\nc\t\"\"\r\n",
            tab,
            &[(&["a,b", "Sent"], false), (&["c", ""], false)],
        );
    }

    #[test]
    fn a_misplaced_quote_breaks_its_row_only() {
        let text = "external_id__c,Status\n\"a\", \"b\"\nc,d\n\"e\" ,f\ng,h\"\ni,j\n\"k,l\n";
        let table = read(text, format("COMMA", "LF"), Operation::Upsert).expect("good columns");
        let rows = table.rows(text.as_bytes(), format("COMMA", "LF"), 0..table.len());
        let broken: Vec<bool> = rows.map(|(_, broken)| broken).collect();
        assert_eq!(broken, [true, false, true, true, false, true]);
    }

    #[test]
    fn lines_end_as_the_job_says() {
        for (content, line_ending) in
            [("external_id__c\r\na\r\n", "LF"), ("external_id__c\na\n", "CRLF"), ("external_id__c\r\na\rb\r\n", "CRLF")]
        {
            let why = read(content, format("COMMA", line_ending), Operation::Upsert).err();
            let expected = "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is ";
            assert_eq!(why, Some(format!("{expected}{line_ending}")), "{content:?}");
        }
        assert!(read("external_id__c\n\"a\r\nb\"\n", format("COMMA", "LF"), Operation::Upsert).is_ok());
    }

    #[test]
    fn columns_are_fields_or_keys_of_parents() {
        let comma = format("COMMA", "LF");
        let table = read("Id,EXTERNAL_ID__C,Lead.Email\n", comma, Operation::Upsert).expect("good columns");
        let parent = Column::Parent { lookup: "LeadId".into(), relationship: "Lead".into(), key: "Email".into() };
        assert_eq!(table.columns, [Column::Id, Column::Field("external_id__c".into()), parent]);
        let why = |header: &str, operation| read(header, comma, operation).err().unwrap_or_default();
        let unknown = |name: &str| format!("InvalidBatch : Field name not found : {name}");
        for name in ["Nope__c", "Lead.Company", "Nope__r.Email", "\u{feff}external_id__c"] {
            assert_eq!(why(&format!("{name},Status\n"), Operation::Upsert), unknown(name));
        }
        assert_eq!(why("Status\n", Operation::Upsert), unknown("external_id__c"));
        assert_eq!(why("Status\n", Operation::Update), unknown("Id"));
        assert_eq!(
            why("external_id__c,Lead:Lead.Email\n", Operation::Upsert),
            "InvalidBatch : type is not needed for non polymorphic foreign key references: Lead"
        );
        assert_eq!(why("Id,Status\n", Operation::Delete), "InvalidBatch : The 'delete' batch must contain only ids");
        assert_eq!(why("Status,STATUS\n", Operation::Insert), "InvalidBatch : Duplicate field name : STATUS");
    }
}
