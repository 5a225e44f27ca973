//! The file of a refresh token: read before each login, replaced where Salesforce gives a new one.
//!
//! An org that rotates takes each token once; a second use counts as theft and ends all sessions of the app. So whoever
//! uses the token holds a lock on its file from reading it until its successor is stored. The successor is another file
//! under the same name: written in place, half a token would remain of a process that dies meanwhile.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tempfile::Builder;

/// Where a refresh token is kept.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct TokenFile {
    path: PathBuf,
}

/// A refresh token that nobody else uses meanwhile.
pub struct HeldToken {
    pub secret: SecretString,
    /// Links resolved: the file behind them is the one to replace.
    file: PathBuf,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    #[error("`{path}` cannot be opened for reading and writing")]
    Open { path: String, source: io::Error },
    #[error("`{path}` is empty")]
    Empty { path: String },
    #[error("`{path}` cannot be replaced")]
    Replace { path: String, source: io::Error },
    #[error("`{path}` is mounted by itself, so it cannot be replaced")]
    Mounted { path: String },
}

/// Begins the names of files that are about to take the token's place.
const BESIDE: &str = ".rollbook-token-";

impl TokenFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Whether the token can be read and replaced; changes nothing.
    pub fn check(&self) -> Result<(), TokenFileError> {
        let (file, mut token) = open(&self.path)?;
        read(&file, &mut token)?;
        replaceable(&file)
    }

    /// None while another process holds the token.
    pub fn try_hold(&self) -> Result<Option<HeldToken>, TokenFileError> {
        loop {
            let (file, mut token) = open(&self.path)?;
            match token.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => return Err(open_error(&file, source)),
            }
            // Replaced between opening and locking: the lock is on what is no longer the token.
            if !same(&file, &token).map_err(|source| open_error(&file, source))? {
                continue;
            }
            let secret = read(&file, &mut token)?;
            // Before the token is used up.
            replaceable(&file)?;
            return Ok(Some(HeldToken { secret, file, _lock: token }));
        }
    }
}

impl HeldToken {
    /// Stores the token's successor, readable by its owner alone. After an error it may be tried again.
    pub fn replace(&self, successor: &SecretString) -> Result<(), TokenFileError> {
        self.write(successor).map_err(|source| replace_error(&self.file, source))
    }

    fn write(&self, successor: &SecretString) -> io::Result<()> {
        let mut beside = Builder::new().prefix(BESIDE).tempfile_in(folder(&self.file))?;
        beside.write_all(successor.expose_secret().as_bytes())?;
        beside.as_file().sync_all()?;
        // Crash here, or before: the file holds the old token, which the org may take no longer.
        beside.persist(&self.file)?;
        File::open(folder(&self.file))?.sync_all()
    }
}

/// Writing as well: some file systems lock only what may be written, and a read-only mount is seen at the start.
fn open(path: &Path) -> Result<(PathBuf, File), TokenFileError> {
    let file = fs::canonicalize(path).map_err(|source| open_error(path, source))?;
    let token = OpenOptions::new().read(true).write(true).open(&file).map_err(|source| open_error(path, source))?;
    Ok((file, token))
}

fn same(path: &Path, open: &File) -> io::Result<bool> {
    let (there, here) = (fs::metadata(path)?, open.metadata()?);
    Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
}

/// The line end that editors add is cut off.
fn read(path: &Path, token: &mut File) -> Result<SecretString, TokenFileError> {
    let mut text = String::new();
    token.read_to_string(&mut text).map_err(|source| open_error(path, source))?;
    match text.trim() {
        "" => Err(TokenFileError::Empty { path: path.display().to_string() }),
        token => Ok(token.into()),
    }
}

fn replaceable(file: &Path) -> Result<(), TokenFileError> {
    let beside = Builder::new().prefix(BESIDE).tempfile_in(folder(file));
    beside.map_err(|source| replace_error(file, source))?;
    // A single file that is mounted into a container cannot be renamed over, nor linked to from the folder around it.
    let link = Builder::new().prefix(BESIDE).make_in(folder(file), |beside| fs::hard_link(file, beside));
    match link {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            Err(TokenFileError::Mounted { path: file.display().to_string() })
        }
        // Without links on this file system nothing is known; the first replacement will tell.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

fn open_error(path: &Path, source: io::Error) -> TokenFileError {
    TokenFileError::Open { path: path.display().to_string(), source }
}

fn replace_error(path: &Path, source: io::Error) -> TokenFileError {
    TokenFileError::Replace { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn held(file: &TokenFile) -> HeldToken {
        file.try_hold().unwrap().expect("nobody else holds it")
    }

    #[test]
    fn a_successor_takes_the_place_of_the_file_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "first\n").unwrap();
        symlink(&real, &link).unwrap();
        let file = TokenFile::new(link.clone());
        let token = held(&file);
        assert_eq!(token.secret.expose_secret(), "first");
        token.replace(&"second".into()).unwrap();
        drop(token);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(held(&file).secret.expose_secret(), "second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn whoever_opened_the_file_before_it_was_replaced_gets_the_successor() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path().join("token"));
        fs::write(&file.path, "first").unwrap();
        let token = held(&file);
        assert!(file.try_hold().unwrap().is_none());
        let (path, before) = open(&file.path).unwrap();
        token.replace(&"second".into()).unwrap();
        assert!(!same(&path, &before).unwrap());
        assert_eq!(held(&file).secret.expose_secret(), "second");
    }

    #[test]
    fn a_reader_sees_one_token_or_the_other_never_half_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path().join("token"));
        let tokens = ["a".repeat(100_000), "b".repeat(50_000)];
        fs::write(&file.path, &tokens[0]).unwrap();
        let writing = std::thread::spawn({
            let (file, tokens) = (file.clone(), tokens.clone());
            move || (0..100).for_each(|round| held(&file).replace(&tokens[round % 2].clone().into()).unwrap())
        });
        while !writing.is_finished() {
            assert!(tokens.contains(&fs::read_to_string(&file.path).unwrap()));
        }
        writing.join().unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_used_says_so_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let told = || TokenFile::new(path.clone()).check().unwrap_err().to_string();
        assert!(told().contains("cannot be opened"), "{}", told());
        fs::write(&path, " \n").unwrap();
        assert!(told().contains("is empty"), "{}", told());
        // Nobody makes files there, not even root.
        let kernels = TokenFile::new(PathBuf::from("/proc/self/comm")).check().unwrap_err().to_string();
        assert!(kernels.contains("cannot be replaced"), "{kernels}");
    }
}
