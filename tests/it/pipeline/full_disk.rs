//! A full disk stops the commits and not the process. On a small file system of its own, where one can be mounted.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::conference::{org_equals_the_reference, storm};
use super::state_on_disk::world;
use super::world::{WITHIN, World, metric};
use crate::harness::{self, PARTITIONS, Rollbook};

const SIZE: &str = "size=48m";

/// A file system in memory. Gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where the tests may not mount.
    fn mount() -> Option<Self> {
        let folder = harness::folder().join("small-disk");
        fs::create_dir_all(&folder).expect("the target folder is writable");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(folder))
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).expect("a file fits");
        for size in [1 << 20, 4096, 1] {
            while file.write(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn failing(rollbook: &Rollbook) {
    harness::until("the disk to fail", WITHIN, || {
        let metrics = rollbook.get("/metrics")?.body;
        let failing = metric(&metrics, "rollbook_state_disk_failing", &[]);
        if failing == 1 { Ok(()) } else { Err(format!("{failing}\n{}", rollbook.process.log_tail())) }
    });
}

fn offsets(world: &World) -> Vec<Option<i64>> {
    let group = format!("{}-fold", world.names.prefix);
    world.names.inputs().flat_map(|input| harness::committed(&world.client(), &group, input, PARTITIONS)).collect()
}

/// Until it was tried again some more times, each a second after the last.
fn some_tries_later(rollbook: &Rollbook) {
    let before = Instant::now();
    harness::until("some more tries", WITHIN, || {
        if before.elapsed() > Duration::from_secs(4) { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
    let log = rollbook.process.log();
    assert_eq!(log.matches("nothing is folded until they can").count(), 1, "it is said once: {log}");
    assert!(!log.contains("states can be written to disk again"), "they cannot: {log}");
}

#[test]
fn a_full_disk_stops_the_commits_and_not_the_process() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a file system cannot be mounted here");
        return;
    };
    outlives_a_full_disk(&disk, &disk.0);
}

fn outlives_a_full_disk(disk: &SmallDisk, folder: &Path) {
    const SEED: u64 = 38;
    let world = world("disk-full", folder, "100KiB");
    let conference = world.conference(SEED, 300);
    let records = storm(SEED, &conference);
    let (first, rest) = records.split_at(records.len() / 2);
    let (second, third) = rest.split_at(rest.len() / 2);
    let mut one = world.start("one").ready();
    world.send(first);
    world.settle();
    disk.fill();
    world.send(second);
    failing(&one);
    let before = offsets(&world);
    world.send(third);
    let answer = one.get("/readyz").expect("the port answers");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("states cannot be written to disk"), "{}", answer.body);
    some_tries_later(&one);
    assert_eq!(one.get("/livez").expect("the port answers").status, 200);
    assert_eq!(offsets(&world), before);

    // Another one, whose disk is full from the start, takes some partitions over meanwhile.
    let mut two = world.start("two");
    failing(&two);
    some_tries_later(&one);
    disk.free();
    one.await_ready();
    two.await_ready();
    org_equals_the_reference(&world, &conference);
    for rollbook in [&one, &two] {
        assert_eq!(metric(&rollbook.metrics(), "rollbook_state_disk_failing", &[]), 0);
    }
}
