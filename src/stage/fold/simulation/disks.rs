//! The disks of simulated processes: as a kill leaves them, as they were long ago, torn, or gone.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::seen::{Seen, seen};
use super::turns::Turns;

/// What a disk may have become since its process died.
pub fn spoil(turns: &Turns, folder: &Path) {
    let (dead, old) = (dead(folder), folder.with_extension("old"));
    if dead.exists() {
        let _ = fs::remove_dir_all(folder);
        fs::rename(&dead, folder).expect("it can be renamed");
    }
    match turns.random(|rng| rng.u8(..12)) {
        0 => drop(fs::remove_dir_all(folder)),
        1 if old.exists() => {
            let _ = fs::remove_dir_all(folder);
            copy(&old, folder);
        }
        2 => {
            let _ = fs::remove_dir_all(&old);
            copy(folder, &old);
        }
        3 => tear(turns, folder),
        _ => {}
    }
}

/// Cuts the end off one of the files.
fn tear(turns: &Turns, folder: &Path) {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    if files.is_empty() {
        return;
    }
    seen(Seen::TornDisk);
    let torn = &files[turns.random(|rng| rng.usize(..files.len()))];
    let file = fs::File::options().write(true).open(torn).expect("it can be opened");
    let len = file.metadata().expect("it is there").len();
    file.set_len(turns.random(|rng| rng.u64(..=len))).expect("it can be cut");
}

/// The disk as a kill leaves it, before the process's threads let it go in good order.
pub fn dead(folder: &Path) -> PathBuf {
    folder.with_extension("dead")
}

pub fn copy(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    // Readable by others, it would be refused.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).expect("a folder can be made");
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let to = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            // The database removes files of its own meanwhile.
            let _ = fs::copy(&path, &to);
        }
    }
}
