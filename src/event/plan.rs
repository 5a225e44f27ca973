//! A writer schema, compiled once into the steps that read its records into slots.
//!
//! Resolving a record generically (decode a tree by the writer schema, then resolve the tree by the reader's)
//! allocates for every field and costs ten times what the fold costs. A plan walks the bytes once, in the writer's
//! order, and knows of each field where its value goes or how to skip it.
//!
//! Compiling is the compatibility check, by Avro's rules of resolution. `apache-avro`'s own check is not asked: it
//! refuses a symbol of the future although the reader's enum has a default, which is how new symbols are rolled out.
//! Beyond Avro's rules, times in micro- and nanoseconds are read as well, cut towards the past.

#![expect(clippy::wildcard_enum_match_arm, reason = "of Avro's thirty types only the named ones are read")]

use std::borrow::Cow;
use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{Name, RecordSchema, ResolvedSchema};

use super::skip::{Skip, Skips};
use super::slots::{Field as ReaderField, FlagSlot, NumberSlot, Phase, Shape, Slot, Slots, Symbol, TextSlot};
use crate::avro::{ReadError, Reader, strip_logical_types};

/// How to read what one writer schema wrote.
#[derive(Debug)]
pub(super) struct Plan {
    pub shape: Shape,
    fields: Vec<Field>,
    /// Names of the writer's fields.
    names: Vec<String>,
    skips: Skips,
}

/// Why a writer schema cannot be read. Field and type names of a schema are not personal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    #[error("the schema is no valid Avro schema")]
    Unparsable,
    #[error("the schema is not a record")]
    NotARecord,
    #[error("the schema is a record `{0}`, which is no kind of event")]
    UnknownRecord(String),
    #[error("the type of field `{0}` cannot be read")]
    Field(String),
}

/// Where in a record reading stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub error: ReadError,
    /// Field of the writer schema, none behind the last.
    pub field: Option<String>,
    /// Bytes of the record's body that were read.
    pub offset: usize,
}

/// One field on the wire.
#[derive(Debug)]
struct Field {
    /// A union of null and one other type, null first: what nearly all fields are.
    optional: bool,
    step: Step,
}

/// One value on the wire, and where it goes.
#[derive(Debug)]
enum Step {
    Null,
    Text {
        name: &'static str,
        slot: Option<TextSlot>,
    },
    AnswerText {
        name: &'static str,
    },
    Choices {
        name: &'static str,
    },
    Number(Option<NumberSlot>),
    /// A time in units of which this many make a millisecond.
    FineTime {
        slot: Option<NumberSlot>,
        per_milli: i64,
    },
    Flag(Option<FlagSlot>),
    /// By number, with the writer's names.
    Symbol(Vec<(Symbol, String)>),
    Phase(Vec<(Phase, String)>),
    Fields {
        name: &'static str,
    },
    Union(Vec<Step>),
    Skip(Skip),
}

impl Plan {
    /// The plan of a schema's text. Logical types that only dress a base type are taken off first, so that what is on
    /// the wire is what the schema says.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let mut json: serde_json::Value = serde_json::from_str(text).map_err(|_| PlanError::Unparsable)?;
        // `apache-avro` takes a UUID for text even where sixteen bytes are on the wire.
        strip_logical_types(&mut json, |logical| logical.contains("timestamp"));
        Self::compile(&Schema::parse(&json).map_err(|_| PlanError::Unparsable)?)
    }

    pub fn compile(writer: &Schema) -> Result<Self, PlanError> {
        let Schema::Record(record) = writer else { return Err(PlanError::NotARecord) };
        let shape =
            Shape::of_record(&record.name.name).ok_or_else(|| PlanError::UnknownRecord(record.name.name.clone()))?;
        let resolved = ResolvedSchema::try_from(writer).map_err(|_| PlanError::Unparsable)?;
        let mut compiler = Compiler { shape, names: resolved.get_names(), skips: Skips::default() };
        let fields = compiler.record(record)?.into_iter().map(Field::of).collect();
        let names = record.fields.iter().map(|field| field.name.clone()).collect();
        Ok(Self { shape, fields, names, skips: compiler.skips })
    }

    /// Reads one record's body into empty slots; nothing may follow it. The slots are the caller's, because a struct
    /// of their size costs more to hand up than to fill.
    pub fn read<'r>(&self, body: &'r [u8], slots: &mut Slots<'r>) -> Result<(), Broken> {
        let mut from = Reader(body);
        for (at, field) in self.fields.iter().enumerate() {
            if let Err(error) = field.read(&mut from, slots, &self.skips) {
                return Err(Broken { error, field: self.names.get(at).cloned(), offset: body.len() - from.0.len() });
            }
        }
        if from.0.is_empty() {
            Ok(())
        } else {
            Err(Broken { error: ReadError::Length, field: None, offset: body.len() - from.0.len() })
        }
    }
}

impl Field {
    fn of(step: Step) -> Self {
        let Step::Union(branches) = step else { return Self { optional: false, step } };
        match <[Step; 2]>::try_from(branches) {
            Ok([Step::Null, some]) => Self { optional: true, step: some },
            Ok(two) => Self { optional: false, step: Step::Union(two.into()) },
            Err(branches) => Self { optional: false, step: Step::Union(branches) },
        }
    }

    #[inline]
    fn read<'r>(&self, from: &mut Reader<'r>, slots: &mut Slots<'r>, skips: &Skips) -> Result<(), ReadError> {
        if self.optional {
            match from.long()? {
                0 => return Ok(()),
                1 => {}
                _ => return Err(ReadError::Branch),
            }
        }
        self.step.read(from, slots, skips)
    }
}

