//! The reference fold against cases computed by hand. What the rest of the tests compares with must itself be right.

use rollbook::demo::reference::event::{
    Act, Answer, Device, Event, Member, Millis, Reaction, Session, Statement, Subject, View,
};
use rollbook::demo::reference::{Fields, Rows, differences, rows, unexpected_fields};
use serde_json::{Value, json};

const CAMPAIGN: &str = "70103000000cnFXAAY";
const LEAD: &str = "00Q0300000AczgfEAB";
const CONTACT: &str = "0030300000AczgfAAB";
const MEMBER: &str = "70103000000cnFXAAY_00Q0300000AczgfEAB";
/// 1 June 2026, 09:00 UTC.
const NINE: Millis = 1_780_304_400_000;
const MINUTE: Millis = 60_000;

fn lead() -> Member {
    Member { campaign: CAMPAIGN.to_owned(), person: LEAD.to_owned() }
}

/// An event of entry `e1`, so many minutes after nine.
fn event(event_id: &str, minute: Millis, act: Act) -> Event {
    Event {
        member: lead(),
        source: "test".into(),
        event_id: event_id.to_owned(),
        occurred_at: NINE + minute * MINUTE,
        entry_id: Some("e1".into()),
        entry_name: None,
        channel_id: None,
        channel_name: None,
        email: None,
        user: None,
        act,
    }
}

fn view(live: bool, start: Millis, end: Option<Millis>) -> View {
    let end = end.map(|end| NINE + end * MINUTE);
    View { live, start: NINE + start * MINUTE, end, ..View::default() }
}

fn session(entry_id: Option<&str>) -> Session {
    Session {
        subject: Subject { campaign: CAMPAIGN.to_owned(), entry_id: entry_id.map(str::to_owned) },
        updated_at: NINE,
        source: "test".to_owned(),
        event_id: "s".to_owned(),
        name: None,
        channel_id: None,
        channel_name: None,
        scheduled_start: None,
        scheduled_end: None,
        actual_start: None,
        actual_end: None,
        duration_ms: None,
    }
}

fn reacted(symbol: &str) -> Act {
    Act::Reaction(Reaction { symbol: symbol.to_owned(), ..Reaction::default() })
}

fn registration(event_id: &str, minute: Millis, action: &str) -> Event {
    Event { entry_id: None, ..event(event_id, minute, Act::Registration(action.to_owned())) }
}

fn device(event_id: &str, minute: Millis, connection: Option<&str>, on: bool) -> Event {
    event(event_id, minute, Act::Device { connection: connection.map(str::to_owned), device: Device::Mic, on })
}

fn poll(event_id: &str, minute: Millis, poll_id: &str, answer: &str) -> Event {
    let answer = Answer { poll_id: poll_id.to_owned(), answer: answer.to_owned(), ..Answer::default() };
    event(event_id, minute, Act::Poll(answer))
}

fn expected(events: &[Event], sessions: &[Session]) -> Rows {
    rows(events, &sessions.iter().cloned().map(Statement::Says).collect::<Vec<_>>())
}

fn row(object: &str, external_id: &str, events: &[Event], sessions: &[Session]) -> Option<Fields> {
    expected(events, sessions).remove(&(object.to_owned(), external_id.to_owned()))
}

fn engagement(events: &[Event], sessions: &[Session]) -> Fields {
    row("UserSessionEngagement__c", &format!("{MEMBER}_e1"), events, sessions).expect("the row exists")
}

fn polls(events: &[Event]) -> Fields {
    row("Kaltura_User_Polls__c", &format!("{MEMBER}_e1"), events, &[]).expect("the row exists")
}

fn status(events: &[Event], sessions: &[Session]) -> Option<Value> {
    row("CampaignMember", MEMBER, events, sessions).expect("the row exists").remove("Status")
}

#[test]
fn live_levels_take_the_highest_of_overlapping_intervals() {
    let act = |in_focus, full_screen, sound_on, start, end| {
        Act::View(View { in_focus, full_screen, sound_on, ..view(true, start, Some(end)) })
    };
    let events = [
        event("1", 0, act(false, true, false, 0, 10)), // no: full screen without focus is not high
        event("2", 0, act(true, false, false, 2, 4)),  // low
        event("3", 0, act(false, false, true, 3, 6)),  // fair
        event("4", 0, act(true, false, true, 5, 8)),   // good
        event("5", 0, act(true, true, false, 7, 9)),   // high
    ];
    let row = engagement(&events, &[]);
    assert_eq!(row["live_minutes_viewed__c"], 10.0);
    // no 0-2 and 9-10, low 2-3, fair 3-5, good 5-7, high 7-9.
    for (level, rate) in [("no", 30.0), ("low", 10.0), ("fair", 20.0), ("good", 20.0), ("high", 20.0)] {
        assert_eq!(row[&format!("{level}_live_engagement_rate__c")], rate, "{level}");
    }
    assert_eq!(row["combined_live_engaged_users_play_time_ratio__c"], 0.4);
}

