//! What becomes of people: converted, merged, deleted and brought back, by the control surface.

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Access, Options};
use serde_json::{Value, json};

use super::{Session, assert_refused};

const MEMBERS: &str = "sobjects/CampaignMember/external_id__c";
const ENGAGEMENTS: &str = "sobjects/UserSessionEngagement__c/external_id__c";

impl Session {
    fn member(&self, campaign: &str, field: &str, person: &str, key: &str) -> String {
        self.put("CampaignMember", json!({ "CampaignId": campaign, field: person, "external_id__c": key }))
    }

    async fn convert(&self, lead: &str, contact: &str) {
        self.control("POST", &format!("leads/{lead}/convert/{contact}"), Value::Null).await;
    }

    async fn merge(&self, winner: &str, loser: &str) {
        self.control("POST", &format!("records/{winner}/merge/{loser}"), Value::Null).await;
    }

    fn remove(&self, object: &str, id: &str) {
        self.emulator.with_org(|org| org.delete(object, id, Access::System)).expect("it is there");
    }

    /// The one row of a query that sees the recycle bin too.
    async fn row_of_all(&self, soql: &str) -> Value {
        let path = format!("queryAll?q={}", soql.replace(' ', "+"));
        let (status, body) = self.get(&path).await;
        assert_eq!((status, &body["totalSize"]), (200, &json!(1)), "{body}");
        body["records"][0].clone()
    }

    async fn keys_of_members(&self) -> Vec<String> {
        let rows = self.query("SELECT external_id__c FROM CampaignMember ORDER BY external_id__c").await;
        rows.iter().map(|row| row["external_id__c"].as_str().expect("a key").to_owned()).collect()
    }
}

#[tokio::test]
async fn a_converted_lead_leaves_its_memberships_to_the_contact() {
    let org = Session::start().await;
    let (one, both) = (org.campaign("One"), org.campaign("Both"));
    let (lead, contact) = (org.lead("ann@example.com"), org.contact("ann@example.com"));
    let member = org.member(&one, "LeadId", &lead, "a");
    org.member(&both, "LeadId", &lead, "b");
    org.member(&both, "ContactId", &contact, "c");
    org.convert(&lead, &contact).await;
    let (_, moved) = org.get(&format!("{MEMBERS}/a")).await;
    assert_eq!((&moved["Id"], &moved["LeadId"], &moved["ContactId"]), (&json!(member), &json!(lead), &json!(contact)));
    assert_eq!(org.keys_of_members().await, ["a", "c"], "a person is in a campaign once");
    let soql = format!("SELECT IsDeleted, IsConverted, ConvertedContactId FROM Lead WHERE Id = '{lead}'");
    let row = org.row_of_all(&soql).await;
    assert_eq!((&row["IsConverted"], &row["ConvertedContactId"]), (&json!(true), &json!(contact)));
    // Its memberships are the contact's now.
    org.remove("Lead", &lead);
    let (_, left) = org.get(&format!("{MEMBERS}/a")).await;
    assert_eq!((&left["LeadId"], &left["ContactId"]), (&Value::Null, &json!(contact)));
}

