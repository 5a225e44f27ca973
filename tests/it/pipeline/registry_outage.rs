//! A registry that goes away and comes back: whoever looks sees it, one thread's recovery hides nobody else's waiting, and
//! nothing is lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use apache_avro::types::Value as Avro;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rollbook::avro;
use rollbook::event::EventKind;
use rollbook::id::MemberKey;
use rollbook::route;
use serde_json::json;

use super::payload::payload;
use super::world::{Connection, WITHIN, World, metric};
use crate::harness::{self, PARTITIONS, Record, Rollbook};

/// Ids that are answered; it is away for all others.
type Answered = Arc<Mutex<BTreeSet<u32>>>;

async fn schema(State(answered): State<Answered>, Path(id): Path<u32>) -> Response {
    if answered.lock().expect("nobody panics").contains(&id) {
        json!({ "schema": avro::REACTION.text }).to_string().into_response()
    } else {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}

/// The URL of a registry that ends with the tests.
fn serve(answered: &Answered) -> String {
    let app = Router::new().route("/schemas/ids/{id}", axum::routing::get(schema)).with_state(Arc::clone(answered));
    let address = harness::http::block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    });
    format!("http://{address}")
}

/// A clap in the registry's wire format, of a schema id that is the member's own.
fn clap(world: &World, id: u32, member: MemberKey, number: usize) -> Record {
    let event = payload(EventKind::Reaction, member, &format!("{id}-{number}"), &json!({}));
    let value = Avro::from(event).resolve(&avro::REACTION.schema).expect("it has the fields of its schema");
    let body = apache_avro::to_avro_datum(&avro::REACTION.schema, value).expect("a resolved value is written");
    let value = [&[0], id.to_be_bytes().as_slice(), &body].concat();
    Record::new(world.topic(EventKind::Reaction), member.to_string(), value)
}

/// A member of each partition.
fn members(world: &World) -> [MemberKey; 2] {
    let campaign = world.campaign("Launch");
    let mut people = (0..).map(|number| MemberKey { campaign, person: world.lead(&format!("lead-{number}")) });
    let mut of = |partition| {
        people
            .find(|member| route::partition(&member.bytes(), PARTITIONS) == partition)
            .expect("there is no end of them")
    };
    [of(0), of(1)]
}

#[track_caller]
fn waits(rollbook: &Rollbook, threads: u64) {
    harness::until(&format!("{threads} threads to wait for the registry"), WITHIN, || {
        let waiting = metric(&rollbook.metrics(), "rollbook_waiting", &["dependency=\"registry\""]);
        let ready = rollbook.get("/readyz")?;
        let told = ready.body.contains("the schema registry is waited for");
        let right = waiting == threads && (ready.status == 200, told) == (threads == 0, threads > 0);
        if right { Ok(()) } else { Err(format!("{waiting} {ready:?}\n{}", rollbook.process.log_tail())) }
    });
    let metrics = rollbook.metrics();
    assert_eq!(metric(&metrics, "rollbook_ready", &[]), u64::from(threads == 0));
    let status = rollbook.get("/status").expect("it answers").body;
    assert_eq!(status.contains("\"registry\""), threads > 0, "{status}");
}

fn lines(rollbook: &Rollbook, text: &str) -> usize {
    rollbook.process.log().lines().filter(|line| line.contains(text)).count()
}

#[track_caller]
fn claps(world: &World, expected: &[f64]) {
    world.settle();
    harness::until(&format!("rows of {expected:?} claps"), WITHIN, || {
        let rows = world.rows();
        let rows = rows.iter().filter(|((object, _), _)| object == "UserSessionEngagement__c");
        let mut found: Vec<f64> = rows.filter_map(|(_, row)| row.get("clap_clicked_count__c")?.as_f64()).collect();
        found.sort_by(f64::total_cmp);
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

#[test]
fn an_outage_of_the_registry_is_seen_as_long_as_it_lasts_for_any_thread() {
    let answered = Answered::default();
    let answer = |id: u32| answered.lock().expect("nobody panics").insert(id);
    let kafka = Connection { bootstrap: harness::kafka().bootstrap().to_owned(), properties: Vec::new() };
    let mut world = World::with("registry-away", kafka, &format!("[registry]\nurl = \"{}\"\n", serve(&answered)));
    world.fold = "threads = 2\n";
    let [one, two] = members(&world);
    let rollbook = world.start("one").ready();

    harness::write(&world.client(), &[clap(&world, 1, one, 0), clap(&world, 2, two, 0)]);
    waits(&rollbook, 2);
    let backlog: Vec<Record> = (1..=200).map(|number| clap(&world, 1, one, number)).collect();
    harness::write(&world.client(), &backlog);
    let metrics = rollbook.metrics();
    assert_eq!(
        metric(&metrics, "rollbook_consumer_lag_known", &["topic=\"reactions\""]),
        0,
        "nobody says that all is read"
    );
    assert!(!metrics.contains("rollbook_consumer_lag_records{partition=\"0\",topic=\"reactions\"}"), "{metrics}");
    assert_eq!(lines(&rollbook, "the schema registry is waited for"), 1, "{}", rollbook.process.log());

    answer(1);
    waits(&rollbook, 1);
    assert_eq!(lines(&rollbook, "the schema registry answers again"), 0, "for one of two threads it is still away");
    answer(2);
    waits(&rollbook, 0);
    claps(&world, &[1.0, 201.0]);
    harness::until("all lags to be known again, and nothing to be left", WITHIN, || {
        let metrics = rollbook.metrics();
        let of = |name: &str| metric(&metrics, name, &["topic=\"reactions\""]);
        match (of("rollbook_consumer_lag_known"), of("rollbook_consumer_lag_records")) {
            (2, 0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(lines(&rollbook, "the schema registry answers again"), 1);

    // The next outage is news, however soon it comes.
    harness::write(&world.client(), &[clap(&world, 3, two, 0)]);
    waits(&rollbook, 1);
    harness::until("the log to say so at once", WITHIN, || {
        match lines(&rollbook, "the schema registry is waited for") {
            2 => Ok(()),
            lines => Err(format!("{lines} lines")),
        }
    });
    answer(3);
    claps(&world, &[2.0, 201.0]);
    waits(&rollbook, 0);
}
