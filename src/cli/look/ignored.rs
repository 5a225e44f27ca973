//! `rollbook ignored`: which records a running instance has ignored, and why.

use clap::Args;
use reqwest::Url;

use super::status;
use crate::cli::{Exit, Global, print_json};
use crate::event::Sample;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the instance serves metrics and health, as in http://10.0.0.7:9464; without it, `http.listen` of the
    /// configuration
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let Some(status) = status::of_instance(global, arguments.url.as_ref())? else { return Ok(Exit::Temporary) };
    if global.json {
        print_json(&serde_json::to_value(&status.ignored)?);
        return Ok(Exit::Done);
    }
    let Some(ignored) = status.ignored else {
        say!("this instance does not fold, so it ignores nothing");
        return Ok(Exit::Done);
    };
    for Sample { reason, kind, detail, records, topic, partition, offset, at, .. } in &ignored.samples {
        let at = at.map(|at| format!(", {at:.0}")).unwrap_or_default();
        say!("{reason}: {kind}: {detail}");
        say!("  {records} so far, the newest at {topic}/{partition}/{offset}{at}");
    }
    let count: i64 = ignored.records.values().sum();
    say!("{count} ignored since the start");
    Ok(Exit::Done)
}
