//! Many records in one call, and many calls in one.

use serde_json::{Value, json};

use super::{Session, assert_refused, assert_row_refused, read_only};

pub(super) const UPSERT: &str = "composite/sobjects/UserSessionEngagement__c/external_id__c";

pub(super) fn engagement(key: &str, plays: impl serde::Serialize) -> Value {
    json!({ "attributes": { "type": "UserSessionEngagement__c" }, "external_id__c": key, "plays__c": plays })
}

pub(super) fn upsert(records: &[Value]) -> Value {
    json!({ "allOrNone": false, "records": records })
}

#[tokio::test]
async fn rows_are_answered_in_their_order() {
    let org = Session::start().await;
    assert_eq!(org.patch(UPSERT, upsert(&[engagement("b", 1)])).await.0, 200);
    let rows = [engagement("a", 1), engagement("b", 2), engagement("c", 3)];
    let (status, results) = org.patch(UPSERT, upsert(&rows)).await;
    let created: Vec<&Value> = results.as_array().expect("rows").iter().map(|row| &row["created"]).collect();
    assert_eq!((status, created), (200, vec![&json!(true), &json!(false), &json!(true)]));
    let found =
        org.query("SELECT external_id__c, plays__c FROM UserSessionEngagement__c ORDER BY external_id__c").await;
    let found: Vec<_> = found.iter().map(|row| (row["external_id__c"].as_str(), row["plays__c"].as_f64())).collect();
    assert_eq!(found, [(Some("a"), Some(1.0)), (Some("b"), Some(2.0)), (Some("c"), Some(3.0))]);
}

#[tokio::test]
async fn every_row_that_shares_a_key_is_refused() {
    let org = Session::start().await;
    let rows = [engagement("a", 1), engagement("b", 1), engagement("a", 2)];
    let (status, results) = org.patch(UPSERT, upsert(&rows)).await;
    assert_eq!(status, 200);
    for at in [0, 2] {
        assert_row_refused(&results[at], "DUPLICATE_VALUE", "Duplicate external id specified: a");
    }
    assert_eq!(results[1]["success"], true);
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c").await.len(), 1);
}

#[tokio::test]
async fn keys_without_regard_to_case_are_shared_too() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let member = |key: &str| json!({ "attributes": { "type": "CampaignMember" }, "external_id__c": key, "CampaignId": campaign, "LeadId": lead });
    let (_, results) =
        org.patch("composite/sobjects/CampaignMember/external_id__c", upsert(&[member("key"), member("KEY")])).await;
    assert_row_refused(&results[0], "DUPLICATE_VALUE", "Duplicate external id specified: key");
    assert_row_refused(&results[1], "DUPLICATE_VALUE", "Duplicate external id specified: KEY");
}

#[tokio::test]
async fn one_bad_row_leaves_the_others_alone_unless_all_or_none() {
    let org = Session::start().await;
    let bad = json!({
        "attributes": { "type": "UserSessionEngagement__c" }, "external_id__c": "bad", "email__c": "no email",
    });
    let mut body = upsert(&[engagement("a", 1), bad.clone()]);
    body["allOrNone"] = json!(true);
    let (status, results) = org.patch(UPSERT, body.clone()).await;
    assert_eq!(status, 200);
    let message = "Record rolled back because not all records were valid and the request was using AllOrNone header";
    assert_row_refused(&results[0], "ALL_OR_NONE_OPERATION_ROLLED_BACK", message);
    assert_row_refused(&results[1], "INVALID_EMAIL_ADDRESS", "email: invalid email address: no email");
    assert!(org.query("SELECT Id FROM UserSessionEngagement__c").await.is_empty());
    body["allOrNone"] = json!(false);
    let (_, results) = org.patch(UPSERT, body).await;
    assert_eq!((&results[0]["success"], &results[1]["success"]), (&json!(true), &json!(false)));
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c").await.len(), 1);
}

#[tokio::test]
async fn a_value_of_the_wrong_type_fails_the_whole_request() {
    let org = Session::start().await;
    let (status, body) = org.patch(UPSERT, upsert(&[engagement("a", 1), engagement("b", "x")])).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("JSON_PARSER_ERROR")));
    assert!(org.query("SELECT Id FROM UserSessionEngagement__c").await.is_empty());
}

#[tokio::test]
async fn requests_that_are_not_well_formed_are_refused_whole() {
    let org = Session::start().await;
    let many: Vec<Value> = (0..201).map(|at| engagement(&at.to_string(), 1)).collect();
    assert_eq!(org.patch(UPSERT, upsert(&many)).await.0, 400);
    assert_eq!(org.patch(UPSERT, upsert(&many[..200])).await.0, 200);
    assert_eq!(org.patch(UPSERT, upsert(&[json!({ "external_id__c": "untyped" })])).await.0, 400);
    assert_eq!(org.patch(UPSERT, json!({})).await.0, 400);
    let wrong = json!({ "attributes": { "type": "Lead" }, "external_id__c": "x" });
    let keyless = json!({ "attributes": { "type": "UserSessionEngagement__c" } });
    let (_, results) = org.patch(UPSERT, upsert(&[wrong, keyless])).await;
    assert_eq!(results[0]["errors"][0]["statusCode"], "INVALID_TYPE");
    assert_row_refused(&results[1], "MISSING_ARGUMENT", "external_id__c not specified");
}