#[tokio::test]
async fn nothing_new_points_to_a_converted_lead_unless_the_user_may_edit_it() {
    let org = Session::start().await;
    let (campaign, another) = (org.campaign("One"), org.campaign("Another"));
    let (lead, contact) = (org.lead("ann@example.com"), org.contact("ann@example.com"));
    org.member(&campaign, "LeadId", &lead, "a");
    org.convert(&lead, &contact).await;
    let engagement = json!({ "Lead__c": lead });
    let member = json!({ "CampaignId": another, "LeadId": lead });
    let refused = async |path: &str, body: &Value| {
        let answer = org.patch(path, body.clone()).await;
        assert_refused(&answer, 400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead");
    };
    let path = format!("sobjects/Lead/{lead}");
    refused(&path, &json!({ "FirstName": "Bob" })).await;
    refused(&format!("{MEMBERS}/b"), &member).await;
    refused(&format!("{ENGAGEMENTS}/e"), &engagement).await;
    assert_eq!(org.patch(&format!("{MEMBERS}/a"), json!({ "Status": "Responded" })).await.0, 200, "it has moved");
    assert_eq!(org.patch(&format!("{ENGAGEMENTS}/e"), json!({ "Lead__c": null })).await.0, 201);
    org.control("PUT", "leads/converted/editable", Value::Null).await;
    assert_eq!(org.patch(&path, json!({ "FirstName": "Bob" })).await.0, 204);
    assert_eq!(org.patch(&format!("{MEMBERS}/b"), member).await.0, 201);
    assert_eq!(org.patch(&format!("{ENGAGEMENTS}/e"), engagement.clone()).await.0, 200);
    org.control("DELETE", "leads/converted/editable", Value::Null).await;
    refused(&format!("{ENGAGEMENTS}/e"), &engagement).await;
}

#[tokio::test]
async fn a_merged_person_leaves_everything_to_the_winner() {
    let org = Session::start().await;
    let (one, both) = (org.campaign("One"), org.campaign("Both"));
    let (winner, loser) = (org.lead("ann@example.com"), org.lead("anne@example.com"));
    org.member(&one, "LeadId", &loser, "a");
    org.member(&both, "LeadId", &loser, "b");
    org.member(&both, "LeadId", &winner, "c");
    assert_eq!(org.patch(&format!("{ENGAGEMENTS}/e"), json!({ "Lead__c": loser })).await.0, 201);
    org.merge(&winner, &loser).await;
    assert_eq!(org.keys_of_members().await, ["a", "c"]);
    assert_eq!(org.get(&format!("{MEMBERS}/a")).await.1["LeadId"], json!(winner));
    assert_eq!(org.get(&format!("{ENGAGEMENTS}/e")).await.1["Lead__c"], json!(winner));
    let row = org.row_of_all(&format!("SELECT IsDeleted, MasterRecordId FROM Lead WHERE Id = '{loser}'")).await;
    assert_eq!((&row["IsDeleted"], &row["MasterRecordId"]), (&json!(true), &json!(winner)));
    let refused = org.patch(&format!("{ENGAGEMENTS}/f"), json!({ "Lead__c": loser })).await;
    assert_refused(&refused, 400, "ENTITY_IS_DELETED", "entity is deleted");
    // Contacts too, and a converted lead follows its contact.
    let (kept, lost, lead) = (org.contact("a@example.com"), org.contact("b@example.com"), org.lead("b@example.com"));
    org.convert(&lead, &lost).await;
    org.merge(&kept, &lost).await;
    let row = org.row_of_all(&format!("SELECT ConvertedContactId FROM Lead WHERE Id = '{lead}'")).await;
    assert_eq!(row["ConvertedContactId"], json!(kept));
}

#[tokio::test]
async fn an_undeleted_record_brings_back_what_its_delete_took_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(Schema::load_embedded());
    options.data = Some(folder.path().to_owned());
    let org = Session::with(options.clone()).await;
    let campaign = org.campaign("One");
    let (ann, bob) = (org.lead("ann@example.com"), org.lead("bob@example.com"));
    org.member(&campaign, "LeadId", &ann, "a");
    let gone = org.member(&campaign, "LeadId", &bob, "b");
    org.remove("CampaignMember", &gone);
    org.remove("Campaign", &campaign);
    assert_eq!(org.keys_of_members().await, Vec::<String>::new());
    org.emulator.stop().await.expect("an orderly end");
    let org = Session::with(options).await;
    org.control("POST", &format!("records/{campaign}/undelete"), Value::Null).await;
    assert_eq!(org.keys_of_members().await, ["a"], "the other had been deleted before");
    let statuses = format!("SELECT Id FROM CampaignMemberStatus WHERE CampaignId = '{campaign}'");
    assert_eq!(org.query(&statuses).await.len(), 2);
    // A merged person who comes back is nobody else any more.
    org.merge(&ann, &bob).await;
    org.control("POST", &format!("records/{bob}/undelete"), Value::Null).await;
    let row = org.row_of_all(&format!("SELECT IsDeleted, MasterRecordId FROM Lead WHERE Id = '{bob}'")).await;
    assert_eq!((&row["IsDeleted"], &row["MasterRecordId"]), (&json!(false), &Value::Null));
}
