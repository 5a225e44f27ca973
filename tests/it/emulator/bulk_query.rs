//! Bulk query jobs: what they answer, in which pages, and which queries they do not take.

use serde_json::{Value, json};

use super::{Session, assert_refused};

struct Page {
    locator: String,
    count: String,
    text: String,
}

impl Session {
    async fn query_job(&self, body: Value) -> String {
        let (status, job) = self.post("jobs/query", body).await;
        assert_eq!((status, &job["state"]), (200, &json!("UploadComplete")), "{job}");
        let id = job["id"].as_str().expect("an id").to_owned();
        let ended = self.ended("query", &id).await;
        assert_eq!((&ended["state"], &ended["jobType"]), (&json!("JobComplete"), &json!("V2Query")), "{ended}");
        id
    }

    async fn page(&self, job: &str, query: &str) -> Page {
        let url = self.url(&format!("jobs/query/{job}/results{query}"));
        let response = self.http.get(url).bearer_auth(&self.token).send().await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/csv".parse().unwrap())
        );
        let header = |name: &str| response.headers()[name].to_str().expect("a text").to_owned();
        let (locator, count) = (header("sforce-locator"), header("sforce-numberofrecords"));
        Page { locator, count, text: response.text().await.expect("a text") }
    }

    fn engagements(&self, count: usize) {
        for at in 0..count {
            self.put("UserSessionEngagement__c", json!({ "external_id__c": format!("k{at}"), "plays__c": at }));
        }
    }
}

fn query(text: &str) -> Value {
    json!({ "operation": "query", "query": text })
}

#[tokio::test]
async fn rows_come_in_pages_with_a_locator() {
    let org = Session::start().await;
    org.engagements(5);
    let job = org.query_job(query("SELECT external_id__c FROM UserSessionEngagement__c ORDER BY external_id__c")).await;
    let (mut texts, mut counts, mut asked) = (Vec::new(), Vec::new(), String::from("?maxRecords=2"));
    loop {
        let page = org.page(&job, &asked).await;
        texts.push(page.text);
        counts.push(page.count);
        if page.locator == "null" {
            break;
        }
        asked = format!("?maxRecords=2&locator={}", page.locator);
    }
    assert_eq!(counts, ["2", "2", "1"]);
    let page =
        |keys: &[&str]| keys.iter().fold("\"external_id__c\"\n".to_owned(), |text, key| text + &format!("\"{key}\"\n"));
    assert_eq!(texts, [page(&["k0", "k1"]), page(&["k2", "k3"]), page(&["k4"])]);
    let whole = org.page(&job, "/").await;
    assert_eq!((whole.count.as_str(), whole.locator.as_str()), ("5", "null"));
    let (_, info) = org.get(&format!("jobs/query/{job}")).await;
    assert_eq!((&info["numberRecordsProcessed"], &info["object"]), (&json!(5), &json!("UserSessionEngagement__c")));
}

#[tokio::test]
async fn values_are_written_as_csv_has_them() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Con;ference"), org.lead("ann@example.com"));
    org.put("CampaignMember", json!({ "CampaignId": campaign, "LeadId": lead, "external_id__c": "m" }));
    let mut body =
        query("SELECT Campaign.Name, HasResponded, FirstRespondedDate, CreatedDate, Contact.Email FROM CampaignMember");
    body["columnDelimiter"] = json!("SEMICOLON");
    body["lineEnding"] = json!("CRLF");
    let job = org.query_job(body).await;
    let created = org.query("SELECT CreatedDate FROM CampaignMember").await[0]["CreatedDate"].clone();
    let created = created.as_str().expect("a text").replace("+0000", "Z");
    let header = "\"Campaign.Name\";\"HasResponded\";\"FirstRespondedDate\";\"CreatedDate\";\"Contact.Email\"";
    let row = format!("\"Con;ference\";\"false\";\"\";\"{created}\";\"\"");
    assert_eq!(org.page(&job, "").await.text, format!("{header}\r\n{row}\r\n"));
}

#[tokio::test]
async fn deleted_rows_are_for_query_all() {
    let org = Session::start().await;
    let (campaign, text) = (org.campaign("Conference"), "SELECT Label FROM CampaignMemberStatus WHERE Label = 'Gone'");
    let status = org.put("CampaignMemberStatus", json!({ "CampaignId": campaign, "Label": "Gone" }));
    assert_eq!(org.delete(&format!("sobjects/CampaignMemberStatus/{status}")).await.0, 204);
    let job = org.query_job(query(text)).await;
    assert_eq!(org.page(&job, "").await.count, "0");
    let job = org.query_job(json!({ "operation": "queryAll", "query": text })).await;
    assert_eq!(org.page(&job, "").await.count, "1");
}

