//! Children that cannot outlive the tests.
//!
//! A child has a watchdog: a shell that reads a pipe whose other end the test process holds. However the test process
//! ends, the pipe closes and the watchdog kills the child. A parent-death signal would not do: it fires when the
//! *thread* that spawned the child ends, and every test is a thread.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::place;
use super::wait;

/// Lines of a log that a failure quotes.
const TAIL_LINES: usize = 40;

/// $1: the child, $2: a folder that goes with it.
const WATCHDOG: &str = r#"cat >/dev/null; kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2""#;

/// A running child, its output in a log of its own. Killed when dropped.
pub struct Process {
    child: Child,
    watchdog: Child,
    log: PathBuf,
}

impl Process {
    pub fn spawn(name: &str, command: &mut Command) -> io::Result<Self> {
        Self::spawn_with_data(name, command, Path::new(""))
    }

    /// `data` is removed when the test process ends.
    pub fn spawn_with_data(name: &str, command: &mut Command, data: &Path) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let log = place::run().join(format!("{name}-{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // A group of its own: an interrupt at the terminal stops the tests, and only then the child.
        let child = command.process_group(0).spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { child, watchdog, log })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of the log, for failures.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
        format!("the end of {}:\n{}", self.log.display(), tail.join("\n"))
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// Waits for the child to end by itself.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, String> {
        wait::poll(within, || self.exited().ok_or_else(|| "it still runs".to_owned()))
            .map_err(|why| format!("{why} after {within:?}\n{}", self.log_tail()))
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status();
        assert!(status.is_ok_and(|status| status.success()), "`kill -{signal}` failed");
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: once the child is reaped, its number may belong to another process.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        self.kill();
    }
}

/// Runs a command to its end.
pub fn run(name: &str, command: &mut Command, within: Duration) -> Result<(), String> {
    let mut process = Process::spawn(name, command).map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let status = process.wait(within).map_err(|why| format!("{command:?}: {why}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}\n{}", process.log_tail())) }
}

/// A command of the machine, or what to install.
pub fn tool(name: &str) -> Result<Command, String> {
    let (purpose, package) = match name {
        "java" => ("the tests start Apache Kafka and a schema registry with it", "Java 17: openjdk-17-jre-headless"),
        "mvn" => ("the tests fetch Apache Kafka and a schema registry with it", "Maven: maven"),
        "python3" => ("the tests run Python clients", "Python 3 with venv: python3 python3-venv"),
        "npm" | "node" => ("the tests run JavaScript clients", "Node.js 20 with npm: nodejs npm"),
        _ => ("the tests need it", name),
    };
    let found = Command::new("sh").args(["-c", "command -v \"$1\" >/dev/null", "tool", name]).status();
    if found.is_ok_and(|status| status.success()) {
        Ok(Command::new(name))
    } else {
        Err(format!("`{name}` is not on the PATH: {purpose}; hint: install {package} (Debian's package names)"))
    }
}
