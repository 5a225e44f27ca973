//! The fold: events in, states and upserts out, in one transaction with the offsets that they answer for.
//!
//! Each fold thread is a member of the consumer group with its own consumer, store and transactional producer, as
//! Kafka Streams' threads are: nothing is shared, so nothing is locked. One turn of the loop takes what happened
//! (a rebalance, a change of the catalogue, a finished commit), then records up to a bound, and then commits if one
//! is due. Folding goes on while a commit is in flight: states that run ahead of an aborted commit need no rollback,
//! since folding again changes nothing.

pub mod commit;
pub mod gap;
mod headers;
mod inputs;
#[cfg(test)]
mod lane_tests;
mod poll;
mod progress;
mod refusals;
#[cfg(test)]
mod simulation;
mod start;
pub mod tally;
mod tenure;
mod too_large;
pub(super) mod unled;
mod worker;

pub use headers::{FIRST_TIMESTAMP_HEADER, KIND_HEADER};
pub use poll::BATCH_RECORDS;
pub use start::{Ended, start};
pub use worker::BATCHES_PER_TURN;

use rdkafka::error::KafkaError;

use crate::kafka::registry::RegistrySetupError;
use crate::kafka::twins::Twin;
use crate::store::{DiskError, RestoreError};

/// Why a fold thread stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("kafka refused to {attempted}")]
    Kafka { attempted: &'static str, source: KafkaError },
    #[error("one transactional producer after the other was refused")]
    WornOut(#[source] KafkaError),
    #[error("to {waited_for} does not get on although Kafka answers")]
    Stalled { waited_for: &'static str },
    #[error("the member stands outside of its consumer group although Kafka answers")]
    Outside,
    #[error("kafka's secrets or certificates were changed")]
    Outdated,
    #[error("this instance is thrown out of the consumer group again and again")]
    Twin(#[source] Twin),
    #[error(
        "the states of partition {partition} are gone: the group's offsets say that they were born, and `{topic}` holds nothing of it\n  \
         hint: going on would write small numbers over large ones; see `Rebuilding the state` in deploy/runbook.md"
    )]
    StateWiped { topic: String, partition: i32 },
    #[error(
        "`{topic}` was deleted and made anew: of the states of partition {partition} it holds what changed since\n  \
         hint: going on would write small numbers over large ones; see `Rebuilding the state` in deploy/runbook.md"
    )]
    StateRemade { topic: String, partition: i32 },
    #[error(
        "the states were born among {born} partitions, and `{topic}` has {found}: members would be looked for where they are not\n  \
         hint: see `Partitions of Rollbook's own topics` in deploy/runbook.md"
    )]
    Born { topic: String, born: i32, found: i32 },
    #[error(
        "the state at offset {offset} of `{topic}` partition {partition} cannot be read\n  \
         hint: going on without it would write small numbers over large ones; if a later version wrote it, start that one, \
         else see `Rebuilding the state` in deploy/runbook.md"
    )]
    Restore { topic: String, partition: i32, offset: i64, source: RestoreError },
    #[error("the schema registry's client cannot be made")]
    Registry(#[from] RegistrySetupError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("thread `{name}` cannot be started")]
    Thread { name: String, source: std::io::Error },
}

impl Error {
    /// Whether the topics are wrong, so that another start would find the same.
    pub fn topics_are_wrong(&self) -> bool {
        matches!(self, Self::StateWiped { .. } | Self::StateRemade { .. } | Self::Born { .. } | Self::Restore { .. })
    }
}

/// Names the call that failed.
fn attempt<T>(attempted: &'static str, result: Result<T, KafkaError>) -> Result<T, Error> {
    result.map_err(|source| Error::Kafka { attempted, source })
}
