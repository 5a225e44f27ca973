//! Bulk jobs: stories of what goes wrong with one.

use super::tests::*;
use super::*;
use crate::disposition::{Disposition, Retry};
use crate::salesforce::bulk::{JobInfo, JobState, ResultKind};
use crate::upsert::{Object, Upsert};

const ROWS: u32 = 6;
const HOUR_MS: Millis = 3_600_000;

/// An outbox whose job has been made and recorded, and the time.
struct Story {
    outbox: Outbox,
    now: Millis,
}

impl Story {
    fn of_a_recorded_job() -> Self {
        let costs = Costs { call_rows: 1, job_calls: 1, job_rows_min: 2, patience: 0 };
        let mut outbox = Outbox::new(Settings { costs, ..settings() });
        let upserts: Vec<Upsert> =
            (1..=ROWS).map(|person| upsert(Object::CAMPAIGN_MEMBER, member(1, person), 1)).collect();
        for (offset, upsert) in (0..).zip(&upserts) {
            outbox.push(source(0, offset, upsert), 0);
        }
        let mut story = Self { outbox, now: 0 };
        let create = prepare(&mut story.outbox, 0).expect("a job is made");
        assert_eq!(create.call, Call::Job(JobCall::Create { object: Object::CAMPAIGN_MEMBER }));
        story.answer(&create, JobAnswer::Created(id("750", 1)));
        let recorded = story.outbox.take_effects().into_iter().find_map(|effect| match effect {
            Effect::RecordJob { number, records } => Some((number, records)),
            Effect::Settled(_)
            | Effect::Tombstone
            | Effect::Retried(_)
            | Effect::Held { .. }
            | Effect::ForgetJob { .. }
            | Effect::JobEnded { .. } => None,
        });
        let (number, records) = recorded.expect("it is to be recorded");
        assert!(story.next().is_none(), "nothing is uploaded before");
        assert_eq!(records.first().map(|(partition, job)| (*partition, job.rows.len())), Some((0, ROWS as usize)));
        story.outbox.job_recorded(number);
        story
    }

    /// The next call, whenever it is due.
    fn next(&mut self) -> Option<Request> {
        for _ in 0..100 {
            if let Some(request) = self.outbox.next_request(self.now) {
                return Some(request);
            }
            self.now = self.outbox.wake_at(self.now)?;
        }
        None
    }

    fn job_call(&mut self) -> (Request, JobCall) {
        let request = self.next().expect("a call");
        let Call::Job(call) = request.call.clone() else { panic!("{request:?}") };
        (request, call)
    }

    fn answer(&mut self, request: &Request, answer: JobAnswer) {
        self.outbox.complete(request.id, Answer::Job(answer), self.now);
    }

    fn fail(&mut self, request: &Request, disposition: Disposition, code: &str) {
        self.outbox.complete(request.id, Answer::Failed(failure(disposition, code)), self.now);
    }

    fn state(&mut self, state: JobState, processed: u64, failed: u64) {
        let (request, call) = self.job_call();
        assert_eq!(call, JobCall::Look { job: id("750", 1) });
        self.answer(&request, JobAnswer::State(JobInfo { state, processed, failed, error: None }));
    }

    fn upload_and_close(&mut self) {
        for _ in 0..2 {
            let (request, call) = self.job_call();
            assert!(matches!(call, JobCall::Upload { .. } | JobCall::Close { .. }), "{call:?}");
            self.answer(&request, JobAnswer::Done);
        }
    }

    /// Rows go by one call, as if they had never been sent.
    fn rows_go_by_a_call(&mut self, count: u32) {
        let request = loop {
            match prepare(&mut self.outbox, self.now) {
                Some(request) => break request,
                None => self.now = self.outbox.wake_at(self.now).expect("something is to come"),
            }
        };
        assert_eq!(rows(&request).len(), count as usize, "{request:?}");
        let slots = self.outbox.queue.slots();
        assert!(slots.map(|(_, slot)| slot.version.tries.failures).all(|failures| failures == 0), "no attempt counts");
    }
}

fn waits() -> Disposition {
    Disposition::Wait(Wait::Outage)
}

#[test]
fn an_upload_that_does_not_get_through_is_not_tried_again_and_again() {
    let mut story = Story::of_a_recorded_job();
    let (upload, _) = story.job_call();
    story.fail(&upload, waits(), "transport");
    story.state(JobState::Open, 0, 0);
    let (abort, call) = story.job_call();
    assert_eq!(call, JobCall::Abort { job: id("750", 1) });
    story.answer(&abort, JobAnswer::Done);
    story.state(JobState::Aborted, 0, 0);
    story.rows_go_by_a_call(ROWS);
}

