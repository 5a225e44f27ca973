//! Rows of partitions that leave, and what becomes of them once it is known which log is read.

use super::tests::{
    answer_rows, failure, id, member, outbox_with, outcomes, prepare, rows, saved, source, upsert, version_of,
};
use super::*;
use crate::disposition::Disposition;
use crate::outcome::OutcomeKind;
use crate::upsert::{Object, Upsert};

/// Offset, kind and code of an outcome.
type Ended = (i64, OutcomeKind, Option<String>);

fn member_rows(people: std::ops::RangeInclusive<u32>, version: i64) -> Vec<Upsert> {
    people.map(|person| upsert(Object::CAMPAIGN_MEMBER, member(person, person), version)).collect()
}

/// An assignment of partition 0.
fn places(log: u32, offset: i64, unread: bool) -> Places {
    Places { log, partitions: [(0, Some(ReadFrom { offset, unread }))].into() }
}

/// The group divides anew, and takes partition 0 away.
fn leave(outbox: &mut Outbox) -> Vec<(i32, i64)> {
    outbox.revoke(&[0], 0);
    outbox.leave(&[0], 0)
}

/// Writes and records all there is: the versions that were sent, and the outcomes.
fn write(outbox: &mut Outbox) -> (Vec<i64>, Vec<Ended>) {
    let mut versions = Vec::new();
    for now in [0, 1_000] {
        while let Some(request) = prepare(outbox, now) {
            versions.extend(rows(&request).into_iter().map(version_of));
            outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), now);
        }
    }
    versions.sort_unstable();
    (versions, outcomes(outbox))
}

fn of_log(log: u32, mut source: Source) -> Source {
    source.position.log = log;
    source
}

#[test]
fn rows_that_were_read_are_written_though_their_topic_was_made_anew() {
    let mut outbox = outbox_with(&member_rows(1..=3, 1));
    assert_eq!((leave(&mut outbox), outbox.pending()), (Vec::new(), 3), "they wait to hear which log is read");
    outbox.placed(&places(1, 0, true), 0);
    let (versions, outcomes) = write(&mut outbox);
    assert_eq!(versions, [1, 1, 1]);
    assert_eq!(outcomes, [0, 1, 2].map(|offset| (offset, OutcomeKind::Created, None)));
    for offset in 0..3 {
        outbox.recorded(Position { log: 0, partition: 0, offset });
    }
    assert_eq!((outbox.pending(), outbox.take_committable()), (0, Vec::new()), "offsets of another log");
}

#[test]
fn what_the_new_log_says_supersedes_what_was_read_of_the_old_one() {
    let mut outbox = outbox_with(&member_rows(1..=2, 1));
    leave(&mut outbox);
    // The thread is ahead of the loop: what it reads now stands behind what was read before.
    outbox.push(of_log(1, source(0, 0, &member_rows(1..=1, 2)[0])), 0);
    outbox.placed(&places(1, 0, true), 0);
    assert_eq!(outcomes(&mut outbox), [(0, OutcomeKind::Superseded, None)]);
    let (versions, ended) = write(&mut outbox);
    assert_eq!((versions, ended.len()), (vec![1, 2], 2));
    // Of the old log, at an offset that the new one has, too.
    outbox.recorded(Position { log: 0, partition: 0, offset: 0 });
    assert_eq!(outbox.take_committable(), []);
    outbox.recorded(Position { log: 1, partition: 0, offset: 0 });
    outbox.recorded(Position { log: 0, partition: 0, offset: 1 });
    assert_eq!((outbox.take_committable(), outbox.pending()), (vec![(0, 1)], 0));
}

#[test]
fn rows_of_a_log_that_is_still_read_are_forgotten_as_they_are_read_again() {
    for places in [places(0, 0, false), Places { log: 0, ..Places::default() }] {
        let mut outbox = outbox_with(&member_rows(1..=3, 1));
        leave(&mut outbox);
        outbox.placed(&places, 0);
        assert_eq!((outbox.pending(), write(&mut outbox)), (0, (Vec::new(), Vec::new())));
    }
}

