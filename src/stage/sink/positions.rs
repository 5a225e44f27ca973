//! The sink's positions against the log of the upserts: a row that is passed over is a row that the org never gets.
//!
//! As the fold does for its inputs: where reading goes on is decided when partitions are assigned, and compared with the
//! log every ten seconds. The sink has no state that says how far it has come; the stamp of its own commits does, and a
//! note for each partition says that it has one, so that an offset without one is known to be somebody else's. Then the
//! log is read from its start: rows that the org has already change nothing, but each is a part of a call. So a partition
//! is noted only when its offset has a stamp, and no member of an earlier build, which commits without, may get it again.
//!
//! What nobody leads, or a broker that does not answer, waits alone: it is paused and named, and placed when its leader is
//! there. To join the group anew for it would stop all others, again and again for as long as that lasts.

mod logs;
mod placing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{error, warn};

use self::placing::{ID_FIELD, Placed, STAMPED_KEY, noted, place};
use super::outbox::ReadFrom;
use crate::config::Config;
use crate::dead_letter::Stage;
use crate::gap::{Cause, NotedGap};
use crate::kafka;
use crate::kafka::membership::{TopicPartition, listed};
use crate::kafka::native::topics::describe;
use crate::kafka::notes::Notes;
use crate::kafka::positions::{Ends, Stamp, committed, earlier_builds, ends_by_leader};
use crate::kafka::questions::{Answer, Asker, Question};
use crate::kafka::watch::Watch;
use crate::kafka::{client_config, said};
use crate::metrics::Metrics;
use crate::note::{Note, NoteBook, STAMPED};
use crate::stage::Shared;
use crate::stage::fold::gap::Gap;
use crate::stage::fold::unled::{self, Unled};
use crate::time::Millis;
use crate::topic_table::Topic;

/// Between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How long a broker may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long the notes are waited for at a start; they are a handful.
const NOTES_WITHIN: Duration = Duration::from_secs(5);
const NOTES_PAUSE: Duration = Duration::from_millis(50);
/// While brokers answer others an answer takes less, however many of them are away.
const ANSWERED_WITHIN: Duration = Duration::from_mins(1);
/// Who waits, for the watch.
const WHO: &str = "sink-positions";
/// See the fold's.
const JUMPS_MAX: usize = 64;

pub struct Positions {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    notes: Notes,
    watch: Arc<Watch>,
    clients: Mutex<Clients>,
    seen: Mutex<Seen>,
    /// Counts the logs that were read: the topic may be deleted and made anew.
    log: AtomicU32,
}

/// Of the sink's group, of which they are no members.
#[derive(Clone)]
struct Clients {
    /// Those that they were made with, as the watch counts them.
    secrets: u64,
    client: Arc<BaseConsumer>,
    asker: Arc<Asker>,
}

/// Offsets of a partition that did not come: from one up to another.
type Jump = (i32, i64, i64);

/// A question, and what was so when it was asked.
struct Asked {
    asker: Arc<Asker>,
    at: Instant,
    jumps: Vec<Jump>,
}

/// What follows from a look at the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    Well,
    /// These have leaders again, and are read on from where the group says.
    Placed(Vec<i32>),
    /// The partitions are to be assigned anew, so that the rows of before are let go first.
    Anew(&'static str),
}

#[derive(Default)]
struct Seen {
    /// As of the last assignment. None: the broker does not tell, or did not answer.
    topic_id: Option<String>,
    /// The last that was told, whenever that was.
    last_id: Option<String>,
    /// Where the assigned partitions are read on. None: nobody knows the topic.
    places: Option<BTreeMap<i32, Option<ReadFrom>>>,
    /// None between two assignments.
    assigned: Option<BTreeSet<i32>>,
    /// Nobody could say where reading goes on: they are not read.
    unplaced: BTreeSet<i32>,
    /// What nobody leads who answers, as of the last answer.
    unled: Unled,
    asked: Option<Asked>,
    /// The next offset to be read.
    next: BTreeMap<i32, i64>,
    /// Where reading goes on and the group does not say so with our stamp, as of the last assignment.
    unstamped: Vec<(i32, i64)>,
    /// What has our stamp, and is not noted yet.
    unnoted: BTreeSet<i32>,
    /// Offsets that did not come.
    jumps: Vec<Jump>,
    looked: Option<Instant>,
    strangers: Vec<String>,
}

