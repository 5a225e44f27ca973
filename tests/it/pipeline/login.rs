//! The login of a whole process: what an end in the middle of it leaves behind.

use std::fs;
use std::time::Duration;

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Fault, FaultAction, Options};

use super::world::{Connection, WITHIN, World};
use crate::harness::{self, Gate, Tap};

const TOKEN: &str = "/oauth2/token";

#[test]
fn a_shutdown_waits_for_the_login_that_uses_up_a_refresh_token() {
    let kafka = Connection { bootstrap: harness::kafka().bootstrap().to_owned(), properties: Vec::new() };
    let mut options = Options::new(Schema::load_embedded());
    options.credentials.refresh_token = Some("first".into());
    options.credentials.rotate_refresh_tokens = true;
    let mut world = World::on("login", kafka, "", options);
    let tap = Tap::before(world.org.address());
    world.salesforce = Gate::open_to(tap.address);
    let file = harness::folder().join(format!("{}-token", world.names.prefix));
    fs::write(&file, "first").expect("the target folder is writable");
    let path = file.display().to_string();
    world.auth = Some(format!("flow = \"refresh_token\"\nclient_id = \"rollbook\"\nrefresh_token_file = {path:?}"));

    // Long enough for a process that does not wait to be gone.
    let slowly = FaultAction::Proceed;
    world.org.add_fault(Fault::next(TOKEN, slowly).delayed(Duration::from_secs(3)));
    let mut rollbook = world.start("one");
    harness::until("the login to be under way", WITHIN, || {
        let asked = tap.urls().iter().any(|url| url.ends_with(TOKEN));
        if asked { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
    rollbook.process.signal("TERM");
    assert!(rollbook.process.wait(WITHIN).expect("it ends").success(), "{}", rollbook.process.log_tail());
    assert_ne!(fs::read_to_string(&file).expect("it is there"), "first", "the answer was not waited for");

    let _rollbook = world.start("one").ready();
}
