//! The newest ignored record of each kind: a count alone tells nobody that eight hundred registrations were misspelt.
//!
//! Bounded, since what stands in the place of a symbol is up to whoever sends: of more kinds than fit, those that came
//! last are kept. No key and no value of a record is in it; whoever wants those reads the record at its position.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{EventKind, Found, IgnoreReason, Ignored};
use crate::time::Millis;

/// By reason, kind of event and what was found; more than there are of them unless somebody sends nonsense.
const SAMPLES_MAX: usize = 64;

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// The record's own timestamp.
    pub timestamp: Option<Millis>,
}

/// The newest ignored record of its reason, kind and symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub reason: String,
    pub kind: String,
    pub field: String,
    /// None: nothing stands there, or nothing that looks like a symbol.
    pub symbol: Option<String>,
    /// What it may have been meant to be.
    pub nearest: Option<String>,
    /// The same in a sentence.
    pub detail: String,
    /// Of its kind, as long as this instance has kept a sample of it.
    pub records: u64,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    newest: BTreeMap<(IgnoreReason, EventKind, Found), Kept>,
    /// Additions so far.
    clock: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    sample: Sample,
    added: u64,
}

impl Samples {
    pub fn add(&mut self, ignored: &Ignored, place: Place<'_>) {
        let key = (ignored.reason, ignored.kind, ignored.found.clone());
        if let Some(kept) = self.newest.get_mut(&key) {
            self.clock += 1;
            kept.added = self.clock;
            kept.sample.records += 1;
            kept.sample.stands_at(place);
            return;
        }
        self.put(key, Sample::of(ignored, place));
    }

    /// Takes over what is newer. Returns what was never heard of, as long as there is room for more: nonsense without end
    /// is told of once.
    pub fn merge(&mut self, newer: Self) -> Vec<Sample> {
        let mut fresh = Vec::new();
        let mut newer: Vec<_> = newer.newest.into_iter().collect();
        newer.sort_by_key(|(_, kept)| kept.added);
        for (key, Kept { mut sample, .. }) in newer {
            match self.newest.get(&key) {
                Some(before) => sample.records += before.sample.records,
                None if self.newest.len() < SAMPLES_MAX => fresh.push(sample.clone()),
                None => {}
            }
            self.put(key, sample);
        }
        fresh
    }

    /// The newest first.
    pub fn list(&self) -> Vec<Sample> {
        let mut kept: Vec<&Kept> = self.newest.values().collect();
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.added));
        kept.into_iter().map(|kept| kept.sample.clone()).collect()
    }

    fn put(&mut self, key: (IgnoreReason, EventKind, Found), sample: Sample) {
        self.clock += 1;
        self.newest.insert(key, Kept { sample, added: self.clock });
        if self.newest.len() > SAMPLES_MAX {
            let oldest = self.newest.iter().min_by_key(|(_, kept)| kept.added).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.newest.remove(&key));
        }
    }
}

impl Sample {
    fn of(ignored: &Ignored, place: Place<'_>) -> Self {
        let mut sample = Self {
            reason: ignored.reason.code().to_owned(),
            kind: ignored.kind.name().to_owned(),
            field: ignored.field.to_owned(),
            symbol: ignored.found.symbol().map(str::to_owned),
            nearest: ignored.nearest.map(str::to_owned),
            detail: ignored.detail(),
            records: 1,
            topic: String::new(),
            partition: 0,
            offset: 0,
            at: None,
        };
        sample.stands_at(place);
        sample
    }

    fn stands_at(&mut self, Place { topic, partition, offset, timestamp }: Place<'_>) {
        if self.topic != topic {
            topic.clone_into(&mut self.topic);
        }
        (self.partition, self.offset) = (partition, offset);
        self.at = timestamp.and_then(|at| Timestamp::from_millisecond(at).ok());
    }

    /// Whether it is a mistake of whoever sent it, not something that this version does without.
    pub fn of_mistake(&self) -> bool {
        [IgnoreReason::UnknownSymbol, IgnoreReason::NoEntry].iter().any(|reason| reason.code() == self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(symbol: &str) -> Ignored {
        Ignored {
            reason: IgnoreReason::UnknownSymbol,
            kind: EventKind::Registration,
            field: "action",
            found: Found::Symbol(symbol.to_owned()),
            nearest: Some("REGISTERED"),
        }
    }

    fn at(offset: i64) -> Place<'static> {
        Place { topic: "registrations", partition: 3, offset, timestamp: Some(1_767_225_600_000) }
    }

    #[test]
    fn the_newest_of_each_kind_is_kept_and_counted() {
        let mut samples = Samples::default();
        let mut commit = Samples::default();
        for offset in 0..800 {
            commit.add(&ignored("REGISTERD"), at(offset));
        }
        commit.add(&ignored("CREATD"), at(800));
        let fresh = samples.merge(commit);
        assert_eq!(fresh.iter().map(|it| it.symbol.as_deref().unwrap()).collect::<Vec<_>>(), ["REGISTERD", "CREATD"]);
        let mut commit = Samples::default();
        commit.add(&ignored("REGISTERD"), at(900));
        assert_eq!(samples.merge(commit), [], "it was told of");
        let [newest, other] = <[Sample; 2]>::try_from(samples.list()).unwrap();
        assert_eq!((newest.records, newest.offset, newest.partition), (801, 900, 3));
        assert_eq!(newest.at.unwrap().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(newest.detail, "`action` is `REGISTERD`, which is not known; the nearest is `REGISTERED`");
        assert_eq!((other.symbol.as_deref(), other.records), (Some("CREATD"), 1));
        assert!(newest.of_mistake());
    }

    #[test]
    fn nonsense_without_end_takes_no_more_room_and_is_told_of_once() {
        let mut samples = Samples::default();
        let mut told = 0;
        for number in 0..1_000 {
            let mut commit = Samples::default();
            commit.add(&ignored(&format!("S{number}")), at(number));
            told += samples.merge(commit).len();
        }
        assert_eq!((told, samples.list().len()), (SAMPLES_MAX, SAMPLES_MAX));
        assert_eq!(samples.list()[0].offset, 999);
    }
}
