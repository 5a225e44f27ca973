//! The sink's positions against the log of the upserts: a row that is passed over is a row that the org never gets.
//!
//! As the fold does for its inputs: where reading goes on is decided when partitions are assigned, and compared with the
//! log every ten seconds. The sink has no state that says how far it has come; the stamp of its own commits does, and a
//! note for each partition says that it has one, so that an offset without one is known to be somebody else's. Then the
//! log is read from its start: rows that the org has already change nothing, but each is a part of a call. So a partition
//! is noted only when its offset has a stamp, and no member of an earlier build, which commits without, may get it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{error, warn};

use crate::config::Config;
use crate::dead_letter::Stage;
use crate::event::Millis;
use crate::kafka::client_config;
use crate::kafka::membership::{TopicPartition, listed};
use crate::kafka::native::topics::describe;
use crate::kafka::notes::{NoteBook, Notes};
use crate::kafka::positions::{Cause, Committed, Ends, Stamp, committed, earlier_builds, log_ends, strangers};
use crate::kafka::topics::Topic;
use crate::kafka::watch::Watch;
use crate::metrics::Metrics;
use crate::note::Note;
use crate::stage::Shared;
use crate::stage::fold::gap::{Gap, Place, resume_at};
use crate::stage::gaps::NotedGap;

/// Between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How long a broker may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long the notes are waited for at a start; they are a handful.
const NOTES_WITHIN: Duration = Duration::from_secs(5);
const NOTES_PAUSE: Duration = Duration::from_millis(50);
/// That the offset of a partition has a stamp; the partition follows.
const STAMPED_KEY: &str = "stamped/sink/";
const ID_FIELD: &str = "topic_id";
/// See the fold's.
const JUMPS_MAX: usize = 64;

pub struct Positions {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    notes: Notes,
    watch: Arc<Watch>,
    /// Of the sink's group, of which it is no member; with the secrets that it was made with, as the watch counts them.
    client: Mutex<(u64, Arc<BaseConsumer>)>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// As of the last assignment. None: the broker does not tell, or did not answer.
    topic_id: Option<String>,
    /// Nobody could say where reading goes on.
    unplaced: bool,
    /// The next offset to be read.
    next: BTreeMap<i32, i64>,
    /// Where reading goes on and the group does not say so with our stamp, as of the last assignment.
    unstamped: Vec<(i32, i64)>,
    /// What has our stamp, and is not noted yet.
    unnoted: BTreeSet<i32>,
    /// Offsets that did not come.
    jumps: Vec<(i32, i64, i64)>,
    looked: Instant,
    strangers: Vec<String>,
}

impl Positions {
    pub fn new(shared: &Shared) -> KafkaResult<Self> {
        let seen = Seen {
            topic_id: None,
            unplaced: false,
            next: BTreeMap::new(),
            unstamped: Vec::new(),
            unnoted: BTreeSet::new(),
            jumps: Vec::new(),
            looked: Instant::now(),
            strangers: Vec::new(),
        };
        Ok(Self {
            config: Arc::clone(&shared.config),
            metrics: Arc::clone(&shared.metrics),
            notes: shared.notes.clone(),
            client: Mutex::new((shared.watch.secrets(), client(&shared.config)?)),
            watch: Arc::clone(&shared.watch),
            seen: Mutex::new(seen),
        })
    }

