//! The integration tests: one binary, so that one broker serves them all.

mod decoding;
mod evolution;
mod examples;
mod records;
mod registry;
mod schemas;
mod sessions;
