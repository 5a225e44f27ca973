//! What a loop asks of Kafka as a member of a consumer group. A trait, so that the same loop runs in a simulation, where
//! a broker can be made to answer at the worst moment; on librdkafka it is these calls and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::changelog::{Changelog, Log, TopicLog};
use super::client_config;
use super::clock::Clock;
use super::committer::Committer;
use super::epoch::GroupEpoch;
use super::membership::{Lag, Membership, Rebalance, leave};
use super::questions::{Answer, Asker, Question};
use super::transaction::{Commits, Epoch};
use super::vigil::Listed;
use super::watch::Watch;
use super::{MemberName, ToTheEnd, let_go};
use crate::config::{Config, GroupProtocol};

/// A call that waits for a broker waits so long.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A member that leaves is waited for so long; who does not come to the end of it is missed by the group.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

pub trait Member: Clock {
    type Message<'m>: Message
    where
        Self: 'm;
    type Log: Log;
    type Committer: Commits<Epoch = Self::Epoch>;
    type Epoch: Epoch;

    fn next_rebalance(&self) -> Option<Rebalance>;
    fn rebalance_pending(&self) -> bool;
    /// Lags as of the last statistics; empty if they were taken already.
    fn take_lags(&self) -> Vec<Lag>;
    fn poll(&self, wait: Duration) -> Option<KafkaResult<Self::Message<'_>>>;
    fn assignment(&self) -> KafkaResult<TopicPartitionList>;
    fn assignment_lost(&self) -> bool;
    fn assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()>;
    fn unassign(&self) -> KafkaResult<()>;
    fn incremental_assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()>;
    fn incremental_unassign(&self, partitions: &TopicPartitionList) -> KafkaResult<()>;
    fn pause(&self, partitions: &TopicPartitionList) -> KafkaResult<()>;
    fn resume(&self, partitions: &TopicPartitionList) -> KafkaResult<()>;
    fn seek(&self, topic: &str, partition: i32, offset: i64) -> KafkaResult<()>;
    /// Offsets that are committed and stable; an error where a transaction about one of them is still open.
    fn committed_offsets(&self, partitions: TopicPartitionList) -> KafkaResult<TopicPartitionList>;
    /// The member as of now. `renewable`: by the consumer protocol the epoch of a member moves on while it keeps its
    /// partitions; then it can be asked for the new one.
    fn epoch(&self, renewable: bool) -> Self::Epoch;
    fn cluster_id(&self) -> Option<String>;
    /// Asks about topics and their logs, without waiting; an earlier question is not answered any more.
    fn ask(&self, question: Question);
    /// The answer to the last question, once.
    fn answer(&self) -> Option<KafkaResult<Answer>>;
    /// The end of a log, below which no transaction is open. None: no broker answers.
    fn log_end(&self, topic: &str, partition: i32) -> Option<i64>;
    /// Reads a compacted topic's partitions from the given offsets on.
    fn changelog(&self, config: &Config, topic: &str, from: &BTreeMap<i32, i64>) -> KafkaResult<Changelog<Self::Log>>;
    /// To be called before it is dropped.
    fn leave(&self);
    /// Whether it knows what it has, if only that this is nothing.
    fn arrived(&self) -> bool;
    /// What the group says of it.
    fn listed(&self) -> Listed;
    /// Who else has its name.
    fn others(&self) -> String;
    /// Since when brokers have answered somebody without a break.
    fn answering_since(&self) -> Option<Instant>;
    /// Whether no outage is or was a moment ago.
    fn undisturbed(&self) -> bool;
    /// It waits for records that do not come, or no longer does.
    fn waits_for_records(&self, why: Option<String>);
    /// Whether there are other secrets by now.
    fn outdated(&self) -> bool;
    /// Says what is waited for of Kafka, or that nothing is.
    fn waits(&self, why: Option<String>);
}

/// A member by librdkafka.
pub struct GroupMember {
    /// None only while it is dropped.
    consumer: Option<Arc<BaseConsumer<Membership>>>,
    /// Asks for ends of logs. A question on the consumer's own connection waits behind its fetches, half a second each.
    ends: Arc<BaseConsumer<ToTheEnd>>,
    asker: Asker,
    place: Place,
}

/// Of which group it is a member, and by what name.
pub struct Place {
    pub group: String,
    pub name: MemberName,
    pub protocol: GroupProtocol,
    pub watch: Arc<Watch>,
    /// The secrets that its clients were made with, as the watch counts them.
    pub secrets: u64,
}

