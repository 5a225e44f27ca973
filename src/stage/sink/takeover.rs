//! What must be known of partitions before their rows are sent: the Bulk jobs that carry some of them, and how many wait.
//!
//! A job of a process before may still write rows. To send newer versions beside it would let Salesforce decide which
//! of the two comes last.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use tracing::warn;

use super::jobs_topic::unfinished;
use crate::bulk_job::BulkJob;
use crate::config::Config;
use crate::dead_letter::Stage;
use crate::kafka;
use crate::kafka::native::topics::describe;
use crate::kafka::positions::{Committed, committed};
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
    let committed = committed(&consumer.committed_offsets(list, OFFSETS_WITHIN)?);
    let topic = config.topics.upserts.as_str();
    let described = describe(consumer.client(), &[topic], OFFSETS_WITHIN)?;
    let topic_id = described.get(topic).and_then(|it| it.id.as_deref());
    let mut found = TakenOver::default();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, *partition, OFFSETS_WITHIN)?;
        let from = read_from(committed.get(&(topic.to_owned(), *partition)), topic_id, low);
        found.resumed.insert(*partition, from);
        found.rows.insert(*partition, usize::try_from(high - from).unwrap_or(0));
    }
    Ok(found)
}

/// An offset of a topic that was deleted since says nothing of this one.
fn read_from(committed: Option<&Committed>, topic_id: Option<&str>, low: i64) -> i64 {
    committed.filter(|it| !it.of_another(topic_id)).map_or(low, |it| it.offset.max(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::positions::Stamp;

    #[test]
    fn a_topic_that_was_made_anew_is_read_from_its_start_whatever_is_committed() {
        let of = |id: &str| Committed { offset: 42, stamp: Some(Stamp { topic_id: Some(id.to_owned()), born: None }) };
        assert_eq!(read_from(Some(&of("one")), Some("one"), 10), 42);
        assert_eq!(read_from(Some(&of("another")), Some("one"), 10), 10);
        assert_eq!(read_from(Some(&of("another")), None, 10), 42, "the broker does not tell ids");
        assert_eq!((read_from(None, Some("one"), 10), read_from(Some(&of("one")), Some("one"), 50)), (10, 50));
    }
}
