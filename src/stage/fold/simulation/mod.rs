//! Random histories of fold processes, by seed: killed at any call to the outside, frozen, rebalanced, told lies by a
//! broker that goes away, loses answers and ends transactions late, and with disks that are lost, old or torn.
//!
//! The threads run the stage's own loop, its restore, its commits and its store; what is simulated is the broker, the
//! clock, and death. A history ends in calm: then Kafka must hold what a fold makes that never failed.

mod client;
mod consumer_group;
mod directed;
mod disks;
mod feed;
mod gaps;
mod group;
mod kafka;
mod log;
mod member;
mod positions;
mod producer;
mod reference;
mod seen;
mod settings;
mod taking_back;
mod turns;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::config::{Config, OnGap};
use crate::gap::Cause;
use crate::health::{Health, Pulse};
use crate::kafka::follower::Follower;
use crate::kafka::noted::{self, Noted};
use crate::metrics::Metrics;
use crate::stage::Shutdown;
use crate::stage::catalogue::CatalogueReader;
use crate::store::Disk;
use crate::topic_table::Topic;

use super::worker::rebuild::Join;
use super::worker::{Worker, WorkerParts};
use disks::spoil;
use feed::{PARTITIONS, Sent};
use kafka::{Kafka, SimulatedLog};
use member::SimulatedMember;
use producer::SimulatedCommitter;
use seen::{Seen, seen, seen_often};
use settings::config;
use turns::Turns;

/// Places where a process may run, each with its own disk.
const SLOTS: usize = 2;
/// Things that happen in one history, one after the other.
const HAPPENINGS: usize = 36;
/// A history that has not come to rest after so long never will.
const CALM_MAX: Duration = Duration::from_mins(2);

/// Milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Histories in a run of the tests.
const HISTORIES: u64 = 200;

struct Slot {
    process: usize,
    shutdown: Shutdown,
    pulse: Arc<Pulse>,
}

struct History {
    kafka: Kafka,
    config: Config,
    /// None: states are held in memory whole.
    disks: Option<tempfile::TempDir>,
    slots: Vec<Option<Slot>>,
    starts: usize,
    sent: Vec<Sent>,
    /// A statement on the catalogue was not the newest.
    written_too_late: bool,
    /// Somebody sees to what is passed over.
    acknowledges: bool,
    /// Facts are taken back, and nobody else commits to the group; or the other way round.
    takes_back: bool,
}

impl History {
    fn begin(seed: u64) -> Self {
        let turns = Turns::begin(seed);
        let mut config = config(&turns);
        // Not drawn: the other histories stay what they are.
        if seed % 8 == 3 {
            config.fold.on_gap = OnGap::Hold;
        }
        let kafka = Kafka::new(Arc::clone(&turns), &config.topics, PARTITIONS);
        kafka.broker().scatters = turns.chance(40);
        let takes_back = turns.chance(60);
        let memory = Path::new("/dev/shm");
        let disks = turns.chance(25).then(|| {
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
        });
        let slots = (0..SLOTS).map(|_| None).collect();
        let (sent, written_too_late, acknowledges) = (Vec::new(), false, false);
        // What is taken back is told by what was folded before, and of records that are gone nothing was.
        let takes_back = takes_back && config.fold.on_gap != OnGap::Hold;
        Self { kafka, config, disks, slots, starts: 0, sent, written_too_late, acknowledges, takes_back }
    }

    fn folder(&self, slot: usize) -> Option<PathBuf> {
        Some(self.disks.as_ref()?.path().join(slot.to_string()))
    }

    fn happen(&mut self) {
        let turns = Arc::clone(&self.kafka.turns);
        if self.holds() {
            self.lose_or_acknowledge();
        }
        let slot = turns.random(|rng| rng.usize(..SLOTS));
        match turns.random(|rng| rng.u8(..29)) {
            0..6 => self.send(),
            6..10 => self.start(slot),
            10..13 => self.change(slot, |turns, process| {
                let calls = turns.random(|rng| rng.u32(1..300));
                turns.change_process(process, |process| process.dies_after = Some(calls));
            }),
            13..15 => self.change(slot, |turns, process| {
                let (now, millis) = (turns.now(), turns.random(|rng| rng.u64(50..5_000)));
                turns.change_process(process, |process| {
                    process.frozen_until = now + Duration::from_millis(millis);
                    process.silent_since = Some(now);
                });
            }),
            15 => self.stop(slot),
            16 => {
                let away = turns.random(|rng| Duration::from_millis(rng.u64(10..6_000)));
                self.kafka.broker().away_until = turns.now() + away;
            }
            17 => self.compact(),
            18 if !self.takes_back => self.commit_as_a_stranger(),
            19 => self.delete_what_was_read(),
            20 => self.grow(),
            21 => self.write_too_late(),
            22 | 23 => self.lose_leader(),
            24 => self.kafka.divide_again(),
            25 | 26 if self.takes_back => self.take_back(),
            27 => self.stay_away(),
            _ => turns.sleep(turns.random(|rng| Duration::from_millis(rng.u64(1..400)))),
        }
        turns.sleep(turns.random(|rng| Duration::from_micros(rng.u64(1..100_000))));
    }

