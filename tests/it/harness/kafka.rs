//! A real Apache Kafka: one KRaft node for the whole run, on free ports, with a plain and a SASL_SSL listener.
//!
//! librdkafka's mock cluster would start faster, but it does not compact, does not honour `read_committed` and keeps
//! no transactions apart: what these tests are about.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::process::{self, Process};
use super::tls::{self, Certificates};
use super::{place, wait};

const POM: &str = include_str!("kafka/pom.xml");

/// The first fetch moves 55 MB.
const FETCH_WITHIN: Duration = Duration::from_mins(5);
const FORMAT_WITHIN: Duration = Duration::from_mins(1);
const START_WITHIN: Duration = Duration::from_secs(90);
/// Another process may take a free port before the broker does.
const START_ATTEMPTS: usize = 3;

/// Enough for tests, and quick to start.
const JVM: [&str; 4] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];
const LOG: [&str; 2] = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"];

/// Users of the SASL_SSL listener. Passwords of a broker that lives as long as the test run.
pub const SCRAM: User = User { mechanism: "SCRAM-SHA-256", name: "scram-user", password: "scram-password" };
pub const PLAIN: User = User { mechanism: "PLAIN", name: "plain-user", password: "plain-password" };

#[derive(Clone, Copy, Debug)]
pub struct User {
    pub mechanism: &'static str,
    pub name: &'static str,
    pub password: &'static str,
}

pub struct Kafka {
    bootstrap: String,
    secure: SaslSsl,
    process: Option<Process>,
}

/// The listener with TLS and passwords.
#[derive(Clone, Debug)]
pub struct SaslSsl {
    pub bootstrap: String,
    pub ca: PathBuf,
}

impl Kafka {
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Client settings without security.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap);
        client
    }

    /// None: it is somebody else's.
    #[allow(dead_code, reason = "the benchmark against peers keeps its CPU time apart; the tests do not ask")]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }
}

impl SaslSsl {
    /// The librdkafka properties that a user of this listener sets.
    pub fn properties(&self, user: User) -> Vec<(&'static str, String)> {
        vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", user.mechanism.to_owned()),
            ("sasl.username", user.name.to_owned()),
            ("sasl.password", user.password.to_owned()),
            ("ssl.ca.location", self.ca.display().to_string()),
        ]
    }
}

/// The broker of this run: `KAFKA_BOOTSTRAP`, or one that is started now.
pub fn kafka() -> &'static Kafka {
    static KAFKA: LazyLock<Option<Kafka>> = LazyLock::new(|| {
        let bootstrap = std::env::var_os("KAFKA_BOOTSTRAP")?.into_string().expect("`KAFKA_BOOTSTRAP` is UTF-8");
        let secure = SaslSsl { bootstrap: String::new(), ca: PathBuf::new() };
        Some(Kafka { bootstrap, secure, process: None })
    });
    KAFKA.as_ref().unwrap_or_else(|| own())
}

/// The SASL_SSL listener; always of a broker of our own, since it needs our users and certificates.
pub fn sasl_ssl() -> &'static SaslSsl {
    &own().secure
}

fn own() -> &'static Kafka {
    // A failure is kept: every test that needs the broker fails with it at once.
    static OWN: LazyLock<Result<Kafka, String>> = LazyLock::new(|| start(&JVM));
    OWN.as_ref().unwrap_or_else(|why| panic!("no Apache Kafka for the tests: {why}"))
}

/// A broker of the caller's own, on a Java machine with these options.
pub fn start(jvm: &[&str]) -> Result<Kafka, String> {
    process::tool("java")?;
    let libs = place::once("kafka", POM, fetch)?;
    let certificates = tls::certificates(&place::run().join("tls"));
    let mut failure = String::new();
    for attempt in 0..START_ATTEMPTS {
        let folder = place::run().join(format!("kafka-{attempt}"));
        match start_once(|class| java(&libs, jvm, class), &certificates, &folder) {
            Ok(kafka) => return Ok(kafka),
            Err(why) => failure = why,
        }
        if !failure.contains("already in use") {
            break;
        }
    }
    Err(failure)
}

fn fetch(folder: &Path) -> Result<(), String> {
    let pom = folder.join("pom.xml");
    fs::write(&pom, POM).map_err(|error| format!("{}: {error}", pom.display()))?;
    let mut maven = process::tool("mvn")?;
    maven.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", folder.display()));
    process::run("mvn-kafka", &mut maven, FETCH_WITHIN)
}

fn start_once(java: impl Fn(&str) -> Command, certificates: &Certificates, folder: &Path) -> Result<Kafka, String> {
    let ports = Ports { plain: free_port(), secure: free_port(), controller: free_port() };
    let data = folder.join("data");
    let settings = folder.join("server.properties");
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    fs::write(&settings, properties(&ports, certificates, &data))
        .map_err(|error| format!("{}: {error}", settings.display()))?;

    let mut format = java("kafka.tools.StorageTool");
    format.args(["format", "--standalone", "--cluster-id", "cm9sbGJvb2stdGVzdHMtMQ", "--config"]).arg(&settings);
    format.args(["--add-scram", &format!("SCRAM-SHA-256=[name={},password={}]", SCRAM.name, SCRAM.password)]);
    process::run("kafka-format", &mut format, FORMAT_WITHIN)?;

    let mut server = java("kafka.Kafka");
    let mut process = Process::spawn_with_data("kafka", server.arg(&settings), &data)
        .map_err(|error| format!("cannot start `java`: {error}"))?;
    let kafka = |process| Kafka {
        bootstrap: format!("127.0.0.1:{}", ports.plain),
        secure: SaslSsl { bootstrap: format!("localhost:{}", ports.secure), ca: certificates.ca.clone() },
        process,
    };
    await_answer(&kafka(None).client(), &mut process)?;
    Ok(kafka(Some(process)))
}

/// Ready is a broker that answers a metadata request, not one whose port is open.
fn await_answer(client: &ClientConfig, process: &mut Process) -> Result<(), String> {
    let consumer: BaseConsumer = client.create().map_err(|error| error.to_string())?;
    let answer = wait::poll(START_WITHIN, || {
        if let Some(status) = process.exited() {
            return Ok(Err(format!("the broker ended: {status}")));
        }
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(1)).map_err(|error| error.to_string())?;
        if metadata.brokers().is_empty() { Err("it names no broker".to_owned()) } else { Ok(Ok(())) }
    });
    answer
        .map_err(|why| format!("no answer to a metadata request within {START_WITHIN:?}: {why}"))
        .flatten()
        .map_err(|why| format!("{why}\n{}", process.log_tail()))
}

fn java(libs: &Path, jvm: &[&str], class: &str) -> Command {
    let mut java = Command::new("java");
    java.args(jvm).args(LOG).arg("-cp").arg(libs.join("*")).arg(class);
    java
}

struct Ports {
    plain: u16,
    secure: u16,
    controller: u16,
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

fn properties(ports: &Ports, certificates: &Certificates, data: &Path) -> String {
    let Ports { plain, secure, controller } = ports;
    let listeners = format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://localhost:{secure}");
    let plain_login = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let scram_login = "org.apache.kafka.common.security.scram.ScramLoginModule";
    let (name, password) = (PLAIN.name, PLAIN.password);
    let (keystore, data) = (certificates.server.display(), data.display());
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256,PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config={plain_login} required user_{name}=\"{password}\";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram_login} required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
"
    )
}
