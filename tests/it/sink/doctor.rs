//! K5: the statuses are made by the tool, and what an org lacks is said with what mends it.

use std::fs;
use std::path::Path;

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Access, Emulator};
use rollbook::id::SalesforceId;
use rollbook::provision::doctor::{Problem, ProblemKind, examine};
use rollbook::provision::setup::{Correct, complete_statuses, ensure_statuses};
use rollbook::salesforce::Client;
use serde_json::json;

use super::{campaign, config_for, org, org_with};

fn client(org: &Emulator) -> Client {
    let config = config_for(org, "localhost:1");
    Client::new(config.require_salesforce().expect("it has the section")).expect("good settings")
}

/// Label and HasResponded in the campaign's order.
async fn statuses(client: &Client, campaign: SalesforceId) -> Vec<(String, bool)> {
    let soql = format!(
        "SELECT Label, HasResponded FROM CampaignMemberStatus WHERE CampaignId = '{campaign}' ORDER BY SortOrder"
    );
    let records = client.query(&soql).await.expect("statuses");
    let read = records.iter().map(|it| (it["Label"].as_str().unwrap().to_owned(), it["HasResponded"] == json!(true)));
    read.collect()
}

#[tokio::test]
async fn k5_setup_makes_the_nine_statuses_in_order_and_a_second_time_nothing() {
    let org = org().await;
    let client = client(&org);
    let campaign = campaign(&org, "Conference");
    let before = statuses(&client, campaign).await;
    let report = ensure_statuses(&client, campaign, Correct::Yes).await.expect("a report");
    assert!(report.complete() && report.failed.is_empty(), "{report:?}");
    let nine = [
        ("Created", false),
        ("Invited", false),
        ("Registered", true),
        ("Confirmed", true),
        ("autoConfirmed", true),
        ("Attended", true),
        ("Participated", true),
        ("Blocked", false),
        ("Un-registered", false),
    ];
    let nine = nine.map(|(label, responded)| (label.to_owned(), responded));
    let expected: Vec<(String, bool)> = before.into_iter().chain(nine).collect();
    assert_eq!(statuses(&client, campaign).await, expected);
    let again = ensure_statuses(&client, campaign, Correct::Yes).await.expect("a report");
    assert!(again.created.is_empty() && again.corrected.is_empty() && again.complete(), "{again:?}");
}

#[tokio::test]
async fn a_status_that_was_deleted_and_made_again_is_told_by_its_record() {
    let org = org().await;
    let client = client(&org);
    let campaign = campaign(&org, "Conference");
    let made = ensure_statuses(&client, campaign, Correct::No).await.expect("a report").labels;
    assert!(made.values().all(Option::is_some), "{made:?}");
    let before = complete_statuses(&client, &[campaign]).await.expect("an answer");
    assert_eq!(before, [(campaign, made.clone())]);
    let gone = made["Confirmed"].expect("a record");
    org.with_org(|org| org.delete("CampaignMemberStatus", gone.as_str(), Access::System)).expect("it is there");
    assert_eq!(complete_statuses(&client, &[campaign]).await.expect("an answer"), [], "it lacks one");
    let again = ensure_statuses(&client, campaign, Correct::No).await.expect("a report").labels;
    let changed: Vec<_> = again.iter().filter(|(label, record)| made[*label] != **record).collect();
    assert!(changed.len() == 1 && changed[0].0 == "Confirmed", "{changed:?}");
}

#[tokio::test]
async fn k5_a_status_with_the_wrong_meaning_is_corrected() {
    let org = org().await;
    let client = client(&org);
    let campaign = campaign(&org, "Conference");
    let wrong = json!({ "CampaignId": campaign.as_str(), "Label": "Attended", "HasResponded": false, "SortOrder": 3 });
    org.with_org(|org| org.put("CampaignMemberStatus", wrong)).expect("a status");
    let report = ensure_statuses(&client, campaign, Correct::Yes).await.expect("a report");
    assert_eq!((report.created.len(), report.corrected.as_slice()), (8, ["Attended"].as_slice()), "{report:?}");
    assert!(statuses(&client, campaign).await.contains(&("Attended".to_owned(), true)));
}

