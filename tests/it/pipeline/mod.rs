//! End to end: records on a real Kafka, the real binary, and the org that it leaves behind.
//!
//! Salesforce is the emulator, in this process, behind a gate that can be shut. What the org must hold is computed by
//! the reference fold, which shares nothing with the fold under test.

mod bad_records;
mod conference;
mod encodings;
mod full_disk;
mod halves;
mod handover;
mod idle;
mod instances;
mod kafka_login;
mod login;
mod other_org;
mod other_topics;
mod outages;
mod payload;
mod positions;
mod rebuild;
mod redrive;
mod registry_outage;
mod retention;
mod rights;
mod rows_refused;
mod secrets;
mod sizes;
mod state_on_disk;
mod status;
mod statuses;
mod world;
