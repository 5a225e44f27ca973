//! A field that is hidden from the integration user while the sink runs.

use std::fs;
use std::path::Path;

use rollbook::emulator::schema::Schema;
use rollbook::upsert::{Object, Value};

use super::doctor::copy_folder;
use super::stream::{PATIENCE, Stream, assert_held, dependant, members_of, rows};
use crate::harness::until;

const FIELD: &str = "Kaltura_User_Polls__c.poll_10_answer__c";
const REASON: &str = "INVALID_FIELD Kaltura_User_Polls__c.poll_10_answer__c";

/// The shipped metadata, but for one field of the permission set.
fn without_the_field() -> Schema {
    let copy = tempfile::tempdir().expect("a folder");
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/salesforce"), copy.path());
    let sets = copy.path().join("force-app/main/default/permissionsets");
    let path = fs::read_dir(&sets).expect("a folder").flatten().next().expect("a permission set").path();
    let text = fs::read_to_string(&path).expect("a permission set");
    let at = text.find(FIELD).expect("the field is granted");
    let (start, end) = (text[..at].rfind("<fieldPermissions>"), text[at..].find("</fieldPermissions>"));
    let end = at + end.expect("an end") + "</fieldPermissions>".len();
    fs::write(&path, [&text[..start.expect("a start")], &text[end..]].concat()).expect("the set is written");
    Schema::load_dir(copy.path()).expect("a good tree")
}

fn adopt(stream: &Stream, schema: Schema) {
    stream.org.with_org(|org| org.adopt(schema, Vec::new())).expect("nothing on disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_field_holds_the_rows_of_its_object_alone_until_it_is_back() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 6);
    let sink = stream.run();
    adopt(&stream, without_the_field());
    for member in &members {
        let mut three = rows(*member, 3);
        three[2] = dependant(Object::POLLS, *member, "poll_1_answer__c", Value::Text("answer 3".to_owned()));
        three[2].row.fields.push(("poll_10_answer__c", Value::Text("ten".to_owned())));
        stream.send(&three);
    }
    // Members and engagements.
    stream.read_outcomes(12);
    assert!(stream.outcomes.iter().all(|outcome| outcome.object != "Kaltura_User_Polls__c"));
    tokio::task::block_in_place(|| {
        let held = || stream.metrics.held_by_reason.with_label_values(&[REASON]).get();
        until("the polls to be held", PATIENCE, || if held() == 6 { Ok(()) } else { Err(format!("{}", held())) });
    });
    assert!(!sink.has_ended(), "nothing of one object ends the process");
    assert!(sink.health.ready().0, "the others go on");

    adopt(&stream, Schema::load_embedded());
    stream.read_outcomes(18);
    tokio::task::block_in_place(|| {
        until("no row to be held", PATIENCE, || {
            let held = stream.metrics.held_by_reason.with_label_values(&[REASON]).get();
            if held == 0 { Ok(()) } else { Err(format!("{held}")) }
        });
    });
    assert_held(&stream, &members, 3);
    assert!(stream.dead_letters.is_empty());
    sink.stop().await;
}
