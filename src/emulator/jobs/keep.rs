//! Ingest jobs on disk, two files each: the rows as uploaded, and a log of what became of the job.
//!
//! A chunk's rows and its outcomes go to two logs, and a crash can come between. So the outcomes are written first,
//! with the length that the org's journal has once the rows are in it: after a restart they count if the journal is
//! that long, and else the chunk is carried out again. To write them behind the rows would be simpler, and a crash would
//! make an insert insert twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::content::{Operation, Table};
use super::format::Format;
use super::job::{Ingest, Job, Outcome, State, Task};
use crate::emulator::org::{Body, Org};
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

/// Where jobs are kept. None: nowhere.
pub struct Keep(Option<PathBuf>);

/// A line of a job's log.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// What it is to do.
    Job {
        created: i64,
        version: u32,
        object: String,
        operation: Operation,
        key: Option<String>,
        format: Body,
    },
    State {
        state: State,
        error: Option<String>,
        modified: i64,
    },
    /// The outcomes of the next rows, and how long the org's journal is with these in it.
    Chunk {
        outcomes: Vec<Outcome>,
        journal: u64,
    },
}

impl Keep {
    /// Reads the jobs of a data directory.
    pub fn open(data: Option<&Path>, org: &Org) -> io::Result<(Self, Vec<Job>)> {
        let Some(data) = data else { return Ok((Self(None), Vec::new())) };
        let folder = data.join("jobs");
        fs::create_dir_all(&folder)?;
        let keep = Self(Some(folder.clone()));
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let id = path.file_stem().and_then(|name| SalesforceId::parse(name.to_str()?));
            let Some(id) = id.filter(|_| path.extension().is_some_and(|ending| ending == "jsonl")) else { continue };
            // A log without its first line is of a job whose making was not answered.
            if let Some(job) = restore(id, &fs::read_to_string(&path)?, &path.with_extension("csv"), org)? {
                keep.rewrite(&job)?;
                jobs.push(job);
            }
        }
        jobs.sort_by_key(|job| job.id);
        Ok((keep, jobs))
    }

    /// A new job, with what it has already.
    pub fn add(&self, job: &Job) -> Result<(), Refusal> {
        let Task::Ingest(ingest) = &job.task else { return Ok(()) };
        if let Some(content) = &ingest.content {
            self.content(job.id, content)?;
        }
        self.rewrite(job).map_err(lost)
    }

    pub fn content(&self, id: SalesforceId, content: &[u8]) -> Result<(), Refusal> {
        let Some(folder) = &self.0 else { return Ok(()) };
        replace(&folder.join(format!("{id}.csv")), content).map_err(lost)
    }

    pub fn state(&self, job: &Job) -> Result<(), Refusal> {
        if matches!(job.task, Task::Query(_)) {
            return Ok(());
        }
        self.append(job.id, &state(job))
    }

    /// Before the rows are committed.
    pub fn chunk(&self, id: SalesforceId, outcomes: &[Outcome], org: &Org) -> Result<(), Refusal> {
        let Some(journal) = org.journal_end().filter(|_| self.0.is_some()) else { return Ok(()) };
        self.append(id, &Entry::Chunk { outcomes: outcomes.to_vec(), journal })
    }

    pub fn remove(&self, id: SalesforceId) {
        for ending in ["jsonl", "csv"] {
            // What cannot be removed now is found again at the next start, and is too old then as well.
            self.0.as_ref().map(|folder| fs::remove_file(folder.join(format!("{id}.{ending}"))));
        }
    }

    fn append(&self, id: SalesforceId, entry: &Entry) -> Result<(), Refusal> {
        let Some(folder) = &self.0 else { return Ok(()) };
        let file = OpenOptions::new().append(true).open(folder.join(format!("{id}.jsonl")));
        file.and_then(|mut file| file.write_all(line(entry).as_bytes()).and_then(|()| file.sync_data())).map_err(lost)
    }

    /// The whole log anew. Outcomes that count need no journal to say so.
    fn rewrite(&self, job: &Job) -> io::Result<()> {
        let (Some(folder), Task::Ingest(ingest)) = (&self.0, &job.task) else { return Ok(()) };
        let first = Entry::Job {
            created: job.created,
            version: job.version,
            object: job.object.clone(),
            operation: ingest.operation,
            key: ingest.key.clone(),
            format: job.format.describe(),
        };
        let chunk = Entry::Chunk { outcomes: ingest.outcomes.clone(), journal: 0 };
        let text = [first, chunk, state(job)].iter().map(line).collect::<String>();
        replace(&folder.join(format!("{}.jsonl", job.id)), text.as_bytes())
    }
}

fn state(job: &Job) -> Entry {
    Entry::State { state: job.state, error: job.error.clone(), modified: job.modified }
}

fn line(entry: &Entry) -> String {
    let mut line = serde_json::to_string(entry).expect("an entry is JSON");
    line.push('\n');
    line
}

fn lost(_: io::Error) -> Refusal {
    Refusal::new(503, "SERVER_UNAVAILABLE", "the emulator's data directory cannot be written")
}

/// Puts a file in its place as a whole. Rows hold names and addresses: nobody else's business.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A job from its log. A torn last line was not answered for.
fn restore(id: SalesforceId, log: &str, content: &Path, org: &Org) -> io::Result<Option<Job>> {
    let mut entries = log.lines().map_while(|line| serde_json::from_str(line).ok());
    let Some(Entry::Job { created, version, object, operation, key, format }) = entries.next() else { return Ok(None) };
    let Ok(format) = Format::parse(&format) else { return Ok(None) };
    let content = content.exists().then(|| fs::read(content)).transpose()?;
    let mut ingest = Ingest { operation, key, content, table: None, outcomes: Vec::new() };
    let (mut state, mut error, mut modified) = (State::Open, None, created);
    for entry in entries {
        match entry {
            Entry::State { state: next, error: why, modified: at } => (state, error, modified) = (next, why, at),
            Entry::Chunk { outcomes, journal } if journal <= org.journal_recovered() => {
                ingest.outcomes.extend(outcomes);
            }
            Entry::Job { .. } | Entry::Chunk { .. } => {}
        }
    }
    let schema = org.schema();
    if let (Some(object), Some(content), true) = (schema.object(&object), &ingest.content, !ingest.outcomes.is_empty())
    {
        let purpose = (ingest.operation, ingest.key.as_deref());
        ingest.table = Table::read(content, format, (&schema, object), purpose).ok();
    }
    // All rows were in, and the state that follows was not.
    if state == State::InProgress && ingest.table.as_ref().is_some_and(|table| table.len() == ingest.outcomes.len()) {
        state = State::JobComplete;
    }
    let active = Duration::ZERO;
    let task = Task::Ingest(ingest);
    Ok(Some(Job { id, created, modified, state, version, object, format, error, claimed: false, active, task }))
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (id, created, error) = match self {
            Self::Done { id, created } => (Some(id), Some(*created), None),
            Self::Failed { id, error } => (id.as_ref(), None, Some(error)),
        };
        (id.map(SalesforceId::as_str), created, error).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, created, error) = <(Option<String>, Option<bool>, Option<String>)>::deserialize(deserializer)?;
        let id = id.as_deref().and_then(SalesforceId::parse);
        match (id, created, error) {
            (Some(id), Some(created), None) => Ok(Self::Done { id, created }),
            (id, None, Some(error)) => Ok(Self::Failed { id, error }),
            _ => Err(serde::de::Error::custom("no outcome of a row")),
        }
    }
}
