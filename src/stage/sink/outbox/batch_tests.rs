//! Which rows share a call: stories of filling, order, priority and patience.

use super::tests::*;
use super::*;
use crate::disposition::{Disposition, Reach, Retry};
use crate::upsert::{Lane, Object, Upsert, Value};

fn members(campaigns: u32, people: std::ops::Range<u32>) -> Vec<Upsert> {
    let of = |campaign| people.clone().map(move |person| upsert(Object::CAMPAIGN_MEMBER, member(campaign, person), 1));
    (1..=campaigns).flat_map(of).collect()
}

fn lengths(request: &Request) -> Vec<(Class, usize)> {
    parts(request).iter().map(|part| (part.class, part.rows.len())).collect()
}

/// Makes members known, as if they had been written before.
fn known(outbox: &mut Outbox, upserts: &[Upsert]) -> i64 {
    let count = i64::try_from(upserts.len()).unwrap();
    for (offset, upsert) in (0..).zip(upserts) {
        outbox.push(source(0, offset, upsert), 0);
    }
    while let Some(request) = prepare(outbox, 1_000_000) {
        outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 1_000_000);
    }
    outbox.take_effects();
    count
}

#[test]
fn a_call_is_filled_from_many_campaigns_and_sorted_by_parents() {
    const MEMBER: Class = Class::Row(Object::CAMPAIGN_MEMBER);
    let mut upserts = members(3, 0..13);
    upserts.reverse();
    let mut outbox = outbox_with(&upserts);
    let request = prepare(&mut outbox, 0).unwrap();
    assert_eq!(lengths(&request), [(MEMBER, 5); 5], "five collections of five rows");
    let rows = rows(&request);
    let parents: Vec<_> = rows.iter().map(|row| (row["CampaignId"].clone(), row["LeadId"].clone())).collect();
    assert!(parents.is_sorted_by_key(|(campaign, lead)| (campaign.to_string(), lead.to_string())), "{parents:?}");
}

#[test]
fn members_and_dependants_of_a_burst_share_calls_and_none_is_left_behind() {
    let of = |person| {
        let key = member(1, person);
        [Object::CAMPAIGN_MEMBER, Object::ENGAGEMENT, Object::POLLS].map(|object| upsert(object, key, 1))
    };
    let upserts: Vec<Upsert> = (0..25).flat_map(of).collect();
    let mut outbox = outbox_with(&upserts);
    let mut calls = Vec::new();
    while let Some(request) = prepare(&mut outbox, 0) {
        calls.push(rows(&request).len());
        outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 0);
    }
    assert_eq!(calls, [25, 25, 25], "75 rows in three full calls of 25");
    assert_eq!(outcomes(&mut outbox).len(), 75);
}

#[test]
fn rows_that_are_read_together_share_a_call_and_a_stream_of_them_is_not_waited_for() {
    let wait = Duration::from_millis(100);
    let mut outbox = Outbox::new(Settings { batch_wait: wait, ..settings() });
    let next = known(&mut outbox, &members(1, 0..25));
    let mut now = 1_200_000;
    for (offset, person) in (next..).zip(0..3) {
        outbox.push(source(0, offset, &upsert(Object::CAMPAIGN_MEMBER, member(1, person), 2)), now);
        assert!(outbox.next_request(now).is_none(), "more may come within five milliseconds");
        now += 4;
    }
    outbox.expect_more(true, 0);
    assert!(outbox.next_request(now + 1).is_none(), "more are there");
    outbox.expect_more(false, 0);
    let request = outbox.next_request(now + 1).unwrap();
    assert_eq!(rows(&request).len(), 3);
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, false)), now + 2);
    let start = now + 2;
    for (offset, person) in (next + 3..).zip(0..50) {
        now += 4;
        outbox.push(source(0, offset, &upsert(Object::CAMPAIGN_MEMBER, member(1, person % 3), 3)), now);
        if outbox.next_request(now).is_some() {
            break;
        }
    }
    assert!((100..=106).contains(&(now - start)), "sent after {} ms", now - start);
}

