//! Consumed records to their outcomes, a batch at a time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use tracing::warn;

use crate::dead_letter::{DeadLetter, REDRIVES_HEADER, Stage};
use crate::event::{
    Decoded, DecodedSession, Event, EventKind, Headers as _, Place, Record, Refusal, SchemaNeeded, Session, SessionKey,
};
use crate::kafka::member::Member;
use crate::kafka::transaction::Outgoing;
use crate::kafka::{headers_of, said};
use crate::metrics::RecordOutcome;
use crate::route;
use crate::stage::catalogue::CatalogueChange;
use crate::store::DiskError;
use crate::time::Millis;
use crate::topic_table::Topic;
use crate::upsert::Lane;

use super::Worker;
use super::report::REGISTRY_WAITED_FOR;
use crate::stage::fold::headers::{KIND_HEADER, MessageHeaders, rekeyed};
use crate::stage::fold::inputs::input_of;
use crate::stage::fold::too_large::reason_header;
use crate::stage::fold::{Error, attempt};

/// Pause between two questions to a registry that does not answer.
const REGISTRY_PAUSE: Duration = Duration::from_secs(1);

/// Whether the record was dealt with.
pub(super) enum Progress {
    Done,
    /// A rebalance or the shutdown came first; the record is folded by whoever owns its partition then.
    Left,
}

/// What a record was read as.
enum Read<'m> {
    /// Kind and input of an event topic, or of the re-keyed ones.
    Event(Topic, Decoded<'m>),
    Session(DecodedSession),
    /// Of a topic that this stage does not read; only a change of the subscription could bring one.
    Foreign,
}

impl<M: Member> Worker<M> {
    /// Decodes and folds records, and moves their partitions' offsets behind them.
    pub(super) fn records(&mut self, batch: &[M::Message<'_>]) -> Result<Progress, Error> {
        let headers: Vec<MessageHeaders<'_, M::Message<'_>>> = batch.iter().map(MessageHeaders).collect();
        let mut done = 0;
        while let Some(rest) = headers.get(done..).filter(|rest| !rest.is_empty()) {
            let (read, needed) = self.read(rest);
            done += read.len();
            if let Err(error) = self.bring(rest, &read) {
                self.start_over(&error)?;
                return Ok(Progress::Left);
            }
            let now = self.parts.member.wall_clock();
            for (MessageHeaders(message), read) in rest.iter().zip(read) {
                self.take(message, read, now);
            }
            // What was folded so far is behind the offsets that waiting for the registry commits.
            if let Some(SchemaNeeded { id }) = needed
                && let Progress::Left = self.learn(id)?
            {
                return Ok(Progress::Left);
            }
        }
        Ok(Progress::Done)
    }

    /// Decodes, up to a record whose schema the decoder does not know yet.
    fn read<'m>(&self, batch: &'m [MessageHeaders<'_, M::Message<'_>>]) -> (Vec<Read<'m>>, Option<SchemaNeeded>) {
        let mut read = Vec::with_capacity(batch.len());
        for headers in batch {
            let message = headers.0;
            let one = match input_of(message.topic(), &self.parts.config.topics) {
                None => Ok(Read::Foreign),
                Some(Topic::Sessions) => {
                    self.decoder.decode_session(&record_of(message, None, headers)).map(Read::Session)
                }
                Some(input) => {
                    let named = || EventKind::from_name(std::str::from_utf8(headers.get(KIND_HEADER)?).ok()?);
                    let mut record = record_of(message, input.events().or_else(named), headers);
                    record.timestamp = headers.first_timestamp(input == Topic::Resolved);
                    self.decoder.decode(&record).map(|decoded| Read::Event(input, decoded))
                }
            };
            match one {
                Ok(one) => read.push(one),
                Err(needed) => return (read, Some(needed)),
            }
        }
        (read, None)
    }

