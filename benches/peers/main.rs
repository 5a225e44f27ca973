//! The same records through Rollbook, Kafka Streams and a bare drain: `cargo bench --bench peers -- [EVENTS]`.
//!
//! One broker, one topic, one run: the peers take turns, `--rounds` times, so that a slow minute of the machine hits
//! all of them. Each is a process of its own, started with the whole topic already there; the clock stops when its
//! committed offsets have reached the end. What it wrote is read back, and the rows of some members must be the same
//! in all that fold. benches/README.md has figures and says what limits each.

#[allow(dead_code, unused_imports, reason = "the tests' harness; they use what this does not")]
#[path = "../../tests/it/harness/mod.rs"]
mod harness;
#[path = "../views/mod.rs"]
mod views;

mod child;
mod drain;
mod input;
mod machine;
mod measure;
mod options;
mod output;
mod peer;
mod streams;
mod table;

use std::collections::BTreeMap;

use clap::Parser;

use harness::Node;
use input::Input;
use measure::{Figures, measure};
use options::Options;
use output::Rows;
use peer::{Peer, Run};

/// What Kafka's own start script gives a broker, with the log where the harness wants it.
const BROKER_JVM: [&str; 5] =
    ["-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, drain, rest @ ..] = arguments.as_slice()
        && drain == drain::SUBCOMMAND
    {
        return drain::run(rest);
    }
    let options = Options::parse();
    if !options.bench {
        println!("a benchmark: `cargo bench --bench peers`");
        return;
    }
    let broker = start_broker().unwrap_or_else(|why| panic!("no Apache Kafka: {why}"));
    let input = Input::load(&harness::plain_client(&broker.bootstrap()), &options);
    eprintln!("{} events of {} bytes loaded in {:.1?}", options.events, input.event_bytes, input.took);
    let mut figures: BTreeMap<Peer, Vec<Figures>> = BTreeMap::new();
    let mut different: Vec<String> = Vec::new();
    let mut reference: Option<(Peer, Rows)> = None;
    for round in 0..options.rounds {
        for peer in options.peers() {
            let run = Run { peer, round, broker: &broker, input: &input, options: &options };
            let measured = measure(&run);
            eprintln!("round {round}: {:24} {}", peer.name(), measured.figures.line(options.events));
            if peer.folds() {
                let (first, rows) = reference.get_or_insert_with(|| (peer, measured.rows.clone()));
                different.extend(output::difference((*first, rows), (peer, &measured.rows)));
            }
            figures.entry(peer).or_default().push(measured.figures);
        }
    }
    table::print(&options, &input, &figures);
    assert!(different.is_empty(), "the peers do not fold the same:\n{}", different.join("\n"));
    if let Some((_, rows)) = reference {
        println!(
            "\nThe newest rows of {} members ({} rows) are the same in all that fold.",
            input.sample.len(),
            rows.len()
        );
    }
}

fn start_broker() -> Result<Node, String> {
    let mut node = Node::format(&harness::folder().join("broker"), "")?;
    node.start_on(&BROKER_JVM)?;
    node.await_answer()?;
    Ok(node)
}
