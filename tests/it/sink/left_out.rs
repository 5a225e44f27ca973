//! Rows of which the org does not take every value: they are written without it, whichever way they go.

use rollbook::dead_letter::Stage;
use rollbook::outcome::{LeftOut, OutcomeKind};
use rollbook::upsert::{Object, Value};

use super::stream::{Stream, dependant, member_row, members_of, rows};

const BAD: &str = "ann@example,org";

fn refused_address() -> Vec<LeftOut> {
    vec![LeftOut { field: "email__c".to_owned(), code: "INVALID_EMAIL_ADDRESS".to_owned() }]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_org_refuses_costs_no_row_its_numbers() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 3);
    let sink = stream.run();
    let with_address = |object, member, address: &str| {
        let mut upsert = dependant(object, member, "email__c", Value::Text(address.to_owned()));
        if object == Object::ENGAGEMENT {
            upsert.row.fields.push(("clap_clicked_count__c", Value::Integer(7)));
        }
        upsert
    };
    // With their members in one call.
    let mut upserts = vec![member_row(members[0], "Registered"), member_row(members[1], "Registered")];
    upserts.push(with_address(Object::ENGAGEMENT, members[0], BAD));
    upserts.push(with_address(Object::POLLS, members[0], BAD));
    upserts.extend(rows(members[1], 3).into_iter().skip(1));
    stream.send(&upserts);
    stream.read_outcomes(6);
    // Alone.
    stream.send(&[member_row(members[2], "Registered")]);
    stream.read_outcomes(7);
    stream.send(&[with_address(Object::ENGAGEMENT, members[2], BAD)]);
    stream.read_outcomes(8);
    let without = |stream: &Stream| stream.outcomes.iter().filter(|it| it.left_out == refused_address()).count();
    assert_eq!(without(&stream), 3);
    assert!(stream.dead_letters.is_empty());
    assert_eq!(stream.outcomes_of(OutcomeKind::Created), 8);
    for member in [members[0], members[2]] {
        let row = &stream.held("UserSessionEngagement__c")[&format!("{member}_1_abc")];
        assert_eq!((row["clap_clicked_count__c"].as_f64(), row["email__c"].is_null()), (Some(7.0), true));
    }
    let labels = ["UserSessionEngagement__c", "email__c", "INVALID_EMAIL_ADDRESS"];
    assert_eq!(stream.metrics.fields_left_out.with_label_values(&labels).get(), 2);

    // Another value is tried.
    stream.send(&[with_address(Object::ENGAGEMENT, members[2], "ann@example.org")]);
    stream.read_outcomes(9);
    let row = &stream.held("UserSessionEngagement__c")[&format!("{}_1_abc", members[2])];
    assert_eq!(row["email__c"], "ann@example.org");
    assert!(stream.outcomes.last().is_some_and(|outcome| outcome.left_out.is_empty()));
    let of_sink = format!("stage=\"{}\"", Stage::Sink.name());
    let metrics = sink.process.render();
    let letters = |line: &&str| line.starts_with("rollbook_dead_letters_total") && line.contains(&of_sink);
    assert_eq!(metrics.lines().find(letters), None, "nothing was refused");
    sink.stop().await;
}
