//! The bulk jobs that a predecessor left unfinished.
//!
//! Read before the upserts of a partition are: a row that a job holds must wait for it. Nothing is kept between reads,
//! as an instance that had the partition meanwhile may have ended jobs and made others.

use std::collections::BTreeMap;

use rdkafka::Message;

use crate::bulk_job::BulkJob;
use crate::config::Config;
use crate::kafka::foreign::Foreign;
use crate::kafka::scan::{Next, Range, ScanError, Scanner};

/// The jobs of these partitions that have no tombstone, with their partition. Blocks for as long as Kafka takes.
pub fn unfinished(config: &Config, partitions: &[i32]) -> Result<Vec<(i32, BulkJob)>, ScanError> {
    let topic = &config.topics.bulk_jobs;
    let mut jobs: BTreeMap<(i32, Vec<u8>), BulkJob> = BTreeMap::new();
    let mut foreign = Foreign::default();
    let range = Range::of(topic).partitions(partitions.iter().copied());
    Scanner::new(config)?.read(&[range], |record| {
        let (partition, offset) = (record.partition(), record.offset());
        let place = (partition, record.key().unwrap_or_default().to_vec());
        match record.payload().map(BulkJob::decode) {
            Some(Ok(job)) => {
                jobs.insert(place, job);
            }
            // Its rows are sent again, which is harmless but for a job that is still under way.
            Some(Err(error)) => foreign.add(partition, offset, error),
            None => {
                jobs.remove(&place);
            }
        }
        Next::On
    })?;
    foreign.tell(topic);
    Ok(jobs.into_iter().map(|((partition, _), job)| (partition, job)).collect())
}
