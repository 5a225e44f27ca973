//! What must stand in Kafka when everything has come to rest: what a fold makes that never failed, and what the
//! reference makes of the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::config::Topics;
use crate::dead_letter::DeadLetter;
use crate::event::{Decoded, DecodedSession, Decoder, EventKind, Headers as _, Record};
use crate::fold::Catalogue;
use crate::kafka::topics::Topic;
use crate::kafka::transaction::Records;
use crate::route;
use crate::stage::fold::commit::{Again, Changes};
use crate::stage::fold::headers::MessageHeaders;
use crate::stage::fold::tally::Tally;
use crate::store::{BIRTH_KEY, Store};
use crate::upsert::{Lane, ReadUpsert, Value};

use super::feed::PARTITIONS;
use super::kafka::{Kafka, NOON, message};
use super::log::Entry;
use super::reference;

type Place = (String, i32, i64);
type Places = BTreeSet<Place>;
/// Newest values by key.
type Values = BTreeMap<String, Vec<u8>>;
type Rows = BTreeMap<String, Vec<(String, Value)>>;

/// The difference, if there is one.
pub fn verdict(kafka: &Kafka, topics: &Topics) -> Result<(), String> {
    let expected = Expected::of(kafka, topics);
    let logs = &kafka.broker().logs;
    for (topic, partition) in kafka.inputs() {
        let end = logs.topic(&topic).find(|(number, _)| *number == partition).map_or(0, |(_, log)| last(log.all()));
        let committed = logs.own_offsets.get(&(topic.clone(), partition)).copied().unwrap_or(0);
        if committed < end {
            return Err(format!("{topic}/{partition} is folded to {committed} of {end}"));
        }
    }
    let mut letters = Places::new();
    let mut states = Values::new();
    let mut origins = Places::new();
    let all = |topic: &str| {
        let entries = logs.topic(topic).flat_map(|(number, log)| log.all().map(move |it| (number, it.0, it.1.clone())));
        entries.collect::<Vec<(i32, i64, Entry)>>()
    };
    for (_, _, entry) in all(&topics.dead_letters) {
        let letter = DeadLetter::decode(entry.value.as_deref().unwrap_or_default()).map_err(|it| it.to_string())?;
        letters.insert((letter.topic, letter.partition, letter.offset));
    }
    for (_, _, entry) in all(&topics.state).into_iter().filter(|it| it.2.key.as_deref() != Some(BIRTH_KEY)) {
        states.insert(text(entry.key), entry.value.unwrap_or_default());
    }
    let upserts: Values =
        all(&topics.upserts).into_iter().map(|it| (text(it.2.key), it.2.value.unwrap_or_default())).collect();
    for (partition, offset, entry) in all(&topics.resolved) {
        let message = message((&topics.resolved, partition), offset, &entry);
        let headers = MessageHeaders(&message);
        let origin = headers.get("rollbook.origin").map(String::from_utf8_lossy).unwrap_or_default();
        let mut parts = origin.rsplitn(3, '/');
        let offset = parts.next().and_then(|it| it.parse().ok()).unwrap_or(-1);
        let partition = parts.next().and_then(|it| it.parse().ok()).unwrap_or(-1);
        origins.insert((parts.next().unwrap_or_default().to_owned(), partition, offset));
    }
    let mut catalogue = Catalogue::default();
    for (_, _, entry) in all(&topics.catalogue) {
        let record = record_of(&entry, None);
        follow(&mut catalogue, Decoder::new(1 << 20).decode_session(&record).expect("no schema is needed"));
    }
    if catalogue != expected.catalogue {
        return Err(format!("the catalogue:\nfound    {catalogue:?}\nexpected {:?}", expected.catalogue));
    }
    same_places("dead letters", &letters, &expected.refused)?;
    // Who reads the topic after compaction must know no less.
    let mut last = Catalogue::default();
    let newest: BTreeMap<_, _> = all(&topics.catalogue).into_iter().map(|it| (it.2.key.clone(), it.2)).collect();
    for entry in newest.values() {
        let record = record_of(entry, None);
        follow(&mut last, Decoder::new(1 << 20).decode_session(&record).expect("no schema is needed"));
    }
    if last != expected.catalogue {
        return Err(format!(
            "the last records of the catalogue:\nfound    {last:?}\nexpected {:?}",
            expected.catalogue
        ));
    }
    // Where inputs have grown, also what stands where it belongs may be read by somebody else than its owner.
    if let Some(place) = expected.astray.difference(&origins).next() {
        return Err(format!("{place:?} was not re-keyed"));
    }
    if let Some(place) = origins.difference(&expected.accepted).next() {
        return Err(format!("{place:?} was re-keyed and is no event"));
    }
    let rows = upserts.iter().map(|(key, upsert)| (key.clone(), fields(upsert))).collect();
    same("rows", &rows, &expected.rows)?;
    reference::agrees(logs, topics, &expected.refused, upserts.values().map(Vec::as_slice))?;
    same("states", &states, &expected.states)
}

