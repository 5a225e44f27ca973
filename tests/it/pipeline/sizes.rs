//! Records that are too large for something on their way: none of them stops the stream, and none is lost.

use rollbook::dead_letter::{Cut, RECORD_TOO_LARGE};
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use rollbook::route;
use serde_json::{Value, json};

use super::payload::record;
use super::world::{Connection, WITHIN, World, metric};
use crate::harness::{self, PARTITIONS, Record};

/// Bytes that no codec makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

fn member(world: &World) -> MemberKey {
    MemberKey { campaign: world.campaign("Launch"), person: world.lead("lead") }
}

#[track_caller]
fn claps_become(world: &World, expected: f64) {
    harness::until(&format!("{expected} claps"), WITHIN, || {
        let rows = world.rows();
        let row = rows.iter().find(|((object, _), _)| object == "UserSessionEngagement__c").map(|(_, fields)| fields);
        let claps = row.and_then(|fields| fields.get("clap_clicked_count__c")).and_then(Value::as_f64);
        if claps == Some(expected) { Ok(()) } else { Err(format!("{claps:?}")) }
    });
}

#[test]
fn a_stray_that_is_too_large_to_be_rekeyed_is_a_letter_and_goes_on_by_a_redrive() {
    let world = World::new("stray");
    let rollbook = world.start("one").ready();
    let (client, member) = (world.client(), member(&world));
    // Whoever does this while it runs meets no check.
    let resolved = &world.names.topics.resolved;
    harness::alter(&client, resolved, &[("max.message.bytes", "1048588")]);
    let clap = |event_id: &str| record(&world, EventKind::Reaction, member, event_id, &json!({}));
    let partition = Some((route::partition(member.to_string().as_bytes(), PARTITIONS) + 1) % PARTITIONS);
    let mut stray = Record { key: Some(b"somebody".to_vec()), ..clap("large") };
    stray.headers.push(("trace".to_owned(), Some(b"1".to_vec())));
    stray.headers.push(("blob".to_owned(), Some(noise(2_000_000))));
    let small = Record { partition, ..clap("small") };
    let places = harness::write(&client, &[small, stray.clone(), clap("right")]);
    world.settle();
    claps_become(&world, 2.0);

    let letters = world.dead_letters();
    let [letter] = letters.as_slice() else { panic!("{} letters", letters.len()) };
    let value = stray.value.as_deref().expect("it has a value");
    assert_eq!((letter.reason.as_str(), letter.cut.as_ref()), (RECORD_TOO_LARGE, Some(&Cut::of(value))));
    assert_eq!((letter.topic.as_str(), (letter.partition, letter.offset)), (stray.topic.as_str(), places[1]));
    assert_eq!(letter.headers, stray.headers[..1], "what fits");
    let metrics = rollbook.metrics();
    let counted = |outcome| metric(&metrics, "rollbook_records_total", &["topic=\"reactions\"", outcome]);
    assert_eq!([counted("\"refused\""), counted("\"rerouted\""), counted("\"changed\"")], [1, 1, 1]);

    harness::alter(&client, resolved, &[("max.message.bytes", "4194304")]);
    let (code, stdout, stderr) = world.tool(&["dead-letters", "redrive", "--reason", RECORD_TOO_LARGE]);
    assert_eq!((code, stdout.trim()), (0, "sent 1"), "{stderr}");
    claps_become(&world, 3.0);
}

#[test]
fn a_record_that_unpacks_to_more_than_a_letter_holds_is_kept_by_its_beginning_and_position() {
    let world = World::new("unpacks");
    let rollbook = world.start("one").ready();
    let member = member(&world);
    let mut client = world.client();
    client.set("compression.type", "zstd").set("message.max.bytes", "100000000");
    let large = Record::new(world.topic(EventKind::View), member.to_string(), vec![b'x'; 20_000_000]);
    let clap = record(&world, EventKind::Reaction, member, "clap", &json!({}));
    let places = harness::write(&client, &[large, clap]);
    claps_become(&world, 1.0);
    let letters = world.dead_letters_become(1);
    let cut = letters[0].cut.as_ref().expect("it is cut");
    assert_eq!((cut.value_bytes, letters[0].value.as_ref().map(Vec::len)), (20_000_000, Some(65_536)));
    assert_eq!((letters[0].partition, letters[0].offset), places[0]);

    // The whole of it is sent again, and refused again.
    let redrive = || world.tool(&["dead-letters", "redrive", "--reason", "value_too_large"]);
    assert_eq!(redrive().0, 0);
    let letters = world.dead_letters_become(2);
    assert_eq!(letters.iter().filter_map(|letter| letter.cut.as_ref()).collect::<Vec<_>>(), [cut, cut]);
    for letter in &letters {
        harness::delete_below(&client, &letter.topic, letter.partition, letter.offset + 1);
    }
    let (code, stdout, stderr) = redrive();
    assert_eq!(code, 3, "{stderr}");
    assert!(stdout.contains("its topic no longer has the record"), "{stdout}");
    drop(rollbook);
}

/// 105 MB in one batch, which is a few kilobytes on the wire.
const EVENTS: usize = 700;

fn write_batch(world: &World) {
    let member = member(world);
    let mut client = world.client();
    client.set("compression.type", "zstd").set("message.max.bytes", "200000000");
    // All of them in one batch.
    client.set("batch.size", "200000000").set("linger.ms", "60000");
    let padding = "x".repeat(150_000);
    let clap =
        |number| record(world, EventKind::Reaction, member, &format!("{number}"), &json!({ "padding": padding }));
    let claps: Vec<Record> = (0..EVENTS).map(clap).collect();
    harness::write(&client, &claps);
}

#[test]
fn a_batch_of_a_megabyte_that_unpacks_to_a_hundred_is_read() {
    let world = World::new("batch");
    let _rollbook = world.start("one").ready();
    write_batch(&world);
    claps_become(&world, 700.0);
}

#[test]
fn a_batch_that_cannot_be_unpacked_is_waited_for_visibly() {
    // As librdkafka has it by itself: too little for this batch.
    let properties = vec![("receive.message.max.bytes", "100000000".to_owned())];
    let kafka = Connection { bootstrap: harness::kafka().bootstrap().to_owned(), properties };
    let world = World::with("stalled", kafka, "");
    let rollbook = world.start("one").ready();
    write_batch(&world);
    harness::until("the partition to be seen standing still", WITHIN, || {
        match metric(&rollbook.metrics(), "rollbook_consumer_stalled", &["topic=\"reactions\""]) {
            0 => Err(rollbook.process.log_tail()),
            _ => Ok(()),
        }
    });
    assert_eq!(metric(&rollbook.metrics(), "rollbook_consumer_stalled", &[]), 1, "the others are well");
    harness::until("it to be waited for", WITHIN, || {
        match metric(&rollbook.metrics(), "rollbook_waiting", &["dependency=\"kafka\""]) {
            0 => Err("nothing is waited for".to_owned()),
            _ => Ok(()),
        }
    });
}
