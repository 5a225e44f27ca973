//! Trouble on order, the control surface, and data that outlives the process.

use std::time::{Duration, Instant};

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Fault, FaultAction, FaultScript, LongRequests, Options};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Session, assert_refused};
use crate::harness;

const KEY: &str = "sobjects/UserSessionEngagement__c/external_id__c";

#[tokio::test]
async fn an_ordered_answer_comes_as_often_as_ordered() {
    let org = Session::start().await;
    let down = FaultAction::refuse(503, "SERVER_UNAVAILABLE", "maintenance");
    org.emulator.add_fault(Fault::next(KEY, down).times(2));
    for _ in 0..2 {
        assert_refused(&org.patch(&format!("{KEY}/a"), json!({})).await, 503, "SERVER_UNAVAILABLE", "maintenance");
    }
    assert_eq!(org.patch(&format!("{KEY}/a"), json!({})).await.0, 201);
}

#[tokio::test]
async fn a_cut_loses_the_answer_before_or_after_the_write() {
    let org = Session::start().await;
    let count = async || org.query("SELECT Id FROM UserSessionEngagement__c").await.len();
    for (action, rows) in [(FaultAction::CutBefore, 0), (FaultAction::CutAfter, 1)] {
        org.emulator.add_fault(Fault::next(KEY, action).method("PATCH"));
        let lost = org.send("PATCH", &format!("{KEY}/a"), Some(&json!({}))).await;
        assert!(lost.is_err(), "the connection is dropped without an answer");
        assert_eq!(count().await, rows);
    }
}

#[tokio::test]
async fn a_delay_holds_an_answer_up() {
    let org = Session::start().await;
    let delay = Duration::from_millis(50);
    org.emulator.add_fault(Fault::next("limits", FaultAction::Proceed).delayed(delay));
    let asked = Instant::now();
    assert_eq!(org.get("limits").await.0, 200);
    assert!(asked.elapsed() >= delay);
}

#[tokio::test]
async fn a_stopped_emulator_answers_nobody_and_can_come_back() {
    let options = Options::new(Schema::load_embedded());
    let org = Session::with(options.clone()).await;
    assert_eq!(org.get("limits").await.0, 200);
    let address = org.emulator.address();
    let url = org.url("limits");
    org.emulator.stop().await.expect("it ends well");
    assert!(org.http.get(&url).send().await.is_err());
    let _again = rollbook::emulator::Emulator::start_at(options, address).await.expect("the port is free again");
    assert_eq!(org.http.get(&url).send().await.expect("an answer").status(), 401);
}

#[tokio::test]
async fn the_daily_allocation_ends() {
    let org = Session::start().await;
    org.emulator.set_daily_api_requests(2);
    assert_eq!([org.get("limits").await.0, org.get("limits").await.0], [200, 200]);
    let refused = org.get("limits").await;
    assert_refused(&refused, 403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.");
}

#[tokio::test]
async fn requests_that_last_leave_no_room_for_others() {
    let mut options = Options::new(Schema::load_embedded());
    // Longer than a short request ever takes, however busy the machine is.
    options.long_requests = LongRequests { after: Duration::from_secs(1), max: 1 };
    let org = Session::with(options).await;
    let delay = Duration::from_secs(5);
    org.emulator.add_fault(Fault::next("sobjects", FaultAction::Proceed).delayed(delay));
    let long = org.spawn("GET", "sobjects", None);
    let refused = harness::until_async("the request to become a long one", delay, async || {
        let answer = org.get("limits").await;
        if answer.0 == 200 { Err("there is room".to_owned()) } else { Ok(answer) }
    })
    .await;
    let message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded.";
    assert_refused(&refused, 403, "REQUEST_LIMIT_EXCEEDED", message);
    assert_eq!(long.await.expect("no panic").0, 200, "who is in stays in");
    assert_eq!(org.get("limits").await.0, 200);
}

#[tokio::test]
async fn a_locked_campaign_refuses_its_members() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    org.emulator.with_org(|org| org.lock_record(&campaign));
    let path = "sobjects/CampaignMember/external_id__c/m";
    let body = json!({ "CampaignId": campaign, "LeadId": lead });
    let message = format!("unable to obtain exclusive access to this record or 1 records: {campaign}");
    assert_refused(&org.patch(path, body.clone()).await, 400, "UNABLE_TO_LOCK_ROW", &message);
    org.emulator.with_org(|org| org.unlock_record(&campaign));
    assert_eq!(org.patch(path, body).await.0, 201);
}