impl GroupMember {
    pub fn new(consumer: BaseConsumer<Membership>, config: &Config, place: Place) -> KafkaResult<Self> {
        let ends = Arc::new(client_config(config).create_with_context(ToTheEnd)?);
        let asker = Asker::start(Arc::clone(&ends))?;
        Ok(Self { consumer: Some(Arc::new(consumer)), ends, asker, place })
    }

    fn consumer(&self) -> &Arc<BaseConsumer<Membership>> {
        self.consumer.as_ref().expect("it is dropped last")
    }
}

impl Drop for GroupMember {
    /// librdkafka may not come to the end of it.
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            leave(&consumer);
            let_go(consumer, LEAVES_WITHIN);
        }
    }
}

impl Clock for GroupMember {}

impl Member for GroupMember {
    type Message<'m> = BorrowedMessage<'m>;
    type Log = TopicLog;
    type Committer = Committer<GroupEpoch>;
    type Epoch = GroupEpoch;

    fn next_rebalance(&self) -> Option<Rebalance> {
        self.consumer().context().next_rebalance()
    }

    fn rebalance_pending(&self) -> bool {
        self.consumer().context().rebalance_pending()
    }

    fn take_lags(&self) -> Vec<Lag> {
        self.consumer().context().take_lags()
    }

    fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer().poll(wait)
    }

    fn assignment(&self) -> KafkaResult<TopicPartitionList> {
        self.consumer().assignment()
    }

    fn assignment_lost(&self) -> bool {
        self.consumer().assignment_lost()
    }

    fn assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer().assign(partitions)
    }

    fn unassign(&self) -> KafkaResult<()> {
        self.consumer().unassign()
    }

    fn incremental_assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer().incremental_assign(partitions)
    }

    fn incremental_unassign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer().incremental_unassign(partitions)
    }

    fn pause(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer().pause(partitions)
    }

    fn resume(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer().resume(partitions)
    }

    fn seek(&self, topic: &str, partition: i32, offset: i64) -> KafkaResult<()> {
        self.consumer().seek(topic, partition, Offset::Offset(offset), CALL_TIMEOUT)
    }

    fn committed_offsets(&self, partitions: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
        self.consumer().committed_offsets(partitions, CALL_TIMEOUT)
    }

    fn epoch(&self, renewable: bool) -> GroupEpoch {
        let group = self.consumer().group_metadata().expect("the consumer has a group id");
        GroupEpoch { group, member: renewable.then(|| Arc::downgrade(self.consumer())) }
    }

    fn cluster_id(&self) -> Option<String> {
        self.consumer().client().fetch_cluster_id(CALL_TIMEOUT)
    }

    fn ask(&self, question: Question) {
        self.asker.ask(question);
    }

    fn answer(&self) -> Option<KafkaResult<Answer>> {
        self.asker.answer()
    }

    fn log_end(&self, topic: &str, partition: i32) -> Option<i64> {
        self.ends.fetch_watermarks(topic, partition, CALL_TIMEOUT).ok().map(|(_, end)| end)
    }

    fn changelog(&self, config: &Config, topic: &str, from: &BTreeMap<i32, i64>) -> KafkaResult<Changelog<TopicLog>> {
        Ok(Changelog::open(TopicLog::new(config, &self.place.watch)?, topic, from))
    }

    fn leave(&self) {
        leave(self.consumer());
    }

    fn arrived(&self) -> bool {
        self.consumer().context().arrived()
    }

    fn listed(&self) -> Listed {
        match self.place.protocol {
            GroupProtocol::Classic => self.place.watch.listed(&self.place.group, &self.place.name),
            GroupProtocol::Consumer => self.place.watch.waiting(&self.place.group, &self.place.name),
        }
    }

    fn others(&self) -> String {
        self.place.watch.others(&self.place.group, &self.place.name)
    }

    fn answering_since(&self) -> Option<Instant> {
        self.place.watch.answering_since()
    }

    fn undisturbed(&self) -> bool {
        self.place.watch.undisturbed()
    }

    fn waits_for_records(&self, why: Option<String>) {
        self.place.watch.waits(&format!("{}-records", self.place.name.member), why);
    }

    fn outdated(&self) -> bool {
        self.place.watch.secrets() != self.place.secrets
    }

    fn waits(&self, why: Option<String>) {
        self.place.watch.waits(&self.place.name.member, why);
    }
}
