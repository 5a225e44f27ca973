//! Single records, describe, versions, and the rules of field values.

use serde_json::{Value, json};

use super::{Session, answer, assert_refused, read_only};

#[tokio::test]
async fn versions_need_no_token_and_carry_no_limit_header() {
    let org = Session::start().await;
    let response = org.http.get(format!("{}/services/data", org.emulator.base_url())).send().await.expect("an answer");
    assert!(!response.headers().contains_key("sforce-limit-info"));
    let (_, versions) = answer(response).await.expect("JSON");
    let last = versions.as_array().and_then(|all| all.last()).expect("a version").clone();
    assert_eq!(last, json!({ "label": "Summer '26", "url": "/services/data/v67.0", "version": "67.0" }));
    assert_eq!(versions[0]["version"], "31.0");
}

#[tokio::test]
async fn retired_versions_are_gone_and_future_ones_unknown() {
    let mut org = Session::start().await;
    org.version = "30.0";
    assert_eq!(org.get("limits").await.0, 410);
    org.version = "99.0";
    assert_eq!(org.get("limits").await.0, 404);
}

#[tokio::test]
async fn every_answer_tells_the_usage() {
    let org = Session::start().await;
    for used in 1..=3 {
        let response = org.http.get(org.url("limits/")).bearer_auth(&org.token).send().await.expect("an answer");
        assert_eq!(response.headers()["sforce-limit-info"], format!("api-usage={used}/15000"));
        let (_, limits) = answer(response).await.expect("JSON");
        assert_eq!(limits["DailyApiRequests"], json!({ "Max": 15_000, "Remaining": 15_000 - used }));
    }
}

#[tokio::test]
async fn describe_shows_what_a_mapping_needs_to_know() {
    let org = Session::start().await;
    let (_, all) = org.get("sobjects").await;
    assert_eq!(all["maxBatchSize"], 200);
    assert!(all["sobjects"].as_array().is_some_and(|all| all.iter().any(|object| object["name"] == "CampaignMember")));
    let (status, described) = org.get("sobjects/campaignmember/describe/").await;
    assert_eq!(status, 200);
    let fields = described["fields"].as_array().expect("fields");
    let field = |name: &str| fields.iter().find(|field| field["name"] == name).expect("the field").clone();
    let key = field("external_id__c");
    assert_eq!([&key["externalId"], &key["unique"], &key["idLookup"]], [&json!(true), &json!(true), &json!(true)]);
    assert_eq!([&key["caseSensitive"], &key["nillable"]], [&json!(false), &json!(false)]);
    let parent = field("CampaignId");
    assert_eq!([&parent["createable"], &parent["updateable"]], [&json!(true), &json!(false)]);
    assert_eq!(org.get("sobjects/Nothing__c/describe").await.0, 404);
}

