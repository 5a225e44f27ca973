//! The real binary as a child: started with a configuration file, asked over its port, killed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::http::Answer;
use super::process::Process;
use super::{http, place, wait};

/// Its broker may have been killed with it, and the machine be busy.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// A command of the binary under test.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollbook"));
    // States go to this run's folder.
    command.args(arguments).env("TMPDIR", place::run()).env("XDG_STATE_HOME", place::run().join("states"));
    command
}

/// `rollbook run`, with its metrics and health port.
pub struct Rollbook {
    pub process: Process,
    base: String,
}

impl Rollbook {
    /// `port` is the one that the configuration file names in `http.listen`.
    #[track_caller]
    pub fn start(name: &str, config: &Path, port: u16) -> Self {
        Self::start_stages(name, config, port, "fold,sink")
    }

    #[track_caller]
    pub fn start_stages(name: &str, config: &Path, port: u16, stages: &str) -> Self {
        let config = config.to_str().expect("the path is UTF-8");
        let run = ["run", "--config", config, "--stages", stages];
        Self::start_command(name, &mut command(&run), port)
    }

    /// Any way to call `rollbook run`.
    #[track_caller]
    pub fn start_command(name: &str, command: &mut Command, port: u16) -> Self {
        let process = Process::spawn(name, command).expect("the binary is built");
        Self { process, base: format!("http://127.0.0.1:{port}") }
    }

    /// Returns once `/readyz` says so.
    #[track_caller]
    pub fn ready(mut self) -> Self {
        self.await_ready();
        self
    }

    #[track_caller]
    pub fn await_ready(&mut self) {
        if let Err(why) = self.ready_or_why_not() {
            panic!("`rollbook run` is not ready: {why}\n{}", self.process.log_tail());
        }
    }

    pub fn ready_or_why_not(&mut self) -> Result<(), String> {
        let ready = wait::poll(READY_WITHIN, || {
            if let Some(status) = self.process.exited() {
                return Ok(Err(format!("it ended: {status}")));
            }
            let answer = self.get("/readyz")?;
            if answer.status == 200 { Ok(Ok(())) } else { Err(format!("{}: {}", answer.status, answer.body)) }
        });
        ready.flatten()
    }

    /// Of the metrics and health port.
    pub fn url(&self) -> &str {
        &self.base
    }

    #[track_caller]
    pub fn metrics(&self) -> String {
        self.get("/metrics").expect("the port answers").body
    }

    /// A path of the metrics and health port.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        http::get(&format!("{}{path}", self.base))
    }
}
