//! Outages, and what only looks like one.

use std::collections::BTreeSet;
use std::ops::Range;

use super::tests::*;
use super::*;
use crate::disposition::{Disposition, Retry};
use crate::upsert::{Object, Upsert};

const MEMBER: Object = Object::CAMPAIGN_MEMBER;
const SECOND: Millis = 1_000;

fn members(campaign: u32, people: u32) -> Vec<Upsert> {
    (1..=people).map(|person| upsert(MEMBER, member(campaign, person), 1)).collect()
}

fn unknown() -> Failure {
    failure(Disposition::Wait(Wait::Outage), "UNKNOWN_EXCEPTION")
}

/// Calls that an outbox makes until that time, each answered at once; `judge` says None where questions are answered well and
/// saves written.
fn run(outbox: &mut Outbox, during: Range<Millis>, mut judge: impl FnMut(&Request, Millis) -> Option<Answer>) -> usize {
    let (mut now, mut calls) = (during.start, 0);
    loop {
        while let Some(request) = outbox.next_request(now) {
            calls += 1;
            assert!(calls < 10_000, "calls without end");
            let well = || match &request.call {
                Call::Save { .. } => answer_rows(&request, |_| saved(7, true)),
                Call::EnsureStatuses { .. } => Answer::Statuses { statuses: all_statuses(), complete: true },
                Call::FindRecords { keys, .. } => {
                    Answer::Records(keys.iter().map(|key| (key.clone(), id("00v", 7))).collect())
                }
                Call::FindParents { ids } => Answer::Parents(ids.iter().map(|id| (*id, Parent::There)).collect()),
                Call::ReadStatuses { campaigns } => Answer::CompleteStatuses(complete(campaigns)),
                Call::FindPeople { .. } => Answer::People(Vec::new()),
                Call::Limits => Answer::Limits(Usage { used: 0, limit: 10_000 }),
                Call::Job(_) => panic!("{request:?}"),
            };
            let answer = judge(&request, now).unwrap_or_else(well);
            outbox.complete(request.id, answer, now);
        }
        outbox.check_liveness(now);
        match outbox.wake_at(now).filter(|at| *at <= during.end) {
            Some(at) => now = at,
            None => return calls,
        }
    }
}

fn holds(request: &Request, row: &str) -> bool {
    matches!(request.call, Call::Save { .. }) && rows(request).iter().any(|it| it["external_id__c"] == row)
}

fn ends(outbox: &mut Outbox, kind: OutcomeKind) -> Vec<i64> {
    let ends = outcomes(outbox).into_iter();
    let mut offsets: Vec<i64> = ends.filter(|(_, end, _)| *end == kind).map(|(offset, ..)| offset).collect();
    offsets.sort_unstable();
    offsets
}

#[test]
fn a_row_that_breaks_its_requests_is_found_in_the_only_campaign_and_the_others_are_written() {
    let mut outbox = outbox_with(&members(1, 100));
    let bad = member(1, 42).to_string();
    let calls = run(&mut outbox, 0..60 * SECOND, |request, _| holds(request, &bad).then(|| Answer::Failed(unknown())));
    assert!(calls < 150, "{calls} calls: found soon, then tried once in a pause of a second");
    assert_eq!(ends(&mut outbox, OutcomeKind::Created).len(), 99);
    assert_eq!(held(&outbox), 1, "nothing is written beside it that would show whose fault it is");
    for round in 0..100 {
        let now = 60 * SECOND + round * SECOND / 4;
        outbox.push(source(0, 100 + round, &upsert(MEMBER, member(2, 200), round)), now);
        let during = now..now + SECOND / 4;
        run(&mut outbox, during, |request, _| holds(request, &bad).then(|| Answer::Failed(unknown())));
    }
    let mut kinds = outcomes(&mut outbox);
    kinds.retain(|(_, kind, _)| *kind != OutcomeKind::Created);
    assert_eq!(kinds, [(41, OutcomeKind::DeadLettered, Some("UNKNOWN_EXCEPTION".to_owned()))]);
    assert_eq!((held(&outbox), outbox.waiting()), (0, None), "only their recording is to come");
}

