//! The peers: how each is started, what it writes, and when it is ready again.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;
use rdkafka::ClientConfig;
use rollbook::config::Topics;
use rollbook::topic_table::Topic;

use crate::harness::{self, Names, Node, free_port, http};
use crate::input::{Input, PARTITIONS};
use crate::options::Options;
use crate::{drain, streams};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Peer {
    DrainBatch,
    DrainPoll,
    StreamsDslRocksdb,
    StreamsDslMemory,
    StreamsProcessorRocksdb,
    StreamsProcessorMemory,
    Rollbook,
}

impl Peer {
    pub const ALL: [Self; 7] = [
        Self::DrainBatch,
        Self::DrainPoll,
        Self::StreamsDslRocksdb,
        Self::StreamsDslMemory,
        Self::StreamsProcessorRocksdb,
        Self::StreamsProcessorMemory,
        Self::Rollbook,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::DrainBatch => "drain-batch",
            Self::DrainPoll => "drain-poll",
            Self::StreamsDslRocksdb => "streams-dsl-rocksdb",
            Self::StreamsDslMemory => "streams-dsl-memory",
            Self::StreamsProcessorRocksdb => "streams-processor-rocksdb",
            Self::StreamsProcessorMemory => "streams-processor-memory",
            Self::Rollbook => "rollbook",
        }
    }

    /// As it stands in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::DrainBatch => "bare librdkafka, `rd_kafka_consume_batch_queue`",
            Self::DrainPoll => "bare librdkafka, `rd_kafka_consumer_poll`",
            Self::StreamsDslRocksdb => "Kafka Streams, DSL, RocksDB",
            Self::StreamsDslMemory => "Kafka Streams, DSL, in memory",
            Self::StreamsProcessorRocksdb => "Kafka Streams, Processor API, RocksDB",
            Self::StreamsProcessorMemory => "Kafka Streams, Processor API, in memory",
            Self::Rollbook => "Rollbook",
        }
    }

    /// Whether it keeps state and writes rows.
    pub fn folds(self) -> bool {
        !matches!(self, Self::DrainBatch | Self::DrainPoll)
    }
}

/// One run of one peer.
pub struct Run<'a> {
    pub peer: Peer,
    pub round: u32,
    pub broker: &'a Node,
    pub input: &'a Input,
    pub options: &'a Options,
}

impl Run<'_> {
    /// Name of all that is this run's alone: topics, group, folder.
    pub fn id(&self) -> String {
        format!("{}-{}", self.peer.name(), self.round)
    }

    /// The consumer group whose offsets say how far it is.
    pub fn group(&self) -> String {
        if self.peer == Peer::Rollbook { format!("{}-fold", self.id()) } else { self.id() }
    }

    /// The topic of rows.
    pub fn output(&self) -> String {
        format!("{}.upserts", self.id())
    }

    /// Whether a topic of this run is a changelog.
    pub fn changelog(&self, topic: &str) -> bool {
        topic == self.names().topics.state || topic.ends_with("-changelog")
    }

    /// Wiped between the run and the restore.
    pub fn folder(&self) -> PathBuf {
        harness::folder().join(self.id())
    }

    /// Client settings of its broker.
    pub fn client(&self) -> ClientConfig {
        harness::plain_client(&self.broker.bootstrap())
    }

    /// Topics that have to be there before it starts; Rollbook creates its own.
    pub fn prepare(&self) {
        if self.peer.folds() && self.peer != Peer::Rollbook {
            let settings = [("cleanup.policy", "compact")];
            harness::create(&self.client(), &[&self.output()], PARTITIONS, &settings);
        }
    }

    /// The command, and the port of its health where it has one.
    pub fn command(&self) -> (Command, Option<u16>) {
        fs::create_dir_all(self.folder()).expect("the target folder is writable");
        match self.peer {
            Peer::DrainBatch | Peer::DrainPoll => (drain::command(self), None),
            Peer::StreamsDslRocksdb
            | Peer::StreamsDslMemory
            | Peer::StreamsProcessorRocksdb
            | Peer::StreamsProcessorMemory => (streams::command(self), None),
            Peer::Rollbook => {
                let port = free_port();
                (self.rollbook(port), Some(port))
            }
        }
    }

    fn rollbook(&self, port: u16) -> Command {
        let options = self.options;
        let topics = toml::to_string(&self.names().topics).expect("topics are TOML");
        let text = format!(
            "application = \"{}\"\n[kafka]\nbootstrap = \"{}\"\n[topics]\n{topics}\n[fold]\nthreads = {}\n\
             commit_interval_behind = \"{}ms\"\n[state]\ndir = \"state\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n",
            self.id(),
            self.broker.bootstrap(),
            options.threads,
            options.commit_ms,
        );
        let file = self.folder().join("rollbook.toml");
        fs::write(&file, text).expect("the target folder is writable");
        let mut command = harness::command(&["run", "--stages", "fold", "--config"]);
        command.arg(file);
        command
    }

    /// Rollbook's topics: its own, but for the input.
    fn names(&self) -> Names {
        let mut names = harness::names("peers");
        let name = |topic: Topic| {
            if topic == Topic::Views {
                self.input.topic.clone()
            } else if topic == Topic::Upserts {
                self.output()
            } else {
                format!("{}.{}", self.id(), topic.label())
            }
        };
        let shape = names.topics;
        names.topics =
            Topics { partitions: PARTITIONS, replication_factor: shape.replication_factor, ..Topics::named(name) };
        names
    }
}

/// Whether a peer has its state back: what it says itself, over its port or in its log.
pub fn ready(log: &str, port: Option<u16>) -> Result<(), String> {
    if let Some(port) = port {
        let answer = http::get(&format!("http://127.0.0.1:{port}/readyz"))?;
        return if answer.status == 200 { Ok(()) } else { Err(answer.body) };
    }
    if log.contains(streams::RUNNING) { Ok(()) } else { Err("it does not say that it runs".to_owned()) }
}
