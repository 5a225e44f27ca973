//! The folder of states: ours, and nobody else's to look into.
//!
//! States hold names and addresses of people, and what stands in them is believed. In a folder that another user has
//! made, that user may read them, or plant a database: so such a folder is refused, not mended. The default is never in
//! a folder that all users share, where whoever comes first owns the name.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::Builder;

use super::error::{DiskError, full};

/// Begins the names of files that are made to try whether one can be made.
const PROBE: &str = ".rollbook-probe";
/// Rights of the group and of all others.
const OF_OTHERS: u32 = 0o077;

/// Makes the folder, where it is not there, and refuses one that is not ours alone.
pub(super) fn make(dir: &Path) -> Result<(), DiskError> {
    create_private(dir).map_err(|source| unusable(dir, source))?;
    refuse_foreign(dir)
}

/// Whether a start could use the folder. Leaves nothing behind.
pub fn examine(dir: &Path) -> Result<(), DiskError> {
    if dir.symlink_metadata().is_ok() {
        return refuse_foreign(dir);
    }
    let above = dir.ancestors().skip(1).find(|above| above.as_os_str().is_empty() || above.exists());
    let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Builder::new().prefix(PROBE).tempdir_in(above).map(drop).map_err(|source| unusable(dir, source))
}

fn refuse_foreign(dir: &Path) -> Result<(), DiskError> {
    let unusable = |source| unusable(dir, source);
    // Whoever owns a file that we make is who we are; that one can be made is worth knowing, too.
    let probe = Builder::new().prefix(PROBE).tempfile_in(dir).and_then(|probe| probe.as_file().metadata());
    let ours = match probe {
        // A disk that is full is waited for by whoever writes; who we are is known all the same.
        Err(error) if full(&error) => fs::metadata("/proc/self"),
        probe => probe,
    };
    let ours = ours.map_err(unusable)?.uid();
    let found = fs::metadata(dir).map_err(unusable)?;
    let link = fs::symlink_metadata(dir).map_err(unusable)?;
    if found.uid() != ours {
        return Err(DiskError::NotOurs { path: dir.to_owned(), owner: found.uid(), ours });
    }
    // Another user's link leads wherever that user wants; root's is the machine's own.
    if link.is_symlink() && link.uid() != ours && link.uid() != 0 {
        return Err(DiskError::NotOurs { path: dir.to_owned(), owner: link.uid(), ours });
    }
    let mode = found.permissions().mode() & 0o7777;
    if mode & OF_OTHERS != 0 {
        return Err(DiskError::Shared { path: dir.to_owned(), mode });
    }
    Ok(())
}

fn unusable(dir: &Path, source: io::Error) -> DiskError {
    DiskError::Folder { path: dir.to_owned(), source }
}

/// With rights for nobody but the owner, whatever the umask.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn with_mode(mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("states");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        (above, dir)
    }

    #[test]
    fn a_folder_is_made_for_its_owner_alone() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("a/states");
        examine(&dir).unwrap();
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0, "a look leaves nothing behind");
        make(&dir).unwrap();
        make(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        examine(&dir).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_look_into_is_refused() {
        for mode in [0o750, 0o705, 0o1777, 0o770] {
            let (_above, dir) = with_mode(mode);
            for refused in [make(&dir), examine(&dir)] {
                let refused = refused.unwrap_err();
                assert!(matches!(&refused, DiskError::Shared { mode: found, .. } if *found == mode), "{refused}");
                assert!(refused.to_string().contains("chmod 700"), "{refused}");
            }
        }
        let (_above, dir) = with_mode(0o700);
        make(&dir).unwrap();
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        const ANOTHER: u32 = 65_531;
        let (above, dir) = with_mode(0o700);
        let link = above.path().join("link");
        symlink(&dir, &link).unwrap();
        // Only root can give something away.
        if std::os::unix::fs::lchown(&link, Some(ANOTHER), None).is_ok() {
            assert!(matches!(make(&link), Err(DiskError::NotOurs { owner: ANOTHER, .. })));
            chown(&dir, Some(ANOTHER), None).unwrap();
            let refused = make(&dir).unwrap_err();
            assert!(matches!(refused, DiskError::NotOurs { owner: ANOTHER, .. }), "{refused}");
            assert!(matches!(examine(&dir), Err(DiskError::NotOurs { .. })));
        }
    }

    #[test]
    fn a_link_of_ours_leads_where_we_want() {
        let (above, dir) = with_mode(0o700);
        let link = above.path().join("link");
        symlink(&dir, &link).unwrap();
        make(&link).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(make(&link), Err(DiskError::Shared { .. })));
    }

    #[test]
    fn what_is_no_folder_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(make(file.path()), Err(DiskError::Folder { .. })));
        assert!(matches!(examine(&file.path().join("below")), Err(DiskError::Folder { .. })));
    }
}
