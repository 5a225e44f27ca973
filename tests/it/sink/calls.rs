//! What the sink costs, counted by the org itself, and how it lives with limits and with codes that nobody knows.

use std::time::Duration;

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Fault, FaultAction, LongRequests, Options};
use rollbook::id::MemberKey;
use rollbook::outcome::OutcomeKind;
use rollbook::upsert::{Object, Upsert, Value};
use serde_json::json;

use super::stream::{PATIENCE, Stream, assert_held, dependant, member_row, members_of, rows};
use super::{campaign, lead_in};
use crate::harness::until;

/// Calls as full as Salesforce takes them. A busy machine reads slowly, and these tests are of numbers, not of time.
fn full(stream: &Stream) -> rollbook::config::Config {
    let mut config = stream.config();
    config.sink.batch_rows_max = 200;
    config.sink.batch_wait = Duration::from_secs(2);
    config
}

#[track_caller]
fn becomes(what: &str, mut met: impl FnMut() -> Result<(), String>) {
    tokio::task::block_in_place(|| until(what, PATIENCE, &mut met));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_costs_a_call_per_thousand_members_and_an_idle_stream_none() {
    const MEMBERS: usize = 20_000;
    let mut stream = Stream::start().await;
    let campaigns = ["One", "Two", "Three", "Four"].map(|name| campaign(&stream.org, name));
    let members: Vec<MemberKey> =
        (0..MEMBERS).map(|number| lead_in(&stream.org, campaigns[number % campaigns.len()], number)).collect();
    let mut config = full(&stream);
    // The machine may be busy with other tests: nothing is sent half full because reading took a while.
    config.sink.batch_wait = Duration::from_mins(2);
    config.sink.bulk_rows_min = 0;
    let sink = stream.run_with(config);
    // The statuses of a campaign are asked for once, before its first member.
    let first: Vec<Upsert> = members.iter().take(4).map(|member| member_row(*member, "Registered")).collect();
    stream.send(&first);
    stream.read_outcomes(first.len());
    let before = stream.org.api_calls();
    let burst: Vec<Upsert> = members.iter().map(|member| member_row(*member, "Participated")).collect();
    stream.send(&burst);
    for read in (0..=MEMBERS).step_by(MEMBERS / 10) {
        stream.read_outcomes(read + campaigns.len());
    }
    let calls = stream.org.api_calls() - before;
    println!("{calls} calls for {MEMBERS} changed members");
    assert!(calls * 1_000 <= MEMBERS as u64 * 11 / 10, "{calls} calls for {MEMBERS} members");
    assert_eq!(stream.dead_letters.len(), 0);
    sink.stop().await;
    let sink = stream.run_with(full(&stream));
    becomes("a sink that waits for rows", || if sink.health.ready().0 { Ok(()) } else { Err("not yet".into()) });
    sink.stop().await;
    assert_eq!(stream.org.api_calls() - before, calls, "an idle stream costs nothing, nor does a start");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_there_already_are_updated_without_being_asked_for() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 400);
    let upserts: Vec<Upsert> = members.iter().flat_map(|member| rows(*member, 1)).collect();
    stream.send(&upserts);
    let sink = stream.run_with(full(&stream));
    stream.read_outcomes(upserts.len());
    sink.stop().await;
    let (calls, queries) = (stream.org.api_calls(), stream.org.calls("query"));
    assert!(queries <= 4, "{queries} queries: the statuses of two campaigns, no members");
    // A new process knows nothing of them.
    let upserts: Vec<Upsert> = members.iter().flat_map(|member| rows(*member, 2)).collect();
    stream.send(&upserts);
    let sink = stream.run_with(full(&stream));
    stream.read_outcomes(2 * upserts.len());
    sink.stop().await;
    assert_held(&stream, &members, 2);
    let calls = stream.org.api_calls() - calls;
    assert!(calls <= 8, "{calls} calls for 1,200 rows of 400 members, statuses and wrong guesses included");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_side_by_side_never_meet_in_a_campaign_or_a_person() {
    const CAMPAIGNS: usize = 8;
    const PEOPLE: usize = 60;
    let mut options = Options::new(Schema::load_embedded());
    // A write keeps the locks of its rows and of their parents, and nobody waits for them.
    options.pace.write = Duration::from_millis(30);
    options.pace.lock_wait = Duration::ZERO;
    let mut stream = Stream::start_with(Emulator::start(options).await.expect("a free port"));
    let campaigns: Vec<_> = (0..CAMPAIGNS).map(|number| campaign(&stream.org, &number.to_string())).collect();
    let people: Vec<MemberKey> = (0..PEOPLE).map(|number| lead_in(&stream.org, campaigns[0], number)).collect();
    let of =
        |person: &MemberKey| campaigns.iter().map(|campaign| MemberKey { campaign: *campaign, ..*person }).collect();
    let members: Vec<MemberKey> = people.iter().flat_map(|person| -> Vec<MemberKey> { of(person) }).collect();
    let mut config = stream.config();
    config.sink.batch_rows_max = 10;
    config.sink.batch_wait = Duration::from_millis(1);
    let sink = stream.run_with(config);
    for plays in 1..=3 {
        stream.send(&members.iter().flat_map(|member| rows(*member, plays)).collect::<Vec<_>>());
    }
    stream.read_outcomes(3 * 3 * members.len());
    sink.stop().await;
    assert_held(&stream, &members, 3);
    let locked = stream.metrics.retries.with_label_values(&["lock"]).get();
    assert_eq!((locked, stream.dead_letters.len()), (0, 0), "no request met another's locks");
    let window = stream.metrics.window_requests.get();
    assert!(window > 2, "there was more than one at a time: {window}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_long_calls_is_not_taken_for_that_of_the_day() {
    let mut options = Options::new(Schema::load_embedded());
    options.pace.latency = Duration::from_millis(150);
    options.long_requests = LongRequests { after: Duration::from_millis(50), max: 1 };
    let mut stream = Stream::start_with(Emulator::start(options).await.expect("a free port"));
    let campaigns: Vec<_> = (0..6).map(|number| campaign(&stream.org, &number.to_string())).collect();
    let members: Vec<MemberKey> = (0..120).map(|number| lead_in(&stream.org, campaigns[number % 6], number)).collect();
    stream.send(&members.iter().flat_map(|member| rows(*member, 1)).collect::<Vec<_>>());
    let mut config = stream.config();
    config.sink.batch_rows_max = 5;
    config.sink.batch_wait = Duration::from_millis(1);
    let sink = stream.run_with(config);
    stream.read_outcomes(360);
    sink.stop().await;
    assert_held(&stream, &members, 1);
    let refused = ["composite", "collections", "statuses"].map(|api| {
        let refused = stream.metrics.requests.with_label_values(&[api, "4xx"]);
        refused.get()
    });
    assert!(refused.iter().sum::<u64>() > 0, "the limit was met");
    assert_eq!((stream.metrics.budget_exhausted.get(), stream.dead_letters.len()), (0, 0), "no day's limit, no loss");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserve_is_left_to_others_and_rows_wait_without_loss() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 40);
    let sink = stream.run_with(full(&stream));
    stream.send(&[member_row(members[0], "Registered")]);
    stream.read_outcomes(1);
    // What was spent so far is more than four fifths of this.
    stream.org.set_daily_api_requests(stream.org.api_calls() + 1);
    let last = members_of(&stream, 1);
    stream.send(&[member_row(last[0], "Registered")]);
    becomes("the share to be seen as spent", || match stream.metrics.budget_exhausted.get() {
        1 => Ok(()),
        _ => Err(sink.process.render()),
    });
    let saves = stream.org.calls("composite") + stream.org.calls("collections_upsert");
    stream.send(&members.iter().flat_map(|member| rows(*member, 1)).collect::<Vec<_>>());
    let asked = stream.org.calls("limits");
    becomes("the usage to be asked for again", || match stream.org.calls("limits") {
        now if now >= asked + 2 => Ok(()),
        now => Err(format!("{now} times")),
    });
    assert_eq!(stream.org.calls("composite") + stream.org.calls("collections_upsert"), saves, "rows wait");
    assert_eq!(sink.health.ready().1["sink"]["waits_for"], "the calls of the day are used up");
    stream.org.set_daily_api_requests(15_000);
    stream.read_outcomes(2 + 120);
    sink.stop().await;
    assert_eq!((stream.dead_letters.len(), stream.metrics.budget_exhausted.get()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_code_halts_its_row_alone_until_it_passes() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 20);
    let error = json!({ "statusCode": "SOMETHING_NEW", "message": "of secret@example.com", "fields": [] });
    let body = json!([{ "success": false, "errors": [error] }]).to_string();
    stream.org.add_fault(Fault::next("CampaignMember/", FaultAction::Answer { status: 200, body }).times(u64::MAX));
    let sink = stream.run_with(full(&stream));
    stream.send(&[member_row(members[0], "Registered")]);
    becomes("a held row", || match (stream.metrics.held_rows.get(), stream.metrics.held.get()) {
        (1, 2..) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    stream.org.clear_faults();
    stream.send(&members[1..].iter().flat_map(|member| rows(*member, 1)).collect::<Vec<_>>());
    stream.read_outcomes(19 * 3 + 1);
    sink.stop().await;
    assert_eq!((stream.outcomes_of(OutcomeKind::Created), stream.dead_letters.len()), (58, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_make_statuses_is_no_dead_letter() {
    let mut stream = Stream::start().await;
    let campaign = campaign(&stream.org, "Foreign");
    let members: Vec<MemberKey> = (0..2).map(|number| lead_in(&stream.org, campaign, number)).collect();
    let error = json!({ "statusCode": "INSUFFICIENT_ACCESS_OR_READONLY", "message": "no", "fields": [] });
    let body = json!(vec![json!({ "success": false, "errors": [error] }); 9]).to_string();
    let refuse = Fault::next("composite/sobjects", FaultAction::Answer { status: 200, body });
    stream.org.add_fault(refuse.method("POST").times(u64::MAX));
    let sink = stream.run_with(full(&stream));
    stream.send(&[member_row(members[0], "Registered"), member_row(members[1], "Sent")]);
    stream.read_outcomes(1);
    becomes("a held row", || match stream.metrics.held_rows.get() {
        1 => Ok(()),
        other => Err(format!("{other}")),
    });
    sink.stop().await;
    assert_eq!((stream.outcomes_of(OutcomeKind::Created), stream.dead_letters.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_reads_like_a_reference_arrives_as_it_is() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 3);
    let tricky = |member| dependant(Object::POLLS, member, "poll_1_answer__c", Value::Text("@{part0[0].id}".into()));
    let upserts = members.iter().flat_map(|member| [member_row(*member, "Registered"), tricky(*member)]);
    stream.send(&upserts.collect::<Vec<_>>());
    let sink = stream.run_with(full(&stream));
    stream.read_outcomes(6);
    sink.stop().await;
    assert!(stream.held("Kaltura_User_Polls__c").values().all(|poll| poll["poll_1_answer__c"] == "@{part0[0].id}"));
    assert_eq!(stream.dead_letters.len(), 0);
}
