//! What is counted of memory, against what a process grows by.
//!
//! The budget `state.memory_max` is kept by the count. Each kind of history is measured in a process of its own, since
//! whatever else runs in one would be measured with it.

use std::env;
use std::fs;
use std::ops::RangeInclusive;
use std::process::Command;

use rollbook::event::{Act, Event, PollAnswer, Reaction, View};
use rollbook::fold::Aggregate;
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::lattice::Name;
use rollbook::store::{Store, piece_key};
use rollbook::time::Millis;

use crate::harness;

const NOON: Millis = 1_780_000_000_000;
/// Set where a process is to measure one kind.
const KIND: &str = "ROLLBOOK_IT_MEMORY_OF";

/// Per cent of what a process grows by. Tables and lists that have just doubled are half empty, so that the count is above
/// it where members hold little.
const COUNTED: RangeInclusive<usize> = 90..=135;

/// How many members, and what happened to each of them.
type Kind = (&'static str, u32, fn(MemberKey) -> Vec<Event<'static>>);

const KINDS: [Kind; 5] = [
    ("views", 40_000, |member| (0..3).map(|number| view(member, number * 20_000)).collect()),
    ("connections", 2_000, connections),
    ("texts and polls", 4_000, texts),
    ("reactions", 4_000, |member| {
        (0..200).map(|number| event(member, number, Act::Reaction(Reaction::Clap))).collect()
    }),
    ("entries", 800, |member| {
        let entries = (0..50).map(|number| Event { entry_id: Some(entry(number)), ..view(member, number) });
        entries.collect()
    }),
];

#[test]
fn what_is_counted_is_what_a_process_grows_by() {
    if let Some(kind) = env::var_os(KIND) {
        let (_, members, history) =
            KINDS.into_iter().find(|(name, ..)| *name == kind).expect("a kind that this process was started for");
        return measure(members, history);
    }
    for (kind, ..) in KINDS {
        let mut process = Command::new(env::current_exe().expect("this process has a file"));
        process.args(["--exact", "memory::what_is_counted_is_what_a_process_grows_by", "--nocapture"]).env(KIND, kind);
        let output = process.output().expect("this file runs");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("of memory, counted as"), "{kind}: {said}");
        println!("{kind}: {said}");
    }
}

fn measure(members: u32, history: fn(MemberKey) -> Vec<Event<'static>>) {
    let mut records = Vec::new();
    for number in 0..members {
        let member = member(number);
        let mut aggregate = Aggregate::default();
        for event in history(member) {
            aggregate.apply(&event);
        }
        records.push((piece_key(&member, None), aggregate.member.encode()));
        for (entry_id, piece) in aggregate.entries.iter() {
            records.push((piece_key(&member, Some(entry_id)), piece.encode()));
        }
    }
    let before = resident();
    let mut store = Store::default();
    for (key, value) in &records {
        store.partition(0).restore(key, value).expect("a state of this version");
    }
    let (grown, counted) = (resident() - before, store.memory());
    println!("{} bytes a member of memory, counted as {}", grown / members as usize, counted / members as usize);
    assert!(grown > 8 << 20, "{grown} bytes are too few to say something");
    assert!(COUNTED.contains(&(counted * 100 / grown)), "{counted} counted, {grown} grown");
}

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    // Without pages of the program itself, of which the kernel maps many more than are touched.
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

fn member(number: u32) -> MemberKey {
    let id = |text: &str| SalesforceId::parse(text).expect("an id");
    MemberKey { campaign: id("70103000000cnFX"), person: id(&format!("00Q{number:012}")) }
}

fn entry(number: Millis) -> Name {
    Name::from(format!("1_entry{number:02}").as_str())
}

fn event(member: MemberKey, number: Millis, act: Act<'static>) -> Event<'static> {
    let event = harness::events::event(format!("event-{number:08}"), NOON + number, act);
    Event { member, source: "kaltura/eu".into(), entry_id: Some(entry(1)), ..event }
}

fn view(member: MemberKey, start: Millis) -> Event<'static> {
    let view = View {
        live: true,
        play_id: Some("p1".into()),
        start: NOON + start,
        end: Some(NOON + start + 10_000),
        playhead: None,
        in_focus: true,
        full_screen: false,
        sound_on: true,
    };
    event(member, start, Act::View(view))
}

/// Forty connections, each left and joined again.
fn connections(member: MemberKey) -> Vec<Event<'static>> {
    let both = |number: Millis| {
        let connection = || Some(format!("connection-{}", number % 40).into());
        let joined = event(member, number * 2, Act::Join { connection: connection() });
        [joined, event(member, number * 2 + 1, Act::Leave { connection: connection() })]
    };
    (0..80).flat_map(both).collect()
}

/// Eight polls, by events that say everything that can be said.
fn texts(member: MemberKey) -> Vec<Event<'static>> {
    let poll = |number: Millis| {
        let answer = PollAnswer {
            poll_id: format!("poll-{number}").into(),
            poll_type: Some("crowd vote".into()),
            question: Some("How many partitions do you run?".into()),
            answer: "twelve; more than that".into(),
            position: Some(number),
        };
        Event {
            entry_name: Some("Kafka at three in the morning".into()),
            channel_id: Some(403),
            channel_name: Some("Track B".into()),
            email: Some(format!("{}@example.org", member.person).into()),
            user: Some("somebody".into()),
            ..event(member, number, Act::Poll(answer))
        }
    };
    (0..8).map(poll).collect()
}
