//! What the integration tests stand on: the outside of Rollbook, real, started once a run on free ports, gone with it.
//!
//! ```text
//! let kafka = harness::kafka();                      // Apache Kafka, or KAFKA_BOOTSTRAP
//! let names = harness::names("my-test");             // topics and a prefix of this test's own
//! let mut node = Node::format(&folder, "");           // a broker of one test's own: start(), await_answer(), kill()
//! harness::create(&kafka.client(), &[&names.topics.views], 2, &[("cleanup.policy", "delete")]);
//! harness::write(&kafka.client(), &[Record::new(&names.topics.views, key, value).header("ce_id", "1")]);
//! let records = harness::read(&kafka.client(), &names.topics.dead_letters);   // read_committed, to the end
//! harness::committed(&kafka.client(), group, topic, 2);                       // a group's offsets
//! let secure = harness::sasl_ssl();                  // secure.bootstrap, secure.properties(harness::SCRAM)
//! rights.deny(&[(Resource::Topic(topic), Operation::Read)]); rights.give_back();  // on a broker with `AUTHORIZER`
//! let registry = harness::registry();                // registry.url(), registry.register(subject, schema)
//! let gate = Gate::open_to(registry.address);        // gate.shut(), gate.open(): an outage; url_at(gate.address())
//! let front = TlsFront::before(registry.address, "Basic …");   // the same behind TLS: front.address, front.ca
//! let tap = Tap::before(address);                     // tap.asked(), tap.answered(), tap.urls(): what went through
//! let python = harness::python(&["simple-salesforce==1.12.10"]);  // path of an interpreter
//! let folder = harness::node("tests/clients");       // a copy of that folder with node_modules
//! let one = Rollbook::start("one", &config_file, port).ready();   // the real binary; one.process.kill()
//! harness::until("all rows to be written", Duration::from_secs(30), || Err("why not yet".to_owned()));
//! ```
//! Rules: every wait goes through [`until`], with a deadline and a reason; no sleeps, no fixed ports; a child is a
//! [`Process`], which dies with the tests; a missing tool of the machine fails the test with what to install.

mod binary;
mod clients;
pub mod events;
mod gate;
pub mod http;
mod inputs;
mod kafka;
mod node;
pub mod place;
mod process;
mod registry;
mod rights;
pub mod settings;
mod surgery;
mod tap;
mod tls;
mod tls_front;
mod topics;
mod wait;

pub use binary::{Rollbook, command};
pub use clients::{node, python};
pub use gate::Gate;
pub use kafka::{PLAIN, SCRAM, User, kafka, plain_client, sasl_ssl};
pub use node::{Node, free_port, kept_port};
pub use place::{private as private_folder, run as folder};
pub use process::{Process, run, tool};
pub use registry::{registry, url_at};
pub use rights::{AUTHORIZER, Operation, Resource, Rights, change_password};
pub use settings::Settings;
pub use surgery::{delete_group, delete_topic, grow, remake};
pub use tap::Tap;
pub use tls::certificates;
pub use tls_front::TlsFront;
pub use topics::{
    Names, PARTITIONS, Record, Writer, alter, committed, create, delete_below, names, partitions, read, states, write,
};
pub use wait::{until, until_async};
