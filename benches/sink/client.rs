//! A client program of benches/sink/clients: rows on its stdin, what it has written on its stdout.
//!
//! A line is a list: of rows, or of external ids. The program writes all rows that have come since it last wrote, as
//! one upsert; that is what one would write by hand around these libraries.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rollbook::upsert::Object;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness;
use crate::org::{Org, Row};

const FOLDER: &str = "benches/sink/clients";
/// As the tests'.
const PYTHON_PACKAGES: [&str; 1] = ["simple-salesforce==1.12.10"];
const LOGGED_IN_WITHIN: Duration = Duration::from_mins(1);

pub fn python() -> Command {
    let mut python = Command::new(harness::python(&PYTHON_PACKAGES));
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join("simple_salesforce_loader.py"));
    python
}

pub fn node() -> Command {
    let project = harness::node(FOLDER);
    let mut node = harness::tool("node").expect("harness::node found it");
    node.arg(project.join("jsforce_loader.mjs"));
    node
}

/// Ends with its stdin, so not after the benchmark.
pub struct Client {
    pub started: Instant,
    child: Child,
    rows: ChildStdin,
    written: Receiver<Vec<String>>,
}

impl Client {
    /// Returns once it has logged in.
    pub fn start(mut command: Command, org: &Org) -> Self {
        let credentials = org.credentials();
        let settings = json!({
            "url": org.url(),
            "clientId": credentials.client_id,
            "clientSecret": credentials.client_secret.expose_secret(),
        });
        command.env("CLIENT", settings.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let rows = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, written) = channel();
        // Ends with the program.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let ids = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(ids).is_err() {
                    return;
                }
            }
        });
        let client = Self { started, child, rows, written };
        // It has written nothing, and says so.
        client.written.recv_timeout(LOGGED_IN_WITHIN).expect("it logs in");
        client
    }

    pub fn send(&mut self, rows: &[Row]) {
        let external_id = Object::CAMPAIGN_MEMBER.def().external_id.name;
        let record = |row: &Row| {
            json!({
                external_id: row.member.to_string(), "CampaignId": row.member.campaign.as_str(),
                "LeadId": row.member.person.as_str(), "Status": row.status,
            })
        };
        let line = Value::Array(rows.iter().map(record).collect());
        writeln!(self.rows, "{line}").expect("it reads");
    }

    pub fn confirmed(&self, within: Duration) -> Vec<String> {
        match self.written.recv_timeout(within) {
            Ok(ids) => ids,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => panic!("the client has ended; its last words are above"),
        }
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Nothing of it is wanted any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
