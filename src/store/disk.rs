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

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use tracing::{info, warn};

use crate::avro::{Reader, Writer};
use crate::event::{MemberKey, Millis};

/// Folders of one application on one machine: processes and threads take the first that is free.
const SLOTS: usize = 256;
/// Blocks of the disk that are kept in memory.
const CACHE_BYTES: u64 = 32 << 20;
/// The least that fjall takes. It is read back at every start, so little is better.
const JOURNAL_BYTES: u64 = 64 << 20;
/// What a partition collects in memory before it goes to a file.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Sorts before every member.
const MARKER_KEY: &[u8] = b"\0marker";
/// Raised when the form of what stands on disk changes.
const FORMAT: i64 = 1;
/// Tombstones stay in the changelog for a day at least (`delete.retention.ms`): who was away for longer may have missed
/// one.
const MARKER_AGE_MAX: Millis = 20 * 60 * 60 * 1000;

/// Of a name.
const NAME_LEN: usize = 16;

/// A name that nobody else has.
pub fn random_name() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Why the disk does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("the folder `{path}` cannot be used for states; hint: set state.dir to one that can be written")]
    Folder { path: PathBuf, source: io::Error },
    #[error("all {SLOTS} folders in `{path}` are in use")]
    InUse { path: PathBuf },
    /// Nothing is lost: states stay in memory until they can be written.
    #[error("states cannot be written to disk; hint: is it full?")]
    Write(#[source] fjall::Error),
    /// The states of the partition are to be read from the changelog again.
    #[error("states cannot be read from disk")]
    Torn(#[source] fjall::Error),
    #[error("a state on disk is not what this version writes")]
    Content,
    #[error("the states on disk know more than the changelog, which is another one then")]
    Foreign,
}

impl DiskError {
    /// Whether waiting can mend it.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Write(_))
    }
}

/// Whose states they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: String,
    pub topic: String,
}

/// What a partition's states on disk answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Everything in the changelog below this offset is in the states.
    pub next_offset: i64,
    /// Digest of the session catalogue with which every row was derived; 0: rows were still to be derived again.
    pub catalogue: u64,
    pub saved_at: Millis,
}

/// The folder of one fold thread.
pub struct Disk {
    path: PathBuf,
    /// None while it could not be opened again.
    database: Option<Database>,
    /// Held for as long as the folder is in use.
    _lock: File,
}

/// The states of one partition.
#[derive(Clone)]
pub struct Shelf {
    keyspace: Keyspace,
    database: Database,
    identity: Identity,
}

