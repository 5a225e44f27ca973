//! What changed since the last commit, as the records of one transaction.
//!
//! A row is sent where it differs from the one that was last sent, which the piece remembers as a hash. The hash is
//! written with the piece in the same transaction as the row, so that neither a crash nor a late catalogue can lose
//! or repeat a change.

use std::hint::black_box;

use crate::config::Topics;
use crate::dead_letter::{DeadLetter, Stage};
use crate::event::{MemberKey, Millis};
use crate::fold::{Aggregate, Catalogue, EntryPiece};
use crate::kafka::transaction::Outgoing;
use crate::metrics::RowOutcome;
use crate::store::{Partition, Store, piece_key};
use crate::upsert::{self, Row, RowRefusal};

use super::tally::Tally;

/// Members that are derived again for the catalogue in one commit, so that a large campaign does not hold up the
/// facts that arrive meanwhile.
const STALE_MEMBERS_PER_COMMIT: usize = 20_000;

/// Members that are read ahead of their turn; so many fit into a core's own cache.
const MEMBERS_AHEAD: usize = 32;

/// Collects the records of one commit.
pub struct Changes<'a> {
    pub topics: &'a Topics,
    pub catalogue: &'a Catalogue,
    pub tally: &'a mut Tally,
    pub records: &'a mut Vec<Outgoing>,
    pub now: Millis,
}

/// Whose piece is looked at.
struct Subject<'a> {
    partition: i32,
    member: &'a MemberKey,
    event_at: Millis,
}

impl Changes<'_> {
    /// Every piece with new facts, and some of those that the catalogue made stale.
    pub fn collect(&mut self, store: &mut Store) {
        for (partition, pieces) in store.partitions() {
            while pieces.dirty_members() > 0 {
                black_box(pieces.warm_dirty(MEMBERS_AHEAD));
                self.collect_dirty(partition, pieces);
            }
            for _ in 0..STALE_MEMBERS_PER_COMMIT {
                let Some((stale, aggregate)) = pieces.take_stale() else { break };
                let subject = Subject { partition, member: &stale.member, event_at: stale.event_at };
                self.member(&subject, aggregate);
                for (entry_id, piece) in aggregate.entries.values_mut() {
                    if stale.about.entry_id.as_deref().is_none_or(|about| about == &**entry_id) {
                        self.entry(&subject, entry_id, piece);
                    }
                }
            }
        }
    }

    fn collect_dirty(&mut self, partition: i32, pieces: &mut Partition) {
        for _ in 0..MEMBERS_AHEAD {
            let Some((member, aggregate, event_at)) = pieces.take_dirty() else { break };
            let subject = Subject { partition, member: &member, event_at };
            // A member's row exists from its first event on, whatever that event was about.
            if aggregate.member.dirty || aggregate.member.row_hash == 0 {
                self.member(&subject, aggregate);
            }
            for (entry_id, piece) in aggregate.entries.values_mut().filter(|(_, piece)| piece.dirty) {
                self.entry(&subject, entry_id, piece);
            }
        }
    }

    fn member(&mut self, subject: &Subject<'_>, aggregate: &mut Aggregate) {
        let row = upsert::member_row(subject.member, &aggregate.member, self.catalogue);
        let sent = self.row(subject, Some(Ok(row)), &mut aggregate.member.row_hash);
        let changed = std::mem::take(&mut aggregate.member.dirty);
        if sent || changed {
            self.state(subject, None, aggregate.member.encode());
        }
    }

    fn entry(&mut self, subject: &Subject<'_>, entry_id: &str, piece: &mut EntryPiece) {
        let engagement = upsert::engagement_row(subject.member, entry_id, piece, self.catalogue);
        let polls = upsert::polls_row(subject.member, entry_id, piece, self.catalogue);
        let engagement_sent = self.row(subject, engagement, &mut piece.engagement_row_hash);
        let polls_sent = self.row(subject, polls, &mut piece.polls_row_hash);
        let changed = std::mem::take(&mut piece.dirty);
        if engagement_sent || polls_sent || changed {
            self.state(subject, Some(entry_id), piece.encode());
        }
    }

    /// Sends a row, or its refusal, if it is not what was last sent.
    fn row(&mut self, subject: &Subject<'_>, row: Option<Result<Row, RowRefusal>>, last_sent: &mut u64) -> bool {
        let Some(row) = row else { return false };
        let row = row.map(|row| (row.content(), row));
        let (object, hash) = match &row {
            Ok((content, row)) => (row.object, content.hash()),
            Err(refusal) => (refusal.object, refusal.hash()),
        };
        if hash == *last_sent {
            self.tally.row(object, RowOutcome::Unchanged);
            return false;
        }
        *last_sent = hash;
        match row {
            Ok((content, row)) => {
                self.tally.row(object, RowOutcome::Written);
                let value = content.upsert(subject.member, subject.event_at);
                self.write(&self.topics.upserts, Some(subject.partition), row.key(), value);
            }
            Err(refusal) => {
                self.tally.row(object, RowOutcome::DeadLettered);
                self.refusal(subject, &refusal);
            }
        }
        true
    }

    fn state(&mut self, subject: &Subject<'_>, entry_id: Option<&str>, value: Vec<u8>) {
        self.write(&self.topics.state, Some(subject.partition), piece_key(subject.member, entry_id), value);
    }

    fn refusal(&mut self, subject: &Subject<'_>, refusal: &RowRefusal) {
        let key = subject.member.bytes().to_vec();
        let letter = DeadLetter {
            stage: Stage::Fold,
            reason: refusal.code().to_owned(),
            detail: refusal.detail.clone(),
            hint: "correct the value at its producer; the next change of the row is tried again".to_owned(),
            topic: self.topics.state.clone(),
            partition: subject.partition,
            offset: -1,
            timestamp: Some(subject.event_at),
            key: Some(key.clone()),
            value: None,
            headers: Vec::new(),
            object: Some(refusal.object.api_name().to_owned()),
            external_id: Some(refusal.external_id.clone()),
            fields: vec![refusal.field.to_owned()],
            attempts: 1,
            at: self.now,
        };
        self.tally.dead_letter(refusal.code());
        self.write(&self.topics.dead_letters, None, key, letter.encode());
    }

    fn write(&mut self, topic: &str, partition: Option<i32>, key: Vec<u8>, value: Vec<u8>) {
        let topic = topic.to_owned();
        self.records.push(Outgoing {
            topic,
            partition,
            key: Some(key),
            value: Some(value),
            timestamp: None,
            headers: None,
        });
    }
}
