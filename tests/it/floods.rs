//! A person's script: more in one entry than a piece keeps. The state stays small, and no order makes another one.

use rollbook::config::Topics;
use rollbook::event::{Act, Event, PollAnswer, Reaction, View};
use rollbook::fold::{Aggregate, Catalogue, decode_piece};
use rollbook::kafka::transaction::Records;
use rollbook::lattice::{KEYS_MAX, STRETCHES_MAX};
use rollbook::metrics::Metrics;
use rollbook::stage::fold::commit::{Again, Changes};
use rollbook::stage::fold::tally::Tally;
use rollbook::store::Store;
use rollbook::time::Millis;
use rollbook::topic_table::Topic;
use rollbook::upsert::{self, Facts, Lane, Object, ReadUpsert, Value};

use crate::harness::{self, events::ENTRY};

const NOON: Millis = 1_780_000_000_000;
const MANY: usize = KEYS_MAX + 4_000;

fn event(number: usize, act: Act<'static>) -> Event<'static> {
    harness::events::event(format!("event-{number}"), NOON + Millis::try_from(number).expect("few"), act)
}

fn clap(number: usize) -> Event<'static> {
    event(number, Act::Reaction(Reaction::Clap))
}

fn join(number: usize) -> Event<'static> {
    event(number, Act::Join { connection: Some(format!("tab-{number}").into()) })
}

/// All on one connection.
fn leave(number: usize) -> Event<'static> {
    event(number, Act::Leave { connection: None })
}

fn poll(number: usize) -> Event<'static> {
    let (poll_id, answer) = (format!("poll-{number}").into(), "yes".into());
    let answer = PollAnswer { poll_id, poll_type: None, question: None, answer, position: None };
    event(number, Act::Poll(answer))
}

fn view(number: usize) -> Event<'static> {
    let start = NOON + 10 * Millis::try_from(number).expect("few");
    // Gaps of one to nine milliseconds.
    let end = Some(start + 1 + Millis::try_from(number % 9).expect("few"));
    let view = View {
        live: true,
        play_id: None,
        start,
        end,
        playhead: None,
        in_focus: true,
        full_screen: true,
        sound_on: true,
    };
    event(number, Act::View(view))
}

fn fold(events: impl Iterator<Item = Event<'static>>) -> Aggregate {
    let mut aggregate = Aggregate::default();
    for event in events {
        aggregate.apply(&event);
    }
    aggregate
}

fn bytes(aggregate: &Aggregate) -> Vec<u8> {
    aggregate.entry(ENTRY).expect("events name it").encode()
}

