//! The log on stderr: what the stages say, and what librdkafka says.
//!
//! librdkafka's Rust client writes to the `log` crate. Without a bridge its warnings, such as a refused password or a
//! certificate that nobody signed, would be lost, and all that showed would be a broker that does not answer.

use std::io::{self, IsTerminal};

use anyhow::anyhow;
use log::{Level, Log, Metadata, Record};
use tracing::level_filters::LevelFilter;
use tracing::{debug, info, warn};
use tracing_subscriber::EnvFilter;

use super::LogFormat;
use crate::kafka::said;
use crate::terminal::LogWriter;

pub(super) fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(level)?;
    let colours = io::stderr().is_terminal() && format == LogFormat::Text;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogWriter).with_ansi(colours);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow!(error))?;
    log::set_logger(&Librdkafka).map_err(|error| anyhow!("{error}"))?;
    log::set_max_level(log::LevelFilter::Debug);
    Ok(())
}

/// Hands librdkafka's lines on; other crates that use `log` have nothing to tell an operator.
struct Librdkafka;

impl Log for Librdkafka {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().contains("rdkafka")
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let said = record.args().to_string();
        let said = said.strip_prefix("librdkafka: ").unwrap_or(&said);
        // Each of these repeats a line that names the broker and the reason.
        if said.starts_with("Global error") {
            return;
        }
        match record.level() {
            // librdkafka tries again by itself, so nobody has to act on the line alone. A dozen clients say it of each
            // broker, several times a second.
            Level::Error | Level::Warn => match said::line_again(said) {
                Some(1) => warn!(target: "librdkafka", "{said}"),
                Some(times) => warn!(target: "librdkafka", times, "{said}"),
                None => debug!(target: "librdkafka", "{said}"),
            },
            Level::Info => info!(target: "librdkafka", "{said}"),
            Level::Debug | Level::Trace => debug!(target: "librdkafka", "{said}"),
        }
    }

    fn flush(&self) {}
}