impl Disk {
    /// Opens the first folder of the application that nobody else uses. What cannot be opened is made anew.
    pub fn open(dir: &Path, application: &str) -> Result<Self, DiskError> {
        let path = dir.join(application);
        let folder = |source| DiskError::Folder { path: path.clone(), source };
        for slot in 0..SLOTS {
            let slot = path.join(slot.to_string());
            create_private(&slot).map_err(folder)?;
            let lock = File::create(slot.join("lock")).map_err(folder)?;
            match lock.try_lock() {
                Ok(()) => {
                    let path = slot.join("states");
                    let database = open_or_make(&path)?;
                    return Ok(Self { path, database: Some(database), _lock: lock });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(folder(source)),
            }
        }
        Err(DiskError::InUse { path })
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

    /// After a write that failed, the database takes no other. Every shelf of before is void and has been dropped.
    pub fn reopen(&mut self) -> Result<(), DiskError> {
        self.database = None;
        self.database = Some(open_or_make(&self.path)?);
        Ok(())
    }

    /// Throws everything away. Every shelf of before is void and has been dropped.
    pub fn discard(&mut self) -> Result<(), DiskError> {
        self.database = None;
        let folder = |source| DiskError::Folder { path: self.path.clone(), source };
        fs::remove_dir_all(&self.path).or_else(absent).map_err(folder)?;
        self.reopen()
    }

    /// The states of a partition, and what they answer for; None where there are none of use.
    pub fn shelf(
        &self,
        partition: i32,
        identity: &Identity,
        now: Millis,
    ) -> Result<(Shelf, Option<Marker>), DiskError> {
        let name = format!("p{partition}");
        let database = self.database.as_ref().ok_or(DiskError::Write(fjall::Error::Poisoned))?;
        let open = || database.keyspace(&name, options).map_err(DiskError::Torn);
        let shelf = |keyspace| Shelf { keyspace, database: database.clone(), identity: identity.clone() };
        let found = shelf(open()?);
        match found.marker() {
            Ok(Some(marker)) if now - marker.saved_at < MARKER_AGE_MAX => return Ok((found, Some(marker))),
            Ok(None) if found.keyspace.is_empty().unwrap_or(false) => return Ok((found, None)),
            Ok(_) => info!(partition, "the states on disk are too old or of something else, they are made anew"),
            Err(error) => warn!(partition, error = %error, "the states on disk are torn, they are made anew"),
        }
        database.delete_keyspace(found.keyspace).map_err(DiskError::Torn)?;
        Ok((shelf(open()?), None))
    }
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

fn open_or_make(path: &Path) -> Result<Database, DiskError> {
    // One thread beside ours flushes and compacts. No write is synced: what a power cut takes is read from the topic.
    let open = || {
        Database::builder(path)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_journaling_size(JOURNAL_BYTES)
            .journal_compression(fjall::CompressionType::None)
            .open()
    };
    open().or_else(|error| {
        warn!(error = %error, path = %path.display(), "the states on disk cannot be opened, they are made anew");
        let folder = |source| DiskError::Folder { path: path.to_owned(), source };
        fs::remove_dir_all(path).or_else(absent).map_err(folder)?;
        open().map_err(DiskError::Write)
    })
}

/// What is not there need not be removed.
fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// States hold names and addresses of people.
fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Shelf {
    /// The state of a member, as `blob` wrote it.
    pub fn get(&self, member: &MemberKey) -> Result<Option<fjall::UserValue>, DiskError> {
        self.keyspace.get(member.bytes()).map_err(DiskError::Torn)
    }

    /// Members whose keys begin so, after this one, in order, at most so many.
    pub fn members(&self, prefix: &[u8], after: &[u8], count: usize) -> Result<Vec<Vec<u8>>, DiskError> {
        let start = if after.is_empty() { prefix } else { after };
        let found = self.keyspace.range(start.to_vec()..).map(|item| item.key().map(|key| key.to_vec()));
        let inside = |key: &Result<Vec<u8>, _>| key.as_ref().map_or(true, |key| key.starts_with(prefix));
        let wanted = |key: &Result<Vec<u8>, _>| key.as_ref().map_or(true, |key| key != MARKER_KEY && key != after);
        found.take_while(inside).filter(wanted).take(count).collect::<Result<_, _>>().map_err(DiskError::Torn)
    }

    /// Writes states, all or none, and with them what they answer for. An empty state is removed.
    pub fn save<'a>(
        &self,
        states: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        marker: Option<Marker>,
    ) -> Result<(), DiskError> {
        let mut batch = self.database.batch();
        for (key, state) in states {
            if state.is_empty() {
                batch.remove(&self.keyspace, key);
            } else {
                batch.insert(&self.keyspace, key, state);
            }
        }
        if let Some(marker) = marker {
            batch.insert(&self.keyspace, MARKER_KEY, self.marker_bytes(marker));
        }
        batch.commit().map_err(DiskError::Write)
    }

    fn marker_bytes(&self, marker: Marker) -> Vec<u8> {
        let mut out = Writer::default();
        out.long(FORMAT);
        out.bytes(&crate::avro::STATE.header);
        out.text(&self.identity.cluster);
        out.text(&self.identity.topic);
        out.long(marker.next_offset);
        out.long(marker.catalogue.cast_signed());
        out.long(marker.saved_at);
        out.0
    }

    /// None: there is none, or it is of another cluster, topic or version.
    fn marker(&self) -> Result<Option<Marker>, DiskError> {
        let Some(bytes) = self.keyspace.get(MARKER_KEY).map_err(DiskError::Torn)? else { return Ok(None) };
        let mut from = Reader(&bytes);
        let mut read = || {
            let ours = from.long()? == FORMAT
                && from.bytes()? == crate::avro::STATE.header
                && from.text()? == self.identity.cluster
                && from.text()? == self.identity.topic;
            let next_offset = if ours { from.long()? } else { return Ok(None) };
            let (catalogue, saved_at) = (from.long()?.cast_unsigned(), from.long()?);
            Ok(Some(Marker { next_offset, catalogue, saved_at }))
        };
        read().map_err(|_: crate::avro::ReadError| DiskError::Content)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.keyspace.disk_space()
    }
}