#[test]
fn a_second_outage_is_waited_for_like_the_first() {
    let mut upserts = members(1, 60);
    upserts.extend(members(2, 60));
    let mut outbox = outbox_with(&upserts);
    let mut written = 0;
    let calls = run(&mut outbox, 0..180 * SECOND, |request, now| {
        let back = now > 60 * SECOND && written == 0 && matches!(request.call, Call::Save { .. });
        let questions = now == 0 && !matches!(request.call, Call::Save { .. });
        written += usize::from(back);
        (!back && !questions).then(|| Answer::Failed(unknown()))
    });
    assert_eq!(ends(&mut outbox, OutcomeKind::DeadLettered), [0_i64; 0]);
    assert_eq!((written, held(&outbox), outbox.waiting()), (1, 0, Some(Wait::Outage)));
    // A longest pause is 50 to 100 ms here, and at every other one it is asked whether the org answers.
    assert!(calls < 180 * 14 * 3 / 2, "{calls} calls");
    run(&mut outbox, 180 * SECOND..190 * SECOND, |_, _| None);
    assert_eq!((outbox.waiting(), held(&outbox)), (None, 0));
}

#[test]
fn an_org_that_fails_most_calls_for_an_hour_loses_no_row() {
    for seed in 0..10 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut settings = settings();
        // As they are by default, where an hour is as many pauses.
        settings.attempts_max = 8;
        (settings.backoff_min, settings.backoff_max) = (Duration::from_millis(200), Duration::from_secs(30));
        let mut outbox = Outbox::new(settings);
        let mut offset = 0;
        for round in 0..360 {
            let now = round * 10 * SECOND;
            for campaign in 1..=3 {
                let row = upsert(MEMBER, member(campaign, random.u32(0..1_000)), round % 100);
                outbox.push(source(0, offset, &row), now);
                offset += 1;
            }
            let during = now..now + 10 * SECOND - 1;
            run(&mut outbox, during, |_, _| (random.u32(0..5) > 0).then(|| Answer::Failed(unknown())));
        }
        run(&mut outbox, 3_600 * SECOND..7_200 * SECOND, |_, _| None);
        let effects = outcomes(&mut outbox);
        let dead = effects.iter().filter(|(_, kind, _)| *kind == OutcomeKind::DeadLettered).count();
        assert_eq!(dead, 0, "seed {seed}");
        assert_eq!((effects.len(), outbox.waiting(), held(&outbox)), (1_080, None, 0), "seed {seed}");
    }
}

#[test]
fn a_part_that_fails_again_and_again_lets_the_pause_grow_until_its_rows_are_found() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(MEMBER, key, 1)]);
    run(&mut outbox, 0..0, |_, _| None);
    outcomes(&mut outbox);
    outbox.push(source(0, 1, &upsert(Object::ENGAGEMENT, key, 2)), 0);
    let mut failed = Vec::new();
    run(&mut outbox, 0..10 * SECOND, |request, now| {
        let of_engagements = |part: &Part| part.class == Class::Row(Object::ENGAGEMENT);
        let part = |part: &Part| if of_engagements(part) { Err(unknown()) } else { Ok(vec![saved(7, false)]) };
        let Call::Save { parts } = &request.call else { return None };
        failed.push(now);
        Some(Answer::Saved(parts.iter().map(part).collect()))
    });
    let pauses: Vec<Millis> = failed.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((5..=11).contains(&pauses[0]) && (10..=21).contains(&pauses[1]), "{pauses:?}: it doubles");
    assert!(failed.len() < 20, "{failed:?}: then the row is held, and tried seldom");
    assert_eq!(held(&outbox), 1);
    run(&mut outbox, 10 * SECOND..20 * SECOND, |_, _| None);
    assert_eq!((ends(&mut outbox, OutcomeKind::Created), outbox.waiting()), (vec![1], None));
}

#[test]
fn an_org_that_answers_but_writes_nothing_loses_no_row_and_costs_few_calls() {
    let mut outbox = outbox_with(&members(1, 100));
    let until = 100 * SECOND;
    let calls = run(&mut outbox, 0..until + 10 * SECOND, |request, now| {
        (matches!(request.call, Call::Save { .. }) && now < until).then(|| Answer::Failed(unknown()))
    });
    // A longest pause is 100 ms here: in production, where it is 30 s, this is two calls a minute.
    assert!(calls < 2_500, "{calls} calls in a thousand pauses");
    assert_eq!(ends(&mut outbox, OutcomeKind::Created).len(), 100);
    assert_eq!((held(&outbox), outbox.waiting()), (0, None));
}