    /// One with the secrets of now.
    fn client(&self) -> KafkaResult<Arc<BaseConsumer>> {
        let mut ours = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = self.watch.secrets();
        if ours.0 != secrets {
            *ours = (secrets, client(&self.config)?);
        }
        Ok(Arc::clone(&ours.1))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says in the assignment where its partitions are read on.
    pub fn place(&self, assigned: &TopicPartitionList) {
        let placed = self.decide(&listed(assigned));
        let mut seen = self.seen();
        (seen.next, seen.jumps, seen.unplaced) = (BTreeMap::new(), Vec::new(), placed.is_err());
        (seen.unstamped, seen.unnoted) = (Vec::new(), BTreeSet::new());
        match placed {
            Ok((topic_id, placed)) => {
                seen.topic_id = topic_id;
                for Placed { of: (topic, partition), from, stamped, noted, .. } in &placed {
                    seen.next.insert(*partition, *from);
                    if !stamped {
                        seen.unstamped.push((*partition, *from));
                    } else if !noted {
                        seen.unnoted.insert(*partition);
                    }
                    let element = assigned.find_partition(topic, *partition);
                    if let Some(Err(error)) = element.map(|mut it| it.set_offset(Offset::Offset(*from))) {
                        warn!(%error, partition, "the place to read from is not taken");
                    }
                }
                drop(seen);
                for Placed { of: (_, partition), from, gap, .. } in placed {
                    if let Some(gap) = gap {
                        self.gap(partition, from, gap);
                    }
                }
            }
            // Read on from what is committed; asked again soon.
            Err(error) => warn!(%error, "the ends of the upserts are not known"),
        }
    }

    fn decide(&self, partitions: &[TopicPartition]) -> KafkaResult<(Option<String>, Vec<Placed>)> {
        let client = self.client()?;
        let topic = self.config.topics.upserts.as_str();
        let topic_id = describe(client.client(), &[topic], ANSWERS_WITHIN)?.remove(topic).and_then(|it| it.id);
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let committed = committed(&client.committed_offsets(list, ANSWERS_WITHIN)?);
        let ends = log_ends(&client, partitions, ANSWERS_WITHIN)?;
        let book = self.book();
        let mut placed = Vec::new();
        for partition in partitions {
            let Some(ends) = ends.get(partition).copied() else { continue };
            let noted = noted(book.as_deref(), partition.1);
            placed.push(place(partition, (committed.get(partition), noted), topic_id.as_deref(), ends));
        }
        Ok((topic_id, placed))
    }

    /// None: nobody knows what was noted.
    fn book(&self) -> Option<Arc<NoteBook>> {
        let asked = Instant::now();
        while self.notes.known().is_none() && asked.elapsed() < NOTES_WITHIN {
            std::thread::sleep(NOTES_PAUSE);
        }
        self.notes.known()
    }

    /// The partitions are ours now: offsets that have no stamp of this topic get it, also those of partitions in which
    /// nothing moves. Until then an offset without one may be of an earlier build.
    pub fn stamp_placed<C: ConsumerContext>(&self, member: &BaseConsumer<C>) {
        self.stamp_unstamped(member);
        self.note_stamped();
    }

    fn stamp_unstamped<C: ConsumerContext>(&self, member: &BaseConsumer<C>) {
        let unstamped = std::mem::take(&mut self.seen().unstamped);
        if unstamped.is_empty() || member.assignment_lost() {
            return;
        }
        let (topic, stamp) = (self.config.topics.upserts.as_str(), self.stamp());
        let mut list = TopicPartitionList::with_capacity(unstamped.len());
        for (partition, from) in &unstamped {
            let mut element = list.add_partition(topic, *partition);
            if let Err(error) = element.set_offset(Offset::Offset(*from)) {
                warn!(%error, partition, "an offset gets no stamp");
                return;
            }
            element.set_metadata(&stamp);
        }
        // Crash here: it gets its stamp at the next assignment.
        match member.commit(&list, CommitMode::Sync) {
            Ok(()) => self.seen().unnoted.extend(unstamped.into_iter().map(|(partition, _)| partition)),
            Err(error) => warn!(%error, "offsets get no stamps; they do at the next assignment"),
        }
    }

    /// Notes what has stamps by now, where no earlier build takes part.
    fn note_stamped(&self) {
        let seen = self.seen();
        let (unnoted, topic_id) = (seen.unnoted.clone(), seen.topic_id.clone());
        drop(seen);
        if unnoted.is_empty() {
            return;
        }
        let group = super::consumer::group(&self.config);
        let ask = |client: Arc<_>| earlier_builds(&client, (&group, &self.config.application), ANSWERS_WITHIN);
        if self.client().and_then(ask).unwrap_or(true) {
            return;
        }
        for partition in unnoted {
            let note = Note::new("stamped", wall_clock());
            let note = topic_id.iter().fold(note, |note, id| note.with(ID_FIELD, id));
            match self.notes.put(&format!("{STAMPED_KEY}{partition}"), Some(&note)) {
                Ok(()) => {
                    self.seen().unnoted.remove(&partition);
                }
                Err(error) => warn!(%error, partition, "that an offset has a stamp is not noted"),
            }
        }
    }

    /// For whatever the sink commits.
    pub fn stamp(&self) -> String {
        Stamp { topic_id: self.seen().topic_id.clone(), born: None }.to_text()
    }

    /// A record came.
    pub fn read(&self, partition: i32, offset: i64) {
        let mut seen = self.seen();
        let next = seen.next.insert(partition, offset + 1);
        if let Some(next) = next.filter(|next| *next < offset) {
            seen.jumps.push((partition, next, offset));
            if seen.jumps.len() > JUMPS_MAX {
                seen.jumps.sort_by_key(|(_, from, to)| from - to);
                seen.jumps.truncate(JUMPS_MAX / 2);
            }
        }
    }

    /// Now and then compares what is read with the log. True where the topic is another one by now, so that the
    /// partitions are to be assigned anew.
    pub fn look(&self, assigned: &TopicPartitionList) -> bool {
        let mut seen = self.seen();
        if seen.looked.elapsed() < LOOK_INTERVAL {
            return false;
        }
        seen.looked = Instant::now();
        drop(seen);
        self.compare(&listed(assigned)).unwrap_or_else(|error| {
            warn!(%error, "the ends of the upserts are not known");
            false
        })
    }

    fn compare(&self, assigned: &[TopicPartition]) -> KafkaResult<bool> {
        let client = self.client()?;
        self.look_for_strangers(&client);
        self.note_stamped();
        let topic = self.config.topics.upserts.as_str();
        let found = describe(client.client(), &[topic], ANSWERS_WITHIN)?.remove(topic).and_then(|it| it.id);
        let seen = self.seen();
        let (before, unplaced) = (seen.topic_id.clone(), seen.unplaced);
        drop(seen);
        let other = before.is_some() && found.is_some() && before != found;
        if other || (unplaced && !assigned.is_empty()) {
            return Ok(true);
        }
        let ends = log_ends(&client, assigned, ANSWERS_WITHIN)?;
        for ((_, partition), Ends { start, .. }) in ends {
            self.count(partition, start);
        }
        Ok(false)
    }

    /// Counts what is gone of a partition; what stands in the log and did not come was compacted away, or is a mark.
    fn count(&self, partition: i32, start: i64) {
        let mut passed_over = 0;
        let mut seen = self.seen();
        seen.jumps.retain(|(of, from, to)| {
            let ours = *of == partition;
            passed_over += if ours { (start.min(*to) - from).max(0) } else { 0 };
            !ours
        });
        let next = seen.next.get(&partition).copied().unwrap_or(start);
        passed_over += (start - next).max(0);
        let from = next.max(start);
        seen.next.insert(partition, from);
        drop(seen);
        if passed_over > 0 {
            self.gap(partition, from, Gap { cause: Cause::BelowLogStart, passed_over, counted: true });
        }
    }

    fn gap(&self, partition: i32, from: i64, gap: Gap) {
        let Gap { cause, passed_over, counted } = gap;
        let topic = self.config.topics.upserts.clone();
        self.metrics.positions.passed_over(Topic::Upserts, cause).inc_by(passed_over.unsigned_abs());
        if cause.loses() {
            error!(topic, partition, cause = cause.name(), passed_over, counted, from, "rows were passed over");
        } else {
            warn!(topic, partition, cause = cause.name(), from, "the group's offset was not where reading had ended");
        }
        let noted = NotedGap { topic, partition, cause, next_offset: from, passed_over, counted, at: wall_clock() };
        if let Err(error) = self.notes.put(&noted.key(), Some(&noted.note())) {
            warn!(%error, "a gap is not noted");
        }
    }

    fn look_for_strangers(&self, client: &BaseConsumer) {
        let group = super::consumer::group(&self.config);
        let Ok(found) = strangers(client, (&group, &self.config.application), ANSWERS_WITHIN) else { return };
        self.metrics.positions.strangers(Stage::Sink).set(i64::try_from(found.len()).unwrap_or(i64::MAX));
        let mut seen = self.seen();
        if seen.strangers != found && !found.is_empty() {
            let members = found.join(", ");
            error!(members, "another application is a member of the sink's group; what it is assigned waits");
        }
        seen.strangers = found;
    }
}

fn client(config: &Config) -> KafkaResult<Arc<BaseConsumer>> {
    let mut client = client_config(config);
    client.set("group.id", super::consumer::group(config));
    Ok(Arc::new(client.create()?))
}

/// What the notes say of a partition's stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Noted {
    /// The notes could not be read.
    Unknown,
    /// Its offset need not have one.
    Never,
    /// It has one, of this topic.
    Stamped(Option<String>),
}

