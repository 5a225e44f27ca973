//! Queries through the API: pages, deleted rows, refusals. What SOQL means is tested beside the engine.

use serde_json::{Value, json};

use super::{Answer, Session, answer};

async fn ask(org: &Session, resource: &str, soql: &str, batch: Option<u32>) -> Answer {
    let url = reqwest::Url::parse_with_params(&org.url(resource), [("q", soql)]).expect("a URL");
    let mut request = org.http.get(url).bearer_auth(&org.token);
    if let Some(batch) = batch {
        request = request.header("Sforce-Query-Options", format!("batchSize={batch}"));
    }
    answer(request.send().await.expect("an answer")).await.expect("JSON")
}

#[tokio::test]
async fn a_long_answer_comes_in_pages() {
    let org = Session::start().await;
    for at in 0..450 {
        org.put("Lead", json!({ "LastName": format!("{at:03}"), "Company": "Example Ltd" }));
    }
    let soql = "SELECT LastName FROM Lead ORDER BY LastName";
    let (_, whole) = ask(&org, "query", soql, None).await;
    assert_eq!((&whole["done"], whole["records"].as_array().map(Vec::len)), (&json!(true), Some(450)));
    let (_, mut page) = ask(&org, "query/", soql, Some(200)).await;
    let mut rows: Vec<Value> = Vec::new();
    let mut sizes = Vec::new();
    loop {
        assert_eq!(page["totalSize"], 450);
        let records = page["records"].as_array().expect("records").clone();
        sizes.push(records.len());
        rows.extend(records);
        let Some(next) = page["nextRecordsUrl"].as_str() else { break };
        let path = next.strip_prefix("/services/data/v62.0/").expect("a path of this version").to_owned();
        page = org.get(&path).await.1;
    }
    assert_eq!((sizes, &page["done"]), (vec![200, 200, 50], &json!(true)));
    assert_eq!(Value::from(rows), whole["records"]);
    let (status, body) = org.get("query/01gRB0009999999AAA-200").await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALID_QUERY_LOCATOR")));
}

#[tokio::test]
async fn deleted_rows_are_for_query_all() {
    let org = Session::start().await;
    let lead = org.lead("ann@example.com");
    org.emulator.with_org(|org| org.delete("Lead", &lead, rollbook::emulator::Access::System)).expect("it exists");
    let soql = "SELECT Id, IsDeleted FROM Lead";
    assert_eq!(ask(&org, "query", soql, None).await.1["totalSize"], 0);
    assert_eq!(ask(&org, "queryAll", soql, None).await.1["records"][0]["IsDeleted"], true);
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_malformed() {
    let org = Session::start().await;
    for (soql, code) in [
        ("SELECT", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead FOR UPDATE NOW", "MALFORMED_QUERY"),
        ("SELECT Nope FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
    ] {
        let (status, body) = ask(&org, "query", soql, None).await;
        assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some(code)), "{soql}");
    }
}

#[tokio::test]
async fn columns_are_told_without_rows() {
    let org = Session::start().await;
    let url = org.url("query");
    let params = [("q", "SELECT Id, Status FROM CampaignMember"), ("columns", "true")];
    let url = reqwest::Url::parse_with_params(&url, params).expect("a URL");
    let request = org.http.get(url).bearer_auth(&org.token);
    let (_, body) = answer(request.send().await.expect("an answer")).await.expect("JSON");
    assert_eq!(body["entityName"], "CampaignMember");
    assert_eq!(body["columnMetadata"][1]["columnName"], "Status");
}

#[tokio::test]
async fn limits_have_the_names_of_the_version() {
    let mut org = Session::start().await;
    let (_, limits) = org.get("limits/").await;
    let limits = limits.as_object().expect("an object");
    let names = ["DailyBulkApiBatches", "DailyBulkV2QueryJobs", "DataStorageMB", "HourlyPublishedPlatformEvents"];
    assert!(limits.len() > 50 && names.iter().all(|name| limits[*name]["Max"].is_u64()), "{limits:?}");
    assert_eq!(limits["DailyApiRequests"], json!({ "Max": 15_000, "Remaining": 14_999 }));
    assert_eq!(limits["PermissionSets"]["CreateCustom"]["Max"], 1_000);
    org.version = "46.0";
    let (_, old) = org.get("limits").await;
    let there = |name: &str| old.get(name).is_some();
    assert_eq!(
        ["DailyBulkApiRequests", "DailyBulkApiBatches", "DailyBulkV2QueryJobs"].map(there),
        [true, false, false]
    );
}
