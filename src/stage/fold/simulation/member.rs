//! A member of the simulated group, as librdkafka behaves towards its application: a rebalance is told in the middle of
//! a poll and waits for its acknowledgement; that the membership is lost is noticed at any time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{Config, GroupProtocol};
use crate::kafka::changelog::Changelog;
use crate::kafka::member::Member;
use crate::kafka::membership::{Lag, Rebalance, TopicPartition, listed};
use crate::kafka::questions::{Answer, Question};
use crate::kafka::transaction::Epoch;
use crate::kafka::vigil::Listed;

use super::client::{Client, Phase};
use super::consumer_group::Told;
use super::disks::{copy, dead};
use super::group::Standing;
use super::kafka::{Broker, Kafka, Simulated, SimulatedLog, message};
use super::producer::SimulatedCommitter;
use super::seen::{Seen, seen};

/// Some questions come to no end, whatever their time.
const NEVER: Duration = Duration::from_hours(1);

pub struct SimulatedMember {
    kafka: Kafka,
    process: usize,
    protocol: GroupProtocol,
    /// Its disk.
    folder: Option<PathBuf>,
    client: Arc<Mutex<Client>>,
}

/// Who commits: a member of a generation, or of an epoch.
pub struct SimulatedEpoch {
    member: Option<u64>,
    generation: i32,
    protocol: GroupProtocol,
    now: Option<(Kafka, Arc<Mutex<Client>>)>,
}

impl SimulatedEpoch {
    pub fn check(&self, broker: &Broker) -> Result<(), RDKafkaErrorCode> {
        match self.protocol {
            GroupProtocol::Classic => broker.group.check(self.member, self.generation),
            GroupProtocol::Consumer => broker.consumers.check(self.member, self.generation),
        }
    }
}

impl Epoch for SimulatedEpoch {
    fn renew(&mut self) -> bool {
        let Some((kafka, client)) = &self.now else { return false };
        kafka.call();
        let client = client.lock().expect("no holder of the lock panics");
        (self.member, self.generation) = (client.member, client.epoch_now(kafka));
        !client.lost
    }
}

impl SimulatedMember {
    pub fn new(kafka: &Kafka, process: usize, protocol: GroupProtocol, folder: Option<PathBuf>) -> Self {
        Self { kafka: kafka.clone(), process, protocol, folder, client: Arc::default() }
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().expect("no holder of the lock panics")
    }

    /// What the group has said meanwhile.
    fn hear(&self) {
        // The group has been told by now whether it was silent for too long.
        self.kafka.turns.change_process(self.process, |process| process.silent_since = None);
        if self.client().deaf {
            return;
        }
        if self.protocol == GroupProtocol::Consumer {
            return self.hear_as_consumer();
        }
        let client = &mut *self.client();
        let mut broker = self.kafka.broker();
        let now = self.kafka.turns.now();
        let standing = client.member.map_or(Standing::Gone, |member| broker.group.standing(member));
        match (client.phase, standing) {
            // A generation that is over before it was heard of is followed by the next one at once, as Kafka's members do.
            (Phase::Out, _) | (Phase::Waiting, Standing::Gone | Standing::JoinAgain) => {
                client.member = Some(broker.group.join(self.process, client.member, now));
                client.phase = Phase::Waiting;
            }
            (Phase::Waiting, Standing::Member { generation, assignment }) => {
                client.generation = generation;
                client.rebalances.push_back(Rebalance::Assigned(assignment));
                client.phase = Phase::Assigning;
            }
            (Phase::Settled, Standing::JoinAgain) => client.revoke(),
            (Phase::Settled, Standing::Gone) => {
                client.lose();
                client.revoke();
            }
            (Phase::Assigning | Phase::Settled | Phase::Revoking, _) => {}
        }
    }

