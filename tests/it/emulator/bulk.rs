//! Bulk ingest jobs: their states, their CSV, and what they leave behind. The worker is held and stepped on order where
//! a test looks at what lies between.

use std::time::Duration;

use rollbook::emulator::Options;
use rollbook::emulator::schema::Schema;
use serde_json::{Value, json};

use super::{Answer, Session, answer, assert_refused};
use crate::harness;

const WITHIN: Duration = Duration::from_secs(30);
pub(super) const KEY: &str = "external_id__c";

/// A table read back: rows by the names of their columns.
pub(super) type Rows = Vec<std::collections::BTreeMap<String, String>>;

impl Session {
    pub(super) async fn job(&self, body: Value) -> String {
        let (status, job) = self.post("jobs/ingest", body).await;
        assert_eq!((status, &job["state"]), (200, &json!("Open")), "{job}");
        job["id"].as_str().expect("an id").to_owned()
    }

    pub(super) async fn upsert_job(&self) -> String {
        let body = json!({ "object": "UserSessionEngagement__c", "operation": "upsert", "externalIdFieldName": KEY });
        self.job(body).await
    }

    pub(super) async fn upload(&self, job: &str, csv: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.put(self.url(&format!("jobs/ingest/{job}/batches"))).bearer_auth(&self.token);
        let sent = request.header("content-type", "text/csv; charset=UTF-8").body(csv).send().await;
        answer(sent.expect("an answer")).await.expect("a text")
    }

    pub(super) async fn close(&self, job: &str) -> Answer {
        self.patch(&format!("jobs/ingest/{job}"), json!({ "state": "UploadComplete" })).await
    }

    async fn info(&self, job: &str) -> Value {
        let (status, info) = self.get(&format!("jobs/ingest/{job}")).await;
        assert_eq!(status, 200, "{info}");
        info
    }

    /// The job's info when it has come to an end.
    pub(super) async fn ended(&self, kind: &str, job: &str) -> Value {
        let path = format!("jobs/{kind}/{job}");
        harness::until_async("the job to end", WITHIN, async || {
            let (_, info) = self.get(&path).await;
            let ended = ["JobComplete", "Failed", "Aborted"].map(Value::from).contains(&info["state"]);
            if ended { Ok(info) } else { Err(info.to_string()) }
        })
        .await
    }

    /// Uploads, closes and waits.
    pub(super) async fn carry_out(&self, job: &str, csv: &str) -> Value {
        assert_eq!(self.upload(job, csv.to_owned()).await, (201, Value::Null));
        let (status, closed) = self.close(job).await;
        assert_eq!((status, &closed["state"]), (200, &json!("UploadComplete")), "{closed}");
        self.ended("ingest", job).await
    }

    pub(super) async fn text(&self, path: &str) -> String {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{body}");
        body.as_str().expect("a text").to_owned()
    }

    pub(super) async fn results(&self, job: &str, part: &str) -> Rows {
        let text = self.text(&format!("jobs/ingest/{job}/{part}")).await;
        csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.expect("a row")).collect()
    }

    async fn hold(&self) {
        self.control("PUT", "bulk/hold", Value::Null).await;
    }

    async fn step(&self) {
        assert_eq!(self.control("POST", "bulk/step", Value::Null).await, json!({ "stepped": true }));
    }
}

pub(super) fn column<'a>(rows: &'a Rows, name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[name].as_str()).collect()
}

pub(super) fn keys(from: usize, to: usize) -> String {
    (from..to).fold(format!("{KEY},plays__c\n"), |csv, at| csv + &format!("k{at},{at}\n"))
}

