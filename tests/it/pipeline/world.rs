//! One installation: topics of its own, an org, a configuration file, and the processes that a test starts.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rollbook::dead_letter::DeadLetter;
use rollbook::demo::conference::{self, Conference, People};
use rollbook::demo::reference::{self, Rows};
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Options, Person};
use rollbook::event::EventKind;
use rollbook::id::SalesforceId;
use rollbook::upsert::Object;
use secrecy::ExposeSecret;

use crate::harness::{self, Gate, Names, Record, Rollbook, Settings, settings};

/// For whatever a test waits for: far more than an idle machine needs.
pub const WITHIN: Duration = Duration::from_secs(90);

pub struct World {
    pub names: Names,
    pub org: Emulator,
    /// Between Rollbook and the org.
    pub salesforce: Gate,
    kafka: Connection,
    /// Where the tests' own clients reach it without a login, if they do not go the same way.
    pub tests_at: Option<String>,
    /// What the fold's group speaks.
    pub group_protocol: &'static str,
    /// More lines of the section `fold`.
    pub fold: &'static str,
    /// Sections of the configuration file that only some tests need.
    pub sections: String,
    /// The section `salesforce.auth`, where it is not client credentials.
    pub auth: Option<String>,
}

/// How the broker is reached.
pub struct Connection {
    pub bootstrap: String,
    pub properties: Vec<(&'static str, String)>,
}

impl World {
    /// Calls so far that wrote rows: one collection, or several in one call.
    pub fn saves(&self) -> u64 {
        self.org.calls("collections_upsert") + self.org.calls("composite")
    }

    pub fn new(test: &str) -> Self {
        let kafka = Connection { bootstrap: harness::kafka().bootstrap().to_owned(), properties: Vec::new() };
        Self::with(test, kafka, "")
    }

    pub fn with(test: &str, kafka: Connection, sections: &str) -> Self {
        Self::on(test, kafka, sections, Options::new(Schema::load_embedded()))
    }

    pub fn on(test: &str, kafka: Connection, sections: &str, mut options: Options) -> Self {
        options.daily_api_requests = 1_000_000;
        let org = harness::http::block_on(Emulator::start(options)).expect("loopback has a free port");
        let names = harness::names(test);
        let salesforce = Gate::open_to(org.address());
        let sections = sections.to_owned();
        let (group_protocol, fold) = ("classic", "");
        let world = Self { names, org, salesforce, kafka, tests_at: None, group_protocol, fold, sections, auth: None };
        world.names.create_inputs(&world.client());
        world
    }

    /// A client of the tests' own.
    pub fn client(&self) -> ClientConfig {
        if let Some(bootstrap) = &self.tests_at {
            return harness::plain_client(bootstrap);
        }
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.kafka.bootstrap);
        for (name, value) in &self.kafka.properties {
            client.set(*name, value);
        }
        client
    }

    pub fn topic(&self, kind: EventKind) -> &str {
        self.names.topic(kind)
    }

    // ---- the processes ------------------------------------------------------------------------------------------

    /// Starts an instance; its name is stable, so that a second one of the same name takes the first one's place.
    #[track_caller]
    pub fn start(&self, instance: &str) -> Rollbook {
        let port = harness::free_port();
        Rollbook::start(&format!("{}-{instance}", self.names.prefix), &self.config(instance, port), port)
    }

    /// Writes the configuration of an instance.
    pub fn config(&self, instance: &str, port: u16) -> PathBuf {
        let folder = harness::folder().join(&self.names.prefix);
        fs::create_dir_all(&folder).expect("the target folder is writable");
        let credentials = self.org.credentials();
        let secret = folder.join("client-secret");
        fs::write(&secret, credentials.client_secret.expose_secret()).expect("the target folder is writable");
        let login_url = format!("http://{}", self.salesforce.address());
        let salesforce = match &self.auth {
            Some(auth) => format!("[salesforce]\nlogin_url = \"{login_url}\"\n[salesforce.auth]\n{auth}\n"),
            None => settings::salesforce(&login_url, &credentials.client_id, &secret),
        };
        let file = folder.join(format!("{instance}.toml"));
        let settings = Settings {
            names: &self.names,
            bootstrap: &self.kafka.bootstrap,
            instance,
            group_protocol: self.group_protocol,
            properties: &self.properties(),
            port,
        };
        let text = settings.text().replace("[fold]\n", &format!("[fold]\n{}", self.fold));
        let text = format!("{text}attempts_max = 4\n{salesforce}{}", self.sections);
        fs::write(&file, text).expect("the target folder is writable");
        file
    }

