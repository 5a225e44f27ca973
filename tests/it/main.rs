//! The integration tests: one binary, so that one broker serves them all.

mod clients;
mod config;
mod emulator;
mod deploy_tree;
#[allow(dead_code, unused_imports, reason = "the rooms whose tests use the rest are being built")]
mod harness;
mod kafka_broker;
mod soql;
mod tidy;