fn last<'e>(entries: impl Iterator<Item = (i64, &'e Entry)>) -> i64 {
    entries.last().map_or(0, |(offset, _)| offset + 1)
}

fn text(key: Option<Vec<u8>>) -> String {
    String::from_utf8(key.unwrap_or_default()).expect("keys are texts")
}

fn fields(upsert: &[u8]) -> Vec<(String, Value)> {
    let read = ReadUpsert::decode(upsert).expect("the fold writes upserts");
    read.fields.into_iter().map(|(name, value)| (name.into_owned(), value)).collect()
}

fn same_places(what: &str, found: &Places, expected: &Places) -> Result<(), String> {
    match found.symmetric_difference(expected).next() {
        None => Ok(()),
        Some(place) => Err(format!("{what}: {place:?} is in one of what is found and expected")),
    }
}

/// Nothing, or the first that is not the same.
fn same<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Result<(), String> {
    let keys: BTreeSet<&K> = found.keys().chain(expected.keys()).collect();
    match keys.into_iter().find(|key| found.get(key) != expected.get(key)) {
        None => Ok(()),
        Some(key) => {
            Err(format!("{what} of {key:?}:\nfound    {:?}\nexpected {:?}", found.get(key), expected.get(key)))
        }
    }
}

#[derive(Default)]
struct Expected {
    refused: Places,
    astray: Places,
    accepted: Places,
    rows: Rows,
    states: Values,
    catalogue: Catalogue,
}

impl Expected {
    /// Every record that was sent, folded once, in one memory.
    fn of(kafka: &Kafka, topics: &Topics) -> Self {
        let mut expected = Self::default();
        let (mut store, mut catalogue) = (Store::default(), Catalogue::default());
        let decoder = Decoder::new(1 << 20);
        let broker = kafka.broker();
        for input in Topic::CONSUMED.into_iter().filter(|input| *input != Topic::Resolved) {
            for (partition, log) in broker.logs.topic(input.name(topics)) {
                for (offset, entry) in log.all() {
                    let place = (input.name(topics).to_owned(), partition, offset);
                    let record = record_of(entry, input.events());
                    if input == Topic::Sessions {
                        follow(&mut catalogue, decoder.decode_session(&record).expect("no schema is needed"));
                    } else {
                        expected.event(&decoder, &record, (place, &mut store));
                    }
                }
            }
        }
        expected.derive(topics, &catalogue, &mut store);
        expected.catalogue = catalogue;
        expected
    }

    fn event(&mut self, decoder: &Decoder, record: &Record<'_>, (place, store): (Place, &mut Store)) {
        match decoder.decode(record).expect("no schema is needed") {
            Decoded::Event(event) => {
                let home = route::partition(&event.member.bytes(), PARTITIONS);
                store.partition(home).fold(&event, NOON, Lane::Live);
                if place.1 != home {
                    self.astray.insert(place.clone());
                }
                self.accepted.insert(place);
            }
            Decoded::Refused(_) => {
                self.refused.insert(place);
            }
            Decoded::Ignored(_) => {}
        }
    }

    fn derive(&mut self, topics: &Topics, catalogue: &Catalogue, store: &mut Store) {
        let (mut tally, mut records) = (Tally::default(), Records::default());
        let (tally, written) = (&mut tally, &mut records);
        let changes =
            Changes { topics, catalogue, tally, records: written, now: NOON, commit: 1, again: Again::default() };
        let mut changes = changes;
        changes.collect(store).expect("there is no disk");
        for (topic, record) in records.iter() {
            let (key, value) = (text(record.key.map(<[u8]>::to_vec)), record.value.unwrap_or_default());
            if topic == Topic::State {
                self.states.insert(key, value.to_vec());
            } else {
                assert_eq!(topic, Topic::Upserts);
                self.rows.insert(key, fields(value));
            }
        }
    }
}

fn record_of(entry: &Entry, kind: Option<EventKind>) -> Record<'_> {
    let (key, value) = (entry.key.as_deref(), entry.value.as_deref());
    Record { kind, key, value, timestamp: Some(entry.timestamp), headers: &() }
}

fn follow(catalogue: &mut Catalogue, decoded: DecodedSession) {
    match decoded {
        DecodedSession::Session(session) => drop(catalogue.apply(session)),
        DecodedSession::Tombstone(key) => drop(catalogue.remove(&key)),
        DecodedSession::Refused(refusal) => panic!("{refusal:?}"),
    }
}
