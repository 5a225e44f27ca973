//! What was deployed into an org, kept beside its rows: without it a restart would meet rows of objects that nobody
//! declares.
//!
//! The sources are kept, not the schema they made: they are applied again in their order, to whatever schema the org
//! starts with. The file is written anew and renamed, so it is whole at any time.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::journal::JournalError;
use crate::emulator::schema::{Schema, Source};

const FILE: &str = "deployed.json";

/// Every deployment, oldest first.
pub(super) struct Deployed {
    /// None: the org lives in memory only.
    path: Option<PathBuf>,
    deployments: Vec<Vec<Source>>,
}

impl Deployed {
    /// Reads what is there into `schema`.
    pub fn open(data: Option<&Path>, schema: &mut Schema) -> Result<Self, JournalError> {
        let path = data.map(|directory| directory.join(FILE));
        let mut deployed = Self { path, deployments: Vec::new() };
        let Some(path) = &deployed.path else { return Ok(deployed) };
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(deployed),
            read => read.map_err(|source| JournalError::Io { path: path.clone(), source })?,
        };
        let read = serde_json::from_slice(&text);
        deployed.deployments = read.map_err(|_| JournalError::Line { path: path.clone(), line: 1 })?;
        for sources in &deployed.deployments {
            // What failed then fails again, and is left out again.
            *schema = schema.deployed(sources).0;
        }
        Ok(deployed)
    }

    pub fn keep(&mut self, sources: Vec<Source>) -> Result<(), JournalError> {
        self.deployments.push(sources);
        let Some(path) = &self.path else { return Ok(()) };
        write(path, &self.deployments).map_err(|source| {
            self.deployments.pop();
            JournalError::Io { path: path.clone(), source }
        })
    }
}

fn write(path: &Path, deployments: &[Vec<Source>]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(deployments)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The new name is durable once its directory is.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