#[test]
fn a_row_without_live_time_has_null_rates_and_zero_counts() {
    let row = engagement(&[event("1", 0, Act::View(view(true, 0, None)))], &[]);
    assert_eq!(row["live_minutes_viewed__c"], 0.0);
    assert_eq!(row["no_live_engagement_rate__c"], Value::Null);
    assert_eq!(row["combined_live_engaged_users_play_time_ratio__c"], Value::Null);
    assert_eq!(row["total_vod_completion_rate__c"], Value::Null);
    assert_eq!(row["plays__c"], 0);
    assert_eq!(row["mic_on__c"], 0.0);
    assert_eq!(row["clap_clicked_count__c"], 0);
    assert_eq!(row.len(), 32, "external id and 31 fields");
}

#[test]
fn completion_is_the_union_of_recorded_playheads_within_the_duration() {
    let act = |live, end, playhead| Act::View(View { playhead: Some(playhead), ..view(live, 0, end) });
    let known = Session { duration_ms: Some(3_000), ..session(Some("e1")) };
    let events = [
        event("1", 0, act(false, Some(1), (-500, 500))),
        event("2", 0, act(false, None, (400, 1_000))), // no end known: its playhead counts all the same
        event("3", 0, act(false, Some(1), (2_900, 9_000))),
        event("4", 0, act(false, Some(1), (2_000, 1_500))), // backwards
        event("5", 0, act(true, Some(1), (0, 3_000))),      // live
    ];
    let row = engagement(&events, std::slice::from_ref(&known));
    assert_eq!(row["total_vod_completion_rate__c"], 36.67); // 1,100 of 3,000
    assert_eq!(row["vod_minutes_viewed__c"], 1.0);
    assert_eq!(engagement(&events[4..], std::slice::from_ref(&known))["total_vod_completion_rate__c"], 0.0);
    let unknown = Session { duration_ms: Some(0), ..known };
    assert_eq!(engagement(&events, &[unknown])["total_vod_completion_rate__c"], Value::Null);
}

#[test]
fn counts_are_of_distinct_ids_and_events() {
    let own = |id: Option<&str>| id.map(str::to_owned);
    let message = |id| Act::Reaction(Reaction { symbol: "MESSAGE".to_owned(), message_id: own(id), thread_id: None });
    let question = |id| Act::Reaction(Reaction { symbol: "QUESTION".to_owned(), message_id: None, thread_id: own(id) });
    let play = |id: &str, live| Act::View(View { play_id: Some(id.into()), ..view(live, 0, None) });
    let mut events: Vec<_> = [
        reacted("CLAP"),
        reacted("CLAP"),
        reacted("SMILE"),
        reacted("RAISE_HAND"),
        reacted("ADD_TO_CALENDAR"),
        message(Some("m")),
        message(Some("m")),
        message(None),
        question(Some("t")),
        question(None),
        question(None),
    ]
    .into_iter()
    .enumerate()
    .map(|(at, act)| event(&format!("r{at}"), 1, act))
    .collect();
    events.extend([
        event("v1", 0, play("p", true)),
        event("v2", 0, play("p", false)),
        event("v3", 0, play("q", false)),
    ]);
    events.extend(events.clone());
    let row = engagement(&events, &[]);
    for (field, count) in [
        ("clap_clicked_count", 2),
        ("heart_clicked_count", 0),
        ("smile_clicked_count", 1),
        ("total_reactions_activity", 3),
        ("raise_hand", 1),
        ("add_to_calendar", 1),
        ("messages_sent_group", 2),
        ("qna_threads", 3),
        ("plays", 2),
    ] {
        assert_eq!(row[&format!("{field}__c")], count, "{field}");
    }
}

