//! `rollbook demo`: a conference through everything, with nothing installed.

use anyhow::Context;
use clap::Args;
use secrecy::ExposeSecret;

use crate::cli::{Exit, Global, print_json};
use crate::demo::{Demo, Options};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The same seed makes the same conference
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// People in campaigns
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    members: u32,
    /// A real Kafka cluster in place of the built-in mock; topics of the demo's own are made there and stay
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    /// Leave everything running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let Arguments { seed, members, bootstrap, keep } = arguments;
    let members = usize::try_from(*members).context("so many members do not fit into memory")?;
    let mut demo = Demo::start(Options { seed: *seed, members, bootstrap: bootstrap.clone() })?;
    let report = demo.play()?;
    if global.json {
        print_json(&report.to_json());
    } else {
        say!("{report}");
    }
    if *keep {
        let credentials = demo.credentials();
        eprintln!("emulator       {}", demo.emulator_url());
        eprintln!("client id      {}", credentials.client_id);
        eprintln!("client secret  {}", credentials.client_secret.expose_secret());
        eprintln!("metrics        {}", demo.metrics_url());
        eprintln!("kafka          {}", demo.bootstrap());
        eprintln!("Ctrl-C ends it.");
        demo.keep().context("cannot wait for Ctrl-C")?;
    }
    demo.stop()?;
    Ok(if report.holds() { Exit::Done } else { Exit::Failed })
}