    /// Exit code, stdout and stderr of a command with the installation's configuration.
    pub fn tool(&self, arguments: &[&str]) -> (i32, String, String) {
        let config = self.config("tool", 0);
        let output = harness::command(arguments).env("ROLLBOOK_CONFIG", config).output().expect("the binary is built");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn properties(&self) -> String {
        let lines: Vec<String> =
            // What a section takes from a file is not said twice.
            self.kafka
                .properties
                .iter()
                .filter(|(name, _)| !self.sections.contains(name))
                .map(|(name, value)| format!("\"{name}\" = \"{value}\"\n"))
                .collect();
        lines.concat()
    }

    // ---- the org ------------------------------------------------------------------------------------------------

    pub fn campaign(&self, name: &str) -> SalesforceId {
        self.org.with_org(|org| org.put_campaign(name)).expect("the org takes a campaign")
    }

    pub fn lead(&self, name: &str) -> SalesforceId {
        self.person(name, Some("Example Ltd"))
    }

    pub fn contact(&self, name: &str) -> SalesforceId {
        self.person(name, None)
    }

    fn person(&self, name: &str, company: Option<&str>) -> SalesforceId {
        let email = format!("{name}@example.com");
        let person = Person { first_name: "Test", last_name: name, email: &email, company };
        self.org.with_org(|org| org.put_person(&person)).expect("the org takes a person")
    }

    /// What the org holds of the objects that are written.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for object in Object::ALL {
            let name = object.api_name();
            let dump = self.org.with_org(|org| org.dump(name)).expect("the org has the object");
            for record in dump {
                let external_id = record.get("external_id__c").and_then(|id| id.as_str()).unwrap_or_default();
                rows.insert((name.to_owned(), external_id.to_owned()), record.into_iter().collect());
            }
        }
        rows
    }

    // ---- a conference -------------------------------------------------------------------------------------------

    pub fn conference(&self, seed: u64, members: usize) -> Conference {
        let (leads, contacts) = conference::people_wanted(members);
        let people = People {
            campaigns: (0..conference::CAMPAIGNS).map(|number| self.campaign(&format!("Day {number}"))).collect(),
            leads: (0..leads).map(|number| self.lead(&format!("lead-{number}"))).collect(),
            contacts: (0..contacts).map(|number| self.contact(&format!("contact-{number}"))).collect(),
        };
        conference::generate(seed, members, &people)
    }

    #[track_caller]
    pub fn send(&self, records: &[conference::Record]) {
        let records: Vec<Record> = records.iter().map(|record| self.names.record(record)).collect();
        harness::write(&self.client(), &records);
    }

    // ---- waiting ------------------------------------------------------------------------------------------------

    /// Waits until every record that is on the inputs now is folded, and every upsert that came of it has an outcome.
    #[track_caller]
    pub fn settle(&self) {
        self.folded();
        self.consumed("sink", &self.names.topics.upserts);
    }

    /// Waits until every record that is on the inputs now is folded, and its upserts are on their topic.
    #[track_caller]
    pub fn folded(&self) {
        for input in self.names.inputs() {
            self.consumed("fold", input);
        }
    }

    /// Waits until a stage has committed everything that a topic holds now.
    #[track_caller]
    fn consumed(&self, stage: &str, topic: &str) {
        let client = self.client();
        let ends = Names::ends(&client, topic);
        harness::until(&format!("the {stage} to commit all of `{topic}`"), WITHIN, || {
            self.names.consumed(&client, stage, topic, &ends)
        });
    }

    /// Waits until the org holds exactly what the reference says. A change of the catalogue derives its members again
    /// a little after its record is folded, so that one look would be too early.
    #[track_caller]
    pub fn org_becomes(&self, expected: &Rows) {
        assert!(!expected.is_empty(), "something is expected");
        harness::until("the org to equal the reference fold", WITHIN, || {
            let differences = reference::differences(expected, &self.rows());
            if differences.is_empty() {
                return Ok(());
            }
            let first: Vec<&String> = differences.iter().take(10).collect();
            Err(format!("{} differences, the first: {first:#?}", differences.len()))
        });
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        let records = harness::read(&self.client(), &self.names.topics.dead_letters);
        let letters = records.iter().map(|record| DeadLetter::decode(record.value.as_deref().expect("it has a value")));
        letters.collect::<Result<_, _>>().expect("they are of this version")
    }

    /// Waits for so many dead letters.
    #[track_caller]
    pub fn dead_letters_become(&self, count: usize) -> Vec<DeadLetter> {
        harness::until(&format!("{count} dead letters"), WITHIN, || {
            let letters = self.dead_letters();
            if letters.len() >= count { Ok(letters) } else { Err(format!("there are {}", letters.len())) }
        })
    }
}

/// The sum of a metric's series whose labels contain all of these texts, for example `topic="views"`.
pub fn metric(metrics: &str, name: &str, labels: &[&str]) -> u64 {
    let series = metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    let chosen = series.filter(|rest| labels.iter().all(|label| rest.contains(label)));
    chosen.map(|rest| rest.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a count")).sum()
}
