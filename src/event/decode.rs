//! One record's bytes to what the fold does with it; the format is told per record, not per topic.
//!
//! The decoder knows nothing of networks: a schema id that it has not met comes back as [`SchemaNeeded`], and the
//! caller asks the registry, teaches the decoder and decodes the record again. So an outage of the registry is a wait
//! of the caller's and never a skipped record.

use std::borrow::Cow;

use apache_avro::Schema;
use hashbrown::HashMap;

use super::plan::{Broken, Plan, PlanError};
use super::slots::{Shape, Slots, TextSlot, blank};
use super::validate::{self, refusal};
use super::{Decoded, DecodedSession, EventKind, Refusal, RefusalReason};
use crate::avro::{HEADER_LEN, SINGLE_OBJECT_MARKER, single_object_header};
use crate::time::Millis;

/// First byte of Confluent's wire format; the schema id follows in four bytes, big-endian.
const CONFLUENT_MARKER: u8 = 0;
const CONFLUENT_HEADER_LEN: usize = 5;

/// What the schemas looked like in earlier versions: records in the single-object encoding carry no more than a
/// fingerprint, so what they were written with has to be on board.
pub const EARLIER: &[&str] = &[
    include_str!("../../schemas/earlier/registration/1.avsc"),
    include_str!("../../schemas/earlier/attendance/1.avsc"),
    include_str!("../../schemas/earlier/poll/1.avsc"),
    include_str!("../../schemas/earlier/reaction/1.avsc"),
    include_str!("../../schemas/earlier/view/1.avsc"),
    include_str!("../../schemas/earlier/session/1.avsc"),
];

/// One record as it came from Kafka.
pub struct Record<'r> {
    /// Kind of its topic, or of its header on a topic of several kinds. None: a header that names none.
    pub kind: Option<EventKind>,
    pub key: Option<&'r [u8]>,
    pub value: Option<&'r [u8]>,
    /// The first record's own, where it was re-keyed or replayed. None: times have no upper bound.
    pub timestamp: Option<Millis>,
    /// Looked at only where the value leaves something open.
    pub headers: &'r dyn Headers,
}

/// The headers of a record.
pub trait Headers {
    /// The first value of this name, whatever its case.
    fn get(&self, name: &str) -> Option<&[u8]>;
}

impl<K: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(K, V)> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(key, _)| key.as_ref().eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }
}

/// No headers.
impl Headers for () {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// A schema id that the decoder has not been taught yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schema id {id} is not known yet")]
pub struct SchemaNeeded {
    pub id: u32,
}

/// Turns records into events. Knows the embedded schemas and those that it was taught.
pub struct Decoder {
    value_bytes_max: usize,
    by_id: HashMap<u32, Writer>,
    by_fingerprint: HashMap<[u8; HEADER_LEN], Writer>,
}

/// What is known of a writer schema.
enum Writer {
    Plan(Box<Plan>),
    /// Every record of it is refused, for this reason.
    Refused(RefusalReason, String),
}

/// Why a record yields no slots.
enum Unread {
    Refused(Refusal),
    Needed(SchemaNeeded),
}

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Decoder {
    pub fn new(value_bytes_max: usize) -> Self {
        let mut by_fingerprint = HashMap::new();
        let current = Shape::ALL.into_iter().map(|shape| shape.schema().text);
        for text in EARLIER.iter().copied().chain(current) {
            let schema = Schema::parse_str(text).expect("the schemas on board are parsed by a test");
            by_fingerprint.insert(single_object_header(&schema), Writer::of(text));
        }
        Self { value_bytes_max, by_id: HashMap::new(), by_fingerprint }
    }

    /// What the registry has under an id: the schema's text, or why every record of it is refused.
    pub fn learn(&mut self, id: u32, schema: Result<&str, Refusal>) {
        let writer = match schema {
            Ok(text) => Writer::of(text),
            Err(Refusal { reason, detail }) => Writer::Refused(reason, detail),
        };
        self.by_id.insert(id, writer);
    }

    /// There is no registry to ask for the schema of an id.
    pub fn learn_that_nobody_knows(&mut self, id: u32) {
        let detail = "no registry is configured; hint: add the section `registry`";
        self.learn(id, Err(refusal(RefusalReason::UnknownSchema, detail)));
    }

    /// From here on the ids are asked for again of which the registry lacked something: somebody may have registered it.
    pub fn forget_unknown(&mut self) {
        self.by_id.retain(|_, writer| !matches!(writer, Writer::Refused(RefusalReason::UnknownSchema, _)));
    }

    /// An event, a reason to ignore it, or a refusal.
    pub fn decode<'r>(&self, record: &Record<'r>) -> Result<Decoded<'r>, SchemaNeeded> {
        let mut slots = Slots::default();
        match self.read_event(record, &mut slots) {
            Ok(kind) => Ok(validate::event(kind, &mut slots, record.timestamp)),
            Err(Unread::Refused(refusal)) => Ok(Decoded::Refused(refusal)),
            Err(Unread::Needed(needed)) => Err(needed),
        }
    }

    /// A record of the sessions topic; its kind is not looked at.
    pub fn decode_session(&self, record: &Record<'_>) -> Result<DecodedSession, SchemaNeeded> {
        let Some(value) = record.value else {
            return Ok(validate::tombstone(record.key).unwrap_or_else(DecodedSession::Refused));
        };
        let mut slots = Slots::default();
        let read = self.check_size(value).and_then(|()| self.read(Shape::Session, value, record, &mut slots));
        let session = match read {
            Ok(()) => validate::session(&mut slots, record.timestamp),
            Err(Unread::Refused(refusal)) => Err(refusal),
            Err(Unread::Needed(needed)) => return Err(needed),
        };
        Ok(session.unwrap_or_else(DecodedSession::Refused))
    }

    fn read_event<'r>(&self, record: &Record<'r>, slots: &mut Slots<'r>) -> Result<EventKind, Unread> {
        let value = record.value.ok_or_else(|| refusal(RefusalReason::NoValue, "the record has no value"))?;
        self.check_size(value)?;
        let kind =
            record.kind.ok_or_else(|| refusal(RefusalReason::UnknownKind, "the record names no kind of event"))?;
        self.read(Shape::Event(kind), value, record, slots)?;
        Ok(kind)
    }

    fn check_size(&self, value: &[u8]) -> Result<(), Unread> {
        let (len, max) = (value.len(), self.value_bytes_max);
        if len < max {
            return Ok(());
        }
        Err(refusal(RefusalReason::ValueTooLarge, format!("the value has {len} bytes, the limit is {max}")).into())
    }

    fn read<'r>(
        &self,
        shape: Shape,
        value: &'r [u8],
        record: &Record<'r>,
        slots: &mut Slots<'r>,
    ) -> Result<(), Unread> {
        match value {
            [CONFLUENT_MARKER, ..] => self.read_confluent(shape, value, slots)?,
            [first, second, ..] if [*first, *second] == SINGLE_OBJECT_MARKER => {
                self.read_single_object(shape, value, slots)?;
            }
            _ => read_json(shape, value, record.headers, slots)?,
        }
        for (name, slot, header) in
            [("event_id", TextSlot::EventId, "ce_id"), ("source", TextSlot::Source, "ce_source")]
        {
            if slots.text(slot).is_none_or(blank) {
                let text = record.headers.get(header).and_then(|value| std::str::from_utf8(value).ok());
                slots.fill_text(name, slot, text.map(Cow::Borrowed));
            }
        }
        Ok(())
    }

    fn read_confluent<'r>(&self, shape: Shape, value: &'r [u8], slots: &mut Slots<'r>) -> Result<(), Unread> {
        let id = value.get(1..CONFLUENT_HEADER_LEN).and_then(|id| id.first_chunk());
        let id = id.ok_or_else(|| refusal(RefusalReason::Undecodable, "the record ends within its schema id"))?;
        let id = u32::from_be_bytes(*id);
        let writer = self.by_id.get(&id).ok_or(Unread::Needed(SchemaNeeded { id }))?;
        Ok(writer
            .read(shape, value, CONFLUENT_HEADER_LEN, slots)
            .map_err(|refusal| said_of(&format!("id {id}"), refusal))?)
    }

    fn read_single_object<'r>(&self, shape: Shape, value: &'r [u8], slots: &mut Slots<'r>) -> Result<(), Refusal> {
        let header = value.first_chunk::<HEADER_LEN>();
        let header =
            header.ok_or_else(|| refusal(RefusalReason::Undecodable, "the record ends within its fingerprint"))?;
        let fingerprint = || {
            let [_, _, bytes @ ..] = header;
            format!("fingerprint {:016x}", u64::from_le_bytes(*bytes))
        };
        let Some(writer) = self.by_fingerprint.get(header) else {
            return Err(said_of(&fingerprint(), refusal(RefusalReason::UnknownSchema, "no such schema on board")));
        };
        writer.read(shape, value, HEADER_LEN, slots).map_err(|refusal| said_of(&fingerprint(), refusal))
    }
}