impl Positions {
    pub fn new(shared: &Shared) -> KafkaResult<Self> {
        let Shared { config, metrics, notes, watch, .. } = shared;
        Self::of(config, metrics, notes, watch)
    }

    fn of(config: &Arc<Config>, metrics: &Arc<Metrics>, notes: &Notes, watch: &Arc<Watch>) -> KafkaResult<Self> {
        Ok(Self {
            config: Arc::clone(config),
            metrics: Arc::clone(metrics),
            notes: notes.clone(),
            clients: Mutex::new(clients(config, watch.secrets())?),
            watch: Arc::clone(watch),
            seen: Mutex::default(),
            log: AtomicU32::new(0),
        })
    }

    /// With the secrets of now.
    fn clients(&self) -> KafkaResult<Clients> {
        let mut ours = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = self.watch.secrets();
        if ours.secrets != secrets {
            *ours = clients(&self.config, secrets)?;
        }
        Ok(ours.clone())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says in the assignment where its partitions are read on.
    pub fn place(&self, assigned: &TopicPartitionList) {
        self.let_go();
        let partitions = listed(assigned);
        let (answer, placed) = self.decide(&partitions).unwrap_or_else(|error| {
            warn!(%error, "where the upserts are read on is not known");
            Default::default()
        });
        let mut seen = self.seen();
        seen.assigned = Some(partitions.iter().map(|(_, partition)| *partition).collect());
        seen.unplaced = partitions.iter().map(|(_, partition)| *partition).collect();
        drop(seen);
        self.look_for_leaders(&partitions, &answer, true);
        for Placed { of: (topic, partition), from, .. } in &placed {
            let element = assigned.find_partition(topic, *partition);
            if let Some(Err(error)) = element.map(|mut it| it.set_offset(Offset::Offset(*from))) {
                warn!(%error, partition, "the place to read from is not taken");
            }
        }
        self.take_places(&answer, placed);
    }

    /// The partitions are somebody else's, or are about to be placed anew.
    pub fn let_go(&self) {
        let mut seen = self.seen();
        *seen = Seen {
            strangers: std::mem::take(&mut seen.strangers),
            looked: seen.looked,
            last_id: seen.last_id.take(),
            ..Seen::default()
        };
        drop(seen);
        self.watch.waits(WHO, None);
    }

    fn take_places(&self, answer: &Answer, placed: Vec<Placed>) {
        let mut seen = self.seen();
        if let Some(described) = answer.topics.get(&self.config.topics.upserts) {
            seen.topic_id.clone_from(&described.id);
            self.count_log(&mut seen);
        }
        for Placed { of: (_, partition), from, stamped, noted, unread, .. } in &placed {
            seen.unplaced.remove(partition);
            let read_from = ReadFrom { offset: *from, unread: *unread };
            seen.places.get_or_insert_default().insert(*partition, Some(read_from));
            seen.next.insert(*partition, *from);
            if !stamped {
                seen.unstamped.push((*partition, *from));
            } else if !noted {
                seen.unnoted.insert(*partition);
            }
        }
        drop(seen);
        for Placed { of: (_, partition), from, gap, .. } in placed {
            if let Some(gap) = gap {
                self.gap(partition, from, gap);
            }
        }
    }

    /// Where partitions are read on, as far as their leaders answer.
    fn decide(&self, partitions: &[TopicPartition]) -> KafkaResult<(Answer, Vec<Placed>)> {
        let client = self.clients()?.client;
        let topic = self.config.topics.upserts.as_str();
        let topics = describe(client.client(), &[topic], ANSWERS_WITHIN)?;
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        // To ask for nothing is an error.
        let committed = if partitions.is_empty() {
            BTreeMap::new()
        } else {
            committed(&client.committed_offsets(list, ANSWERS_WITHIN)?)
        };
        let ends = ends_by_leader(&client, &topics, partitions, ANSWERS_WITHIN);
        let book = self.book();
        let topic_id = topics.get(topic).and_then(|it| it.id.as_deref());
        let placed = ends.iter().map(|(of, ends)| {
            let noted = noted(book.as_deref(), of.1);
            place(of, (committed.get(of), noted), topic_id, *ends)
        });
        let placed = placed.collect();
        Ok((Answer { topics, ends, strangers: None }, placed))
    }

    /// Those that are not read, as nobody says from where.
    pub fn unplaced(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in &self.seen().unplaced {
            list.add_partition(&self.config.topics.upserts, *partition);
        }
        list
    }

    /// Names what nobody leads who answers. `at_once`: it is not read before.
    fn look_for_leaders(&self, assigned: &[TopicPartition], answer: &Answer, at_once: bool) {
        let mut seen = self.seen();
        for (topic, partition) in assigned {
            let why = unled::why(answer, topic, *partition);
            if seen.unled.look((Topic::Upserts, *partition), why, at_once) {
                unled::say(topic, *partition, why);
            }
        }
        let reason = seen.unled.reason().or_else(|| self.untold(&seen, answer));
        drop(seen);
        self.watch.waits(WHO, reason);
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
        let group = kafka::group(&self.config, Stage::Sink.name());
        let ask = |client: Arc<_>| earlier_builds(&client, (&group, &self.config.application), ANSWERS_WITHIN);
        if self.clients().map(|ours| ours.client).and_then(ask).unwrap_or(true) {
            return;
        }
        for partition in unnoted {
            let note = Note::new(STAMPED, wall_clock());
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

    /// A record came; of which log.
    pub fn read(&self, partition: i32, offset: i64) -> u32 {
        let mut seen = self.seen();
        let next = seen.next.insert(partition, offset + 1);
        if let Some(next) = next.filter(|next| *next < offset) {
            seen.jumps.push((partition, next, offset));
            if seen.jumps.len() > JUMPS_MAX {
                seen.jumps.sort_by_key(|(_, from, to)| from - to);
                seen.jumps.truncate(JUMPS_MAX / 2);
            }
        }
        self.log()
    }

    /// Whether there is something to look at.
    pub fn due(&self) -> bool {
        let seen = self.seen();
        seen.asked.is_some() || seen.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL)
    }

    /// Now and then compares what is read with the log. Asks, and takes the answer at a later look: a broker that does
    /// not answer would be waited for.
    pub fn look(&self, assigned: &TopicPartitionList) -> Look {
        let assigned = listed(assigned);
        let looked = match self.answer() {
            None => self.ask(&assigned).map(|()| Look::Well),
            Some((jumps, answer)) => answer.and_then(|answer| self.compare(&assigned, jumps, &answer)),
        };
        looked.unwrap_or_else(|error| {
            if let Some(times) = said::again("the ends of the upserts are not known") {
                warn!(%error, times, "the ends of the upserts are not known");
            }
            Look::Well
        })
    }

    fn ask(&self, assigned: &[TopicPartition]) -> KafkaResult<()> {
        let mut seen = self.seen();
        let now = Instant::now();
        if let Some(asked) = &seen.asked {
            if now.duration_since(asked.at) < ANSWERED_WITHIN {
                return Ok(());
            }
            // By another client: this one does not come back.
            let anew = clients(&self.config, self.watch.secrets())?;
            *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = anew;
        }
        let asker = self.clients()?.asker;
        asker.ask(Question {
            topics: vec![self.config.topics.upserts.clone()],
            partitions: assigned.to_vec(),
            strangers: Some((kafka::group(&self.config, Stage::Sink.name()), self.config.application.clone())),
        });
        let mut jumps = std::mem::take(&mut seen.jumps);
        jumps.extend(seen.asked.take().into_iter().flat_map(|unanswered| unanswered.jumps));
        seen.looked = Some(now);
        seen.asked = Some(Asked { asker, at: now, jumps });
        Ok(())
    }

    /// The answer to the last question, with what had not come when it was asked.
    fn answer(&self) -> Option<(Vec<Jump>, KafkaResult<Answer>)> {
        let mut seen = self.seen();
        let answer = seen.asked.as_ref()?.asker.answer()?;
        let mut jumps = seen.asked.take().map(|asked| asked.jumps).unwrap_or_default();
        if answer.is_err() {
            seen.jumps.append(&mut jumps);
        }
        Some((jumps, answer))
    }

    fn compare(&self, assigned: &[TopicPartition], jumps: Vec<Jump>, answer: &Answer) -> KafkaResult<Look> {
        self.tell_strangers(answer.strangers.clone());
        self.note_stamped();
        let log_told = self.told_late(answer);
        let found = answer.topics.get(&self.config.topics.upserts).and_then(|it| it.id.as_ref());
        let mut seen = self.seen();
        if let (Some(before), Some(found)) = (&seen.topic_id, found)
            && before != found
        {
            return Ok(Look::Anew("the topic was made anew"));
        }
        let told = |partition: i32| answer.ends.keys().any(|(_, it)| *it == partition);
        let (jumps, untold): (Vec<Jump>, Vec<Jump>) = jumps.into_iter().partition(|(of, ..)| told(*of));
        seen.jumps.extend(untold);
        let unplaced = seen.unplaced.clone();
        drop(seen);
        self.look_for_leaders(assigned, answer, false);
        let (late, read): (Vec<_>, Vec<_>) = answer.ends.iter().partition(|((_, it), _)| unplaced.contains(it));
        for ((_, partition), Ends { start, .. }) in read {
            self.count(*partition, *start, &jumps);
        }
        let late: Vec<TopicPartition> = late.into_iter().map(|(of, _)| of.clone()).collect();
        if !late.is_empty() {
            return self.place_late(&late);
        }
        Ok(if log_told { Look::Placed(Vec::new()) } else { Look::Well })
    }

    /// Places what has a leader again.
    fn place_late(&self, partitions: &[TopicPartition]) -> KafkaResult<Look> {
        let (answer, placed) = self.decide(partitions)?;
        if placed.iter().any(|it| !it.as_committed) {
            return Ok(Look::Anew("a partition goes on elsewhere than the group says"));
        }
        let found = placed.iter().map(|it| it.of.1).collect();
        self.take_places(&answer, placed);
        Ok(Look::Placed(found))
    }

    /// Counts what is gone of a partition; what stands in the log and did not come was compacted away, or is a mark.
    fn count(&self, partition: i32, start: i64, jumps: &[Jump]) {
        let of_it = jumps.iter().filter(|(of, ..)| *of == partition);
        let mut passed_over: i64 = of_it.map(|(_, from, to)| (start.min(*to) - from).max(0)).sum();
        let mut seen = self.seen();
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

    fn tell_strangers(&self, found: Option<Vec<String>>) {
        let Some(found) = found else { return };
        self.metrics.positions.strangers(Stage::Sink).set(i64::try_from(found.len()).unwrap_or(i64::MAX));
        let mut seen = self.seen();
        if seen.strangers != found && !found.is_empty() {
            let members = found.join(", ");
            error!(members, "another application is a member of the sink's group; what it is assigned waits");
        }
        seen.strangers = found;
    }
}

fn clients(config: &Config, secrets: u64) -> KafkaResult<Clients> {
    let mut client = client_config(config);
    client.set("group.id", kafka::group(config, Stage::Sink.name()));
    let client: Arc<BaseConsumer> = Arc::new(client.create()?);
    Ok(Clients { secrets, asker: Arc::new(Asker::start(Arc::clone(&client))?), client })
}

fn wall_clock() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}
