//! Rows of partitions that left, until it is known who reads them again.
//!
//! What leaves is read again from the log, by its next owner or by us. But the group divides anew, too, where the topic was
//! deleted and made anew, and then nobody reads these rows again, while the fold takes them for sent. So to forget them at
//! once, as looks natural, would lose rows that nothing is wrong with. They are kept until the next assignment says
//! which log is read:
//!
//! - the one that they stand in: they are forgotten, as whoever has the partition reads them again;
//! - another one, and the partition is ours, and nobody else was further in it meanwhile: they are written, before the rows
//!   of the new log, whose newer versions supersede them; no offset waits for them;
//! - another one, and somebody else has the partition: he may have written newer versions, so they end as dead letters.
//!
//! What an orderly stop leaves here ends as dead letters, too, where its log is gone.

use std::collections::{BTreeMap, BTreeSet};

use super::end::Reason;
use super::row::{Source, Version};
use super::{Outbox, Position};
use crate::dead_letter::LOG_GONE;
use crate::time::Millis;

const DETAIL: &str = "the topic was made anew, and the partition left before the row of the old one was written";

/// What a person can do about it. A redrive does not send it, as newer versions may stand in the new log.
const HINT: &str = "it is sent when the member changes; for many see \"Rebuilding the state\" in the runbook";

/// Where a partition of an assignment is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom {
    pub offset: i64,
    /// Nobody has committed an offset of this log yet.
    pub unread: bool,
}

/// What an assignment reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    pub log: u32,
    /// None: nobody can say yet from where.
    pub partitions: BTreeMap<i32, Option<ReadFrom>>,
}

#[derive(Debug, Default)]
pub(super) struct Parked {
    rows: Vec<Row>,
    /// Partitions that have rows here.
    of: BTreeSet<i32>,
    /// How far each partition was read, by the log that it was.
    reached: BTreeMap<i32, (u32, i64)>,
    /// Rows that came since.
    came_since: usize,
    /// Partitions left, and nobody has said since which log is read.
    untold: bool,
    /// Nobody can say where these are read on.
    unplaced: BTreeSet<i32>,
    /// Partitions of a log that nobody had read before: what was noted of offsets is of another one.
    unread: BTreeSet<i32>,
}

#[derive(Debug)]
struct Row {
    source: Source,
    /// It has had its outcome.
    again: bool,
    /// It came when it was not known yet what becomes of those before it, and is read by nobody else.
    came_since: bool,
}

impl Parked {
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Those that were read while others waited here, and have no other bound.
    pub fn came_since(&self) -> usize {
        self.came_since
    }

    /// Whether rows wait to hear which log is read.
    pub fn untold(&self) -> bool {
        self.untold && !self.rows.is_empty()
    }