#[test]
fn a_row_that_is_refused_as_if_the_org_were_away_is_judged_by_what_becomes_of_others() {
    let mut outbox = outbox_with(&members(1, 10));
    let bad = member(1, 4).to_string();
    run(&mut outbox, 0..60 * SECOND, |request, _| {
        let away = || RowResult::Refused(failure(Disposition::Wait(Wait::Quota), "EXCEEDEDQUOTA"));
        let judge =
            |row: &serde_json::Map<_, _>| if row["external_id__c"] == bad.as_str() { away() } else { saved(7, true) };
        holds(request, &bad).then(|| answer_rows(request, judge))
    });
    // Nothing else was written after it was refused first: it may be the org.
    assert_eq!((ends(&mut outbox, OutcomeKind::Created).len(), outbox.waiting()), (9, Some(Wait::Quota)));
    let mut offset = 9;
    for round in 6..16 {
        offset += 1;
        let now = round * 10 * SECOND;
        outbox.push(source(0, offset, &upsert(MEMBER, member(2, 77), offset)), now);
        run(&mut outbox, now..now + 10 * SECOND, |request, _| {
            let away = || RowResult::Refused(failure(Disposition::Wait(Wait::Quota), "EXCEEDEDQUOTA"));
            let judge = |row: &serde_json::Map<_, _>| {
                if row["external_id__c"] == bad.as_str() { away() } else { saved(7, true) }
            };
            holds(request, &bad).then(|| answer_rows(request, judge))
        });
    }
    assert_eq!(outbox.waiting(), None);
    assert!(ends(&mut outbox, OutcomeKind::DeadLettered).contains(&3));
}

#[test]
fn a_campaign_whose_statuses_cannot_be_read_holds_up_no_other() {
    let mut upserts = members(1, 2);
    upserts.extend(members(2, 2));
    upserts.extend(members(3, 2));
    let mut outbox = outbox_with(&upserts);
    let bad = id("701", 2);
    let mut asked = 0;
    run(&mut outbox, 0..10 * SECOND, |request, _| {
        let alone = request.call == Call::EnsureStatuses { campaign: bad };
        let many = matches!(&request.call, Call::ReadStatuses { campaigns } if campaigns.contains(&bad));
        asked += usize::from(alone);
        (alone || many).then(|| Answer::Failed(unknown()))
    });
    assert_eq!(ends(&mut outbox, OutcomeKind::Created), [0, 1, 4, 5]);
    assert_eq!(outbox.held(), [("UNKNOWN_EXCEPTION".into(), 2)].into());
    assert!(asked < 50, "{asked}: a few times in ten pauses");
    run(&mut outbox, 10 * SECOND..20 * SECOND, |_, _| None);
    assert_eq!(ends(&mut outbox, OutcomeKind::Created), [2, 3]);
}

#[test]
fn a_campaign_whose_statuses_are_busy_for_long_loses_no_row_and_costs_few_calls() {
    let mut outbox = outbox_with(&members(1, 50));
    let until = 60 * SECOND;
    let calls = run(&mut outbox, 0..until, |request, _| {
        let busy = || Answer::Failed(failure(Disposition::Retry(Retry::Busy), "PROCESSING_HALTED"));
        matches!(request.call, Call::EnsureStatuses { .. }).then(busy)
    });
    assert!(calls < 1_300, "{calls} calls in sixty seconds of pauses of 50 to 100 ms");
    assert_eq!(outbox.held(), [("PROCESSING_HALTED".into(), 50)].into());
    run(&mut outbox, until..until + SECOND, |_, _| None);
    assert_eq!((ends(&mut outbox, OutcomeKind::Created).len(), held(&outbox), outbox.waiting()), (50, 0, None));
}