    fn send(&mut self) {
        let turns = &self.kafka.turns;
        for _ in 0..turns.random(|rng| rng.usize(1..25)) {
            let (number, at) = (self.sent.len(), self.kafka.wall_clock());
            let sent = turns.random(|rng| match self.sent.len() {
                0 => feed::record(rng, number, at),
                known if rng.u8(..6) == 0 => self.sent[rng.usize(..known)].clone(),
                _ => feed::record(rng, number, at),
            });
            // What an input's new partitions get is where members do not belong.
            let topic = sent.input.name(&self.config.topics);
            let partitions = self.kafka.broker().logs.topic(topic).count();
            let strays = partitions > 2 && sent.input != Topic::Sessions && turns.chance(30);
            let sent =
                if strays { Sent { partition: i32::try_from(partitions).unwrap_or(1) - 1, ..sent } } else { sent };
            self.kafka.append(sent.input.name(&self.config.topics), sent.partition, sent.entry.clone());
            self.sent.push(sent);
        }
    }

    /// A process that is alive.
    fn change(&self, slot: usize, change: impl FnOnce(&Turns, usize)) {
        if let Some(slot) = &self.slots[slot] {
            change(&self.kafka.turns, slot.process);
        }
    }

    fn compact(&self) {
        let topics = &self.config.topics;
        // Kafka compacts no active segment: what was said a moment ago stays until somebody could say it again.
        let spared = |topic: &Topic| *topic == Topic::Catalogue && self.written_too_late;
        for topic in [Topic::State, Topic::Upserts, Topic::Catalogue].into_iter().filter(|topic| !spared(topic)) {
            for partition in 0..PARTITIONS {
                // The states' empty records stay for a day.
                let below = if topic == Topic::State { self.kafka.wall_clock() - DAY } else { i64::MIN };
                self.kafka.broker().logs.partition(topic.name(topics), partition).compact(below);
            }
        }
    }

    /// Nobody runs for up to two days, while compaction goes on: whoever comes back may have missed an empty record.
    fn stay_away(&mut self) {
        seen(Seen::LongAway);
        self.stop_all();
        let turns = Arc::clone(&self.kafka.turns);
        turns.sleep(turns.random(|rng| Duration::from_mins(rng.u64(1..48 * 60))));
        if turns.chance(50) {
            self.compact();
        }
    }

    /// Starts a process where none is alive.
    fn start(&mut self, number: usize) {
        let turns = Arc::clone(&self.kafka.turns);
        if let Some(slot) = self.slots[number].take() {
            if !turns.process(slot.process).dead && !turns.over(slot.process) {
                self.slots[number] = Some(slot);
                return;
            }
            self.wait_for(slot.process);
        }
        let folder = self.folder(number).inspect(|folder| spoil(&turns, folder));
        let (process, shutdown, pulse) = (turns.new_process(), Shutdown::default(), Health::default().pulse("fold"));
        self.starts += 1;
        let fold = Process {
            kafka: self.kafka.clone(),
            config: Arc::new(self.config.clone()),
            number: process,
            // A place that has a disk keeps its name; without, every process has its own.
            id: if folder.is_some() { format!("fold-{number}") } else { format!("fold-{}", self.starts) },
            folder,
            shutdown: shutdown.clone(),
            pulse: Arc::clone(&pulse),
        };
        turns.spawn(process, move || fold.run());
        self.slots[number] = Some(Slot { process, shutdown, pulse });
    }

    fn stop(&mut self, number: usize) {
        if let Some(slot) = &self.slots[number] {
            slot.shutdown.request();
        }
    }

    fn wait_for(&self, process: usize) {
        while !self.kafka.turns.over(process) {
            self.kafka.turns.sleep(Duration::from_millis(1));
        }
    }

