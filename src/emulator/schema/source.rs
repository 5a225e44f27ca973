//! The files of a source tree, and what can be wrong with one: told with its place, in words for who loads a tree, and in
//! Salesforce's words for who deploys it.

use std::path::{Path, PathBuf};

use roxmltree::Document;
use serde::{Deserialize, Serialize};

/// A file of the tree. The path is relative, with forward slashes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    pub path: String,
    pub text: String,
}

/// Why a source tree is no schema.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not read `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is not XML")]
    Xml { path: String, source: roxmltree::Error },
    #[error("`{path}`: element `{element}` {problem}; hint: {hint}")]
    Invalid {
        path: String,
        element: String,
        problem: String,
        hint: &'static str,
        /// What Salesforce says to who deploys it, where that is known.
        told: Option<String>,
        /// Line and column.
        place: (u32, u32),
    },
    /// Of the deployment as a whole, in Salesforce's words.
    #[error("`{path}`: {message}")]
    Told { path: String, message: String },
    #[error("no object, field or permission set below `{path}`; hint: name the directory of `sfdx-project.json`")]
    Empty { path: PathBuf },
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// What comes before one of the suffixes in the file's name.
    pub(super) fn stem(&self, suffixes: &[&str]) -> Option<&str> {
        let file = self.path.rsplit('/').next()?;
        suffixes.iter().find_map(|suffix| file.strip_suffix(suffix))
    }

    /// The object that a field file lies under.
    pub(super) fn object_folder(&self) -> Option<&str> {
        let mut parts = self.path.rsplit('/').skip(1);
        (parts.next() == Some("fields")).then(|| parts.next()).flatten()
    }

    pub(super) fn document(&self) -> Result<Document<'_>, Error> {
        Document::parse(&self.text).map_err(|source| Error::Xml { path: self.path.clone(), source })
    }
}

impl Error {
    /// As Salesforce tells it to who deploys.
    pub fn told(&self) -> String {
        match self {
            Self::Xml { source, .. } => format!("Error parsing file: {source}"),
            Self::Invalid { told: Some(told), .. } => told.clone(),
            Self::Invalid { element, problem, .. } => format!("{element} {problem}"),
            Self::Told { message, .. } => message.clone(),
            Self::Read { .. } | Self::Empty { .. } => self.to_string(),
        }
    }

    /// Line and column in the file.
    pub fn place(&self) -> Option<(u32, u32)> {
        match self {
            Self::Xml { source, .. } => Some((source.pos().row, source.pos().col)),
            Self::Invalid { place, .. } => Some(*place),
            Self::Read { .. } | Self::Empty { .. } | Self::Told { .. } => None,
        }
    }

    pub(super) fn telling(mut self, words: impl Into<String>) -> Self {
        if let Self::Invalid { told, .. } = &mut self {
            *told = Some(words.into());
        }
        self
    }
}

/// Every metadata file below `dir`, in order of path.
pub(super) fn read_dir(dir: &Path) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| Error::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().is_some_and(|path| path.ends_with("-meta.xml")) {
                let text =
                    std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
                sources.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    if sources.is_empty() {
        return Err(Error::Empty { path: dir.to_owned() });
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}
