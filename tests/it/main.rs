//! The integration tests: one binary, so that one broker serves them all.

mod config;
mod deploy_tree;
mod emulator;
mod golden;
#[allow(dead_code, unused_imports, reason = "the rooms whose tests use the rest are being built")]
mod harness;
mod kafka_broker;
mod properties;
mod sink;
mod soql;
mod tidy;
