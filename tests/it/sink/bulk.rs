//! Backlogs that go as Bulk jobs: what they cost by the org's own count, and what becomes of their rows when a job or the
//! sink comes to grief.

use std::time::Duration;

use rollbook::config::Config;
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Fault, FaultAction, Options};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::outcome::{LeftOut, OutcomeKind};
use rollbook::upsert::{Object, Upsert, Value};
use secrecy::SecretString;
use serde_json::{Value as Json, json};

use super::stream::{PATIENCE, Running, Stream, assert_held, dependant, member_row, rows};
use super::{campaign, control, lead_in};
use crate::harness::until;

/// Jobs are worth it from some fifty rows on.
fn small(stream: &Stream) -> Config {
    let mut config = stream.config();
    config.sink.batch_rows_max = 1;
    config.sink.bulk_rows_min = 10;
    config
}

struct World {
    stream: Stream,
    token: SecretString,
    campaigns: Vec<SalesforceId>,
}

impl World {
    async fn start() -> Self {
        let options = Options::new(Schema::load_embedded());
        let token = options.control_token.clone();
        let org = Emulator::start(options).await.expect("a free port");
        let campaigns = ["One", "Two"].map(|name| campaign(&org, name)).to_vec();
        Self { stream: Stream::start_with(org), token, campaigns }
    }

    fn members(&self, count: usize) -> Vec<MemberKey> {
        (0..count).map(|number| lead_in(&self.stream.org, self.campaigns[number % 2], number)).collect()
    }

    async fn control(&self, method: &str, path: &str, body: Json) {
        control(&self.stream.org, &self.token, (method, path), body).await;
    }

    /// A sink whose job has its rows, and stands still.
    async fn held_job(&self, rows: &[Upsert]) -> Running {
        self.control("PUT", "bulk/hold", Json::Null).await;
        self.stream.send(rows);
        let sink = self.stream.run_with(small(&self.stream));
        // Created, closed and asked for once.
        self.becomes("a closed job", || self.stream.org.calls("bulk_ingest") >= 3);
        sink
    }

    #[track_caller]
    fn becomes(&self, what: &str, mut met: impl FnMut() -> bool) {
        let ended = || self.stream.metrics.bulk_jobs_ended.with_label_values(&["complete"]).get();
        tokio::task::block_in_place(|| {
            until(what, PATIENCE, || if met() { Ok(()) } else { Err(format!("{} jobs complete", ended())) });
        });
    }

    fn jobs_ended(&self, end: &str) -> u64 {
        self.stream.metrics.bulk_jobs_ended.with_label_values(&[end]).get()
    }

    /// Calls that carry rows, but for jobs.
    fn saves(&self) -> u64 {
        self.stream.org.calls("composite") + self.stream.org.calls("collections_upsert")
    }
}

