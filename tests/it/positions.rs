//! What a real broker says of topics and of the ends of their logs.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rollbook::kafka::native::topics::describe;
use rollbook::kafka::positions::{Ends, log_ends, strangers};

use crate::harness::{self, Record};

const WITHIN: Duration = Duration::from_secs(30);

#[test]
fn topics_are_described_and_one_that_is_made_anew_has_another_id() {
    let client = harness::kafka().client();
    let topics = harness::names("described").topics;
    let (views, polls, absent) = (topics.views.as_str(), topics.polls.as_str(), topics.state.as_str());
    harness::create(&client, &[views], 3, &[]);
    harness::create(&client, &[polls], 1, &[]);
    let consumer: BaseConsumer = client.create().expect("the settings are right");
    let described = || describe(consumer.client(), &[views, absent, polls], WITHIN).expect("the broker answers");
    let first = described();
    assert_eq!((first.len(), first[views].partitions, first[polls].partitions), (2, 3, 1));
    assert!(first[views].id.is_some() && first[views].id != first[polls].id, "{first:?}");
    for _ in 0..100 {
        assert_eq!(described(), first);
    }
    let admin: AdminClient<DefaultClientContext> = client.create().expect("the settings are right");
    let deleted = async { admin.delete_topics(&[views], &AdminOptions::new()).await };
    harness::http::block_on(deleted).expect("the broker answers");
    harness::until("the topic to be gone", WITHIN, || {
        if described().contains_key(views) { Err("it is there".to_owned()) } else { Ok(()) }
    });
    harness::create(&client, &[views], 3, &[]);
    let second = described();
    assert_ne!(second[views].id, first[views].id);
    assert_eq!(second[polls], first[polls]);
}

#[test]
fn the_ends_of_logs_are_asked_for_together_and_a_foreign_member_is_named() {
    let client = harness::kafka().client();
    let names = harness::names("ends");
    let topic = &names.topics.views;
    harness::create(&client, &[topic], 2, &[]);
    let record = |value: &str| Record { partition: Some(1), ..Record::new(topic, "key", value) };
    harness::write(&client, &[record("one"), record("two"), record("three")]);
    harness::delete_below(&client, topic, 1, 2);
    let consumer: BaseConsumer = client.clone().set("group.id", &names.prefix).create().expect("settings");
    let place = |partition| (topic.clone(), partition);
    let ends = log_ends(&consumer, &[place(0), place(1)], WITHIN).expect("the broker answers");
    assert_eq!(ends[&place(0)], Ends { start: 0, end: 0 });
    assert_eq!(ends[&place(1)], Ends { start: 2, end: 3 });

    for protocol in ["classic", "consumer"] {
        let group = format!("{}-{protocol}", names.prefix);
        let asked = |application: &str| strangers(&consumer, (&group, application), WITHIN).expect("it answers");
        let mut foreign = client.clone();
        foreign.set("group.id", &group).set("client.id", "console-consumer").set("group.protocol", protocol);
        let foreign: BaseConsumer = foreign.create().expect("the settings are right");
        foreign.subscribe(&[topic]).expect("it subscribes");
        harness::until("the foreign member", WITHIN, || {
            let _ = foreign.poll(Duration::from_millis(100));
            let named = foreign.assignment().map(|assigned: TopicPartitionList| assigned.count());
            if named == Ok(2) { Ok(()) } else { Err(format!("{named:?}")) }
        });
        let said = asked("rollbook");
        assert!(matches!(said.as_slice(), [one] if one.starts_with("console-consumer at /")), "{protocol}: {said:?}");
        assert_eq!(asked("console"), Vec::<String>::new(), "its own application's");
    }
}
