//! The integration tests: one binary, so that one broker serves them all.

mod config;
mod demo;
mod harness;
mod kafka_broker;
mod pipeline;
mod reference;
mod tidy;
mod two_folds;
