//! What must be known of partitions before their rows are sent: the Bulk jobs that carry some of them, and how many wait.
//!
//! A job of a process before may still write rows. To send newer versions beside it would let Salesforce decide which
//! of the two comes last.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::jobs_topic::unfinished;
use crate::bulk_job::BulkJob;
use crate::config::Config;
use crate::dead_letter::Stage;
use crate::kafka;
use crate::kafka::scan::ScanError;
use crate::kafka::{client_config, said};

/// How long a broker may take to say where a partition ends.
const OFFSETS_WITHIN: Duration = Duration::from_secs(5);

/// A broker that does not answer is asked again after this.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct TakenOver {
    /// Each with the partition whose rows it names.
    pub jobs: Vec<(i32, BulkJob)>,
    /// Offsets from which the partitions are read.
    pub resumed: BTreeMap<i32, i64>,
    /// Rows that were not read yet, by partition; at most, as offsets between are counted, too.
    pub rows: BTreeMap<i32, usize>,
}

/// Asks until Kafka answers. To be dropped when the partitions leave.
pub async fn of(config: Config, partitions: Vec<i32>) -> TakenOver {
    loop {
        let (settings, ours) = (config.clone(), partitions.clone());
        let asked = tokio::task::spawn_blocking(move || ask(&settings, &ours));
        match asked.await {
            Ok(Ok(taken_over)) => return taken_over,
            Ok(Err(error)) => {
                if let Some(times) = said::again(&error.to_string()) {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, times, "reading the Bulk jobs, asking again");
                }
            }
            Err(error) => warn!(%error, "reading the Bulk jobs, asking again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn ask(config: &Config, partitions: &[i32]) -> Result<TakenOver, ScanError> {
    let jobs = unfinished(config, partitions)?;
    // Only numbers to decide by: without them the rows are counted as they come.
    let waiting = waiting(config, partitions).unwrap_or_default();
    Ok(TakenOver { jobs, ..waiting })
}

fn waiting(config: &Config, partitions: &[i32]) -> KafkaResult<TakenOver> {
    let mut client = client_config(config);
    client.set("group.id", kafka::group(config, Stage::Sink.name()));
    let consumer: BaseConsumer = client.create()?;
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&config.topics.upserts, *partition);
    }
    let committed = consumer.committed_offsets(list, OFFSETS_WITHIN)?;
    let mut found = TakenOver::default();
    for element in committed.elements() {
        let (low, high) = consumer.fetch_watermarks(element.topic(), element.partition(), OFFSETS_WITHIN)?;
        let from = if let Offset::Offset(offset) = element.offset() { offset.max(low) } else { low };
        found.resumed.insert(element.partition(), from);
        found.rows.insert(element.partition(), usize::try_from(high - from).unwrap_or(0));
    }
    Ok(found)
}
