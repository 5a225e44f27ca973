//! Sending what was refused again.
//!
//! An event goes to its own topic as it was: key, value, headers and timestamp. A row goes to the upserts in its newest
//! version only: an older one would overwrite what Salesforce holds now. Whichever of a row's letters is named, the
//! newest version is sent where it was refused, too, and nothing where it was delivered. The newest version is the last
//! record of the row that the topic has, and a letter is of that record where key, offset and timestamp are the same.
//! Offsets alone, as looks enough, say nothing of a topic that was made anew since: a higher one may be of an older version,
//! and the same one of another row. Sending twice is harmless, as
//! events and rows are idempotent; sending for ever is not, so each record counts its redrives in a header and is left
//! alone at the bound. A record that was refused again has a letter for each time, all of which ask for the same: only
//! the newest is sent, or every redrive would double what comes back. Of a record that was too large for a letter the
//! whole is read from where it stands, for as long as its topic keeps it.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::Message;

use super::{Letter, complete};
use crate::config::Config;
use crate::dead_letter::{LOG_GONE, REDRIVES_HEADER, Stage};
use crate::kafka::scan::{Bound, Next, Range, ScanError, Scanner};
use crate::kafka::send::{Homes, Outgoing, SendError, Sender};
use crate::time::Millis;

/// A record that was refused so often is not mended by another try.
const REDRIVES_MAX: u32 = 5;
/// Rounds in which a row is sent again because the fold wrote another version at the same moment.
const ROUNDS_MAX: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the fold keeps writing newer versions of these rows; they will be written without a redrive")]
    Overtaken,
}

/// What is to be done with a letter.
#[derive(Clone, Copy)]
pub enum Verdict<'a> {
    /// The record of this letter is sent: its own, or that of the newest version of the row.
    Send(&'a Letter),
    /// Not sent, and why.
    Leave(&'static str),
}

/// Letters, and what must be known to send again what they hold.
pub struct Redrive {
    letters: Vec<Letter>,
    /// Letters of newer versions of their rows.
    newer: Vec<Letter>,
    /// The newest versions of their rows.
    newest: Versions,
}

impl Redrive {
    /// Of several letters of one event only the newest is taken.
    pub fn of(config: &Config, letters: Vec<Letter>) -> Result<Self, ScanError> {
        let mut letters = newest_of_each(letters);
        complete(config, &mut letters)?;
        let newest = newest_rows(config, &letters)?;
        let newer = newer_letters(config, &letters, &newest)?;
        Ok(Self { letters, newer, newest })
    }

    pub fn verdicts(&self) -> Vec<(&Letter, Verdict<'_>)> {
        let rows = self.letters.iter().chain(&self.newer);
        let rows: Refused<'_> = rows.filter_map(|letter| Some((record_of(letter)?, letter))).collect();
        self.letters.iter().map(|letter| (letter, verdict(letter, &self.newest, &rows))).collect()
    }
}

/// The letters whose records are sent by these verdicts, each once.
pub fn chosen<'a>(verdicts: &[(&Letter, Verdict<'a>)]) -> Vec<&'a Letter> {
    let sent = verdicts.iter().filter_map(|(_, verdict)| match verdict {
        Verdict::Send(letter) => Some(((letter.partition, letter.offset), *letter)),
        Verdict::Leave(_) => None,
    });
    sent.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// Without the letters whose record has a newer one: the same event, refused once more.
fn newest_of_each(letters: Vec<Letter>) -> Vec<Letter> {
    let mut newest: BTreeMap<_, usize> = BTreeMap::new();
    for (at, letter) in letters.iter().enumerate().filter(|(_, letter)| letter.content.stage == Stage::Fold) {
        let place = newest.entry(record(letter)).or_insert(at);
        let older = |other: &Letter| redrives(&other.content.headers) <= redrives(&letter.content.headers);
        if letters.get(*place).is_some_and(older) {
            *place = at;
        }
    }
    let kept: BTreeSet<usize> = newest.into_values().collect();
    let numbered = letters.into_iter().enumerate();
    numbered.filter(|(at, letter)| letter.content.stage != Stage::Fold || kept.contains(at)).map(|(_, it)| it).collect()
}

