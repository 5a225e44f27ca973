//! Topics and transactions of the simulated broker.
//!
//! As in Kafka a transaction's end is decided at once and written to its partitions one by one, later: a reader of one
//! partition may see the end before the reader of another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::kafka::membership::TopicPartition;

use super::seen::{Seen, seen};

/// A broker aborts what has been open for so long.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Clone)]
pub struct Entry {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
    pub headers: Option<OwnedHeaders>,
    /// None: not transactional.
    transaction: Option<u64>,
}

/// A partition; an offset is a place. None: a mark of a transaction's end, or compacted away.
#[derive(Default)]
pub struct Partition {
    entries: Vec<Option<Entry>>,
    /// First offset of each transaction that is open here.
    open: BTreeMap<u64, i64>,
    aborted: BTreeSet<u64>,
    /// What is below was deleted; the verdict knows it all the same.
    start: i64,
    /// Of that what nobody can have read.
    lost: BTreeSet<i64>,
}

impl Partition {
    pub fn end(&self) -> i64 {
        i64::try_from(self.entries.len()).expect("a history is short")
    }

    pub fn start(&self) -> i64 {
        self.start
    }

    /// As retention does.
    pub fn delete_below(&mut self, offset: i64) {
        self.start = self.start.max(offset);
    }

    /// What stands there from an offset on is deleted before anybody has read it.
    pub fn lose(&mut self, from: i64) {
        self.lost.extend(from..self.end());
        self.start = self.end();
    }

    /// Whether it was gone before anybody can have read it.
    pub fn lost(&self, offset: i64) -> bool {
        self.lost.contains(&offset)
    }

    /// Offsets that were deleted and had nothing for anybody, or that nobody can have read.
    pub fn passed_over(&self) -> u64 {
        (0..self.start)
            .filter(|offset| self.lost.contains(offset) || self.committed(*offset).is_none())
            .count()
            .try_into()
            .expect("a history is short")
    }

    pub fn stable_end(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end())
    }

    pub fn append(&mut self, entry: Entry) {
        if let Some(transaction) = entry.transaction {
            let end = self.end();
            self.open.entry(transaction).or_insert(end);
        }
        self.entries.push(Some(entry));
    }

    /// The first committed record from an offset on, with its offset.
    pub fn read(&self, from: i64) -> Option<(i64, &Entry)> {
        (from.max(self.start)..self.stable_end()).find_map(|offset| Some((offset, self.committed(offset)?)))
    }

    fn committed(&self, offset: i64) -> Option<&Entry> {
        let entry = self.entries.get(usize::try_from(offset).ok()?)?.as_ref()?;
        entry.transaction.is_none_or(|it| !self.aborted.contains(&it)).then_some(entry)
    }

    pub fn all(&self) -> impl Iterator<Item = (i64, &Entry)> {
        (0..self.stable_end()).filter_map(|offset| Some((offset, self.committed(offset)?)))
    }

    fn end_transaction(&mut self, transaction: u64, commits: bool) {
        self.open.remove(&transaction);
        if !commits {
            self.aborted.insert(transaction);
        }
        self.entries.push(None);
    }

    /// Keeps the last record of each key, and every offset; of empty records those that are not older.
    pub fn compact(&mut self, empty_from: i64) {
        let newest: BTreeMap<Vec<u8>, i64> =
            self.all().filter_map(|(offset, entry)| Some((entry.key.clone()?, offset))).collect();
        for offset in 0..self.stable_end() {
            let entry = self.committed(offset);
            let kept = entry.and_then(|entry| newest.get(entry.key.as_deref()?)) == Some(&offset);
            let expired = entry.is_some_and(|entry| entry.value.is_none() && entry.timestamp < empty_from);
            if !kept || expired {
                self.entries[usize::try_from(offset).expect("it is not negative")] = None;
            }
        }
    }
}

/// A transaction that began.
struct Open {
    number: u64,
    began: Duration,
    partitions: BTreeSet<TopicPartition>,
    offsets: BTreeMap<TopicPartition, (i64, String)>,
}

/// One that is decided and not written everywhere.
struct Closing {
    transaction: Open,
    commits: bool,
}

#[derive(Default)]
struct Producer {
    epoch: u32,
    open: Option<Open>,
}

/// What the producer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerError {
    Fenced,
    /// The end of the last transaction is still being written.
    Concurrent,
}

#[derive(Default)]
pub struct Logs {
    partitions: BTreeMap<TopicPartition, Partition>,
    remade: BTreeMap<String, u32>,
    producers: BTreeMap<String, Producer>,
    closing: Vec<(String, Closing)>,
    transactions: u64,
    /// Of the fold's group, with their metadata.
    pub offsets: BTreeMap<TopicPartition, (i64, String)>,
    /// The same, as its members committed them.
    pub own_offsets: BTreeMap<TopicPartition, i64>,
}

impl Logs {
    pub fn create(&mut self, topic: &str, partitions: i32) {
        for partition in 0..partitions {
            self.partitions.entry((topic.to_owned(), partition)).or_default();
        }
    }

    /// Deletes a topic and makes it again. Nobody writes to it meanwhile.
    pub fn remake(&mut self, topic: &str) {
        for ((name, _), partition) in &mut self.partitions {
            if name == topic {
                *partition = Partition::default();
            }
        }
        *self.remade.entry(topic.to_owned()).or_default() += 1;
    }

    /// How often a topic was made anew.
    pub fn remade(&self, topic: &str) -> u32 {
        self.remade.get(topic).copied().unwrap_or(0)
    }