#[test]
fn the_newest_valid_text_stands_and_the_catalogue_wins() {
    let click = |event_id: &str, minute| event(event_id, minute, reacted("CLAP"));
    let text = |text: &str| Some(text.to_owned());
    let events = [
        Event { email: text(" old@b.example "), user: text("u1"), entry_name: text("event's"), ..click("1", 0) },
        Event { email: text("broken@"), user: text("  "), channel_id: Some(7), ..click("2", 5) },
        // A tie in time and source: the greater event id is newer.
        Event { email: text("b@b.example"), ..click("4", 3) },
        Event { email: text("a@b.example"), ..click("3", 3) },
        // A registration that names the entry makes no row, but counts here.
        Event { user: text("u2"), ..event("5", 1, Act::Registration("REGISTERED".to_owned())) },
    ];
    let row = engagement(&events, &[]);
    assert_eq!(row["email__c"], "b@b.example");
    assert_eq!(row["user__c"], "u2");
    assert_eq!(row["entry_name__c"], "event's");
    assert_eq!(row["channel_id__c"], 7);
    let older = Session { name: Some("catalogue's".to_owned()), channel_id: Some(8), ..session(Some("e1")) };
    let newer = Session { updated_at: NINE + 1, channel_name: Some("Main".to_owned()), ..session(Some("e1")) };
    assert_eq!(engagement(&events, std::slice::from_ref(&older))["channel_id__c"], 8);
    // The newest statement counts whole: what it does not say is not known.
    let row = engagement(&events, &[newer, older]);
    assert_eq!(row["entry_name__c"], "event's");
    assert_eq!(row["channel_id__c"], 7);
    assert_eq!(row["channel_name__c"], "Main");
}

#[test]
fn a_microphone_ends_with_its_connection_the_session_or_the_last_sign_of_life() {
    let leave = |event_id: &str, minute, connection: &str| {
        event(event_id, minute, Act::Leave { connection: Some(connection.into()) })
    };
    let minutes = |events: &[Event], sessions: &[Session]| engagement(events, sessions)["mic_on__c"].clone();
    let (on, off) = (true, false);
    let a = Some("a");
    assert_eq!(minutes(&[device("1", 0, a, on), device("2", 5, a, off), device("3", 9, a, off)], &[]), 5.0);
    // Another connection's leave does not end it, its own does; two connections overlap.
    let two = [
        device("1", 0, a, on),
        leave("2", 4, "b"),
        leave("3", 6, "a"),
        device("4", 5, None, on),
        device("5", 8, None, off),
    ];
    assert_eq!(minutes(&two, &[]), 8.0);
    let open = [device("1", 0, a, on), event("2", 3, Act::View(view(true, 3, Some(7))))];
    assert_eq!(minutes(&open, &[]), 7.0);
    let ends = |minute: Millis| Session { actual_end: Some(NINE + minute * MINUTE), ..session(Some("e1")) };
    assert_eq!(minutes(&open, &[ends(5)]), 5.0);
    assert_eq!(minutes(&open, &[ends(-1)]), 0.0);
    // A scheduled end has not happened.
    assert_eq!(minutes(&open, &[Session { scheduled_end: Some(NINE + MINUTE), ..session(Some("e1")) }]), 7.0);
    assert_eq!(minutes(&[device("1", 0, a, on)], &[]), 0.0);
    let start = NINE - MINUTE;
    let presence = Act::Presence { connection: Some("a".into()), start, end: Some(NINE + 2 * MINUTE) };
    assert_eq!(minutes(&[device("1", 0, a, on), event("2", -1, presence)], &[]), 2.0);
}

#[test]
fn polls_keep_their_slot_when_the_answer_is_withdrawn() {
    let with = |event: Event, change: fn(&mut Answer)| {
        let Act::Poll(mut answer) = event.act else { unreachable!("a poll") };
        change(&mut answer);
        Event { act: Act::Poll(answer), ..event }
    };
    let events = [
        with(poll("1", 0, "z", "yes"), |poll| {
            poll.position = Some(2);
            poll.question = Some("Why?".into());
        }),
        poll("2", 9, "z", " "),
        with(poll("3", 5, "b", "x; y"), |poll| poll.position = Some(10)),
        poll("5", 4, "d", "late"),
        poll("4", 3, "c", "older"),
        poll("6", 6, "c", "newer"),
        poll("7", 4, "a", "tie"),
    ];
    let row = polls(&events);
    let answers: Vec<&Value> = (1..=6).map(|slot| &row[&format!("poll_{slot}_answer__c")]).collect();
    assert_eq!(answers, [&json!(null), &json!("x; y"), &json!("newer"), &json!("tie"), &json!("late"), &json!(null)]);
    assert_eq!(row["poll_1_question__c"], "Why?");
    assert_eq!(row["poll_1_type__c"], Value::Null);
    assert_eq!(engagement(&events, &[])["answered_polls__c"], 4);
    assert_eq!(row.len(), 36, "external id, five common fields and 30 data points");
}