#[test]
fn a_job_that_may_not_be_closed_is_aborted_and_one_that_may_not_be_aborted_is_left() {
    let mut story = Story::of_a_recorded_job();
    let (upload, _) = story.job_call();
    story.answer(&upload, JobAnswer::Done);
    for _ in 0..2 {
        let (request, call) = story.job_call();
        assert!(matches!(call, JobCall::Close { .. } | JobCall::Abort { .. }), "{call:?}");
        story.fail(&request, Disposition::Isolate, "EXCEEDEDQUOTA");
        story.state(JobState::Open, 0, 0);
    }
    story.rows_go_by_a_call(ROWS);
}

#[test]
fn results_that_cannot_be_read_are_given_up() {
    let mut story = Story::of_a_recorded_job();
    story.upload_and_close();
    story.state(JobState::JobComplete, u64::from(ROWS), 0);
    let mut reads = 0;
    while let Some(request) = story.next() {
        if request.call == Call::Limits {
            // Whether the org answers at all.
            story.fail(&request, waits(), "transport");
            continue;
        }
        if !matches!(request.call, Call::Job(JobCall::Read { .. })) {
            break;
        }
        reads += 1;
        story.fail(&request, waits(), "body");
    }
    assert!((10..50).contains(&reads), "{reads} attempts");
}

#[test]
fn a_job_without_an_end_is_aborted_and_what_it_has_done_is_kept() {
    let mut story = Story::of_a_recorded_job();
    story.upload_and_close();
    let abort = loop {
        let (request, call) = story.job_call();
        if matches!(call, JobCall::Abort { .. }) {
            break request;
        }
        let info = JobInfo { state: JobState::InProgress, processed: 1, failed: 0, error: None };
        story.answer(&request, JobAnswer::State(info));
    };
    assert!((HOUR_MS..HOUR_MS * 2).contains(&story.now), "{}", story.now);
    story.answer(&abort, JobAnswer::Done);
    story.state(JobState::Aborted, 1, 0);
    let names: Vec<String> = (1..=ROWS).map(|person| member(1, person).to_string()).collect();
    for expected in [ResultKind::Successful, ResultKind::Failed, ResultKind::Unprocessed] {
        let (request, call) = story.job_call();
        assert_eq!(call, JobCall::Read { object: Object::CAMPAIGN_MEMBER, job: id("750", 1), part: expected });
        let found = match expected {
            ResultKind::Successful => vec![(names[0].clone(), JobRow::Ended(saved(1, true)))],
            ResultKind::Failed => Vec::new(),
            ResultKind::Unprocessed => names[1..].iter().map(|name| (name.clone(), JobRow::Unprocessed)).collect(),
        };
        story.answer(&request, JobAnswer::Rows(found));
    }
    assert_eq!(outcomes(&mut story.outbox), [(0, OutcomeKind::Created, None)]);
    story.rows_go_by_a_call(ROWS - 1);
}

#[test]
fn what_a_lock_makes_of_a_row_in_a_job_counts_no_attempt() {
    let mut story = Story::of_a_recorded_job();
    story.upload_and_close();
    story.state(JobState::JobComplete, u64::from(ROWS), u64::from(ROWS));
    let (request, call) = story.job_call();
    assert_eq!(call, JobCall::Read { object: Object::CAMPAIGN_MEMBER, job: id("750", 1), part: ResultKind::Failed });
    let locked = || JobRow::Ended(refused(Disposition::Retry(Retry::Lock), "UNABLE_TO_LOCK_ROW"));
    let found = (1..=ROWS).map(|person| (member(1, person).to_string(), locked())).collect();
    story.answer(&request, JobAnswer::Rows(found));
    story.rows_go_by_a_call(ROWS);
}

#[test]
fn a_job_under_way_leaves_all_calls_to_others() {
    let mut story = Story::of_a_recorded_job();
    let (_, call) = story.job_call();
    assert!(matches!(call, JobCall::Upload { .. }));
    assert_eq!(story.outbox.calls_in_flight(), 0);
    story.outbox.push(source(1, 0, &upsert(Object::CAMPAIGN_MEMBER, member(2, 50), 1)), story.now);
    let save = prepare(&mut story.outbox, story.now).or_else(|| story.next()).expect("a save of another campaign");
    assert_eq!(rows(&save).len(), 1);
}

