//! The laws of the fold: order, repetition and the cut between two states do not matter, byte for byte.
//!
//! Histories are drawn from few sources, ids, times and texts, so that ties, the same identity with other content,
//! overlapping and touching intervals and texts beyond ASCII all happen within a dozen events.

use std::borrow::Cow;
use std::collections::BTreeMap;

use apache_avro::from_avro_datum;
use proptest::prelude::*;
use proptest::sample::select;
use rollbook::avro::{HEADER_LEN, STATE};
use rollbook::event::{Act, Device, Event, PollAnswer, Reaction, RegistrationAction, View, VisitPhase};
use rollbook::fold::{Aggregate, Catalogue, MemberPiece, Piece, RowMark, decode_piece};
use rollbook::lattice::Name;
use rollbook::store::{Store, piece_key};
use rollbook::time::Millis;
use rollbook::upsert::{self, Facts, Object};

use crate::harness::{self, events::ENTRY, events::member};

const NOON: Millis = 1_780_000_000_000;
const TEXTS: [&str; 6] = ["a", "b", "é", "\u{1F600}", "\u{FF5E}", "a longer text"];

type OwnEvent = Event<'static>;

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    select(TEXTS.as_slice()).prop_map(Cow::Borrowed)
}

fn some_text() -> impl Strategy<Value = Option<Cow<'static, str>>> {
    proptest::option::of(text())
}

fn time() -> impl Strategy<Value = Millis> {
    (0_i64..20).prop_map(|step| NOON + step * 1000)
}

fn stretch() -> impl Strategy<Value = (Millis, Option<Millis>)> {
    (time(), proptest::option::weighted(0.9, 0_i64..5))
        .prop_map(|(start, length)| (start, length.map(|length| start + length * 1000)))
}

fn registration() -> impl Strategy<Value = Act<'static>> {
    use RegistrationAction as A;
    let actions = [
        A::Created,
        A::Invited,
        A::Registered,
        A::AutoConfirmed,
        A::Confirmed,
        A::Unregistered,
        A::Blocked,
        A::Unblocked,
        A::EmailOpened,
        A::EmailOptedOut,
    ];
    select(actions.to_vec()).prop_map(Act::Registration)
}

fn attendance() -> impl Strategy<Value = Act<'static>> {
    let connection = || proptest::option::of(select(["x", "y"].as_slice()).prop_map(Cow::Borrowed));
    let phase = select(vec![None, Some(VisitPhase::PreEvent), Some(VisitPhase::During)]);
    prop_oneof![
        phase.prop_map(|phase| Act::Visit { phase }),
        connection().prop_map(|connection| Act::Join { connection }),
        connection().prop_map(|connection| Act::Leave { connection }),
        (connection(), stretch()).prop_map(|(connection, (start, end))| Act::Presence { connection, start, end }),
        (connection(), any::<bool>(), any::<bool>()).prop_map(|(connection, mic, on)| {
            let device = if mic { Device::Mic } else { Device::Cam };
            Act::Device { connection, device, on }
        }),
    ]
}

fn poll() -> impl Strategy<Value = Act<'static>> {
    let answer = prop_oneof![text(), Just(Cow::Borrowed(""))];
    (text(), some_text(), some_text(), answer, proptest::option::of(0_i64..3)).prop_map(
        |(poll_id, poll_type, question, answer, position)| {
            Act::Poll(PollAnswer { poll_id, poll_type, question, answer, position })
        },
    )
}

fn reaction() -> impl Strategy<Value = Act<'static>> {
    prop_oneof![
        select(vec![Reaction::Clap, Reaction::Heart, Reaction::Wow, Reaction::RaiseHand, Reaction::AddToCalendar]),
        some_text().prop_map(|message_id| Reaction::Message { message_id }),
        some_text().prop_map(|thread_id| Reaction::Question { thread_id }),
    ]
    .prop_map(Act::Reaction)
}

fn view() -> impl Strategy<Value = Act<'static>> {
    let playhead = proptest::option::of((-2_i64..10, -2_i64..10));
    (any::<(bool, bool, bool, bool)>(), some_text(), stretch(), playhead).prop_map(
        |((live, in_focus, full_screen, sound_on), play_id, (start, end), playhead)| {
            Act::View(View { live, play_id, start, end, playhead, in_focus, full_screen, sound_on })
        },
    )
}

