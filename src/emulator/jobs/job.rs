//! One job: what it is to do, how far it is, and which state may follow which.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::content::{Operation, Table};
use super::format::Format;
use crate::emulator::org::timestamp;
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

/// A job of either kind.
pub struct Job {
    pub id: SalesforceId,
    /// Milliseconds since 1970.
    pub created: i64,
    pub modified: i64,
    pub state: State,
    /// The API version that it was made with.
    pub version: u32,
    pub object: String,
    pub format: Format,
    /// Why it failed.
    pub error: Option<String>,
    /// A worker has it in hand.
    pub claimed: bool,
    /// What its steps took.
    pub active: Duration,
    pub task: Task,
}

pub enum Task {
    Ingest(Ingest),
    Query(Query),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ingest,
    Query,
}

/// Rows to write.
pub struct Ingest {
    pub operation: Operation,
    /// The field that an upsert finds its records by.
    pub key: Option<String>,
    /// As uploaded; at most once.
    pub content: Option<Vec<u8>>,
    /// The content, once it is read.
    pub table: Option<Table>,
    /// Of the rows carried out so far, in their order.
    pub outcomes: Vec<Outcome>,
}

/// Rows to read.
pub struct Query {
    pub text: String,
    /// `queryAll`: deleted rows too.
    pub deleted: bool,
    pub header: Vec<String>,
    pub rows: Vec<csv::StringRecord>,
}

/// What became of a row.
#[derive(Clone)]
pub enum Outcome {
    Done { id: SalesforceId, created: bool },
    Failed { id: Option<SalesforceId>, error: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl Kind {
    /// The API version that brought it.
    pub fn since(self) -> u32 {
        if self == Self::Ingest { 41 } else { 47 }
    }
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::UploadComplete => "UploadComplete",
            Self::InProgress => "InProgress",
            Self::JobComplete => "JobComplete",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
        }
    }

    /// Nothing happens to the job any more.
    pub fn ended(self) -> bool {
        matches!(self, Self::JobComplete | Self::Failed | Self::Aborted)
    }

    /// Waits for the worker, or is in its hands.
    pub fn runs(self) -> bool {
        matches!(self, Self::UploadComplete | Self::InProgress)
    }
}

impl Job {
    pub fn kind(&self) -> Kind {
        if matches!(self.task, Task::Ingest(_)) { Kind::Ingest } else { Kind::Query }
    }

    /// What a client may ask of it: to be closed, or to be aborted.
    pub fn change(&mut self, asked: &str) -> Result<(), Refusal> {
        let verb = match asked {
            "UploadComplete" if self.kind() == Kind::Ingest => "Closing",
            "Aborted" => "Aborting",
            _ => return Err(wrong_state(format!("Job state cannot be set to '{asked}'"))),
        };
        let already = match self.state {
            State::Open => {
                self.state = if verb == "Closing" { State::UploadComplete } else { State::Aborted };
                return Ok(());
            }
            State::UploadComplete | State::InProgress if verb == "Aborting" => {
                self.state = State::Aborted;
                return Ok(());
            }
            State::UploadComplete | State::InProgress => "closed",
            State::JobComplete => "Completed",
            State::Failed => "failed",
            State::Aborted => "aborted",
        };
        Err(wrong_state(format!("{verb} already {already} Job not allowed")))
    }

    pub fn operation(&self) -> &'static str {
        match &self.task {
            Task::Ingest(ingest) => ingest.operation.name(),
            Task::Query(query) if query.deleted => "queryAll",
            Task::Query(_) => "query",
        }
    }

    pub fn fail(&mut self, why: impl Into<String>) {
        self.state = State::Failed;
        self.error = Some(why.into());
    }

    /// What the answer to a new job, or a list of jobs, says of it.
    pub fn summary(&self, user: &str) -> Map<String, Value> {
        let mut info = object(json!({
            "id": self.id.as_str(),
            "operation": self.operation(),
            "object": self.object,
            "createdById": user,
            "createdDate": timestamp(self.created),
            "systemModstamp": timestamp(self.modified),
            "state": self.state.name(),
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": f64::from(self.version),
            "jobType": if self.kind() == Kind::Ingest { "V2Ingest" } else { "V2Query" },
            "lineEnding": self.format.line_ending(),
            "columnDelimiter": self.format.delimiter_name(),
        }));
        if let Task::Ingest(ingest) = &self.task {
            if let Some(key) = &ingest.key {
                info.insert("externalIdFieldName".into(), key.as_str().into());
            }
            if self.state == State::Open {
                let url = format!("services/data/v{}.0/jobs/ingest/{}/batches", self.version, self.id);
                info.insert("contentUrl".into(), url.into());
            }
        }
        info
    }

    /// Everything that is known of it.
    pub fn info(&self, user: &str) -> Map<String, Value> {
        let mut info = self.summary(user);
        let (processed, failed) = match &self.task {
            Task::Ingest(ingest) => {
                let failed = ingest.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed { .. })).count();
                (ingest.outcomes.len(), Some(failed))
            }
            Task::Query(query) => (query.rows.len(), None),
        };
        let millis = u64::try_from(self.active.as_millis()).unwrap_or(u64::MAX);
        info.extend(object(json!({
            "numberRecordsProcessed": processed, "retries": 0, "totalProcessingTime": millis,
        })));
        if let Some(failed) = failed {
            info.extend(object(json!({
                "numberRecordsFailed": failed, "apiActiveProcessingTime": millis, "apexProcessingTime": 0,
            })));
        } else {
            info.insert("isPkChunkingSupported".into(), true.into());
        }
        if let Some(error) = &self.error {
            info.insert("errorMessage".into(), error.as_str().into());
        }
        info
    }
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(members) = value { members } else { Map::new() }
}

pub fn wrong_state(message: String) -> Refusal {
    Refusal::bad("INVALIDJOBSTATE", message)
}
