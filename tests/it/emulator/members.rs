//! CampaignMember: parents that cannot change, one membership per person, statuses that silently become another.

use serde_json::json;

use super::{Session, assert_refused, assert_row_refused, read_only};

fn key(campaign: &str, person: &str) -> String {
    format!("{campaign}_{person}")
}

#[tokio::test]
async fn k2_a_member_is_made_and_then_updated_by_its_external_id() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let path = format!("sobjects/CampaignMember/external_id__c/{}", key(&campaign, &lead));
    let (status, created) =
        org.patch(&path, json!({ "CampaignId": campaign, "LeadId": lead, "Status": "Responded" })).await;
    assert_eq!((status, &created["created"], &created["success"]), (201, &json!(true), &json!(true)));
    let (status, updated) = org.patch(&path.to_uppercase().replace("SOBJECTS", "sobjects"), json!({})).await;
    assert_eq!((status, &updated["created"], &updated["id"]), (200, &json!(false), &created["id"]));
    let (_, member) = org.get(&path).await;
    assert_eq!(member["Name"], "Ann Example");
    assert_eq!(member["Email"], "ann@example.com");
    assert_eq!(member["CompanyOrAccount"], "Example Ltd");
    assert_eq!((&member["Status"], &member["HasResponded"]), (&json!("Responded"), &json!(true)));
    assert_eq!(member["FirstRespondedDate"].as_str().map(str::len), Some(10));
}

#[tokio::test]
async fn parents_of_a_member_cannot_be_updated() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let path = format!("sobjects/CampaignMember/external_id__c/{}", key(&campaign, &lead));
    let parents = json!({ "LeadId": lead, "CampaignId": campaign });
    assert_eq!(org.patch(&path, parents.clone()).await.0, 201);
    let again = org.patch(&path, parents).await;
    assert_refused(&again, 400, "INVALID_FIELD_FOR_INSERT_UPDATE", &read_only("LeadId, CampaignId"));
    assert_eq!(again.1[0]["fields"], json!(["LeadId", "CampaignId"]));
}

#[tokio::test]
async fn a_person_is_a_member_once() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    org.put("CampaignMember", json!({ "CampaignId": campaign, "LeadId": lead, "external_id__c": "by hand" }));
    let path = format!("sobjects/CampaignMember/external_id__c/{}", key(&campaign, &lead));
    let again = org.patch(&path, json!({ "CampaignId": campaign, "LeadId": lead })).await;
    assert_refused(&again, 400, "DUPLICATE_VALUE", "Already a campaign member.");
    let elsewhere = org.campaign("Another");
    let path = format!("sobjects/CampaignMember/external_id__c/{}", key(&elsewhere, &lead));
    assert_eq!(org.patch(&path, json!({ "CampaignId": elsewhere, "LeadId": lead })).await.0, 201);
}

#[tokio::test]
async fn k2_a_member_older_than_the_key_is_adopted_by_its_id() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let member = org.put("CampaignMember", json!({ "CampaignId": campaign, "LeadId": lead }));
    let path = format!("sobjects/CampaignMember/{member}");
    let keyless = org.patch(&path, json!({ "Status": "Responded" })).await;
    assert_refused(&keyless, 400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [external_id__c]");
    assert_eq!(org.patch(&path, json!({ "external_id__c": key(&campaign, &lead) })).await.0, 204);
    let (status, found) = org.get(&format!("sobjects/CampaignMember/external_id__c/{}", key(&campaign, &lead))).await;
    assert_eq!((status, &found["Id"]), (200, &json!(member)));
}

#[tokio::test]
async fn lead_and_contact_together_keep_the_contact() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let contact = org.contact("bob@example.com");
    let path = format!("sobjects/CampaignMember/external_id__c/{}", key(&campaign, &contact));
    let (status, _) = org.patch(&path, json!({ "CampaignId": campaign, "LeadId": lead, "ContactId": contact })).await;
    assert_eq!(status, 201);
    let (_, member) = org.get(&path).await;
    assert_eq!((&member["LeadId"], &member["ContactId"]), (&json!(null), &json!(contact)));
    assert_eq!((&member["Type"], &member["LeadOrContactId"]), (&json!("Contact"), &json!(contact)));
    let nobody = org.patch("sobjects/CampaignMember/external_id__c/x", json!({ "CampaignId": campaign })).await;
    assert_refused(&nobody, 400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LeadId, ContactId]");
}

