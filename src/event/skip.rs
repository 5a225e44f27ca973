//! Reading past fields that this version does not know, whatever their type.
//!
//! A schema may be recursive, so records are kept in a table and named by their place in it; the bytes decide how
//! deep reading goes, so the depth is bounded. Items without any bytes (null, an empty record) are not looped over:
//! their count alone could keep a thread busy for ever.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, Name, RecordSchema};

use crate::avro::{ReadError, Reader};

/// Nesting of records, arrays, maps and unions within a skipped field.
const DEPTH_MAX: usize = 64;

/// How to pass one value.
#[derive(Debug, Clone)]
pub(super) enum Skip {
    Nothing,
    /// int, long, enum.
    Number,
    /// So many bytes.
    Bytes(usize),
    /// string, bytes.
    Sized,
    Union(Vec<Skip>),
    Array(Box<Skip>),
    Map(Box<Skip>),
    /// A record, by its place in the table.
    Record(usize),
}

/// The records that are skipped.
#[derive(Debug, Default)]
pub(super) struct Skips {
    records: Vec<Vec<Skip>>,
    named: HashMap<Name, Skip>,
}

impl Skips {
    /// None: a name that the schema does not define.
    pub fn compile(&mut self, schema: &Schema, names: &HashMap<Name, &Schema>) -> Option<Skip> {
        Some(match schema {
            Schema::Null => Skip::Nothing,
            Schema::Boolean => Skip::Bytes(1),
            Schema::Float => Skip::Bytes(4),
            Schema::Double => Skip::Bytes(8),
            Schema::Duration => Skip::Bytes(12),
            Schema::Fixed(fixed) if fixed.size == 0 => Skip::Nothing,
            Schema::Fixed(fixed) => Skip::Bytes(fixed.size),
            Schema::Decimal(DecimalSchema { inner, .. }) => self.compile(inner, names)?,
            Schema::Bytes | Schema::String | Schema::BigDecimal | Schema::Uuid => Skip::Sized,
            Schema::Int
            | Schema::Long
            | Schema::Enum(_)
            | Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Skip::Number,
            Schema::Array(array) => Skip::Array(Box::new(self.compile(&array.items, names)?)),
            Schema::Map(map) => Skip::Map(Box::new(self.compile(&map.types, names)?)),
            Schema::Union(union) => {
                Skip::Union(union.variants().iter().map(|branch| self.compile(branch, names)).collect::<Option<_>>()?)
            }
            Schema::Ref { name } => match self.named.get(name) {
                Some(skip) => skip.clone(),
                None => self.compile(names.get(name)?, names)?,
            },
            Schema::Record(record) => self.compile_record(record, names)?,
        })
    }

    fn compile_record(&mut self, record: &RecordSchema, names: &HashMap<Name, &Schema>) -> Option<Skip> {
        let place = self.records.len();
        self.records.push(Vec::new());
        self.named.insert(record.name.clone(), Skip::Record(place));
        let fields: Option<Vec<Skip>> = record.fields.iter().map(|field| self.compile(&field.schema, names)).collect();
        let fields = fields?;
        // A record that contains itself does so in an array, map or union, which takes bytes.
        let weightless = fields.iter().all(|field| matches!(field, Skip::Nothing));
        let skip = if weightless { Skip::Nothing } else { Skip::Record(place) };
        *self.records.get_mut(place)? = fields;
        self.named.insert(record.name.clone(), skip.clone());
        Some(skip)
    }
}

impl Skip {
    pub fn read(&self, from: &mut Reader<'_>, skips: &Skips) -> Result<(), ReadError> {
        self.pass(from, skips, DEPTH_MAX)
    }

    fn pass(&self, from: &mut Reader<'_>, skips: &Skips, depth: usize) -> Result<(), ReadError> {
        let deeper = depth.checked_sub(1).ok_or(ReadError::Length)?;
        match self {
            Self::Nothing => {}
            Self::Number => {
                from.long()?;
            }
            Self::Bytes(len) => {
                from.take(*len)?;
            }
            Self::Sized => {
                from.bytes()?;
            }
            Self::Union(branches) => {
                let at = usize::try_from(from.long()?).map_err(|_| ReadError::Branch)?;
                branches.get(at).ok_or(ReadError::Branch)?.pass(from, skips, deeper)?;
            }
            Self::Array(item) if matches!(**item, Self::Nothing) => counts(from)?,
            Self::Array(item) => blocks(from, |from| item.pass(from, skips, deeper))?,
            Self::Map(item) => blocks(from, |from| {
                from.bytes()?;
                item.pass(from, skips, deeper)
            })?,
            Self::Record(place) => {
                for field in skips.records.get(*place).ok_or(ReadError::Branch)? {
                    field.pass(from, skips, deeper)?;
                }
            }
        }
        Ok(())
    }
}

/// Every block of an array or map. One whose size in bytes is told is passed whole.
fn blocks(
    from: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    loop {
        match from.long()? {
            0 => return Ok(()),
            count if count > 0 => (0..count).try_for_each(|_| item(from))?,
            _ => {
                from.bytes()?;
            }
        }
    }
}

/// The blocks of an array whose items take no bytes.
fn counts(from: &mut Reader<'_>) -> Result<(), ReadError> {
    loop {
        match from.long()? {
            0 => return Ok(()),
            count if count < 0 => {
                from.bytes()?;
            }
            _ => {}
        }
    }
}
