//! All integration tests: one binary, so that one broker serves them all.

mod golden;
mod properties;
