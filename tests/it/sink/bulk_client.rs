//! The client's bulk jobs against the emulator: their lives, their results, and what may go wrong on the way. The
//! emulator's worker is held and stepped on order where a test looks at what lies between.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::{get, post};
use proptest::strategy::{Strategy, ValueTree};
use rollbook::disposition::{Disposition, Wait};
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Fault, FaultAction, Options};
use rollbook::id::SalesforceId;
use rollbook::salesforce::bulk::{JobInfo, JobRow, JobState, ResultKind, RowEnd, fits_bulk, sheet};
use rollbook::salesforce::wire::Record;
use rollbook::salesforce::{ApiUsage, Client, Error};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{config, config_for};

const OBJECT: &str = "UserSessionEngagement__c";
const EXTERNAL_ID: &str = "external_id__c";

struct Org {
    emulator: Emulator,
    control_token: SecretString,
    client: Client,
}

impl Org {
    /// Its jobs stand still until they are stepped.
    async fn held() -> Self {
        let options = Options::new(Schema::load_embedded());
        let control_token = options.control_token.clone();
        let emulator = Emulator::start(options).await.expect("a free port");
        let config = config_for(&emulator, "localhost:1");
        let client = Client::new(config.require_salesforce().expect("it has the section")).expect("good settings");
        let org = Self { emulator, control_token, client };
        org.control("PUT", "bulk/hold", Value::Null).await;
        org
    }

    async fn control(&self, method: &str, path: &str, body: Value) {
        super::control(&self.emulator, &self.control_token, (method, path), body).await;
    }

    async fn steps(&self, count: usize) {
        for _ in 0..count {
            self.control("POST", "bulk/step", Value::Null).await;
        }
    }

    /// A job that has its rows and waits for its first step.
    async fn closed(&self, rows: impl Iterator<Item = Record> + Clone) -> SalesforceId {
        let job = self.client.create_job(OBJECT, EXTERNAL_ID).await.expect("a job");
        self.client.upload_job(job, sheet(|| rows.clone())).await.expect("an upload");
        self.client.close_job(job).await.expect("closed");
        job
    }

    async fn info(&self, job: SalesforceId) -> JobInfo {
        self.client.job(job).await.expect("a job")
    }

    async fn results(&self, job: SalesforceId, kind: ResultKind) -> BTreeMap<String, RowEnd> {
        let rows = self.client.job_results(job, EXTERNAL_ID, kind).await.expect("results");
        rows.into_iter().map(|JobRow { external_id, result }| (external_id, result)).collect()
    }

    /// Numbers of saved, refused and unprocessed rows.
    async fn counts(&self, job: SalesforceId) -> [usize; 3] {
        let mut counts = [0; 3];
        let kinds = [ResultKind::Successful, ResultKind::Failed, ResultKind::Unprocessed];
        for (count, kind) in counts.iter_mut().zip(kinds) {
            *count = self.results(job, kind).await.len();
        }
        counts
    }

    /// A field of every record, by external id.
    fn values(&self, field: &str) -> BTreeMap<String, Value> {
        let records = self.emulator.with_org(|org| org.dump(OBJECT)).expect("an object");
        let value = |record: Record| (record["external_id__c"].as_str().unwrap().to_owned(), record[field].clone());
        records.into_iter().map(value).collect()
    }
}

fn row(external_id: &str, field: &str, value: impl Into<Value>) -> Record {
    Record::from_iter([("external_id__c".to_owned(), external_id.into()), (field.to_owned(), value.into())])
}

fn rows(count: usize) -> impl Iterator<Item = Record> + Clone {
    (0..count).map(|number| row(&format!("k{number}"), "plays__c", number))
}

/// Status and code of a refusal.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String, Disposition) {
    let error = result.expect_err("a refusal");
    let Error::Refused { status, code, disposition, .. } = error else { panic!("{error:?}") };
    (status, code, disposition)
}

