//! States that go to disk and come back are what they would have been in memory, whatever happens in between.
//!
//! A partition over a real disk lives through a random history of events, commits, evictions, saves and crashes; beside it
//! stand the changelog that its commits make, and a partition that never leaves memory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, with what it saw"
)]

use std::collections::BTreeMap;
use std::path::Path;

use rollbook::avro::Writer;
use rollbook::config::Topics;
use rollbook::event::{Decoded, Decoder, Event, EventKind, Record, Session, SessionKey};
use rollbook::fold::{Aggregate, Catalogue};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::kafka::transaction::Records;
use rollbook::stage::fold::commit::{Again, Changes};
use rollbook::stage::fold::tally::Tally;
use rollbook::store::{Disk, Identity, Marker, Store};
use rollbook::topic_table::Topic;
use rollbook::upsert::{Lane, ReadUpsert, Value};

use crate::harness;

const PARTITION: i32 = 3;
const NOON: i64 = 1_780_000_000_000;
const MEMBERS: u32 = 40;

type Changelog = Vec<(Vec<u8>, Vec<u8>)>;
type Rows = BTreeMap<Vec<u8>, Vec<(String, Value)>>;

fn identity() -> Identity {
    Identity { cluster: "cluster".to_owned(), topic: "rollbook.state".to_owned() }
}