    /// Brings what the events need into memory, and into the processor's caches.
    fn bring(&mut self, batch: &[MessageHeaders<'_, M::Message<'_>>], read: &[Read<'_>]) -> Result<(), DiskError> {
        let events = batch.iter().zip(read).filter_map(|(MessageHeaders(message), read)| match read {
            Read::Event(_, Decoded::Event(event)) => Some((message.partition(), event)),
            Read::Event(..) | Read::Session(_) | Read::Foreign => None,
        });
        let events: Vec<_> = events.collect();
        self.parts.metrics.state_loaded.inc_by(self.store.load(&events)?);
        black_box(self.store.warm(&events));
        Ok(())
    }

    fn take(&mut self, message: &M::Message<'_>, read: Read<'_>, now: Millis) {
        let input = match read {
            Read::Event(input, decoded) => {
                match decoded {
                    Decoded::Event(event) => self.accepted(message, input, &event, now),
                    Decoded::Ignored(ignored) => self.tally.ignore(input, &ignored, place_of(message)),
                    Decoded::Refused(refusal) => self.refused(message, input, &refusal),
                }
                input
            }
            Read::Session(decoded) => {
                match decoded {
                    DecodedSession::Session(session) => self.statement(message, session.key.clone(), Some(session)),
                    DecodedSession::Tombstone(key) => self.statement(message, key, None),
                    DecodedSession::Refused(refusal) => self.refused(message, Topic::Sessions, &refusal),
                }
                Topic::Sessions
            }
            Read::Foreign => return,
        };
        self.next_offsets.advance(input, message.partition(), message.offset() + 1);
    }

    fn accepted(&mut self, message: &M::Message<'_>, input: Topic, event: &Event<'_>, now: Millis) {
        let key = event.member.bytes();
        let home = route::partition(&key, self.parts.partitions);
        let first_timestamp = MessageHeaders(message).first_timestamp(input == Topic::Resolved);
        // The payload decides whose event it is; a key that says otherwise is none. The home may be somebody else's also
        // where this partition is ours: inputs need not have the same number of partitions.
        let keyed = message.key() == Some(key.as_slice());
        if !keyed || home != message.partition() || !self.owns(home) {
            self.reroute(message, (home, first_timestamp), event);
            self.tally.record(input, RecordOutcome::Rerouted);
            return;
        }
        let timestamp = first_timestamp.unwrap_or(event.occurred_at);
        let brought = self.positions.brings((input, message.partition()), message.offset());
        let lane = if brought { Lane::Backfill } else { lane(message, timestamp, now) };
        let partition = self.store.partition(home);
        let applied = if input == Topic::Resolved {
            partition.fold_resolved(event, timestamp, lane)
        } else {
            partition.fold(event, timestamp, lane)
        };
        if applied.conflict {
            self.tally.conflicts += 1;
        }
        self.tally.closed_gaps += u64::from(applied.closed);
        self.tally.record(input, if applied.changed() { RecordOutcome::Changed } else { RecordOutcome::Unchanged });
    }

    /// Sends an event to its member's partition, as it is, with the time of writing. The first record's timestamp goes
    /// with it, since the event is judged by that.
    fn reroute(&mut self, message: &M::Message<'_>, (home, first_timestamp): (i32, Option<Millis>), event: &Event<'_>) {
        let origin = format!("{}/{}/{}", message.topic(), message.partition(), message.offset());
        let rekeyed = Outgoing {
            partition: Some(home),
            key: Some(&event.member.bytes()),
            value: message.payload(),
            timestamp: None,
            headers: Some(rekeyed(message.headers(), event.kind, &origin, first_timestamp)),
        };
        self.records.push(Topic::Resolved, rekeyed);
    }

    /// A statement that is news goes to the catalogue topic, for every instance.
    fn statement(&mut self, message: &M::Message<'_>, key: SessionKey, session: Option<Session>) {
        let value = session.as_ref().map(Session::encode);
        let text = key.to_text();
        let at = message.timestamp().to_millis().unwrap_or_else(|| self.parts.member.wall_clock());
        let before = self.parts.catalogue.get(key.campaign, key.entry_id.as_deref()).cloned();
        if !self.catalogue_change(CatalogueChange { key: key.clone(), session: session.clone(), at }) {
            self.tally.record(Topic::Sessions, RecordOutcome::Unchanged);
            return;
        }
        self.statements.add(key, session, before);
        self.tally.record(Topic::Sessions, RecordOutcome::Changed);
        let (key, value) = (Some(text.as_bytes()), value.as_deref());
        self.records.push(Topic::Catalogue, Outgoing { key, value, timestamp: Some(at), ..Outgoing::default() });
    }

    fn refused(&mut self, message: &M::Message<'_>, input: Topic, refusal: &Refusal) {
        self.tally.refuse(input, refusal.reason);
        let letter = DeadLetter {
            stage: Stage::Fold,
            reason: refusal.reason.code().to_owned(),
            detail: refusal.detail.clone(),
            hint: format!(
                "see `{}` in docs/reason-codes.md; correct it at the producer and redrive",
                refusal.reason.code()
            ),
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers_of(message),
            object: None,
            external_id: None,
            fields: Vec::new(),
            attempts: 1,
            at: self.parts.member.wall_clock(),
            cut: None,
        };
        let record = Outgoing {
            key: letter.record_key(),
            value: Some(&letter.encode()),
            headers: Some(reason_header(&letter.reason)),
            ..Outgoing::default()
        };
        self.records.push(Topic::DeadLetters, record);
    }

    /// Asks the registry for a schema, as long as it takes. What was folded before is committed first; the inputs
    /// are paused meanwhile, and the consumer polled, so that the group does not give the member up.
    fn learn(&mut self, id: u32) -> Result<Progress, Error> {
        let Some((registry, runtime)) = &self.parts.registry else {
            self.decoder.learn_that_nobody_knows(id);
            return Ok(Progress::Done);
        };
        let answer = runtime.block_on(registry.schema(id));
        if let Ok(schema) = answer {
            self.decoder.learn(id, schema.as_deref().map_err(Refusal::clone));
            return Ok(Progress::Done);
        }
        let before = self.tenure.starts_over();
        self.flush()?;
        if self.tenure.lost() || before != self.tenure.starts_over() {
            return Ok(Progress::Left);
        }
        let assignment = attempt("list the assignment", self.parts.member.assignment())?;
        attempt("pause partitions", self.parts.member.pause(&assignment))?;
        self.lags_are_unknown();
        self.waits_for_registry(true);
        let health = Arc::clone(&self.parts.health);
        let before = health.own_reason();
        health.ready(false, REGISTRY_WAITED_FOR);
        let learned = self.ask_until_answered(id);
        health.ready(before.is_none(), before.as_deref().unwrap_or_default());
        self.waits_for_registry(false);
        self.resume_folding()?;
        Ok(if learned? { Progress::Done } else { Progress::Left })
    }

    /// False where a rebalance or the shutdown came first.
    fn ask_until_answered(&mut self, id: u32) -> Result<bool, Error> {
        let Some((registry, runtime)) = &self.parts.registry else { return Ok(false) };
        loop {
            match runtime.block_on(registry.schema(id)) {
                Ok(schema) => {
                    self.decoder.learn(id, schema.as_deref().map_err(Refusal::clone));
                    return Ok(true);
                }
                Err(error) => {
                    if let Some(times) = said::again(REGISTRY_WAITED_FOR) {
                        let error = error.with_causes();
                        warn!(error, schema_id = id, times, REGISTRY_WAITED_FOR);
                    }
                }
            }
            self.parts.health.beat();
            // Serves rebalances, and is the pause between two questions.
            self.poll_paused(REGISTRY_PAUSE)?;
            self.lags_are_unknown();
            if self.parts.member.rebalance_pending() || self.parts.shutdown.requested() {
                return Ok(false);
            }
        }
    }
}

fn record_of<'r, R: Message>(
    message: &'r R,
    kind: Option<EventKind>,
    headers: &'r MessageHeaders<'_, R>,
) -> Record<'r> {
    Record { kind, key: message.key(), value: message.payload(), timestamp: message.timestamp().to_millis(), headers }
}

/// What was brought by a tool is nothing that somebody waits for, whenever it arrived.
fn lane<R: Message>(message: &R, first_timestamp: Millis, now: Millis) -> Lane {
    let brought = MessageHeaders(message).get(REDRIVES_HEADER).is_some();
    if brought { Lane::Backfill } else { Lane::of(first_timestamp, now) }
}

fn place_of(message: &impl Message) -> Place<'_> {
    Place {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
    }
}