    pub fn partition(&mut self, topic: &str, partition: i32) -> &mut Partition {
        self.partitions.get_mut(&(topic.to_owned(), partition)).expect("the topic is there")
    }

    pub fn topic(&self, topic: &str) -> impl Iterator<Item = (i32, &Partition)> {
        self.partitions.iter().filter(move |((name, _), _)| name == topic).map(|((_, number), it)| (*number, it))
    }

    pub fn records(&self) -> i64 {
        self.partitions.values().map(Partition::end).sum()
    }

    /// A new producer of this id. What an older one left is aborted, or waited for.
    pub fn start_producer(&mut self, id: &str) -> Result<u32, ProducerError> {
        self.abort_open(id);
        if self.closing.iter().any(|(of, _)| of == id) {
            return Err(ProducerError::Concurrent);
        }
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.epoch += 1;
        Ok(producer.epoch)
    }

    /// Whoever produces by this id is another one now.
    pub fn fence(&mut self, id: &str) {
        if let Some(producer) = self.producers.get_mut(id) {
            producer.epoch += 1;
        }
    }

    fn abort_open(&mut self, id: &str) {
        let Some(producer) = self.producers.get_mut(id) else { return };
        if let Some(transaction) = producer.open.take() {
            producer.epoch += 1;
            self.closing.push((id.to_owned(), Closing { transaction, commits: false }));
        }
    }

    /// The transaction that is open, or a new one.
    fn open(&mut self, id: &str, epoch: u32, now: Duration) -> Result<&mut Open, ProducerError> {
        let producer = self.producers.get_mut(id).filter(|it| it.epoch == epoch).ok_or(ProducerError::Fenced)?;
        if producer.open.is_none() && self.closing.iter().any(|(of, _)| of == id) {
            return Err(ProducerError::Concurrent);
        }
        Ok(producer.open.get_or_insert_with(|| {
            self.transactions += 1;
            let number = self.transactions;
            Open { number, began: now, partitions: BTreeSet::new(), offsets: BTreeMap::new() }
        }))
    }

    pub fn produce(
        &mut self,
        (id, epoch): (&str, u32),
        now: Duration,
        to: &TopicPartition,
        mut entry: Entry,
    ) -> Result<(), ProducerError> {
        let open = self.open(id, epoch, now)?;
        open.partitions.insert(to.clone());
        entry.transaction = Some(open.number);
        self.partition(&to.0, to.1).append(entry);
        Ok(())
    }

    pub fn add_offsets(
        &mut self,
        (id, epoch): (&str, u32),
        now: Duration,
        offsets: Vec<(TopicPartition, (i64, String))>,
    ) -> Result<(), ProducerError> {
        self.open(id, epoch, now)?.offsets.extend(offsets);
        Ok(())
    }

    pub fn end(&mut self, (id, epoch): (&str, u32), commits: bool) -> Result<(), ProducerError> {
        let producer = self.producers.get_mut(id).filter(|it| it.epoch == epoch).ok_or(ProducerError::Fenced)?;
        let Some(transaction) = producer.open.take() else {
            // Nothing was sent, or the answer to the same question was lost.
            return Ok(());
        };
        self.closing.push((id.to_owned(), Closing { transaction, commits }));
        Ok(())
    }

    /// Whether a transaction about the partition's offset is not settled.
    pub fn unstable(&self, partition: &TopicPartition) -> bool {
        let open = self.producers.values().filter_map(|producer| producer.open.as_ref());
        let closing = self.closing.iter().map(|(_, closing)| &closing.transaction);
        open.chain(closing).any(|transaction| transaction.offsets.contains_key(partition))
    }

    /// Writes one more end of some transaction, and aborts what is too old.
    pub fn tick(&mut self, now: Duration, rng: &mut fastrand::Rng) {
        let too_old = |it: &Producer| it.open.as_ref().is_some_and(|open| now >= open.began + TRANSACTION_TIMEOUT);
        let old: Vec<String> = self.producers.iter().filter(|(_, it)| too_old(it)).map(|(id, _)| id.clone()).collect();
        for id in old {
            seen(Seen::TransactionTimedOut);
            self.abort_open(&id);
        }
        if self.closing.is_empty() {
            return;
        }
        let chosen = rng.usize(..self.closing.len());
        let (_, closing) = &mut self.closing[chosen];
        let commits = closing.commits;
        let transaction = &mut closing.transaction;
        // The offsets are a partition of their own.
        let pieces = transaction.partitions.len() + usize::from(!transaction.offsets.is_empty());
        if pieces == 0 {
            self.closing.remove(chosen);
            return;
        }
        let piece = rng.usize(..pieces);
        if let Some(to) = transaction.partitions.iter().nth(piece).cloned() {
            transaction.partitions.remove(&to);
            let number = transaction.number;
            self.partition(&to.0, to.1).end_transaction(number, commits);
        } else {
            let offsets = std::mem::take(&mut transaction.offsets);
            if commits {
                self.own_offsets.extend(offsets.iter().map(|(partition, (offset, _))| (partition.clone(), *offset)));
                self.offsets.extend(offsets);
            }
        }
    }

    pub fn settled(&self) -> bool {
        self.closing.is_empty() && self.producers.values().all(|producer| producer.open.is_none())
    }
}

impl Entry {
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>, timestamp: i64) -> Self {
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        Self { key, value, timestamp, headers: None, transaction: None }
    }
}