/// An event of one of the members, as JSON.
fn event(rng: &mut fastrand::Rng, number: usize) -> (EventKind, String) {
    let person = format!("00Q{:012}", rng.u32(..MEMBERS));
    let campaign = ["70103000000cnFXAAY", "70103000000cnFYAAY"][rng.usize(..2)];
    let entry = rng.u8(..3);
    let at = NOON + rng.i64(0..100_000) * 1_000;
    let head = format!(
        r#""event_id":"{number}","source":"s","occurred_at":{at},"campaign_id":"{campaign}","lead_id":"{person}","entry_id":"1_e{entry}""#
    );
    match rng.u8(..4) {
        0 => (EventKind::Registration, format!(r#"{{{head},"action":"REGISTERED"}}"#)),
        1 => (EventKind::Reaction, format!(r#"{{{head},"reaction":"CLAP"}}"#)),
        2 => (EventKind::Attendance, format!(r#"{{{head},"action":"JOIN","connection_id":"c{}"}}"#, rng.u8(..2))),
        _ => {
            let end = at + rng.i64(0..50_000);
            let kind = if rng.bool() { "LIVE" } else { "REPLAY" };
            let view = format!(r#""mode":"{kind}","started_at":{at},"ended_at":{end},"play_id":"p{}""#, rng.u8(..5));
            (EventKind::View, format!("{{{head},{view}}}"))
        }
    }
}

fn decode<'r>(decoder: &Decoder, (kind, json): &'r (EventKind, String)) -> Event<'r> {
    let record = Record { kind: Some(*kind), key: None, value: Some(json.as_bytes()), timestamp: None, headers: &() };
    match decoder.decode(&record).unwrap() {
        Decoded::Event(event) => event,
        other @ (Decoded::Ignored(_) | Decoded::Refused(_)) => panic!("{json} is no event: {other:?}"),
    }
}

/// What runs: a store over a disk, and what stands in Kafka.
struct Run<'a> {
    folder: &'a Path,
    disk: Option<Disk>,
    store: Store,
    commit: u64,
    /// Committed records of the state, and committed rows by their keys.
    changelog: Changelog,
    rows: Rows,
    /// How many events are committed, of those that were read.
    committed: usize,
    read: usize,
    loaded: u64,
    evicted: usize,
    again: Again,
    /// Most bytes that a commit was made of.
    commit_bytes: usize,
}

impl<'a> Run<'a> {
    fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            disk: None,
            store: Store::default(),
            commit: 0,
            changelog: Vec::new(),
            rows: Rows::new(),
            committed: 0,
            read: 0,
            loaded: 0,
            evicted: 0,
            again: Again::default(),
            commit_bytes: 0,
        }
    }

    fn start(&mut self) {
        self.store = Store::default();
        self.disk = None;
        let disk = Disk::open(self.folder, "it", 6).unwrap();
        let (shelf, marker) = disk.shelf(PARTITION, &identity(), NOON).unwrap();
        self.disk = Some(disk);
        let partition = self.store.partition(PARTITION);
        partition.put_on(shelf, marker);
        let from = usize::try_from(partition.restored_to).unwrap();
        for (key, value) in &self.changelog[from..] {
            partition.restore(key, value).unwrap();
        }
        self.read = self.committed;
    }

    fn fold(&mut self, event: &Event<'_>) {
        self.loaded += self.store.load(&[(PARTITION, event)]).unwrap();
        self.store.partition(PARTITION).fold(event, NOON, Lane::Live);
        self.read += 1;
    }

    /// A commit that reaches Kafka, or dies before it does. With what it takes to be saved, where it is time.
    fn commit(&mut self, catalogue: &Catalogue, dies: bool, saves: bool) {
        self.commit += 1;
        let (topics, mut tally, mut records) = (Topics::default(), Tally::default(), Records::default());
        let (tally, written) = (&mut tally, &mut records);
        let mut changes = Changes {
            topics: &topics,
            catalogue,
            tally,
            records: written,
            now: NOON,
            commit: self.commit,
            again: self.again,
        };
        changes.collect(&mut self.store).unwrap();
        self.commit_bytes = self.commit_bytes.max(records.bytes());
        let snapshot = saves.then(|| self.store.partition(PARTITION).snapshot(self.commit));
        // While the commit is in flight: nothing of it may leave yet.
        self.evicted += self.store.evict(1, self.commit - 1).unwrap();
        if dies {
            return;
        }
        for (topic, record) in records.iter() {
            let (key, value) = (record.key.unwrap().to_vec(), record.value.unwrap().to_vec());
            if topic == Topic::State {
                self.changelog.push((key, value));
            } else {
                assert_eq!(topic, Topic::Upserts);
                let fields = ReadUpsert::decode(&value).unwrap().fields;
                self.rows.insert(key, fields.into_iter().map(|(name, value)| (name.into_owned(), value)).collect());
            }
        }
        self.committed = self.read;
        if let Some(snapshot) = snapshot {
            let next_offset = i64::try_from(self.changelog.len()).unwrap();
            let marker = Marker { next_offset, catalogue: 1, saved_at: NOON };
            let partition = self.store.partition(PARTITION);
            snapshot.save(partition.shelf().unwrap(), Some(marker)).unwrap();
        }
    }

    fn evict(&mut self) {
        self.evicted += self.store.evict(1, self.commit).unwrap();
    }

    /// Every member, from wherever it is.
    fn aggregate(&mut self, member: &MemberKey) -> Vec<u8> {
        let partition = self.store.partition(PARTITION);
        partition.load(member).unwrap();
        partition.aggregate(member).map(bytes).unwrap_or_default()
    }
}

/// What an aggregate says, without what was sent of it.
fn bytes(aggregate: &Aggregate) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(&aggregate.member.encode_facts());
    for (id, entry) in aggregate.entries.iter() {
        out.text(id);
        out.bytes(&entry.encode_facts());
    }
    out.0
}

fn members() -> impl Iterator<Item = MemberKey> {
    (0..MEMBERS).flat_map(|person| {
        ["70103000000cnFXAAY", "70103000000cnFYAAY"].map(|campaign| MemberKey {
            campaign: SalesforceId::parse(campaign).unwrap(),
            person: SalesforceId::parse(&format!("00Q{person:012}")).unwrap(),
        })
    })
}

/// One history. Returns how many members came from disk, and how many went there.
fn live_through(seed: u64) -> (u64, usize) {
    let folder = harness::private_folder();
    let mut rng = fastrand::Rng::with_seed(seed);
    let decoder = Decoder::new(1 << 20);
    let texts: Vec<(EventKind, String)> = (0..400).map(|number| event(&mut rng, number)).collect();
    let events: Vec<Event<'_>> = texts.iter().map(|text| decode(&decoder, text)).collect();
    let mut catalogue = Catalogue::default();
    let mut run = Run::new(folder.path());
    run.start();
    let mut renamed = 0;
    while run.committed < events.len() || renamed < 3 {
        match rng.u8(..20) {
            0..12 if run.read < events.len() => run.fold(&events[run.read]),
            12..15 => run.commit(&catalogue, false, rng.bool()),
            15..18 => run.evict(),
            18 if rng.u8(..4) == 0 => {
                renamed += 1;
                let key = SessionKey {
                    campaign: SalesforceId::parse("70103000000cnFX").unwrap(),
                    entry_id: Some("1_e1".to_owned()),
                };
                catalogue.apply(session(key.clone(), renamed));
                run.store.partition(PARTITION).derive_again(&key, NOON);
            }
            19 if rng.u8(..4) == 0 => {
                run.commit(&catalogue, true, rng.bool());
                run.start();
                run.store.partition(PARTITION).derive_all(NOON);
            }
            _ => {}
        }
    }
    // What waits to be derived again is taken some at a time.
    while run.store.stale_members() > 0 {
        run.commit(&catalogue, false, true);
        run.evict();
    }

    let mut whole = Store::default();
    for event in &events {
        whole.partition(PARTITION).fold(event, NOON, Lane::Live);
    }
    for member in members() {
        let expected = whole.partition(PARTITION).aggregate(&member).map(bytes).unwrap_or_default();
        assert_eq!(run.aggregate(&member), expected, "seed {seed}, {member}");
    }
    // What is counted in memory is what is there: an estimate that drifts would in the end let nobody in.
    let partition = run.store.partition(PARTITION);
    while partition.evict(run.commit).unwrap() > 0 {}
    assert_eq!((partition.memory(), partition.pieces()), (0, 0), "seed {seed}");
    let mut once = Run { store: whole, changelog: Vec::new(), rows: Rows::new(), disk: None, ..run };
    once.commit(&catalogue, false, false);
    assert_eq!(run.rows, once.rows, "seed {seed}");
    (run.loaded, run.evicted)
}

fn session(key: SessionKey, version: i64) -> Session {
    let name = Some(format!("Talk {version}"));
    Session { name, ..Session::blank(key, NOON + version, "s", &version.to_string()) }
}

#[test]
fn what_goes_to_disk_and_comes_back_is_what_it_was() {
    let (mut loaded, mut evicted) = (0, 0);
    for seed in 0..20 {
        let (came, went) = live_through(seed);
        loaded += came;
        evicted += went;
    }
    assert!(loaded > 500 && evicted > 500, "{loaded} came and {evicted} went");
}

/// Every member of a large campaign is on disk, and statements about it come faster than it is derived again.
#[test]
fn memory_stays_below_its_bound_while_a_campaign_is_derived_again_and_again() {
    const CROWD: u32 = 4_000;
    const MEMORY_MAX: usize = 400_000;
    let folder = harness::private_folder();
    let decoder = Decoder::new(1 << 20);
    let mut run = Run::new(folder.path());
    run.again.memory_max = MEMORY_MAX;
    run.start();
    let mut catalogue = Catalogue::default();
    for number in 0..CROWD {
        let clap = format!(
            r#"{{"event_id":"{number}","source":"s","occurred_at":{NOON},"campaign_id":"70103000000cnFXAAY","lead_id":"00Q{number:012}","entry_id":"1_e1","reaction":"CLAP"}}"#
        );
        run.fold(&decode(&decoder, &(EventKind::Reaction, clap)));
        if number % 100 == 0 {
            run.commit(&catalogue, false, true);
            run.evict();
        }
    }
    run.commit(&catalogue, false, true);
    run.evict();
    assert!(run.store.memory() < MEMORY_MAX / 4 && run.evicted > 3_000, "{} stay", run.store.memory());

    let key = |entry: &str| SessionKey {
        campaign: SalesforceId::parse("70103000000cnFX").unwrap(),
        entry_id: Some(entry.to_owned()),
    };
    let (mut version, mut commits) = (0, 0);
    while run.store.stale_members() > 0 || version < 200 {
        if version < 200 {
            version += 1;
            let key = key(if version % 2 == 0 { "1_e1" } else { "1_e2" });
            catalogue.apply(session(key.clone(), version));
            run.store.partition(PARTITION).derive_again(&key, NOON);
        }
        run.commit(&catalogue, false, true);
        let (memory, waiting) = (run.store.memory(), run.store.stale_members());
        assert!(memory <= MEMORY_MAX + MEMORY_MAX / 10, "{memory} bytes at version {version}");
        assert!(waiting <= CROWD as usize + 1_000, "{waiting} wait at version {version}");
        if memory > MEMORY_MAX * 9 / 10 {
            run.evict();
        }
        commits += 1;
        assert!(commits < 2_000, "it comes to an end");
    }
    assert!(run.commit_bytes < 4 << 20, "a commit of {} bytes", run.commit_bytes);
    let named =
        run.rows.values().filter(|fields| fields.iter().any(|(_, it)| it.as_text() == Some("Talk 200"))).count();
    assert_eq!(named, CROWD as usize, "each row says what was stated last");
}

#[test]
fn folders_in_use_have_names_of_their_own_and_keep_them() {
    let dir = harness::private_folder();
    let open = || Disk::open(dir.path(), "rollbook", 1).unwrap();
    let (one, two) = (open(), open());
    let names = [one.name().unwrap(), two.name().unwrap()];
    assert_ne!(names[0], names[1], "they would fence each other");
    drop(one);
    let mut again = open();
    again.discard().unwrap();
    assert_eq!(again.name().unwrap(), names[0]);
}