#[tokio::test]
async fn a_job_writes_its_rows_and_tells_what_became_of_each() {
    let org = Session::start().await;
    assert_eq!(org.patch("sobjects/UserSessionEngagement__c/external_id__c/b", json!({})).await.0, 201);
    let job = org.upsert_job().await;
    let info = org.carry_out(&job, "external_id__c,plays__c,email__c\na,1,\nb,2,\nc,3,none\n,4,\nd,x,\n").await;
    let wanted = json!(["JobComplete", 5, 3, "upsert", KEY, "V2Ingest", "CSV", "COMMA", "LF", 62.0, 0]);
    let names = [
        "state",
        "numberRecordsProcessed",
        "numberRecordsFailed",
        "operation",
        "externalIdFieldName",
        "jobType",
        "contentType",
        "columnDelimiter",
        "lineEnding",
        "apiVersion",
        "retries",
    ];
    assert_eq!(names.map(|name| info[name].clone()).to_vec(), *wanted.as_array().expect("a list"));
    let done = org.results(&job, "successfulResults").await;
    assert_eq!((column(&done, KEY), column(&done, "sf__Created")), (vec!["b", "a"], vec!["false", "true"]));
    let rows = org.query("SELECT Id, plays__c FROM UserSessionEngagement__c ORDER BY external_id__c").await;
    assert_eq!(rows.iter().map(|row| row["plays__c"].as_f64()).collect::<Vec<_>>(), [Some(1.0), Some(2.0)]);
    assert_eq!(
        column(&done, "sf__Id"),
        [rows[1]["Id"].as_str().expect("an id"), rows[0]["Id"].as_str().expect("an id")]
    );
    let failed = org.results(&job, "failedResults").await;
    assert_eq!(
        column(&failed, "sf__Error"),
        [
            "INVALID_FIELD:Failed to deserialize field at col 1. Due to, 'x' is not a valid value for the type \
         xsd:double:plays__c --",
            "MISSING_ARGUMENT:external_id__c not specified:--",
            "INVALID_EMAIL_ADDRESS:email: invalid email address: none:email__c --",
        ]
    );
    assert_eq!(column(&failed, "sf__Id"), ["", "", ""]);
    assert!(org.results(&job, "unprocessedrecords").await.is_empty());
    let text = org.text(&format!("jobs/ingest/{job}/failedResults")).await;
    assert!(text.starts_with("\"sf__Id\",\"sf__Error\",\"external_id__c\",\"plays__c\",\"email__c\"\n"), "{text}");
}

#[tokio::test]
async fn a_job_goes_from_state_to_state_in_chunks_of_200_rows() {
    let org = Session::start().await;
    org.hold().await;
    let job = org.upsert_job().await;
    assert_eq!(org.upload(&job, keys(0, 450)).await.0, 201);
    assert_eq!(org.info(&job).await["contentUrl"], format!("services/data/v62.0/jobs/ingest/{job}/batches"));
    assert_eq!(org.close(&job).await.1["state"], "UploadComplete");
    let mut seen = Vec::new();
    for _ in 0..4 {
        org.step().await;
        let info = org.info(&job).await;
        let rows = org.query("SELECT Id FROM UserSessionEngagement__c").await.len();
        assert_eq!(info["numberRecordsProcessed"], rows, "what is counted is there");
        seen.push((info["state"].as_str().expect("a state").to_owned(), rows));
    }
    let expected = [("InProgress", 0), ("InProgress", 200), ("InProgress", 400), ("JobComplete", 450)];
    assert_eq!(seen, expected.map(|(state, rows)| (state.to_owned(), rows)));
    assert_eq!(org.control("POST", "bulk/step", Value::Null).await, json!({ "stepped": false }));
}

#[tokio::test]
async fn jobs_run_side_by_side() {
    let org = Session::start().await;
    org.hold().await;
    let (long, short) = (org.upsert_job().await, org.upsert_job().await);
    for (job, rows) in [(&long, 2_000), (&short, 200)] {
        assert_eq!(org.upload(job, keys(0, rows)).await.0, 201);
        assert_eq!(org.close(job).await.0, 200);
    }
    for _ in 0..4 {
        org.step().await;
    }
    let states = [org.info(&long).await["state"].clone(), org.info(&short).await["state"].clone()];
    assert_eq!(states, ["InProgress", "JobComplete"]);
}

