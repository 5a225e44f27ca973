//! One KRaft node of Apache Kafka on this machine. It can be killed, and comes back on the same ports with its data.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::gate::Gate;
use super::kafka::{PLAIN, SCRAM, SaslSsl, plain_client};
use super::process::{self, Process};
use super::tls::{self, Certificates};
use super::{place, wait};

const POM: &str = include_str!("kafka/pom.xml");

/// The first fetch moves 55 MB.
const FETCH_WITHIN: Duration = Duration::from_mins(5);
const FORMAT_WITHIN: Duration = Duration::from_mins(1);
const START_WITHIN: Duration = Duration::from_secs(90);

/// Enough for tests, and quick to start.
const JVM: [&str; 4] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];
const LOG: [&str; 2] = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"];

/// Killed with the tests, and its data goes with it.
pub struct Node {
    libs: PathBuf,
    settings: PathBuf,
    data: PathBuf,
    ports: Ports,
    certificates: Certificates,
    /// Where it is reached, if not straight.
    gate: Option<SocketAddr>,
    process: Option<Process>,
}

struct Ports {
    plain: u16,
    secure: u16,
    controller: u16,
}

impl Node {
    /// Everything that a first start needs; `more` are lines of `server.properties`.
    pub fn format(folder: &Path, more: &str) -> Result<Self, String> {
        process::tool("java")?;
        let libs = place::once("kafka", POM, fetch)?;
        let ports = Ports { plain: kept_port(), secure: kept_port(), controller: kept_port() };
        Self::format_on(folder, ports, libs, more)
    }

    /// The same, reached by the gate alone, which is opened to it.
    pub fn format_behind(gate: &Gate, folder: &Path, more: &str) -> Result<Self, String> {
        process::tool("java")?;
        let libs = place::once("kafka", POM, fetch)?;
        let ports = Ports { plain: kept_port(), secure: kept_port(), controller: kept_port() };
        gate.lead_to(SocketAddr::from(([127, 0, 0, 1], ports.plain)));
        let advertised = format!("advertised.listeners=PLAINTEXT://{}\n", gate.address());
        let mut node = Self::format_on(folder, ports, libs, &(advertised + more))?;
        node.gate = Some(gate.address());
        Ok(node)
    }

    fn format_on(folder: &Path, ports: Ports, libs: PathBuf, more: &str) -> Result<Self, String> {
        let certificates = tls::certificates(&folder.join("tls"));
        let (data, settings) = (folder.join("data"), folder.join("server.properties"));
        let properties = properties(&ports, &certificates, &data) + more;
        fs::write(&settings, properties).map_err(|error| format!("{}: {error}", settings.display()))?;
        let mut format = java(&libs, &JVM, "kafka.tools.StorageTool");
        format.args(["format", "--standalone", "--cluster-id", "cm9sbGJvb2stdGVzdHMtMQ", "--config"]).arg(&settings);
        format.args(["--add-scram", &format!("SCRAM-SHA-256=[name={},password={}]", SCRAM.name, SCRAM.password)]);
        process::run("kafka-format", &mut format, FORMAT_WITHIN)?;
        Ok(Self { libs, settings, data, ports, certificates, gate: None, process: None })
    }

    /// A folder for `PATH` with those of Kafka's commands that the runbook names.
    #[allow(dead_code, reason = "the benchmark against peers has no use for them")]
    pub fn tools() -> Result<PathBuf, String> {
        let libs = place::once("kafka", POM, fetch)?;
        let folder = place::run().join("kafka-tools");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (name, class) in [
            ("kafka-topics.sh", "TopicCommand"),
            ("kafka-get-offsets.sh", "GetOffsetShell"),
            ("kafka-consumer-groups.sh", "consumer.group.ConsumerGroupCommand"),
        ] {
            let class_path = libs.join("*");
            let class_path = class_path.display();
            let jvm = JVM.join(" ");
            let script = format!(
                "#!/bin/sh\nexec java {jvm} {} -cp '{class_path}' org.apache.kafka.tools.{class} \"$@\"\n",
                LOG[0]
            );
            let file = folder.join(name);
            fs::write(&file, script).map_err(|error| format!("{}: {error}", file.display()))?;
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&file, executable).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(folder)
    }

    /// Starts it, or starts it again; does not wait.
    pub fn start(&mut self) -> Result<(), String> {
        self.start_on(&JVM)
    }

    /// Starts it on a Java machine with these options.
    pub fn start_on(&mut self, jvm: &[&str]) -> Result<(), String> {
        let mut server = java(&self.libs, jvm, "kafka.Kafka");
        let process = Process::spawn_with_data("kafka", server.arg(&self.settings), &self.data);
        self.process = Some(process.map_err(|error| format!("cannot start `java`: {error}"))?);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Keeps it from answering anybody, its connections open; `thaw` ends it.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it was started").signal(signal);
    }

    /// None: it was not started.
    #[allow(dead_code, reason = "the benchmark against peers keeps its CPU time apart; the tests do not ask")]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    pub fn bootstrap(&self) -> String {
        self.gate.map_or_else(|| format!("127.0.0.1:{}", self.ports.plain), |gate| gate.to_string())
    }

    pub fn secure(&self) -> SaslSsl {
        SaslSsl { bootstrap: format!("localhost:{}", self.ports.secure), ca: self.certificates.ca.clone() }
    }

    /// Ready is a broker that answers a metadata request, not one whose port is open.
    pub fn await_answer(&mut self) -> Result<(), String> {
        let client = plain_client(&self.bootstrap());
        let Some(process) = &mut self.process else { return Err("it was not started".to_owned()) };
        await_answer(&client, process)
    }
}

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

fn fetch(folder: &Path) -> Result<(), String> {
    let pom = folder.join("pom.xml");
    fs::write(&pom, POM).map_err(|error| format!("{}: {error}", pom.display()))?;
    let mut maven = process::tool("mvn")?;
    maven.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", folder.display()));
    process::run("mvn-kafka", &mut maven, FETCH_WITHIN)
}

fn java(libs: &Path, jvm: &[&str], class: &str) -> Command {
    let mut java = Command::new("java");
    java.args(jvm).args(LOG).arg("-cp").arg(libs.join("*")).arg(class);
    java
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A port for a server that will be away for a while: below those that systems give to outgoing connections, one of
/// which would take it meanwhile.
pub fn kept_port() -> u16 {
    let ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(1_000);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("loopback has a free port")
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
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
log.cleaner.dedupe.buffer.size=8388608
"
    )
}
