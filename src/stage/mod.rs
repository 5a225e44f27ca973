//! The loops: consume, apply a pure function, produce, commit. The only room that knows several others.

pub mod sink;
pub mod sink_metrics;

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
pub use crate::dead_letter::Stage;
use crate::http::Health;
use crate::metrics::Metrics;

/// What the stages share with the rest of the process.
#[derive(Clone)]
pub struct Process {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// Becomes true when the process shall end; threads look at it between batches.
    pub stop: watch::Receiver<bool>,
}

#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("the stage `{stage}` ended by itself")]
    Ended { stage: &'static str },
}

/// Runs the stages until told to stop.
pub fn run(config: Config, stages: &[Stage], process: Process) -> Result<(), StageError> {
    drop((config, process));
    stages.first().map_or(Ok(()), |stage| Err(StageError::Ended { stage: stage.name() }))
}
