//! The inputs of one installation: created before Rollbook is, as they would be; records of a conference for them;
//! and how far a stage has come with them.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rollbook::demo::conference::{self, Feed, Partition};
use rollbook::event::EventKind;
use rollbook::route;

use super::topics::{Names, PARTITIONS, Record, committed, create, read};

impl Names {
    pub fn topic(&self, kind: EventKind) -> &str {
        match kind {
            EventKind::Registration => &self.topics.registrations,
            EventKind::Attendance => &self.topics.attendance,
            EventKind::Poll => &self.topics.polls,
            EventKind::Reaction => &self.topics.reactions,
            EventKind::View => &self.topics.views,
        }
    }

    /// Everything that the fold consumes.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        let own = [self.topics.sessions.as_str(), self.topics.resolved.as_str()];
        EventKind::ALL.map(|kind| self.topic(kind)).into_iter().chain(own)
    }

    #[track_caller]
    pub fn create_inputs(&self, client: &ClientConfig) {
        let events: Vec<&str> = EventKind::ALL.iter().map(|kind| self.topic(*kind)).collect();
        // A record of more than a megabyte must reach Rollbook.
        let settings = [("cleanup.policy", "delete"), ("max.message.bytes", "4194304")];
        create(client, &events, PARTITIONS, &settings);
        // Whatever the broker's default: a statement that was compacted away before it was read was never made.
        let settings = [("cleanup.policy", "compact"), ("segment.ms", "604800000")];
        create(client, &[&self.topics.sessions], PARTITIONS, &settings);
    }

    pub fn record(&self, record: &conference::Record) -> Record {
        let topic = match record.feed {
            Feed::Events(kind) => self.topic(kind),
            Feed::Sessions => &self.topics.sessions,
        };
        let right = record.key.as_deref().map(|key| route::partition(key, PARTITIONS));
        let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.clone().into_bytes())));
        Record {
            topic: topic.to_owned(),
            partition: match record.partition {
                Partition::OfKey => None,
                Partition::Wrong => right.map(|right| (right + 1) % PARTITIONS),
            },
            offset: None,
            timestamp: record.timestamp,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: headers.collect(),
        }
    }

    /// Where the records of a topic end, by partition.
    #[track_caller]
    pub fn ends(client: &ClientConfig, topic: &str) -> BTreeMap<i32, i64> {
        let mut ends = BTreeMap::new();
        for record in read(client, topic) {
            // After the last record there may be marks of transactions, which no offset is committed for.
            ends.extend(record.partition.zip(record.offset.map(|offset| offset + 1)));
        }
        ends
    }

    /// Whether a stage has committed everything up to these ends.
    pub fn consumed(
        &self,
        client: &ClientConfig,
        stage: &str,
        topic: &str,
        ends: &BTreeMap<i32, i64>,
    ) -> Result<(), String> {
        let committed = committed(client, &format!("{}-{stage}", self.prefix), topic, PARTITIONS);
        let done = |(partition, committed): (i32, &Option<i64>)| {
            ends.get(&partition).is_none_or(|end| committed.is_some_and(|committed| committed >= *end))
        };
        let all = (0..).zip(&committed).all(done);
        if all { Ok(()) } else { Err(format!("the {stage} has committed {committed:?} of {ends:?}")) }
    }
}
