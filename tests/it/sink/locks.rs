//! A campaign that somebody else holds for long.

use super::stream::{PATIENCE, Stream, member_row, members_of};
use crate::harness::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_is_locked_for_longer_than_all_attempts_would_take_loses_nothing() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 60);
    let rows = |status| members.iter().map(move |member| member_row(*member, status)).collect::<Vec<_>>();
    let sink = stream.run();
    stream.send(&rows("Registered"));
    stream.read_outcomes(60);
    let locked = members[0].campaign;
    stream.org.with_org(|org| org.lock_record(locked.as_str()));
    stream.send(&rows("Confirmed"));
    // Those of the other campaign.
    stream.read_outcomes(90);
    // Each row has five attempts here, where attempts count: these are three times as many.
    let metrics = stream.metrics.clone();
    let met = || metrics.retries.with_label_values(&["lock"]).get();
    let held = || metrics.held_by_reason.with_label_values(&["UNABLE_TO_LOCK_ROW"]).get();
    tokio::task::block_in_place(|| {
        until("rows to be held for the lock", PATIENCE, || {
            if met() >= 450 && held() == 30 { Ok(()) } else { Err(format!("{} met it, {} are held", met(), held())) }
        });
    });
    assert!(sink.health.ready().0, "nothing else waits");
    // A newer version takes the place of one that is held.
    stream.send(&[member_row(members[0], "Attended")]);
    stream.org.with_org(|org| org.unlock_record(locked.as_str()));
    stream.read_outcomes(121);
    tokio::task::block_in_place(|| {
        until("no row to be held", PATIENCE, || if held() == 0 { Ok(()) } else { Err(format!("{}", held())) });
    });
    sink.stop().await;
    assert!(stream.dead_letters.is_empty());
    let written = stream.held("CampaignMember");
    assert_eq!(written[&members[0].to_string()]["Status"], "Attended");
    assert!(members[1..].iter().all(|member| written[&member.to_string()]["Status"] == "Confirmed"));
}
