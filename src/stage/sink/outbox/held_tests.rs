//! Rows that are held: what they cost, how long, and that all go on.

use super::tests::*;
use super::*;
use crate::disposition::{Disposition, Reach, Retry};
use crate::upsert::{Object, Upsert};

const MEMBER: Object = Object::CAMPAIGN_MEMBER;

/// What `seldom` is with the settings of the tests.
const PAUSE: Millis = 1_000;

/// An org that answers at once, and the time.
struct Story {
    outbox: Outbox,
    now: Millis,
    /// Rows of each save.
    saves: Vec<usize>,
}

impl Story {
    fn of(upserts: &[Upsert]) -> Self {
        Self { outbox: outbox_with(upserts), now: 0, saves: Vec::new() }
    }

    /// Until that time; each row is judged by the campaign and person of its external id.
    fn run(&mut self, until: Millis, mut judge: impl FnMut(&str, Millis) -> RowResult) {
        loop {
            while let Some(request) = prepare(&mut self.outbox, self.now) {
                let now = self.now;
                let answer = answer_rows(&request, |row| judge(row["external_id__c"].as_str().unwrap(), now));
                self.saves.push(rows(&request).len());
                self.outbox.complete(request.id, answer, now);
            }
            self.outbox.check_liveness(self.now);
            match self.outbox.wake_at(self.now).filter(|at| *at <= until) {
                Some(at) => self.now = at,
                None => break self.now = until,
            }
        }
    }

    fn saves(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.saves)
    }
}

fn full() -> RowResult {
    refused(Disposition::Hold { hint: "make room", reach: Reach::Org }, "STORAGE_LIMIT_EXCEEDED")
}

#[test]
fn a_full_org_that_refuses_whole_requests_holds_their_rows_and_no_others() {
    let mut outbox = outbox_with(&members(1, 200));
    let mut calls = 0;
    while let Some(request) = prepare(&mut outbox, 0) {
        calls += 1;
        let full = Disposition::Hold { hint: "make room", reach: Reach::Org };
        outbox.complete(request.id, Answer::Failed(failure(full, "STORAGE_LIMIT_EXCEEDED")), 0);
    }
    outbox.check_liveness(0);
    assert!(calls <= 8, "each row meets it once: {calls}");
    assert_eq!((outbox.waiting(), outbox.held()), (None, [("STORAGE_LIMIT_EXCEEDED".into(), 200)].into()));
    outbox.wake_at(0);
    let request = prepare(&mut outbox, PAUSE).expect("a probe");
    assert_eq!(rows(&request).len(), 1, "one row asks for all");
}

fn locked() -> RowResult {
    refused(Disposition::Retry(Retry::Lock), "UNABLE_TO_LOCK_ROW")
}

fn members(campaign: u32, people: u32) -> Vec<Upsert> {
    (1..=people).map(|person| upsert(MEMBER, member(campaign, person), 1)).collect()
}

#[test]
fn a_full_org_costs_a_call_with_one_row_a_pause_and_all_rows_follow_when_there_is_room() {
    let mut story = Story::of(&members(1, 200));
    story.run(0, |_, _| full());
    assert_eq!(story.saves(), [25; 8], "each row meets it once");
    story.run(10 * PAUSE, |_, _| full());
    assert_eq!(story.saves(), [1; 10], "one row asks for all");
    assert_eq!(story.outbox.held(), [("STORAGE_LIMIT_EXCEEDED".into(), 200)].into());
    // Existing records are still updated meanwhile.
    let elsewhere = upsert(MEMBER, member(2, 300), 1);
    story.outbox.push(source(0, 200, &elsewhere), story.now);
    story.run(story.now, |_, _| saved(7, false));
    assert_eq!(outcomes(&mut story.outbox), [(200, OutcomeKind::Updated, None)]);
    story.saves();
    story.run(11 * PAUSE, |_, _| saved(7, true));
    assert_eq!(story.saves(), [1, 8, 25, 25, 14, 25, 25, 25, 25, 25, 2], "ever more, at once");
    assert_eq!((outcomes(&mut story.outbox).len(), held(&story.outbox)), (200, 0));
}

#[test]
fn a_full_org_that_has_room_for_a_few_goes_back_to_one_row_a_pause() {
    let mut story = Story::of(&members(1, 200));
    story.run(PAUSE - 1, |_, _| full());
    let mut room = 20;
    story.saves();
    story.run(6 * PAUSE, |_, _| {
        room -= 1;
        if room >= 0 { saved(7, true) } else { full() }
    });
    assert_eq!(story.saves(), [1, 8, 25, 25, 14, 1, 1, 1, 1, 1], "until a probe has mostly failed");
    assert_eq!(held(&story.outbox), 180);
}

