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
//! Rooms by layer. Each layer is a crate, this one the shell, and a room has the same path in every crate.

// Ground: ids and time.
pub use rollbook_ground::*;
// Pure rooms: no clock, network, disk, randomness or async.
pub use rollbook_core::*;
// An org for tests and rehearsals.
pub use rollbook_emulator as emulator;
// ---- the shell -------------------------------------------------------------------------------------------------
pub mod cli;
pub mod committed;
pub mod config;
pub mod demo;
pub mod health;
pub mod http;
pub mod kafka;
pub mod letters;
pub mod lines;
pub mod metrics;
pub mod provision;
pub mod repeated;
pub mod salesforce;
pub mod stage;
pub mod status;
pub mod store;
pub mod terminal;
