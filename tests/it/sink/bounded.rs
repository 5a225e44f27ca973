//! An org that does not answer for a long time: rows wait on the topic, not in memory.

use rollbook::emulator::{Fault, FaultAction};
use rollbook::outcome::OutcomeKind;

use super::stream::{PATIENCE, Stream, member_row, members_of};
use crate::harness::until;

const MEMBERS: usize = 600;
const PENDING_MAX: usize = 100;
/// How often the org refuses everything before it is there again.
const REFUSALS: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_for_the_org_wait_on_the_topic() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, MEMBERS);
    let refusal = FaultAction::refuse(503, "SERVER_UNAVAILABLE", "");
    stream.org.add_fault(Fault::next("/composite", refusal).times(REFUSALS));
    let rows: Vec<_> = members.iter().map(|member| member_row(*member, "Registered")).collect();
    stream.send(&rows);
    let mut config = stream.config();
    config.sink.rows_pending_max = PENDING_MAX;
    let sink = stream.run_with(config);
    let mut most = 0;
    tokio::task::block_in_place(|| {
        until("every row to be written", PATIENCE, || {
            most = most.max(usize::try_from(stream.metrics.pending_rows.get()).expect("a number of rows"));
            let written = stream.held("CampaignMember").len();
            if written == MEMBERS { Ok(()) } else { Err(format!("{written} are")) }
        });
    });
    // What is read at once is added whole.
    assert!((PENDING_MAX / 2..=PENDING_MAX + 1).contains(&most), "{most} rows were held");
    stream.read_outcomes(MEMBERS);
    assert_eq!(stream.outcomes_of(OutcomeKind::Created), MEMBERS);
    sink.stop().await;
}
