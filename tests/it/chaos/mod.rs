//! The crash proof: everything is killed with -9 again and again while a conference happens; no answer changes.
//!
//! ```text
//!  seed ─▶ plan: whom, when, what else goes wrong
//!            │
//!  storm ─ feeder ─▶ broker ─▶ fold, fold ─▶ sink ─▶ emulator --data        each a process of its own
//!    │                                                  │
//!    └─ events, statements ─▶ reference ─▶ verdict ◀────┴─ org, dead letters, outcomes, committed offsets
//! ```
//!
//! Counters end with their process, so the conservation equation is checked by what is durable: offsets, dead letters,
//! re-keyed records, outcomes, and the whole org. `ROLLBOOK_CHAOS_KILLS` and `ROLLBOOK_CHAOS_SEED` choose another run,
//! `ROLLBOOK_CHAOS_GROUP_PROTOCOL=consumer` the fold's other group protocol; with `KAFKA_BOOTSTRAP` the broker is somebody
//! else's and is left alone.

mod feeder;
mod org;
mod outages;
mod plan;
mod site;
mod storm;
mod verdict;

use std::thread;
use std::time::Instant;

use self::feeder::Feeder;
use self::plan::{Outage, Step};
use self::site::Site;
use self::storm::Storm;
use self::verdict::Verdict;

/// What a change has to pass; a long run is asked for by the environment.
const KILLS: usize = 20;
const SEED: u64 = 20_260_601;

/// A failure in any place says how to have it again.
struct Asked {
    seed: u64,
    kills: usize,
    protocol: String,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { seed, kills, protocol } = self;
            eprintln!(
                "ROLLBOOK_CHAOS_SEED={seed} ROLLBOOK_CHAOS_KILLS={kills} ROLLBOOK_CHAOS_GROUP_PROTOCOL={protocol} \
                 cargo test --test it no_kill_changes_an_answer -- --exact chaos::no_kill_changes_an_answer"
            );
        }
    }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let Some(text) = std::env::var_os(name) else { return default };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("`{name}` is no number"))
}

#[test]
fn no_kill_changes_an_answer() {
    let protocol = setting("ROLLBOOK_CHAOS_GROUP_PROTOCOL", "classic".to_owned());
    survive(setting("ROLLBOOK_CHAOS_SEED", SEED), setting("ROLLBOOK_CHAOS_KILLS", KILLS), protocol);
}

#[test]
fn no_kill_changes_an_answer_by_the_consumer_protocol() {
    survive(SEED, KILLS / 2, "consumer".to_owned());
}

fn survive(seed: u64, kills: usize, protocol: String) {
    let _asked = Asked { seed, kills, protocol: protocol.clone() };
    let started = Instant::now();
    let mut site = Site::open(protocol);
    let storm = Storm::brew(seed, kills, &site.people(storm::days(kills), storm::MEMBERS));
    let plan = plan::plan(seed, kills, site.owns_the_broker());

    site.start();
    let feeder = Feeder::start(&site, storm.chunks(kills));
    for step in &plan {
        feeder.release();
        take(&mut site, step);
    }
    let mut places = feeder.finish();
    let fed = started.elapsed();
    site.await_all();

    let verdict = Verdict { seed, site: &site, storm: &storm, places: &places };
    verdict.settles();
    verdict.org_is_right();
    // Once more from what is on the topics alone: a running fold, or its disk, may know better than they do. Every row is
    // derived again then, and what is sent twice shows that this is over.
    site.restart_without_disks();
    site.await_all();
    let again = Feeder::start(&site, vec![storm.chunks(kills).pop().expect("there is a chunk for each kill")]);
    again.release();
    places.extend(again.finish());
    let verdict = Verdict { seed, site: &site, storm: &storm, places: &places };
    verdict.settles();
    verdict.org_is_right();
    verdict.no_job_is_left();
    let conserved = verdict.everything_is_conserved();
    assert!(conserved.jobs > 0, "seed {seed}: some backlogs went as jobs");
    let (kills, took) = (site.kills, started.elapsed());
    println!("seed {seed}: {kills:?}, {conserved:?}; fed and killed in {fed:.1?}, {took:.1?} in all");
}

/// Lets trouble come, waits for the moment, kills, and starts again.
fn take(site: &mut Site, step: &Step) {
    site.second_fold(step.second_fold);
    if step.once_ready {
        site.await_ready(&step.victims);
    }
    site.trouble(&step.trouble);
    // The schedule: nothing else in this test is timed.
    thread::sleep(step.after);
    site.kill(&step.victims);
    if step.outage == Outage::Waited {
        site.await_ready(&step.victims);
    }
}
