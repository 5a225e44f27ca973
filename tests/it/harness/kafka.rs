//! A real Apache Kafka: one KRaft node for the whole run, on free ports, with a plain and a SASL_SSL listener.
//!
//! librdkafka's mock cluster would start faster, but it does not compact, does not honour `read_committed` and keeps
//! no transactions apart: what these tests are about.

use std::path::PathBuf;
use std::sync::LazyLock;

use rdkafka::ClientConfig;

use super::node::Node;
use super::place;

/// Another process may take a free port before the broker does.
const START_ATTEMPTS: usize = 3;

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
    _node: Option<Node>,
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
        plain_client(&self.bootstrap)
    }
}

/// Client settings without security.
pub fn plain_client(bootstrap: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap);
    client
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
        Some(Kafka { bootstrap, secure, _node: None })
    });
    KAFKA.as_ref().unwrap_or_else(|| own())
}

/// The SASL_SSL listener; always of a broker of our own, since it needs our users and certificates.
pub fn sasl_ssl() -> &'static SaslSsl {
    &own().secure
}

fn own() -> &'static Kafka {
    // A failure is kept: every test that needs the broker fails with it at once.
    static OWN: LazyLock<Result<Kafka, String>> = LazyLock::new(start);
    OWN.as_ref().unwrap_or_else(|why| panic!("no Apache Kafka for the tests: {why}"))
}

fn start() -> Result<Kafka, String> {
    let mut failure = String::new();
    for attempt in 0..START_ATTEMPTS {
        match start_once(&format!("kafka-{attempt}")) {
            Ok(kafka) => return Ok(kafka),
            Err(why) => failure = why,
        }
        if !failure.contains("already in use") {
            break;
        }
    }
    Err(failure)
}

fn start_once(folder: &str) -> Result<Kafka, String> {
    // Some tests write old timestamps, and a record must not be gone before they have looked.
    let mut node = Node::format(&place::run().join(folder), "log.retention.ms=-1\n")?;
    node.start()?;
    node.await_answer()?;
    Ok(Kafka { bootstrap: node.bootstrap(), secure: node.secure(), _node: Some(node) })
}
