//! `rollbook run`: the stages, the metrics port, and an orderly end.
//!
//! The stages run on this thread and their own; the runtime here serves the port and listens for signals. The first
//! SIGTERM or Ctrl-C asks the stages to end, which they do after the batch at hand. A second one ends the process at
//! once; nothing is lost by that, as whatever was not committed is folded again.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cli::{Exit, Global, StageName};
use crate::dead_letter::Stage;
use crate::health::Health;
use crate::http::Server;
use crate::metrics::Metrics;
use crate::stage::{self, Process};
use crate::terminal;

/// What shells give a command that Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Stages that run in this process
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [StageName::Fold, StageName::Sink])]
    stages: Vec<StageName>,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let stages: Vec<Stage> = [Stage::Fold, Stage::Sink]
        .into_iter()
        .filter(|stage| arguments.stages.iter().any(|name| name.stage() == *stage))
        .collect();
    if stages.contains(&Stage::Sink) {
        config.require_salesforce()?;
    }
    terminal::show_bars();
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let (stop, stopped) = watch::channel(false);
    let process =
        Process { metrics: Arc::new(Metrics::new()), health: Arc::new(Health::default()), stop: stopped.clone() };
    let listen = config.http.listen;
    let server = runtime.block_on(Server::bind(listen)).with_context(|| format!("cannot listen on `{listen}`"))?;
    info!(address = %server.address, "serving metrics and health");
    let port = runtime.spawn(server.serve(Arc::clone(&process.metrics), Arc::clone(&process.health), stopped));
    let signals = runtime.block_on(async { Ok::<_, std::io::Error>([terminate()?, interrupt()?]) })?;
    runtime.spawn(end_at_signal(signals, stop.clone()));
    let ended = runtime.block_on(stage::run(config, &stages, process));
    stop.send_replace(true);
    let port = runtime.block_on(port);
    ended?;
    port.context("the metrics port panicked")?.context("the metrics port failed")?;
    info!("ended");
    Ok(Exit::Done)
}

fn terminate() -> std::io::Result<Signal> {
    signal(SignalKind::terminate())
}

fn interrupt() -> std::io::Result<Signal> {
    signal(SignalKind::interrupt())
}

#[expect(clippy::disallowed_methods, reason = "whoever asks twice does not wait for destructors")]
async fn end_at_signal([mut terminate, mut interrupt]: [Signal; 2], stop: watch::Sender<bool>) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    info!("ending after the work at hand; once more to end at once");
    stop.send_replace(true);
    next().await;
    warn!("ending at once; what was not committed is folded again");
    std::process::exit(EXIT_INTERRUPTED);
}
