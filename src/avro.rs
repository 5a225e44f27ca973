//! The embedded schemas, and Avro's binary encoding in both directions for records whose shape is known.
//!
//! State pieces and upserts are written a hundred thousand times a second: they go through [`Writer`] and [`Reader`],
//! which are Avro's primitives and nothing else. A test reads each of them back with `apache-avro` and the schema in
//! `schemas/`. Rare records (outcomes, dead letters) may use `apache-avro` itself.
//!
//! Records that Rollbook writes for itself carry the single-object header: two marker bytes and the schema's
//! fingerprint, so that they can be read without a registry.

use std::sync::LazyLock;

use apache_avro::{Schema, rabin::Rabin};

/// Marker of Avro's single-object encoding (Avro specification, "Single-object encoding").
pub const SINGLE_OBJECT_MARKER: [u8; 2] = [0xC3, 0x01];

/// Length of marker and fingerprint.
pub const HEADER_LEN: usize = 10;

/// A schema out of `schemas/`, with its single-object header.
pub struct Embedded {
    /// File name without the ending.
    pub name: &'static str,
    pub text: &'static str,
    pub schema: Schema,
    pub header: [u8; HEADER_LEN],
}

macro_rules! embedded {
    ($($static_name:ident = $file:literal),* $(,)?) => {
        $(pub static $static_name: LazyLock<Embedded> =
            LazyLock::new(|| embed($file, include_str!(concat!("../schemas/", $file, ".avsc"))));)*
        /// Every schema of this version.
        pub fn embedded() -> Vec<&'static Embedded> { vec![$(&*$static_name),*] }
    };
}

embedded! {
    REGISTRATION = "registration",
    ATTENDANCE = "attendance",
    POLL = "poll",
    REACTION = "reaction",
    VIEW = "view",
    SESSION = "session",
    STATE = "state",
    UPSERT = "upsert",
    OUTCOME = "outcome",
    DEAD_LETTER = "dead_letter",
    BULK_JOB = "bulk_job",
    NOTE = "note",
    BIRTH = "birth",
    OFFSETS = "offsets",
}

pub fn embed(name: &'static str, text: &'static str) -> Embedded {
    let schema = Schema::parse_str(text).expect("the embedded schemas are parsed by a test");
    let header = single_object_header(&schema);
    Embedded { name, text, schema, header }
}

/// The ten bytes before a single-object encoded record: marker and little-endian Rabin fingerprint.
///
/// `apache-avro` leaves `{"type":"long"}` of a logical type in the canonical form, where the specification, Java and
/// Python have `"long"`. Without logical types it agrees with them.
pub fn single_object_header(schema: &Schema) -> [u8; HEADER_LEN] {
    let mut json = serde_json::to_value(schema).expect("a parsed schema is JSON");
    strip_logical_types(&mut json, |_| false);
    let plain = Schema::parse(&json).expect("a parsed schema is one without its logical types too");
    let fingerprint = plain.fingerprint::<Rabin>();
    let mut header = [0; HEADER_LEN];
    let (marker, rest) = header.split_at_mut(2);
    marker.copy_from_slice(&SINGLE_OBJECT_MARKER);
    for (to, from) in rest.iter_mut().zip(&fingerprint.bytes) {
        *to = *from;
    }
    header
}

/// Takes the logical types off a schema's JSON, but for those to keep.
pub fn strip_logical_types(schema: &mut serde_json::Value, keep: fn(&str) -> bool) {
    match schema {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| strip_logical_types(item, keep)),
        serde_json::Value::Object(members) => {
            members.retain(|name, value| name != "logicalType" || value.as_str().is_some_and(keep));
            members.values_mut().for_each(|member| strip_logical_types(member, keep));
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

/// Appends Avro primitives to a buffer.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// A single-object encoded record of this schema starts here.
    pub fn object(schema: &Embedded) -> Self {
        // Most records have some hundred bytes: growing from ten would copy them five times.
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&schema.header);
        Self(bytes)
    }

    pub fn long(&mut self, value: i64) {
        let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(low_byte(rest) | 0x80);
            rest >>= 7;
        }
        self.0.push(low_byte(rest));
    }

    /// Length of an array block, of a string or of bytes.
    pub fn length(&mut self, len: usize) {
        self.long(i64::try_from(len).expect("a length in memory fits"));
    }

    pub fn bool(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    pub fn double(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// One block of items, then the empty block that ends the array.
    pub fn array<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        if items.len() > 0 {
            self.length(items.len());
            items.for_each(|value| item(self, value));
        }
        self.long(0);
    }

    /// A union of null and one other type.
    pub fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.long(0),
            Some(value) => {
                self.long(1);
                some(self, value);
            }
        }
    }
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Why bytes are not the record that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the record ends early")]
    Short,
    #[error("a number is longer than 64 bits")]
    LongOverflow,
    #[error("a length is negative or beyond the record")]
    Length,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a union or enum has no such branch")]
    Branch,
    #[error("an id is none of Salesforce's")]
    Id,
    #[error("written with another schema")]
    OtherSchema,
}

/// Takes Avro primitives off a slice; texts and bytes borrow from it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The body of a single-object encoded record of this very schema.
    pub fn object(schema: &Embedded, record: &'a [u8]) -> Result<Self, ReadError> {
        record.strip_prefix(&schema.header).map(Self).ok_or(ReadError::OtherSchema)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, ReadError> {
        let (first, rest) = self.0.split_first().ok_or(ReadError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(ReadError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    #[inline]
    pub fn long(&mut self) -> Result<i64, ReadError> {
        // Most numbers are branches and lengths: one byte.
        if let [first @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
        }
        self.long_of_many_bytes()
    }

    fn long_of_many_bytes(&mut self) -> Result<i64, ReadError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(ReadError::LongOverflow)
    }

    #[inline]
    pub fn length(&mut self) -> Result<usize, ReadError> {
        let len = usize::try_from(self.long()?).map_err(|_| ReadError::Length)?;
        if len > self.0.len() { Err(ReadError::Length) } else { Ok(len) }
    }

    pub fn bool(&mut self) -> Result<bool, ReadError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ReadError::Branch),
        }
    }

    pub fn double(&mut self) -> Result<f64, ReadError> {
        let bytes = self.take(8)?.first_chunk().ok_or(ReadError::Short)?;
        Ok(f64::from_le_bytes(*bytes))
    }

    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], ReadError> {
        let len = self.length()?;
        self.take(len)
    }

    #[inline]
    pub fn text(&mut self) -> Result<&'a str, ReadError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ReadError::NotUtf8)
    }

    /// Every block of an array; a negative count is followed by the block's size in bytes.
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), ReadError>) -> Result<(), ReadError> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                count = count.checked_neg().ok_or(ReadError::Length)?;
                self.long()?;
            }
            // An item may take no bytes at all, so that the count alone could run for ever.
            if usize::try_from(count).map_err(|_| ReadError::Length)? > self.0.len() {
                return Err(ReadError::Length);
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    /// A union of null and one other type.
    pub fn option<T>(&mut self, some: impl FnOnce(&mut Self) -> Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        match self.long()? {
            0 => Ok(None),
            1 => some(self).map(Some),
            _ => Err(ReadError::Branch),
        }
    }
}
