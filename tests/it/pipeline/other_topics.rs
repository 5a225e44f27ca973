//! Topics that are others by now: an instance that comes back to read another input, a catalogue that was made anew.

use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use serde_json::json;

use super::payload::record;
use super::positions::{claps_become, stop};
use super::world::{WITHIN, World, metric};
use crate::harness::{self, PARTITIONS, Record};

/// The group gives a static member that comes back what it had, whatever it wants to read by now.
#[test]
fn an_instance_that_comes_back_at_once_with_another_input_reads_it() {
    let mut world = World::new("other-input");
    let member = MemberKey { campaign: world.campaign("Day"), person: world.lead("ann") };
    let clap = |world: &World, id| record(world, EventKind::Reaction, member, id, &json!({}));
    let client = world.client();
    let rollbook = world.start("one").ready();
    harness::write(&client, &[clap(&world, "first")]);
    claps_become(&world, 1.0);
    stop(rollbook);
    world.names.topics.reactions += "-2";
    harness::create(&client, &[&world.names.topics.reactions], PARTITIONS, &[]);
    harness::write(&client, &[clap(&world, "second")]);
    let _rollbook = world.start("one").ready();
    claps_become(&world, 2.0);
}

#[test]
fn a_catalogue_that_was_made_anew_is_written_again_by_who_knows_it() {
    let world = World::new("remade-catalogue");
    let (client, catalogue) = (world.client(), world.names.topics.catalogue.clone());
    let campaign = world.campaign("Launch");
    let statement = |entry: &str| {
        let told = json!({
            "event_id": entry, "source": "cms", "updated_at": 1_700_000_000_000_i64, "campaign_id": campaign.as_str(),
            "entry_id": entry, "name": "Keynote",
        });
        Record::new(&world.names.topics.sessions, format!("{campaign}_{entry}"), told.to_string())
    };
    harness::write(&client, &[statement("0_one"), statement("0_two")]);
    let rollbook = world.start("one").ready();
    let known = |count: u64| {
        harness::until("the statements to be known", WITHIN, || {
            match metric(&rollbook.metrics(), "rollbook_catalogue_sessions", &[]) {
                found if found == count => Ok(()),
                other => Err(format!("{other}")),
            }
        });
    };
    known(2);
    harness::until("the statements to be written", WITHIN, || {
        if harness::read(&client, &catalogue).len() == 2 { Ok(()) } else { Err("not written".to_owned()) }
    });
    harness::remake(&client, &catalogue, PARTITIONS, &[("cleanup.policy", "compact")]);
    harness::until("the statements to be written again", WITHIN, || match harness::read(&client, &catalogue).len() {
        2.. => Ok(()),
        other => Err(format!("{other}: {}", rollbook.process.log_tail())),
    });
    stop(rollbook);
    let rollbook = world.start("two").ready();
    harness::until("the statements to be read", WITHIN, || {
        match metric(&rollbook.metrics(), "rollbook_catalogue_sessions", &[]) {
            2 => Ok(()),
            other => Err(format!("{other}")),
        }
    });
}
