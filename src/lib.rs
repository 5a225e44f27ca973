//! Rollbook folds what people do at events into one aggregate per member and writes it to Salesforce.
//!
//! ```text
//!  registrations ┐
//!  attendance    │ decode      fold + derive                  coalesce, upsert
//!  polls         ├─ event ──▶ stage::fold ──▶ rollbook.upserts ──▶ stage::sink ──▶ Salesforce
//!  reactions     │              │  ▲  │                              ├──▶ rollbook.outcomes
//!  views         ┘              │  │  └──▶ rollbook.state            ├──▶ rollbook.dead-letters
//!  rollbook.resolved ◀─ re-keyed┘  └─ rollbook.catalogue ◀─ sessions  └──▶ rollbook.bulk-jobs
//! ```
//!
//! Beside them `rollbook.notes`: what instances remember and tell each other, read whole by everybody.
//!
//! The rooms, in the order in which data flows. Those above the line are pure: no clock, network, disk,
//! randomness or async.

pub mod avro;
pub mod bulk_job;
pub mod dead_letter;
pub mod disposition;
pub mod event;
pub mod fold;
pub mod gap;
pub mod id;
pub mod lattice;
pub mod note;
pub mod outcome;
pub mod route;
pub mod time;
pub mod upsert;
// ---- the shell -------------------------------------------------------------------------------------------------
pub mod cli;
pub mod config;
pub mod demo;
pub mod emulator;
pub mod health;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod repeated;
pub mod salesforce;
pub mod stage;
pub mod status;
pub mod store;
pub mod terminal;
