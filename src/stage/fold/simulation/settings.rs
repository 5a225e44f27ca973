//! The settings of a history: by chance, as far as they decide what may happen in it.

use std::path::Path;
use std::time::Duration;

use super::turns::Turns;
use crate::config::{Config, GroupProtocol};

pub(super) fn config(turns: &Turns) -> Config {
    let text = "[kafka]\nbootstrap = \"simulated:9092\"\n";
    let mut config = Config::parse(text, Path::new("."), &|_| None).expect("it is valid");
    let millis = |turns: &Turns, range| Duration::from_millis(turns.random(|rng| rng.u64(range)));
    if turns.chance(40) {
        config.fold.group_protocol = GroupProtocol::Consumer;
    }
    config.fold.commit_interval = millis(turns, 1..100);
    config.fold.commit_interval_behind = millis(turns, 100..500);
    config.state.save_interval = millis(turns, 1..1_000);
    // From a few members to all of them; often so little that records of a slow commit fill it, too.
    let bytes = if turns.chance(25) { 3_000..10_000 } else { 5_000..100_000 };
    config.state.memory_max = turns.random(|rng| rng.usize(bytes));
    config
}