#[tokio::test]
async fn the_control_surface_wants_its_own_token() {
    let options = Options::new(Schema::load_embedded());
    let token = options.control_token.clone();
    let org = Session::with(options).await;
    let base = org.emulator.base_url();
    let fault = json!({ "path": "limits", "action": { "answer": { "status": 502, "body": "<h1>Bad</h1>" } } });
    let post = |token: &str| {
        let request = org.http.post(format!("{base}/emulator/faults")).header("x-emulator-token", token);
        request.json(&fault).send()
    };
    assert_eq!(post("guess").await.expect("an answer").status(), 403);
    assert_eq!(org.get("limits").await.0, 200);
    assert_eq!(post(token.expose_secret()).await.expect("an answer").status(), 204);
    assert_eq!(org.get("limits").await, (502, json!("<h1>Bad</h1>")));
    let metrics = org.http.get(format!("{base}/emulator/metrics")).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("a text");
    assert!(metrics.contains("emulator_calls_total{kind=\"limits\",status=\"200\"} 1"), "{metrics}");
    assert!(metrics.contains("emulator_calls_total{kind=\"limits\",status=\"502\"} 1"), "{metrics}");
}

#[tokio::test]
async fn the_control_surface_reads_rows_and_sets_trouble() {
    let options = Options::new(Schema::load_embedded());
    let token = options.control_token.clone();
    let org = Session::with(options).await;
    let campaign = org.campaign("Conference");
    let control = async |method: &str, path: String| {
        let method = method.parse().expect("an HTTP method");
        let request = org.http.request(method, format!("{}/emulator/{path}", org.emulator.base_url()));
        let request = request.header("x-emulator-token", token.expose_secret());
        super::answer(request.send().await.expect("an answer")).await.expect("JSON")
    };
    let (status, rows) = control("GET", "rows/Campaign".into()).await;
    assert_eq!((status, &rows[0]["Id"], &rows[0]["Name"]), (200, &json!(campaign), &json!("Conference")));
    let path = format!("sobjects/Campaign/{campaign}");
    assert_eq!(control("POST", format!("locks/{campaign}")).await.0, 204);
    assert_eq!(org.patch(&path, json!({ "IsActive": true })).await.1[0]["errorCode"], "UNABLE_TO_LOCK_ROW");
    assert_eq!(control("DELETE", format!("locks/{campaign}")).await.0, 204);
    assert_eq!(org.patch(&path, json!({ "IsActive": true })).await.0, 204);
    assert_eq!(control("PUT", "limits/DailyApiRequests/2".into()).await.0, 204);
    assert_eq!(org.get(&path).await.1[0]["errorCode"], "REQUEST_LIMIT_EXCEEDED");
    assert_eq!(control("POST", "tokens/expire".into()).await.0, 204);
    assert_eq!(org.get(&path).await.1[0]["errorCode"], "INVALID_SESSION_ID");
    assert_eq!(control("GET", "rows/Nothing__c".into()).await.0, 404);
}

#[tokio::test]
async fn a_script_sets_trouble_from_the_start_by_object_and_by_rate() {
    const CALLS: usize = 200;
    let mut options = Options::new(Schema::load_embedded());
    let script = r#"
        seed = 3
        [[fault]]
        object = "UserSessionEngagement__c"
        method = "PATCH"
        count = 2
        action = { answer = { status = 503, body = "[]" } }
        [[fault]]
        path = "limits"
        rate = 0.2
        action = { answer = { status = 500, body = "<html></html>" } }
    "#;
    options.faults = FaultScript::parse(script).expect("a good script");
    let rates = async || {
        let org = Session::with(options.clone()).await;
        let row = json!({ "attributes": { "type": "UserSessionEngagement__c" }, "external_id__c": "a" });
        let many = json!({ "records": [row] });
        let collection = "composite/sobjects/UserSessionEngagement__c/external_id__c";
        assert_eq!(org.get("sobjects/UserSessionEngagement__c").await.0, 200, "another method");
        assert_eq!(org.patch(&format!("{KEY}/a"), json!({})).await.0, 503);
        assert_eq!(org.patch(collection, many.clone()).await.0, 503);
        assert_eq!(org.patch(collection, many).await.0, 200, "both were ordered");
        let mut hit = Vec::new();
        for _ in 0..CALLS {
            hit.push(org.get("limits").await.0 == 500);
        }
        hit
    };
    let hit = rates().await;
    let count = hit.iter().filter(|hit| **hit).count();
    assert!((20..60).contains(&count), "{count} of {CALLS}");
    assert_eq!(hit, rates().await, "the same seed, the same trouble");
}

