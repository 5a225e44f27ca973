//! States read back, and what they take: `cargo bench --bench store -- [MEMBERS]`.
//!
//! Changelog records of members (by default 500,000) with one entry each, typical small states, in random order: how many
//! are restored per second of one core, and how many bytes a piece takes in memory; the same with a budget that holds a
//! tenth of them, the rest on disk; the memory that a hundred partitions take beyond their budget; what a member costs who
//! floods one session with reactions; and the states of the demo's conference. No broker: what reading the topic costs is
//! measured beside other consumers.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rollbook::demo::conference::{self, People};
use rollbook::event::{Act, Event, EventKind, Reaction, View};
use rollbook::fold::{Aggregate, RowMark};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::lattice::Name;
use rollbook::store::{BESIDE_BYTES, Disk, Identity, Store, piece_key};
use rollbook::time::Millis;
use rollbook::upsert::{Lane, Object};

const NOON: Millis = 1_780_000_000_000;
const PARTITION: i32 = 0;
const DEFAULT_MEMBERS: u32 = 500_000;
/// A commit of a partition that has been folded for a month.
const COMMIT: u64 = 25_000_000;
const SENT: RowMark = RowMark { hash: u64::MAX / 3, sent: true };
/// Argument of a process that measures nothing else.
const MANY_PARTITIONS: &str = "partitions";

fn main() {
    let argument = std::env::args().skip(1).find_map(|arg| arg.replace('_', "").parse().ok());
    let members: u32 = argument.unwrap_or(DEFAULT_MEMBERS);
    let mut records = records(members);
    fastrand::Rng::with_seed(7).shuffle(&mut records);
    let bytes: usize = records.iter().map(|(_, value)| value.len()).sum();
    println!("{} states of {} bytes", records.len(), bytes / records.len().max(1));

    if std::env::args().any(|argument| argument == MANY_PARTITIONS) {
        return many_partitions(&records);
    }
    let budget = in_memory(&records) / 10;

    let folder = tempfile::tempdir().expect("a folder for the states");
    let disk = Disk::open(folder.path(), "bench", 1).expect("the folder is writable");
    let (shelf, marker) = disk.shelf(PARTITION, &identity(), NOON).expect("an empty disk");
    let mut store = Store::default();
    store.partition(PARTITION).put_on(shelf, marker);
    let spent = clock(|| restore(&mut store, &records, budget));
    report("a tenth in memory", records.len(), spent);
    println!("  {} MB counted in memory", store.memory() >> 20);
    drop(store);
    // In a process of its own: one that has freed memory takes that again before it grows.
    let this = std::env::current_exe().expect("this process has a file");
    let child = Command::new(this).args([&members.to_string(), MANY_PARTITIONS]).status();
    assert!(child.is_ok_and(|status| status.success()), "the measurement of many partitions failed");
    flood();
    in_conference();
}

/// How fast they come into memory, and what they take there. Returns what is counted for it.
fn in_memory(records: &[(Vec<u8>, Vec<u8>)]) -> usize {
    let before = resident("VmRSS");
    let mut store = Store::default();
    let spent = clock(|| restore(&mut store, records, usize::MAX));
    report("all in memory", records.len(), spent);
    let (grown, pieces) = (resident("VmRSS").saturating_sub(before), records.len().max(1));
    println!("  {} bytes of memory a piece, counted as {}", grown / pieces, store.memory() / pieces);
    store.memory()
}

/// The same states on many partitions of one instance, with a budget for some of them: what the process takes at most,
/// beyond what it had before.
fn many_partitions(records: &[(Vec<u8>, Vec<u8>)]) {
    const PARTITIONS: i32 = 100;
    const BUDGET: usize = 16 << 20;
    let folder = tempfile::tempdir().expect("a folder for the states");
    let disk = Disk::open(folder.path(), "bench", PARTITIONS).expect("the folder is writable");
    let mut store = Store::default();
    for partition in 0..PARTITIONS {
        let (shelf, marker) = disk.shelf(partition, &identity(), NOON).expect("an empty disk");
        store.partition(partition).put_on(shelf, marker);
    }
    let before = resident("VmRSS");
    let mut counted = 0;
    for turn in records.chunks(10_000) {
        for (key, value) in turn {
            // Any way of spreading members will do.
            let number = key.iter().skip(19).fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(*byte));
            let member = i32::try_from(number % PARTITIONS.unsigned_abs()).expect("a hundred at most");
            store.partition(member).restore(key, value).expect("a state of this version");
        }
        counted = counted.max(store.memory());
        store.evict(BUDGET, 0).expect("the disk takes it");
    }
    let peak = resident("VmHWM").saturating_sub(before);
    println!(
        "{PARTITIONS} partitions, {} MB of states in memory at most: the process grows by {} MB",
        counted >> 20,
        peak >> 20
    );
    println!("  budget {} MB, beside it {} MB for the disk", BUDGET >> 20, BESIDE_BYTES >> 20);
}

