//! Reading and writing by external id.

use serde_json::json;

use super::{Session, assert_refused};

const ENGAGEMENT: &str = "sobjects/UserSessionEngagement__c/external_id__c";

#[tokio::test]
async fn older_versions_answer_an_upsert_with_less() {
    let mut org = Session::start().await;
    org.version = "45.0";
    let path = format!("{ENGAGEMENT}/a");
    let (status, created) = org.patch(&path, json!({ "plays__c": 1 })).await;
    assert_eq!((status, created.get("created")), (201, None));
    assert_eq!(org.patch(&path, json!({ "plays__c": 2 })).await, (204, serde_json::Value::Null));
    let rows = json!({ "records": [{ "attributes": { "type": "UserSessionEngagement__c" }, "external_id__c": "b" }] });
    let collection = "composite/sobjects/UserSessionEngagement__c/external_id__c";
    assert_refused(
        &org.patch(collection, rows.clone()).await,
        404,
        "NOT_FOUND",
        "The requested resource does not exist",
    );
    org.version = "46.0";
    assert_eq!(org.patch(&path, json!({ "plays__c": 3 })).await.1["created"], false);
    assert_eq!(org.patch(collection, rows).await.1[0]["created"], true);
}

#[tokio::test]
async fn the_external_id_is_not_repeated_in_the_body() {
    let org = Session::start().await;
    let refused = org.patch(&format!("{ENGAGEMENT}/a"), json!({ "external_id__c": "a" })).await;
    let message = "The external_id__c field should not be specified in the sobject data.";
    assert_refused(&refused, 400, "INVALID_FIELD", message);
    let refused = org.patch(&format!("{ENGAGEMENT}/a"), json!({ "Id": "a00RB0000000001" })).await;
    assert_refused(&refused, 400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.");
}

#[tokio::test]
async fn a_field_that_is_no_external_id_is_not_found() {
    let org = Session::start().await;
    for field in ["Phone", "Nonsense__c"] {
        let message = format!("Provided external ID field does not exist or is not accessible: {field}");
        let path = format!("sobjects/Lead/{field}/x");
        assert_refused(&org.get(&path).await, 404, "NOT_FOUND", &message);
        assert_refused(&org.patch(&path, json!({})).await, 404, "NOT_FOUND", &message);
    }
    let message = "Provided external ID field does not exist or is not accessible: 23foo";
    assert_refused(&org.get("sobjects/Lead/23foo").await, 404, "NOT_FOUND", message);
}

#[tokio::test]
async fn a_key_that_several_records_share_answers_300_with_their_urls() {
    let org = Session::start().await;
    let leads = [org.lead("ann@example.com"), org.lead("ANN@example.com")];
    let urls = json!(leads.map(|id| format!("/services/data/v62.0/sobjects/Lead/{id}")));
    assert_eq!(org.get("sobjects/Lead/Email/ann%40example.com").await, (300, urls.clone()));
    assert_eq!(org.patch("sobjects/Lead/Email/ann@example.com", json!({})).await, (300, urls));
}

#[tokio::test]
async fn case_matters_where_the_field_says_so() {
    let org = Session::start().await;
    // The key of the custom objects is case-sensitive, that of CampaignMember is not.
    assert_eq!(org.patch(&format!("{ENGAGEMENT}/key"), json!({})).await.0, 201);
    assert_eq!(org.patch(&format!("{ENGAGEMENT}/KEY"), json!({})).await.0, 201);
    assert_eq!(org.patch(&format!("{ENGAGEMENT}/KEY"), json!({})).await.0, 200);
}

#[tokio::test]
async fn update_only_makes_no_record() {
    let org = Session::start().await;
    let path = format!("{ENGAGEMENT}/a?updateOnly=true");
    assert_refused(&org.patch(&path, json!({})).await, 404, "NOT_FOUND", "The requested resource does not exist");
    assert_eq!(org.patch(&format!("{ENGAGEMENT}/a"), json!({})).await.0, 201);
    assert_eq!(org.patch(&path, json!({ "plays__c": 1 })).await.0, 200);
}

#[tokio::test]
async fn keys_are_percent_decoded() {
    let org = Session::start().await;
    assert_eq!(org.patch(&format!("{ENGAGEMENT}/a%20b%2Fc%C3%A9"), json!({})).await.0, 201);
    let rows = org.query("SELECT external_id__c FROM UserSessionEngagement__c").await;
    assert_eq!(rows[0]["external_id__c"], "a b/cé");
}

#[tokio::test]
async fn records_are_read_and_deleted_by_key() {
    let org = Session::start().await;
    assert_eq!(org.patch(&format!("{ENGAGEMENT}/a"), json!({ "plays__c": 7 })).await.0, 201);
    let (status, record) = org.get(&format!("{ENGAGEMENT}/a")).await;
    assert_eq!((status, &record["plays__c"]), (200, &json!(7.0)));
    assert_eq!(record["attributes"]["type"], "UserSessionEngagement__c");
    assert_eq!(record["Name"], "USE-000001");
    let forbidden = org.delete(&format!("{ENGAGEMENT}/a")).await;
    assert_refused(&forbidden, 403, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id");
    assert_refused(
        &org.get(&format!("{ENGAGEMENT}/b")).await,
        404,
        "NOT_FOUND",
        "The requested resource does not exist",
    );
}

#[tokio::test]
async fn a_parent_can_be_named_by_a_lookup_field() {
    let org = Session::start().await;
    let lead = org.lead("ann@example.com");
    let body = json!({ "Lead__r": { "Email": "ann@example.com" } });
    let (status, answer) = org.patch(&format!("{ENGAGEMENT}/a"), body).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(org.get(&format!("{ENGAGEMENT}/a")).await.1["Lead__c"], json!(lead));
    let body = json!({ "Lead__r": { "Email": "bob@example.com" } });
    let message = "Foreign key external ID: bob@example.com not found for field Email in entity Lead";
    assert_refused(&org.patch(&format!("{ENGAGEMENT}/b"), body).await, 400, "INVALID_FIELD", message);
}
