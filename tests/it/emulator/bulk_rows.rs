//! The rows of bulk jobs: what their CSV means, and how the org's own rules tell in their results.

use std::time::{Duration, Instant};

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Options, Pace};
use serde_json::{Value, json};

use super::Session;
use super::bulk::{KEY, column, keys};

#[tokio::test]
async fn empty_says_nothing_and_na_empties() {
    let org = Session::start().await;
    let path = "sobjects/UserSessionEngagement__c/external_id__c/a";
    let body = json!({ "plays__c": 3, "email__c": "ann@example.com" });
    assert_eq!(org.patch(path, body).await.0, 201);
    let job = org.upsert_job().await;
    // An empty Id is what jsforce sends along.
    let info = org.carry_out(&job, "Id,external_id__c,plays__c,email__c\n,a,,#N/A\n").await;
    assert_eq!((&info["state"], &info["numberRecordsFailed"]), (&json!("JobComplete"), &json!(0)));
    let (_, row) = org.get(path).await;
    assert_eq!((&row["plays__c"], &row["email__c"]), (&json!(3.0), &Value::Null));
}

#[tokio::test]
async fn the_form_of_the_job_is_that_of_its_results() {
    let org = Session::start().await;
    let body = json!({
        "object": "UserSessionEngagement__c", "operation": "insert", "columnDelimiter": "SEMICOLON", "lineEnding": "CRLF",
    });
    let job = org.job(body).await;
    let info = org.carry_out(&job, "external_id__c;email__c\r\n\"a;\"\"1\"\"\";a@b.example\r\n \"b\";\r\nc\r\n").await;
    assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(3), &json!(2)));
    let text = org.text(&format!("jobs/ingest/{job}/successfulResults")).await;
    let id = &org.query("SELECT Id FROM UserSessionEngagement__c").await[0]["Id"];
    let id = id.as_str().expect("an id");
    let row = format!("\"{id}\";\"true\";\"a;\"\"1\"\"\";\"a@b.example\"");
    assert_eq!(text, format!("\"sf__Id\";\"sf__Created\";\"external_id__c\";\"email__c\"\r\n{row}\r\n"));
    let failed = org.text(&format!("jobs/ingest/{job}/failedResults")).await;
    assert!(failed.contains("INVALID_FIELD:the row has 1 values for 2 columns:--"), "{failed}");
    assert!(failed.contains("INVALID_FIELD:a quote stands inside of a value or next to a space:--"), "{failed}");
}

#[tokio::test]
async fn records_are_updated_and_deleted_by_their_id() {
    let org = Session::start().await;
    let id = org.put("UserSessionEngagement__c", json!({ "external_id__c": "a" }));
    let gone = "a0ZRB000zzzzzzz";
    let job = org.job(json!({ "object": "UserSessionEngagement__c", "operation": "update" })).await;
    let info = org.carry_out(&job, &format!("Id,plays__c,email__c\n{id},7,\n,1,\n{id},1,none\n")).await;
    assert_eq!(info["numberRecordsFailed"], 2);
    let failed = org.results(&job, "failedResults").await;
    assert_eq!(column(&failed, "sf__Id"), [id.as_str(), ""], "the id of a record that is there");
    assert_eq!(failed[1]["sf__Error"], "MISSING_ARGUMENT:Id not specified in an update call:--");
    assert_eq!(org.query("SELECT plays__c FROM UserSessionEngagement__c").await[0]["plays__c"], 7.0);

    let lead = org.lead("ann@example.com");
    let campaign = org.campaign("Conference");
    let status = org.put("CampaignMemberStatus", json!({ "CampaignId": campaign, "Label": "Invited" }));
    let job = org.job(json!({ "object": "CampaignMemberStatus", "operation": "delete" })).await;
    let info = org.carry_out(&job, &format!("Id\n{status}\n{gone}\n{lead}\n")).await;
    assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(3), &json!(2)));
    assert_eq!(column(&org.results(&job, "successfulResults").await, "sf__Created"), ["false"]);
    assert_eq!(org.get(&format!("sobjects/CampaignMemberStatus/{status}")).await.0, 404);
    let job = org.job(json!({ "object": "Lead", "operation": "insert" })).await;
    org.carry_out(&job, &format!("Id,LastName,Company\n{lead},Example,Ltd\n")).await;
    let error = "INVALID_FIELD_FOR_INSERT_UPDATE:cannot specify Id in an insert call:Id --";
    assert_eq!(column(&org.results(&job, "failedResults").await, "sf__Error"), [error]);
}

#[tokio::test]
async fn an_upsert_by_id_updates_what_has_one_and_inserts_the_rest() {
    let org = Session::start().await;
    let id = org.put("UserSessionEngagement__c", json!({ "external_id__c": "a" }));
    let body = json!({ "object": "UserSessionEngagement__c", "operation": "upsert", "externalIdFieldName": "Id" });
    let job = org.job(body).await;
    org.carry_out(&job, &format!("Id,external_id__c,plays__c\n{id},,1\n,b,2\n")).await;
    let done = org.results(&job, "successfulResults").await;
    assert_eq!(column(&done, "sf__Created"), ["true", "false"]);
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c WHERE plays__c > 0").await.len(), 2);
}

