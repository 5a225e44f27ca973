//! Rows that were written while their status was gone.

use super::tests::*;
use super::*;
use crate::disposition::Disposition;
use crate::upsert::{Labels, Object, Upsert};

const MEMBER: Object = Object::CAMPAIGN_MEMBER;
const TEN_MINUTES: Millis = 600_000;

/// The campaign's statuses, of which this one was deleted and made again.
fn made_again(version: i64) -> Labels {
    let mut labels = labels();
    labels.insert(label(version), Some(id("01Y", 999)));
    labels
}

fn told(statuses: Labels) -> Answer {
    Answer::Statuses { statuses: Statuses::Labels(statuses), complete: true }
}

/// Writes all that is to be written at that time; the versions of the rows, as they were sent.
fn write(outbox: &mut Outbox, now: Millis) -> Vec<i64> {
    let mut versions = Vec::new();
    while let Some(request) = prepare(outbox, now) {
        versions.extend(rows(&request).into_iter().map(version_of));
        outbox.complete(request.id, answer_rows(&request, |_| saved(7, false)), now);
    }
    versions
}

/// Puts the outcomes on their topic.
fn record(outbox: &mut Outbox) -> Vec<(i64, OutcomeKind, Option<String>)> {
    let outcomes = outcomes(outbox);
    for (offset, ..) in &outcomes {
        outbox.recorded(Position { log: 0, partition: 0, offset: *offset });
    }
    outcomes
}

/// Rows of one campaign, which are written.
fn written(upserts: &[Upsert]) -> Outbox {
    let mut outbox = outbox_with(upserts);
    write(&mut outbox, 0);
    record(&mut outbox);
    outbox
}

/// Answers the question that is asked though nothing is to be written.
fn read_statuses(outbox: &mut Outbox, now: Millis, statuses: Labels) {
    let request = outbox.next_request(now).expect("what was written is looked after");
    assert_eq!(request.call, Call::EnsureStatuses { campaign: id("701", 1) });
    outbox.complete(request.id, told(statuses), now);
}

#[test]
fn rows_that_were_written_while_their_status_was_gone_are_sent_again() {
    let mut outbox = written(&[1, 2, 4].map(|person| upsert(MEMBER, member(1, person), i64::from(person))));
    assert_eq!(outbox.wake_at(0), Some(TEN_MINUTES), "no more rows come");
    read_statuses(&mut outbox, TEN_MINUTES, made_again(2));
    assert_eq!(write(&mut outbox, TEN_MINUTES), [2], "with the status that was gone");
    assert_eq!(outcomes(&mut outbox), [(1, OutcomeKind::Updated, None)]);
    assert!(outbox.wake_at(TEN_MINUTES).is_some(), "it is not sure yet");
    read_statuses(&mut outbox, 2 * TEN_MINUTES, made_again(2));
    assert_eq!(write(&mut outbox, 2 * TEN_MINUTES), [0_i64; 0]);
    assert_eq!((outbox.wake_at(2 * TEN_MINUTES), outbox.written.rows()), (None, 0), "nothing is asked any more");
}

#[test]
fn a_status_that_may_not_be_made_again_holds_the_rows_that_were_written_without_it() {
    let mut outbox = written(&[upsert(MEMBER, member(1, 1), 1)]);
    let request = outbox.next_request(TEN_MINUTES).unwrap();
    let statuses = Statuses::Forbidden([(label(2), Some(id("01Y", 2)))].into());
    outbox.complete(request.id, Answer::Statuses { statuses, complete: false }, TEN_MINUTES);
    assert_eq!(outbox.held(), [("statuses_forbidden".into(), 1)].into());
}

#[test]
fn a_row_that_is_to_be_sent_again_is_pending_and_whoever_takes_its_partition_over_reads_it_again() {
    for handed_over in [false, true] {
        let mut outbox = written(&[1, 2].map(|person| upsert(MEMBER, member(1, person), i64::from(person))));
        outbox.push(source(0, 2, &upsert(MEMBER, member(2, 1), 1)), 0);
        write(&mut outbox, 0);
        record(&mut outbox);
        assert_eq!((outbox.take_committable(), outbox.pending()), (vec![(0, 3)], 0));
        let request = outbox.next_request(TEN_MINUTES).unwrap();
        let Call::ReadStatuses { campaigns } = &request.call else { panic!("{request:?}") };
        let complete = campaigns
            .iter()
            .map(|campaign| (*campaign, if *campaign == id("701", 1) { made_again(2) } else { labels() }));
        outbox.complete(request.id, Answer::CompleteStatuses(complete.collect()), TEN_MINUTES);
        assert_eq!((outbox.pending(), outbox.open()), (1, 1));
        if handed_over {
            outbox.revoke(&[0], TEN_MINUTES);
            assert_eq!(outbox.leave(&[0], TEN_MINUTES), [(0, 1)]);
        } else {
            assert_eq!(outbox.take_committable(), [(0, 1)]);
            assert_eq!(write(&mut outbox, TEN_MINUTES), [2]);
            record(&mut outbox);
            assert_eq!((outbox.take_committable(), outbox.pending()), (vec![(0, 3)], 0));
        }
    }
}