impl Step {
    #[inline]
    fn read<'r>(&self, from: &mut Reader<'r>, slots: &mut Slots<'r>, skips: &Skips) -> Result<(), ReadError> {
        match self {
            Self::Null => {}
            Self::Text { name, slot } => slots.set_text(name, *slot, Some(Cow::Borrowed(from.text()?))),
            Self::Number(slot) => slots.set_number(*slot, Some(from.long()?)),
            Self::Flag(slot) => slots.set_flag(*slot, from.bool()?),
            Self::Union(branches) => return branch(branches, from)?.read(from, slots, skips),
            Self::Symbol(symbols) => {
                let (symbol, name) = branch(symbols, from)?;
                slots.symbol = *symbol;
                slots.unknown_symbol = (*symbol == Symbol::Unknown).then(|| Cow::Owned(name.clone()));
            }
            Self::Phase(phases) => {
                let (phase, name) = branch(phases, from)?;
                slots.phase = Some(*phase);
                slots.unknown_phase = (*phase == Phase::Unknown).then(|| Cow::Owned(name.clone()));
            }
            Self::FineTime { slot, per_milli } => {
                slots.set_number(*slot, Some(from.long()?.div_euclid(*per_milli)));
            }
            Self::AnswerText { name } => {
                let text = from.text()?;
                slots.check_length(name, text);
                slots.answer = Some(Cow::Borrowed(text));
            }
            Self::Choices { name } => {
                let mut choices = Vec::new();
                from.array(|from| {
                    choices.push(Cow::Borrowed(from.text()?));
                    Ok(())
                })?;
                slots.set_choices(name, &choices);
            }
            Self::Fields { name } => from.array(|from| {
                slots.check_length(name, from.text()?);
                slots.check_length(name, from.text()?);
                Ok(())
            })?,
            Self::Skip(skip) => return skip.read(from, skips),
        }
        Ok(())
    }
}

/// The one of several that the next number on the wire names.
#[inline]
fn branch<'p, T>(branches: &'p [T], from: &mut Reader<'_>) -> Result<&'p T, ReadError> {
    let at = usize::try_from(from.long()?).map_err(|_| ReadError::Branch)?;
    branches.get(at).ok_or(ReadError::Branch)
}

struct Compiler<'s> {
    shape: Shape,
    names: &'s HashMap<Name, &'s Schema>,
    skips: Skips,
}

impl Compiler<'_> {
    fn record(&mut self, record: &RecordSchema) -> Result<Vec<Step>, PlanError> {
        let step = |field: &apache_avro::schema::RecordField| {
            let step = match self.shape.field(&field.name) {
                Some(reader) => self.step(&field.schema, reader),
                None => self.skips.compile(&field.schema, self.names).map(Step::Skip),
            };
            step.ok_or_else(|| PlanError::Field(field.name.clone()))
        };
        record.fields.iter().map(step).collect()
    }

    /// None: the reader's type cannot take what this schema writes.
    fn step(&self, writer: &Schema, reader: &ReaderField) -> Option<Step> {
        if let Schema::Ref { name } = writer {
            return self.step(self.names.get(name)?, reader);
        }
        if let Schema::Union(union) = writer {
            let branches: Option<Vec<Step>> = union.variants().iter().map(|branch| self.step(branch, reader)).collect();
            return branches.map(Step::Union);
        }
        if *writer == Schema::Null {
            return reader.nullable.then_some(Step::Null);
        }
        let name = reader.name;
        Some(match reader.slot {
            Slot::Text(slot) if text(writer) => Step::Text { name, slot },
            Slot::Answer if text(writer) => Step::AnswerText { name },
            Slot::Answer => match writer {
                Schema::Array(array) if text(&array.items) => Step::Choices { name },
                _ => return None,
            },
            Slot::Fields => match writer {
                Schema::Map(map) if text(&map.types) => Step::Fields { name },
                _ => return None,
            },
            Slot::Integer(slot) if integer(writer) || per_milli(writer).is_some() => Step::Number(slot),
            Slot::Time(slot) if integer(writer) => Step::Number(slot),
            Slot::Time(slot) => match per_milli(writer)? {
                1 => Step::Number(slot),
                per_milli => Step::FineTime { slot, per_milli },
            },
            Slot::Flag(slot) if *writer == Schema::Boolean => Step::Flag(slot),
            Slot::Symbol => {
                Step::Symbol(symbols(writer)?.iter().map(|name| (self.shape.symbol(name), name.clone())).collect())
            }
            Slot::Phase => Step::Phase(symbols(writer)?.iter().map(|name| (Phase::of(name), name.clone())).collect()),
            Slot::Text(_) | Slot::Integer(_) | Slot::Flag(_) => return None,
        })
    }
}

fn text(schema: &Schema) -> bool {
    matches!(schema, Schema::String | Schema::Bytes)
}

fn integer(schema: &Schema) -> bool {
    matches!(schema, Schema::Int | Schema::Long)
}

/// How many of a timestamp's units make a millisecond.
fn per_milli(schema: &Schema) -> Option<i64> {
    match schema {
        Schema::TimestampMillis | Schema::LocalTimestampMillis => Some(1),
        Schema::TimestampMicros | Schema::LocalTimestampMicros => Some(1_000),
        Schema::TimestampNanos | Schema::LocalTimestampNanos => Some(1_000_000),
        _ => None,
    }
}

fn symbols(schema: &Schema) -> Option<&[String]> {
    match schema {
        Schema::Enum(symbols) => Some(&symbols.symbols),
        _ => None,
    }
}
