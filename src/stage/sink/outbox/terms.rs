//! The words between the outbox and its shell: calls, answers, effects.

use serde_json::{Map, Value as Json};

use super::budget::Usage;
use super::memory::Statuses;
use super::people::Parent;
use super::row::{Class, Key};
use crate::bulk_job::BulkJob;
use crate::dead_letter::DeadLetter;
use crate::disposition::{Disposition, Retry};
use crate::id::SalesforceId;
use crate::outcome::Outcome;
use crate::salesforce::bulk::{JobInfo, ResultKind};
use crate::time::Millis;
use crate::upsert::{Labels, Object};

/// Where an upsert stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// In which log: the topic may be deleted and made anew under a sink that runs. Counted by the process.
    pub log: u32,
    pub partition: i32,
    pub offset: i64,
}

/// A call to Salesforce that is to be made now.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: RequestId,
    pub call: Call,
}

pub type RequestId = u64;

#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Collections, one after the other.
    Save {
        parts: Vec<Part>,
    },
    /// The records of rows of an object.
    FindRecords {
        object: Object,
        keys: Vec<Key>,
    },
    /// People are all Leads or all Contacts.
    FindPeople {
        campaign: SalesforceId,
        people: Vec<SalesforceId>,
    },
    /// What became of leads, contacts and campaigns.
    FindParents {
        ids: Vec<SalesforceId>,
    },
    /// Which of these have all the statuses there are.
    ReadStatuses {
        campaigns: Vec<SalesforceId>,
    },
    /// Makes those that are missing.
    EnsureStatuses {
        campaign: SalesforceId,
    },
    /// What is left of the calls of the day.
    Limits,
    Job(JobCall),
}

/// A step of a Bulk job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobCall {
    Create { object: Object },
    Upload { job: SalesforceId, csv: Vec<u8> },
    Close { job: SalesforceId },
    Abort { job: SalesforceId },
    Look { job: SalesforceId },
    Read { object: Object, job: SalesforceId, part: ResultKind },
}

/// One collection of a save. A row may refer to one of another part before it by [`reference`].
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub class: Class,
    pub rows: Vec<Map<String, Json>>,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// One answer for each part, in order: a result for each row, or why the part was refused as a whole.
    Saved(Vec<Result<Vec<RowResult>, Failure>>),
    /// Those that exist.
    Records(Vec<(Key, SalesforceId)>),
    People(Vec<FoundPerson>),
    /// Of those that are known, deleted ones too.
    Parents(Vec<(SalesforceId, Parent)>),
    Statuses {
        statuses: Statuses,
        complete: bool,
    },
    /// Those of the campaigns that lack none.
    CompleteStatuses(Vec<(SalesforceId, Labels)>),
    Limits(Usage),
    Job(JobAnswer),
    Failed(Failure),
}

#[derive(Clone, Debug)]
pub enum JobAnswer {
    Created(SalesforceId),
    /// Uploaded, closed, aborted.
    Done,
    State(JobInfo),
    /// Rows by external id.
    Rows(Vec<(String, JobRow)>),
}

/// What a job says of a row.
#[derive(Clone, Debug)]
pub enum JobRow {
    Ended(RowResult),
    Unprocessed,
}

/// Why a call, or one row of it, came to nothing.
#[derive(Clone, Debug)]
pub struct Failure {
    pub disposition: Disposition,
    /// Salesforce's error code, or a fixed word.
    pub code: String,
    /// API names of the fields that Salesforce named.
    pub fields: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum RowResult {
    Saved { id: SalesforceId, created: bool },
    Refused(Failure),
}

/// A member of a campaign, found by its person.
#[derive(Clone, Debug)]
pub struct FoundPerson {
    pub person: SalesforceId,
    pub record: SalesforceId,
    pub external_id: Option<String>,
}

/// What the shell has to do or count.
#[derive(Debug)]
pub enum Effect {
    Settled(Box<Settled>),
    /// A record without value was passed.
    Tombstone,
    Retried(Retry),
    /// A row is held for this code. Told again whenever it is tried in vain.
    Held {
        code: String,
        hint: &'static str,
        /// It ends by itself.
        passes: bool,
    },
    /// To be written to the topic of jobs, each record to its partition; then [`super::Outbox::job_recorded`] is called.
    RecordJob {
        number: u64,
        records: Vec<(i32, BulkJob)>,
    },
    /// Its records are of no use any more.
    ForgetJob {
        job: SalesforceId,
        partitions: Vec<i32>,
    },
    JobEnded {
        fate: JobFate,
        code: String,
    },
}

/// What became of a Bulk job; a label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobFate {
    Complete,
    Failed,
    Aborted,
    /// Salesforce did not take it.
    Refused,
    /// Not there, or no longer.
    Gone,
    /// It ended, and its results could not be read, or do not tell of all rows.
    Unread,
}

impl JobFate {
    pub const ALL: [Self; 6] = [Self::Complete, Self::Failed, Self::Aborted, Self::Refused, Self::Gone, Self::Unread];

    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Unread => "unread",
        }
    }
}

/// An upsert's end: to be recorded, after which [`Outbox::recorded`] is called.
#[derive(Debug)]
pub struct Settled {
    pub position: Position,
    pub object: Option<Object>,
    /// None where the record was no upsert at all.
    pub outcome: Option<Outcome>,
    pub dead_letter: Option<DeadLetter>,
    pub event_at: Option<Millis>,
}