/// What makes two letters letters of the same record, whatever partition it was sent to again.
fn record(letter: &Letter) -> impl Ord + use<'_> {
    let content = &letter.content;
    let headers = content.headers.iter().filter(|(key, _)| key != REDRIVES_HEADER).collect::<Vec<_>>();
    let row = (&content.object, &content.external_id, &content.fields);
    let whole = content.cut.as_ref().map(|cut| (cut.value_bytes, &cut.digest));
    let row = (row, whole);
    (&content.topic, &content.key, &content.value, content.timestamp, headers, row)
}

/// A row's key and the partition that holds its versions.
type RowKey = (i32, Vec<u8>);

/// Newest version of each row.
type Versions = BTreeMap<RowKey, Version>;

/// A version of a row, as it stands among the upserts.
struct Version {
    offset: i64,
    timestamp: Option<Millis>,
    /// None: a tombstone.
    value: Option<Vec<u8>>,
}

/// What tells a record of the upserts from any other, also from one of a topic of the same name.
type RecordId = (RowKey, i64, Option<Millis>);

/// The letters of rows, by the records that were refused.
type Refused<'a> = BTreeMap<RecordId, &'a Letter>;

const SUPERSEDED: &str = "superseded: a newer version of the row was delivered or is on its way";
/// Where compaction leaves the newest version, only a topic that was made anew, or has lost its end, has an older offset.
const MADE_ANEW: &str =
    "superseded: the topic was made anew since, and has a version of the row; it is written when the member changes";
const GONE: &str = "no longer among the upserts";

fn verdict<'a>(letter: &'a Letter, newest: &Versions, refused: &Refused<'a>) -> Verdict<'a> {
    let content = &letter.content;
    let chosen = match (content.stage, &content.object) {
        (Stage::Fold, None) => letter.lost.map_or(Ok(letter), Err),
        (Stage::Fold, Some(_)) => Err("a row that was never written; it is derived again with its member"),
        (Stage::Sink, _) => row_key(letter).map_or(Err(GONE), |key| newest_refused(letter, key, newest, refused)),
    };
    match chosen {
        Ok(letter) if redrives(&letter.content.headers) >= REDRIVES_MAX => Verdict::Leave("sent again too often"),
        Ok(letter) => Verdict::Send(letter),
        Err(why) => Verdict::Leave(why),
    }
}

/// The letter of the newest version of a letter's row, or why there is none.
fn newest_refused<'a>(
    letter: &Letter,
    key: RowKey,
    newest: &Versions,
    refused: &Refused<'a>,
) -> Result<&'a Letter, &'static str> {
    let content = &letter.content;
    let version = newest.get(&key).filter(|version| version.value.is_some()).ok_or(GONE)?;
    let (offset, timestamp) = (version.offset, version.timestamp);
    if let Some(newest) = refused.get(&(key, offset, timestamp)) {
        return Ok(newest);
    }
    let of_another_log = content.reason == LOG_GONE || offset <= content.offset;
    Err(if of_another_log { MADE_ANEW } else { SUPERSEDED })
}

/// None where the letter is of no row that the topic can still have.
fn record_of(letter: &Letter) -> Option<RecordId> {
    let content = &letter.content;
    (content.reason != LOG_GONE).then(|| Some((row_key(letter)?, content.offset, content.timestamp))).flatten()
}

