//! A member of a consumer group as the broker knows it at some time.

use std::sync::Weak;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};

use super::membership::Membership;
use super::transaction::Epoch;

/// A member of a consumer group at some time.
pub struct GroupEpoch {
    pub group: ConsumerGroupMetadata,
    /// None: the classic protocol, where a generation that is over has taken the partitions with it.
    /// A transaction that comes to no end must not keep the member in its group.
    pub member: Option<Weak<BaseConsumer<Membership>>>,
}

impl Epoch for GroupEpoch {
    /// Asked in this order: as long as the partitions are not lost, no later epoch than that of their owner can have been
    /// answered. What the loop has been told to give up it gives up after the commit in flight, so that they all are
    /// still this member's.
    fn renew(&mut self) -> bool {
        let Some(member) = self.member.as_ref().and_then(Weak::upgrade) else { return false };
        self.group = member.group_metadata().expect("the consumer has a group id");
        !member.assignment_lost()
    }
}
