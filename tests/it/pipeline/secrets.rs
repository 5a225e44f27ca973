//! Nothing secret and nothing personal is said: a run whose secrets and people are canaries, and whose every error path
//! has something to repeat. Looking for them in the code would find only the places that somebody thought of.

mod commands;

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::rsa::Rsa;
use rollbook::avro;
use rollbook::dead_letter::{DeadLetter, Stage};
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Credentials, Fault, FaultAction, JwtKey, Options};
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use rollbook::outcome::Outcome;
use rollbook::stage::fold::KIND_HEADER;
use serde_json::{Value, json};

use super::payload::{payload, record};
use super::world::{Connection, World, metric};
use crate::harness::{self, Gate, Record, Rollbook, SCRAM, Tap, TlsFront, command};

/// In every canary that this test makes up, and in nothing else that it names.
const CANARY: &str = "canary";
const CLIENT_SECRET: &str = "canary-client-secret";
const REFRESH_TOKEN: &str = "canary-refresh-token";
const REGISTRY_LOGIN: &str = "rollbook:canary-registry-password";
const EMAIL: &str = "canary@people.example";
const NAME: &str = "Canary-Lastname";

const SAVES: &str = "/composite";
const TOKEN: &str = "/oauth2/token";
const STOPS_WITHIN: Duration = Duration::from_mins(1);

/// How Rollbook logs in, and what must never be said of it.
struct Flow {
    /// The section `salesforce.auth`.
    auth: String,
    secrets: Vec<String>,
    /// The same of what went to and fro: what was signed, and what the org gave out.
    exchanged: fn(&Tap) -> Vec<String>,
}

/// The installation, and what is between it and the org.
struct Scene {
    world: World,
    tap: Tap,
    /// Of secrets.
    folder: PathBuf,
    flow: Flow,
}

/// Writes a file of this folder; its path as a text in TOML.
fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("the target folder is writable");
    format!("{:?}", path.display().to_string())
}

fn refresh_token(credentials: &mut Credentials, folder: &Path) -> Flow {
    credentials.client_secret = CLIENT_SECRET.into();
    credentials.refresh_token = Some(REFRESH_TOKEN.into());
    credentials.rotate_refresh_tokens = true;
    let auth = format!(
        "flow = \"refresh_token\"\nclient_id = \"rollbook\"\nclient_secret_file = {}\nrefresh_token_file = {}",
        file(folder, "client", CLIENT_SECRET),
        file(folder, "refresh", REFRESH_TOKEN),
    );
    let exchanged = |tap: &Tap| {
        let answered = tap.answered();
        ["\"access_token\":\"", "\"refresh_token\":\""].map(|opening| after(&answered, opening)).concat()
    };
    Flow { auth, secrets: vec![CLIENT_SECRET.to_owned(), REFRESH_TOKEN.to_owned()], exchanged }
}

fn jwt_bearer(credentials: &mut Credentials, folder: &Path) -> Flow {
    let key = Rsa::generate(2048).expect("a key");
    let public = key.public_key_to_pem().expect("PEM");
    credentials.jwt_key = JwtKey::from_pem(&public).expect("a public key");
    let pem = String::from_utf8(key.private_key_to_pem().expect("PEM")).expect("PEM is ASCII");
    let auth = format!(
        "flow = \"jwt_bearer\"\nclient_id = \"rollbook\"\nusername = {:?}\nprivate_key_file = {}",
        credentials.username,
        file(folder, "key", &pem),
    );
    let secrets = key_lines(&pem);
    assert!(secrets.len() > 20, "of a key of 2048 bits");
    let exchanged = |tap: &Tap| {
        // The signature, without which an assertion is worth nothing. The next request may follow without a gap.
        let signature = |assertion: String| assertion.rsplit('.').next().unwrap_or_default()[..300].to_owned();
        let signatures: Vec<String> = after(&tap.asked(), "assertion=").into_iter().map(signature).collect();
        [signatures, after(&tap.answered(), "\"access_token\":\"")].concat()
    };
    Flow { auth, secrets, exchanged }
}

/// Each line of a key gives a part of it away.
fn key_lines(pem: &str) -> Vec<String> {
    pem.lines().filter(|line| line.len() == 64).map(str::to_owned).collect()
}