#[tokio::test]
async fn parents_of_a_member_are_refused_row_by_row() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let member = json!({
        "attributes": { "type": "CampaignMember" }, "external_id__c": "m", "CampaignId": campaign, "LeadId": lead,
    });
    let path = "composite/sobjects/CampaignMember/external_id__c";
    assert_eq!(org.patch(path, upsert(std::slice::from_ref(&member))).await.1[0]["created"], true);
    let (_, results) = org.patch(path, upsert(&[member])).await;
    assert_row_refused(&results[0], "INVALID_FIELD_FOR_INSERT_UPDATE", &read_only("CampaignId, LeadId"));
}

#[tokio::test]
async fn records_are_made_changed_read_and_deleted_together() {
    let org = Session::start().await;
    let campaign = org.campaign("Conference");
    let status = |label: &str| json!({ "attributes": { "type": "CampaignMemberStatus" }, "CampaignId": campaign, "Label": label });
    let records = json!({ "records": [status("Invited"), status("Created")] });
    let (status, made) = org.post("composite/sobjects", records).await;
    assert_eq!(status, 200);
    let ids: Vec<&str> = made.as_array().expect("rows").iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids.len(), 2);
    let change = |id: &str| json!({ "attributes": { "type": "CampaignMemberStatus" }, "id": id, "HasResponded": true });
    let missing = "01YRB000zzzzzzz";
    let (_, changed) = org.patch("composite/sobjects", json!({ "records": [change(ids[0]), change(missing)] })).await;
    assert_eq!(changed[0]["success"], true);
    assert_row_refused(&changed[1], "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id");
    let asked = json!({ "ids": [ids[1], missing, ids[0]], "fields": ["Label"] });
    let (_, read) = org.post("composite/sobjects/CampaignMemberStatus", asked).await;
    assert_eq!((&read[0]["Label"], &read[1], &read[2]["Label"]), (&json!("Created"), &Value::Null, &json!("Invited")));
    let (_, deleted) = org.delete(&format!("composite/sobjects?ids={},{missing}", ids.join(","))).await;
    let deleted: Vec<&Value> = deleted.as_array().expect("rows").iter().map(|row| &row["success"]).collect();
    assert_eq!(deleted, [&json!(true), &json!(true), &json!(false)]);
}

pub(super) fn subrequest(reference: &str, method: &str, path: &str, body: impl serde::Serialize) -> Value {
    let url = format!("/services/data/v62.0/{path}");
    json!({ "referenceId": reference, "method": method, "url": url, "body": body })
}

#[tokio::test]
async fn a_composite_call_refers_to_its_own_answers_and_costs_one() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let before = org.emulator.api_calls();
    let body = json!({ "compositeRequest": [
        subrequest("member", "PATCH", "sobjects/CampaignMember/external_id__c/m",
            json!({ "CampaignId": campaign, "LeadId": lead })),
        subrequest("row", "PATCH", UPSERT, upsert(&[json!({
            "attributes": { "type": "UserSessionEngagement__c" }, "external_id__c": "e",
            "campaign_member__c": "@{member.id}",
        })])),
        subrequest("read", "GET", "sobjects/UserSessionEngagement__c/@{row[0].id}", Value::Null),
    ]});
    let (status, answer) = org.post("composite", body).await;
    assert_eq!(status, 200);
    let parts = answer["compositeResponse"].as_array().expect("answers");
    let codes: Vec<_> = parts.iter().map(|part| part["httpStatusCode"].as_u64()).collect();
    assert_eq!(codes, [Some(201), Some(200), Some(200)], "{answer}");
    assert_eq!(parts[2]["body"]["campaign_member__c"], parts[0]["body"]["id"]);
    assert!(parts[0]["httpHeaders"]["Location"].as_str().is_some_and(|url| url.contains("/sobjects/CampaignMember/")));
    assert_eq!(org.emulator.api_calls() - before, 1);
}

#[tokio::test]
async fn a_composite_call_of_all_or_none_takes_everything_back() {
    let org = Session::start().await;
    let body = json!({ "allOrNone": true, "compositeRequest": [
        subrequest("good", "PATCH", "sobjects/UserSessionEngagement__c/external_id__c/a", json!({})),
        subrequest("bad", "PATCH", "sobjects/UserSessionEngagement__c/external_id__c/b", json!({ "email__c": "no" })),
        subrequest("late", "PATCH", "sobjects/UserSessionEngagement__c/external_id__c/c", json!({})),
    ]});
    let (status, answer) = org.post("composite", body).await;
    assert_eq!(status, 200);
    let codes: Vec<_> = (0..3).map(|at| answer["compositeResponse"][at]["body"][0]["errorCode"].as_str()).collect();
    assert_eq!(codes, [Some("PROCESSING_HALTED"), Some("INVALID_EMAIL_ADDRESS"), Some("PROCESSING_HALTED")]);
    assert!(org.query("SELECT Id FROM UserSessionEngagement__c").await.is_empty());
}

#[tokio::test]
async fn a_composite_call_has_its_limits() {
    let org = Session::start().await;
    let calls = |count: usize, path: &str| {
        let calls: Vec<_> = (0..count).map(|at| subrequest(&format!("r{at}"), "GET", path, Value::Null)).collect();
        json!({ "compositeRequest": calls })
    };
    assert_eq!(org.post("composite", calls(26, "sobjects")).await.0, 400);
    assert_eq!(org.post("composite", calls(25, "sobjects")).await.0, 200);
    let query = "query?q=SELECT+Id+FROM+Campaign";
    assert_eq!(org.post("composite", calls(6, query)).await.0, 400);
    assert_eq!(org.post("composite", calls(5, query)).await.0, 200);
    let nothing = org.post("composite", json!({})).await;
    assert_refused(&nothing, 400, "MISSING_ARGUMENT", "compositeRequest must be specified");
}