#[test]
fn eleven_polls_are_counted_and_ten_written() {
    let events: Vec<_> =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"].into_iter().map(|id| poll(id, 0, id, id)).collect();
    assert_eq!(engagement(&events, &[])["answered_polls__c"], 11);
    assert_eq!(polls(&events)["poll_10_answer__c"], "j");
    assert!(!polls(&events).values().any(|value| value == "k"));
}

#[test]
fn an_unregistration_hides_what_came_before_it() {
    let of = |facts: &[(&str, Millis)]| {
        let events: Vec<_> = facts
            .iter()
            .enumerate()
            .map(|(at, (action, minute))| registration(&at.to_string(), *minute, action))
            .collect();
        status(&events, &[])
    };
    assert_eq!(of(&[("GUEST_ADDED", 0)]), None);
    assert_eq!(of(&[("CREATED", 9), ("INVITED", 1)]), Some("Invited".into()));
    assert_eq!(of(&[("CONFIRMED", 0), ("AUTO_CONFIRMED", 1), ("REGISTERED", 2)]), Some("Confirmed".into()));
    assert_eq!(of(&[("CONFIRMED", 0), ("UNREGISTERED", 1)]), Some("Un-registered".into()));
    assert_eq!(of(&[("CONFIRMED", 1), ("UNREGISTERED", 1)]), Some("Un-registered".into()));
    assert_eq!(of(&[("CONFIRMED", 0), ("UNREGISTERED", 1), ("REGISTERED", 2)]), Some("Registered".into()));
    assert_eq!(of(&[("UNREGISTERED", 1), ("CREATED", 2), ("INVITED", 2)]), Some("Un-registered".into()));
    assert_eq!(of(&[("REGISTERED", 0), ("BLOCKED", 1), ("UNBLOCKED", 1)]), Some("Blocked".into()));
    assert_eq!(of(&[("REGISTERED", 0), ("BLOCKED", 1), ("UNBLOCKED", 2)]), Some("Registered".into()));
    assert_eq!(of(&[("BLOCKED", 1), ("UNBLOCKED", 2)]), None);
}

#[test]
fn visits_are_before_or_during_by_the_start_of_entry_else_campaign() {
    let starts =
        |entry_id, minute: Millis| Session { scheduled_start: Some(NINE + minute * MINUTE), ..session(entry_id) };
    let join = [event("1", 0, Act::Join { connection: None })];
    assert_eq!(status(&join, &[]), Some("Participated".into()));
    assert_eq!(status(&join, &[starts(Some("e1"), 0)]), Some("Participated".into()));
    assert_eq!(status(&join, &[starts(Some("e1"), 1)]), Some("Attended".into()));
    assert_eq!(status(&join, &[starts(None, 1)]), Some("Attended".into()));
    assert_eq!(status(&join, &[starts(None, 1), starts(Some("e1"), 0)]), Some("Participated".into()));
    let actual = Session { actual_start: Some(NINE), ..starts(Some("e1"), 1) };
    assert_eq!(status(&join, &[actual]), Some("Participated".into()));
    // A whole presence counts from its start, whenever it was told.
    let presence = Act::Presence { connection: None, start: NINE - MINUTE, end: None };
    assert_eq!(status(&[event("1", 30, presence)], &[starts(None, 0)]), Some("Attended".into()));
    let phased = [Event { entry_id: None, ..event("1", 0, Act::Visit { phase: Some("DURING".to_owned()) }) }];
    assert_eq!(status(&phased, &[starts(None, 60)]), Some("Participated".into()));
    for silent in [Act::Leave { connection: None }, reacted("CLAP"), Act::View(view(false, 0, None))] {
        assert_eq!(status(&[event("1", 0, silent)], &[]), None);
    }
    assert_eq!(status(&[event("1", 0, Act::View(view(true, 0, None)))], &[]), Some("Participated".into()));
}

