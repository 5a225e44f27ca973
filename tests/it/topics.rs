//! The documents say of the topics what the table says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rollbook::dead_letter::Stage;
use rollbook::topic_table::{Access, Bytes, Cleanup, Partitions, Party, Personal, Reads, Role, Topic};

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file is there")
}

/// The rows of the table that begins with this line.
fn documented(head: &str) -> Vec<String> {
    let document = file("docs/topics.md");
    let (_, table) = document.split_once(head).unwrap_or_else(|| panic!("docs/topics.md has a table `{head}`"));
    table.lines().skip(2).take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

fn table(row: impl FnMut(Topic) -> String) -> Vec<String> {
    Topic::ALL.into_iter().map(row).collect()
}

fn old_records(topic: Topic) -> String {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let row = topic.row();
    let retention = row.made_with.iter().find(|(setting, _)| *setting == "retention.ms");
    match (row.cleanup, retention) {
        (Cleanup::Compact, _) => "compacted".to_owned(),
        (Cleanup::Delete, None) => "deleted".to_owned(),
        (Cleanup::Delete, Some((_, ms))) => {
            format!("deleted after {} days", ms.parse::<u64>().expect("milliseconds") / DAY_MS)
        }
    }
}

fn read(topic: Topic) -> &'static str {
    match topic.row().reads {
        Reads::Group(Stage::Fold) => "the fold's group",
        Reads::Group(Stage::Sink) => "the sink's group",
        Reads::Owner(Stage::Fold) => "the fold, each partition by its owner",
        Reads::Owner(Stage::Sink) => "the sink, each partition by its owner",
        Reads::Whole(Party::Stages) => "every instance, whole",
        Reads::Whole(Party::Stage(Stage::Fold)) => "every fold, whole",
        Reads::Whole(Party::Stage(Stage::Sink)) => "every sink, whole",
        Reads::Whole(Party::Tools) | Reads::People => "people",
    }
}

#[test]
fn the_document_says_what_each_topic_is() {
    let expected = table(|topic| {
        let row = topic.row();
        let partitions = match row.partitions {
            Partitions::Inputs => "inputs",
            Partitions::Homes => "homes",
            Partitions::Setting => "setting",
            Partitions::One => "1",
        };
        let bytes = match row.record {
            Bytes::Theirs => "theirs",
            Bytes::Batch => "1 MB",
            Bytes::Largest => "10 MiB",
            Bytes::Inputs => "as the inputs",
        };
        let personal = match row.personal {
            Personal::None => "none",
            Personal::Ids => "ids",
            Personal::Data => "**yes**",
        };
        let cells = [row.holds, row.record_key, partitions, &old_records(topic), bytes, read(topic), personal];
        format!("| `{}` | {} |", topic.default_name(), cells.join(" | "))
    });
    assert_eq!(documented("| topic | holds "), expected);
}

#[test]
fn the_document_says_who_needs_which_rights() {
    let expected = table(|topic| {
        let of_tools = topic.row().rights.iter().find(|(party, _)| *party == Party::Tools).map(|(_, access)| *access);
        let parties = [topic.access(&[Stage::Fold]), topic.access(&[Stage::Sink]), of_tools.unwrap_or_default()];
        let words = parties.map(|Access { read, write }| match (read, write) {
            (true, true) => "Read, Write",
            (true, false) => "Read",
            (false, true) => "Write",
            (false, false) => "",
        });
        format!("| `{}` | {} |", topic.default_name(), words.join(" | "))
    });
    assert_eq!(documented("| topic | an instance with the fold "), expected);
}

#[test]
fn every_document_names_all_topics_and_no_other() {
    let (example, security) = (file("rollbook.example.toml"), file("SECURITY.md"));
    let settings = example.split("# [topics]\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a section");
    let names = settings.lines().filter_map(|line| line.strip_prefix("# ")?.strip_suffix('"')?.split_once(" = \""));
    let names: BTreeSet<(&str, &str)> = names.collect();
    let table: BTreeSet<(&str, &str)> = Topic::ALL.into_iter().map(|it| (it.label(), it.default_name())).collect();
    assert_eq!(names, table, "rollbook.example.toml");

    let inputs = security.lines().find_map(|line| line.strip_prefix("| topics `")?.split_once("` | Read, Describe"));
    let inputs: BTreeSet<&str> = inputs.expect("SECURITY.md lists the inputs").0.split("`, `").collect();
    let theirs = Topic::ALL.into_iter().filter(|topic| !matches!(topic.row().role, Role::Rekeyed | Role::Own));
    assert_eq!(inputs, theirs.map(Topic::default_name).collect(), "SECURITY.md");
    let own = Topic::ALL.into_iter().filter(|topic| topic.own());
    let strays: Vec<Topic> = own.filter(|topic| !topic.default_name().starts_with("rollbook.")).collect();
    assert_eq!(strays, [], "SECURITY.md gives rights to `rollbook.*`");
}
