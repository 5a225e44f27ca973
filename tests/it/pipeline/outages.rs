//! Salesforce is away, forgets its answers, or throws everybody out: afterwards the org is as it must be.

use rollbook::demo::conference::Conference;
use rollbook::demo::reference::expected;
use rollbook::emulator::{Fault, FaultAction};

use super::world::{WITHIN, World};
use crate::harness;

const COLLECTIONS: &str = "/composite";

#[track_caller]
fn org_equals_the_reference(world: &World, conference: &Conference) {
    world.settle();
    world.org_becomes(&expected(&conference.records));
}

/// Dead letters of the sink for rows that any org refuses; no others may come.
fn refused_rows(world: &World) -> u64 {
    let sink = world.dead_letters().into_iter().filter(|letter| letter.object.is_some());
    u64::try_from(sink.count()).expect("few")
}

#[test]
fn while_salesforce_is_down_everything_waits_and_nothing_is_lost() {
    let world = World::new("down");
    let conference = world.conference(6, 60);
    let (before, after) = conference.records.split_at(conference.records.len() / 2);
    world.send(before);
    let rollbook = world.start("one").ready();
    harness::until("the first rows", WITHIN, || match world.rows().len() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    world.salesforce.shut();
    world.send(after);
    let refused = world.salesforce.refused();
    harness::until("some more attempts", WITHIN, || {
        // More than a row's own attempts: an outage of the org does not count for them.
        if world.salesforce.refused() > refused + 5 { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
    world.salesforce.open();
    org_equals_the_reference(&world, &conference);
    assert_eq!(refused_rows(&world), conference.rows_refused, "an outage makes no dead letters");
}

#[test]
fn a_lost_answer_makes_no_second_row() {
    let world = World::new("lost");
    let conference = world.conference(7, 60);
    for skip in [0, 1, 3] {
        world.org.add_fault(Fault::next(COLLECTIONS, FaultAction::CutAfter).times(2).after(skip));
    }
    world.org.add_fault(Fault::next(COLLECTIONS, FaultAction::CutBefore).times(2).after(2));
    world.send(&conference.records);
    let _rollbook = world.start("one").ready();
    org_equals_the_reference(&world, &conference);
    assert_eq!(refused_rows(&world), conference.rows_refused);
}

#[test]
fn a_busy_org_and_an_expired_login_are_got_over() {
    let world = World::new("busy");
    let conference = world.conference(8, 60);
    let busy = FaultAction::refuse(503, "SERVER_UNAVAILABLE", "The server is busy");
    world.org.add_fault(Fault::next(COLLECTIONS, busy).times(3).after(1));
    let page = FaultAction::Answer { status: 502, body: "<html>Bad Gateway</html>".to_owned() };
    world.org.add_fault(Fault::next(COLLECTIONS, page).times(2).after(2));
    let (before, after) = conference.records.split_at(conference.records.len() / 2);
    world.send(before);
    let _rollbook = world.start("one").ready();
    world.settle();
    let logins = world.org.calls("token");
    world.org.expire_tokens();
    world.send(after);
    org_equals_the_reference(&world, &conference);
    assert_eq!(world.org.calls("token"), logins + 1, "one login for all requests that met the old token");
    assert_eq!(refused_rows(&world), conference.rows_refused);
}