#[test]
fn a_code_that_nobody_knows_costs_a_call_a_pause_however_many_rows_it_holds() {
    let mut story = Story::of(&members(1, 200));
    let unknown = || refused(Disposition::Hold { hint: "look", reach: Reach::Row }, "SOMETHING_NEW");
    story.run(10 * PAUSE, |_, _| unknown());
    assert_eq!(story.saves()[8..], [5; 10]);
    // A few stay as they are; the others are not held up by them.
    let bad = member(1, 3).to_string();
    story.run(100 * PAUSE, |row, _| if row == bad { unknown() } else { saved(7, true) });
    assert_eq!((outcomes(&mut story.outbox).len(), held(&story.outbox)), (199, 1));
}

#[test]
fn a_campaign_that_is_locked_for_long_loses_nothing_and_costs_little() {
    let mut story = Story::of(&members(1, 100));
    story.outbox.push(source(0, 100, &upsert(MEMBER, member(2, 200), 1)), 0);
    let campaign = member(1, 1).campaign;
    let locked_until = 40_000;
    story.run(locked_until, |row, now| {
        if row.starts_with(campaign.as_str()) && now < locked_until { locked() } else { saved(7, true) }
    });
    let calls = story.saves().len();
    // Of a hundred rows: each some attempts by itself, then one probe in about a longest pause of 100 ms.
    assert!((400..900).contains(&calls), "{calls} calls in forty seconds of 100 ms pauses");
    story.run(locked_until + 1_000, |_, _| saved(7, true));
    let saves = story.saves();
    assert!(saves.contains(&25), "{saves:?}: once some have got through, rows share full calls");
    let ends = outcomes(&mut story.outbox);
    assert_eq!(ends.len(), 101);
    assert!(ends.iter().all(|(_, kind, _)| *kind == OutcomeKind::Created), "{ends:?}");
    assert_eq!((story.outbox.pending(), held(&story.outbox)), (101, 0), "only their recording is to come");
}

#[test]
fn a_row_that_is_locked_for_an_hour_is_a_dead_letter_then_and_not_before() {
    let mut story = Story::of(&[upsert(MEMBER, member(1, 1), 1)]);
    story.run(59_000, |_, _| locked());
    assert_eq!(outcomes(&mut story.outbox), []);
    assert_eq!(story.outbox.held(), [("UNABLE_TO_LOCK_ROW".into(), 1)].into());
    story.run(61_000, |_, _| locked());
    let code = Some("UNABLE_TO_LOCK_ROW".to_owned());
    assert_eq!(outcomes(&mut story.outbox), [(0, OutcomeKind::DeadLettered, code)]);
    assert_eq!(held(&story.outbox), 0);
}

#[test]
fn rows_of_one_campaign_that_is_locked_for_good_end_by_the_same_time_however_many_they_are() {
    let lock_wait = Duration::from_hours(1);
    let settings = Settings { batch_rows_max: 200, lock_wait, backoff_max: Duration::from_secs(30), ..settings() };
    let mut story = Story { outbox: Outbox::new(settings), now: 0, saves: Vec::new() };
    for (offset, upsert) in (0..).zip(members(1, 100)) {
        story.outbox.push(source(0, offset, &upsert), 0);
    }
    let minute = 60_000;
    story.run(59 * minute, |_, _| locked());
    assert_eq!(outcomes(&mut story.outbox), [], "not before");
    assert_eq!(story.outbox.held(), [("UNABLE_TO_LOCK_ROW".into(), 100)].into());
    let calls = story.saves().len();
    assert!(calls < 600, "{calls} calls in an hour");
    story.run(62 * minute, |_, _| locked());
    assert!(!outcomes(&mut story.outbox).is_empty(), "a row is tried seldom, what locks it is tried all the time");
    story.run(70 * minute, |_, _| locked());
    assert_eq!((story.outbox.queue.is_empty(), held(&story.outbox)), (true, 0));
}

#[test]
fn what_holds_an_object_holds_its_rows_before_they_meet_it() {
    let mut story = Story::of(&members(1, 1));
    let hidden = || refused(Disposition::Hold { hint: "show it", reach: Reach::Object }, "INVALID_FIELD");
    story.run(0, |_, _| hidden());
    for (offset, upsert) in (1..).zip(members(2, 50)) {
        story.outbox.push(source(0, offset, &upsert), 0);
    }
    story.run(3 * PAUSE, |_, _| hidden());
    assert_eq!(story.saves(), [1; 4], "fifty rows cost nothing");
    assert_eq!(held(&story.outbox), 51);
    story.run(4 * PAUSE, |_, _| saved(7, true));
    assert_eq!((outcomes(&mut story.outbox).len(), held(&story.outbox)), (51, 0));
}