    fn hear_as_consumer(&self) {
        let client = &mut *self.client();
        let mut broker = self.kafka.broker();
        let now = self.kafka.turns.now();
        let Some(member) = client.member.filter(|_| !client.lost) else {
            if client.phase == Phase::Out {
                client.member = Some(broker.consumers.join(self.process));
                client.phase = Phase::Settled;
            } else if client.phase == Phase::Settled {
                client.revoke();
            }
            return;
        };
        if client.phase != Phase::Settled {
            return;
        }
        match broker.consumers.heartbeat(member, client.positions.keys().cloned().collect(), now) {
            Told::Gone => {
                client.lose();
                client.revoke();
            }
            Told::Revoke(partitions) => {
                client.rebalances.push_back(Rebalance::Revoked(partitions));
                client.phase = Phase::Revoking;
            }
            Told::Assign(partitions) => {
                client.rebalances.push_back(Rebalance::Assigned(partitions));
                client.phase = Phase::Assigning;
            }
            Told::Nothing => {}
        }
    }

    /// The heartbeats may have told already that the membership is over.
    fn hear_of_loss(&self) {
        let client = &mut *self.client();
        let gone = |member| match self.protocol {
            GroupProtocol::Classic => matches!(self.kafka.broker().group.standing(member), Standing::Gone),
            GroupProtocol::Consumer => self.kafka.broker().consumers.epoch(member).is_none(),
        };
        if client.member.is_some_and(gone) && self.kafka.turns.chance(50) {
            client.lose();
        }
    }

    /// As a member that lost its session and never joins again, without an error.
    fn go_deaf(&self) {
        let client = &mut *self.client();
        if client.deaf {
            return;
        }
        client.deaf = true;
        if let Some(member) = client.member {
            let now = self.kafka.turns.now();
            let mut broker = self.kafka.broker();
            broker.group.leave(member, now);
            broker.consumers.leave(member);
        }
        client.lose();
        client.revoke();
    }

    fn next(&self) -> Option<OwnedMessage> {
        let client = &mut *self.client();
        let readable: Vec<TopicPartition> =
            client.positions.keys().filter(|partition| !client.paused.contains(*partition)).cloned().collect();
        let start = self.kafka.turns.random(|rng| rng.usize(..readable.len().max(1)));
        let mut broker = self.kafka.broker();
        readable.iter().cycle().skip(start).take(readable.len()).find_map(|partition| {
            let position = client.positions.get_mut(partition).filter(|_| !broker.unled.contains(partition))?;
            let (offset, entry) = broker.logs.partition(&partition.0, partition.1).read(*position)?;
            *position = offset + 1;
            Some(message((&partition.0, partition.1), offset, entry))
        })
    }
}

impl Simulated for SimulatedMember {
    fn kafka(&self) -> &Kafka {
        &self.kafka
    }
}

impl Member for SimulatedMember {
    type Message<'m> = OwnedMessage;
    type Log = SimulatedLog;
    type Committer = SimulatedCommitter;
    type Epoch = SimulatedEpoch;

    fn next_rebalance(&self) -> Option<Rebalance> {
        self.kafka.call();
        self.client().rebalances.pop_front()
    }

    fn rebalance_pending(&self) -> bool {
        !self.client().rebalances.is_empty()
    }

    fn take_lags(&self) -> Vec<Lag> {
        Vec::new()
    }