#[test]
fn statuses_of_many_campaigns_tell_it_too_and_those_that_lack_one_get_it() {
    let mut outbox = written(&[1, 2, 3].map(|campaign| upsert(MEMBER, member(campaign, 1), i64::from(campaign))));
    let request = outbox.next_request(TEN_MINUTES).unwrap();
    let Call::ReadStatuses { campaigns } = &request.call else { panic!("{request:?}") };
    let of = |place: usize, labels| (campaigns[place], labels);
    let complete = vec![of(0, labels()), of(1, made_again(2))];
    outbox.complete(request.id, Answer::CompleteStatuses(complete), TEN_MINUTES);
    let lacking = outbox.next_request(TEN_MINUTES).unwrap();
    assert_eq!(lacking.call, Call::EnsureStatuses { campaign: id("701", 3) });
    outbox.complete(lacking.id, told(made_again(3)), TEN_MINUTES);
    let mut versions = write(&mut outbox, TEN_MINUTES);
    versions.sort_unstable();
    assert_eq!(versions, [2, 3]);
}

#[test]
fn a_row_that_is_sent_again_never_passes_a_newer_version_and_has_no_outcome_for_it() {
    let key = member(1, 1);
    let mut outbox = written(&[upsert(MEMBER, key, 1)]);
    outbox.push(source(0, 1, &upsert(MEMBER, key, 4)), TEN_MINUTES);
    read_statuses(&mut outbox, TEN_MINUTES, made_again(1));
    assert_eq!(write(&mut outbox, TEN_MINUTES), [4]);
    assert_eq!(outcomes(&mut outbox), [(1, OutcomeKind::Updated, None)]);

    // One that comes while the older one waits to be sent again.
    let mut outbox = written(&[upsert(MEMBER, key, 1)]);
    read_statuses(&mut outbox, TEN_MINUTES, made_again(1));
    outbox.push(source(0, 1, &upsert(MEMBER, key, 4)), TEN_MINUTES);
    assert_eq!(write(&mut outbox, TEN_MINUTES), [4]);
    assert_eq!(record(&mut outbox), [(1, OutcomeKind::Updated, None)], "the older one has its own");
    assert_eq!((outbox.take_committable(), outbox.pending()), (vec![(0, 2)], 0));
}

#[test]
fn what_was_on_its_way_while_the_status_was_made_again_goes_again() {
    let mut outbox = outbox_with(&[upsert(MEMBER, member(1, 1), 1)]);
    let on_its_way = prepare(&mut outbox, 0).unwrap();
    outbox.push(source(0, 1, &upsert(MEMBER, member(1, 2), 1)), TEN_MINUTES);
    let request = outbox.next_request(TEN_MINUTES).unwrap();
    outbox.complete(request.id, told(made_again(1)), TEN_MINUTES);
    outbox.complete(on_its_way.id, answer_rows(&on_its_way, |_| saved(7, true)), TEN_MINUTES);
    assert_eq!(write(&mut outbox, TEN_MINUTES), [1, 1]);
    assert_eq!(outcomes(&mut outbox).iter().filter(|(offset, ..)| *offset == 0).count(), 2);
}

#[test]
fn a_reading_that_was_on_its_way_when_a_row_was_written_is_no_proof_of_its_status() {
    let mut outbox = outbox_with(&[upsert(MEMBER, member(1, 1), 1)]);
    let on_its_way = prepare(&mut outbox, 0).unwrap();
    outbox.push(source(0, 1, &upsert(MEMBER, member(1, 2), 1)), TEN_MINUTES);
    let reading = outbox.next_request(TEN_MINUTES).unwrap();
    assert_eq!(reading.call, Call::EnsureStatuses { campaign: id("701", 1) });
    // It was read, deleted, and then the row was written.
    outbox.complete(on_its_way.id, answer_rows(&on_its_way, |_| saved(7, true)), TEN_MINUTES);
    outbox.complete(reading.id, told(labels()), TEN_MINUTES);
    assert_eq!(outbox.written.rows(), 1, "the next reading shows it");
}

