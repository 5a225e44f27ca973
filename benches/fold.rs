//! Bytes to state to derived rows on one core: `cargo bench --bench fold -- [EVENTS] [EVENTS_PER_COMMIT] [MEMBERS]`.
//!
//! View events of about 137 bytes, single-object Avro, over members (100,000) with three entries each, in random order.
//! No broker: what Kafka costs is measured elsewhere. Made in memory, one commit's worth at a time, outside the clock.
//! A commit derives the rows of every piece that changed, encodes those that differ from what was last sent, and
//! encodes the state of every changed piece.

mod views;

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rollbook::event::{Decoded, Decoder, Event, EventKind, MemberKey, Record};
use rollbook::fold::{Aggregate, Catalogue};
use rollbook::upsert::{Row, Upsert, engagement_row, member_row, polls_row};
use views::{ENTRIES, NOON, Views};

const VALUE_BYTES_MAX: usize = 1 << 20;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.replace('_', "").parse().ok()).collect();
    let events = numbers.first().copied().unwrap_or(5_000_000);
    let commit = numbers.get(1).copied().unwrap_or(1_000_000).clamp(1, events.max(1));
    let decoder = Decoder::new(VALUE_BYTES_MAX);
    let members = numbers.get(2).map_or(100_000, |members| u32::try_from(*members).unwrap_or(u32::MAX / ENTRIES));
    let mut views = Views::new(members.max(1));
    let mut fold = Fold::default();
    let mut spent = Spent::default();
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
        clock(&mut spent.fold, || {
            for record in &records {
                fold.apply(&decode(&decoder, record));
            }
        });
        fold.commit(&mut spent);
    }
    spent.print(events, commit);
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

/// What the fold stage keeps: aggregates, found by one hash lookup, and those to be written.
#[derive(Default)]
struct Fold {
    members: HashMap<MemberKey, Member, foldhash::fast::FixedState>,
    listed: Vec<MemberKey>,
    catalogue: Catalogue,
}

#[derive(Default)]
struct Member {
    aggregate: Aggregate,
    listed: bool,
}

impl Fold {
    fn apply(&mut self, event: &Event<'_>) {
        let member = self.members.entry(event.member).or_default();
        if member.aggregate.apply(event).changed() && !member.listed {
            member.listed = true;
            self.listed.push(event.member);
        }
    }

    fn commit(&mut self, spent: &mut Spent) {
        let start = on_cpu();
        for key in self.listed.drain(..) {
            let member = self.members.get_mut(&key).expect("a listed member");
            member.listed = false;
            member.commit(key, &self.catalogue, &mut spent.written);
        }
        spent.commit += on_cpu().saturating_sub(start);
    }
}

impl Member {
    fn commit(&mut self, key: MemberKey, catalogue: &Catalogue, written: &mut Written) {
        let piece = &mut self.aggregate.member;
        if std::mem::take(&mut piece.dirty) {
            written.row(key, member_row(&key, piece, catalogue), &mut piece.row_hash);
            written.state(&piece.encode());
        }
        for (entry, piece) in self.aggregate.entries.values_mut().filter(|(_, piece)| piece.dirty) {
            piece.dirty = false;
            if let Some(Ok(row)) = engagement_row(&key, entry, piece, catalogue) {
                written.row(key, row, &mut piece.engagement_row_hash);
            }
            if let Some(Ok(row)) = polls_row(&key, entry, piece, catalogue) {
                written.row(key, row, &mut piece.polls_row_hash);
            }
            written.state(&piece.encode());
        }
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
    fn row(&mut self, member: MemberKey, row: Row, last_sent: &mut u64) {
        let hash = row.hash();
        if std::mem::replace(last_sent, hash) != hash {
            let upsert = Upsert { row, member, event_at: NOON };
            let (key, value) = black_box((upsert.key(), upsert.encode()));
            self.upserts += 1;
            self.upsert_bytes += key.len() + value.len();
        }
    }

    fn state(&mut self, piece: &[u8]) {
        self.pieces += 1;
        self.state_bytes += black_box(piece).len();
    }
}

#[derive(Default)]
struct Spent {
    decode: Duration,
    /// Decoding included.
    fold: Duration,
    commit: Duration,
    bytes: usize,
    written: Written,
}

impl Spent {
    fn print(&self, events: usize, per_commit: usize) {
        let count = u32::try_from(events).expect("at most four billion events").max(1);
        let each = |time: Duration| (time / count).as_nanos();
        let (together, written) = (self.fold + self.commit, &self.written);
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
