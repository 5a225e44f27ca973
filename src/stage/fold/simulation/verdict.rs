//! What must stand in Kafka when everything has come to rest: what a fold makes that never failed, and what the
//! reference makes of the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::config::Topics;
use crate::dead_letter::DeadLetter;
use crate::event::{Decoded, DecodedSession, Decoder, EventKind, Headers as _, Record};
use crate::fold::{Catalogue, MemberPiece, Piece, RowMark, decode_piece};
use crate::id::MemberKey;
use crate::kafka::transaction::Records;
use crate::route;
use crate::stage::fold::commit::{Again, Changes};
use crate::stage::fold::headers::MessageHeaders;
use crate::stage::fold::tally::Tally;
use crate::store::{BIRTH_KEY, Birth, OWN_KEYS, Offsets, Store, parse_piece_key};
use crate::topic_table::Topic;
use crate::upsert::{Lane, ReadUpsert, Value};

use super::feed::PARTITIONS;
use super::kafka::{Kafka, NOON, message};
use super::log::{Entry, Logs};
use super::reference;
use super::seen::{Seen, seen_often};
use super::taking_back::{Copies, Taking};

type Place = (String, i32, i64);
type Places = BTreeSet<Place>;
/// Newest values by key.
type Values = BTreeMap<String, Vec<u8>>;
type Rows = BTreeMap<String, Vec<(String, Value)>>;
/// What pieces say, by key.
type Said = BTreeMap<String, SaidPiece>;
type SaidPiece = (Vec<u8>, Vec<(u8, RowMark)>);

/// The difference, if there is one.
pub fn verdict(kafka: &Kafka, topics: &Topics) -> Result<(), String> {
    let (takings, copies) = {
        let logs = &kafka.broker().logs;
        (Taking::all(logs, topics), copies(logs, topics))
    };
    seen_often(Seen::TakenBack, takings.len().try_into().expect("they are few"));
    let expected = Expected::of(kafka, topics, (&takings, &copies));
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
    let all = |topic: &str| {
        let entries = logs.topic(topic).flat_map(|(number, log)| log.all().map(move |it| (number, it.0, it.1.clone())));
        entries.collect::<Vec<(i32, i64, Entry)>>()
    };
    for (_, _, entry) in all(&topics.dead_letters) {
        let letter = DeadLetter::decode(entry.value.as_deref().unwrap_or_default()).map_err(|it| it.to_string())?;
        letters.insert((letter.topic, letter.partition, letter.offset));
    }
    for (_, _, entry) in
        all(&topics.state).into_iter().filter(|it| !it.2.key.as_deref().unwrap_or_default().starts_with(OWN_KEYS))
    {
        states.insert(text(entry.key), entry.value.unwrap_or_default());
    }
    // An empty record takes a piece back.
    states.retain(|_, value| !value.is_empty());
    let upserts: Values =
        all(&topics.upserts).into_iter().map(|it| (text(it.2.key), it.2.value.unwrap_or_default())).collect();
    let origins: Places = copies.keys().cloned().collect();
    let stated: Vec<Entry> = all(&topics.catalogue).into_iter().map(|it| it.2).collect();
    catalogue_agrees(&stated, &expected.catalogue)?;
    same_places("dead letters", &letters, &expected.refused)?;
    // Where inputs have grown, also what stands where it belongs may be read by somebody else than its owner.
    if let Some(place) = expected.astray.difference(&origins).next() {
        return Err(format!("{place:?} was not re-keyed"));
    }
    if let Some(place) = origins.difference(&expected.accepted).next() {
        return Err(format!("{place:?} was re-keyed and is no event"));
    }
    let taken: Vec<MemberKey> = takings.iter().map(|taking| taking.order.member).collect();
    let mut rows: Rows = upserts.iter().map(|(key, upsert)| (key.clone(), fields(upsert))).collect();
    // What was sent of a member before it was taken back stands until something new is known.
    let taken_back = |row: &str| taken.iter().any(|member| row.contains(&member.to_string()));
    rows.retain(|row, _| expected.rows.contains_key(row) || !taken_back(row));
    same("rows", &rows, &expected.rows)?;
    reference::agrees(logs, topics, (&expected.refused, &taken), upserts.values().map(Vec::as_slice))?;
    let said = |values: &Values| values.iter().map(|(key, value)| Ok((key.clone(), said(value)?))).collect();
    let (found, wanted): (Result<Said, String>, Result<Said, String>) = (said(&states), said(&expected.states));
    let (mut found, wanted) = (found?, wanted?);
    // Of a member whose entries were taken back a piece is left that says nothing but that its row was sent.
    let nothing = MemberPiece::default().encode_facts();
    found.retain(|key, (facts, _)| wanted.contains_key(key) || !taken_back(key) || *facts != nothing);
    same("states", &found, &wanted)?;
    marks_are_places(logs, topics, (&states, &expected.places, &taken))
}