/// What states take that hold everything: texts, polls, reactions, connections.
fn in_conference() {
    const MEMBERS: usize = 5_000;
    let id = |prefix: &str, number: usize| SalesforceId::parse(&format!("{prefix}{number:012}")).expect("an id");
    let (leads, contacts) = conference::people_wanted(MEMBERS);
    let people = People {
        campaigns: (0..conference::CAMPAIGNS).map(|number| id("701", number)).collect(),
        leads: (0..leads).map(|number| id("00Q", number)).collect(),
        contacts: (0..contacts).map(|number| id("003", number)).collect(),
    };
    let mut aggregates: BTreeMap<MemberKey, Aggregate> = BTreeMap::new();
    for event in &conference::generate(1, MEMBERS, &people).events {
        aggregates.entry(event.member).or_default().apply(event);
    }
    let (mut members, mut entries) = (Vec::new(), Vec::new());
    for (member, mut aggregate) in aggregates {
        // As they are once their rows were sent.
        aggregate.member.marks.note_row(Object::CAMPAIGN_MEMBER.number(), SENT);
        aggregate.member.marks.written_by(COMMIT);
        members.push((piece_key(&member, None), aggregate.member.encode()));
        for (entry_id, piece) in aggregate.entries.values_mut() {
            if piece.counted {
                piece.marks.note_row(Object::ENGAGEMENT.number(), SENT);
            }
            if !piece.polls.is_empty() {
                piece.marks.note_row(Object::POLLS.number(), SENT);
            }
            piece.marks.written_by(COMMIT);
            entries.push((piece_key(&member, Some(entry_id)), piece.encode()));
        }
    }
    let mean = |records: &[(Vec<u8>, Vec<u8>)]| {
        records.iter().map(|(_, value)| value.len()).sum::<usize>() / records.len().max(1)
    };
    println!(
        "a conference: {} members of {} bytes, {} of their entries of {} bytes",
        members.len(),
        mean(&members),
        entries.len(),
        mean(&entries)
    );
    members.append(&mut entries);
    let mut store = Store::default();
    let spent = clock(|| restore(&mut store, &members, usize::MAX));
    report("a conference", members.len(), spent);
    println!("  {} bytes of memory a piece are counted", store.memory() / members.len());
}

fn identity() -> Identity {
    Identity { cluster: "bench".to_owned(), topic: "state".to_owned() }
}

/// One member who sends a million reactions, each another event.
fn flood() {
    const EVENTS: u32 = 1_000_000;
    let mut store = Store::default();
    let member = member(1);
    let spent = clock(|| {
        for number in 0..EVENTS {
            let event_id = number.to_string().into();
            let kind = EventKind::Reaction;
            let event = Event { event_id, kind, act: Act::Reaction(Reaction::Clap), ..watched(member, NOON) };
            store.partition(PARTITION).fold(&event, NOON, Lane::Live);
        }
    });
    report("a million reactions of one member", EVENTS as usize, spent);
    let aggregate = store.partition(PARTITION).aggregate(&member).expect("it was folded");
    let record: usize = aggregate.entries.iter().map(|(_, piece)| piece.encode().len()).sum();
    println!("  its state is a record of {} MB", record >> 20);
}

fn restore(store: &mut Store, records: &[(Vec<u8>, Vec<u8>)], budget: usize) {
    for turn in records.chunks(10_000) {
        for (key, value) in turn {
            store.partition(PARTITION).restore(key, value).expect("a state of this version");
        }
        store.evict(budget, 0).expect("the disk takes it");
    }
}

/// A member's own piece, and that of the session that it watched.
fn records(members: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    for number in 0..members {
        let member = member(number);
        let mut aggregate = Aggregate::default();
        for stretch in [0, 10_000, 60_000] {
            aggregate.apply(&watched(member, NOON + stretch));
        }
        records.push((piece_key(&member, None), aggregate.member.encode()));
        for (entry_id, piece) in aggregate.entries.iter() {
            records.push((piece_key(&member, Some(entry_id)), piece.encode()));
        }
    }
    records
}

fn member(number: u32) -> MemberKey {
    let id = |text: &str| SalesforceId::parse(text).expect("an id");
    MemberKey { campaign: id("70103000000cnFX"), person: id(&format!("00Q{number:012}")) }
}

fn watched(member: MemberKey, start: Millis) -> Event<'static> {
    Event {
        member,
        kind: EventKind::View,
        source: "kaltura".into(),
        event_id: start.to_string().into(),
        occurred_at: start + 10_000,
        entry_id: Some(Name::from("1_entry01")),
        entry_name: None,
        channel_id: None,
        channel_name: None,
        email: None,
        user: None,
        act: Act::View(View {
            live: true,
            play_id: Some("p1".into()),
            start,
            end: Some(start + 10_000),
            playhead: None,
            in_focus: true,
            full_screen: false,
            sound_on: true,
        }),
    }
}

fn report(name: &str, states: usize, (core, wall): (Duration, Duration)) {
    let count = f64::from(u32::try_from(states).unwrap_or(u32::MAX));
    let per_second = |time: Duration| count / time.as_secs_f64();
    println!("{name}: {:.0} a second of one core, {:.0} of time", per_second(core), per_second(wall));
}

/// Of this thread on a core, and by the clock.
fn clock(work: impl FnOnce()) -> (Duration, Duration) {
    let (core, wall) = (on_cpu(), Instant::now());
    work();
    (on_cpu().saturating_sub(core), wall.elapsed())
}

fn on_cpu() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = statistics.split(' ').next().and_then(|first| first.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// Bytes of memory that the process has (`VmRSS`), or had at most (`VmHWM`); 0 elsewhere than on Linux.
fn resident(what: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().map_or(0, |kilobytes| kilobytes << 10)
}
