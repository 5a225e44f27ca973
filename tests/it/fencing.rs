//! What a broker says to the transaction of a member that has lost its partitions, by the consumer protocol: the ground
//! that hand-overs stand on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use rollbook::config::Config;
use rollbook::kafka::committer::Committer;
use rollbook::kafka::epoch::GroupEpoch;
use rollbook::kafka::membership::{Membership, Rebalance, leave};
use rollbook::kafka::producer::TransactionProducer;
use rollbook::kafka::stall::Course;
use rollbook::kafka::transaction::{Commits, Committed, Records, Transaction};
use rollbook::kafka::{MemberName, group_consumer, transactional_client};

use crate::harness::{self, Names, PARTITIONS};

const WITHIN: Duration = Duration::from_mins(1);

#[test]
fn consumer_the_group_refuses_the_transaction_of_a_former_owner() {
    let names = harness::names("fencing");
    harness::create(&harness::kafka().client(), &[&names.topics.views], PARTITIONS, &[]);
    let config = config(&names);
    let one = Member::join(&config, "one");
    one.owns(2, &[]);
    let before = one.consumer.group_metadata().expect("it has a group");
    let two = Member::join(&config, "two");
    one.owns(1, &[&two]);
    two.owns(1, &[&one]);
    let moved = two.first();

    let producer: BaseProducer = transactional_client(&config, &names.prefix).create().expect("its settings are right");
    producer.init_transactions(WITHIN).expect("the broker has transactions");
    let of_before = commit(&producer, &names, moved, &before);
    assert_eq!(of_before, Err(RDKafkaErrorCode::IllegalGeneration), "its epoch is over");
    let now = two.consumer.group_metadata().expect("it has a group");
    assert_eq!(commit(&producer, &names, moved, &now), Ok(()), "the owner's is taken");
    let kept = one.first();
    let last = one.consumer.group_metadata().expect("it has a group");
    assert_eq!(commit(&producer, &names, kept, &last), Ok(()), "so is that of who has stayed, with its new epoch");
    drop(one);
    two.owns(2, &[]);
    let of_the_dead = commit(&producer, &names, kept, &last);
    assert_eq!(of_the_dead, Err(RDKafkaErrorCode::UnknownMemberId), "it is no member any more");
}

#[test]
fn consumer_an_epoch_that_is_over_is_replaced_by_that_of_now() {
    let names = harness::names("epoch");
    harness::create(&harness::kafka().client(), &[&names.topics.views], PARTITIONS, &[]);
    let config = config(&names);
    let one = Member::join(&config, "one");
    one.owns(2, &[]);
    let before = || one.consumer.group_metadata();
    let (first, second, third) = (before(), before(), before());
    let two = Member::join(&config, "two");
    one.owns(1, &[&two]);
    two.owns(1, &[&one]);

    let (settings, id) = (config.clone(), names.prefix.clone());
    let make = move |course: &Course| TransactionProducer::make(&settings, &id, course);
    let answering = Arc::new(|| None);
    let committer = Committer::start(make, (config.topics.clone(), Box::new(|_, _, _| None)), "epoch", answering);
    let mut committer = committer.expect("a thread can be started");
    let mut commits = |partition, group: Option<ConsumerGroupMetadata>, member| {
        let (records, next_offsets) = (Records::default(), offset(&names, partition));
        let group = group.expect("it has a group");
        committer.send(Transaction { records, next_offsets, epoch: GroupEpoch { group, member } });
        committer.wait(|_| true).expect("it was sent")
    };
    // A broker may refuse the former epoch here, too; Kafka 4.3.1 does not.
    let kept = commits(one.first(), first, Some(Arc::downgrade(&one.consumer)));
    assert!(matches!(kept, Committed::Done { .. }), "{kept:?}");
    let owner = commits(two.first(), second, Some(Arc::downgrade(&two.consumer)));
    assert!(matches!(owner, Committed::Done { aborts: 1, .. }), "the owner is asked for its epoch: {owner:?}");
    let nobody = commits(two.first(), third, None);
    assert!(matches!(nobody, Committed::MembershipLost), "{nobody:?}");
}

struct Member {
    consumer: Arc<BaseConsumer<Membership>>,
}

impl Member {
    fn join(config: &Config, name: &str) -> Self {
        let name = MemberName { instance: name.to_owned(), member: "fold-0".to_owned() };
        let consumer = group_consumer(config, "fold", &name).expect("its settings are right");
        consumer.subscribe(&[&config.topics.views]).expect("it can subscribe");
        Self { consumer: Arc::new(consumer) }
    }

    /// Polls, and answers the group.
    fn turn(&self) {
        self.consumer.poll(Duration::from_millis(20));
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            let (Rebalance::Assigned(partitions) | Rebalance::Revoked(partitions)) = &rebalance;
            let mut list = TopicPartitionList::new();
            for (topic, partition) in partitions {
                list.add_partition(topic, *partition);
            }
            let answered = match rebalance {
                Rebalance::Assigned(_) => self.consumer.incremental_assign(&list),
                Rebalance::Revoked(_) => self.consumer.incremental_unassign(&list),
            };
            answered.expect("the group is answered");
        }
    }

    #[track_caller]
    fn owns(&self, count: usize, others: &[&Self]) {
        harness::until(&format!("{count} partitions"), WITHIN, || {
            self.turn();
            for other in others {
                other.turn();
            }
            let owned = self.consumer.assignment().expect("it is known").count();
            if owned == count { Ok(()) } else { Err(format!("{owned} are owned")) }
        });
    }

    fn first(&self) -> i32 {
        self.consumer.assignment().expect("it is known").elements().first().expect("there is one").partition()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        leave(&self.consumer);
    }
}

fn commit(
    producer: &BaseProducer,
    names: &Names,
    partition: i32,
    group: &ConsumerGroupMetadata,
) -> Result<(), RDKafkaErrorCode> {
    let offsets = offset(names, partition);
    producer.begin_transaction().expect("none is open");
    let sent = producer.send_offsets_to_transaction(&offsets, group, WITHIN);
    match sent.and_then(|()| producer.commit_transaction(WITHIN)) {
        Ok(()) => Ok(()),
        Err(error) => {
            producer.abort_transaction(WITHIN).expect("it can be aborted");
            Err(code(&error))
        }
    }
}

fn offset(names: &Names, partition: i32) -> TopicPartitionList {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&names.topics.views, partition, Offset::Offset(0)).expect("the offset is valid");
    offsets
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().expect("librdkafka gives a reason")
}

fn config(names: &Names) -> Config {
    let topics = toml::to_string(&names.topics).expect("topics are TOML");
    let text = format!(
        "application = \"{}\"\n[kafka]\nbootstrap = \"{}\"\n[fold]\ngroup_protocol = \"consumer\"\n[topics]\n{topics}",
        names.prefix,
        harness::kafka().bootstrap()
    );
    Config::parse(&text, Path::new("."), &|_| None).unwrap_or_else(|invalid| panic!("{invalid}"))
}
