//! The integration tests: one binary, so that one broker serves them all.

mod config;
mod demo;
#[allow(dead_code, unused_imports, reason = "the rooms whose tests use the rest are being built")]
mod harness;
mod kafka_broker;
mod pipeline;
mod reference;
mod emulator;
mod deploy_tree;
#[allow(dead_code, unused_imports, reason = "the rooms whose tests use the rest are being built")]
mod soql;
mod tidy;
mod two_folds;
