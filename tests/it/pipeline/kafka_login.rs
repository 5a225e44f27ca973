//! A login of Kafka's that is refused is waited for, visibly, and a password that is put into its file is used at once.

use std::fs;

use rollbook::demo::reference::expected;

use super::world::{Connection, WITHIN, World, metric};
use crate::harness;

#[test]
fn a_refused_login_is_waited_for_and_a_password_that_was_replaced_is_used_without_a_restart() {
    let secure = harness::sasl_ssl();
    let kafka = Connection { bootstrap: secure.bootstrap.clone(), properties: secure.properties(harness::SCRAM) };
    let file = harness::folder().join("rotated-password");
    fs::write(&file, "the one of yesterday").expect("the target folder is writable");
    let section = format!("[kafka.properties_files]\n\"sasl.password\" = \"{}\"\n", file.display());
    let world = World::with("rotated", kafka, &section);
    let conference = world.conference(14, 10);
    world.send(&conference.records);
    let rollbook = world.start("one");
    harness::until("the refusal to be visible", WITHIN, || {
        let metrics = rollbook.get("/metrics")?.body;
        let waiting = metric(&metrics, "rollbook_waiting", &["dependency=\"kafka\""]);
        let log = rollbook.process.log();
        if waiting == 1 && log.contains("refused=") { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
    assert_eq!(rollbook.get("/livez").map(|answer| answer.status), Ok(200), "a restart would mend nothing");
    assert_eq!(rollbook.get("/readyz").map(|answer| answer.status), Ok(503));
    fs::write(&file, harness::SCRAM.password).expect("the target folder is writable");
    let rollbook = rollbook.ready();
    world.settle();
    // Once more while it runs: every client is made anew, and goes on.
    let rebuilt = || metric(&rollbook.metrics(), "rollbook_kafka_clients_rebuilt_total", &[]);
    let before = rebuilt();
    rollbook.process.signal("HUP");
    harness::until("clients with the secrets of now", WITHIN, || {
        if rebuilt() > before + 1 { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
    world.send(&conference.records);
    world.settle();
    world.org_becomes(&expected(&conference.records));
    assert!(!rollbook.process.log().contains("the one of yesterday"));
}
