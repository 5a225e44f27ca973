//! The states of partitions on local disk: a cache of the changelog.
//!
//! Nothing is ever true because it stands here. A folder that is lost, torn, or of another cluster, topic or version is
//! thrown away, and the states are read from the topic again. What does stand here was committed: states that run ahead of
//! their commit would make the events that are folded again after a crash look as if they had been answered for.
//!
//! One value per member, under its key as text, so that a campaign's members stand together. The marker stands in the
//! same keyspace as the members and is written in one batch with them, so that neither can be newer than the other.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions};
use tracing::{info, warn};

use crate::time::Millis;

use super::error::{DiskError, guarded};
use super::folder::{self, create_private};
use super::shelf::{Identity, Marker, Shelf};

/// Folders of one application on one machine: processes and threads take the first that is free.
const SLOTS: usize = 256;
/// Blocks of the disk that are kept in memory.
const CACHE_BYTES: u64 = 32 << 20;
/// The least that fjall takes. It is read back at every start, so little is better.
const JOURNAL_BYTES: u64 = 64 << 20;
/// What partitions collect in memory, together, before it goes to files; and what one of them may take of it.
const MEMTABLES_BYTES: u64 = 64 << 20;
/// Partitions fill evenly, so that all of them are written at about the same time and go on filling meanwhile; and an item
/// takes half as much again as the database counts for it. Measured with a hundred partitions.
const MEMTABLE_SHARE: u64 = 3;
const MEMTABLE_BYTES_MIN: u64 = 128 << 10;
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;
/// What the disk of a fold thread takes of memory, beside the budget of its states.
pub const BESIDE_BYTES: u64 = CACHE_BYTES + MEMTABLES_BYTES;
/// Names that the database gives to its files.
const DATABASE_FILE: &str = "version";
const KEYSPACES_FOLDER: &str = "keyspaces";
const KEYSPACE_FILE: &str = "current";
/// Tombstones stay in the changelog for a day at least (`delete.retention.ms`): who was away for longer may have missed
/// one.
pub(super) const AGE_MAX: Millis = 20 * 60 * 60 * 1000;

/// Of a name.
const NAME_LEN: usize = 16;

/// A name that nobody else has.
pub fn random_name() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// The folder of one fold thread.
pub struct Disk {
    path: PathBuf,
    /// None while it could not be opened again.
    database: Option<Database>,
    memtable_bytes: u64,
    /// Stands beside the states of every partition that is used, so that they are known again.
    token: u64,
    /// Held for as long as the folder is in use.
    _lock: File,
}

impl Disk {
    /// Opens the first folder of the application that nobody else uses. What cannot be opened is made anew; a disk that is
    /// full is opened later.
    pub fn open(dir: &Path, application: &str, partitions: i32) -> Result<Self, DiskError> {
        folder::make(dir)?;
        let path = dir.join(application);
        let folder = |source| DiskError::Folder { path: path.clone(), source };
        let share = MEMTABLES_BYTES / MEMTABLE_SHARE / u64::try_from(partitions.max(1)).unwrap_or(1);
        let memtable_bytes = share.clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX);
        for slot in 0..SLOTS {
            let slot = path.join(slot.to_string());
            create_private(&slot).map_err(folder)?;
            let lock = File::create(slot.join("lock")).map_err(folder)?;
            match lock.try_lock() {
                Ok(()) => {
                    let path = slot.join("states");
                    let mut disk = Self { path, database: None, memtable_bytes, token: fastrand::u64(..), _lock: lock };
                    return match disk.open_or_make() {
                        Err(error) if !error.may_pass() => Err(error),
                        Err(_) | Ok(()) => Ok(disk),
                    };
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(folder(source)),
            }
        }
        Err(DiskError::InUse { path, slots: SLOTS })
    }