#[tokio::test]
async fn what_happened_is_counted() {
    let org = Session::start().await;
    let lead = org.lead("ann@example.com");
    let row = |key: &str, plays: Value| {
        let attributes = json!({ "type": "UserSessionEngagement__c" });
        json!({ "attributes": attributes, "external_id__c": key, "plays__c": plays, "Lead__c": lead })
    };
    let collection = "composite/sobjects/UserSessionEngagement__c/external_id__c";
    for rows in [
        json!([row("a", json!(1)), row("b", json!(1)), row("c", json!(1e30))]),
        json!([row("a", json!(2)), row("b", json!(1e30)), row("c", json!(1e30))]),
    ] {
        assert_eq!(org.patch(collection, json!({ "records": rows })).await.0, 200);
    }
    // None of these rows stays: nothing was changed.
    let body = json!({ "allOrNone": true, "records": [row("d", json!(1)), row("e", json!(1e30))] });
    assert_eq!(org.patch(collection, body).await.0, 200);
    assert_eq!(org.get("sobjects/Nope__c").await.0, 404);
    org.emulator.add_fault(Fault::next("limits", FaultAction::Proceed));
    assert_eq!(org.get("limits").await.0, 200);
    let url = format!("{}/emulator/metrics", org.emulator.base_url());
    let text = org.http.get(url).send().await.expect("an answer").text().await.expect("a text");
    for line in [
        r#"emulator_rows_total{object="UserSessionEngagement__c",outcome="created"} 2"#,
        r#"emulator_rows_total{object="UserSessionEngagement__c",outcome="updated"} 1"#,
        r#"emulator_rows_total{object="Lead",outcome="created"} 1"#,
        r#"emulator_refusals_total{code="NUMBER_OUTSIDE_VALID_RANGE"} 4"#,
        r#"emulator_refusals_total{code="NOT_FOUND"} 1"#,
        r#"emulator_calls_total{kind="collections_upsert",status="200"} 3"#,
        r#"emulator_faults_total{action="delay"} 1"#,
        "emulator_api_requests_total 5",
        "emulator_api_requests_limit 15000",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    crate::metrics::promtool_finds_nothing_to_say_about(&text);
}

#[tokio::test]
async fn data_survives_a_restart_and_a_torn_last_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(Schema::load_embedded());
    options.data = Some(folder.path().to_owned());
    let rows = "SELECT Id, external_id__c, plays__c, IsDeleted FROM UserSessionEngagement__c ORDER BY Id";

    let org = Session::with(options.clone()).await;
    for key in ["a", "b", "a"] {
        assert!(org.patch(&format!("{KEY}/{key}"), json!({ "plays__c": 1 })).await.0 < 300);
    }
    let before = org.query(rows).await;
    assert_eq!(before.len(), 2);
    org.emulator.stop().await.expect("an orderly end");
    // The second restart reads what the first one compacted.
    for _ in 0..2 {
        let org = Session::with(options.clone()).await;
        assert_eq!(org.query(rows).await, before);
        org.emulator.stop().await.expect("an orderly end");
    }

    let journal = folder.path().join("rows.jsonl");
    let mut text = std::fs::read_to_string(&journal).expect("the journal");
    text.push_str("{\"object\":\"UserSessionEngagement__c\",\"id\":\"a0");
    std::fs::write(&journal, &text).expect("the folder is writable");
    let org = Session::with(options.clone()).await;
    assert_eq!(org.query(rows).await, before);
    let (_, created) = org.patch(&format!("{KEY}/c"), json!({})).await;
    let id = created["id"].as_str().expect("an id");
    assert!(before.iter().all(|row| row["Id"] != id), "ids are not given twice");
    org.emulator.stop().await.expect("an orderly end");

    text.push_str("\n{}\n");
    std::fs::write(&journal, text).expect("the folder is writable");
    let broken = rollbook::emulator::Emulator::start(options).await;
    assert!(broken.is_err(), "damage in the middle is not skipped");
}

#[tokio::test]
async fn rows_are_neither_shared_with_another_process_nor_lost_to_another_schema() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(Schema::load_embedded());
    options.data = Some(folder.path().to_owned());
    let org = Session::with(options.clone()).await;
    assert_eq!(org.patch(&format!("{KEY}/a"), json!({ "plays__c": 1 })).await.0, 201);
    let why =
        async |options| Emulator::start(options).await.err().map(|error| format!("{:#}", anyhow::Error::from(error)));
    let second = why(options.clone()).await.expect("no second process on the same rows");
    assert!(second.contains("another process uses the data directory"), "{second}");
    org.emulator.stop().await.expect("an orderly end");

    let tree = tempfile::tempdir().expect("a folder");
    let fields = tree.path().join("objects/Lead/fields");
    std::fs::create_dir_all(&fields).expect("the folder is writable");
    let field = "<CustomField xmlns=\"http://soap.sforce.com/2006/04/metadata\"><fullName>extra__c</fullName>\
        <label>Extra</label><type>Text</type><length>10</length></CustomField>";
    std::fs::write(fields.join("extra__c.field-meta.xml"), field).expect("the folder is writable");
    let mut other = options.clone();
    other.schema = Schema::load_dir(tree.path()).expect("a schema without the custom objects");
    let refused = why(other).await.expect("no start that loses rows");
    assert!(refused.contains("is of `UserSessionEngagement__c`, which the schema does not have"), "{refused}");
    let org = Session::with(options).await;
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c").await.len(), 1, "nothing was lost");
}
