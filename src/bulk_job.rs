//! A bulk job that has not ended: a record of `rollbook.bulk-jobs`.
//!
//! Salesforce works on a job for as long as it likes, and a process may end meanwhile. Its successor must find the job
//! and the upserts that wait for it: without the record it would send them beside the job, which may then write an older
//! version of a row over a newer one. A row is its offset and a hash of its external id, as the upsert itself is read
//! again from its own topic.

use xxhash_rust::xxh3::xxh3_64;

use crate::avro::{self, ReadError, Reader, Writer};
use crate::id::SalesforceId;
use crate::time::Millis;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkJob {
    pub job: SalesforceId,
    pub object: String,
    pub created_at: Millis,
    /// Those whose upserts stand in the record's partition.
    pub rows: Vec<BulkJobRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkJobRow {
    /// Of the upsert.
    pub offset: i64,
    /// See [`key_of`].
    pub key: i64,
}

/// What results of the job are told to their row by.
pub fn key_of(external_id: &str) -> i64 {
    xxh3_64(external_id.as_bytes()).cast_signed()
}

impl BulkJob {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::object(&avro::BULK_JOB);
        out.text(self.job.as_str());
        out.text(&self.object);
        out.long(self.created_at);
        out.array(self.rows.iter(), |out, row| {
            out.long(row.offset);
            out.long(row.key);
        });
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let mut from = Reader::object(&avro::BULK_JOB, record)?;
        let job = SalesforceId::parse(from.text()?).ok_or(ReadError::Id)?;
        let object = from.text()?.to_owned();
        let created_at = from.long()?;
        let mut rows = Vec::new();
        from.array(|from| {
            rows.push(BulkJobRow { offset: from.long()?, key: from.long()? });
            Ok(())
        })?;
        Ok(Self { job, object, created_at, rows })
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Value;
    use apache_avro::{from_avro_datum, to_avro_datum};
    use proptest::prelude::*;

    use super::*;

    fn job(rows: &[(i64, i64)]) -> BulkJob {
        BulkJob {
            job: SalesforceId::parse("750000000000001AAA").expect("an id"),
            object: "UserSessionEngagement__c".to_owned(),
            created_at: 1_767_225_600_000,
            rows: rows.iter().map(|(offset, key)| BulkJobRow { offset: *offset, key: *key }).collect(),
        }
    }

    /// Written by fastavro and python-xxhash.
    #[test]
    fn a_record_of_the_first_version_is_read_for_good() {
        let hex = "c301aabe803457951c7f24373530303030303030303030303031414141305573657253657373696f6e456e676167656d\
            656e745f5f6380a0d5edee66040ed0b7eec0ca89f9a8d701100100";
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits")).collect();
        let expected = job(&[(7, key_of("70103000000cnFXAAY_00Q0300000AczgfEAB")), (8, -1)]);
        assert_eq!(BulkJob::decode(&bytes), Ok(expected.clone()));
        assert_eq!(expected.encode(), bytes);
    }

    #[test]
    fn what_is_no_job_is_an_error() {
        let good = job(&[(1, 2)]).encode();
        for end in 0..good.len() {
            assert!(BulkJob::decode(&good[..end]).is_err(), "{end} bytes of it");
        }
        let mut other = good;
        other[avro::HEADER_LEN + 1] = b'-';
        assert_eq!(BulkJob::decode(&other), Err(ReadError::Id));
    }

    proptest! {
        #[test]
        fn a_job_is_read_as_it_was_written(rows in proptest::collection::vec(any::<(i64, i64)>(), 0..300)) {
            let job = job(&rows);
            let bytes = job.encode();
            prop_assert_eq!(BulkJob::decode(&bytes), Ok(job.clone()));
            let mut body = bytes.strip_prefix(&avro::BULK_JOB.header).expect("a header");
            let read = from_avro_datum(&avro::BULK_JOB.schema, &mut body, None).expect("of the schema");
            prop_assert!(body.is_empty());
            let Value::Record(fields) = &read else { panic!("a record") };
            let Some((_, Value::Array(read_rows))) = fields.last() else { panic!("rows") };
            prop_assert_eq!(read_rows.len(), rows.len());
            let again = to_avro_datum(&avro::BULK_JOB.schema, read).expect("of the schema");
            let again = [avro::BULK_JOB.header.as_slice(), &again].concat();
            prop_assert_eq!(BulkJob::decode(&again), Ok(job), "in apache-avro's blocks too");
        }
    }
}