#[tokio::test]
async fn queries_that_are_no_table_of_records_are_refused() {
    let org = Session::start().await;
    let refused = async |text: &str, message: &str| {
        assert_refused(&org.post("jobs/query", query(text)).await, 400, "API_ERROR", message);
    };
    let aggregate = "Aggregate Relationships not supported in Bulk Query";
    refused("SELECT COUNT() FROM Lead", aggregate).await;
    refused("SELECT MAX(Email) FROM Lead", aggregate).await;
    refused("SELECT Email FROM Lead GROUP BY Email", aggregate).await;
    refused("SELECT FIELDS(ALL) FROM Lead LIMIT 200", "Selecting compound data not supported in Bulk Query").await;
    refused("SELECT Id FROM Lead LIMIT 1 OFFSET 1", "OFFSET not supported in Bulk Query").await;
    for (text, code) in [
        ("SELECT Nope__c FROM Lead", "INVALID_FIELD"),
        ("SELECT Id, (SELECT Id FROM CampaignMembers) FROM Lead", "MALFORMED_QUERY"),
        ("SELECT TYPEOF Owner WHEN User THEN Email END FROM Lead", "MALFORMED_QUERY"),
    ] {
        let (status, body) = org.post("jobs/query", query(text)).await;
        assert_eq!((status, &body[0]["errorCode"]), (400, &json!(code)), "{text}");
    }
    let other = org.post("jobs/query", json!({ "operation": "insert", "query": "SELECT Id FROM Lead" })).await;
    assert_refused(&other, 400, "INVALIDJOB", "InvalidJob : Invalid value for operation: insert");
    assert_eq!(org.get("jobs/query").await.1["records"], json!([]), "no job was made");
}

#[tokio::test]
async fn results_are_given_when_they_are_there_and_to_those_who_ask_rightly() {
    let mut org = Session::start().await;
    org.engagements(1);
    org.control("PUT", "bulk/hold", Value::Null).await;
    let (_, job) = org.post("jobs/query", query("SELECT Id FROM UserSessionEngagement__c")).await;
    let path = format!("jobs/query/{}", job["id"].as_str().expect("an id"));
    let early = org.get(&format!("{path}/results")).await;
    assert_refused(&early, 400, "INVALIDJOBSTATE", "Results of a Job in state UploadComplete not allowed");
    for _ in 0..2 {
        org.control("POST", "bulk/step", Value::Null).await;
    }
    assert_eq!(org.get(&format!("{path}/results")).await.0, 200);
    for (asked, message) in [
        ("maxRecords=0", "InvalidValue : maxRecords is invalid"),
        ("maxRecords=x", "InvalidValue : maxRecords is invalid"),
        ("locator=MTA", "InvalidValue : locator is invalid"),
        ("locator=%20", "InvalidValue : locator is invalid"),
    ] {
        assert_refused(&org.get(&format!("{path}/results?{asked}")).await, 400, "INVALIDVALUE", message);
    }
    let completed = org.patch(&path, json!({ "state": "Aborted" })).await;
    assert_refused(&completed, 400, "INVALIDJOBSTATE", "Aborting already Completed Job not allowed");
    org.version = "61.0";
    let other = org.get(&format!("{path}/results")).await;
    assert_refused(&other, 409, "INVALIDVERSION", "the job was created with API version 62.0");
    org.version = "46.0";
    assert_eq!(org.get(&path).await.0, 404, "query jobs came with 47.0");
    org.version = "62.0";
    assert_eq!(org.delete(&path).await.0, 204);
    assert_eq!(org.get(&path).await.0, 404);
    let (_, job) = org.post("jobs/query", query("SELECT Id FROM Lead")).await;
    let path = format!("jobs/query/{}", job["id"].as_str().expect("an id"));
    assert_eq!(org.patch(&path, json!({ "state": "Aborted" })).await.1["state"], "Aborted");
}

#[tokio::test]
async fn query_jobs_have_an_allocation_of_their_own() {
    let org = Session::start().await;
    org.control("PUT", "limits/DailyBulkV2QueryJobs/1", Value::Null).await;
    org.query_job(query("SELECT Id FROM Lead")).await;
    let (_, limits) = org.get("limits").await;
    assert_eq!(limits["DailyBulkV2QueryJobs"], json!({ "Max": 1, "Remaining": 0 }));
    let refused = org.post("jobs/query", query("SELECT Id FROM Lead")).await;
    let message = "Max bulk v2 query jobs (1) per 24 hrs has been reached (2)";
    assert_refused(&refused, 400, "LIMIT_EXCEEDED", message);
}
