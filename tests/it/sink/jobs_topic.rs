//! The unfinished bulk jobs as a new instance finds them, on a real broker.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rollbook::bulk_job::{BulkJob, BulkJobRow, key_of};
use rollbook::config::Config;
use rollbook::id::SalesforceId;
use rollbook::kafka::scan::ScanError;
use rollbook::stage::sink::jobs_topic::unfinished;
use rollbook::topic_table::Topic;

use super::config;
use crate::harness::{self, Names, Record};

const WITHIN: Duration = Duration::from_secs(30);

/// The topic as Rollbook makes it.
fn topic(names: &Names) -> &str {
    let policy = ("cleanup.policy", Topic::BulkJobs.row().cleanup.policy());
    let settings: Vec<(&str, &str)> = Topic::BulkJobs.row().made_with.iter().copied().chain([policy]).collect();
    let topic = Topic::BulkJobs.name(&names.topics);
    harness::create(&harness::kafka().client(), &[topic], 3, &settings);
    topic
}

fn config_of(names: &Names) -> Config {
    let mut config = config(harness::kafka().bootstrap(), "http://localhost:1", "id", "secret");
    config.topics = names.topics.clone();
    config
}

fn job(number: i64, rows: i64) -> BulkJob {
    let rows = (0..rows).map(|offset| BulkJobRow { offset, key: key_of(&offset.to_string()) });
    BulkJob {
        job: SalesforceId::parse(&format!("750{number:012}")).unwrap(),
        object: "UserSessionEngagement__c".to_owned(),
        created_at: number,
        rows: rows.collect(),
    }
}

#[test]
fn jobs_without_a_tombstone_are_found_in_their_partitions() {
    let names = harness::names("bulk-jobs");
    let topic = topic(&names);
    let record = |partition, job: &BulkJob, value: Option<Vec<u8>>| {
        let record = Record::new(topic, job.job.as_str(), Vec::new());
        Record { partition: Some(partition), value, ..record }
    };
    // The largest is three times what a broker takes unasked.
    let (ended, changed, first, other) = (job(1, 3), job(2, 3), job(3, 1), job(4, 250_000));
    let broken = job(5, 1);
    let records = [
        record(1, &ended, Some(ended.encode())),
        record(1, &changed, Some(job(2, 9).encode())),
        record(1, &broken, Some(b"no job".to_vec())),
        record(1, &ended, None),
        record(1, &changed, Some(changed.encode())),
        record(1, &first, Some(first.encode())),
        record(2, &other, Some(other.encode())),
        // A job has a record in each partition that its rows stand in.
        record(2, &ended, Some(ended.encode())),
    ];
    harness::write(&harness::kafka().client(), &records);

    let config = config_of(&names);
    let found = |partitions: &[i32]| unfinished(&config, partitions).expect("the broker answers");
    assert_eq!(found(&[0]), [], "a partition without records");
    assert_eq!(found(&[]), []);
    assert_eq!(found(&[0, 1]), [(1, changed.clone()), (1, first.clone())]);
    assert_eq!(found(&[2, 1]), [(1, changed), (1, first), (2, ended), (2, other)]);
}

#[test]
fn a_job_of_an_aborted_transaction_never_was() {
    let names = harness::names("bulk-jobs-aborted");
    let topic = topic(&names);
    let mut client = harness::kafka().client();
    let producer: BaseProducer = client.set("transactional.id", &names.prefix).create().expect("settings");
    producer.init_transactions(WITHIN).expect("the broker has transactions");
    for (job, commit) in [(job(1, 1), true), (job(2, 1), false)] {
        producer.begin_transaction().expect("begins");
        let value = job.encode();
        let record = BaseRecord::to(topic).partition(0).key(job.job.as_str()).payload(&value);
        producer.send(record).map_err(|(error, _)| error).expect("sends");
        producer.flush(WITHIN).expect("delivered");
        if commit { producer.commit_transaction(WITHIN) } else { producer.abort_transaction(WITHIN) }.expect("ends");
    }
    assert_eq!(unfinished(&config_of(&names), &[0, 1, 2]).expect("the broker answers"), [(0, job(1, 1))]);
}

#[test]
fn a_topic_that_is_not_there_is_an_error() {
    let names = harness::names("bulk-jobs-absent");
    let error = unfinished(&config_of(&names), &[0]).expect_err("no such topic");
    assert!(matches!(&error, ScanError::NoTopic(topic) if *topic == names.topics.bulk_jobs), "{error}");
}