#[tokio::test]
async fn a_status_that_the_campaign_lacks_becomes_the_default() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let path = format!("sobjects/CampaignMember/external_id__c/{}", key(&campaign, &lead));
    let member = json!({ "CampaignId": campaign, "LeadId": lead, "Status": "Attended" });
    assert_eq!(org.patch(&path, member).await.0, 201);
    let (_, member) = org.get(&path).await;
    assert_eq!((&member["Status"], &member["HasResponded"]), (&json!("Sent"), &json!(false)));
    let status = json!({ "CampaignId": campaign, "Label": "Attended", "HasResponded": true });
    let (status, made) = org.post("sobjects/CampaignMemberStatus", status).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(org.patch(&path, json!({ "Status": "attended" })).await.0, 200);
    let (_, member) = org.get(&path).await;
    assert_eq!((&member["Status"], &member["HasResponded"]), (&json!("Attended"), &json!(true)));
    // The status changes its meaning, and its members with it.
    let made = format!("sobjects/CampaignMemberStatus/{}", made["id"].as_str().expect("an id"));
    assert_eq!(org.patch(&made, json!({ "HasResponded": false })).await.0, 204);
    assert_eq!(org.get(&path).await.1["HasResponded"], false);
}

#[tokio::test]
async fn a_new_campaign_has_two_statuses_and_always_one_default() {
    let org = Session::start().await;
    let campaign = org.campaign("Conference");
    let soql = format!(
        "SELECT Label, IsDefault, HasResponded, SortOrder FROM CampaignMemberStatus WHERE CampaignId = '{campaign}' \
         ORDER BY SortOrder"
    );
    let labels = |rows: &[serde_json::Value]| {
        rows.iter()
            .map(|row| format!("{} {} {}", row["Label"], row["IsDefault"], row["HasResponded"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(labels(&org.query(&soql).await), ["\"Sent\" true false", "\"Responded\" false true"]);
    let made = json!({ "CampaignId": campaign, "Label": "Created", "IsDefault": true });
    assert_eq!(org.post("sobjects/CampaignMemberStatus", made).await.0, 201);
    let rows = org.query(&soql).await;
    assert_eq!(labels(&rows), ["\"Sent\" false false", "\"Responded\" false true", "\"Created\" true false"]);
    assert_eq!(rows[2]["SortOrder"], 3);
    let again = org.post("sobjects/CampaignMemberStatus", json!({ "CampaignId": campaign, "Label": "created" })).await;
    assert_eq!((again.0, &again.1[0]["errorCode"]), (400, &json!("DUPLICATE_VALUE")));
}

#[tokio::test]
async fn a_converted_lead_takes_no_membership_and_its_old_ones_follow_the_contact() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let contact = org.contact("ann@example.com");
    let member = org.put("CampaignMember", json!({ "CampaignId": campaign, "LeadId": lead, "external_id__c": "a" }));
    org.emulator.with_org(|org| org.convert_lead(&lead, &contact)).expect("both exist");
    let (_, found) = org.get(&format!("sobjects/CampaignMember/{member}")).await;
    assert_eq!((&found["LeadId"], &found["ContactId"]), (&json!(lead), &json!(contact)));
    let another = org.campaign("Another");
    let body = json!({ "CampaignId": another, "LeadId": lead });
    let refused = org.patch("sobjects/CampaignMember/external_id__c/b", body).await;
    assert_refused(&refused, 400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead");
}

#[tokio::test]
async fn members_go_with_their_campaign_and_with_their_person() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let other = org.lead("bob@example.com");
    for (person, key) in [(&lead, "a"), (&other, "b")] {
        org.put("CampaignMember", json!({ "CampaignId": campaign, "LeadId": person, "external_id__c": key }));
    }
    let delete = |object: &'static str, id: String| {
        use rollbook::emulator::Access;
        org.emulator.with_org(move |org| org.delete(object, &id, Access::System)).expect("it is there");
    };
    delete("Lead", lead.clone());
    assert_eq!(org.query("SELECT Id FROM CampaignMember").await.len(), 1);
    delete("Campaign", campaign.clone());
    assert_eq!(org.query("SELECT Id FROM CampaignMember").await.len(), 0);
    assert_eq!(org.query("SELECT Id FROM CampaignMemberStatus").await.len(), 0);
    let body = json!({ "CampaignId": campaign, "LeadId": other });
    let orphan = org.patch("sobjects/CampaignMember/external_id__c/c", body).await;
    assert_refused(&orphan, 400, "ENTITY_IS_DELETED", "entity is deleted");
}

#[tokio::test]
async fn a_member_that_points_nowhere_is_refused() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let try_with = async |campaign: &str, lead: &str| {
        let body = json!({ "records": [{
            "attributes": { "type": "CampaignMember" }, "external_id__c": "x", "CampaignId": campaign, "LeadId": lead,
        }]});
        let (status, rows) = org.patch("composite/sobjects/CampaignMember/external_id__c", body).await;
        assert_eq!(status, 200);
        rows[0].clone()
    };
    let missing = try_with("701RB000zzzzzzz", &lead).await;
    assert_row_refused(&missing, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id");
    let swapped = try_with(&campaign, &campaign).await;
    let text = format!("LeadId: id value of incorrect type: {campaign}");
    assert_row_refused(&swapped, "MALFORMED_ID", &text);
    assert_row_refused(
        &try_with(&campaign, "nobody").await,
        "MALFORMED_ID",
        "LeadId: id value of incorrect type: nobody",
    );
    // 15 characters are as good as 18.
    assert_eq!(try_with(&campaign[..15], &lead[..15]).await["success"], true);
}
