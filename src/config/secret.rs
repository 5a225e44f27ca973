//! A secret of a login, which may change while the process runs.
//!
//! Kept as it was at the start, a secret that was changed would be refused until somebody restarts the process. So its
//! file is read again whenever it is used; what came from the environment cannot change.

use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Serialize, Serializer};

use super::effective::MASK;

#[derive(Clone)]
pub struct Secret {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Value(SecretString),
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("`{path}` cannot be read")]
    Read { path: String, source: io::Error },
    #[error("`{path}` is empty")]
    Empty { path: String },
}

impl Secret {
    /// One that does not change.
    pub fn fixed(value: SecretString) -> Self {
        Self { source: Source::Value(value) }
    }

    pub(super) fn of_file(file: PathBuf) -> Self {
        Self { source: Source::File(file) }
    }

    /// The secret as it is now.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match &self.source {
            Source::Value(value) => Ok(value.clone()),
            Source::File(file) => read_file(file),
        }
    }
}

/// The line end that editors add is cut off.
fn read_file(file: &Path) -> Result<SecretString, SecretError> {
    let path = || file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|source| SecretError::Read { path: path(), source })?;
    if text.trim().is_empty() {
        Err(SecretError::Empty { path: path() })
    } else {
        Ok(text.trim_end_matches(['\r', '\n']).into())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(MASK)
    }
}