fn registered(members: &[MemberKey]) -> Vec<Upsert> {
    members.iter().map(|member| member_row(*member, "Registered")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_and_fifty_thousand_members_cost_at_most_twenty_calls() {
    const MEMBERS: usize = 150_000;
    let org = Emulator::start(Options::new(Schema::load_embedded())).await.expect("a free port");
    let mut stream = Stream::on_broker("bulk", org);
    let campaigns = ["One", "Two", "Three"].map(|name| campaign(&stream.org, name));
    let members: Vec<MemberKey> =
        (0..MEMBERS).map(|number| lead_in(&stream.org, campaigns[number % campaigns.len()], number)).collect();
    for some in members.chunks(50_000) {
        stream.send(&registered(some));
    }
    // The defaults.
    let mut config = stream.config();
    config.sink = rollbook::config::Sink::default();
    let sink = stream.run_with(config);
    // They all come at the end of the job.
    tokio::task::block_in_place(|| {
        until("the end of a job", PATIENCE * 5, || {
            match stream.metrics.bulk_jobs_ended.with_label_values(&["complete"]).get() {
                0 => Err(format!("{} calls so far", stream.org.api_calls())),
                _ => Ok(()),
            }
        });
    });
    stream.read_outcomes(MEMBERS);
    sink.stop().await;
    let calls = stream.org.api_calls();
    println!("{calls} calls for {MEMBERS} members");
    assert!(calls <= 20, "{calls} calls for {MEMBERS} members");
    assert_eq!((stream.outcomes_of(OutcomeKind::Created), stream.dead_letters.len()), (MEMBERS, 0));
    assert_eq!(stream.held("CampaignMember").len(), MEMBERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_the_rows_that_hang_on_them_go_in_jobs_one_after_the_other() {
    let mut world = World::start().await;
    let members = world.members(200);
    // Two of them are members already: one of ours, one that somebody else made.
    let stream = &mut world.stream;
    let sink = stream.run_with(stream.config());
    stream.send(&[member_row(members[0], "Registered")]);
    stream.read_outcomes(1);
    sink.stop().await;
    let foreign =
        json!({ "CampaignId": members[1].campaign.as_str(), "LeadId": members[1].person.as_str(), "Status": "Sent" });
    stream.org.with_org(|org| org.put("CampaignMember", foreign)).expect("a member");
    stream.send(&members.iter().flat_map(|member| rows(*member, 7)).collect::<Vec<_>>());
    let sink = stream.run_with(small(stream));
    stream.read_outcomes(601);
    sink.stop().await;
    assert_held(&world.stream, &members, 7);
    assert_eq!(world.stream.dead_letters.len(), 0);
    assert!(world.jobs_ended("complete") >= 3, "one for each object: {}", world.jobs_ended("complete"));
    assert!(world.saves() < 50, "{} calls with the rest", world.saves());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_empties_its_field_and_what_a_csv_cannot_carry_goes_another_way() {
    let mut world = World::start().await;
    let members = world.members(60);
    let answer = |value: Value| {
        let rows =
            members.iter().map(move |member| dependant(Object::POLLS, *member, "poll_1_answer__c", value.clone()));
        rows.collect::<Vec<_>>()
    };
    world.stream.send(&registered(&members));
    world.stream.send(&answer(Value::Text("yes, \"quoted\"\nand more".into())));
    let sink = world.stream.run_with(small(&world.stream));
    world.stream.read_outcomes(120);
    let polls = world.stream.held("Kaltura_User_Polls__c");
    assert!(polls.values().all(|poll| poll["poll_1_answer__c"] == "yes, \"quoted\"\nand more"));
    sink.stop().await;
    let jobs = world.jobs_ended("complete");
    let mut emptied = answer(Value::Null);
    emptied.truncate(55);
    let literal = answer(Value::Text("#N/A".into())).split_off(55);
    world.stream.send(&emptied);
    world.stream.send(&literal);
    // All of them are there to be read, however slowly: a part of them would be too few for a job.
    let sink = world.stream.run_with(small(&world.stream));
    world.stream.read_outcomes(180);
    sink.stop().await;
    assert!(world.jobs_ended("complete") > jobs, "the emptied ones went in a job");
    let polls = world.stream.held("Kaltura_User_Polls__c");
    let held = |wanted: Json| polls.values().filter(|poll| poll.get("poll_1_answer__c") == Some(&wanted)).count();
    assert_eq!((held("#N/A".into()), polls.len()), (5, 60));
    let empty = polls.values().filter(|poll| poll.get("poll_1_answer__c").is_none_or(Json::is_null)).count();
    assert_eq!(empty, 55);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_in_a_job_is_a_dead_letter_and_a_value_is_left_out() {
    let mut world = World::start().await;
    let mut members = world.members(120);
    let gone = MemberKey { person: SalesforceId::parse("00Q000000099999").unwrap(), ..members[0] };
    members.push(gone);
    let mut upserts = registered(&members);
    let long = Value::Text("x".repeat(300));
    upserts.extend(members[..120].iter().map(|member| dependant(Object::ENGAGEMENT, *member, "user__c", long.clone())));
    world.stream.send(&upserts);
    let sink = world.stream.run_with(small(&world.stream));
    world.stream.read_outcomes(241);
    sink.stop().await;
    let letters = &world.stream.dead_letters;
    assert_eq!((letters.len(), world.stream.outcomes_of(OutcomeKind::Created)), (1, 240));
    assert_eq!(letters[0].reason, "person_missing");
    let long = LeftOut { field: "user__c".to_owned(), code: "STRING_TOO_LONG".to_owned() };
    let without = world.stream.outcomes.iter().filter(|outcome| outcome.left_out == [long.clone()]).count();
    assert_eq!((without, world.stream.held("UserSessionEngagement__c").len()), (120, 120));
    assert!(world.jobs_ended("complete") >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_stopped_leaves_its_job_to_the_next_which_takes_its_results() {
    let mut world = World::start().await;
    let members = world.members(100);
    let sink = world.held_job(&registered(&members)).await;
    // It does not wait for the job.
    sink.stop().await;
    assert_eq!(world.stream.held("CampaignMember").len(), 0);
    let newer: Vec<Upsert> = members[..40].iter().map(|member| member_row(*member, "Participated")).collect();
    world.stream.send(&newer);
    let saves = world.saves();
    let sink = world.stream.run_with(small(&world.stream));
    let asked = world.stream.org.calls("bulk_ingest");
    world.becomes("the job to be asked for", || world.stream.org.calls("bulk_ingest") > asked + 1);
    assert_eq!(world.saves(), saves, "nothing is sent beside the job");
    world.control("DELETE", "bulk/hold", Json::Null).await;
    world.stream.read_outcomes(140);
    sink.stop().await;
    assert_eq!((world.stream.outcomes_of(OutcomeKind::Created), world.stream.dead_letters.len()), (100, 0));
    let held = world.stream.held("CampaignMember");
    let of = |status: &str| held.values().filter(|member| member["Status"] == status).count();
    assert_eq!((of("Registered"), of("Participated")), (60, 40), "the newer version came last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_dies_at_any_step_of_a_job_loses_nothing() {
    // It was uploaded and is open; it was closed and asked for.
    for calls in [2, 4] {
        let mut world = World::start().await;
        let members = world.members(120);
        world.control("PUT", "bulk/hold", Json::Null).await;
        let slow = Fault::next("/jobs/ingest", FaultAction::Proceed).delayed(Duration::from_millis(300));
        world.stream.org.add_fault(slow.times(u64::MAX));
        world.stream.send(&registered(&members));
        let sink = world.stream.run_with(small(&world.stream));
        let bulk_calls = || world.stream.org.calls("bulk_ingest") + world.stream.org.calls("bulk_upload");
        world.becomes("a call for the job", || bulk_calls() >= calls);
        sink.kill().await;
        assert_eq!((world.saves(), world.stream.held("CampaignMember").len()), (0, 0));
        world.stream.org.clear_faults();
        world.control("DELETE", "bulk/hold", Json::Null).await;
        let newer: Vec<Upsert> = members[..40].iter().map(|member| member_row(*member, "Participated")).collect();
        world.stream.send(&newer);
        let sink = world.stream.run_with(small(&world.stream));
        world.stream.read_outcomes(160);
        sink.stop().await;
        let held = world.stream.held("CampaignMember");
        let of = |status: &str| held.values().filter(|member| member["Status"] == status).count();
        assert_eq!((of("Registered"), of("Participated")), (80, 40), "killed after {calls} calls");
        assert_eq!(world.stream.dead_letters.len(), 0, "killed after {calls} calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_in_the_middle_is_settled_row_by_row() {
    let mut world = World::start().await;
    let members = world.members(500);
    world
        .control(
            "POST",
            "bulk/fail",
            json!({ "after_chunks": 1, "message": "InternalServerError : of ann@example.com" }),
        )
        .await;
    world.stream.send(&registered(&members));
    let mut config = small(&world.stream);
    config.sink.batch_rows_max = 5;
    let sink = world.stream.run_with(config);
    world.stream.read_outcomes(500);
    sink.stop().await;
    assert_eq!((world.stream.outcomes_of(OutcomeKind::Created), world.stream.dead_letters.len()), (500, 0));
    assert_eq!((world.jobs_ended("failed"), world.stream.held("CampaignMember").len()), (1, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_salesforce_has_forgotten_is_sent_again() {
    let mut world = World::start().await;
    let members = world.members(100);
    let sink = world.held_job(&registered(&members)).await;
    world.control("POST", "bulk/expire", Json::Null).await;
    world.control("DELETE", "bulk/hold", Json::Null).await;
    world.stream.read_outcomes(100);
    sink.stop().await;
    // The emulator's worker may have been faster than the next question.
    let written = [OutcomeKind::Created, OutcomeKind::Updated].map(|kind| world.stream.outcomes_of(kind));
    assert_eq!((written.iter().sum::<usize>(), world.jobs_ended("gone")), (100, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_batches_rows_go_by_composite_calls() {
    let mut world = World::start().await;
    let members = world.members(100);
    world.control("PUT", "limits/DailyBulkApiBatches/0", Json::Null).await;
    world.stream.send(&registered(&members));
    let mut config = small(&world.stream);
    config.sink.backoff_max = Duration::from_mins(1);
    let sink = world.stream.run_with(config);
    world.stream.read_outcomes(100);
    sink.stop().await;
    assert_eq!((world.stream.outcomes_of(OutcomeKind::Created), world.stream.dead_letters.len()), (100, 0));
    assert!(world.jobs_ended("failed") + world.jobs_ended("refused") == 1, "once, and not again for ten minutes");
}