#[tokio::test]
async fn a_job_is_followed_from_its_opening_to_the_end_of_each_row() {
    let org = Org::held().await;
    let known = json!({ "external_id__c": "b", "plays__c": 7, "entry_name__c": "old", "user__c": "old" });
    let known = org.emulator.with_org(|org| org.put(OBJECT, known)).expect("a record");
    let job = org.client.create_job(OBJECT, EXTERNAL_ID).await.expect("a job");
    let state = |state| JobInfo { state, processed: 0, failed: 0, error: None };
    assert_eq!(org.info(job).await, state(JobState::Open));
    let long = "x".repeat(300);
    let mut known_row = row("b", "plays__c", 2);
    known_row.insert("entry_name__c".into(), Value::Null);
    let rows = [row("a", "plays__c", 1), known_row, row("c", "email__c", "none"), row("d", "user__c", long.as_str())];
    org.client.upload_job(job, sheet(|| rows.iter().cloned())).await.expect("an upload");
    org.client.close_job(job).await.expect("closed");
    assert_eq!(org.info(job).await, state(JobState::UploadComplete));
    org.steps(1).await;
    assert_eq!(org.info(job).await, state(JobState::InProgress));
    org.steps(1).await;
    assert_eq!(org.info(job).await, JobInfo { processed: 4, failed: 2, ..state(JobState::JobComplete) });

    let saved = org.results(job, ResultKind::Successful).await;
    let [(a, RowEnd::Saved { id: Some(_), created: true }), (b, RowEnd::Saved { id: Some(id), created: false })] =
        saved.iter().collect::<Vec<_>>()[..]
    else {
        panic!("{saved:?}");
    };
    assert_eq!((a.as_str(), b.as_str(), id), ("a", "b", &known.to_string()));
    let failed = org.results(job, ResultKind::Failed).await;
    let [(c, RowEnd::Refused(email)), (d, RowEnd::Refused(long))] = failed.iter().collect::<Vec<_>>()[..] else {
        panic!("{failed:?}");
    };
    assert_eq!(
        (c.as_str(), email.code.as_str(), &email.fields[..]),
        ("c", "INVALID_EMAIL_ADDRESS", &["email__c".into()][..])
    );
    assert_eq!((d.as_str(), long.code.as_str(), &long.fields[..]), ("d", "STRING_TOO_LONG", &["user__c".into()][..]));
    assert!(!email.message.is_empty() && !email.message.contains("--"), "{}", email.message);
    assert_eq!(org.results(job, ResultKind::Unprocessed).await.len(), 0);

    assert_eq!(org.values("plays__c"), BTreeMap::from([("a".into(), json!(1.0)), ("b".into(), json!(2.0))]));
    assert_eq!(org.values("entry_name__c")["b"], Value::Null, "null empties a field");
    assert_eq!(org.values("user__c")["b"], "old", "what a row does not name stays");
    let used = i64::try_from(org.emulator.api_calls()).unwrap();
    assert_eq!((org.client.api_usage(), used), (Some(ApiUsage { used, limit: 15_000 }), 10), "every call was counted");
}

#[tokio::test]
async fn an_aborted_or_failed_job_tells_the_rows_that_it_never_tried() {
    let org = Org::held().await;
    let job = org.closed(rows(250)).await;
    org.steps(2).await;
    org.client.abort_job(job).await.expect("aborted");
    let info = org.info(job).await;
    assert_eq!(info, JobInfo { state: JobState::Aborted, processed: 200, failed: 0, error: None });
    assert_eq!(org.counts(job).await, [200, 0, 50]);

    let message = "InternalServerError : of row a@example.com";
    org.control("POST", "bulk/fail", json!({ "after_chunks": 1, "message": message })).await;
    let job = org.closed(rows(250)).await;
    org.steps(3).await;
    let error = Some("InternalServerError".to_owned());
    assert_eq!(org.info(job).await, JobInfo { state: JobState::Failed, processed: 200, failed: 0, error });
    assert_eq!(org.counts(job).await, [200, 0, 50]);

    let job = org.closed(rows(3).chain([row("x", "Nope__c", 1)])).await;
    org.steps(1).await;
    let error = Some("InvalidBatch".to_owned());
    assert_eq!(org.info(job).await, JobInfo { state: JobState::Failed, processed: 0, failed: 0, error });
    assert_eq!(org.counts(job).await, [0, 0, 4]);
}