/// What stands behind each opening: a token of any kind.
fn after(said: &str, opening: &str) -> Vec<String> {
    let token = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "!._-".contains(*c)).collect();
    let found: Vec<String> = said.split(opening).skip(1).map(token).collect();
    assert!(!found.is_empty(), "{opening} went by");
    found
}

impl Scene {
    fn new(test: &str, flow: fn(&mut Credentials, &Path) -> Flow) -> Self {
        let secure = harness::sasl_ssl();
        let kafka = Connection { bootstrap: secure.bootstrap.clone(), properties: secure.properties(SCRAM) };
        let folder = harness::folder().join(test);
        fs::create_dir_all(&folder).expect("the target folder is writable");
        let mut options = Options::new(Schema::load_embedded());
        let flow = flow(&mut options.credentials, &folder);
        let mut world = World::on(test, kafka, "", options);
        let tap = Tap::before(world.org.address());
        world.salesforce = Gate::open_to(tap.address);
        world.auth = Some(flow.auth.clone());
        let basic = format!("Basic {}", STANDARD.encode(REGISTRY_LOGIN));
        let front = TlsFront::before(harness::registry().address, &basic);
        let (user, password) = REGISTRY_LOGIN.split_once(':').expect("a pair");
        world.sections = format!(
            "[registry]\nurl = \"https://{}/apis/ccompat/v7\"\nusername = {user:?}\npassword_file = {}\nca_file = {:?}\n",
            front.address,
            file(&folder, "registry", password),
            front.ca.display().to_string(),
        );
        Self { world, tap, folder, flow }
    }

    /// Started with all of its log on.
    fn start(&self, instance: &str) -> Rollbook {
        let port = harness::free_port();
        let config = self.world.config(instance, port);
        let mut run = command(&["run", "--log-level", "trace", "--config", text(&config)]);
        Rollbook::start_command(&format!("{}-{instance}", self.world.names.prefix), &mut run, port)
    }

    /// A command, with all of its log on.
    fn run(&self, arguments: &[&str]) -> Said {
        let config = self.world.config("tool", 0);
        let output = command(&[arguments, &["--log-level", "trace", "--config", text(&config)]].concat()).output();
        let output = output.expect("the binary is built");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Said { code: output.status.code().unwrap_or(-1), stdout, stderr }
    }

    /// What opens doors.
    fn secrets(&self) -> Vec<String> {
        let own = [SCRAM.password, REGISTRY_LOGIN.split_once(':').expect("a pair").1, &STANDARD.encode(REGISTRY_LOGIN)];
        [own.map(str::to_owned).to_vec(), self.flow.secrets.clone(), (self.flow.exchanged)(&self.tap)].concat()
    }

    /// Neither a secret nor anybody's data.
    #[track_caller]
    fn silent(&self, place: &str, said: &str) {
        without(place, said, &[self.secrets(), vec![CANARY.to_owned()]].concat());
    }
}

/// By a command.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