fn event() -> impl Strategy<Value = OwnEvent> {
    let act = prop_oneof![2 => registration(), 4 => attendance(), 2 => poll(), 2 => reaction(), 4 => view()];
    let names = (some_text(), proptest::option::of(0_i64..3), some_text(), some_text(), some_text());
    (act, text(), text(), time(), proptest::option::weighted(0.5, text()), names).prop_map(
        |(act, source, event_id, occurred_at, entry, (entry_name, channel_id, channel_name, email, user))| {
            let optional = matches!(act, Act::Registration(_) | Act::Visit { .. });
            let entry_id = entry.or((!optional).then_some(Cow::Borrowed(ENTRY)));
            Event {
                source,
                entry_id: entry_id.map(|id| Name::from(&*id)),
                entry_name,
                channel_id,
                channel_name,
                email,
                user,
                ..harness::events::event(event_id, occurred_at, act)
            }
        },
    )
}

fn history() -> impl Strategy<Value = Vec<OwnEvent>> {
    proptest::collection::vec(event(), 0..12)
}

fn fold<'e>(events: impl IntoIterator<Item = &'e OwnEvent>) -> Aggregate {
    let mut aggregate = Aggregate::default();
    for event in events {
        aggregate.apply(event);
    }
    aggregate
}

fn joined(mut left: Aggregate, right: Aggregate) -> Aggregate {
    left.join(right);
    left
}

/// Every piece as it would stand in `rollbook.state`.
fn encoded(aggregate: &Aggregate) -> BTreeMap<String, Vec<u8>> {
    let entries = aggregate.entries.iter().map(|(id, piece)| (format!("entry {}", &**id), piece.encode()));
    entries.chain([("member".to_owned(), aggregate.member.encode())]).collect()
}

fn read_back(aggregate: &Aggregate) -> Aggregate {
    let mut read = Aggregate::default();
    read.join_piece(None, decode_piece(&aggregate.member.encode()).expect("a piece"));
    for (id, piece) in aggregate.entries.iter() {
        read.join_piece(Some(id), decode_piece(&piece.encode()).expect("a piece"));
    }
    read
}

/// By entry; None: the member's own.
type Pieces = BTreeMap<Option<String>, Piece>;

fn pieces(aggregate: &Aggregate) -> Pieces {
    let read = |record: &[u8]| decode_piece(record).expect("a piece");
    let entries = aggregate.entries.iter().map(|(id, piece)| (Some(id.to_string()), read(&piece.encode())));
    entries.chain([(None, read(&aggregate.member.encode()))]).collect()
}

fn blank(key: Option<&str>) -> Piece {
    if key.is_some() { Piece::Entry(Box::default()) } else { Piece::Member(MemberPiece::default()) }
}

fn join(ours: &mut Piece, theirs: Piece) -> bool {
    match (ours, theirs) {
        (Piece::Member(ours), Piece::Member(theirs)) => ours.join(theirs),
        (Piece::Entry(ours), Piece::Entry(theirs)) => ours.join(*theirs).changed,
        (Piece::Member(_), Piece::Entry(_)) | (Piece::Entry(_), Piece::Member(_)) => panic!("they are of one key"),
    }
}

fn written(piece: &Piece) -> Vec<u8> {
    match piece {
        Piece::Member(piece) => piece.encode(),
        Piece::Entry(piece) => piece.encode(),
    }
}

fn all_written(pieces: &Pieces) -> BTreeMap<Option<String>, Vec<u8>> {
    pieces.iter().map(|(key, piece)| (key.clone(), written(piece))).collect()
}

/// Every row, as text.
fn derived(aggregate: &Aggregate) -> Vec<String> {
    let rows = upsert::rows(&member(), aggregate, &Catalogue::default());
    rows.iter().map(|row| format!("{row:?}")).collect()
}

