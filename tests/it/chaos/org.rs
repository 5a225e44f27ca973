//! The org: an emulator in a process of its own, with its rows on disk, and the trouble that it makes on order.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;
use rollbook::demo::conference::{self, CAMPAIGNS, People};
use rollbook::demo::reference::{Fields, Rows};
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Options, Person};
use rollbook::upsert::Object;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{self, Process, http, settings};

const READY_WITHIN: Duration = Duration::from_mins(1);
const COLLECTIONS: &str = "/composite";

/// What the next calls meet. Kept by the emulator until they come, or until it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Busy {
        calls: u64,
    },
    Slow {
        calls: u64,
        millis: u64,
    },
    /// The rows are written and the answer is lost.
    CutAfter {
        calls: u64,
    },
    CutBefore {
        calls: u64,
    },
    /// Every token is worth nothing from now on: 401.
    TokensExpire,
}

impl Trouble {
    pub fn any(rng: &mut Rng) -> Self {
        let calls = rng.u64(1..5);
        match rng.u8(0..5) {
            0 => Self::Busy { calls },
            1 => Self::Slow { calls, millis: rng.u64(50..400) },
            2 => Self::CutAfter { calls },
            3 => Self::CutBefore { calls },
            _ => Self::TokensExpire,
        }
    }

    /// Path below `/emulator/` and body.
    fn order(self) -> (&'static str, Value) {
        let fault = |calls: u64, millis: u64, action: Value| {
            let fault = json!({
                "path": COLLECTIONS, "count": calls, "delay_ms": millis, "action": action,
            });
            ("faults", fault)
        };
        let busy = json!([{ "message": "The server is busy", "errorCode": "SERVER_UNAVAILABLE" }]).to_string();
        match self {
            Self::Busy { calls } => fault(calls, 0, json!({ "answer": { "status": 503, "body": busy } })),
            Self::Slow { calls, millis } => fault(calls, millis, json!("proceed")),
            Self::CutAfter { calls } => fault(calls, 0, json!("cut_after")),
            Self::CutBefore { calls } => fault(calls, 0, json!("cut_before")),
            Self::TokensExpire => ("tokens/expire", Value::Null),
        }
    }
}

pub struct ChaosOrg {
    folder: PathBuf,
    port: u16,
    client_id: String,
    control_token: String,
    process: Option<Process>,
    /// Until the process is started, which takes its rows over.
    empty: Option<Emulator>,
}

impl ChaosOrg {
    pub fn new(folder: &Path) -> Self {
        let folder = folder.join("org");
        let mut options = Options::new(Schema::load_embedded());
        options.data = Some(folder.join("data"));
        let (client_id, secret) = (options.credentials.client_id.clone(), options.credentials.client_secret.clone());
        let control_token = options.control_token.expose_secret().to_owned();
        let empty = http::block_on(Emulator::start(options)).expect("the target folder is writable");
        fs::write(folder.join("client-secret"), secret.expose_secret()).expect("the target folder is writable");
        fs::write(folder.join("control-token"), &control_token).expect("the target folder is writable");
        Self { folder, port: harness::kept_port(), client_id, control_token, process: None, empty: Some(empty) }
    }

    /// Campaigns and people of one conference; only before the first start.
    pub fn invite(&self, day: usize, members: usize) -> People {
        let emulator = self.empty.as_ref().expect("guests come before the doors open");
        emulator.with_org(|org| {
            let (leads, contacts) = conference::people_wanted(members);
            let mut person = |what: &str, number: usize, company: Option<&str>| {
                let (last_name, email) = (format!("{what} {day} {number}"), format!("{what}-{day}-{number}@b.example"));
                let person = Person { first_name: "Robin", last_name: &last_name, email: &email, company };
                org.put_person(&person).expect("the org takes a person")
            };
            let leads = (0..leads).map(|number| person("lead", number, Some("Example Ltd"))).collect();
            let contacts = (0..contacts).map(|number| person("contact", number, None)).collect();
            let campaign =
                |hall| org.put_campaign(&format!("Day {day}, hall {hall}")).expect("the org takes a campaign");
            People { campaigns: (0..CAMPAIGNS).map(campaign).collect(), leads, contacts }
        })
    }

    /// Starts it, or starts it again; does not wait.
    pub fn start(&mut self) {
        if let Some(emulator) = self.empty.take() {
            http::block_on(emulator.stop()).expect("the rows are kept");
        }
        let listen = format!("127.0.0.1:{}", self.port);
        let path = |name: &str| self.folder.join(name).to_str().expect("the path is UTF-8").to_owned();
        let (data, secret, token) = (path("data"), path("client-secret"), path("control-token"));
        let arguments = [
            ["emulate", "--log-level=warn"].as_slice(),
            &["--listen", &listen, "--data", &data, "--daily-api-requests", "1000000000"],
            // A job takes its time, so that kills come in the middle of it.
            &["--bulk-delay", "100ms"],
            &["--client-secret-file", &secret, "--control-token-file", &token],
        ];
        let process = Process::spawn("emulate", &mut harness::command(&arguments.concat()));
        self.process = Some(process.expect("the binary is built"));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let ended = self.process.as_mut().and_then(Process::exited);
        assert!(ended.is_none(), "the emulator ended by itself: {ended:?}");
        self.process = None;
    }

    #[track_caller]
    pub fn await_ready(&self) {
        harness::until("the emulator", READY_WITHIN, || http::get(&format!("{}/emulator/metrics", self.url())));
    }

    /// False: it is away, which is trouble enough.
    pub fn trouble(&self, trouble: Trouble) -> bool {
        let (path, body) = trouble.order();
        self.control(reqwest::Method::POST, path, &body).is_ok()
    }

    /// Every row of the objects that are written, with all of its fields.
    pub fn rows(&self) -> Result<Rows, String> {
        let mut rows = Rows::new();
        for object in Object::ALL.map(Object::api_name) {
            let body = self.control(reqwest::Method::GET, &format!("rows/{object}"), &Value::Null)?;
            let records: Vec<Fields> = serde_json::from_str(&body).map_err(|error| error.to_string())?;
            for record in records {
                let external_id = record.get("external_id__c").and_then(Value::as_str).unwrap_or_default().to_owned();
                rows.insert((object.to_owned(), external_id), record);
            }
        }
        Ok(rows)
    }

    fn control(&self, method: reqwest::Method, path: &str, body: &Value) -> Result<String, String> {
        let request = http::client().request(method, format!("{}/emulator/{path}", self.url()));
        let answer = http::send(request.header("x-emulator-token", &self.control_token).body(body.to_string()))?;
        match answer.status {
            200 | 204 => Ok(answer.body),
            status => panic!("the emulator refuses `{path}`: {status} {}", answer.body),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Section of the configuration file.
    pub fn section(&self) -> String {
        settings::salesforce(&self.url(), &self.client_id, &self.folder.join("client-secret"))
    }
}