#[tokio::test]
async fn a_campaign_that_does_not_exist_is_said_so() {
    let org = org().await;
    let nowhere = SalesforceId::parse("701000000000abc").expect("an id");
    let report = ensure_statuses(&client(&org), nowhere, Correct::Yes).await.expect("a report");
    assert!(!report.campaign_found && report.created.is_empty());
    assert_eq!(kinds(&org, &[nowhere]).await, [ProblemKind::CampaignMissing]);
}

async fn problems(org: &Emulator, campaigns: &[SalesforceId]) -> Vec<Problem> {
    examine(&client(org), campaigns).await.expect("an examination")
}

async fn kinds(org: &Emulator, campaigns: &[SalesforceId]) -> Vec<ProblemKind> {
    problems(org, campaigns).await.into_iter().map(|problem| problem.kind).collect()
}

#[tokio::test]
async fn k5_an_org_with_the_shipped_metadata_lacks_only_a_campaigns_statuses() {
    let org = org().await;
    assert_eq!(problems(&org, &[]).await, []);
    let campaign = campaign(&org, "Conference");
    let found = problems(&org, &[campaign]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].kind, &found[0].mend),
        (ProblemKind::StatusMissing, &format!("rollbook setup --campaign {campaign}"))
    );
    ensure_statuses(&client(&org), campaign, Correct::Yes).await.expect("a report");
    assert_eq!(problems(&org, &[campaign]).await, []);
}

#[tokio::test]
async fn an_org_without_the_metadata_is_told_what_to_deploy() {
    let org = org_with(Schema::standard()).await;
    let found = problems(&org, &[]).await;
    let missing = |subject: &str, kind: ProblemKind| {
        found.iter().any(|it| it.subject == subject && it.kind == kind && it.mend.contains("sf project deploy start"))
    };
    assert!(missing("CampaignMember.external_id__c", ProblemKind::FieldMissing), "{found:#?}");
    assert!(missing("UserSessionEngagement__c", ProblemKind::ObjectMissing), "{found:#?}");
    assert!(missing("Kaltura_User_Polls__c", ProblemKind::ObjectMissing), "{found:#?}");
}

#[tokio::test]
async fn each_change_of_the_metadata_is_found() {
    let objects = "force-app/main/default/objects";
    let engagement = format!("{objects}/UserSessionEngagement__c/fields");
    let cases = [
        (
            format!("{objects}/CampaignMember/fields/external_id__c"),
            ("<unique>true</unique>", "<unique>false</unique>"),
            ("CampaignMember.external_id__c", ProblemKind::NotUnique),
        ),
        (
            format!("{engagement}/external_id__c"),
            ("<externalId>true</externalId>", "<externalId>false</externalId>"),
            ("UserSessionEngagement__c.external_id__c", ProblemKind::ExternalIdFlag),
        ),
        (
            format!("{engagement}/entry_name__c"),
            ("<length>200</length>", "<length>80</length>"),
            ("UserSessionEngagement__c.entry_name__c", ProblemKind::FieldTooShort),
        ),
    ];
    for (file, (from, to), (subject, kind)) in cases {
        let org = org_with(changed(&file, from, to)).await;
        let found = problems(&org, &[]).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!((found[0].subject.as_str(), found[0].kind), (subject, kind));
    }
}

/// The shipped metadata with one text in one file replaced.
fn changed(file: &str, from: &str, to: &str) -> Schema {
    let copy = tempfile::tempdir().expect("a folder");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/salesforce");
    copy_folder(&shipped, copy.path());
    let path = copy.path().join(format!("{file}.field-meta.xml"));
    let text = fs::read_to_string(&path).expect("a field");
    assert!(text.contains(from), "{file} has no {from}");
    let text = text.replace(from, to);
    fs::write(&path, text).expect("the field is written");
    Schema::load_dir(copy.path()).expect("a good tree")
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file");
        }
    }
}
