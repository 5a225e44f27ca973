//! Who waits for a row, as the fold says it in the upsert.

use std::collections::BTreeMap;

use super::commit::{Again, Changes};
use super::tally::Tally;
use crate::config::Topics;
use crate::event::{Decoded, Decoder, EventKind, Record, Session, SessionKey};
use crate::fold::Catalogue;
use crate::id::SalesforceId;
use crate::kafka::transaction::Records;
use crate::store::Store;
use crate::time::Millis;
use crate::topic_table::Topic;
use crate::upsert::{Lane, Object, ReadUpsert, RowKey};

const HOUR_MS: Millis = 3_600_000;
const NOW: Millis = 1_780_315_200_000;
const CAMPAIGN: &str = "70103000000cnFXAAY";

/// A fold of one partition.
#[derive(Default)]
struct Fold {
    store: Store,
    catalogue: Catalogue,
    events: u32,
}

impl Fold {
    /// An event that arrived then.
    fn event(&mut self, kind: EventKind, rest: &str, arrived: Millis) {
        self.events += 1;
        let number = self.events;
        let value = format!(
            r#"{{"event_id":"{number}","source":"s","occurred_at":{NOW},"campaign_id":"{CAMPAIGN}","lead_id":"00Q0300000AczgfEAB",{rest}}}"#
        );
        let (decoder, value) = (Decoder::new(1_000_000), Some(value.as_bytes()));
        let record = Record { kind: Some(kind), key: None, value, timestamp: None, headers: &() };
        let Ok(Decoded::Event(event)) = decoder.decode(&record) else { panic!("{value:?}") };
        self.store.partition(0).fold(&event, arrived, Lane::of(arrived, NOW));
    }

    fn clap(&mut self, entry: &str, arrived: Millis) {
        self.event(EventKind::Reaction, &format!(r#""entry_id":"{entry}","reaction":"CLAP""#), arrived);
    }

    /// The lanes of the rows that a commit sends, by the end of their external ids.
    fn commit(&mut self) -> BTreeMap<String, Lane> {
        let lane = |row: ReadUpsert| (row.external_id.get(38..).unwrap_or_default().to_owned(), row.lane.unwrap());
        self.sent().into_iter().map(lane).collect()
    }

    /// The rows that a commit sends.
    fn sent(&mut self) -> Vec<ReadUpsert> {
        let (topics, mut tally, mut records) = (Topics::default(), Tally::default(), Records::default());
        let (tally, records) = (&mut tally, &mut records);
        let catalogue = &self.catalogue;
        Changes { topics: &topics, catalogue, tally, records, now: NOW, commit: 1, again: Again::default() }
            .collect(&mut self.store)
            .unwrap();
        let rows = records.iter().filter(|(topic, _)| *topic == Topic::Upserts);
        rows.map(|(_, record)| ReadUpsert::decode(record.value.unwrap()).unwrap()).collect()
    }

    fn session(&mut self, entry: &str, name: &str, arrived: Millis) {
        let key = SessionKey { campaign: SalesforceId::parse(CAMPAIGN).unwrap(), entry_id: Some(entry.to_owned()) };
        self.catalogue
            .apply(Session { name: Some(name.to_owned()), ..Session::blank(key.clone(), arrived, "s", name) });
        self.store.partition(0).derive_again(&key, arrived);
    }
}

fn rows(of: &[(&str, Lane)]) -> BTreeMap<String, Lane> {
    of.iter().map(|(entry, lane)| ((*entry).to_owned(), *lane)).collect()
}

#[test]
fn a_row_is_live_where_some_of_what_changed_it_arrived_within_the_hour() {
    use Lane::{Backfill, Live};
    let mut fold = Fold::default();
    fold.clap("old", NOW - HOUR_MS - 1);
    fold.clap("new", NOW - HOUR_MS);
    fold.clap("both", NOW - 2 * HOUR_MS);
    fold.clap("both", NOW);
    assert_eq!(fold.commit(), rows(&[("", Live), ("old", Backfill), ("new", Live), ("both", Live)]));
    // What was new before is sent: it counts no more.
    fold.clap("both", NOW - 2 * HOUR_MS);
    assert_eq!(fold.commit(), rows(&[("both", Backfill)]));
    fold.event(EventKind::Registration, r#""action":"REGISTERED""#, NOW - 2 * HOUR_MS);
    fold.clap("old", NOW);
    assert_eq!(fold.commit(), rows(&[("", Backfill), ("old", Live)]));
}

#[test]
fn a_row_says_whether_it_is_the_first_of_its_key_and_who_its_parents_are() {
    let mut fold = Fold::default();
    fold.clap("1", NOW);
    let told =
        |rows: Vec<ReadUpsert>| rows.into_iter().map(|row| (row.object().unwrap(), row.first)).collect::<Vec<_>>();
    let rows = fold.sent();
    let parent = RowKey { object: Object::CAMPAIGN_MEMBER, external_id: rows[0].external_id.as_str().into() };
    assert_eq!((&*rows[0].parents, &*rows[1].parents), (&[][..], &[parent][..]));
    assert_eq!(told(rows), [(Object::CAMPAIGN_MEMBER, true), (Object::ENGAGEMENT, true)]);
    fold.clap("1", NOW);
    fold.event(EventKind::Poll, r#""entry_id":"1","poll_id":"p","answer":"a""#, NOW);
    assert_eq!(told(fold.sent()), [(Object::ENGAGEMENT, false), (Object::POLLS, true)]);
}

#[test]
fn the_row_of_a_member_whose_events_are_all_old_is_backfill_from_the_first_on() {
    let mut fold = Fold::default();
    fold.clap("old", NOW - 2 * HOUR_MS);
    assert_eq!(fold.commit(), rows(&[("", Lane::Backfill), ("old", Lane::Backfill)]));
}

#[test]
fn a_statement_about_a_session_counts_by_its_own_arrival_and_a_start_for_nothing() {
    let mut fold = Fold::default();
    fold.clap("1", NOW);
    fold.commit();
    fold.session("1", "new", NOW - HOUR_MS);
    assert_eq!(fold.commit(), rows(&[("1", Lane::Live)]));
    fold.session("1", "old", NOW - HOUR_MS - 1);
    assert_eq!(fold.commit(), rows(&[]), "an older statement changes nothing");
    let mut fold = Fold::default();
    fold.clap("1", NOW);
    fold.commit();
    fold.session("1", "old", NOW - HOUR_MS - 1);
    assert_eq!(fold.commit(), rows(&[("1", Lane::Backfill)]));
    // A start finds a catalogue that has changed meanwhile.
    fold.session("1", "newest", NOW);
    fold.store.forget_stale();
    fold.store.partition(0).derive_all(NOW);
    assert_eq!(fold.commit(), rows(&[("1", Lane::Backfill)]));
}