#[tokio::test]
async fn a_job_that_is_gone_is_not_found() {
    let org = Org::held().await;
    let job = org.closed(rows(1)).await;
    org.steps(2).await;
    org.control("POST", "bulk/expire", Value::Null).await;
    let gone = (404, "NOT_FOUND");
    let (status, code, _) = refused(org.client.job(job).await);
    assert_eq!((status, code.as_str()), gone);
    let (status, code, _) = refused(org.client.job_results(job, EXTERNAL_ID, ResultKind::Successful).await);
    assert_eq!((status, code.as_str()), gone);
    let (status, code, _) = refused(org.client.abort_job(job).await);
    assert_eq!((status, code.as_str()), gone);
}

#[tokio::test]
async fn what_a_job_does_not_allow_is_refused_and_holds_up_nothing_else() {
    let org = Org::held().await;
    let wrong = (400, "INVALIDJOBSTATE".to_owned(), Disposition::Isolate);
    let job = org.client.create_job(OBJECT, EXTERNAL_ID).await.expect("a job");
    org.client.upload_job(job, sheet(|| rows(1))).await.expect("an upload");
    assert_eq!(refused(org.client.upload_job(job, sheet(|| rows(1))).await), wrong, "a second upload");
    org.client.close_job(job).await.expect("closed");
    assert_eq!(refused(org.client.upload_job(job, sheet(|| rows(1))).await), wrong, "an upload to a closed job");
    assert_eq!(refused(org.client.close_job(job).await), wrong, "closed twice");
    assert_eq!(
        refused(org.client.job_results(job, EXTERNAL_ID, ResultKind::Failed).await),
        wrong,
        "results of a job under way"
    );
    org.steps(2).await;
    assert_eq!(refused(org.client.abort_job(job).await), wrong, "an end of what has ended");

    let unknown = (400, "INVALIDJOB".to_owned(), Disposition::Isolate);
    assert_eq!(refused(org.client.create_job("Nope__c", EXTERNAL_ID).await), unknown);
    org.control("PUT", "limits/DailyBulkApiBatches/1", Value::Null).await;
    let exceeded = (400, "EXCEEDEDQUOTA".to_owned(), Disposition::Isolate);
    assert_eq!(refused(org.client.create_job(OBJECT, EXTERNAL_ID).await), exceeded);
    let off = FaultAction::refuse(403, "FEATURENOTENABLED", "Async API not enabled");
    org.emulator.add_fault(Fault::next("jobs/ingest", off));
    assert_eq!(refused(org.client.create_job(OBJECT, EXTERNAL_ID).await).2, Disposition::Isolate);
    let disabled = FaultAction::refuse(403, "API_DISABLED_FOR_ORG", "no");
    org.emulator.add_fault(Fault::next("jobs/ingest", disabled));
    assert_eq!(refused(org.client.create_job(OBJECT, EXTERNAL_ID).await).2, Disposition::Wait(Wait::Login));
}

#[tokio::test]
async fn a_session_that_expires_in_the_middle_is_renewed_for_every_call() {
    let org = Org::held().await;
    let expire = || org.emulator.expire_tokens();
    let job = org.client.create_job(OBJECT, EXTERNAL_ID).await.expect("a job");
    expire();
    org.client.upload_job(job, sheet(|| rows(3))).await.expect("the rows are sent again");
    expire();
    org.client.close_job(job).await.expect("closed");
    expire();
    assert_eq!(org.info(job).await.state, JobState::UploadComplete);
    org.steps(2).await;
    expire();
    assert_eq!(org.results(job, ResultKind::Successful).await.len(), 3);
    assert_eq!(org.values("plays__c").len(), 3);
}

