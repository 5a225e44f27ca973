//! Metrics of the process.
