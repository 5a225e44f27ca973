//! The loops.

pub mod sink;
pub mod sink_metrics;