    fn poll(&self, wait: Duration) -> Option<KafkaResult<OwnedMessage>> {
        self.kafka.call();
        if self.kafka.away() || self.kafka.mishap(1) {
            self.kafka.turns.sleep(wait);
            return Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure)));
        }
        if self.client().fatal {
            self.kafka.turns.sleep(wait);
            return None;
        }
        if !self.kafka.broker().calm && self.kafka.turns.random(|rng| rng.u16(..2_000)) == 0 {
            // Said once; whoever does not listen waits for ever.
            seen(Seen::FatalError);
            self.client().fatal = true;
            let code = [RDKafkaErrorCode::FencedInstanceId, RDKafkaErrorCode::Fatal];
            let code = code[self.kafka.turns.random(|rng| rng.usize(..code.len()))];
            return Some(Err(KafkaError::MessageConsumptionFatal(code)));
        }
        if !self.kafka.broker().calm && self.kafka.turns.random(|rng| rng.u16(..2_000)) == 0 {
            seen(Seen::DeafMember);
            self.go_deaf();
        }
        self.hear();
        if let Some(message) = self.next() {
            return Some(Ok(message));
        }
        if !wait.is_zero() {
            let longest = u64::try_from(wait.as_micros()).expect("it is short");
            self.kafka.turns.sleep(Duration::from_micros(self.kafka.turns.random(|rng| rng.u64(1..=longest))));
        }
        None
    }

    fn assignment(&self) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in self.client().positions.keys() {
            list.add_partition(topic, *partition);
        }
        Ok(list)
    }

    fn assignment_lost(&self) -> bool {
        self.kafka.call();
        self.hear_of_loss();
        self.client().lost
    }

    fn assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.kafka.call();
        let client = &mut *self.client();
        client.positions.clear();
        client.paused.clear();
        client.take_over(partitions);
        Ok(())
    }

    fn unassign(&self) -> KafkaResult<()> {
        self.kafka.call();
        let client = &mut *self.client();
        client.positions.clear();
        client.paused.clear();
        if client.phase == Phase::Revoking {
            (client.phase, client.lost) = (Phase::Out, false);
        }
        Ok(())
    }

    fn incremental_assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.kafka.call();
        let client = &mut *self.client();
        client.take_over(partitions);
        Ok(())
    }

    fn incremental_unassign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.kafka.call();
        let client = &mut *self.client();
        let at_home = |client: &Client| client.positions.keys().any(|(topic, _)| topic.ends_with("resolved"));
        let before = at_home(client);
        for partition in listed(partitions) {
            client.positions.remove(&partition);
            client.paused.remove(&partition);
        }
        if before && !at_home(client) && !client.positions.is_empty() {
            seen(Seen::GaveUpHomes);
        }
        if client.phase == Phase::Revoking {
            client.phase = if client.lost { Phase::Out } else { Phase::Settled };
            client.lost = false;
            // librdkafka has something new to say after every step, if it is nothing.
            client.rebalances.push_back(Rebalance::Assigned(Vec::new()));
        }
        Ok(())
    }

    fn pause(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.client().paused.extend(listed(partitions));
        Ok(())
    }

    fn resume(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let client = &mut *self.client();
        for partition in listed(partitions) {
            client.paused.remove(&partition);
        }
        let unled = &self.kafka.broker().unled;
        if partitions.count() > 0 && client.paused.iter().any(|partition| unled.contains(partition)) {
            seen(Seen::LeaderAwaitedAlone);
        }
        Ok(())
    }

    fn seek(&self, topic: &str, partition: i32, offset: i64) -> KafkaResult<()> {
        if let Some(position) = self.client().positions.get_mut(&(topic.to_owned(), partition)) {
            *position = offset;
        }
        Ok(())
    }

    fn committed_offsets(&self, partitions: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
        self.kafka.question()?;
        let broker = self.kafka.broker();
        let mut offsets = TopicPartitionList::new();
        for partition in listed(&partitions) {
            if broker.logs.unstable(&partition) {
                return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnstableOffsetCommit));
            }
            let committed = broker.logs.offsets.get(&partition);
            let offset = committed.map_or(Offset::Invalid, |(offset, _)| Offset::Offset(*offset));
            offsets.add_partition_offset(&partition.0, partition.1, offset)?;
            if let Some((_, metadata)) = committed {
                offsets.find_partition(&partition.0, partition.1).expect("it is there").set_metadata(metadata);
            }
        }
        Ok(offsets)
    }

    fn epoch(&self, renewable: bool) -> SimulatedEpoch {
        self.kafka.call();
        self.hear_of_loss();
        let client = self.client();
        let generation = client.epoch_now(&self.kafka);
        let now = renewable.then(|| (self.kafka.clone(), Arc::clone(&self.client)));
        SimulatedEpoch { member: client.member, generation, protocol: self.protocol, now }
    }

    fn cluster_id(&self) -> Option<String> {
        self.kafka.question().ok().map(|()| "simulated".to_owned())
    }

    fn log_end(&self, topic: &str, partition: i32) -> Option<i64> {
        self.kafka.question().ok()?;
        Some(self.kafka.broker().logs.partition(topic, partition).stable_end())
    }

    fn ask(&self, question: Question) {
        self.kafka.call();
        self.kafka.begin_outage();
        let slow = self.kafka.mishap(5);
        let lost = self.kafka.mishap(1);
        let takes = self.kafka.turns.random(|rng| Duration::from_millis(rng.u64(..if slow { 6_000 } else { 50 })));
        let takes = if lost { NEVER } else { takes };
        // Brokers may have answered long before it is heard.
        let early = self.kafka.turns.chance(50).then(|| self.kafka.answer(&question));
        self.client().asked = Some((question, early, self.kafka.turns.now() + takes));
    }

    fn answer(&self) -> Option<KafkaResult<Answer>> {
        self.kafka.call();
        let client = &mut *self.client();
        let (question, early, _) = client.asked.take_if(|(.., at)| *at <= self.kafka.turns.now())?;
        if self.kafka.away() || self.kafka.mishap(2) {
            return Some(Err(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown)));
        }
        Some(Ok(early.unwrap_or_else(|| self.kafka.answer(&question))))
    }

    fn changelog(&self, _: &Config, topic: &str, from: &BTreeMap<i32, i64>) -> KafkaResult<Changelog<SimulatedLog>> {
        Ok(Changelog::open(SimulatedLog::new(&self.kafka), topic, from))
    }

    fn leave(&self) {
        if std::thread::panicking() {
            // It is killed. What it has not written is lost; what the threads do to the disk from here on is not seen.
            if let Some(folder) = &self.folder {
                let _ = std::fs::remove_dir_all(dead(folder));
                copy(folder, &dead(folder));
            }
            return;
        }
        self.kafka.call();
        if let Some(member) = self.client().member {
            let now = self.kafka.turns.now();
            let mut broker = self.kafka.broker();
            broker.group.leave(member, now);
            broker.consumers.leave(member);
        }
    }

    fn arrived(&self) -> bool {
        let client = self.client();
        client.phase == Phase::Settled && !client.deaf
    }

    fn listed(&self) -> Listed {
        if self.kafka.question().is_err() {
            return Listed::Unknown;
        }
        match (self.protocol, self.client().member.map(|member| self.kafka.broker().group.standing(member))) {
            (GroupProtocol::Consumer, _) => Listed::Unknown,
            (GroupProtocol::Classic, None | Some(Standing::Gone)) => Listed::Stranger,
            (GroupProtocol::Classic, Some(Standing::JoinAgain)) => Listed::Joining,
            (GroupProtocol::Classic, Some(Standing::Member { .. })) => Listed::Member,
        }
    }

    fn others(&self) -> String {
        "nobody".to_owned()
    }

    fn answering_since(&self) -> Option<Instant> {
        self.kafka.answering_since()
    }

    fn outdated(&self) -> bool {
        false
    }

    fn waits(&self, _: Option<String>) {}

    /// Whoever is thrown out here has no twin.
    fn undisturbed(&self) -> bool {
        false
    }

    /// The simulated log gives whatever stands in it, where somebody leads it.
    fn waits_for_records(&self, why: Option<String>) {
        let Some(why) = why else { return };
        if why.contains("has no leader") {
            seen(Seen::LeaderNamed);
        } else {
            assert!(why.contains("partitions again"), "a partition stands still: {why}");
            seen(Seen::GrownResolved);
        }
    }
}
