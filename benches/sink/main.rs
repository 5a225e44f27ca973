//! The same rows into Salesforce by Rollbook's sink, simple-salesforce and jsforce: `cargo bench --bench sink -- [ROWS]`.
//!
//! Each loader writes to an emulator of its own, fresh and equal, that adds latency to every call. A burst: all rows
//! wait when it starts. A trickle: rows come one by one. What a call costs is what the org counts, since a loader's own
//! count would leave out its questions. Afterwards the rows in all orgs must be the same: a loader that is fast because
//! it wrote something else fails the benchmark. benches/README.md has figures and says what limits each.

#[allow(dead_code, reason = "the benchmark against peers asks for memory, too")]
#[path = "../peers/child.rs"]
mod child;
#[allow(dead_code, unused_imports, reason = "the tests' harness; they use what this does not")]
#[path = "../../tests/it/harness/mod.rs"]
mod harness;
#[path = "../peers/machine.rs"]
mod machine;

mod client;
mod load;
mod loader;
mod options;
mod org;
mod sink;
mod table;

use std::collections::BTreeMap;

use clap::Parser;

use load::{Burst, Trickle, burst, trickle};
use loader::Loader;
use options::Options;
use org::{Org, Rows};

fn main() {
    let options = Options::parse();
    if !options.bench {
        println!("a benchmark: `cargo bench --bench sink`");
        return;
    }
    // What is installed once is not measured.
    harness::kafka();
    options.loaders().into_iter().for_each(Loader::install);
    let mut bursts: BTreeMap<(u64, Loader), Vec<Burst>> = BTreeMap::new();
    let mut trickles: BTreeMap<(u64, Loader), Trickle> = BTreeMap::new();
    let (mut same_burst, mut same_trickle) = (Same::default(), Same::default());
    for latency in options.latencies() {
        for round in 0..options.rounds {
            for loader in options.loaders() {
                let org = Org::fresh(options.rows, latency);
                let figures = burst(loader, &org);
                eprintln!("{latency:?}, burst, round {round}: {:17} {figures:?}", loader.name());
                same_burst.check(loader, &org.rows());
                bursts.entry((options::millis(latency), loader)).or_default().push(figures);
            }
        }
        for loader in options.loaders() {
            let due = options.trickle();
            let org = Org::fresh(due.len(), latency);
            let figures = trickle(loader, &org, &due);
            eprintln!("{latency:?}, trickle: {:17} {} calls", loader.name(), figures.calls);
            same_trickle.check(loader, &org.rows());
            trickles.insert((options::millis(latency), loader), figures);
        }
    }
    table::print(&options, &bursts, &trickles);
    println!("\nThe rows in all orgs are the same.");
}

/// The rows of the first run, which those of all others have to equal.
#[derive(Default)]
struct Same(Option<(Loader, Rows)>);

impl Same {
    fn check(&mut self, loader: Loader, rows: &Rows) {
        let (first, expected) = self.0.get_or_insert_with(|| (loader, rows.clone()));
        let keys = expected.keys().chain(rows.keys());
        let different = keys.into_iter().find(|key| expected.get(*key) != rows.get(*key));
        if let Some(key) = different {
            let (one, other) = (expected.get(key), rows.get(key));
            panic!("{key}: {} wrote {one:?}, {} wrote {other:?}", first.name(), loader.name());
        }
    }
}
