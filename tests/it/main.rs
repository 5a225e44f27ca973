//! The integration tests: one binary, so that one broker serves them all.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod chaos;
mod circles;
mod clients;
mod config;
mod damage;
mod decoding;
mod demo;
mod deploy_tree;
mod emulator;
mod evolution;
mod examples;
mod fencing;
mod floods;
mod fold_stage;
mod frozen;
mod golden;
mod harness;
mod judged;
mod kafka_broker;
mod memory;
mod metrics;
mod pipeline;
mod positions;
mod properties;
mod proxies;
mod records;
mod reference;
mod registry;
mod scan;
mod schemas;
mod sessions;
mod sf;
mod sink;
mod soql;
mod spill;
mod state_records;
mod tidy;
mod tools;
mod topics;
mod two_folds;
