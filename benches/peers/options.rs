//! What the command line says.

use clap::Parser;

use crate::peer::Peer;

/// Drain, Kafka Streams and Rollbook over the same records.
#[derive(Debug, Parser)]
pub struct Options {
    /// View events in the topic
    #[arg(default_value = "5_000_000", value_parser = count)]
    pub events: u64,
    /// Peers to run; all of them where none is named
    #[arg(long, value_enum, num_args = 1..)]
    pub only: Vec<Peer>,
    /// Times that each peer runs; the table has the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Members, with three entries each
    #[arg(long, default_value = "100_000", value_parser = count)]
    pub members: u64,
    /// Milliseconds between commits while behind: Rollbook's default for a backlog
    #[arg(long, default_value_t = 2_000)]
    pub commit_ms: u64,
    /// Threads that fold: of Kafka Streams and of Rollbook
    #[arg(long, default_value_t = 1)]
    pub threads: u32,
    /// Record cache of Kafka Streams, in megabytes; the default holds every member
    #[arg(long, default_value_t = 256)]
    pub cache_mb: u64,
    /// More options of Kafka Streams' Java machine
    #[arg(long, default_value = "-Xms1g -Xmx1g -XX:+UseParallelGC", allow_hyphen_values = true)]
    pub jvm: String,
    /// Passed by cargo
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    pub fn peers(&self) -> Vec<Peer> {
        if self.only.is_empty() { Peer::ALL.to_vec() } else { self.only.clone() }
    }
}

/// A number that may be written `5_000_000`.
fn count(text: &str) -> Result<u64, String> {
    let count = text.replace('_', "").parse().map_err(|_| "not a number".to_owned())?;
    if count == 0 { Err("nothing to do".to_owned()) } else { Ok(count) }
}
