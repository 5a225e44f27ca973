//! Partitions whose leader is away, and comes back.

use std::collections::BTreeMap;
use std::path::Path;

use rdkafka::mocking::{MockCluster, MockCoordinator};

use super::*;
use crate::stage::sink::outbox::Places;

const WITHIN: Duration = Duration::from_mins(1);
const TOPIC: &str = "rollbook.upserts";

fn positions(cluster: &MockCluster<'_, impl rdkafka::client::ClientContext>) -> Positions {
    let text = format!("[kafka]\nbootstrap = \"{}\"\n", cluster.bootstrap_servers());
    let config = Arc::new(Config::parse(&text, Path::new("."), &|_| None).unwrap());
    let watch = Watch::start(&config, (Arc::default(), Arc::default()), || true).unwrap();
    let (notes, _follower) = Notes::open(&config, &watch).unwrap();
    Positions::of(&config, &Arc::new(Metrics::new()), &notes, &watch).unwrap()
}

fn assigned() -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in 0..3 {
        list.add_partition(TOPIC, partition);
    }
    list
}

fn offsets(list: &TopicPartitionList) -> BTreeMap<i32, Offset> {
    list.elements().iter().map(|it| (it.partition(), it.offset())).collect()
}

/// What a look says that comes to an answer.
fn look(positions: &Positions, list: &TopicPartitionList) -> Look {
    let begun = Instant::now();
    positions.seen().looked = None;
    loop {
        let looked = positions.look(list);
        if looked != Look::Well || positions.seen().asked.is_none() {
            return looked;
        }
        assert!(begun.elapsed() < WITHIN, "no answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn which_log_is_read_is_told_once_the_topic_can_be_described_also_to_who_has_no_partition() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    cluster.create_topic("rollbook.notes", 1, 1).unwrap();
    cluster.coordinator(MockCoordinator::Group("rollbook-sink".to_owned()), 1).unwrap();
    let positions = positions(&cluster);
    let nothing = TopicPartitionList::new();
    assert_eq!((look(&positions, &nothing), positions.places()), (Look::Well, None), "nothing is assigned yet");
    cluster.broker_down(1).unwrap();
    positions.place(&nothing);
    assert_eq!(positions.places(), None);
    let waits_for = positions.untold(&positions.seen(), &Answer::default()).unwrap();
    assert!(waits_for.contains(TOPIC), "{waits_for}");
    cluster.broker_up(1).unwrap();
    let begun = Instant::now();
    while look(&positions, &nothing) != Look::Placed(Vec::new()) {
        assert!(begun.elapsed() < WITHIN, "it can be described");
    }
    assert_eq!(positions.places(), Some(Places::default()));
    assert_eq!(positions.untold(&positions.seen(), &Answer::default()), None);
    assert_eq!(look(&positions, &nothing), Look::Well, "it is told once");
}

#[test]
fn a_partition_without_a_leader_waits_alone_and_by_name_and_is_placed_when_it_has_one() {
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    cluster.create_topic("rollbook.notes", 1, 1).unwrap();
    for (partition, leader) in [(0, 1), (1, 2), (2, 1)] {
        cluster.partition_leader(TOPIC, partition, Some(leader)).unwrap();
    }
    cluster.coordinator(MockCoordinator::Group("rollbook-sink".to_owned()), 1).unwrap();
    let positions = positions(&cluster);
    cluster.broker_down(2).unwrap();
    let list = assigned();
    positions.place(&list);
    let nothing_said = BTreeMap::from([(0, Offset::Offset(0)), (1, Offset::Invalid), (2, Offset::Offset(0))]);
    assert_eq!(offsets(&list), nothing_said, "what has a leader is placed");
    assert_eq!(offsets(&positions.unplaced()).into_keys().collect::<Vec<_>>(), [1]);
    let named = positions.seen().unled.reason();
    assert_eq!(named.as_deref(), Some("partition 1 of upserts has a leader that does not answer"));
    for _ in 0..2 {
        assert_eq!(look(&positions, &list), Look::Well, "nobody joins the group anew for it");
    }
    cluster.broker_up(2).unwrap();
    let begun = Instant::now();
    let placed = loop {
        let looked = look(&positions, &list);
        if looked != Look::Well {
            break looked;
        }
        assert!(begun.elapsed() < WITHIN, "its leader is back");
    };
    assert_eq!(placed, Look::Placed(vec![1]));
    assert_eq!((positions.unplaced().count(), positions.seen().unled.reason()), (0, None));
}