    /// Nothing goes wrong any more: everything is folded and comes to rest. Then all processes are started anew, and every
    /// piece is written once more, from whatever they take for its state.
    fn calm_down(&mut self) -> Result<(), String> {
        {
            let mut broker = self.kafka.broker();
            (broker.calm, broker.away_until) = (true, Duration::ZERO);
            broker.unled.clear();
        }
        self.acknowledges = true;
        for slot in self.slots.iter().flatten() {
            self.kafka.turns.change_process(slot.process, |process| process.dies_after = None);
        }
        self.come_to_rest()?;
        // A process that is started anew would derive again what an older one had wrong.
        verdict::verdict(&self.kafka, &self.config.topics)?;
        self.stop_all();
        for words in feed::last_words(self.kafka.wall_clock()) {
            self.kafka.append(words.input.name(&self.config.topics), words.partition, words.entry);
        }
        self.come_to_rest()?;
        self.stop_all();
        // Ends of transactions are still written.
        while !self.kafka.broker().logs.settled() {
            self.kafka.call();
        }
        self.kafka.turns.failure().map_or(Ok(()), Err)
    }

    fn come_to_rest(&mut self) -> Result<(), String> {
        let turns = Arc::clone(&self.kafka.turns);
        let end = turns.now() + CALM_MAX;
        let (mut records, mut quiet) = (-1, 0);
        // As long as it takes to hear of every statement, and to be asked for another assignment.
        while quiet < 6 {
            for slot in 0..SLOTS {
                self.start(slot);
            }
            turns.sleep(Duration::from_millis(500));
            if let Some(failure) = turns.failure() {
                return Err(failure);
            }
            self.gaps_hold()?;
            if self.acknowledges {
                self.acknowledge();
            }
            let (folded, busy) = (self.folded(), self.busy());
            let written = self.kafka.broker().logs.records();
            quiet = if folded && busy.is_none() && written == records { quiet + 1 } else { 0 };
            records = written;
            if turns.now() > end {
                return Err(format!("it does not come to rest, folded: {folded}, busy: {busy:?}, written: {written}"));
            }
        }
        Ok(())
    }

    /// What is still to come to an end, in words: who waits for it may have something to say that no log shows.
    fn busy(&self) -> Option<String> {
        let turns = &self.kafka.turns;
        let transactions = self.kafka.transactions.load(Ordering::Relaxed);
        if transactions > 0 {
            return Some(format!("{transactions} transactions are under way"));
        }
        let broker = self.kafka.broker();
        if !broker.group.settled() || !broker.consumers.settled() {
            return Some("the group is not settled".to_owned());
        }
        self.slots.iter().flatten().find_map(|slot| {
            if turns.process(slot.process).frozen_until > turns.now() {
                return Some("a process is frozen".to_owned());
            }
            let works = broker.group.has_work(slot.process) || broker.consumers.has_work(slot.process);
            slot.pulse.own_reason().filter(|_| works)
        })
    }

    fn stop_all(&mut self) {
        for slot in 0..SLOTS {
            self.stop(slot);
            if let Some(slot) = self.slots[slot].take() {
                self.wait_for(slot.process);
            }
        }
    }

    fn folded(&self) -> bool {
        let broker = self.kafka.broker();
        broker.logs.settled()
            && self.kafka.inputs().iter().filter(|it| !broker.unled.contains(it)).all(|(topic, partition)| {
                let logs = broker.logs.topic(topic);
                let newest = logs.filter(|(number, _)| number == partition).filter_map(|(_, log)| log.all().last());
                let committed = broker.logs.own_offsets.get(&(topic.clone(), *partition)).copied().unwrap_or(0);
                newest.map(|(offset, _)| offset + 1).all(|end| committed >= end)
            })
    }
}

/// A fold process.
struct Process {
    kafka: Kafka,
    config: Arc<Config>,
    number: usize,
    id: String,
    folder: Option<PathBuf>,
    shutdown: Shutdown,
    pulse: Arc<Pulse>,
}