fn noted(book: Option<&NoteBook>, partition: i32) -> Noted {
    let Some(book) = book else { return Noted::Unknown };
    let note = book.get(&format!("{STAMPED_KEY}{partition}"));
    note.map_or(Noted::Never, |note| Noted::Stamped(note.get(ID_FIELD).map(str::to_owned)))
}

/// A partition, where it is read on, and what that passes over.
#[derive(Debug)]
struct Placed {
    of: TopicPartition,
    from: i64,
    gap: Option<Gap>,
    /// The group says the same, with our stamp of this topic; or it is not known whether the offset is ours.
    stamped: bool,
    noted: bool,
}

fn place(
    of: &TopicPartition,
    (committed, noted): (Option<&Committed>, Noted),
    topic_id: Option<&str>,
    ends: Ends,
) -> Placed {
    // The group's offsets go with a topic that is deleted.
    let gone = match &noted {
        Noted::Stamped(Some(id)) => {
            Some(Committed { offset: 0, stamp: Some(Stamp { topic_id: Some(id.clone()), born: None }) })
        }
        Noted::Stamped(None) | Noted::Never | Noted::Unknown => None,
    };
    let unborn = !matches!(noted, Noted::Stamped(_));
    let (from, gap) = resume_at(&Place {
        folded: None,
        committed: committed.or(gone.as_ref()),
        unborn,
        topic_id,
        ends,
        known_end: None,
    });
    let ours = committed.is_some_and(|it| {
        let id = it.stamp.as_ref().map(|stamp| stamp.topic_id.as_deref());
        it.offset == from && id.is_some_and(|id| id == topic_id)
    });
    // What may be somebody else's is not to look like ours.
    let doubtful = noted == Noted::Unknown && committed.is_some_and(|it| it.stamp.is_none());
    let noted = doubtful || matches!(noted, Noted::Stamped(id) if id.as_deref() == topic_id);
    Placed { of: of.clone(), from, gap, stamped: ours || doubtful, noted }
}