#[tokio::test]
async fn a_page_in_place_of_an_answer_is_none() {
    let org = Org::held().await;
    let job = org.client.create_job(OBJECT, EXTERNAL_ID).await.expect("a job");
    let page = || {
        let body = "<html>please log in</html>".to_owned();
        org.emulator.add_fault(Fault::next("jobs/ingest", FaultAction::Answer { status: 200, body }));
    };
    let outage =
        |error: Error| assert_eq!((error.code(), error.disposition()), ("body", Disposition::Wait(Wait::Outage)));
    page();
    outage(org.client.create_job(OBJECT, EXTERNAL_ID).await.expect_err("a page"));
    page();
    outage(org.client.upload_job(job, sheet(|| rows(1))).await.expect_err("a page"));
    page();
    outage(org.client.close_job(job).await.expect_err("a page"));
    page();
    outage(org.client.job(job).await.expect_err("a page"));
    for kind in [ResultKind::Successful, ResultKind::Failed, ResultKind::Unprocessed] {
        page();
        outage(org.client.job_results(job, EXTERNAL_ID, kind).await.expect_err("a page"));
    }
    assert_eq!(org.info(job).await.state, JobState::Open, "nothing of it has reached the org");
}

#[tokio::test]
async fn an_upload_may_take_longer_than_other_requests() {
    let org = Org::held().await;
    let mut config = config_for(&org.emulator, "localhost:1");
    let salesforce = config.salesforce.as_mut().expect("it has the section");
    salesforce.request_timeout = Duration::from_secs(2);
    let client = Client::new(salesforce).expect("good settings");
    let job = client.create_job(OBJECT, EXTERNAL_ID).await.expect("a job");
    let slow = |path| Fault::next(path, FaultAction::Proceed).delayed(Duration::from_millis(2_500));
    org.emulator.add_fault(slow("batches"));
    client.upload_job(job, sheet(|| rows(1))).await.expect("an upload");
    org.emulator.add_fault(slow("jobs/ingest"));
    assert_eq!(client.job(job).await.expect_err("a timeout").code(), "transport");
}

/// Whatever fits arrives: read by the org itself, not by the library that wrote it.
#[tokio::test]
async fn texts_that_fit_arrive_as_they_are() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let texts = proptest::collection::vec("(\\PC|[\"#N/A,\n \t'\\\\\u{feff}]){0,60}", 400);
    let texts = texts.new_tree(&mut runner).expect("texts").current();
    // An org trims what it stores, and takes blanks for nothing.
    let texts = texts.into_iter().map(|text| text.trim().to_owned()).filter(|text| fits_bulk(text));
    let expected: BTreeMap<String, Value> =
        texts.enumerate().map(|(number, text)| (format!("k{number}"), text.into())).collect();
    assert!(expected.len() > 200, "enough of {} fit", expected.len());
    let org = Org::held().await;
    let job = org.closed(expected.iter().map(|(key, text)| row(key, "user__c", text.clone()))).await;
    org.steps(1 + expected.len().div_ceil(200)).await;
    let info = org.info(job).await;
    assert_eq!(
        (info.state, info.failed),
        (JobState::JobComplete, 0),
        "{:?}",
        org.results(job, ResultKind::Failed).await
    );
    assert_eq!(org.values("user__c"), expected);
}

#[tokio::test]
async fn results_are_read_to_their_last_page() {
    async fn page(Query(query): Query<BTreeMap<String, String>>) -> ([(&'static str, &'static str); 1], String) {
        let (key, next) = match query.get("locator").map(String::as_str) {
            None => ("a", "M T+1="),
            Some("M T+1=") => ("b", "null"),
            Some(other) => panic!("{other}"),
        };
        (
            [("sforce-locator", next)],
            format!("\"sf__Id\",\"sf__Error\",\"external_id__c\"\n\"\",\"X_Y:no:--\",\"{key}\"\n"),
        )
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("an address"));
    let token = axum::Json(json!({ "access_token": "token", "instance_url": base_url }));
    let router = Router::new()
        .route("/services/oauth2/token", post(async || token))
        .route("/services/data/v62.0/jobs/ingest/750000000000001AAA/failedResults", get(page));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let config = config("localhost:1", &base_url, "id", "secret");
    let client = Client::new(config.require_salesforce().expect("it has the section")).expect("good settings");
    let job = SalesforceId::parse("750000000000001").expect("an id");
    let rows = client.job_results(job, EXTERNAL_ID, ResultKind::Failed).await.expect("two pages");
    assert_eq!(rows.iter().map(|row| row.external_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    server.abort();
}
