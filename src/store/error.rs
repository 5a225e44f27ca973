//! What goes wrong with the states on disk, and whether waiting can mend it.

use std::io;
use std::path::PathBuf;

/// Why the disk does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("the folder `{path}` cannot be used for states; hint: set state.dir to one that can be written")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "the folder `{path}` for states belongs to user {owner}, and this process is user {ours}; \
         hint: set state.dir to a folder of this user's own"
    )]
    NotOurs { path: PathBuf, owner: u32, ours: u32 },
    #[error(
        "the folder `{path}` for states is open to other users (mode {mode:o}); \
         hint: `chmod 700` it, or set state.dir to a folder below it, which is made with the right mode"
    )]
    Shared { path: PathBuf, mode: u32 },
    #[error("all {slots} folders in `{path}` are in use")]
    InUse { path: PathBuf, slots: usize },
    /// Nothing is lost: states stay in memory until they can be written.
    #[error("states cannot be written to disk; hint: is it full?")]
    Write(#[source] fjall::Error),
    /// The states of the partition are to be read from the changelog again.
    #[error("states cannot be read from disk")]
    Torn(#[source] fjall::Error),
    #[error("a state on disk is not what this version writes")]
    Content,
    #[error("states are missing on disk")]
    Lost,
    #[error("the states on disk know more than the changelog, which is another one then")]
    Foreign,
}

impl DiskError {
    /// Whether the folder itself is to blame, which a person must mend.
    pub fn of_settings(&self) -> bool {
        match self {
            Self::NotOurs { .. } | Self::Shared { .. } => true,
            Self::Folder { source, .. } => !full(source),
            Self::InUse { .. } | Self::Write(_) | Self::Torn(_) | Self::Content | Self::Lost | Self::Foreign => false,
        }
    }

    /// Whether waiting can mend it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Write(_) => true,
            Self::Folder { source, .. } => full(source),
            Self::NotOurs { .. }
            | Self::Shared { .. }
            | Self::InUse { .. }
            | Self::Torn(_)
            | Self::Content
            | Self::Lost
            | Self::Foreign => false,
        }
    }

    /// What an error of the database means where it opens or makes something: both may write.
    pub(super) fn of_opening(error: fjall::Error) -> Self {
        let io = if let fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) = &error {
            Some(io)
        } else {
            None
        };
        let passes = matches!(error, fjall::Error::Poisoned | fjall::Error::Locked) || io.is_some_and(full);
        if passes { Self::Write(error) } else { Self::Torn(error) }
    }
}

pub(super) fn full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

/// Calls the database, which may panic where its files are torn.
pub(super) fn guarded<T>(call: impl FnOnce() -> fjall::Result<T>) -> fjall::Result<T> {
    // Whatever it leaves behind is thrown away with the database.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_or(Err(fjall::Error::Unrecoverable))
}