#[test]
fn rows_exist_only_where_something_made_them() {
    let visit = event("1", 0, Act::Visit { phase: None });
    let keys = |events: &[Event]| expected(events, &[]).into_keys().map(|(object, _)| object).collect::<Vec<_>>();
    assert_eq!(keys(&[visit.clone(), event("2", 0, Act::Registration("REGISTERED".to_owned()))]), ["CampaignMember"]);
    assert_eq!(keys(&[event("3", 0, Act::Leave { connection: None })]), ["CampaignMember", "UserSessionEngagement__c"]);
    assert_eq!(keys(&[poll("4", 0, "p", "")]).len(), 3);
    // 217 and 218 units of entry id make an external id of 255 and 256.
    let long = |units: usize| Event { entry_id: Some("x".repeat(units)), ..poll("5", 0, "p", "") };
    assert_eq!(keys(&[long(217)]).len(), 3);
    assert_eq!(keys(&[long(218)]), ["CampaignMember"]);
    // A number that its field cannot hold takes its own row away, not the others.
    let large = |channel_id| Event { channel_id: Some(channel_id), ..poll("6", 0, "p", "") };
    assert_eq!(keys(&[large(999_999_999_999_999_999)]).len(), 3);
    assert_eq!(keys(&[large(-1_000_000_000_000_000_000)]), ["CampaignMember", "Kaltura_User_Polls__c"]);
}

#[test]
fn a_contact_has_no_lead() {
    let member = Member { person: CONTACT.to_owned(), ..lead() };
    let clap =
        Event { member: member.clone(), entry_id: Some("a longer entry id".into()), ..event("1", 0, reacted("CLAP")) };
    let rows = expected(&[clap], &[]);
    let member_row = &rows[&("CampaignMember".to_owned(), member.to_string())];
    assert_eq!(member_row["LeadId"], Value::Null);
    assert_eq!(member_row["ContactId"], member.person.as_str());
    let row = &rows[&("UserSessionEngagement__c".to_owned(), format!("{member}_a longer entry id"))];
    assert_eq!(row["Lead__c"], Value::Null);
    assert_eq!(row["entry_id__c"], "a longer en");
}

#[test]
fn a_tombstone_takes_away_what_came_before_it() {
    let named = |updated_at, name: &str| {
        Statement::Says(Session { updated_at, name: Some(name.to_owned()), ..session(Some("e1")) })
    };
    let tombstone = Statement::Forgets(session(Some("e1")).subject);
    let stands = |statements: &[Statement]| {
        let rows = rows(&[event("1", 0, reacted("CLAP"))], statements);
        rows[&("UserSessionEngagement__c".to_owned(), format!("{MEMBER}_e1"))]["entry_name__c"].clone()
    };
    assert_eq!(stands(&[named(5, "first"), tombstone.clone()]), Value::Null);
    assert_eq!(stands(&[named(5, "first"), tombstone, named(3, "second")]), "second");
}

#[test]
fn every_difference_is_found_and_no_address_told() {
    let clap = Event { email: Some("a@b.example".into()), ..event("1", 0, reacted("CLAP")) };
    let expectation = expected(&[clap], &[]);
    let mut actual = expectation.clone();
    let member_key = ("CampaignMember".to_owned(), MEMBER.to_owned());
    let row_key = ("UserSessionEngagement__c".to_owned(), format!("{MEMBER}_e1"));
    actual.get_mut(&member_key).unwrap().insert("Id".to_owned(), "00v000000000001AAA".into());
    let row = actual.get_mut(&row_key).unwrap();
    row.insert("campaign_member__c".to_owned(), "00v000000000001AAA".into());
    row.insert("clap_clicked_count__c".to_owned(), json!(1.0));
    assert_eq!(differences(&expectation, &actual), Vec::<String>::new());

    // A member without a fact of the ladder has no status.
    assert_eq!(unexpected_fields(&expectation, &actual), Vec::<String>::new());
    let member = actual.get_mut(&member_key).unwrap();
    member.insert("Status".to_owned(), "Blocked".into());
    assert_eq!(unexpected_fields(&expectation, &actual), [format!("CampaignMember {MEMBER}: Status is not expected")]);
    actual.get_mut(&member_key).unwrap().remove("Status");

    let row = actual.get_mut(&row_key).unwrap();
    row.insert("campaign_member__c".to_owned(), "00v000000000002AAA".into());
    row.insert("clap_clicked_count__c".to_owned(), json!(2));
    row.insert("email__c".to_owned(), "c@d.example".into());
    row.remove("mic_on__c");
    actual.insert(("CampaignMember".to_owned(), "another".to_owned()), Fields::new());
    let found = differences(&expectation, &actual);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(!found.concat().contains("b.example"), "{found:#?}");
    actual.remove(&row_key);
    assert!(differences(&expectation, &actual)[0].ends_with("missing in the org"));
}
