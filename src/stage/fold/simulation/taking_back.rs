//! Facts that are taken back: by the owner of their partition, as a part of its commit, as whoever erases a member or folds
//! it again does it. Whoever owns the partition later must know what was left, and nothing of before.
//!
//! The same transaction says, on a topic that the fold does not write, how far the partition had been folded by then. So the
//! verdict knows which events were taken back: those that stand below. What is read again, as somebody else's commit cannot
//! be told from ours, would come back by right; so nobody else commits in such a history.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::config::Topics;
use crate::fold::Reactions;
use crate::id::MemberKey;
use crate::kafka::member::Member;
use crate::kafka::transaction::{Outgoing, Records};
use crate::route;
use crate::store::{Birth, DiskError, Partition, piece_key};
use crate::topic_table::Topic;

use super::super::worker::Worker;
use super::History;
use super::feed::{self, PARTITIONS};
use super::kafka::Kafka;
use super::log::Logs;

thread_local! {
    static KAFKA: RefCell<Option<Kafka>> = const { RefCell::new(None) };
}

/// This thread carries out what is ordered there.
pub fn listen(kafka: &Kafka) {
    KAFKA.set(Some(kafka.clone()));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// All that is known of a member.
    Member,
    /// A piece.
    Entry,
    /// Something of a piece: it is written smaller than it was.
    Reactions,
}

const ALL: [(What, &str); 3] = [(What::Member, "member"), (What::Entry, "entry"), (What::Reactions, "reactions")];

#[derive(Clone, Debug)]
pub struct Order {
    what: What,
    pub member: MemberKey,
    entry_id: String,
}

impl Order {
    pub fn home(&self) -> i32 {
        route::partition(&self.member.bytes(), PARTITIONS)
    }

    fn to_text(&self) -> String {
        let (_, what) = ALL.into_iter().find(|(what, _)| *what == self.what).expect("one of all");
        format!("taken back/{what}/{}/{}", self.entry_id, self.member)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("taken back/")?.split('/');
        let (what, entry_id, member) = (parts.next()?, parts.next()?, parts.next()?);
        let (what, _) = ALL.into_iter().find(|(_, name)| *name == what)?;
        Some(Self { what, member: MemberKey::split(member)?.0, entry_id: entry_id.to_owned() })
    }

    /// Takes it back from what is known. Returns the keys of pieces that are gone.
    pub fn carry_out(&self, pieces: &mut Partition, commit: u64) -> Result<Vec<Vec<u8>>, DiskError> {
        pieces.load(&self.member)?;
        let Some(aggregate) = pieces.aggregate(&self.member) else { return Ok(Vec::new()) };
        let mut gone: Vec<Option<String>> = match self.what {
            What::Member => aggregate.entries.iter().map(|(id, _)| Some(id.to_string())).chain([None]).collect(),
            What::Entry => vec![Some(self.entry_id.clone())],
            What::Reactions => {
                if let Some(mut piece) = aggregate.entry(&self.entry_id).cloned() {
                    piece.reactions = Reactions::default();
                    pieces.replace(&self.member, &self.entry_id, piece);
                }
                Vec::new()
            }
        };
        let mut failed = None;
        gone.retain(|entry_id| match pieces.take_back(&self.member, entry_id.as_deref(), commit) {
            Ok(known) => known,
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        let keys = gone.iter().map(|entry_id| piece_key(&self.member, entry_id.as_deref())).collect();
        failed.map_or(Ok(keys), Err)
    }
}

impl<M: Member> Worker<M> {
    /// What is ordered of the partitions here becomes a part of the commit that is made.
    pub(in crate::stage::fold) fn take_back(&mut self, commit: u64, records: &mut Records) -> Result<(), DiskError> {
        let Some(kafka) = KAFKA.with_borrow(Clone::clone) else { return Ok(()) };
        let orders = std::mem::take(&mut kafka.broker().orders);
        let (ours, others) = orders.into_iter().partition(|order: &Order| self.owns(order.home()));
        kafka.broker().orders = others;
        for order in ours {
            let folded = self.birth(order.home()).encode();
            let home = self.store.partition(order.home());
            for key in order.carry_out(home, commit)? {
                let (partition, key) = (Some(order.home()), Some(key.as_slice()));
                records.push(Topic::State, Outgoing { partition, key, ..Outgoing::default() });
            }
            let text = order.to_text();
            let (partition, key, value) = (Some(0), Some(text.as_bytes()), Some(folded.as_slice()));
            records.push(Topic::Outcomes, Outgoing { partition, key, value, ..Outgoing::default() });
        }
        Ok(())
    }
}

impl History {
    /// Whoever owns the member takes something of it back with its next commit, if that comes to be.
    pub(super) fn take_back(&self) {
        let (what, _) = self.kafka.turns.random(|rng| ALL[rng.usize(..ALL.len())]);
        let (member, entry_id) = self.kafka.turns.random(feed::somebody);
        self.kafka.broker().orders.push(Order { what, member, entry_id });
    }
}

/// Copies of records among the re-keyed ones, by the place where they stood first.
pub type Copies = BTreeMap<(String, i32, i64), Vec<i64>>;

/// Something that was taken back, and how far its partition had been folded then.
pub struct Taking {
    pub order: Order,
    folded: Birth,
}

impl Taking {
    /// In the order in which they happened.
    pub fn all(logs: &Logs, topics: &Topics) -> Vec<Self> {
        let notes = logs.topic(&topics.outcomes).flat_map(|(_, log)| log.all().map(|(_, entry)| entry));
        let taking = |entry: &super::log::Entry| {
            let order = Order::parse(std::str::from_utf8(entry.key.as_deref()?).ok()?)?;
            Some(Self { order, folded: Birth::decode(entry.value.as_deref()?).expect("a birth") })
        };
        notes.filter_map(taking).collect()
    }

    /// Whether an event of the partition's had been folded.
    pub fn covers(&self, place: &(String, i32, i64), copies: &Copies, topics: &Topics) -> bool {
        let folded = |topic: &str| self.folded.inputs.get(topic).map_or(0, |folded| folded.next_offset);
        let (topic, partition, offset) = place;
        match copies.get(place) {
            Some(copies) => copies.iter().all(|copy| *copy < folded(&topics.resolved)),
            None => *partition == self.order.home() && *offset < folded(topic),
        }
    }
}