#[test]
fn there_is_room_while_the_last_results_of_a_job_are_still_to_be_read() {
    let mut story = Story::of_a_recorded_job();
    story.upload_and_close();
    story.state(JobState::JobComplete, u64::from(ROWS), 1);
    let (request, call) = story.job_call();
    assert_eq!(
        call,
        JobCall::Read { object: Object::CAMPAIGN_MEMBER, job: id("750", 1), part: ResultKind::Successful }
    );
    let written = (2..=ROWS).map(|person| (member(1, person).to_string(), JobRow::Ended(saved(person, true))));
    story.answer(&request, JobAnswer::Rows(written.collect()));
    for effect in story.outbox.take_effects() {
        if let Effect::Settled(settled) = effect {
            story.outbox.recorded(settled.position);
        }
    }
    // The failed ones are asked for, and the answer takes its time.
    let (request, call) = story.job_call();
    assert_eq!(call, JobCall::Read { object: Object::CAMPAIGN_MEMBER, job: id("750", 1), part: ResultKind::Failed });
    assert_eq!((story.outbox.pending(), story.outbox.has_room(1)), (1, true), "what is left is in the job");
    story.outbox.push(source(0, 100, &upsert(Object::CAMPAIGN_MEMBER, member(2, 50), 1)), story.now);
    assert!(!story.outbox.has_room(1) && story.outbox.has_room(2), "one row waits beside it");
    story.answer(&request, JobAnswer::Rows(Vec::new()));
    assert!(!story.outbox.has_room(2), "it goes again, by a call");
}

#[test]
fn a_job_that_was_to_be_made_or_is_under_way_does_not_come_along_to_another_org() {
    let costs = Costs { call_rows: 1, job_calls: 1, job_rows_min: 2, patience: 0 };
    let mut outbox = Outbox::new(Settings { costs, ..settings() });
    for (offset, person) in (0..).zip(1..=ROWS) {
        outbox.push(source(0, offset, &upsert(Object::CAMPAIGN_MEMBER, member(1, person), 1)), 0);
    }
    let create = prepare(&mut outbox, 0).expect("a job is made");
    let refused = failure(Disposition::Wait(Wait::Login), "invalid_grant");
    outbox.complete(create.id, Answer::Failed(refused), 0);
    let unmade = Story { outbox, now: 0 };
    for (made, mut story) in [(false, unmade), (true, Story::of_a_recorded_job())] {
        story.outbox.forget_org(story.now);
        assert_eq!((story.outbox.jobs(), story.outbox.waiting()), (0, None));
        let forgotten = story.outbox.take_effects().into_iter().any(|it| matches!(it, Effect::ForgetJob { .. }));
        assert_eq!(forgotten, made, "the next owner would look for it");
        let request = story.outbox.next_request(story.now).unwrap();
        assert_eq!(request.call, Call::EnsureStatuses { campaign: id("701", 1) }, "nothing is known of this org");
        let complete = Answer::Statuses { statuses: all_statuses(), complete: true };
        story.outbox.complete(request.id, complete, story.now);
        let (request, call) = story.job_call();
        assert_eq!(call, JobCall::Create { object: Object::CAMPAIGN_MEMBER });
        story.answer(&request, JobAnswer::Created(id("750", 9)));
    }
}

#[test]
fn a_member_that_was_found_in_one_org_is_not_looked_for_under_its_id_in_another() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    let adopt = RowResult::Refused(failure(Disposition::Retry(Retry::Adopt), "DUPLICATE_VALUE"));
    outbox.complete(request.id, Answer::Saved(vec![Ok(vec![adopt])]), 0);
    let request = outbox.next_request(0).unwrap();
    let found = FoundPerson { person: key.person, record: id("00v", 9), external_id: None };
    outbox.complete(request.id, Answer::People(vec![found]), 0);
    outbox.forget_org(0);
    let request = prepare(&mut outbox, 0).unwrap();
    assert_eq!(parts(&request)[0].class, Class::Row(Object::CAMPAIGN_MEMBER));
    assert_eq!(rows(&request)[0]["CampaignId"], key.campaign.as_str());
}

/// Rows that are kept back are looked at by nobody, and what they need may have changed meanwhile.
#[test]
fn statuses_that_lapse_while_rows_wait_for_their_job_are_read_again_before_it() {
    const LAPSED: Millis = 31_000;
    let costs = Costs { call_rows: 1, job_calls: 1, job_rows_min: 2, patience: 0 };
    let mut outbox = Outbox::new(Settings { costs, ..settings() });
    for person in 1..=ROWS {
        let upsert = upsert(Object::CAMPAIGN_MEMBER, member(1, person), 1);
        outbox.push(source(0, i64::from(person), &upsert), 0);
    }
    outbox.expect_more(true, 1);
    let read = |outbox: &mut Outbox, now| {
        let request = outbox.next_request(now).expect("a question");
        assert_eq!(request.call, Call::EnsureStatuses { campaign: id("701", 1) });
        outbox.complete(request.id, Answer::Statuses { statuses: all_statuses(), complete: false }, now);
    };
    read(&mut outbox, 0);
    assert!(outbox.next_request(0).is_none(), "they are kept back while more are to come");
    outbox.expect_more(false, 0);
    read(&mut outbox, LAPSED);
    let job = outbox.next_request(LAPSED).expect("a job");
    assert_eq!(job.call, Call::Job(JobCall::Create { object: Object::CAMPAIGN_MEMBER }));
    assert_eq!(outbox.queue.in_jobs(), ROWS as usize, "with all of them");
}