fn said_of(schema: &str, refusal: Refusal) -> Refusal {
    let Refusal { reason, detail } = refusal;
    Refusal { reason, detail: format!("schema {schema}: {detail}") }
}

fn read_json<'r>(shape: Shape, value: &'r [u8], headers: &dyn Headers, slots: &mut Slots<'r>) -> Result<(), Refusal> {
    const STRUCTURED: &[u8] = b"application/cloudevents+json";
    if value.trim_ascii_start().first() != Some(&b'{') {
        return Err(refusal(RefusalReason::Undecodable, "the value is neither Avro with a header nor a JSON object"));
    }
    let content_type = headers.get("content-type").unwrap_or_default().trim_ascii_start();
    let enveloped = content_type.get(..STRUCTURED.len()).is_some_and(|head| head.eq_ignore_ascii_case(STRUCTURED));
    super::json::read(shape, value, enveloped, slots)
}

impl Writer {
    fn of(schema: &str) -> Self {
        match Plan::parse(schema) {
            Ok(plan) => Self::Plan(Box::new(plan)),
            Err(error @ PlanError::UnknownRecord(_)) => Self::Refused(RefusalReason::UnknownKind, error.to_string()),
            Err(error @ (PlanError::Unparsable | PlanError::NotARecord | PlanError::Field(_))) => {
                Self::Refused(RefusalReason::IncompatibleSchema, error.to_string())
            }
        }
    }

    fn read<'r>(&self, shape: Shape, value: &'r [u8], header_len: usize, slots: &mut Slots<'r>) -> Result<(), Refusal> {
        let plan = match self {
            Self::Plan(plan) => plan,
            Self::Refused(reason, detail) => return Err(refusal(*reason, detail.clone())),
        };
        if plan.shape != shape {
            let detail = format!("describes a {}, the topic holds the kind {}", plan.shape.name(), shape.name());
            return Err(refusal(RefusalReason::UnknownKind, detail));
        }
        let body = value.get(header_len..).unwrap_or_default();
        plan.read(body, slots).map_err(|broken| undecodable(&broken, header_len))
    }
}

fn undecodable(broken: &Broken, header_len: usize) -> Refusal {
    let at = broken.offset + header_len;
    let detail = match &broken.field {
        Some(field) => format!("field `{field}`: {} at byte {at}", broken.error),
        None => format!("bytes follow the record, from byte {at}"),
    };
    refusal(RefusalReason::Undecodable, detail)
}
