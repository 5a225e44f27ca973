//! The notes as stages and tools see them, on a real broker.

use std::sync::Arc;
use std::time::Duration;

use rollbook::kafka::notes::{self, Notes};
use rollbook::kafka::topics::{Survey, absent};
use rollbook::kafka::watch::Watch;
use rollbook::note::Note;
use rollbook::topic_table::Topic;
use tokio::sync::watch;

use super::config;
use crate::harness::{self, Record, until};

const WITHIN: Duration = Duration::from_mins(1);

#[test]
fn what_a_stage_and_a_tool_note_is_known_to_all_and_after_a_restart() {
    let names = harness::names("notes");
    let broker = harness::kafka();
    let mut config = config(broker.bootstrap(), "http://localhost:1", "id", "secret");
    config.topics = names.topics.clone();
    let partitions = absent(&config.topics, &Survey::new());
    assert!(partitions.contains(&(Topic::Notes, 1)), "one order of all notes");
    let policy = ("cleanup.policy", Topic::Notes.row().cleanup.policy());
    harness::create(&broker.client(), &[&names.topics.notes], 1, &[policy]);

    let follow = || {
        let (stop, stopped) = watch::channel(false);
        let (ends, config) = (stopped.clone(), Arc::new(config.clone()));
        let kafka = Watch::start(&config, (Arc::default(), Arc::default()), move || *ends.borrow()).unwrap();
        let (notes, follower) = Notes::open(&config, &kafka).unwrap();
        (notes, stop, std::thread::spawn(move || follower.run(&stopped)))
    };
    let (stage, stop, thread) = follow();
    assert_eq!(stage.known(), None, "nothing is known before it was read");
    let gap = Note::new("gap", 7).with("cause", "retention");
    stage.put("gap/views/3", Some(&gap)).unwrap();
    stage.put("org", Some(&Note::new("org", 8).with("id", "00D1"))).unwrap();
    let knows = |notes: &Notes, keys: &[&str]| {
        until("notes", WITHIN, || {
            let known = notes.known().ok_or("not read yet")?;
            let found: Vec<_> = known.keys().map(String::as_str).collect();
            if found == keys { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    knows(&stage, &["gap/views/3", "org"]);
    // Not ours, or of a later version: passed over.
    harness::write(&broker.client(), &[Record::new(&names.topics.notes, "later", "no note")]);
    notes::write(&config, "org", Some(&Note::new("org", 9).with("id", "00D2"))).unwrap();
    notes::write(&config, "gap/views/3", None).unwrap();
    knows(&stage, &["org"]);
    assert_eq!(stage.known().unwrap()["org"].get("id"), Some("00D2"));
    assert_eq!(notes::read(&config).unwrap(), *stage.known().unwrap());
    stop.send_replace(true);
    thread.join().unwrap();

    let (again, stop, thread) = follow();
    knows(&again, &["org"]);
    stop.send_replace(true);
    thread.join().unwrap();
}
