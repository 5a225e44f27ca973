//! The records of one transaction, in one buffer.

use std::ops::Range;

use rdkafka::message::OwnedHeaders;

use crate::avro::Writer;
use crate::topic_table::Topic;

/// Room that is kept for the next transaction, in multiples of what the last one needed.
const ROOM_MAX: usize = 4;

/// A record to write.
#[derive(Default)]
pub struct Outgoing<'a> {
    /// None: by the key, as Java's default partitioner does.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    /// None: a tombstone.
    pub value: Option<&'a [u8]>,
    pub timestamp: Option<i64>,
    pub headers: Option<OwnedHeaders>,
}

/// The records of one transaction, keys and values end to end in one buffer: some hundred thousand records a second
/// would otherwise be three allocations each, freed by another thread.
#[derive(Default)]
pub struct Records {
    bytes: Writer,
    records: Vec<Placed>,
}

/// A record by where it stands in the buffer.
struct Placed {
    topic: Topic,
    partition: Option<i32>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    timestamp: Option<i64>,
    headers: Option<OwnedHeaders>,
}

impl Records {
    pub fn push(&mut self, topic: Topic, record: Outgoing<'_>) {
        let mut place = |bytes: &[u8]| {
            let start = self.bytes.0.len();
            self.bytes.0.extend_from_slice(bytes);
            start..self.bytes.0.len()
        };
        let (key, value) = (record.key.map(&mut place), record.value.map(&mut place));
        let Outgoing { partition, timestamp, headers, .. } = record;
        self.records.push(Placed { topic, partition, key, value, timestamp, headers });
    }

    /// A record that is written in place: `value` first, and then, unless it has taken back what it wrote, `key`.
    pub fn write<T>(
        &mut self,
        (topic, partition): (Topic, i32),
        value: impl FnOnce(&mut Writer) -> Option<T>,
        key: impl FnOnce(&mut Writer),
    ) -> Option<T> {
        let start = self.bytes.0.len();
        let Some(written) = value(&mut self.bytes) else {
            self.bytes.0.truncate(start);
            return None;
        };
        let end = self.bytes.0.len();
        key(&mut self.bytes);
        let (key, value) = (Some(end..self.bytes.0.len()), Some(start..end));
        self.records.push(Placed { topic, partition: Some(partition), key, value, timestamp: None, headers: None });
        Some(written)
    }

    /// Puts a record in the place of another.
    pub(super) fn replace(&mut self, place: usize, topic: Topic, record: Outgoing<'_>) {
        self.push(topic, record);
        let last = self.records.len().saturating_sub(1);
        if place < last {
            self.records.swap_remove(place);
        }
    }

    pub(super) fn get(&self, place: usize) -> Option<(Topic, Outgoing<'_>)> {
        self.records.get(place).map(|placed| self.outgoing(placed))
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.0.len()
    }

    /// Forgets the records and keeps the room, unless it is far more than these needed.
    pub fn clear(&mut self) {
        self.bytes.0.shrink_to(self.bytes.0.len().saturating_mul(ROOM_MAX));
        self.bytes.0.clear();
        self.records.shrink_to(self.records.len().saturating_mul(ROOM_MAX));
        self.records.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (Topic, Outgoing<'_>)> {
        self.records.iter().map(|placed| self.outgoing(placed))
    }

    fn outgoing(&self, placed: &Placed) -> (Topic, Outgoing<'_>) {
        let bytes = |range: &Option<Range<usize>>| self.bytes.0.get(range.clone()?);
        let (key, value) = (bytes(&placed.key), bytes(&placed.value));
        let Placed { partition, timestamp, headers, .. } = placed;
        let (partition, timestamp, headers) = (*partition, *timestamp, headers.clone());
        (placed.topic, Outgoing { partition, key, value, timestamp, headers })
    }
}