#[test]
fn a_person_is_in_one_request_at_a_time_whatever_the_campaign() {
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, member(1, 1), 1)]);
    let first = prepare(&mut outbox, 0).unwrap();
    outbox.push(source(0, 1, &upsert(Object::CAMPAIGN_MEMBER, member(2, 1), 1)), 0);
    outbox.push(source(0, 2, &upsert(Object::CAMPAIGN_MEMBER, member(2, 2), 1)), 0);
    assert!(prepare(&mut outbox, 0).is_none());
    let other = prepare(&mut outbox, 50).unwrap();
    assert_eq!(rows(&other).len(), 1, "the other person of the second campaign goes");
    outbox.complete(other.id, answer_rows(&other, |_| saved(2, true)), 50);
    assert!(prepare(&mut outbox, 200).is_none(), "the person is still under way");
    outbox.complete(first.id, answer_rows(&first, |_| saved(1, true)), 200);
    assert_eq!(rows(&prepare(&mut outbox, 200).unwrap()).len(), 1);
}

#[test]
fn a_wrong_guess_costs_one_refusal_and_teaches_the_campaign() {
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, member(1, 1), 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    assert!(rows(&request)[0].contains_key("CampaignId"), "taken for new");
    let exists = || refused(Disposition::Retry(Retry::MemberExists), "INVALID_FIELD_FOR_INSERT_UPDATE");
    outbox.complete(request.id, answer_rows(&request, |_| exists()), 0);
    outbox.push(source(0, 1, &upsert(Object::CAMPAIGN_MEMBER, member(1, 2), 1)), 0);
    let request = outbox.next_request(0).unwrap();
    assert_eq!(rows(&request).len(), 2, "at once, and together");
    assert!(rows(&request).iter().all(|row| !row.contains_key("CampaignId")));
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, false)), 0);
    assert_eq!(outcomes(&mut outbox).len(), 2);
}

#[test]
fn refused_rows_come_back_in_ever_smaller_requests() {
    let mut outbox = outbox_with(&members(1, 0..4));
    let lock = || refused(Disposition::Retry(Retry::Lock), "UNABLE_TO_LOCK_ROW");
    let mut sizes = Vec::new();
    let mut now = 0;
    for _ in 0..7 {
        let request = prepare(&mut outbox, now).unwrap();
        sizes.push(rows(&request).len());
        outbox.complete(request.id, answer_rows(&request, |_| lock()), now);
        now += 1_000;
    }
    assert_eq!(sizes, [4, 2, 2, 1, 1, 1, 1]);
}

#[test]
fn a_text_that_reads_like_a_reference_goes_without_company() {
    let key = member(1, 1);
    let mut outbox = Outbox::new(settings());
    let next = known(&mut outbox, &[upsert(Object::CAMPAIGN_MEMBER, key, 1)]);
    let mut tricky = upsert(Object::POLLS, key, 2);
    tricky.row.fields.push(("poll_1_answer__c", Value::Text("@{part0[0].id}".to_owned())));
    let upserts = [upsert(Object::ENGAGEMENT, key, 2), tricky, upsert(Object::CAMPAIGN_MEMBER, key, 2)];
    for (offset, upsert) in (next..).zip(&upserts) {
        outbox.push(source(0, offset, upsert), 0);
    }
    let mut calls = Vec::new();
    while let Some(request) = prepare(&mut outbox, 1_000_000) {
        calls.push(parts(&request).len());
        outbox.complete(request.id, answer_rows(&request, |_| saved(7, false)), 1_000_000);
    }
    calls.sort_unstable();
    assert_eq!(calls, [1, 2], "one call of one collection, which resolves nothing");
}

