//! The loaders, and how each is given rows and tells what it has written.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::client::{self, Client};
use crate::org::{Org, Row};
use crate::sink::Sink;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Loader {
    Rollbook,
    SimpleSalesforce,
    Jsforce,
}

impl Loader {
    pub const ALL: [Self; 3] = [Self::Rollbook, Self::SimpleSalesforce, Self::Jsforce];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rollbook => "rollbook",
            Self::SimpleSalesforce => "simple-salesforce",
            Self::Jsforce => "jsforce",
        }
    }

    /// As it stands in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rollbook => "Rollbook, `--stages sink`",
            Self::SimpleSalesforce => "simple-salesforce, `bulk2` upsert",
            Self::Jsforce => "jsforce, `upsert`, `allowRecursive`",
        }
    }

    pub fn install(self) {
        match self {
            // Cargo has built it.
            Self::Rollbook => {}
            Self::SimpleSalesforce => drop(client::python()),
            Self::Jsforce => drop(client::node()),
        }
    }
}

/// A loader that runs.
pub enum Running {
    Sink(Box<Sink>),
    Client(Client),
}

impl Running {
    /// `waiting` is there when it starts.
    pub fn start(loader: Loader, org: &Org, waiting: &[Row]) -> Self {
        let client = |command| {
            let mut client = Client::start(command, org);
            client.send(waiting);
            Self::Client(client)
        };
        match loader {
            Loader::Rollbook => Self::Sink(Box::new(Sink::start(org, waiting))),
            Loader::SimpleSalesforce => client(client::python()),
            Loader::Jsforce => client(client::node()),
        }
    }

    /// Waits until it takes rows.
    pub fn ready(&mut self) {
        match self {
            Self::Sink(sink) => sink.ready(),
            // It was when it had started.
            Self::Client(_) => {}
        }
    }

    pub fn send(&mut self, row: Row) {
        match self {
            Self::Sink(sink) => sink.send(&[row]),
            Self::Client(client) => client.send(&[row]),
        }
    }

    /// External ids of rows that it now knows to be in the org; none where nothing comes within the time.
    pub fn confirmed(&mut self, within: Duration) -> Vec<String> {
        match self {
            Self::Sink(sink) => sink.confirmed(within).into_iter().collect(),
            Self::Client(client) => client.confirmed(within),
        }
    }

    /// When its process was started.
    pub fn started(&self) -> Instant {
        match self {
            Self::Sink(sink) => sink.started,
            Self::Client(client) => client.started,
        }
    }

    pub fn process_id(&self) -> u32 {
        match self {
            Self::Sink(sink) => sink.process_id(),
            Self::Client(client) => client.process_id(),
        }
    }
}
