//! `Rebuilding the state` in the runbook, followed to the letter: the commands are read out of the page and run as they
//! stand there, with Kafka's own tools. What the org holds has to survive.

use std::path::{Path, PathBuf};
use std::process::Command;

use rollbook::demo::reference::Rows;
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use serde_json::json;

use super::payload::record;
use super::world::{WITHIN, World};
use crate::harness::{self, Node, Record, Rollbook};

const RUNBOOK: &str = include_str!("../../../deploy/runbook.md");

/// The commands of the page, a block each, in order.
fn blocks() -> Vec<String> {
    let page = RUNBOOK.split("## Rebuilding the state\n").nth(1).expect("the page is there");
    let page = page.split("\n## ").next().expect("it has a text");
    let fenced = page.split("```").skip(1).step_by(2);
    fenced.map(|block| block.strip_prefix("bash\n").expect("they are commands").to_owned()).collect()
}

struct Site {
    world: World,
    config: PathBuf,
    port: u16,
}

impl Site {
    fn new() -> Self {
        let world = World::new("rebuild");
        let port = harness::free_port();
        let config = world.config("one", port);
        Self { world, config, port }
    }

    #[track_caller]
    fn start(&self, stages: &str) -> Rollbook {
        let name = format!("{}-one", self.world.names.prefix);
        Rollbook::start_stages(&name, &self.config, self.port, stages).ready()
    }

    /// Runs a block as a person would; the names are those of this installation.
    fn follow(&self, block: &str) -> (bool, String) {
        let (topics, prefix) = (&self.world.names.topics, &self.world.names.prefix);
        let rollbook = Path::new(env!("CARGO_BIN_EXE_rollbook")).parent().expect("it is in a folder");
        let tools = Node::tools().expect("Kafka's tools are fetched with the broker");
        let path = std::env::var_os("PATH").expect("there is one");
        let path = path.to_string_lossy();
        let inputs = [
            &topics.registrations,
            &topics.attendance,
            &topics.polls,
            &topics.reactions,
            &topics.views,
            &topics.sessions,
        ];
        let states = harness::folder().join("states/rollbook").join(prefix);
        assert!(states.is_dir(), "{} is where the instance keeps its states", states.display());
        let mut shell = Command::new("bash");
        shell
            .args(["-eu", "-o", "pipefail", "-c", block])
            .env("PATH", format!("{}:{}:{path}", rollbook.display(), tools.display()))
            .env("ROLLBOOK_CONFIG", &self.config)
            .env("BOOTSTRAP", harness::kafka().bootstrap())
            .env("GROUP", format!("{prefix}-fold"))
            .env("STATE", &topics.state)
            .env("INPUTS", inputs.map(String::as_str).join(" "))
            .env("STATE_FOLDER", states);
        let output = shell.output().expect("bash is there");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    #[track_caller]
    fn done(&self, block: &str) {
        let (done, said) = self.follow(block);
        assert!(done, "{block}\n{said}");
    }
}

/// What the org holds, whenever it was written.
fn values(world: &World) -> Rows {
    let mut rows = world.rows();
    for row in rows.values_mut() {
        row.retain(|name, _| !["LastModifiedDate", "SystemModstamp"].contains(&name.as_str()));
    }
    rows
}

#[track_caller]
fn stop(mut rollbook: Rollbook) {
    rollbook.process.signal("TERM");
    let status = rollbook.process.wait(WITHIN).unwrap_or_else(|why| panic!("it does not end: {why}"));
    assert!(status.success(), "{}", rollbook.process.log_tail());
}

#[test]
fn the_page_that_rebuilds_the_state_keeps_what_the_org_holds() {
    let site = Site::new();
    let world = &site.world;
    let claps = |member: MemberKey, ids: std::ops::Range<usize>| -> Vec<Record> {
        ids.map(|id| record(world, EventKind::Reaction, member, &format!("clap-{id}"), &json!({}))).collect()
    };
    let member = MemberKey { campaign: world.campaign("Day"), person: world.lead("ann") };
    let another = MemberKey { person: world.lead("bob"), ..member };
    let rollbook = site.start("fold,sink");
    let registered = json!({ "action": "CONFIRMED", "entry_id": null });
    harness::write(&world.client(), &claps(member, 0..500));
    harness::write(&world.client(), &claps(another, 0..20));
    harness::write(&world.client(), &[record(world, EventKind::Registration, member, "confirmed", &registered)]);

    let blocks = blocks();
    let [names, all_there, forget, forgotten, delete, folder, run_fold, fold_done, run, done] = blocks.as_slice()
    else {
        panic!("the page has other commands: {blocks:#?}")
    };
    site.done(done);
    let before = values(world);
    assert_eq!(before.len(), 4, "two members and their engagement: {before:#?}");

    site.done(names);
    site.done(all_there);
    stop(rollbook);
    // The static member is still known to the group, which is why the old page went wrong.
    site.done(forget);
    site.done(forgotten);
    site.done(delete);
    site.done(folder);
    assert_eq!(run_fold.trim(), "rollbook run --stages fold");
    let rollbook = site.start("fold");
    site.done(fold_done);
    assert!(values(world) == before, "nothing is written before all is folded");
    stop(rollbook);
    assert_eq!(run.trim(), "rollbook run");
    let rollbook = site.start("fold,sink");
    site.done(done);
    assert_eq!(values(world), before);
    // And the states are whole: one more is one more.
    harness::write(&world.client(), &claps(member, 500..501));
    site.done(done);
    let count = |rows: &Rows| {
        let of_member = rows.iter().filter(|((_, id), _)| id.starts_with(&member.to_string()));
        of_member.filter_map(|(_, row)| row.get("clap_clicked_count__c")?.as_f64()).sum::<f64>()
    };
    assert!(
        (count(&before) - 500.0).abs() < 0.1 && (count(&values(world)) - 501.0).abs() < 0.1,
        "{:#?}",
        values(world)
    );
    stop(rollbook);

    // Where events are gone, the first step says so and nothing was touched.
    harness::delete_below(&world.client(), world.topic(EventKind::Reaction), home(member), 3);
    let (there, said) = site.follow(all_there);
    assert!(!there && said.contains("events are gone below"), "{said}");
}

fn home(member: MemberKey) -> i32 {
    rollbook::route::partition(&member.bytes(), harness::PARTITIONS)
}