#[test]
fn one_row_that_is_locked_for_an_hour_holds_up_none_of_those_that_share_its_requests() {
    let lock_wait = Duration::from_hours(1);
    let settings = Settings { batch_rows_max: 200, lock_wait, backoff_max: Duration::from_secs(30), ..settings() };
    let mut story = Story { outbox: Outbox::new(settings), now: 0, saves: Vec::new() };
    for (offset, upsert) in (0..).zip(members(1, 300)) {
        story.outbox.push(source(0, offset, &upsert), 0);
    }
    let bad = member(1, 42).to_string();
    let ten_minutes = 600_000;
    // The whole request is refused, whatever else it holds.
    while let Some(at) =
        story.outbox.wake_at(story.now).filter(|at| *at < ten_minutes).or((story.now == 0).then_some(1))
    {
        story.now = at;
        while let Some(request) = prepare(&mut story.outbox, story.now) {
            let locked = rows(&request).iter().any(|row| row["external_id__c"] == bad.as_str());
            let lock = || Answer::Failed(failure(Disposition::Retry(Retry::Lock), "UNABLE_TO_LOCK_ROW"));
            let answer = if locked { lock() } else { answer_rows(&request, |_| saved(7, true)) };
            story.saves.push(rows(&request).len());
            // Long enough for the pauses of all to be over: they come back together.
            story.now += 1_000;
            story.outbox.complete(request.id, answer, story.now);
        }
        story.outbox.check_liveness(story.now);
    }
    let written = outcomes(&mut story.outbox);
    assert_eq!(written.len(), 299);
    assert!(written.iter().all(|(_, kind, _)| *kind == OutcomeKind::Created));
    let calls = story.saves().len();
    assert!(calls < 100, "{calls} calls in ten minutes");
    story.run(3_500_000, |_, _| locked());
    assert_eq!(story.outbox.held(), [("UNABLE_TO_LOCK_ROW".into(), 1)].into());
}

#[test]
fn what_salesforce_cannot_finish_now_ends_by_time_and_not_by_attempts() {
    for retry in [Retry::Busy, Retry::Automation] {
        let mut story = Story::of(&members(1, 3));
        let busy = || refused(Disposition::Retry(retry), "REQUEST_RUNNING_TOO_LONG");
        let bad = member(1, 2).to_string();
        let judge = |row: &str, _| if row == bad { busy() } else { saved(7, true) };
        // Attempts are over after four, which is less than a second.
        story.run(50_000, judge);
        assert_eq!(outcomes(&mut story.outbox).len(), 2);
        assert_eq!(story.outbox.held(), [("REQUEST_RUNNING_TOO_LONG".into(), 1)].into());
        story.run(51_000, |_, _| saved(7, true));
        assert_eq!(outcomes(&mut story.outbox), [(1, OutcomeKind::Created, None)]);

        let mut story = Story::of(&members(1, 3));
        story.run(62_000, judge);
        let dead = outcomes(&mut story.outbox).into_iter().filter(|(_, kind, _)| *kind == OutcomeKind::DeadLettered);
        let dead: Vec<_> = dead.map(|(offset, _, code)| (offset, code)).collect();
        assert_eq!(dead, [(1, Some("REQUEST_RUNNING_TOO_LONG".to_owned()))]);
    }
}

#[test]
fn rows_that_are_too_many_at_once_for_a_trigger_all_go_in_such_company_as_gets_through() {
    let settings = Settings { batch_rows_max: 200, backoff_max: Duration::from_secs(30), ..settings() };
    let mut story = Story { outbox: Outbox::new(settings), now: 0, saves: Vec::new() };
    for (offset, upsert) in (0..).zip(members(1, 1_000)) {
        story.outbox.push(source(0, offset, &upsert), 0);
    }
    let mut calls = 0;
    while let Some(at) = story.outbox.wake_at(story.now).or((story.now == 0).then_some(1)).filter(|at| *at < 60_000) {
        story.now = at;
        while let Some(request) = prepare(&mut story.outbox, story.now) {
            calls += 1;
            // Each part is a transaction of its own.
            let part = |part: &Part| {
                let end = |_: &_| {
                    let limit = || refused(Disposition::Retry(Retry::Automation), "APEX_ERROR");
                    if part.rows.len() > 20 { limit() } else { saved(7, true) }
                };
                Ok(part.rows.iter().map(end).collect())
            };
            let answer = Answer::Saved(parts(&request).iter().map(part).collect());
            story.outbox.complete(request.id, answer, story.now);
        }
        story.outbox.check_liveness(story.now);
    }
    let written = outcomes(&mut story.outbox);
    assert_eq!(written.len(), 1_000);
    assert!(written.iter().all(|(_, kind, _)| *kind == OutcomeKind::Created));
    assert!(calls < 200, "{calls} calls");
}
