//! The integration tests: one binary, so that one broker serves them all.

mod clients;
mod config;
mod demo;
mod deploy_tree;
mod emulator;
mod evolution;
mod fold_stage;
mod golden;
#[allow(dead_code, unused_imports, reason = "the rooms whose tests use the rest are being built")]
mod harness;
mod kafka_broker;
mod metrics;
mod pipeline;
mod properties;
mod records;
mod reference;
mod schemas;
mod sink;
mod soql;
mod tidy;
mod tools;
mod two_folds;