#[tokio::test]
async fn what_a_state_does_not_allow_is_refused() {
    let org = Session::start().await;
    org.hold().await;
    let refused = |answer: &Answer, message: &str| assert_refused(answer, 400, "INVALIDJOBSTATE", message);
    let (job, path) = (org.upsert_job().await, |job: &str| format!("jobs/ingest/{job}"));
    let abort = json!({ "state": "Aborted" });
    refused(&org.delete(&path(&job)).await, "Deleting Open Job not allowed");
    refused(&org.get(&format!("jobs/ingest/{job}/failedResults")).await, "Results of a Job in state Open not allowed");
    refused(
        &org.patch(&path(&job), json!({ "state": "JobComplete" })).await,
        "Job state cannot be set to 'JobComplete'",
    );
    assert_eq!(org.upload(&job, keys(0, 1)).await.0, 201);
    let again = org.upload(&job, keys(0, 1)).await;
    assert!(
        again.1[0]["message"].as_str().is_some_and(|text| text.starts_with("Found multiple contents for job: <750"))
    );
    assert_eq!(org.close(&job).await.0, 200);
    refused(&org.upload(&job, keys(0, 1)).await, "Uploading data to a Job in state UploadComplete not allowed");
    refused(&org.close(&job).await, "Closing already closed Job not allowed");
    org.step().await;
    refused(&org.delete(&path(&job)).await, "Deleting InProgress Job not allowed");
    org.step().await;
    refused(&org.close(&job).await, "Closing already Completed Job not allowed");
    refused(&org.patch(&path(&job), abort.clone()).await, "Aborting already Completed Job not allowed");
    assert_eq!(org.delete(&path(&job)).await.0, 204);
    let gone = org.get(&path(&job)).await;
    assert_refused(&gone, 404, "NOT_FOUND", "The requested resource does not exist");
    let other = org.upsert_job().await;
    assert_eq!(org.patch(&path(&other), abort.clone()).await.1["state"], "Aborted");
    refused(&org.close(&other).await, "Closing already aborted Job not allowed");
    refused(&org.patch(&path(&other), abort).await, "Aborting already aborted Job not allowed");
    assert_eq!(org.get(&path("750000000000000AAA")).await.0, 404);
    assert_eq!(org.get(&format!("jobs/query/{other}")).await.0, 404, "it is no query job");
}

#[tokio::test]
async fn an_aborted_job_keeps_what_it_wrote_and_lists_the_rest() {
    let org = Session::start().await;
    org.hold().await;
    let job = org.upsert_job().await;
    assert_eq!(org.upload(&job, keys(0, 450)).await.0, 201);
    assert_eq!(org.close(&job).await.0, 200);
    org.step().await;
    org.step().await;
    let (status, aborted) = org.patch(&format!("jobs/ingest/{job}"), json!({ "state": "Aborted" })).await;
    assert_eq!((status, &aborted["state"]), (200, &json!("Aborted")));
    assert_eq!(org.control("POST", "bulk/step", Value::Null).await, json!({ "stepped": false }));
    assert_eq!(org.results(&job, "successfulResults").await.len(), 200);
    let left = org.results(&job, "unprocessedRecords/").await;
    assert_eq!((left.len(), left[0][KEY].as_str(), left[249]["plays__c"].as_str()), (250, "k200", "449"));
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c").await.len(), 200);
    let early = org.upsert_job().await;
    assert_eq!(org.upload(&early, keys(0, 3)).await.0, 201);
    assert_eq!(org.patch(&format!("jobs/ingest/{early}"), json!({ "state": "Aborted" })).await.0, 200);
    assert_eq!(column(&org.results(&early, "UNPROCESSEDRECORDS").await, KEY), ["k0", "k1", "k2"]);
}

#[tokio::test]
async fn a_failed_job_keeps_what_it_wrote_and_says_why() {
    let org = Session::start().await;
    let failure = json!({ "after_chunks": 1, "message": "InternalServerError : on order" });
    org.control("POST", "bulk/fail", failure).await;
    let job = org.upsert_job().await;
    let info = org.carry_out(&job, &keys(0, 450)).await;
    let found = (&info["state"], &info["errorMessage"], &info["numberRecordsProcessed"]);
    assert_eq!(found, (&json!("Failed"), &json!("InternalServerError : on order"), &json!(200)));
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c").await.len(), 200);
    assert_eq!(org.results(&job, "unprocessedrecords").await.len(), 250);
    let next = org.upsert_job().await;
    assert_eq!(org.carry_out(&next, &keys(0, 450)).await["state"], "JobComplete", "one job fails, not all");
}

