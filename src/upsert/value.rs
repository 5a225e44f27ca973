//! A field's value, and its place in the schema's union of values.

use super::field::FieldKind;
use crate::avro::{ReadError, Reader, Writer};

/// Branches of the union, in its order.
pub(super) const NULL: i64 = 0;
pub(super) const TEXT: i64 = 1;
pub(super) const INTEGER: i64 = 2;
pub(super) const DECIMAL: i64 = 3;
pub(super) const BOOL: i64 = 4;

/// A field's value. Null empties the field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Text(String),
    Integer(i64),
    /// Already rounded to the field's scale; never -0.0.
    Decimal(f64),
    Bool(bool),
}

impl Value {
    /// As a value of any kind.
    pub(super) fn write(&self, out: &mut Writer) {
        match self {
            Self::Null => out.long(NULL),
            Self::Text(text) => {
                out.long(TEXT);
                out.text(text);
            }
            Self::Integer(value) => {
                out.long(INTEGER);
                out.long(*value);
            }
            Self::Decimal(value) => {
                out.long(DECIMAL);
                out.double(*value);
            }
            Self::Bool(value) => {
                out.long(BOOL);
                out.bool(*value);
            }
        }
    }

    /// As a field of an object's own. A value of another kind is none.
    pub(super) fn write_as(&self, kind: FieldKind, out: &mut Writer) {
        match (kind, self) {
            (FieldKind::Integer, Self::Integer(value)) => out.option(Some(*value), Writer::long),
            (FieldKind::Decimal, Self::Decimal(value)) => out.option(Some(*value), Writer::double),
            (
                FieldKind::Text(_) | FieldKind::Email | FieldKind::LeadLookup | FieldKind::Picklist,
                Self::Text(value),
            ) => out.option(Some(value.as_str()), Writer::text),
            (
                FieldKind::Integer
                | FieldKind::Decimal
                | FieldKind::Text(_)
                | FieldKind::Email
                | FieldKind::LeadLookup
                | FieldKind::Picklist,
                _,
            ) => out.option(None::<&str>, Writer::text),
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Integer(_) | Self::Decimal(_) | Self::Bool(_) => None,
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(match from.long()? {
            NULL => Self::Null,
            TEXT => Self::Text(from.text()?.to_owned()),
            INTEGER => Self::Integer(from.long()?),
            DECIMAL => Self::Decimal(from.double()?),
            BOOL => Self::Bool(from.bool()?),
            _ => return Err(ReadError::Branch),
        })
    }

    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Text(text) => text.as_str().into(),
            Self::Integer(value) => (*value).into(),
            Self::Decimal(value) => (*value).into(),
            Self::Bool(value) => (*value).into(),
        }
    }
}
