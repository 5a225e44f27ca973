//! The Salesforce emulator: the part of an org that Rollbook and its neighbours talk to, honest where Salesforce is
//! strict.
//!
//! ```text
//!  TCP ─ server ─┬─ control                       the surface that only an emulator has
//!                └─ fault? ─ rest ─┬─ bulk        jobs come in, and workers carry them out
//!                            │     └─ metadata    deployments come in
//!             ┌──────────────┴──────────────┐
//!             │ service                     │     one lock, a transaction's turns
//!             ├─────────────────────────────┤
//!             │ jobs  deploy  rows  search  │     what is done with the org's rows
//!             │ auth  counters  cursors     │
//!             │ fault  under_way  pace      │
//!             ├──────────────────────┬──────┤
//!             │ org ─▶ journal       │ soql │     rows, indexes, rules (--data)
//!             ├──────────────────────┴──────┤
//!             │ schema ◀─ deploy/salesforce │
//!             ├─────────────────────────────┤
//!             │ wire  soap                  │     calls, replies, refusals
//!             └─────────────────────────────┘
//! ```
//!
//! A room knows what stands below it, never what stands above: data is changed by the room that has it, and what answers
//! calls holds nothing.
//!
//! Invariants: a request works under one mutex, so every call is atomic and calls have an order; what takes time is
//! spent outside of it, holding row locks; a change is in the journal before its answer leaves; what the emulator does
//! not know it refuses, it never guesses. It shares no logic with Rollbook's own client, so that a mistake in one does
//! not hide in the other.

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

// This is the crate `rollbook-emulator`; its rooms have the same paths here as in the whole.
use crate as emulator;
use rollbook_ground::id;