#[test]
fn rows_wait_as_long_as_nobody_knows_which_log_is_read() {
    let mut outbox = outbox_with(&member_rows(1..=3, 1));
    leave(&mut outbox);
    let unknown = Places { log: 1, partitions: [(0, None)].into() };
    outbox.placed(&unknown, 0);
    assert_eq!((outbox.pending(), write(&mut outbox)), (3, (Vec::new(), Vec::new())));
    outbox.placed(&places(1, 0, true), 0);
    assert_eq!(write(&mut outbox).0, [1, 1, 1]);
}

#[test]
fn a_row_whose_partition_is_somebody_elses_and_whose_log_is_gone_is_a_dead_letter() {
    for places in [Places { log: 1, ..Places::default() }, places(1, 4, false)] {
        let mut outbox = outbox_with(&member_rows(1..=1, 1));
        leave(&mut outbox);
        outbox.placed(&places, 0);
        let letter = (0, OutcomeKind::DeadLettered, Some("log_gone".to_owned()));
        assert_eq!(write(&mut outbox), (Vec::new(), vec![letter]));
        assert_eq!(outbox.pending(), 1, "until that is recorded");
        outbox.recorded(Position { log: 0, partition: 0, offset: 0 });
        assert_eq!(outbox.pending(), 0);
    }
}

#[test]
fn rows_of_a_log_that_is_gone_stay_while_nobody_else_was_further() {
    for (further, written) in [(0, 1), (1, 0)] {
        let mut outbox = outbox_with(&member_rows(1..=1, 1));
        leave(&mut outbox);
        outbox.placed(&places(1, 3, true), 0);
        leave(&mut outbox);
        outbox.placed(&places(1, 3 + further, false), 0);
        let (versions, outcomes) = write(&mut outbox);
        assert_eq!((versions.len(), outcomes.len()), (written, 1), "{outcomes:?}");
    }
}

#[test]
fn a_row_in_flight_whose_partition_leaves_in_time_is_written_once() {
    let mut outbox = outbox_with(&member_rows(1..=1, 1));
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.push(source(0, 1, &member_rows(1..=1, 2)[0]), 0);
    outbox.revoke(&[0], 0);
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 0);
    outbox.leave(&[0], 0);
    assert_eq!(outcomes(&mut outbox), [(0, OutcomeKind::Created, None)]);
    outbox.placed(&places(1, 0, true), 0);
    assert_eq!(write(&mut outbox), (vec![2], vec![(1, OutcomeKind::Created, None)]), "the newer version");
}

#[test]
fn a_row_in_flight_whose_partition_leaves_too_late_is_sent_again() {
    let mut outbox = outbox_with(&member_rows(1..=1, 1));
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.push(source(0, 1, &member_rows(1..=1, 2)[0]), 0);
    leave(&mut outbox);
    outbox.placed(&places(1, 0, true), 0);
    assert_eq!(outcomes(&mut outbox), [(0, OutcomeKind::Superseded, None)]);
    assert!(prepare(&mut outbox, 1_000).is_none(), "its campaign is busy");
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 1_000);
    assert_eq!(write(&mut outbox).0, [2]);
}

#[test]
fn the_end_of_the_process_is_the_end_of_rows_whose_log_is_gone() {
    let mut outbox = outbox_with(&member_rows(1..=2, 1));
    leave(&mut outbox);
    outbox.placed(&places(1, 0, true), 0);
    outbox.push(of_log(1, source(0, 0, &member_rows(3..=3, 1)[0])), 0);
    outbox.revoke(&outbox.partitions(), 0);
    outbox.give_up_gone(1, 0);
    let letter = |offset| (offset, OutcomeKind::DeadLettered, Some("log_gone".to_owned()));
    assert_eq!(outcomes(&mut outbox), [letter(0), letter(1)], "what the new log has is read again");
    assert!(!outbox.quiet(&[0]), "until that is recorded");
}