#[test]
fn one_refused_part_costs_the_others_nothing() {
    let key = member(1, 1);
    let mut outbox = Outbox::new(settings());
    let next = known(&mut outbox, &[upsert(Object::CAMPAIGN_MEMBER, key, 1)]);
    for (offset, object) in (next..).zip([Object::CAMPAIGN_MEMBER, Object::ENGAGEMENT]) {
        outbox.push(source(0, offset, &upsert(object, key, 2)), 0);
    }
    let request = prepare(&mut outbox, 1_000_000).unwrap();
    let refusal = failure(Disposition::DeadLetter { reason: "JSON_PARSER_ERROR" }, "JSON_PARSER_ERROR");
    outbox.complete(request.id, Answer::Saved(vec![Ok(vec![saved(7, false)]), Err(refusal)]), 0);
    let ends = outcomes(&mut outbox);
    assert_eq!(ends[0], (1, OutcomeKind::Updated, None));
    assert_eq!(ends[1], (2, OutcomeKind::DeadLettered, Some("JSON_PARSER_ERROR".to_owned())));
}

#[test]
fn an_unknown_code_halts_its_key_and_a_newer_version_is_tried_in_its_turn() {
    let mut outbox = outbox_with(&members(1, 1..3));
    let request = prepare(&mut outbox, 0).unwrap();
    let hold = || refused(Disposition::Hold { hint: "look", reach: Reach::Row }, "SOMETHING_NEW");
    let mut results = vec![hold(), saved(2, true)].into_iter();
    outbox.complete(request.id, answer_rows(&request, |_| results.next().unwrap()), 0);
    assert_eq!((held(&outbox), outbox.pending()), (1, 2));
    outbox.push(source(0, 2, &upsert(Object::CAMPAIGN_MEMBER, member(1, 1), 2)), 0);
    outbox.push(source(0, 3, &upsert(Object::CAMPAIGN_MEMBER, member(1, 3), 1)), 0);
    let request = prepare(&mut outbox, 0).unwrap();
    assert_eq!(rows(&request)[0]["LeadId"], member(1, 3).person.as_str(), "others of the campaign go on");
    outbox.complete(request.id, answer_rows(&request, |_| saved(3, true)), 0);
    // Much longer than any backoff, and more often than any bound of attempts.
    let mut now = 0;
    for _ in 0..20 {
        assert!(prepare(&mut outbox, now).is_none());
        let at = outbox.wake_at(now).unwrap();
        assert_eq!(at - now, 1_000, "ten times the longest backoff");
        now = at;
        let request = prepare(&mut outbox, now).unwrap();
        assert_eq!(version_of(rows(&request)[0]), 2);
        outbox.complete(request.id, answer_rows(&request, |_| hold()), now);
    }
    assert!(prepare(&mut outbox, now).is_none());
    let request = prepare(&mut outbox, now + 1_000).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| saved(1, true)), now + 1_000);
    assert_eq!(held(&outbox), 0);
    let ends = outcomes(&mut outbox);
    assert!(ends.iter().all(|(_, kind, _)| *kind != OutcomeKind::DeadLettered), "{ends:?}");
}

#[test]
fn a_status_that_may_not_be_made_holds_its_rows_alone() {
    let mut outbox = outbox_with(&members(1, 1..3));
    let request = outbox.next_request(0).unwrap();
    let statuses = Statuses::Forbidden([(label(1), None)].into());
    outbox.push(source(0, 2, &upsert(Object::CAMPAIGN_MEMBER, member(1, 3), 0)), 0);
    outbox.complete(request.id, Answer::Statuses { statuses, complete: false }, 0);
    let request = outbox.next_request(0).unwrap();
    assert_eq!((rows(&request).len(), held(&outbox)), (2, 1));
    outbox.complete(request.id, answer_rows(&request, |_| saved(1, true)), 0);
    let again = prepare(&mut outbox, 60_000).expect("the right is asked for again");
    assert_eq!(version_of(rows(&again)[0]), 0);
}