impl Process {
    fn run(self) {
        let kafka = self.kafka.clone();
        taking_back::listen(&kafka);
        let log = {
            let kafka = kafka.clone();
            move || Ok(SimulatedLog::new(&kafka))
        };
        let follower = Follower::new(&self.config.topics.catalogue, log, |_| ());
        let Some(mut reader) = CatalogueReader::load(follower, &self.shutdown) else { return };
        let noted = (self.config.fold.on_gap == OnGap::Hold).then(|| self.follow_notes());
        let (catalogue, catalogue_ear) = reader.listen();
        let shutdown = self.shutdown.clone();
        let threads = Arc::clone(&self.kafka.turns);
        threads.spawn(self.number, move || reader.run(&shutdown));
        let disk = self
            .folder
            .as_deref()
            .map(|folder| Disk::open(folder, "fold", PARTITIONS).expect("nobody else has the disk"));
        let join = self.join();
        let (member, committer) = join().expect("it joins");
        let (metrics, topics) = (Arc::new(Metrics::new()), self.config.topics.clone());
        let worker = Worker::new(WorkerParts {
            name: self.id.clone(),
            partitions: PARTITIONS,
            instance: self.id.clone(),
            join,
            member: Arc::new(member),
            committer,
            registry: None,
            disk,
            catalogue,
            catalogue_ear,
            noted,
            metrics: Arc::clone(&metrics),
            health: self.pulse,
            shutdown: self.shutdown,
            config: self.config,
        });
        let ended = worker.run();
        let holes = |input: Topic| {
            let logs = &kafka.broker().logs;
            logs.topic(input.name(&topics)).map(|(_, log)| log.passed_over()).sum::<u64>()
        };
        for (input, cause) in Topic::CONSUMED.into_iter().flat_map(|input| Cause::ALL.map(|cause| (input, cause))) {
            let passed_over = metrics.positions.passed_over(input, cause).get();
            // Of what is deleted nobody can tell any more whether it was a mark, or aborted.
            let unsure = cause == Cause::BelowLogStart && kafka.broker().overwritten;
            let holes = if cause == Cause::BelowLogStart { holes(input) } else { 0 };
            assert!(
                unsure || passed_over <= holes,
                "{input:?} {cause:?}: nothing was lost, and {passed_over} are counted"
            );
        }
        seen_often(Seen::Evicted, metrics.state_evicted.get());
        seen_often(Seen::Held, metrics.fold_holds.get());
        seen_often(Seen::WarmDisk, metrics.state_loaded.get());
        seen_often(Seen::Rebuilt, metrics.clients_rebuilt.get());
        // Whatever happens to its clients, a process does not end by itself.
        if let Err(error) = ended {
            panic!("{error:?}");
        }
    }

    fn follow_notes(&self) -> Noted {
        let (kafka, shutdown) = (self.kafka.clone(), self.shutdown.clone());
        let follower = Follower::new(&self.config.topics.notes, move || Ok(SimulatedLog::new(&kafka)), |_| ());
        let (noted, reader) = noted::Reader::new(follower);
        let slow = self.kafka.clone();
        let dawdle = move |_| {
            let lag = slow.broker().notes_lag;
            if !lag.is_zero() {
                slow.turns.sleep(lag);
            }
        };
        self.kafka.turns.spawn(self.number, move || reader.run(|| shutdown.requested(), dawdle));
        noted
    }

    fn join(&self) -> Join<SimulatedMember> {
        let (kafka, config, process) = (self.kafka.clone(), Arc::clone(&self.config), self.number);
        let (id, folder) = (self.id.clone(), self.folder.clone());
        Box::new(move || {
            let committer = SimulatedCommitter::start(&kafka, process, &id, &config.topics);
            Ok((SimulatedMember::new(&kafka, process, config.fold.group_protocol, folder.clone()), committer))
        })
    }
}

fn live_through(seed: u64) -> Result<(), String> {
    let mut history = History::begin(seed);
    for _ in 0..HAPPENINGS {
        history.happen();
        history.gaps_hold()?;
    }
    history.calm_down()?;
    verdict::verdict(&history.kafka, &history.config.topics)
}

fn check(seed: u64) -> Result<(), String> {
    direct(move || live_through(seed))
}

/// A thread of its own for each: it is the history's director.
fn direct(history: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    let lived = thread::spawn(history).join();
    lived.unwrap_or_else(|_| Err("its director panicked".to_owned()))
}

/// A member was frozen with statements of the catalogue in flight, its successor wrote the same ones, and the member took
/// them back when its commit was refused: what it derived afterwards hung on a catalogue that nobody else had.
#[test]
fn a_statement_that_a_successor_wrote_is_not_taken_back() {
    for seed in [400, 700, 796] {
        assert_eq!(check(seed), Ok(()), "seed {seed}");
    }
}

/// `ROLLBOOK_HISTORIES=10000 ROLLBOOK_HISTORIES_FROM=1 cargo test --release --lib no_history` lives through others.
#[test]
fn no_history_changes_an_answer() {
    let setting = |name: &str| std::env::var_os(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
    let from = setting("ROLLBOOK_HISTORIES_FROM").unwrap_or(0);
    let end = from + setting("ROLLBOOK_HISTORIES").unwrap_or(HISTORIES);
    let next = AtomicU64::new(from);
    let live_on = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            if let Err(difference) = check(seed) {
                next.store(end, Ordering::Relaxed);
                panic!("ROLLBOOK_HISTORIES=1 ROLLBOOK_HISTORIES_FROM={seed} cargo test --lib no_history\n{difference}");
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(live_on);
        }
    });
    if end - from >= HISTORIES {
        let never = seen::never_seen();
        assert!(never.is_empty(), "no history has met {never:?}");
    }
}