#[test]
fn a_member_that_cannot_be_looked_up_holds_up_no_other() {
    let upserts: Vec<Upsert> = (1..=20).map(|person| upsert(Object::POLLS, member(1, person), 1)).collect();
    let mut outbox = outbox_with(&upserts);
    let bad = member(1, 7);
    run(&mut outbox, 0..10 * SECOND, |request, _| {
        let asked = matches!(&request.call, Call::FindRecords { keys, .. } if keys.iter().any(|key| *key.external_id == bad.text()));
        asked.then(|| Answer::Failed(unknown()))
    });
    let written: BTreeSet<i64> = ends(&mut outbox, OutcomeKind::Created).into_iter().collect();
    assert_eq!((written.len(), written.contains(&6)), (19, false));
    assert_eq!(held(&outbox), 1);
}

#[test]
fn an_outage_of_everything_takes_nothing_apart() {
    let mut outbox = outbox_with(&members(1, 100));
    run(&mut outbox, 0..0, |request, _| matches!(request.call, Call::Save { .. }).then(|| Answer::Failed(unknown())));
    let mut largest = 0;
    let until = 60 * SECOND;
    run(&mut outbox, 0..until, |request, _| {
        if matches!(request.call, Call::Save { .. }) {
            largest = rows(request).len();
        }
        Some(Answer::Failed(unknown()))
    });
    assert_eq!((largest, outbox.waiting(), held(&outbox)), (25, Some(Wait::Outage), 0), "full calls ask for its end");
    assert!(ends(&mut outbox, OutcomeKind::DeadLettered).is_empty());
}

#[test]
fn a_row_that_breaks_its_requests_alone_in_a_quiet_org_is_held_and_nothing_else_waits() {
    let mut outbox = outbox_with(&members(1, 1));
    run(&mut outbox, 0..600 * SECOND, |request, _| {
        matches!(request.call, Call::Save { .. }).then(|| Answer::Failed(unknown()))
    });
    assert_eq!((held(&outbox), outbox.waiting()), (1, None), "Salesforce answers");
    assert!(ends(&mut outbox, OutcomeKind::DeadLettered).is_empty());
    // A refusal of the question is an answer, too.
    let mut other = outbox_with(&members(1, 1));
    run(&mut other, 0..600 * SECOND, |request, _| match &request.call {
        Call::Save { .. } => Some(Answer::Failed(unknown())),
        Call::Limits => {
            let hidden = Disposition::Hold { hint: "", reach: crate::disposition::Reach::Org };
            Some(Answer::Failed(failure(hidden, "INSUFFICIENT_ACCESS")))
        }
        Call::FindRecords { .. }
        | Call::FindPeople { .. }
        | Call::FindParents { .. }
        | Call::ReadStatuses { .. }
        | Call::EnsureStatuses { .. }
        | Call::Job(_) => None,
    });
    assert_eq!((held(&other), other.waiting()), (1, None));
    // An org that is away is waited for all the same.
    outbox.push(source(0, 1, &upsert(MEMBER, member(1, 2), 1)), 600 * SECOND);
    run(&mut outbox, 600 * SECOND..610 * SECOND, |_, _| Some(Answer::Failed(unknown())));
    assert_eq!(outbox.waiting(), Some(Wait::Outage));
}

#[test]
fn a_campaign_that_nobody_can_be_asked_about_holds_up_none_of_those_asked_with_it() {
    let upserts: Vec<Upsert> = (1..=200).flat_map(|campaign| members(campaign, 1)).collect();
    let mut outbox = outbox_with(&upserts);
    let bad = id("701", 77);
    let mut questions = 0;
    run(&mut outbox, 0..60 * SECOND, |request, _| {
        let asks = match &request.call {
            Call::ReadStatuses { campaigns } => campaigns.contains(&bad),
            Call::EnsureStatuses { campaign } => *campaign == bad,
            Call::Save { .. }
            | Call::FindRecords { .. }
            | Call::FindPeople { .. }
            | Call::FindParents { .. }
            | Call::Limits
            | Call::Job(_) => return None,
        };
        questions += 1;
        let code = "INVALID_QUERY_FILTER_OPERATOR";
        asks.then(|| Answer::Failed(failure(Disposition::DeadLetter { reason: code }, code)))
    });
    assert_eq!(ends(&mut outbox, OutcomeKind::Created).len(), 199);
    assert_eq!(outbox.held(), [("INVALID_QUERY_FILTER_OPERATOR".into(), 1)].into());
    assert!(questions < 150, "{questions} questions: it is looked for by halves");
}