#[test]
fn the_reserve_is_left_alone_and_rows_wait_until_the_usage_falls() {
    let mut outbox = outbox_with(&members(1, 1..3));
    outbox.tell_usage(Usage { used: 8_000, limit: 10_000 }, 0);
    assert!(outbox.next_request(0).is_none());
    assert_eq!((outbox.waiting(), outbox.wake_at(0)), (Some(Wait::Quota), Some(1_000)));
    let request = outbox.next_request(1_000).unwrap();
    assert_eq!(request.call, Call::Limits);
    let forbidden =
        failure(Disposition::Hold { hint: "no right to see limits", reach: Reach::Object }, "INSUFFICIENT_ACCESS");
    outbox.complete(request.id, Answer::Failed(forbidden), 1_000);
    assert_eq!(held(&outbox), 0, "the header of the refusal tells as much");
    assert!(outbox.next_request(1_500).is_none(), "asked now and then only");
    let request = outbox.next_request(2_000).unwrap();
    outbox.complete(request.id, Answer::Limits(Usage { used: 10, limit: 10_000 }), 2_000);
    assert_eq!(rows(&prepare(&mut outbox, 2_000).unwrap()).len(), 2);
    assert_eq!(outbox.waiting(), None);
}

#[test]
fn the_statuses_of_many_campaigns_cost_one_call_and_those_that_lack_some_one_more_each() {
    let mut outbox = outbox_with(&members(5, 1..2));
    let request = outbox.next_request(0).unwrap();
    let Call::ReadStatuses { campaigns } = &request.call else { panic!("{request:?}") };
    assert_eq!(campaigns.len(), 5);
    outbox.complete(request.id, Answer::CompleteStatuses(complete(&campaigns[1..])), 0);
    let request = outbox.next_request(0).unwrap();
    assert_eq!(request.call, Call::EnsureStatuses { campaign: campaigns[0] });
    let four = outbox.next_request(0).unwrap();
    assert_eq!(rows(&four).len(), 4, "those that have theirs go on");
    outbox.complete(request.id, Answer::Statuses { statuses: all_statuses(), complete: true }, 0);
    outbox.complete(four.id, answer_rows(&four, |_| saved(7, true)), 0);
    assert_eq!(rows(&prepare(&mut outbox, 0).unwrap()).len(), 1);
}

#[test]
fn an_idle_outbox_asks_for_nothing() {
    let mut outbox = Outbox::new(settings());
    outbox.tell_usage(Usage { used: 9_999, limit: 10_000 }, 0);
    assert!(outbox.next_request(1_000_000).is_none());
    assert_eq!(outbox.wake_at(0), None);
}

#[test]
fn live_rows_go_first_old_ones_fill_the_call_and_wait_where_calls_are_short() {
    let old = |person| Upsert { lane: Lane::Backfill, ..upsert(Object::CAMPAIGN_MEMBER, member(1, person), 1) };
    let mut upserts: Vec<Upsert> = (0..25).map(old).collect();
    upserts.extend(members(1, 30..35));
    let mut outbox = outbox_with(&upserts);
    let request = prepare(&mut outbox, 0).unwrap();
    let people = |request: &Request| -> Vec<String> {
        rows(request).iter().map(|row| row["LeadId"].as_str().unwrap().to_owned()).collect()
    };
    let live = |people: &[String]| (30..35).all(|person| people.contains(&member(1, person).person.to_string()));
    assert!(people(&request).len() == 25 && live(&people(&request)), "five live ones, and old ones in their company");
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 0);
    // A tenth of the share is left for what cannot wait.
    outbox.tell_usage(Usage { used: 7_300, limit: 10_000 }, 0);
    assert!(prepare(&mut outbox, 100_000).is_some_and(|request| request.call == Call::Limits), "old rows wait");
}

