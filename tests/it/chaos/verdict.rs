//! What must hold at the end, by what outlives every process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rollbook::dead_letter::{DeadLetter, Stage};
use rollbook::demo::reference::differences;
use rollbook::event::RefusalReason;
use rollbook::outcome::{Outcome, OutcomeKind};

use super::feeder::Place;
use super::site::Site;
use super::storm::Storm;
use crate::harness::{self, Names, Record};

/// For a backlog of the whole run and a last rebalance.
const WITHIN: Duration = Duration::from_mins(4);
/// For what is still under way when all offsets are committed.
const AFTERWARDS: Duration = Duration::from_mins(1);

/// Topic, partition, offset.
type Position = (String, i32, i64);

pub struct Verdict<'a> {
    pub seed: u64,
    pub site: &'a Site,
    pub storm: &'a Storm,
    pub places: &'a [Place],
}

/// What the run came to. What was written twice is allowed, and told.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "it is read as text")]
pub struct Conserved {
    records: usize,
    rows: usize,
    refused: usize,
    refused_again: usize,
    rekeyed: usize,
    rekeyed_again: usize,
    upserts: usize,
    outcomes: usize,
    outcomes_again: usize,
    /// Bulk jobs whose records compaction has left.
    pub jobs: usize,
}

impl Verdict<'_> {
    /// Waits until every record of the inputs is folded, and every upsert that came of it has an outcome.
    #[track_caller]
    pub fn settles(&self) {
        for input in self.site.names.inputs() {
            self.consumed("fold", input);
        }
        self.consumed("sink", &self.site.names.topics.upserts);
    }

    #[track_caller]
    fn consumed(&self, stage: &str, topic: &str) {
        let client = self.site.client();
        let ends = Names::ends(&client, topic);
        harness::until(&format!("seed {}: the {stage} to commit all of `{topic}`", self.seed), WITHIN, || {
            self.site.names.consumed(&client, stage, topic, &ends)
        });
    }

    /// Field by field, the whole org. A change of the catalogue derives its members again a little after its record is
    /// folded, so that one look would be too early.
    #[track_caller]
    pub fn org_is_right(&self) {
        let expected = self.storm.expected();
        harness::until(&format!("seed {}: the org to equal the reference fold", self.seed), AFTERWARDS, || {
            let differences = differences(&expected, &self.site.org.rows()?);
            let Some(first) = differences.first() else { return Ok(()) };
            Err(format!("{} differences, the first: {first}", differences.len()))
        });
    }

    /// No Bulk job is left behind: what is recorded of each ends with a tombstone.
    #[track_caller]
    pub fn no_job_is_left(&self) {
        harness::until(&format!("seed {}: every job to be done with", self.seed), AFTERWARDS, || {
            let mut last = BTreeMap::new();
            for record in self.read(&self.site.names.topics.bulk_jobs) {
                last.insert((record.partition, record.key), record.value.is_some());
            }
            match last.values().filter(|open| **open).count() {
                0 => Ok(()),
                open => Err(format!("{open} of {} records are open", last.len())),
            }
        });
    }

    /// Every consumed record and every upsert has ended in exactly one way.
    #[track_caller]
    pub fn everything_is_conserved(&self) -> Conserved {
        let mut conserved =
            Conserved { records: self.places.len(), rows: self.storm.expected().len(), ..Conserved::default() };
        let refused = self.every_refused_record_has_its_dead_letter(&mut conserved);
        self.every_rekeyed_record_was_sent_once(&refused, &mut conserved);
        self.every_upsert_has_its_outcome(&mut conserved);
        let jobs: BTreeSet<_> = self.read(&self.site.names.topics.bulk_jobs).into_iter().map(|it| it.key).collect();
        conserved.jobs = jobs.len();
        conserved
    }

    fn every_refused_record_has_its_dead_letter(&self, conserved: &mut Conserved) -> BTreeSet<Position> {
        let seed = self.seed;
        let mut refused: BTreeMap<Position, String> = BTreeMap::new();
        let mut rows = BTreeSet::new();
        for record in self.read(&self.site.names.topics.dead_letters) {
            let letter = DeadLetter::decode(record.value.as_deref().expect("it has a value"));
            let letter = letter.expect("it is of this version");
            assert_eq!(letter.stage, Stage::Fold, "seed {seed}: the org refused a row: {letter:?}");
            if letter.object.is_some() {
                rows.insert((letter.object, letter.external_id));
                continue;
            }
            let position = (letter.topic, letter.partition, letter.offset);
            if let Some(reason) = refused.insert(position.clone(), letter.reason.clone()) {
                assert_eq!(reason, letter.reason, "seed {seed}: two verdicts on {position:?}");
                conserved.refused_again += 1;
            }
        }
        conserved.refused = refused.len();
        let rows_refused: u64 = self.storm.days.iter().map(|day| day.rows_refused).sum();
        assert_eq!(u64::try_from(rows.len()).expect("few"), rows_refused, "seed {seed}: {rows:?}");

        // A record is refused wherever it stands, and the conference knows how many of each kind it made.
        let mut judged: BTreeMap<(usize, usize), Option<&str>> = BTreeMap::new();
        let positions: BTreeSet<&Position> = self.places.iter().map(|(position, _)| position).collect();
        for (position, of) in self.places {
            let reason = refused.get(position).map(String::as_str);
            let first = *judged.entry(*of).or_insert(reason);
            assert_eq!(first, reason, "seed {seed}: a copy of the same record, at {position:?}");
        }
        let unknown = refused.keys().find(|position| !positions.contains(position));
        assert_eq!(unknown, None, "seed {seed}: a dead letter of a record that was never sent");
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        for reason in judged.values().flatten() {
            *found.entry(reason).or_default() += 1;
        }
        assert_eq!(found, self.refusals(), "seed {seed}");
        refused.into_keys().collect()
    }

    /// By reason, each record once.
    fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let mut refusals: BTreeMap<RefusalReason, u64> = BTreeMap::new();
        for (reason, count) in self.storm.days.iter().flat_map(|day| &day.refused) {
            *refusals.entry(*reason).or_default() += count;
        }
        refusals.into_iter().map(|(reason, count)| (reason.code(), count)).collect()
    }

    fn every_rekeyed_record_was_sent_once(&self, refused: &BTreeSet<Position>, conserved: &mut Conserved) {
        let seed = self.seed;
        let sent: BTreeSet<String> = self.places.iter().map(|(position, _)| origin(position)).collect();
        let refused: BTreeSet<String> = refused.iter().map(origin).collect();
        let mut origins = BTreeSet::new();
        for record in self.read(&self.site.names.topics.resolved) {
            let origin = record.headers.iter().find(|(name, _)| name == "rollbook.origin");
            let origin = origin.and_then(|(_, value)| value.clone()).expect("a re-keyed record says where it stood");
            let origin = String::from_utf8(origin).expect("it is a text");
            assert!(sent.contains(&origin), "seed {seed}: {origin} was never sent");
            assert!(!refused.contains(&origin), "seed {seed}: {origin} was refused and re-keyed");
            if !origins.insert(origin) {
                conserved.rekeyed_again += 1;
            }
        }
        assert!(!origins.is_empty(), "seed {seed}: some records stood in a wrong partition");
        conserved.rekeyed = origins.len();
    }

    /// Compaction leaves the newest version of each row at least, whose outcome must be a last one.
    fn every_upsert_has_its_outcome(&self, conserved: &mut Conserved) {
        let seed = self.seed;
        let mut outcomes: BTreeMap<(i32, i64), Outcome> = BTreeMap::new();
        for record in self.read(&self.site.names.topics.outcomes) {
            let outcome = Outcome::decode(record.value.as_deref().expect("it has a value"));
            let outcome = outcome.expect("it is of this version");
            conserved.outcomes += 1;
            let upsert = (outcome.upsert_partition, outcome.upsert_offset);
            if let Some(before) = outcomes.insert(upsert, outcome) {
                conserved.outcomes_again += 1;
                let same = (&before.object, &before.external_id);
                let after = &outcomes[&upsert];
                assert_eq!(same, (&after.object, &after.external_id), "seed {seed}: two rows at {upsert:?}");
            }
        }
        let mut newest = BTreeMap::new();
        for record in self.read(&self.site.names.topics.upserts) {
            let upsert = (record.partition.expect("it was read"), record.offset.expect("it was read"));
            assert!(outcomes.contains_key(&upsert), "seed {seed}: the upsert at {upsert:?} has no outcome");
            conserved.upserts += 1;
            newest.insert((upsert.0, record.key), upsert);
        }
        for upsert in newest.values() {
            let outcome = &outcomes[upsert];
            let last = matches!(outcome.kind, OutcomeKind::Created | OutcomeKind::Updated);
            assert!(last, "seed {seed}: the newest version of {} was {:?}", outcome.key(), outcome.kind);
        }
    }

    fn read(&self, topic: &str) -> Vec<Record> {
        harness::read(&self.site.client(), topic)
    }
}

fn origin((topic, partition, offset): &Position) -> String {
    format!("{topic}/{partition}/{offset}")
}