#[tokio::test]
async fn a_record_lives_through_create_read_update_and_delete() {
    let org = Session::start().await;
    let campaign = org.campaign("Conference");
    let status = json!({ "CampaignId": campaign, "Label": "Invited" });
    let (code, created) = org.post("sobjects/CampaignMemberStatus/", status).await;
    assert_eq!((code, &created["success"], &created["errors"]), (201, &json!(true), &json!([])));
    let path = format!("sobjects/CampaignMemberStatus/{}", created["id"].as_str().expect("an id"));
    assert_eq!(org.patch(&path, json!({ "HasResponded": true })).await, (204, Value::Null));
    let (_, record) = org.get(&format!("{path}?fields=Label,HasResponded")).await;
    let url = format!("/services/data/v62.0/{path}");
    let attributes = json!({ "type": "CampaignMemberStatus", "url": url });
    assert_eq!(record, json!({ "attributes": attributes, "Label": "Invited", "HasResponded": true }));
    assert_eq!(org.delete(&path).await, (204, Value::Null));
    assert_eq!(org.get(&path).await.0, 404);
    assert_refused(&org.delete(&path).await, 404, "ENTITY_IS_DELETED", "entity is deleted");
    let missing = org.patch("sobjects/CampaignMemberStatus/01YRB000zzzzzzz", json!({})).await;
    assert_refused(&missing, 404, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id");
}

#[tokio::test]
async fn what_the_user_may_not_create_is_refused() {
    let org = Session::start().await;
    let refused = org.post("sobjects/User", json!({ "LastName": "Example" })).await;
    assert_refused(&refused, 403, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id");
}

/// Writes one engagement row with this field; the answer is a refusal.
async fn refused_value(field: &str, value: Value) -> (String, String) {
    let org = Session::start().await;
    let body = json!({ field: value });
    let (status, body) = org.patch("sobjects/UserSessionEngagement__c/external_id__c/a", body).await;
    assert_eq!(status, 400, "{body}");
    let text = |name: &str| body[0][name].as_str().expect("a text").to_owned();
    (text("errorCode"), text("message"))
}

#[tokio::test]
async fn values_are_refused_in_salesforces_words() {
    let long = "x".repeat(201);
    let cases = [
        ("Nope__c", json!(1), "INVALID_FIELD", "No such column 'Nope__c' on sobject of type UserSessionEngagement__c".into()),
        (
            "entry_name__c",
            json!(long),
            "STRING_TOO_LONG",
            format!("entry_name: data value too large: {long} (max length=200)"),
        ),
        ("email__c", json!("no email"), "INVALID_EMAIL_ADDRESS", "email: invalid email address: no email".into()),
        (
            "plays__c",
            json!("many"),
            "JSON_PARSER_ERROR",
            "Cannot deserialize instance of double from VALUE_STRING value many or request may be missing a required field \
             at [line:1, column:2]"
                .into(),
        ),
        ("Name", json!("mine"), "INVALID_FIELD_FOR_INSERT_UPDATE", read_only("Name")),
        ("CreatedDate", json!("2026-01-01"), "INVALID_FIELD_FOR_INSERT_UPDATE", read_only("CreatedDate")),
    ];
    for (field, value, code, message) in cases {
        assert_eq!(refused_value(field, value).await, (code.to_owned(), message), "{field}");
    }
}

#[tokio::test]
async fn numbers_too_large_for_their_field_are_refused() {
    let (code, message) = refused_value("live_minutes_viewed__c", json!(1e17)).await;
    assert_eq!(code, "NUMBER_OUTSIDE_VALID_RANGE");
    assert!(message.contains("value outside of valid range on numeric field"), "{message}");
}

#[tokio::test]
async fn required_fields_are_named_together() {
    let org = Session::start().await;
    let refused = org.post("sobjects/CampaignMember", json!({})).await;
    let message = "Required fields are missing: [CampaignId, external_id__c]";
    assert_refused(&refused, 400, "REQUIRED_FIELD_MISSING", message);
    assert_eq!(refused.1[0]["fields"], json!(["CampaignId", "external_id__c"]));
}

#[tokio::test]
async fn a_unique_field_names_the_record_that_has_the_value() {
    let org = Session::start().await;
    let (_, first) = org.post("sobjects/UserSessionEngagement__c", json!({ "external_id__c": "a" })).await;
    let refused = org.post("sobjects/UserSessionEngagement__c", json!({ "external_id__c": "a" })).await;
    let id = first["id"].as_str().expect("an id");
    let message = format!("duplicate value found: external_id__c duplicates value on record with id: {id}");
    assert_refused(&refused, 400, "DUPLICATE_VALUE", &message);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_a_parser_error() {
    let org = Session::start().await;
    let request = org.http.post(org.url("sobjects/Campaign")).bearer_auth(&org.token).body("{\"Name\": ");
    let (status, body) = answer(request.send().await.expect("an answer")).await.expect("JSON");
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("JSON_PARSER_ERROR")));
    let (status, body) = org.send("PUT", "sobjects/Campaign", None).await.expect("an answer");
    assert_eq!((status, &body[0]["errorCode"]), (405, &json!("METHOD_NOT_ALLOWED")));
}