/// Also who reads the topic after compaction must know no less.
fn catalogue_agrees(stated: &[Entry], expected: &Catalogue) -> Result<(), String> {
    let newest: BTreeMap<_, _> = stated.iter().map(|entry| (entry.key.clone(), entry)).collect();
    let read = |entries: &mut dyn Iterator<Item = &Entry>| {
        let mut catalogue = Catalogue::default();
        for entry in entries {
            let record = record_of(entry, None);
            follow(&mut catalogue, Decoder::new(1 << 20).decode_session(&record).expect("no schema is needed"));
        }
        catalogue
    };
    let (all, last) = (read(&mut stated.iter()), read(&mut newest.into_values()));
    for (what, found) in [("the catalogue", all), ("the last records of the catalogue", last)] {
        if found != *expected {
            return Err(format!("{what}:\nfound    {found:?}\nexpected {expected:?}"));
        }
    }
    Ok(())
}

/// Where records stand that were re-keyed, by where they stood first.
fn copies(logs: &Logs, topics: &Topics) -> Copies {
    let mut copies = Copies::new();
    for (partition, log) in logs.topic(&topics.resolved) {
        for (copy, entry) in log.all() {
            let message = message((&topics.resolved, partition), copy, entry);
            let headers = MessageHeaders(&message);
            let origin = headers.get("rollbook.origin").map(String::from_utf8_lossy).unwrap_or_default();
            let mut parts = origin.rsplitn(3, '/');
            let offset = parts.next().and_then(|it| it.parse().ok()).unwrap_or(-1);
            let partition = parts.next().and_then(|it| it.parse().ok()).unwrap_or(-1);
            let place = (parts.next().unwrap_or_default().to_owned(), partition, offset);
            copies.entry(place).or_default().push(copy);
        }
    }
    copies
}

/// What a piece says, and what was sent of it: all but since when it is there.
fn said(record: &[u8]) -> Result<SaidPiece, String> {
    Ok(match decode_piece(record).map_err(|error| error.to_string())? {
        Piece::Member(piece) => (piece.encode_facts(), piece.marks.rows().collect()),
        Piece::Entry(piece) => (piece.encode_facts(), piece.marks.rows().collect()),
    })
}

/// The first commit of each piece is known and stays what it was, and no event of the piece stands below what its partition
/// had folded before that commit.
fn marks_are_places(
    logs: &Logs,
    topics: &Topics,
    (states, places, taken): (&Values, &BTreeMap<String, Places>, &[MemberKey]),
) -> Result<(), String> {
    for (partition, log) in logs.topic(&topics.state) {
        let (mut birth, mut kept, mut firsts) = (Birth::default(), BTreeMap::new(), BTreeMap::new());
        for (offset, entry) in log.all() {
            let (key, value) = (entry.key.as_deref().unwrap_or_default(), entry.value.as_deref());
            let piece = !key.starts_with(OWN_KEYS) && parse_piece_key(&text(entry.key.clone())).is_some();
            match value {
                Some(value) if key == BIRTH_KEY => {
                    let next = Birth::decode(value).map_err(|error| error.to_string())?;
                    if next.commit < birth.commit {
                        return Err(format!("{partition}/{offset}: commit {} follows {}", next.commit, birth.commit));
                    }
                    birth = next;
                }
                Some(value) if piece => {
                    let first = first_commit(value)?;
                    let before = firsts.insert(key.to_vec(), first);
                    if first.is_none() || before.is_some_and(|before| before != first) {
                        return Err(format!("{partition}/{offset}: first written by {first:?}, before {before:?}"));
                    }
                }
                Some(value) if key.starts_with(OWN_KEYS) => {
                    kept.insert(key.to_vec(), Offsets::decode(value).map_err(|error| error.to_string())?);
                }
                Some(_) => {}
                None => drop(firsts.remove(key)),
            }
        }
        let kept: Vec<Offsets> = kept.into_values().collect();
        for (key, first) in firsts {
            let key = String::from_utf8(key).map_err(|error| error.to_string())?;
            let first = first.filter(|first| *first <= birth.commit).ok_or("a commit that was not counted")?;
            let before = Offsets::before(&kept, first).ok_or("a mark without a place")?;
            let (member, _) = parse_piece_key(&key).ok_or("no piece")?;
            if !states.contains_key(&key) || taken.contains(&member) {
                continue;
            }
            let folded = |topic: &str| before.inputs.get(topic).map_or(0, |folded| folded.next_offset);
            let read = |(topic, number, offset): &&Place| {
                !logs.topic(topic).any(|(partition, log)| partition == *number && log.lost(*offset))
            };
            let mut places = places.get(&key).into_iter().flatten().filter(read);
            let below = places.find(|(topic, _, offset)| *offset < folded(topic));
            if let Some(place) = below {
                return Err(format!("{key} was first written by {first}, behind {before:?}, and holds {place:?}"));
            }
        }
    }
    Ok(())
}

