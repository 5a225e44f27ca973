//! The integration tests: one binary, so that one broker serves them all.

mod config;
#[allow(dead_code, unused_imports, reason = "the rooms whose tests use the rest are being built")]
mod harness;
mod kafka_broker;
mod metrics;
mod tidy;
mod tools;