    /// A name that nobody else has as long as the folder is in use, and that the next one to use it has again.
    pub fn name(&self) -> Result<String, DiskError> {
        let file = self.path.with_file_name("name");
        let of_before = fs::read_to_string(&file).unwrap_or_default();
        if of_before.len() == NAME_LEN && of_before.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(of_before);
        }
        let name = random_name();
        fs::write(&file, &name).map_err(|source| DiskError::Folder { path: file, source })?;
        Ok(name)
    }

    fn open_or_make(&mut self) -> Result<(), DiskError> {
        self.reopen().or_else(|error| {
            if error.may_pass() {
                return Err(error);
            }
            warn!(error = %error, path = %self.path.display(), "the states on disk cannot be opened, they are made anew");
            self.discard()
        })
    }

    /// After a write that failed, the database takes no other. Every shelf of before is void and has been dropped; what is
    /// still needed of them is to be [reached](Self::reach).
    pub fn reopen(&mut self) -> Result<(), DiskError> {
        self.database = None;
        // What is missing is made anew by the database, without a word.
        let known = keyspaces_in(&self.path).map_err(|source| self.folder(source))?;
        if known.is_some() && !self.path.join(DATABASE_FILE).exists() {
            return Err(DiskError::Lost);
        }
        let opened = guarded(|| open(&self.path)).map_err(DiskError::of_opening);
        if opened.is_err() && known.is_none() {
            // Half of a new one is no old one that is torn.
            fs::remove_dir_all(&self.path).or_else(absent).map_err(|source| self.folder(source))?;
        }
        let database = opened?;
        if let Some(known) = known {
            let names = database.list_keyspace_names();
            for name in &names {
                let keyspace = guarded(|| database.keyspace(name, KeyspaceCreateOptions::default));
                let keyspace = keyspace.map_err(DiskError::of_opening)?;
                if !known.iter().any(|known| Some(known.as_os_str()) == keyspace.path().file_name()) {
                    return Err(DiskError::Lost);
                }
            }
            if names.is_empty() {
                // Its list may be what is missing, and entries of old be found in what is made anew.
                return Err(DiskError::Lost);
            }
        }
        self.database = Some(database);
        Ok(())
    }

    /// Throws everything away. Every shelf of before is void and has been dropped.
    pub fn discard(&mut self) -> Result<(), DiskError> {
        self.database = None;
        fs::remove_dir_all(&self.path).or_else(absent).map_err(|source| self.folder(source))?;
        self.reopen()
    }

    fn folder(&self, source: io::Error) -> DiskError {
        DiskError::Folder { path: self.path.clone(), source }
    }

    fn database(&self) -> Result<&Database, DiskError> {
        self.database.as_ref().ok_or(DiskError::Write(fjall::Error::Poisoned))
    }

    /// The states of a partition, and what they answer for; None where there are none of use.
    pub fn shelf(
        &self,
        partition: i32,
        identity: &Identity,
        now: Millis,
    ) -> Result<(Shelf, Option<Marker>), DiskError> {
        let found = self.keyspace(partition, identity)?;
        let (shelf, marker) = match found.marker() {
            Ok(Some(marker)) if now - marker.saved_at < AGE_MAX => (found, Some(marker)),
            Ok(None) if found.is_empty() => (found, None),
            unusable => {
                match unusable {
                    Ok(_) => {
                        info!(partition, "the states on disk are too old or of something else, they are made anew");
                    }
                    Err(error) => warn!(partition, error = %error, "the states on disk are torn, they are made anew"),
                }
                found.delete()?;
                (self.keyspace(partition, identity)?, None)
            }
        };
        shelf.claim(self.token)?;
        Ok((shelf, marker))
    }

    /// The states of a partition that were in use before the database was opened again.
    pub fn reach(&self, partition: i32, identity: &Identity) -> Result<Shelf, DiskError> {
        if !self.database()?.keyspace_exists(&name(partition)) {
            return Err(DiskError::Lost);
        }
        let shelf = self.keyspace(partition, identity)?;
        if shelf.claimed_by(self.token)? { Ok(shelf) } else { Err(DiskError::Lost) }
    }

    fn keyspace(&self, partition: i32, identity: &Identity) -> Result<Shelf, DiskError> {
        let database = self.database()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(self.memtable_bytes);
        let keyspace = guarded(|| database.keyspace(&name(partition), options)).map_err(DiskError::of_opening)?;
        Ok(Shelf::new(partition, identity, database.clone(), keyspace))
    }
}

fn name(partition: i32) -> String {
    format!("p{partition}")
}

fn open(path: &Path) -> fjall::Result<Database> {
    // One thread beside ours flushes and compacts. No write is synced: what a power cut takes is read from the topic.
    Database::builder(path)
        .cache_size(CACHE_BYTES)
        .worker_threads(1)
        .max_journaling_size(JOURNAL_BYTES)
        .journal_compression(fjall::CompressionType::None)
        .open()
}

/// Folders of keyspaces that are whole. None: there is no database.
fn keyspaces_in(path: &Path) -> io::Result<Option<Vec<std::ffi::OsString>>> {
    if fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none()) {
        return Ok(None);
    }
    let mut whole = Vec::new();
    match fs::read_dir(path.join(KEYSPACES_FOLDER)) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry?;
                if entry.path().join(KEYSPACE_FILE).exists() {
                    whole.push(entry.file_name());
                }
            }
        }
        Err(error) => absent(error)?,
    }
    Ok(Some(whole))
}

/// What is not there need not be removed.
fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
