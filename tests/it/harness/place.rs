//! Where the harness keeps files: `target/it/` for what is fetched once, `target/it/runs/{pid}/` for what one run
//! makes. A run's folder stays for a look at its logs and is swept by a later run, once its process is gone.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::TempDir;

/// Kept between runs.
pub fn cache() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("cargo puts it into the target folder").join("it")
}

/// This run's folder.
pub fn run() -> &'static Path {
    static RUN: LazyLock<PathBuf> = LazyLock::new(|| {
        let runs = cache().join("runs");
        sweep(&runs);
        let run = runs.join(process::id().to_string());
        fs::create_dir_all(&run).expect("the target folder is writable");
        run
    });
    &RUN
}

/// A folder for states as they are kept: nobody else may look into it. Gone with what is returned.
pub fn private() -> TempDir {
    let private = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new()
        .permissions(private)
        .tempdir()
        .expect("the system's folder for temporary files is writable")
}

/// Places are filled one at a time: several tests want the same one.
static FILLING: Mutex<()> = Mutex::new(());

/// A folder under `target/it/` that `fill` makes once; its name tells what is in it, so that new contents are
/// another folder. Filled beside its place and then renamed: a killed run leaves no half of it.
pub fn once(
    name: &str,
    contents: impl Hash,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    let place = cache().join(format!("{name}-{:016x}", hasher.finish()));
    if place.is_dir() {
        return Ok(place);
    }
    let _alone = FILLING.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_dir() {
        return Ok(place);
    }
    let filling = run().join(format!("filling-{name}-{:016x}", hasher.finish()));
    fs::create_dir_all(&filling).map_err(|error| format!("{}: {error}", filling.display()))?;
    fill(&filling)?;
    match fs::rename(&filling, &place) {
        // Another run was faster.
        Err(_) if place.is_dir() => Ok(place),
        Err(error) => Err(format!("{}: {error}", place.display())),
        Ok(()) => Ok(place),
    }
}

fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        if !alive(&entry.file_name()) {
            // Another run may sweep at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn alive(pid: &OsStr) -> bool {
    Command::new("sh").args(["-c", "kill -0 \"$1\" 2>/dev/null", "alive"]).arg(pid).status().is_ok_and(|s| s.success())
}