#[tokio::test]
async fn jobs_that_make_no_sense_are_refused() {
    let org = Session::start().await;
    let refused = async |body: Value, code: &str, message: &str| {
        assert_refused(&org.post("jobs/ingest", body).await, 400, code, message);
    };
    let (lead, row) = ("Lead", "UserSessionEngagement__c");
    refused(
        json!({ "object": "Nope", "operation": "insert" }),
        "INVALIDJOB",
        "InvalidJob : Unable to find object: Nope",
    )
    .await;
    refused(
        json!({ "object": lead, "operation": "merge" }),
        "INVALIDJOB",
        "InvalidJob : Invalid value for operation: merge",
    )
    .await;
    let blank = "InvalidJob : External ID was blank for Lead. An External ID must be specified for upsert.";
    refused(json!({ "object": lead, "operation": "upsert" }), "INVALIDJOB", blank).await;
    let none = format!(
        "InvalidJob : Field name provided, plays__c does not match an External ID, Salesforce Id, or indexed field for {row}"
    );
    let body = json!({ "object": row, "operation": "upsert", "externalIdFieldName": "plays__c" });
    refused(body, "INVALIDJOB", &none).await;
    let hard =
        "hardDelete operation requires special user profile permission, please contact your system administrator";
    refused(json!({ "object": lead, "operation": "hardDelete" }), "FEATURENOTENABLED", hard).await;
    let form = "InvalidJob : Invalid value for columnDelimiter: SPACE";
    refused(json!({ "object": lead, "operation": "insert", "columnDelimiter": "SPACE" }), "INVALIDJOB", form).await;
    let kind = "InvalidJob : Invalid value for contentType: XML";
    refused(json!({ "object": lead, "operation": "insert", "contentType": "XML" }), "INVALIDJOB", kind).await;
    let mut old = org;
    old.version = "40.0";
    assert_eq!(old.post("jobs/ingest", json!({ "object": lead, "operation": "insert" })).await.0, 404);
}

#[tokio::test]
async fn a_job_and_its_rows_may_come_in_one_request() {
    let org = Session::start().await;
    let send = async |boundary: &str, csv: &str| {
        let body = format!(
            "--BOUNDARY\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n\
             {{\"object\":\"UserSessionEngagement__c\",\"operation\":\"insert\"}}\r\n\
             --BOUNDARY\r\nContent-Type: text/csv\r\n\
             Content-Disposition: form-data; name=\"content\"; filename=\"content\"\r\n\r\n{csv}\r\n--BOUNDARY--\r\n"
        );
        let request = org.http.post(org.url("jobs/ingest/")).bearer_auth(&org.token);
        let request = request.header("content-type", format!("multipart/form-data; boundary={boundary}")).body(body);
        answer(request.send().await.expect("an answer")).await.expect("JSON")
    };
    let (status, job) = send("\"BOUNDARY\"", "external_id__c\na\nb").await;
    assert_eq!((status, &job["state"]), (200, &json!("UploadComplete")), "{job}");
    let info = org.ended("ingest", job["id"].as_str().expect("an id")).await;
    assert_eq!((&info["state"], &info["numberRecordsProcessed"]), (&json!("JobComplete"), &json!(2)));
    let torn = send("OTHER", "external_id__c\na\n").await;
    assert_refused(&torn, 400, "INVALIDJOB", "InvalidJob : a multipart request has the parts job and content");
    let long = send("BOUNDARY", &keys(0, 10_000)).await;
    assert_refused(
        &long,
        400,
        "INVALIDJOB",
        "InvalidJob : a multipart request takes at most 100000 characters of data",
    );
}