/// The letters of newest versions where none is among these letters.
fn newer_letters(config: &Config, letters: &[Letter], newest: &Versions) -> Result<Vec<Letter>, ScanError> {
    let record = |(key, version): (&RowKey, &Version)| (key.clone(), version.offset, version.timestamp);
    let mut wanted: BTreeSet<RecordId> = newest.iter().map(record).collect();
    for record in letters.iter().filter_map(record_of) {
        wanted.remove(&record);
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    super::letters(config, None, |letter| record_of(letter).is_some_and(|record| wanted.contains(&record)))
}

fn row_key(letter: &Letter) -> Option<RowKey> {
    let content = &letter.content;
    (content.stage == Stage::Sink).then(|| Some((content.partition, content.key.clone()?))).flatten()
}

/// The newest version of every row that a letter is about.
fn newest_rows(config: &Config, letters: &[Letter]) -> Result<Versions, ScanError> {
    let wanted: BTreeSet<RowKey> = letters.iter().filter_map(row_key).collect();
    versions_after(config, &wanted, &BTreeMap::new(), &BTreeSet::new())
}

/// Where a version of a row stands among the upserts.
type RowAt = (i32, i64);

/// The newest version of each wanted row, from the given offsets on, leaving out the offsets that are our own.
fn versions_after(
    config: &Config,
    wanted: &BTreeSet<RowKey>,
    from: &BTreeMap<i32, i64>,
    own: &BTreeSet<RowAt>,
) -> Result<Versions, ScanError> {
    let mut versions = Versions::new();
    let mut by_start: BTreeMap<Option<i64>, BTreeSet<i32>> = BTreeMap::new();
    for (partition, _) in wanted {
        by_start.entry(from.get(partition).copied()).or_default().insert(*partition);
    }
    let ranges = by_start.into_iter().map(|(from, partitions)| {
        Range::of(&config.topics.upserts).partitions(partitions).from(from.map_or(Bound::Open, Bound::Offset))
    });
    let ranges: Vec<Range> = ranges.collect();
    Scanner::new(config)?.read(&ranges, |record| {
        let key = (record.partition(), record.key().unwrap_or_default().to_vec());
        if wanted.contains(&key) && !own.contains(&(record.partition(), record.offset())) {
            let (offset, timestamp) = (record.offset(), record.timestamp().to_millis());
            versions.insert(key, Version { offset, timestamp, value: record.payload().map(<[u8]>::to_vec) });
        }
        Next::On
    })?;
    Ok(versions)
}

/// Sends the letters' records; returns how many failed.
pub fn send(config: &Config, letters: &[&Letter]) -> Result<usize, Error> {
    let sender = Sender::new(config)?;
    let mut homes = Homes::new(config)?;
    for (tag, letter) in letters.iter().enumerate() {
        let content = &letter.content;
        let headers = counted(&content.headers);
        let partition = if content.stage == Stage::Sink {
            content.partition
        } else {
            let home = homes.of(&content.topic, content.key.as_deref().unwrap_or_default())?;
            // Without a key the member is in the payload, and any partition is as good as the first one.
            content.key.as_ref().map_or(content.partition, |_| home)
        };
        let outgoing = Outgoing {
            topic: &content.topic,
            partition,
            key: content.key.as_deref(),
            value: content.value.as_deref(),
            headers: &headers,
            timestamp: content.timestamp,
        };
        sender.send(&outgoing, tag)?;
    }
    let deliveries = sender.finish()?;
    let failed = deliveries.iter().filter(|delivery| delivery.result.is_err()).count();
    let own = deliveries.iter().filter_map(|delivery| {
        let letter = letters.get(delivery.tag)?;
        let key = row_key(letter)?;
        Some((key, letter.content.offset, delivery.result.ok()?))
    });
    settle(config, &sender, own.collect())?;
    Ok(failed)
}

/// The fold may have written a newer version of a row between our look and our sending, which is then the older one.
/// Such a version is sent once more, until a look finds none.
fn settle(config: &Config, sender: &Sender, sent: Vec<(RowKey, i64, i64)>) -> Result<(), Error> {
    let wanted: BTreeSet<RowKey> = sent.iter().map(|(key, ..)| key.clone()).collect();
    let mut own: BTreeSet<RowAt> = sent.iter().map(|((partition, _), _, offset)| (*partition, *offset)).collect();
    let mut seen: BTreeMap<RowKey, i64> = sent.into_iter().map(|(key, seen, _)| (key, seen)).collect();
    for _ in 0..ROUNDS_MAX {
        let mut from: BTreeMap<i32, i64> = BTreeMap::new();
        for ((partition, _), offset) in &seen {
            let from = from.entry(*partition).or_insert(*offset);
            *from = (*from).min(*offset);
        }
        let versions = versions_after(config, &wanted, &from, &own)?;
        let newer: Vec<_> =
            versions.into_iter().filter(|(key, it)| seen.get(key).is_some_and(|seen| it.offset > *seen)).collect();
        if newer.is_empty() {
            return Ok(());
        }
        for (tag, ((partition, key), version)) in newer.iter().enumerate() {
            let topic = &config.topics.upserts;
            let (key, value) = (Some(key.as_slice()), version.value.as_deref());
            let outgoing = Outgoing { topic, partition: *partition, key, value, headers: &[], timestamp: None };
            sender.send(&outgoing, tag)?;
        }
        for delivery in sender.finish()? {
            if let (Some(((partition, _), _)), Ok(offset)) = (newer.get(delivery.tag), delivery.result) {
                own.insert((*partition, offset));
            }
        }
        seen.extend(newer.into_iter().map(|(key, version)| (key, version.offset)));
    }
    Err(Error::Overtaken)
}

fn redrives(headers: &[(String, Option<Vec<u8>>)]) -> u32 {
    let value = headers.iter().find(|(key, _)| key == REDRIVES_HEADER).and_then(|(_, value)| value.as_deref());
    value.and_then(|value| std::str::from_utf8(value).ok()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The headers with one more redrive counted.
fn counted(headers: &[(String, Option<Vec<u8>>)]) -> Vec<(String, Option<Vec<u8>>)> {
    let count = redrives(headers) + 1;
    let others = headers.iter().filter(|(key, _)| key != REDRIVES_HEADER).cloned();
    others.chain([(REDRIVES_HEADER.to_owned(), Some(count.to_string().into_bytes()))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::DeadLetter;

    fn letter(stage: Stage, object: Option<&str>, headers: Vec<(String, Option<Vec<u8>>)>) -> Letter {
        let content = DeadLetter {
            stage,
            reason: "undecodable".to_owned(),
            detail: String::new(),
            hint: String::new(),
            topic: "rollbook.upserts".to_owned(),
            partition: 1,
            offset: 7,
            timestamp: None,
            key: Some(b"key".to_vec()),
            value: Some(b"value".to_vec()),
            headers,
            object: object.map(str::to_owned),
            external_id: None,
            fields: Vec::new(),
            attempts: 1,
            at: 0,
            cut: None,
        };
        Letter { partition: 0, offset: 0, content, lost: None }
    }

    fn newest(offset: i64) -> Versions {
        newest_of(offset, None)
    }

    fn newest_of(offset: i64, timestamp: Option<Millis>) -> Versions {
        let version = Version { offset, timestamp, value: Some(b"value".to_vec()) };
        Versions::from([((1, b"key".to_vec()), version)])
    }

    fn row_of(offset: i64, timestamp: Millis) -> Letter {
        let mut row = letter(Stage::Sink, Some("CampaignMember"), Vec::new());
        (row.content.offset, row.content.timestamp) = (offset, Some(timestamp));
        row
    }

    /// The offset of what is sent.
    fn sent(letter: &Letter, newest: &Versions, refused: &[&Letter]) -> Option<i64> {
        let refused = refused.iter().filter_map(|letter| Some((record_of(letter)?, *letter))).collect();
        match verdict(letter, newest, &refused) {
            Verdict::Send(letter) => Some(letter.content.offset),
            Verdict::Leave(_) => None,
        }
    }

    #[test]
    fn of_a_row_the_newest_version_is_sent_if_it_was_refused() {
        let row = letter(Stage::Sink, Some("CampaignMember"), Vec::new());
        let mut newer = letter(Stage::Sink, Some("CampaignMember"), Vec::new());
        newer.content.offset = 8;
        assert_eq!(sent(&row, &newest(7), &[&row]), Some(7));
        assert_eq!(sent(&row, &newest(8), &[&row, &newer]), Some(8), "both are refused");
        assert_eq!(sent(&row, &newest(8), &[&row]), None, "the newer one was delivered");
        assert_eq!(sent(&row, &newest(9), &[&row, &newer]), None, "both are old");
        assert_eq!(sent(&row, &Versions::new(), &[&row]), None);
        for _ in 0..REDRIVES_MAX {
            newer.content.headers = counted(&newer.content.headers);
        }
        assert_eq!(sent(&row, &newest(8), &[&row, &newer]), None, "the newest one counts");
    }

    #[test]
    fn a_row_of_a_topic_that_was_made_anew_is_never_sent_over_what_the_new_one_has() {
        let old = row_of(50_000, 100);
        assert_eq!(sent(&old, &newest_of(120, Some(200)), &[&old]), None, "a lower offset of the new log is newer");
        let new = row_of(120, 200);
        assert_eq!(sent(&old, &newest_of(120, Some(200)), &[&old, &new]), Some(120), "the new one was refused, too");
        let old = row_of(120, 100);
        assert_eq!(sent(&old, &newest_of(120, Some(200)), &[&old]), None, "the same offset by chance");
        assert_eq!(sent(&old, &newest_of(121, Some(200)), &[&old]), None);
        let mut other = row_of(120, 200);
        other.content.key = Some(b"another".to_vec());
        assert_eq!(sent(&old, &newest_of(120, Some(200)), &[&old, &other]), None, "another row at that offset");
    }

    #[test]
    fn a_row_whose_log_is_gone_is_superseded_by_any_version() {
        let mut gone = row_of(7, 100);
        gone.content.reason = LOG_GONE.to_owned();
        for newest in [newest_of(7, Some(100)), newest_of(3, Some(50)), newest_of(9, Some(200))] {
            assert_eq!(sent(&gone, &newest, &[&gone]), None);
            let Verdict::Leave(why) = verdict(&gone, &newest, &Refused::new()) else { panic!("it is sent") };
            assert!(why.starts_with("superseded"), "{why}");
        }
        assert_eq!(sent(&gone, &Versions::new(), &[&gone]), None, "it may have been erased");
    }

    #[test]
    fn an_event_that_was_refused_twice_is_sent_once() {
        let first = letter(Stage::Fold, None, Vec::new());
        let mut second = letter(Stage::Fold, None, counted(&first.content.headers));
        (second.offset, second.content.partition, second.content.offset) = (1, 2, 9);
        let mut other = letter(Stage::Fold, None, Vec::new());
        other.content.value = Some(b"another".to_vec());
        let kept = newest_of_each(vec![first, second, other]);
        let offsets: Vec<i64> = kept.iter().map(|letter| letter.content.offset).collect();
        assert_eq!(offsets, [9, 7], "the one that counts its redrives, and the one of another event");
    }

    #[test]
    fn an_event_is_sent_again_up_to_the_bound() {
        let mut headers = vec![("ce_id".to_owned(), Some(b"1".to_vec()))];
        for _ in 0..REDRIVES_MAX {
            assert!(sent(&letter(Stage::Fold, None, headers.clone()), &Versions::new(), &[]).is_some());
            headers = counted(&headers);
        }
        assert!(sent(&letter(Stage::Fold, None, headers.clone()), &Versions::new(), &[]).is_none());
        assert_eq!(headers.len(), 2, "the count replaces the one before and leaves the other headers alone");
    }
}