#[test]
fn nothing_is_sent_again_of_a_partition_that_left_or_of_a_row_that_is_no_longer_wanted() {
    for step in 0..2 {
        let mut outbox = written(&[upsert(MEMBER, member(1, 1), 1)]);
        if step == 0 {
            outbox.revoke(&[0], 0);
            outbox.leave(&[0], 0);
        } else {
            let record = source(0, 1, &upsert(MEMBER, member(1, 1), 1));
            outbox.push(Source { value: None, ..record }, 0);
        }
        assert_eq!((outbox.written.rows(), outbox.wake_at(0)), (0, None));
        assert!(outbox.next_request(TEN_MINUTES).is_none());
    }
}

#[test]
fn so_many_rows_are_kept_and_no_more_wait_for_the_next_reading() {
    let mut outbox = Outbox::new(Settings { written_rows_max: 20, ..settings() });
    for person in 0..200 {
        outbox.push(source(0, i64::from(person), &upsert(MEMBER, member(1, person), 1)), 0);
    }
    let (mut readings, mut most) = (0, 0);
    while let Some(request) = outbox.next_request(0) {
        let reads = matches!(request.call, Call::EnsureStatuses { .. });
        let answer = if reads { told(labels()) } else { answer_rows(&request, |_| saved(7, true)) };
        readings += usize::from(reads);
        outbox.complete(request.id, answer, 0);
        most = most.max(outbox.written.rows());
    }
    assert_eq!(outcomes(&mut outbox).len(), 200);
    // Calls hold 25 rows here.
    assert_eq!((readings, most), (9, 25));
}

#[test]
fn a_reading_that_fails_with_nothing_to_write_is_no_outage_and_is_not_asked_for_again_at_once() {
    let mut outbox = written(&[upsert(MEMBER, member(1, 1), 1)]);
    let request = outbox.next_request(TEN_MINUTES).unwrap();
    let away = failure(crate::disposition::Disposition::Wait(Wait::Outage), "transport");
    outbox.complete(request.id, Answer::Failed(away), TEN_MINUTES);
    assert_eq!((outbox.waiting(), outbox.next_request(TEN_MINUTES).is_none()), (None, true));
    let later = outbox.wake_at(TEN_MINUTES).unwrap();
    assert_eq!(later, TEN_MINUTES + outbox.seldom());
    read_statuses(&mut outbox, later, made_again(1));
    assert_eq!(write(&mut outbox, later), [1]);
}

#[test]
fn a_question_about_what_was_written_that_is_refused_for_one_campaign_is_asked_without_it_at_once() {
    let upserts: Vec<Upsert> = (1..=20).map(|campaign| upsert(MEMBER, member(campaign, 1), 1)).collect();
    let mut outbox = written(&upserts);
    let (bad, mut questions) = (id("701", 7), 0);
    while let Some(request) = outbox.next_request(TEN_MINUTES) {
        let code = "INVALID_QUERY_FILTER_OPERATOR";
        let refused = Answer::Failed(failure(Disposition::DeadLetter { reason: code }, code));
        let answer = match &request.call {
            Call::ReadStatuses { campaigns } if campaigns.contains(&bad) => refused,
            Call::ReadStatuses { campaigns } => Answer::CompleteStatuses(complete(campaigns)),
            Call::EnsureStatuses { campaign } if *campaign == bad => refused,
            Call::EnsureStatuses { .. } => told(labels()),
            Call::Save { .. }
            | Call::FindRecords { .. }
            | Call::FindPeople { .. }
            | Call::FindParents { .. }
            | Call::Limits
            | Call::Job(_) => panic!("{request:?}"),
        };
        questions += 1;
        outbox.complete(request.id, answer, TEN_MINUTES);
    }
    assert!(questions < 20, "{questions} questions: it is looked for by halves");
    assert_eq!((outbox.written.rows(), outbox.wake_at(TEN_MINUTES)), (1, Some(TEN_MINUTES + outbox.seldom())));
}

#[test]
fn what_was_written_is_looked_after_when_calls_come_back_though_no_more_rows_come() {
    let mut outbox = written(&[upsert(MEMBER, member(1, 1), 1)]);
    outbox.tell_usage(Usage { used: 10_000, limit: 10_000 }, 0);
    assert!(outbox.next_request(TEN_MINUTES - 1).is_none());
    assert_eq!(outbox.wake_at(0), Some(TEN_MINUTES), "nothing is asked before there is something to ask for");
    let request = outbox.next_request(TEN_MINUTES).expect("nobody else would tell that calls are left again");
    assert_eq!(request.call, Call::Limits);
    outbox.complete(request.id, Answer::Limits(Usage { used: 0, limit: 10_000 }), TEN_MINUTES);
    read_statuses(&mut outbox, TEN_MINUTES, made_again(1));
    assert_eq!(write(&mut outbox, TEN_MINUTES), [1]);
}
