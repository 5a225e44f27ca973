//! What people and retention do to topics and groups under a running system.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use super::http::block_on;
use super::{create, partitions, until};

const WITHIN: Duration = Duration::from_mins(1);

fn admin(client: &ClientConfig) -> (AdminClient<DefaultClientContext>, AdminOptions) {
    let options = AdminOptions::new().operation_timeout(Some(WITHIN)).request_timeout(Some(WITHIN));
    (client.create().expect("the client's settings are right"), options)
}

#[track_caller]
pub fn delete_topic(client: &ClientConfig, topic: &str) {
    let (admin, options) = admin(client);
    let deleted = block_on(async { admin.delete_topics(&[topic], &options).await }).expect("the broker answers");
    for it in deleted {
        it.expect("the topic is deleted");
    }
    until("the topic to be gone", WITHIN, || match partitions(client, topic) {
        Ok(_) => Err("it is there".to_owned()),
        Err(_) => Ok(()),
    });
}

/// Deletes a topic and makes another one of its name.
#[track_caller]
pub fn remake(client: &ClientConfig, topic: &str, count: i32, settings: &[(&str, &str)]) {
    delete_topic(client, topic);
    create(client, &[topic], count, settings);
}

#[track_caller]
pub fn grow(client: &ClientConfig, topic: &str, count: usize) {
    let (admin, options) = admin(client);
    let more = [NewPartitions::new(topic, count)];
    let grown = block_on(async { admin.create_partitions(&more, &options).await }).expect("the broker answers");
    for it in grown {
        it.expect("the topic grows");
    }
    until("the partitions", WITHIN, || match partitions(client, topic) {
        Ok(found) if found == count => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Forgets a group that has no members any more, with its offsets.
#[track_caller]
pub fn delete_group(client: &ClientConfig, group: &str) {
    let (admin, options) = admin(client);
    until("the group to be deleted", WITHIN, || {
        let deleted = block_on(async { admin.delete_groups(&[group], &options).await }).expect("the broker answers");
        match deleted.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
