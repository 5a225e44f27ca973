//! A field or a right that is taken away while it runs.

use super::tests::*;
use super::*;
use crate::disposition::{Disposition, Reach};
use crate::upsert::Object;

fn hidden(field: &str) -> Failure {
    let disposition = Disposition::Hold { hint: "grant it", reach: Reach::Object };
    Failure { disposition, code: "INVALID_FIELD".to_owned(), fields: vec![field.to_owned()] }
}

/// Members of a campaign that are there, with an engagement and polls each.
fn with_rows(people: u32) -> Outbox {
    let members = (1..=people).map(|person| upsert(Object::CAMPAIGN_MEMBER, member(1, person), 1)).collect::<Vec<_>>();
    let mut outbox = outbox_with(&members);
    while let Some(request) = prepare(&mut outbox, 0) {
        let mut number = 0;
        let answer = answer_rows(&request, |_| {
            number += 1;
            saved(u32::try_from(request.id).unwrap() * 100 + number, true)
        });
        outbox.complete(request.id, answer, 0);
    }
    for person in 1..=people {
        for (object, offset) in [(Object::ENGAGEMENT, 100), (Object::POLLS, 101)] {
            outbox.push(source(0, offset + 2 * i64::from(person), &upsert(object, member(1, person), 1)), 0);
        }
    }
    outbox
}

/// Answers saves until none is left: polls as `polls` says, all else is taken. The rows of polls that were sent.
fn run(outbox: &mut Outbox, now: Millis, polls: Option<&Failure>) -> usize {
    let mut sent = 0;
    while let Some(request) = prepare(outbox, now) {
        let answers = parts(&request).iter().map(|part| {
            let of_polls = part.class == Class::Row(Object::POLLS);
            sent += if of_polls { part.rows.len() } else { 0 };
            match polls.filter(|_| of_polls) {
                Some(failure) => Err(failure.clone()),
                None => Ok(part.rows.iter().map(|_| saved(7, false)).collect()),
            }
        });
        let answer = Answer::Saved(answers.collect());
        outbox.complete(request.id, answer, now);
    }
    sent
}

#[test]
fn a_hidden_field_holds_its_object_alone_and_names_it_and_one_row_asks_whether_it_is_back() {
    let mut outbox = with_rows(20);
    let failure = hidden("poll_10_answer__c");
    // Before a probe is due, and long enough for requests that are not full.
    for step in 0..20 {
        run(&mut outbox, step * 20, Some(&failure));
    }
    let reason = "INVALID_FIELD Kaltura_User_Polls__c.poll_10_answer__c";
    assert_eq!(outbox.held().into_iter().collect::<Vec<_>>(), [(reason.into(), 20)]);
    let written = outcomes(&mut outbox);
    assert_eq!(written.len(), 40, "members and engagements are written, and no row is lost");
    assert_eq!(outbox.waiting(), None);

    // One that comes later does not have to meet it, and one row is tried.
    outbox.push(source(0, 300, &upsert(Object::POLLS, member(1, 1), 2)), 400);
    assert_eq!(run(&mut outbox, 400, Some(&failure)), 0);
    let mut now = outbox.wake_at(400).expect("a probe is due");
    assert_eq!(run(&mut outbox, now, Some(&failure)), 1);
    assert_eq!(outbox.held().values().sum::<usize>(), 20);

    for _ in 0..10 {
        let Some(due) = outbox.wake_at(now) else { break };
        now = due;
        run(&mut outbox, now, None);
    }
    assert_eq!(outbox.held().values().sum::<usize>(), 0, "they come back by themselves");
    assert_eq!(outcomes(&mut outbox).len(), 21, "and the one that was superseded");
}

#[test]
fn a_question_that_may_not_be_asked_holds_those_who_need_it() {
    let mut outbox =
        outbox_with(&[upsert(Object::ENGAGEMENT, member(1, 1), 1), upsert(Object::CAMPAIGN_MEMBER, member(2, 2), 1)]);
    let mut written = 0;
    while let Some(request) = outbox.next_request(0) {
        let answer = match &request.call {
            Call::FindRecords { .. } => Answer::Failed(hidden("external_id__c")),
            Call::EnsureStatuses { .. } => Answer::Statuses { statuses: all_statuses(), complete: true },
            Call::ReadStatuses { campaigns } => Answer::CompleteStatuses(complete(campaigns)),
            Call::Save { .. } | Call::FindPeople { .. } | Call::FindParents { .. } | Call::Limits | Call::Job(_) => {
                written += 1;
                answer_rows(&request, |_| saved(1, true))
            }
        };
        outbox.complete(request.id, answer, 0);
    }
    let held: Vec<_> = outbox.held().into_iter().collect();
    assert_eq!((held, written), (vec![("INVALID_FIELD CampaignMember.external_id__c".into(), 1)], 1));
    assert_eq!(outbox.waiting(), None, "the others go on");
}
