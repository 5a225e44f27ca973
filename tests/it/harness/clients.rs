//! Other people's clients: a Python with packages, a Node.js project. Installed once into `target/it/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{place, process};

const INSTALL_WITHIN: Duration = Duration::from_mins(5);

/// A Python interpreter that has these requirements (`name==version`).
#[track_caller]
pub fn python(requirements: &[&str]) -> PathBuf {
    let venv = place::once("venv", requirements, |folder| {
        let mut python = process::tool("python3")?;
        process::run("python-venv", python.args(["-m", "venv"]).arg(folder), INSTALL_WITHIN)
            .map_err(|why| format!("{why}\nhint: install python3-venv (Debian's package name)"))?;
        let mut pip = std::process::Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input"]).args(requirements);
        process::run("pip", &mut pip, INSTALL_WITHIN)
    });
    venv.unwrap_or_else(|why| panic!("no Python for the tests: {why}")).join("bin/python")
}

/// A copy of a folder of the repository that has a `package.json`, with its packages installed.
#[track_caller]
pub fn node(folder: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = files(&source);
    let project = place::once("node", &files, |copy| {
        for (name, text) in &files {
            fs::write(copy.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        let verb = if copy.join("package-lock.json").exists() { "ci" } else { "install" };
        let mut npm = process::tool("npm")?;
        npm.args([verb, "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(copy);
        process::run("npm", &mut npm, INSTALL_WITHIN)
    });
    process::tool("node").unwrap_or_else(|why| panic!("{why}"));
    project.unwrap_or_else(|why| panic!("no Node.js project for the tests: {why}"))
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().display().to_string(), fs::read_to_string(entry.path()).expect("it is a text")))
        .collect();
    files.sort();
    files
}