#[test]
fn calls_that_are_not_full_are_spread_out_where_the_day_is_half_spent() {
    let mut outbox = Outbox::new(settings());
    let next = known(&mut outbox, &members(1, 1..2));
    let mut now = 1_200_000;
    outbox.tell_usage(Usage { used: 7_000, limit: 10_000 }, now);
    for offset in next..next + 3 {
        outbox.push(source(0, offset, &upsert(Object::CAMPAIGN_MEMBER, member(1, 1), offset)), now);
        let sent = outbox.next_request(now);
        let request = sent.unwrap_or_else(|| {
            let at = outbox.wake_at(now).unwrap();
            assert_eq!(at - now, 60_000, "a thousand calls are left for a day, at most a minute is waited");
            now = at;
            outbox.next_request(now).unwrap()
        });
        outbox.complete(request.id, answer_rows(&request, |_| saved(7, false)), now);
    }
    assert_eq!(now, 1_200_000 + 2 * 60_000);
}

/// Rows of one campaign: n's is under way, m's changes its lane while it waits.
fn changes_its_lane(first: Lane, second: Lane) {
    let (m, n) = (member(1, 1), member(1, 2));
    let of_m = |version, lane| Upsert { lane, ..upsert(Object::CAMPAIGN_MEMBER, m, version) };
    let mut outbox = Outbox::new(settings());
    let next = known(&mut outbox, &[upsert(Object::CAMPAIGN_MEMBER, m, 1), upsert(Object::CAMPAIGN_MEMBER, n, 1)]);
    let now = 1_200_000;
    outbox.push(source(0, next, &upsert(Object::CAMPAIGN_MEMBER, n, 2)), now);
    let of_n = outbox.next_request(now + 10).expect("n goes");
    outbox.push(source(0, next + 1, &of_m(2, first)), now);
    assert!(outbox.next_request(now + 20).is_none(), "one call per campaign");
    outbox.push(source(0, next + 2, &of_m(3, second)), now);
    outbox.complete(of_n.id, answer_rows(&of_n, |_| saved(7, false)), now + 2_000);
    let of_m = outbox.next_request(now + 3_000).expect("m goes, in whichever lane it is");
    assert_eq!(rows(&of_m).len(), 1);
    outbox.complete(of_m.id, answer_rows(&of_m, |_| saved(8, false)), now + 3_000);
    let ends: Vec<OutcomeKind> = outcomes(&mut outbox).into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(ends, [OutcomeKind::Superseded, OutcomeKind::Updated, OutcomeKind::Updated]);
}

#[test]
fn a_row_that_changes_its_lane_while_it_waits_takes_its_place_along() {
    changes_its_lane(Lane::Backfill, Lane::Live);
    changes_its_lane(Lane::Live, Lane::Backfill);
}

/// There are more of them than are looked at for a call, and it is tried twice.
#[test]
fn rows_kept_back_for_a_job_hide_no_row_behind_them_and_go_with_the_job() {
    const KEPT: u32 = 20_001;
    let costs = Costs { call_rows: 1, job_calls: 1, job_rows_min: 2, patience: 0 };
    let mut outbox = Outbox::new(Settings { costs, ..settings() });
    let first = upsert(Object::CAMPAIGN_MEMBER, member(1, 0), 1);
    let offset = known(&mut outbox, std::slice::from_ref(&first));
    let dependant = upsert(Object::ENGAGEMENT, first.member, 7);
    let upserts: Vec<Upsert> = members(1, 1..KEPT + 1).into_iter().chain([dependant]).collect();
    let now = 1_001_000;
    for (offset, upsert) in (offset..).zip(&upserts) {
        outbox.push(source(0, offset, upsert), now);
    }
    outbox.expect_more(true, 1);
    assert!(outbox.next_request(now).is_none(), "the dependant waits for company, the members for a job");
    let now = outbox.wake_at(now).unwrap();
    let request = outbox.next_request(now).expect("the dependant goes");
    assert_eq!(lengths(&request), [(Class::Row(Object::ENGAGEMENT), 1)]);
    outbox.complete(request.id, answer_rows(&request, |_| saved(8, true)), now);
    outbox.expect_more(false, 0);
    let job = outbox.next_request(now + 100).expect("a job");
    assert_eq!(job.call, Call::Job(JobCall::Create { object: Object::CAMPAIGN_MEMBER }));
    assert_eq!(outbox.queue.in_jobs(), KEPT as usize, "the members that were kept back");
}