#[track_caller]
fn without(place: &str, said: &str, secrets: &[String]) {
    let said = said.to_lowercase();
    for secret in secrets {
        if let Some(at) = said.find(&secret.to_lowercase()) {
            let around: String = said.chars().skip(at.saturating_sub(200)).take(400).collect();
            panic!("{place} says `{secret}`: …{around}…");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// Answers of an org, and of what stands before it, that repeat what they were asked with.
fn talkative_org(Scene { world, flow, .. }: &Scene) {
    let page = format!("<html>{} {EMAIL}</html>", flow.secrets.join("\n"));
    world.org.add_fault(Fault::next(TOKEN, FaultAction::Answer { status: 503, body: page.clone() }));
    let proxy = json!([{ "errorCode": flow.secrets[0], "message": flow.secrets.join(" ") }]).to_string();
    world.org.add_fault(Fault::next(TOKEN, FaultAction::Answer { status: 407, body: proxy }));
    let answers = [
        FaultAction::refuse(401, "INVALID_SESSION_ID", &format!("Session of {EMAIL} expired: {}", flow.secrets[0])),
        FaultAction::Answer { status: 502, body: page },
        FaultAction::refuse(500, "UNKNOWN_EXCEPTION", &format!("{NAME} <{EMAIL}>")),
        FaultAction::refuse(503, EMAIL, EMAIL),
        FaultAction::Answer { status: 200, body: json!({ "echo": EMAIL }).to_string() },
        FaultAction::CutAfter,
    ];
    for (skip, answer) in (0..).zip(answers) {
        world.org.add_fault(Fault::next(SAVES, answer).after(skip % 2));
    }
}

fn row_refused(code: &str) -> FaultAction {
    let message = format!("Email: invalid email address: {EMAIL} of {NAME}");
    let error = json!({ "statusCode": code, "message": message, "fields": ["Email", EMAIL] });
    FaultAction::Answer { status: 200, body: json!([{ "success": false, "errors": [error] }]).to_string() }
}

/// Records that cannot be used, each with a canary at the place that is wrong.
fn malformed(world: &World, member: MemberKey) -> Vec<Record> {
    let key = member.to_string();
    let raw = |kind, value: Vec<u8>| Record::new(world.topic(kind), key.clone(), value);
    let mut records: Vec<Record> = Vec::new();
    // No entry id: it is part of rows' external ids, and those are told.
    for field in ["event_id", "source", "occurred_at", "campaign_id", "lead_id", "ended_at", "mode", "channel_id"] {
        for wrong in [json!(EMAIL), json!([EMAIL]), json!({ EMAIL: NAME })] {
            records.push(record(world, EventKind::View, member, "wrong", &json!({ field: wrong })));
        }
    }
    for value in [format!("{EMAIL} {NAME}"), format!("{{\"{EMAIL}\": {NAME}"), format!("[\"{EMAIL}\"]")] {
        records.push(raw(EventKind::Registration, value.into_bytes()));
    }
    let header = avro::embedded().iter().find(|schema| schema.name == "registration").map(|schema| schema.header);
    records.push(raw(EventKind::Registration, [header.expect("it is embedded").as_slice(), EMAIL.as_bytes()].concat()));
    records.push(raw(EventKind::Poll, [&[0, 0, 0x3d, 9, 0], EMAIL.as_bytes()].concat()));
    let good = payload(EventKind::View, member, "kind", &json!({ "email": EMAIL })).to_string();
    records.push(Record::new(&world.names.topics.resolved, key.clone(), good).header(KIND_HEADER, EMAIL));
    let nobody = payload(EventKind::View, member, "nobody", &json!({ "lead_id": EMAIL })).to_string();
    records.push(Record::new(world.topic(EventKind::View), EMAIL, nobody).header("ce_id", EMAIL).header(EMAIL, NAME));
    records.push(Record::new(&world.names.topics.sessions, EMAIL, format!("{{\"campaign_id\": \"{EMAIL}\"}}")));
    records
}

fn good(world: &World, member: MemberKey) -> Vec<Record> {
    let person = json!({ "email": EMAIL, "last_name": NAME, "first_name": NAME, "fields": { CANARY: EMAIL } });
    let of_kind = |kind: EventKind| {
        let mut changes = person.clone();
        if kind == EventKind::Poll {
            changes["answer"] = Value::from(format!("{NAME} {EMAIL}"));
        }
        record(world, kind, member, &format!("{EMAIL}-{kind:?}"), &changes)
    };
    EventKind::ALL.into_iter().map(of_kind).collect()
}

/// All of a letter but the refused record itself, which it is there to keep.
fn metadata(mut letter: DeadLetter) -> DeadLetter {
    letter.value = None;
    if letter.stage == Stage::Fold {
        letter.key = None;
        letter.headers.clear();
    }
    letter
}

fn all<T: Debug>(things: impl IntoIterator<Item = T>) -> String {
    things.into_iter().map(|thing| format!("{thing:?}")).collect::<Vec<_>>().join("\n")
}

fn file_names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        names.push(entry.file_name().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(file_names(&entry.path()));
        }
    }
    names
}

#[test]
fn no_secret_and_nobodys_name_is_in_anything_that_a_run_says() {
    let scene = Scene::new("secrets-refresh", refresh_token);
    let member = run_is_silent(&scene);
    let asked = scene.tap.asked();
    for sent in [CLIENT_SECRET, REFRESH_TOKEN, EMAIL] {
        assert!(asked.contains(sent), "{sent} was not sent");
    }
    let token = fs::metadata(scene.folder.join("refresh")).expect("it is there");
    assert_eq!((token.permissions().mode() & 0o777, file_names(&scene.folder).len()), (0o600, 3));
    commands::are_silent(&scene, member);
    commands::wrong_settings_are_silent(&scene);
}

#[test]
fn neither_the_private_key_nor_what_it_signed_is_in_anything_that_a_run_says() {
    let scene = Scene::new("secrets-jwt", jwt_bearer);
    let member = run_is_silent(&scene);
    let asked = scene.tap.asked();
    assert!(asked.contains(EMAIL) && asked.contains("assertion="), "they were sent");
    without("what the org is asked", &asked, &scene.flow.secrets);
    commands::are_silent(&scene, member);
    commands::a_damaged_key_is_not_said(&scene);
}

/// Everything that a run says while an org that repeats everything refuses logins, calls and rows. Hands back a member.
fn run_is_silent(scene: &Scene) -> MemberKey {
    let world = &scene.world;
    let campaign = world.campaign("Launch");
    let members: Vec<_> =
        (0..4).map(|number| MemberKey { campaign, person: world.lead(&format!("{NAME}-{number}")) }).collect();
    talkative_org(scene);
    let mut rollbook = scene.start("one").ready();
    for member in &members {
        harness::write(&world.client(), &good(world, *member));
        world.settle();
    }
    // A registration is one row, which goes without a Composite call around it.
    for (number, code) in ["INVALID_EMAIL_ADDRESS", EMAIL].into_iter().enumerate() {
        world.org.add_fault(Fault::next(SAVES, row_refused(code)).method("PATCH"));
        let member = MemberKey { campaign, person: world.lead(&format!("{NAME}-refused-{number}")) };
        let registered = record(world, EventKind::Registration, member, "registered", &json!({}));
        harness::write(&world.client(), &[registered]);
        world.settle();
    }
    harness::write(&world.client(), &malformed(world, members[0]));
    world.org.expire_tokens();
    harness::write(&world.client(), &[record(world, EventKind::Reaction, members[0], "later", &json!({}))]);
    world.settle();

    let metrics = rollbook.metrics();
    for (place, path) in [("/readyz", "/readyz"), ("/livez", "/livez"), ("/metrics", "/metrics")] {
        let answer = rollbook.get(path).expect("the port answers");
        scene.silent(place, &answer.body);
    }
    for format in [&[][..], &["--json"]] {
        let status = scene.run(&[&["status", "--url", rollbook.url()], format].concat());
        assert_eq!(status.code, 0, "{}", status.all());
        scene.silent("status", &status.all());
    }
    rollbook.process.signal("TERM");
    assert!(rollbook.process.wait(STOPS_WITHIN).expect("it ends").success());

    // The error paths have spoken.
    let log = rollbook.process.log();
    assert!(log.contains("DEBUG") && log.contains("call to Salesforce failed"), "{}", rollbook.process.log_tail());
    let letters = world.dead_letters();
    let of = |stage| letters.iter().filter(|letter| letter.stage == stage).count();
    assert!(of(Stage::Fold) > 20 && of(Stage::Sink) >= 1, "{} and {}", of(Stage::Fold), of(Stage::Sink));
    assert!(metric(&metrics, "rollbook_sink_requests_total", &["status=\"5xx\""]) > 0, "{metrics}");

    scene.silent("the log", &log);
    scene.silent("a dead letter", &all(letters.into_iter().map(metadata)));
    let outcomes = harness::read(&world.client(), &world.names.topics.outcomes);
    assert!(!outcomes.is_empty());
    let read =
        |record: &Record| Outcome::decode(record.value.as_deref().expect("it has a value")).expect("of this version");
    scene.silent("an outcome", &all(outcomes.iter().map(|record| (&record.key, &record.headers, read(record)))));
    scene.silent("a URL", &all(scene.tap.urls()));
    scene.silent("a file's name", &all(file_names(harness::folder())));
    members[0]
}