#[test]
fn a_row_whose_call_fails_while_the_process_ends_has_its_letter_where_its_log_is_gone() {
    for in_time in [true, false] {
        let mut outbox = outbox_with(&member_rows(1..=1, 1));
        let request = prepare(&mut outbox, 0).unwrap();
        outbox.revoke(&[0], 0);
        outbox.give_up_gone(1, 0);
        assert_eq!((outcomes(&mut outbox), outbox.quiet(&[0])), (Vec::new(), false), "it may still be written");
        if in_time {
            outbox.complete(request.id, Answer::Failed(failure(Disposition::Wait(Wait::Outage), "transport")), 0);
        } else {
            outbox.leave(&[0], 0);
        }
        outbox.give_up_gone(1, 0);
        let letter = (0, OutcomeKind::DeadLettered, Some("log_gone".to_owned()));
        assert_eq!((outcomes(&mut outbox), outbox.quiet(&[0])), (vec![letter], false), "{in_time}");
        outbox.recorded(Position { log: 0, partition: 0, offset: 0 });
        assert!(outbox.quiet(&[0]));
        assert_eq!(outbox.leave(&[0], 0), [], "no offset of a log that is gone");
    }
}

#[test]
fn the_end_of_the_process_forgets_rows_that_the_next_owner_reads_again() {
    let mut outbox = outbox_with(&member_rows(1..=2, 1));
    outbox.revoke(&[0], 0);
    outbox.give_up_gone(0, 0);
    assert_eq!((outcomes(&mut outbox), outbox.quiet(&[0])), (Vec::new(), true));
}

#[test]
fn the_end_of_the_process_does_not_wait_to_be_told_that_a_log_is_gone() {
    let mut outbox = outbox_with(&member_rows(1..=2, 1));
    leave(&mut outbox);
    assert!(outbox.waits_for_log());
    // Nobody has told the outbox of another log, as the topic is deleted, or was found a moment ago.
    outbox.give_up_gone(1, 0);
    let letter = |offset| (offset, OutcomeKind::DeadLettered, Some("log_gone".to_owned()));
    assert_eq!(outcomes(&mut outbox), [letter(0), letter(1)]);
}

#[test]
fn rows_whose_partition_nobody_leads_take_no_room_from_those_of_others() {
    let mut outbox = outbox_with(&member_rows(1..=3, 1));
    leave(&mut outbox);
    let one_led = [(0, None), (1, Some(ReadFrom { offset: 0, unread: false }))];
    outbox.placed(&Places { log: 0, partitions: one_led.into() }, 0);
    assert_eq!((outbox.pending(), outbox.waits_for_log()), (3, false));
    assert!(outbox.has_room(3), "the other partition is read");
    outbox.push(source(0, 3, &member_rows(4..=4, 1)[0]), 0);
    assert!(!outbox.has_room(1), "what comes behind them has no other bound");
}

#[test]
fn what_a_job_carries_of_a_log_that_is_gone_is_not_taken_for_a_version_of_the_new_one() {
    let row = &member_rows(1..=1, 1)[0];
    let record = crate::bulk_job::BulkJobRow { offset: 5, key: crate::bulk_job::key_of(&row.row.external_id) };
    let job = crate::bulk_job::BulkJob {
        job: id("750", 1),
        object: "CampaignMember".to_owned(),
        created_at: 0,
        rows: vec![record],
    };
    // One that was written after the job was made is of another log, too, whoever made that job and whenever.
    for (unread, written_at, carried) in [(true, 0, false), (false, 0, true), (false, 1, false)] {
        let mut outbox = Outbox::new(super::tests::settings());
        outbox.restore_jobs(vec![(0, job.clone())], &[(0, 0)].into(), 0);
        outbox.placed(&places(0, 0, unread), 0);
        outbox.push(Source { timestamp: Some(written_at), ..source(0, 5, row) }, 0);
        let key = outbox.queue.slots().map(|(key, _)| key.clone()).next().unwrap();
        let number = *outbox.jobs.all.keys().next().unwrap();
        assert!(outbox.queue.in_job(&key, number), "it waits for the end of the job in any case");
        assert_eq!(outbox.carried(number, &key), carried);
    }
}
