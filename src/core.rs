//! The crate `rollbook-core`: the pure rooms, in the order in which data flows. No clock, network, disk, randomness or
//! async.
//!
//! A crate of its own, so that none of it can name the shell, and so that it is checked and tested without Kafka. Rooms
//! name each other as everywhere: `crate::fold` is the same room in every crate.

pub mod avro;
pub mod bulk_job;
pub mod dead_letter;
pub mod disposition;
pub mod event;
pub mod fold;
pub mod gap;
pub mod lattice;
pub mod note;
pub mod outcome;
pub mod route;
pub mod topic_table;
pub mod upsert;

use rollbook_ground::{id, time};
