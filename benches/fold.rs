//! Bytes to state to derived rows on one core: `cargo bench --bench fold -- [EVENTS] [EVENTS_PER_COMMIT] [MEMBERS]`.
//!
//! View events of about 137 bytes, single-object Avro, over members (100,000) with three entries each, in random order.
//! No broker: what Kafka costs is measured elsewhere. Made in memory, one commit's worth at a time, outside the clock.
//! A commit, by default every two million events (two seconds at a million a second, as while behind), derives the rows
//! of every piece that changed, encodes those that differ from what was last sent, and encodes the state of every changed
//! piece.

mod views;

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rollbook::config::{self, Topics};
use rollbook::event::{Decoded, Decoder, Event, EventKind, Record};
use rollbook::fold::Catalogue;
use rollbook::kafka::transaction::Records;
use rollbook::stage::fold::commit::{Again, Changes};
use rollbook::stage::fold::tally::Tally;
use rollbook::stage::fold::{BATCH_RECORDS, BATCHES_PER_TURN};
use rollbook::store::Store;
use rollbook::topic_table::Topic;
use rollbook::upsert::Lane;
use views::{ENTRIES, NOON, Views};

const PARTITION: i32 = 0;
const VALUE_BYTES_MAX: usize = 1 << 20;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.replace('_', "").parse().ok()).collect();
    let events = numbers.first().copied().unwrap_or(5_000_000);
    let commit = numbers.get(1).copied().unwrap_or(2_000_000).clamp(1, events.max(1));
    let decoder = Decoder::new(VALUE_BYTES_MAX);
    let members = numbers.get(2).map_or(100_000, |members| u32::try_from(*members).unwrap_or(u32::MAX / ENTRIES));
    let mut views = Views::new(members.max(1));
    let mut fold = Fold::default();
    let mut spent = Spent::default();
    let pieces_max = config::Fold::default().commit_pieces_max;
    let mut left = events;
    while left > 0 {
        let records: Vec<_> = (0..left.min(commit)).map(|_| views.make().1).collect();
        left -= records.len();
        spent.bytes += records.iter().map(Vec::len).sum::<usize>();
        clock(&mut spent.decode, || {
            for record in &records {
                black_box(decode(&decoder, record));
            }
        });
        // As the stage does: in batches, and a commit where it has grown large before its time.
        for turn in records.chunks(BATCH_RECORDS * BATCHES_PER_TURN) {
            clock(&mut spent.fold, || turn.chunks(BATCH_RECORDS).for_each(|batch| fold.fold(&decoder, batch)));
            if fold.store.dirty_pieces() >= pieces_max {
                clock(&mut spent.commit, || fold.commit());
            }
        }
        clock(&mut spent.commit, || fold.commit());
    }
    spent.print(events, commit, &fold.written);
}

fn decode<'r>(decoder: &Decoder, record: &'r [u8]) -> Event<'r> {
    let timestamp = Some(NOON + 86_400_000);
    let record = Record { kind: Some(EventKind::View), key: None, value: Some(record), timestamp, headers: &() };
    match decoder.decode(&record) {
        Ok(Decoded::Event(event)) => event,
        other => panic!("the benchmark's own record is no event: {other:?}"),
    }
}

fn clock(spent: &mut Duration, work: impl FnOnce()) {
    let start = on_cpu();
    work();
    *spent += on_cpu().saturating_sub(start);
}

/// Time that this thread has had a core, so that a busy machine does not count; elsewhere than on Linux, time.
fn on_cpu() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = statistics.split(' ').next().and_then(|first| first.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// What the fold stage keeps and does, without Kafka.
#[derive(Default)]
struct Fold {
    store: Store,
    catalogue: Catalogue,
    topics: Topics,
    records: Records,
    written: Written,
}

impl Fold {
    fn fold(&mut self, decoder: &Decoder, batch: &[Vec<u8>]) {
        let events: Vec<Event<'_>> = batch.iter().map(|record| decode(decoder, record)).collect();
        let placed: Vec<(i32, &Event<'_>)> = events.iter().map(|event| (PARTITION, event)).collect();
        black_box(self.store.warm(&placed));
        for event in &events {
            self.store.partition(PARTITION).fold(event, NOON, Lane::Live);
        }
    }

    fn commit(&mut self) {
        let (topics, catalogue) = (&self.topics, &self.catalogue);
        let (tally, records) = (&mut Tally::default(), &mut self.records);
        let mut changes = Changes { topics, catalogue, tally, records, now: NOON, commit: 1, again: Again::default() };
        changes.collect(&mut self.store).expect("no disk");
        self.written.add(&self.records);
        self.records.clear();
    }
}

/// What would go to Kafka.
#[derive(Default)]
struct Written {
    upserts: usize,
    upsert_bytes: usize,
    pieces: usize,
    state_bytes: usize,
}

impl Written {
    fn add(&mut self, records: &Records) {
        for (topic, record) in records.iter() {
            let bytes = record.value.map_or(0, <[u8]>::len);
            let (count, total) = if topic == Topic::Upserts {
                (&mut self.upserts, &mut self.upsert_bytes)
            } else {
                (&mut self.pieces, &mut self.state_bytes)
            };
            *count += 1;
            *total += bytes;
        }
    }
}

#[derive(Default)]
struct Spent {
    decode: Duration,
    /// Decoding included.
    fold: Duration,
    commit: Duration,
    bytes: usize,
}

impl Spent {
    fn print(&self, events: usize, per_commit: usize, written: &Written) {
        let count = u32::try_from(events).expect("at most four billion events").max(1);
        let each = |time: Duration| (time / count).as_nanos();
        let together = self.fold + self.commit;
        println!("{events} view events of {} bytes, a commit every {per_commit} events", self.bytes / events.max(1));
        println!("decode alone     {:>5} ns an event", each(self.decode));
        println!("decode and fold  {:>5} ns an event", each(self.fold));
        println!("derive, encode   {:>5} ns an event", each(self.commit));
        println!("together         {:>5} ns an event", each(together));
        println!("                 {:.0} events per second of one core", f64::from(count) / together.as_secs_f64());
        let mean = |bytes: usize, records: usize| bytes / records.max(1);
        println!("{} upserts of {} bytes", written.upserts, mean(written.upsert_bytes, written.upserts));
        println!("{} pieces of state of {} bytes", written.pieces, mean(written.state_bytes, written.pieces));
    }
}