#[test]
fn a_full_piece_depends_on_no_order_and_takes_no_more() {
    for (make, bytes_max) in
        [(clap as fn(usize) -> Event<'static>, 200_000), (join, 400_000), (leave, 200_000), (poll, 1_500_000)]
    {
        let whole = fold((0..MANY).map(make));
        let expected = bytes(&whole);
        assert!(expected.len() < bytes_max, "{} bytes", expected.len());
        assert!(whole.entry(ENTRY).expect("it is there").saturated());
        assert!(bytes(&fold((0..MANY).rev().map(make))) == expected, "the other way round");
        let (mut even, odd) = (fold((0..MANY).step_by(2).map(make)), fold((1..MANY).step_by(2).map(make)));
        even.join(odd);
        assert!(bytes(&even) == expected, "two halves");
        let mut again = whole.clone();
        assert!((0..MANY).step_by(7).all(|number| !again.apply(&make(number)).changed()), "none of them is news");
        let mut read = Aggregate::default();
        read.join_piece(Some(ENTRY), decode_piece(&expected).expect("a piece"));
        assert!(bytes(&read) == expected, "read back");
    }
}

#[test]
fn of_more_stretches_than_there_may_be_the_smallest_gaps_close() {
    let mut viewed = Aggregate::default();
    let closed: u32 = (0..STRETCHES_MAX + 2_000).map(|number| viewed.apply(&view(number)).closed).sum();
    let piece = viewed.entry(ENTRY).expect("events name it");
    let stretches = piece.live.high.iter().len();
    assert!(stretches <= STRETCHES_MAX && stretches > STRETCHES_MAX / 2, "{stretches}");
    assert_eq!(usize::try_from(closed), Ok(STRETCHES_MAX + 2_000 - stretches), "each is counted");
    assert!(piece.saturated());
    let viewed: usize = (0..STRETCHES_MAX + 2_000).map(|number| 1 + number % 9).sum();
    let counted = usize::try_from(piece.live.high.length()).expect("few");
    // Each gap that closes adds a millisecond here, or two.
    assert!((viewed..viewed + viewed / 20).contains(&counted), "{counted} of {viewed}");
}

/// What a commit writes of these events.
fn committed(events: &[Event<'static>]) -> (Records, Tally) {
    let (mut store, topics) = (Store::default(), Topics::default());
    for event in events {
        store.partition(0).fold(event, NOON, Lane::Live);
    }
    let (mut tally, mut records, catalogue) = (Tally::default(), Records::default(), Catalogue::default());
    let mut changes = Changes {
        topics: &topics,
        catalogue: &catalogue,
        tally: &mut tally,
        records: &mut records,
        now: NOON,
        commit: 1,
        again: Again::default(),
    };
    changes.collect(&mut store).expect("nothing is on disk");
    (records, tally)
}

#[test]
fn the_count_of_a_full_set_stops_and_the_row_is_counted_as_saturated() {
    let claps: Vec<_> = (0..MANY).map(clap).collect();
    let (records, tally) = committed(&claps);
    let rows = records.iter().filter(|(topic, _)| *topic == Topic::Upserts);
    let rows: Vec<_> = rows.map(|(_, row)| ReadUpsert::decode(row.value.expect("a row")).expect("an upsert")).collect();
    let claps = rows.iter().flat_map(|row| &row.fields).find(|(name, _)| name == "clap_clicked_count__c");
    assert_eq!(claps.map(|(_, count)| count.clone()), Some(Value::Integer(20_000)));
    let metrics = Metrics::new();
    tally.add_to(&metrics);
    let objects = [Object::CAMPAIGN_MEMBER, Object::ENGAGEMENT, Object::POLLS];
    assert_eq!(objects.map(|object| metrics.saturated(object).get()), [0, 1, 0]);
}

/// Everything that can be said of a poll, with texts of so many letters.
fn wordy(number: usize, letters: usize) -> Event<'static> {
    let text = || "é".repeat(letters);
    let answer = PollAnswer {
        poll_id: format!("poll-{number}").into(),
        poll_type: Some("crowd vote".into()),
        question: Some(text().into()),
        answer: text().into(),
        position: i64::try_from(number).ok(),
    };
    event(number, Act::Poll(answer))
}

#[test]
fn long_texts_make_no_large_piece() {
    let size = |polls: usize, letters: usize| bytes(&fold((0..polls).map(|number| wordy(number, letters)))).len();
    // Fifty essays of the longest kind, which were 3.3 MB at each commit; and what a script comes to.
    let (essays, script) = (size(50, 16_000), size(KEYS_MAX, 20));
    println!("{essays} bytes of essays, {script} bytes of a script's polls");
    assert!(essays < 50 * 2_200, "{essays}");
    assert!(script < 3 << 20, "{script}");
}

#[test]
fn no_row_and_no_order_depends_on_what_is_cut_off_a_text() {
    let stated = |answer: String| {
        let (poll_id, question) = ("poll".into(), Some(answer.clone().into()));
        event(1, Act::Poll(PollAnswer { poll_id, poll_type: None, question, answer: answer.into(), position: None }))
    };
    for letter in ["a", "é", "語", "\u{1F600}"] {
        let shown = letter.repeat(255 / letter.encode_utf16().count());
        let long = |tail: &str| stated(format!(" {}{tail}", letter.repeat(5_000)));
        let (one, other) = (fold([long("1"), long("2")].into_iter()), fold([long("2"), long("1")].into_iter()));
        assert_eq!(bytes(&one), bytes(&other));
        let facts = Facts::Entry(ENTRY, one.entry(ENTRY).expect("it is there"));
        let row = upsert::row(Object::POLLS, &harness::events::member(), facts, &Catalogue::default());
        let fields = row.expect("there is a poll").expect("it has room").fields;
        for name in ["poll_1_answer__c", "poll_1_question__c"] {
            let field = fields.iter().find(|(field, _)| *field == name);
            assert_eq!(field.map(|(_, value)| value.clone()), Some(Value::Text(shown.as_str().into())), "{letter}");
        }
    }
}

#[test]
fn a_piece_that_no_record_has_room_for_gives_up_half_of_it() {
    // Each of the longest texts that are accepted.
    let long = "x".repeat(32_000);
    let polls: Vec<_> = (0..400)
        .map(|number| {
            let poll_id = format!("{number}{long}").into();
            let texts = (Some(long.clone().into()), Some(long.clone().into()), long.clone().into());
            let (poll_type, question, answer) = texts;
            event(number, Act::Poll(PollAnswer { poll_id, poll_type, question, answer, position: None }))
        })
        .collect();
    let (records, _) = committed(&polls);
    let states = records.iter().filter(|(topic, _)| *topic == Topic::State);
    let sizes: Vec<usize> = states.map(|(_, state)| state.value.map_or(0, <[u8]>::len)).collect();
    assert_eq!(sizes.len(), 2, "the member's and the entry's");
    assert!(sizes.iter().all(|size| *size < 9 << 20) && sizes.iter().any(|size| *size > 4 << 20), "{sizes:?}");
}