fn wall_clock() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Ends = Ends { start: 10, end: 100 };

    fn placed(committed: Option<(i64, Option<&str>)>, noted: Noted) -> (i64, Option<Cause>, bool, bool) {
        let stamp = |id: &str| Stamp { topic_id: Some(id.to_owned()), born: None };
        let committed = committed.map(|(offset, id)| Committed { offset, stamp: id.map(stamp) });
        let Placed { from, gap, stamped, noted, .. } =
            place(&("upserts".to_owned(), 1), (committed.as_ref(), noted), Some("one"), LOG);
        (from, gap.map(|gap| gap.cause), stamped, noted)
    }

    fn noted_as(id: &str) -> Noted {
        Noted::Stamped(Some(id.to_owned()))
    }

    #[test]
    fn an_offset_of_an_earlier_build_is_taken_gets_its_stamp_and_only_then_its_note() {
        assert_eq!(placed(Some((42, None)), Noted::Never), (42, None, false, false), "also where nothing moves");
        assert_eq!(placed(Some((42, Some("one"))), Noted::Never), (42, None, true, false), "it is noted soon");
        assert_eq!(placed(Some((42, Some("one"))), noted_as("one")), (42, None, true, true));
        assert_eq!(placed(None, Noted::Never), (10, None, false, false), "a group that never committed");
    }

    #[test]
    fn a_note_of_one_partition_says_nothing_of_another() {
        let note = Note::new("stamped", 0).with(ID_FIELD, "one");
        let book = NoteBook::from([("stamped/sink".to_owned(), note.clone()), (format!("{STAMPED_KEY}2"), note)]);
        assert_eq!(noted(Some(&book), 1), Noted::Never);
        assert_eq!(noted(Some(&book), 2), noted_as("one"));
        assert_eq!(noted(None, 2), Noted::Unknown);
    }

    #[test]
    fn what_somebody_else_committed_is_read_again_once() {
        let foreign = placed(Some((42, None)), noted_as("one"));
        assert_eq!(foreign, (10, Some(Cause::ForeignCommit), false, true), "and our place is said with our stamp");
        let unknown = placed(Some((42, None)), Noted::Unknown);
        assert_eq!(unknown, (42, None, true, true), "nobody says that it is ours");
    }

    #[test]
    fn a_topic_made_anew_is_said_once() {
        let remade = (10, Some(Cause::TopicRemade), false, false);
        assert_eq!(placed(Some((42, Some("another"))), noted_as("another")), remade);
        assert_eq!(placed(None, noted_as("another")), remade, "its offsets went with it");
    }
}
