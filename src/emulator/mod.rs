//! The Salesforce emulator: the part of an org that Rollbook and its neighbours talk to, honest where Salesforce is
//! strict.
//!
//! ```text
//!  TCP ─ server ─ fault? ─ rest ──▶ org: rows, indexes, rules ──▶ journal (--data)
//!          │        │        ├ soql     │
//!          │        │        ├ bulk: jobs, and the worker that carries them out
//!          └ auth   control  └ wire     └ schema ◀─ deploy/salesforce
//! ```
//!
//! Invariants: a request works under one mutex, so every call is atomic and calls have an order; what takes time is
//! spent outside of it, holding row locks; a change is in the journal before its answer leaves; what the emulator does not know it refuses, it never guesses. It shares no logic with
//! Rollbook's own client, so that a mistake in one does not hide in the other.

mod auth;
mod bulk;
mod control;
mod counters;
mod cursors;
mod deploy;
mod fault;
mod jobs;
mod metadata;
mod org;
mod pace;
mod rest;
mod rows;
pub mod schema;
mod search;
mod server;
mod service;
mod soap;
pub mod soql;
mod under_way;
mod wire;

pub use auth::{Credentials, JwtKey};
pub use fault::{Fault, FaultAction, FaultScript};
pub use org::{Access, Body, Cell, DuplicateRule, JournalError, Org, Person, Record, ValidationRule};
pub use pace::Pace;
pub use server::{Emulator, Error, serve};
pub use service::Options;
pub use under_way::LongRequests;
pub use wire::Refusal;