    /// What a partition's rows wait for.
    #[cfg(test)]
    pub fn waits_for(&self, partition: i32) -> Option<&'static str> {
        let unplaced = self.unplaced.contains(&partition).then_some("a leader of its partition");
        if self.untold { Some("which log is read") } else { unplaced }
    }

    pub fn left(&mut self) {
        self.untold = true;
    }

    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.of.iter().copied()
    }

    /// Whether rows of the partition wait here, behind which those that come now have to wait.
    pub fn holds(&self, partition: i32) -> bool {
        !self.of.is_empty() && self.of.contains(&partition)
    }

    pub fn add(&mut self, version: Version) {
        self.put(Row { again: version.again, source: version.source, came_since: false });
    }

    /// A record that was read, and is no row yet.
    pub fn add_read(&mut self, source: Source, came_since: bool) {
        self.put(Row { source, again: false, came_since });
    }

    fn put(&mut self, row: Row) {
        self.of.insert(row.source.position.partition);
        self.came_since += usize::from(row.came_since);
        self.rows.push(row);
    }

    pub fn reached(&mut self, partition: i32, log: u32, next_offset: i64) {
        self.reached.insert(partition, (log, next_offset));
    }

    /// Whether an offset that somebody noted of this partition is one of the log that this version stands in.
    pub fn comparable(&self, position: Position, log: u32) -> bool {
        (position.log == log) != self.unread.contains(&position.partition)
    }

    /// Takes out those of which it is known now what becomes of them, in the order of reading.
    fn take_known(&mut self, places: &Places) -> Vec<Row> {
        self.untold = false;
        let unplaced = places.partitions.iter().filter(|(_, placed)| placed.is_none());
        self.unplaced = unplaced.map(|(partition, _)| *partition).collect();
        self.take(|row| places.partitions.get(&row.source.position.partition) != Some(&None))
    }

    fn take(&mut self, which: impl Fn(&Row) -> bool) -> Vec<Row> {
        let mut taken: Vec<Row> = self.rows.extract_if(.., |row| which(row)).collect();
        self.of = self.rows.iter().map(|row| row.source.position.partition).collect();
        self.came_since = self.rows.iter().filter(|row| row.came_since).count();
        taken.sort_by_key(|row| row.source.position);
        taken
    }

    /// Whether what is parked of a partition may still be written.
    fn stays_ours(&self, partition: i32, places: &Places) -> bool {
        let Some(Some(placed)) = places.partitions.get(&partition) else { return false };
        match self.reached.get(&partition) {
            // Whoever had it meanwhile has not committed more: what he may have written is read again, behind these.
            Some((log, reached)) if *log == places.log => placed.offset <= *reached,
            Some(_) | None => placed.unread,
        }
    }
}

impl Outbox {
    /// Takes what is known of an assignment, which may become more; before any of its rows is read, and after the jobs.
    pub fn placed(&mut self, places: &Places, now: Millis) {
        self.offsets.read_log(places.log);
        let unread = |(partition, placed): (&i32, &Option<ReadFrom>)| placed.filter(|it| it.unread).map(|_| *partition);
        self.parked.unread = places.partitions.iter().filter_map(unread).collect();
        for Row { source, again, came_since } in self.parked.take_known(places) {
            let position = source.position;
            if came_since {
                self.push(source, now);
            } else if position.log == places.log {
                // Whoever has the partition reads it again.
            } else if self.parked.stays_ours(position.partition, places) {
                self.offsets.owe(position);
                self.take(source, again, now);
            } else if !again {
                self.give_up(source, now);
            }
        }
        self.parked.reached.retain(|partition, _| places.partitions.contains_key(partition));
        for (partition, placed) in &places.partitions {
            if let Some(placed) = placed {
                self.parked.reached(*partition, places.log, placed.offset);
            }
        }
    }

    /// Rows of logs that are gone which nobody will write.
    fn give_up(&mut self, source: Source, now: Millis) {
        // Says that nothing is to be written.
        if source.value.is_none() {
            return;
        }
        let reason = Reason { code: LOG_GONE, detail: DETAIL, hint: HINT, fields: Vec::new() };
        self.offsets.owe(source.position);
        match Version::read(source) {
            Ok((key, version)) => self.bury(key.object, version, reason, now),
            Err(unreadable) => {
                let (source, why) = *unreadable;
                self.refuse_record(source, why, now);
            }
        }
    }

    /// The process ends, and nobody reads again what stands in logs before this one.
    pub fn give_up_gone(&mut self, log: u32, now: Millis) {
        // Else offsets of one that is gone would be committed.
        self.offsets.read_log(log);
        for Row { source, again, .. } in self.parked.take(|row| row.source.position.log < log) {
            if !again {
                self.give_up(source, now);
            }
        }
    }

    /// Whether rows that were read wait to hear which log is read.
    pub fn waits_for_log(&self) -> bool {
        self.parked.untold()
    }

    /// Keeps what leaves with its partition.
    pub(super) fn park(&mut self, version: Version) {
        self.offsets.forgive(version.source.position);
        self.parked.add(version);
    }
}
