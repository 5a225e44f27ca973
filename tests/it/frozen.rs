//! An instance that stands still, is replaced, and wakes up: it still has states, and a catalogue that changes.

use std::fs;
use std::time::Duration;

use rollbook::fold::{Piece, decode_piece};

use crate::harness::{self, Names, Process, Record};

const CAMPAIGN: &str = "70103000000cnFXAAY";
const LEAD: &str = "00Q0300000AczgfEAB";
const ENTRY: &str = "1_abc";
const WITHIN: Duration = Duration::from_secs(90);

#[test]
fn an_instance_that_wakes_up_writes_nothing_over_its_successors_states() {
    let names = harness::names("frozen");
    let one = fold(&names, "one");
    harness::until("the topics", WITHIN, || {
        harness::partitions(&harness::kafka().client(), &names.topics.dead_letters)
    });
    write(&names, &[play(&names, "p1")]);
    plays_become(&names, 1);
    one.signal("STOP");
    // Nobody leaves: the second instance has the partitions when the group misses the first one.
    let _two = fold(&names, "two");
    write(&names, &[play(&names, "p2")]);
    plays_become(&names, 2);
    write(&names, &[session(&names, 1)]);
    one.signal("CONT");
    harness::until("the first instance to be a member again", WITHIN, || {
        let log = one.log();
        if log.matches("partitions assigned").count() > 1 { Ok(()) } else { Err(one.log_tail()) }
    });
    write(&names, &[session(&names, 2), play(&names, "p3")]);
    plays_become(&names, 3);
    let plays = plays(&names);
    assert!(plays.is_sorted(), "facts were written over: {plays:?}");
}

fn fold(names: &Names, instance: &str) -> Process {
    let topics = toml::to_string(&names.topics).expect("topics are TOML");
    let text = format!(
        "application = \"{}\"
[kafka]
bootstrap = \"{}\"
[kafka.properties]
\"session.timeout.ms\" = \"6000\"
\"heartbeat.interval.ms\" = \"500\"
[http]
listen = \"127.0.0.1:{}\"
[topics]
{topics}",
        names.prefix,
        harness::kafka().bootstrap(),
        harness::free_port(),
    );
    let folder = harness::folder().join(&names.prefix);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let file = folder.join(format!("{instance}.toml"));
    fs::write(&file, text).expect("the target folder is writable");
    let file = file.to_str().expect("the path is UTF-8");
    let mut command = harness::command(&["run", "--stages", "fold", "--config", file]);
    Process::spawn(instance, &mut command).expect("the binary is built")
}

fn play(names: &Names, play: &str) -> Record {
    let value = format!(
        r#"{{"event_id":"{play}","source":"test","occurred_at":"2026-03-01T10:00:00Z","campaign_id":"{CAMPAIGN}","lead_id":"{LEAD}","entry_id":"{ENTRY}","mode":"ON_DEMAND","play_id":"{play}"}}"#
    );
    Record::new(&names.topics.views, format!("{CAMPAIGN}_{LEAD}"), value)
}

fn session(names: &Names, version: u32) -> Record {
    let value = format!(
        r#"{{"event_id":"s{version}","source":"test","updated_at":"2026-03-0{version}T10:00:00Z","campaign_id":"{CAMPAIGN}","entry_id":"{ENTRY}","name":"Version {version}"}}"#
    );
    Record::new(&names.topics.sessions, format!("{CAMPAIGN}_{ENTRY}"), value)
}

fn write(names: &Names, records: &[Record]) {
    let places = harness::write(&harness::kafka().client(), records);
    assert_eq!(places.len(), records.len(), "of {}", names.prefix);
}

/// How many plays each record of the entry's state knows, in the order of the log.
fn plays(names: &Names) -> Vec<usize> {
    let known = |record: Record| match decode_piece(record.value.as_deref()?) {
        Ok(Piece::Entry(piece)) => Some(piece.plays.len()),
        Ok(Piece::Member(_)) => None,
        Err(error) => panic!("the state topic holds something else: {error}"),
    };
    harness::states(&harness::kafka().client(), &names.topics).into_iter().filter_map(known).collect()
}

fn plays_become(names: &Names, count: usize) {
    harness::until(&format!("{count} plays"), WITHIN, || {
        let plays = plays(names);
        if plays.last() == Some(&count) { Ok(()) } else { Err(format!("{plays:?}")) }
    });
}