proptest! {
    #[test]
    fn the_join_of_aggregates_obeys_the_laws(a in history(), b in history(), c in history()) {
        let (a, b, c) = (fold(&a), fold(&b), fold(&c));
        prop_assert_eq!(encoded(&joined(a.clone(), b.clone())), encoded(&joined(b.clone(), a.clone())), "commutative");
        let left = joined(joined(a.clone(), b.clone()), c.clone());
        let right = joined(a.clone(), joined(b, c));
        prop_assert_eq!(encoded(&left), encoded(&right), "associative");
        prop_assert_eq!(encoded(&joined(a.clone(), a.clone())), encoded(&a), "idempotent");
        prop_assert_eq!(encoded(&joined(a.clone(), Aggregate::default())), encoded(&a), "right identity");
        prop_assert_eq!(encoded(&joined(Aggregate::default(), a.clone())), encoded(&a), "left identity");
    }

    /// The join that production uses: piece by piece, each read back from a record.
    #[test]
    fn the_join_of_pieces_obeys_the_laws(a in history(), b in history(), c in history()) {
        let [a, b, c] = [&a, &b, &c].map(|events| pieces(&fold(events)));
        let joined = |left: &Pieces, right: &Pieces| {
            let mut left = left.clone();
            for (key, piece) in right {
                let ours = left.entry(key.clone()).or_insert_with(|| blank(key.as_deref()));
                let before = written(ours);
                let changed = join(ours, piece.clone());
                prop_assert_eq!(changed, written(ours) != before, "tells whether it changed");
            }
            Ok(left)
        };
        let both = |left: &Pieces, right: &Pieces| Ok::<_, TestCaseError>(all_written(&joined(left, right)?));
        prop_assert_eq!(both(&a, &b)?, both(&b, &a)?, "commutative");
        prop_assert_eq!(both(&joined(&a, &b)?, &c)?, both(&a, &joined(&b, &c)?)?, "associative");
        prop_assert_eq!(both(&a, &a)?, all_written(&a), "idempotent");
    }

    /// A restore takes what compaction has left of the changelog, some of it once more from where it stood before: of each
    /// piece the last record is what is known, and an empty one takes it back.
    #[test]
    fn a_restore_ends_with_the_last_record_of_each_piece(
        histories in proptest::collection::vec((history(), any::<bool>()), 1..4),
        kept in proptest::collection::vec(any::<bool>(), 40),
        from in any::<prop::sample::Index>(),
    ) {
        let mut log: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        for (events, taken_back) in &histories {
            let pieces = pieces(&fold(events)).into_iter();
            log.extend(pieces.map(|(key, piece)| {
                (piece_key(&member(), key.as_deref()), (key.is_none() || !taken_back).then(|| written(&piece)))
            }));
        }
        let last: BTreeMap<_, _> = log.iter().cloned().collect();
        let is_last = |at: usize| !log[at + 1..].iter().any(|(key, _)| *key == log[at].0);
        let compacted: Vec<_> = (0..log.len()).filter(|at| is_last(*at) || kept[at % kept.len()]).collect();
        let mut store = Store::default();
        let partition = store.partition(0);
        for at in compacted.iter().chain(&compacted[from.index(compacted.len())..]) {
            match &log[*at] {
                (key, Some(value)) => partition.restore(key, value).expect("a state of this version"),
                (key, None) => partition.forget(key).expect("a key of this version"),
            }
        }
        let restored = partition.aggregate(&member()).cloned().unwrap_or_default();
        let entries = restored.entries.iter().map(|(id, piece)| (piece_key(&member(), Some(id)), piece.encode()));
        let found: BTreeMap<_, _> = entries.chain([(piece_key(&member(), None), restored.member.encode())]).collect();
        prop_assert_eq!(found, last.into_iter().filter_map(|(key, value)| Some((key, value?))).collect());
    }

    #[test]
    fn order_repetition_and_cuts_do_not_matter(
        (events, shuffled) in history().prop_flat_map(|events| {
            let twice = events.iter().chain(&events).cloned().collect::<Vec<_>>();
            (Just(events), Just(twice).prop_shuffle())
        }),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = fold(&events);
        let other = fold(&shuffled);
        prop_assert_eq!(encoded(&whole), encoded(&other), "shuffled, twice");
        prop_assert_eq!(derived(&whole), derived(&other), "rows");
        let (head, tail) = shuffled.split_at(if shuffled.is_empty() { 0 } else { cut.index(shuffled.len()) });
        prop_assert_eq!(encoded(&joined(fold(head), fold(tail))), encoded(&whole), "split and joined");
    }

    #[test]
    fn applying_is_joining_what_the_event_alone_says(events in history(), event in event()) {
        let mut applied = fold(&events);
        let before = encoded(&applied);
        let change = applied.apply(&event);
        prop_assert_eq!(encoded(&applied), encoded(&joined(fold(&events), fold([&event]))));
        prop_assert_eq!(change.changed(), encoded(&applied) != before, "tells whether it changed");
        prop_assert!(!applied.apply(&event).changed(), "the same event twice changes nothing");
    }

    #[test]
    fn a_piece_is_read_back_as_it_was(events in history()) {
        let aggregate = fold(&events);
        prop_assert_eq!(encoded(&read_back(&aggregate)), encoded(&aggregate));
        prop_assert_eq!(derived(&read_back(&aggregate)), derived(&aggregate));
    }

    #[test]
    fn every_piece_is_avro_of_the_schema(events in history()) {
        for piece in encoded(&fold(&events)).values() {
            let mut body = &piece[HEADER_LEN..];
            let value = from_avro_datum(&STATE.schema, &mut body, None);
            prop_assert!(value.is_ok_and(|value| value.validate(&STATE.schema)));
            prop_assert!(body.is_empty(), "nothing follows the record");
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        events in history(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        for mut piece in encoded(&fold(&events)).into_values() {
            for (place, byte) in &damage {
                let place = place.index(piece.len());
                piece[place] = *byte;
            }
            piece.truncate(end.index(piece.len()) + 1);
            if let Ok(read) = decode_piece(&piece) {
                // What is read obeys the invariants, so that it encodes and derives like any other.
                let mut aggregate = Aggregate::default();
                aggregate.join_piece(Some("1_entry"), read);
                derived(&aggregate);
                prop_assert_eq!(encoded(&read_back(&aggregate)), encoded(&aggregate));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let record: Vec<u8> = STATE.header.iter().copied().chain(body).collect();
        if let Ok(Piece::Entry(piece)) = decode_piece(&record) {
            prop_assert!(decode_piece(&piece.encode()).is_ok());
        }
    }

    #[test]
    fn the_latest_presence_decides_like_all_of_them(
        times in proptest::collection::vec(0_i64..6, 1..5), start in 0_i64..7, unregistered in -1_i64..7,
    ) {
        // The rule as it reads, over every presence: which facts are later than the un-registration, the highest wins.
        let later = || times.iter().filter(|at| **at > unregistered);
        let expected = if later().any(|at| *at >= start) {
            "Participated"
        } else if later().any(|_| true) {
            "Attended"
        } else {
            "Un-registered"
        };
        let mut events: Vec<_> = times.iter().map(|at| said(*at, Act::Join { connection: None })).collect();
        events.push(said(unregistered, Act::Registration(RegistrationAction::Unregistered)));
        let mut catalogue = Catalogue::default();
        catalogue.apply(session(NOON + start));
        let aggregate = fold(&events);
        let facts = Facts::Member(&aggregate.member);
        let row = upsert::row(Object::CAMPAIGN_MEMBER, &member(), facts, &catalogue).unwrap().unwrap();
        prop_assert_eq!(row.fields, vec![("Status", rollbook::upsert::Value::Text(expected.into()))]);
    }
}

fn said(step: i64, act: Act<'static>) -> OwnEvent {
    harness::events::event(format!("e{step}"), NOON + step, act)
}

fn session(start: Millis) -> rollbook::event::Session {
    let key = rollbook::event::SessionKey { campaign: member().campaign, entry_id: Some("1_entry".into()) };
    rollbook::event::Session {
        key,
        updated_at: NOON,
        source: "s".into(),
        event_id: "e".into(),
        name: None,
        channel_id: None,
        channel_name: None,
        scheduled_start: Some(start),
        scheduled_end: None,
        actual_start: None,
        actual_end: None,
        duration_ms: None,
    }
}

#[test]
fn what_was_sent_is_no_part_of_the_join() {
    let mut ours = fold([&said(0, Act::Join { connection: None })]);
    let theirs = ours.clone();
    let sent = RowMark { hash: 7, sent: true };
    ours.member.marks.note_row(1, sent);
    assert!(!ours.join(theirs.clone()).changed());
    assert_eq!(ours.member.marks.row(1), sent);
    assert_eq!(ours.member.encode_facts(), theirs.member.encode_facts(), "nor of what is the same");
    let mut theirs = theirs;
    assert!(!theirs.join(ours).changed());
    assert_eq!(theirs.member.marks.row(1), sent, "where nothing was noted, the other's note is kept");
}

#[test]
fn the_same_event_with_another_text_is_a_conflict() {
    let mut first = said(0, Act::Join { connection: None });
    first.user = Some(Cow::Borrowed("ada"));
    let mut second = first.clone();
    second.user = Some(Cow::Borrowed("bob"));
    let mut aggregate = Aggregate::default();
    assert!(!aggregate.apply(&first).conflict);
    assert!(!aggregate.apply(&first).conflict);
    assert!(aggregate.apply(&second).conflict);
    let mut other = fold([&first]);
    assert!(other.join(fold([&second])).conflict);
}
