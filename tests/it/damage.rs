//! Whatever happens to the files of the states: what is read is what was written, or an error, or known to be missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rollbook::avro::Writer;
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::store::{Disk, DiskError, Identity, Marker, Shelf};

use crate::harness;

const NOON: i64 = 1_780_000_000_000;
const PARTITIONS: i32 = 3;
const MEMBERS: u32 = 1_500;

/// Every file below a folder that belongs to the database, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().components().any(|part| part.as_os_str() == "states") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Flips bytes of a file, cuts it, empties it or removes it. Returns what it did.
pub fn damage(rng: &mut fastrand::Rng, file: &Path) -> String {
    let mut bytes = fs::read(file).unwrap();
    let kind = rng.u8(..4);
    match kind {
        0 if !bytes.is_empty() => {
            for _ in 0..rng.usize(1..20) {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= rng.u8(1..);
            }
            fs::write(file, bytes).unwrap();
        }
        1 => {
            bytes.truncate(rng.usize(..=bytes.len()));
            fs::write(file, bytes).unwrap();
        }
        2 => fs::write(file, "").unwrap(),
        _ => fs::remove_file(file).unwrap(),
    }
    format!("{kind} to {}", file.display())
}

fn identity() -> Identity {
    Identity { cluster: "cluster".to_owned(), topic: "rollbook.state".to_owned() }
}

fn member(number: u32) -> MemberKey {
    MemberKey {
        campaign: SalesforceId::parse("70103000000cnFXAAY").unwrap(),
        person: SalesforceId::parse(&format!("00Q{number:012}")).unwrap(),
    }
}

/// What stands on disk after so many saves, by member.
type States = BTreeMap<u32, Vec<u8>>;

fn state(rng: &mut fastrand::Rng, save: i64) -> Vec<u8> {
    let mut state = Writer::default();
    state.long(save);
    state.0.extend((0..rng.usize(1..300)).map(|_| rng.u8(..)));
    state.0
}

/// Saves some times; returns the states after each save, by partition. The marker is the number of the save.
fn fill(rng: &mut fastrand::Rng, folder: &Path) -> Vec<Vec<States>> {
    let disk = Disk::open(folder, "it", 1_000).unwrap();
    let mut histories = Vec::new();
    let shelves: Vec<Shelf> = (0..PARTITIONS).map(|it| disk.shelf(it, &identity(), NOON).unwrap().0).collect();
    for shelf in &shelves {
        let mut now = States::new();
        let mut history = vec![now.clone()];
        for save in 1..6 {
            let chosen: Vec<u32> = (0..MEMBERS).filter(|_| rng.u8(..3) == 0).collect();
            let changed: States = chosen.into_iter().map(|it| (it, state(rng, save))).collect();
            let keyed: Vec<_> = changed.iter().map(|(number, state)| (member(*number).bytes(), state)).collect();
            let marker = Marker { next_offset: save, catalogue: 1, saved_at: NOON };
            shelf.save(keyed.iter().map(|(key, state)| (&key[..], &state[..])), Some(marker)).unwrap();
            now.extend(changed);
            history.push(now.clone());
        }
        histories.push(history);
    }
    histories
}

/// How many states were read, as they were at some save.
fn read(disk: &Disk, partition: i32, history: &[States], told: &str) -> Result<usize, DiskError> {
    let (shelf, marker) = disk.shelf(partition, &identity(), NOON)?;
    let save = marker.map_or(0, |marker| usize::try_from(marker.next_offset).unwrap());
    let mut read = 0;
    for number in 0..MEMBERS {
        let found = shelf.get(&member(number))?;
        assert_eq!(found.as_deref(), history[save].get(&number).map(Vec::as_slice), "{told}, member {number}");
        read += usize::from(found.is_some());
    }
    let listed = shelf.members(b"", b"", usize::MAX)?;
    assert_eq!(listed.len(), history[save].len(), "{told}");
    Ok(read)
}

#[test]
fn damaged_files_are_never_taken_for_states() {
    let (mut whole, mut torn) = (0, 0);
    for seed in 0..24 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let folder = harness::private_folder();
        let histories = fill(&mut rng, folder.path());
        let files = files(folder.path());
        let file = &files[rng.usize(..files.len())];
        let told = format!("seed {seed}: {}", damage(&mut rng, file));
        let disk = Disk::open(folder.path(), "it", 1_000).unwrap();
        for (partition, history) in (0..).zip(&histories) {
            match read(&disk, partition, history, &told) {
                Ok(0) | Err(_) => torn += 1,
                Ok(_) => whole += 1,
            }
        }
    }
    assert!(whole > 0 && torn > 0, "{whole} partitions were whole, {torn} were not");
}

#[test]
fn a_keyspace_whose_list_of_files_is_gone_is_not_taken_for_an_empty_one() {
    for gone in ["current", "keyspaces"] {
        let folder = harness::private_folder();
        fill(&mut fastrand::Rng::with_seed(7), folder.path());
        for keyspace in fs::read_dir(folder.path().join("it/0/states/keyspaces")).unwrap().flatten() {
            match gone {
                "current" => fs::remove_file(keyspace.path().join("current")).unwrap(),
                _ => fs::remove_dir_all(keyspace.path()).unwrap(),
            }
        }
        let disk = Disk::open(folder.path(), "it", 1_000).unwrap();
        for partition in 0..PARTITIONS {
            assert_eq!(disk.shelf(partition, &identity(), NOON).unwrap().1, None, "{gone}");
        }
    }
}

#[test]
fn what_is_reached_again_is_what_was_left_or_an_error() {
    let folder = harness::private_folder();
    let mut disk = Disk::open(folder.path(), "it", 6).unwrap();
    let (shelf, marker) = disk.shelf(0, &identity(), NOON).unwrap();
    assert_eq!(marker, None);
    // Moved out of memory before anything was saved: there is no marker yet.
    shelf.save([(&member(1).bytes()[..], &b"state"[..])].into_iter(), None).unwrap();
    drop(shelf);
    disk.reopen().unwrap();
    assert_eq!(disk.reach(0, &identity()).unwrap().get(&member(1)).unwrap().as_deref(), Some(&b"state"[..]));
    assert!(matches!(disk.reach(1, &identity()), Err(DiskError::Lost)));
    disk.discard().unwrap();
    assert!(matches!(disk.reach(0, &identity()), Err(DiskError::Lost)));
}