fn first_commit(record: &[u8]) -> Result<Option<u64>, String> {
    Ok(match decode_piece(record).map_err(|error| error.to_string())? {
        Piece::Member(piece) => piece.marks.first_commit(),
        Piece::Entry(piece) => piece.marks.first_commit(),
    })
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
    /// Where the events of each piece stand, as the owner has read them.
    places: BTreeMap<String, Places>,
}

impl Expected {
    /// Every record that was sent, folded once, in one memory; and what was taken back taken back from what had been folded.
    fn of(kafka: &Kafka, topics: &Topics, (takings, copies): (&[Taking], &Copies)) -> Self {
        let mut expected = Self::default();
        let (mut store, mut catalogue) = (Store::default(), Catalogue::default());
        let decoder = Decoder::new(1 << 20);
        let broker = kafka.broker();
        let inputs = Topic::CONSUMED.into_iter().filter(|input| *input != Topic::Resolved);
        let all: Vec<(Topic, Place, &Entry)> = inputs
            .flat_map(|input| {
                let name = input.name(topics);
                let logs = broker.logs.topic(name);
                logs.flat_map(move |(number, log)| {
                    log.all().map(move |(offset, entry)| (input, (name.to_owned(), number, offset), entry))
                })
            })
            .collect();
        for step in 0..=takings.len() {
            for (input, place, entry) in &all {
                let record = record_of(entry, input.events());
                if *input != Topic::Sessions {
                    let folded_in = |home| {
                        let of_home = |taking: &Taking| taking.order.home() == home;
                        let taken = takings.iter().position(|it| of_home(it) && it.covers(place, copies, topics));
                        taken.unwrap_or(takings.len()) == step
                    };
                    expected.event(&decoder, &record, (place, &mut store), folded_in);
                } else if step == 0 {
                    follow(&mut catalogue, decoder.decode_session(&record).expect("no schema is needed"));
                }
            }
            if let Some(Taking { order, .. }) = takings.get(step) {
                order.carry_out(store.partition(order.home()), 1).expect("there is no disk");
            }
        }
        for pieces in expected.places.values_mut() {
            *pieces = pieces.iter().flat_map(|place| as_read(place, copies, topics)).collect();
        }
        expected.derive(topics, &catalogue, &mut store);
        expected.catalogue = catalogue;
        expected
    }

    fn event(
        &mut self,
        decoder: &Decoder,
        record: &Record<'_>,
        (place, store): (&Place, &mut Store),
        folded_in: impl FnOnce(i32) -> bool,
    ) {
        match decoder.decode(record).expect("no schema is needed") {
            Decoded::Event(event) => {
                let home = route::partition(&event.member.bytes(), PARTITIONS);
                if folded_in(home) {
                    store.partition(home).fold(&event, NOON, Lane::Live);
                }
                if place.1 != home {
                    self.astray.insert(place.clone());
                }
                self.accepted.insert(place.clone());
                let entry = event.entry_id.as_ref().map(|entry_id| format!("{}_{}", event.member, &**entry_id));
                for key in entry.into_iter().chain([event.member.to_string()]) {
                    self.places.entry(key).or_default().insert(place.clone());
                }
            }
            Decoded::Refused(_) => {
                self.refused.insert(place.clone());
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

/// Where the owner of a member has read an event.
fn as_read(place: &Place, copies: &Copies, topics: &Topics) -> Vec<Place> {
    let copy = |offset: &i64| (topics.resolved.clone(), 0, *offset);
    copies.get(place).map_or_else(|| vec![place.clone()], |copies| copies.iter().map(copy).collect())
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