#[tokio::test]
async fn every_call_costs_one_and_every_10_000_rows_a_batch() {
    let org = Session::start().await;
    let before = org.emulator.api_calls();
    let job = org.upsert_job().await;
    assert_eq!(org.upload(&job, keys(0, 10_001)).await.0, 201);
    assert_eq!(org.close(&job).await.0, 200);
    assert_eq!(org.emulator.api_calls() - before, 3);
    assert_eq!(org.ended("ingest", &job).await["state"], "JobComplete");
    let (_, limits) = org.get("limits").await;
    assert_eq!(limits["DailyBulkApiBatches"], json!({ "Max": 15_000, "Remaining": 14_998 }));
    org.control("PUT", "limits/DailyBulkApiBatches/3", Value::Null).await;
    let job = org.upsert_job().await;
    let info = org.carry_out(&job, &keys(0, 10_001)).await;
    let found = (&info["state"], &info["errorMessage"], &info["numberRecordsProcessed"]);
    assert_eq!(found, (&json!("Failed"), &json!("ExceededQuota : ApiBatchItems Limit exceeded."), &json!(10_000)));
    let refused = org.post("jobs/ingest", json!({ "object": "Lead", "operation": "insert" })).await;
    assert_refused(&refused, 400, "EXCEEDEDQUOTA", "ApiBatchItems Limit exceeded.");
}

#[tokio::test]
async fn jobs_are_listed_in_pages_and_forgotten_after_a_week() {
    let org = Session::start().await;
    for _ in 0..1_001 {
        org.upsert_job().await;
    }
    let (status, page) = org.get("jobs/ingest/?jobType=V2Ingest").await;
    let records = page["records"].as_array().expect("records");
    assert_eq!((status, records.len(), &page["done"]), (200, 1_000, &json!(false)));
    assert_eq!((&records[0]["jobType"], &records[0]["state"]), (&json!("V2Ingest"), &json!("Open")));
    let next = page["nextRecordsUrl"].as_str().expect("a URL").trim_start_matches("/services/data/v62.0/");
    let (_, rest) = org.get(next).await;
    let ids: std::collections::BTreeSet<&str> = records
        .iter()
        .chain(rest["records"].as_array().expect("records"))
        .filter_map(|job| job["id"].as_str())
        .collect();
    assert_eq!((ids.len(), &rest["done"], &rest["nextRecordsUrl"]), (1_001, &json!(true), &Value::Null));
    let (_, none) = org.get("jobs/ingest?jobType=Classic").await;
    assert_eq!(none["records"], json!([]));
    assert_eq!(org.get("jobs/ingest?queryLocator=x").await.1[0]["errorCode"], "INVALID_QUERY_LOCATOR");
    org.control("POST", "bulk/expire", Value::Null).await;
    assert_eq!(org.get(&format!("jobs/ingest/{}", ids.first().expect("an id"))).await.0, 404);
    assert_eq!(org.get("jobs/ingest").await.1["records"], json!([]));
}

#[tokio::test]
async fn an_upload_has_its_limit() {
    let org = Session::start().await;
    let job = org.upsert_job().await;
    let refused = org.upload(&job, vec![b'x'; 100_000_001]).await;
    let message = "the data of a job can be at most 100000000 bytes";
    assert_refused(&refused, 413, "REQUEST_ENTITY_TOO_LARGE", message);
    let request = org.http.put(org.url(&format!("jobs/ingest/{job}/batches"))).bearer_auth(&org.token);
    let sent = request.json(&json!({})).send().await.expect("an answer");
    assert_eq!(sent.status(), 415);
    assert_eq!(org.info(&job).await["state"], "Open", "neither was taken");
}

#[tokio::test]
async fn a_job_with_a_delay_takes_its_time() {
    let mut options = Options::new(Schema::load_embedded());
    options.bulk_delay = Duration::from_millis(20);
    let org = Session::with(options).await;
    let job = org.upsert_job().await;
    let started = std::time::Instant::now();
    assert_eq!(org.carry_out(&job, &keys(0, 450)).await["state"], "JobComplete");
    assert!(started.elapsed() >= Duration::from_millis(80), "a start and three chunks");
}
