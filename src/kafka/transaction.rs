//! A transaction: records and the offsets that they answer for, all or nothing; who commits it, and how it ends.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaError;

use super::sizes::TooLarge;

pub use super::records::{Outgoing, Records};

/// One transaction.
pub struct Transaction<E> {
    pub records: Records,
    /// Offsets to resume at, by input partition.
    pub next_offsets: TopicPartitionList,
    /// Who commits them.
    pub epoch: E,
}

/// A member of a consumer group at some time, by which the broker knows whether it still is one.
pub trait Epoch {
    /// Takes the epoch of now. False where there is none by which the partitions are still the member's.
    fn renew(&mut self) -> bool;
}

/// How a transaction ended.
#[derive(Debug)]
pub enum Committed {
    Done {
        took: Duration,
        aborts: u64,
        too_large: Vec<TooLarge>,
    },
    /// The group gave the partitions to somebody else; nothing was written.
    MembershipLost,
    /// Other clients may do it, whoever makes them: nothing was written, as far as is known here.
    Over(Over),
}

impl Committed {
    pub(crate) fn lost(&self) -> bool {
        matches!(self, Self::MembershipLost)
    }
}

/// Why a transaction is not carried on.
#[derive(Debug)]
pub enum Over {
    /// It does not get on although Kafka answers.
    Stalled,
    /// One producer after the other was refused.
    WornOut(KafkaError),
    /// Nobody was to wait for it.
    GivenUp,
}

/// Carries out transactions, one at a time, while whoever made them goes on.
pub trait Commits {
    type Epoch: Epoch;

    fn in_flight(&self) -> bool;
    /// Hands over a transaction; only while none is in flight.
    fn send(&mut self, transaction: Transaction<Self::Epoch>);
    /// The result, if it is there.
    fn try_result(&mut self) -> Option<Committed>;
    /// Waits for the transaction in flight, if there is one. A broker that is away makes this long: `alive` is
    /// called now and then, with the right that is missing, and says whether to go on with it.
    fn wait(&mut self, alive: impl FnMut(Option<String>) -> bool) -> Option<Committed>;
    /// The right without which the transaction in flight is not carried out.
    fn missing_right(&self) -> Option<String>;
    /// Empty records with the room of earlier ones.
    fn take_spare(&mut self) -> Records;
}