#[tokio::test]
async fn members_keep_their_rules_and_parents_come_by_key() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    let body = json!({ "object": "CampaignMember", "operation": "upsert", "externalIdFieldName": KEY });
    let job = org.job(body.clone()).await;
    let csv = format!(
        "external_id__c,CampaignId,Lead.Email,Status\nm,{campaign},ann@example.com,Nonsense\nn,{campaign},bob@example.com,\n"
    );
    org.carry_out(&job, &csv).await;
    let members = org.query("SELECT LeadId, Status FROM CampaignMember").await;
    assert_eq!((members.len(), &members[0]["LeadId"], &members[0]["Status"]), (1, &json!(lead), &json!("Sent")));
    let error = "INVALID_FIELD:Foreign key external ID: bob@example.com not found for field Email in entity Lead:--";
    assert_eq!(column(&org.results(&job, "failedResults").await, "sf__Error"), [error]);
    let job = org.job(body).await;
    org.carry_out(&job, &format!("external_id__c,CampaignId,LeadId\nm,{campaign},{lead}\n")).await;
    let error =
        format!("INVALID_FIELD_FOR_INSERT_UPDATE:{}:CampaignId,LeadId --", super::read_only("CampaignId, LeadId"));
    assert_eq!(column(&org.results(&job, "failedResults").await, "sf__Error"), [error]);
}

#[tokio::test]
async fn keys_may_come_again_in_another_chunk_but_not_in_the_same() {
    let org = Session::start().await;
    let job = org.upsert_job().await;
    let csv = keys(0, 199) + "K0,7\nk1,8\n";
    let info = org.carry_out(&job, &csv).await;
    assert_eq!(
        (&info["numberRecordsProcessed"], &info["numberRecordsFailed"]),
        (&json!(201), &json!(0)),
        "case matters"
    );
    let job = org.upsert_job().await;
    let info = org.carry_out(&job, &(keys(0, 3) + "k1,8\n")).await;
    assert_eq!(info["numberRecordsFailed"], 2);
    let error = "DUPLICATE_VALUE:Duplicate external id specified: k1:external_id__c --";
    assert_eq!(column(&org.results(&job, "failedResults").await, "sf__Error"), [error, error]);
}

#[tokio::test]
async fn locked_records_fail_their_rows() {
    let org = Session::start().await;
    let (campaign, lead) = (org.campaign("Conference"), org.lead("ann@example.com"));
    org.emulator.with_org(|org| org.lock_record(&campaign));
    let body = json!({ "object": "CampaignMember", "operation": "upsert", "externalIdFieldName": KEY });
    let job = org.job(body).await;
    org.carry_out(&job, &format!("external_id__c,CampaignId,LeadId\nm,{campaign},{lead}\n")).await;
    let error =
        format!("UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 1 records: {campaign}:--");
    assert_eq!(column(&org.results(&job, "failedResults").await, "sf__Error"), [error]);
}

#[tokio::test]
async fn data_in_another_form_than_the_job_says_fails_it() {
    let org = Session::start().await;
    let lines = "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF";
    let column = "InvalidBatch : Field name not found : nope__c";
    for (csv, why) in [("external_id__c\r\na\r\n", lines), ("external_id__c,nope__c\na,1\n", column)] {
        let job = org.upsert_job().await;
        let info = org.carry_out(&job, csv).await;
        assert_eq!((&info["state"], &info["errorMessage"]), (&json!("Failed"), &json!(why)));
        assert_eq!(info["numberRecordsProcessed"], 0);
        assert_eq!(org.results(&job, "unprocessedrecords").await[0][KEY], "a");
    }
    assert!(org.query("SELECT Id FROM UserSessionEngagement__c").await.is_empty());
    let job = org.upsert_job().await;
    assert_eq!(org.carry_out(&job, "").await["state"], "JobComplete", "no rows are no error");
}

/// How long jobs of a member each take that begin at the same time.
async fn member_jobs(org: &Session, campaigns: &[String]) -> Duration {
    org.control("PUT", "bulk/hold", Value::Null).await;
    let body = json!({ "object": "CampaignMember", "operation": "upsert", "externalIdFieldName": KEY });
    let mut jobs = Vec::new();
    for (at, campaign) in campaigns.iter().enumerate() {
        let lead = org.lead(&format!("lead{at}@example.com"));
        let job = org.job(body.clone()).await;
        let csv = format!("external_id__c,CampaignId,LeadId\n{campaign}_{lead},{campaign},{lead}\n");
        assert_eq!(org.upload(&job, csv).await.0, 201);
        jobs.push(job);
    }
    for job in &jobs {
        assert_eq!(org.close(job).await.0, 200);
    }
    let begun = Instant::now();
    org.control("DELETE", "bulk/hold", Value::Null).await;
    for job in &jobs {
        let ended = org.ended("ingest", job).await;
        assert_eq!(
            (&ended["numberRecordsProcessed"], &ended["numberRecordsFailed"]),
            (&json!(1), &json!(0)),
            "{ended}"
        );
    }
    begun.elapsed()
}

#[tokio::test]
async fn jobs_below_one_campaign_wait_for_each_other_and_others_do_not() {
    let write = Duration::from_millis(800);
    let mut options = Options::new(Schema::load_embedded());
    options.pace = Pace { write, ..Pace::default() };
    let org = Session::with(options).await;
    let count = 5;
    let one = vec![org.campaign("One"); count];
    let took = member_jobs(&org, &one).await;
    // What the last one wrote is there before its locks are free.
    assert!(took >= write * 4, "{took:?}: they overlapped");
    let many: Vec<String> = (0..count).map(|at| org.campaign(&format!("Campaign {at}"))).collect();
    let took = member_jobs(&org, &many).await;
    assert!(took < write * 3, "{took:?}: they did not overlap");
}
