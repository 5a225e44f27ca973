//! The integration tests: one binary, so that one broker serves them all.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod decoding;
mod evolution;
mod records;
mod schemas;
