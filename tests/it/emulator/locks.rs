//! Calls that take time: side by side where they can, one after another where they write below the same parent.

use std::time::{Duration, Instant};

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Fault, FaultAction, Options, Pace};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use super::{Answer, Session, assert_refused, assert_row_refused};
use crate::harness;

const WITHIN: Duration = Duration::from_secs(20);
/// Long enough for a second call to come while a first one holds its locks, however busy the machine is.
const LONG: Duration = Duration::from_secs(4);
/// At the same time.
const CALLS: u32 = 20;
const SHORT: Duration = Duration::from_millis(50);

async fn paced(pace: Pace) -> Session {
    let mut options = Options::new(Schema::load_embedded());
    options.pace = pace;
    Session::with(options).await
}

fn put_member(org: &Session, campaign: &str, lead: &str) -> JoinHandle<Answer> {
    let path = format!("sobjects/CampaignMember/external_id__c/{campaign}_{lead}");
    org.spawn("PATCH", &path, Some(&json!({ "CampaignId": campaign, "LeadId": lead })))
}

fn rows(org: &Session, object: &str) -> Vec<Map<String, Value>> {
    org.emulator.with_org(|org| org.dump(object)).expect("a known object")
}

fn unable(id: &str) -> String {
    format!("unable to obtain exclusive access to this record or 1 records: {id}")
}

async fn side_by_side(org: &Session, each: Duration) {
    let begun = Instant::now();
    let calls: Vec<_> = (0..CALLS).map(|_| org.spawn("GET", "limits", None)).collect();
    for call in calls {
        assert_eq!(call.await.expect("no panic").0, 200);
    }
    assert!(begun.elapsed() >= each);
    assert!(begun.elapsed() < each * CALLS / 2, "{:?} for {CALLS} calls at once", begun.elapsed());
}

#[tokio::test]
async fn latency_is_served_side_by_side() {
    let latency = Duration::from_millis(250);
    let org = paced(Pace { latency, ..Pace::default() }).await;
    side_by_side(&org, latency).await;
}

#[tokio::test]
async fn delays_on_order_are_served_side_by_side() {
    let delay = Duration::from_millis(250);
    let org = paced(Pace::default()).await;
    org.emulator.add_fault(Fault::next("limits", FaultAction::Proceed).delayed(delay).times(u64::from(CALLS)));
    side_by_side(&org, delay).await;
}

#[tokio::test]
async fn writes_below_one_campaign_wait_for_each_other() {
    let write = Duration::from_millis(150);
    let org = paced(Pace { write, ..Pace::default() }).await;
    let campaign = org.campaign("Conference");
    let leads: Vec<String> = (0..4).map(|at| org.lead(&format!("lead{at}@example.com"))).collect();
    let begun = Instant::now();
    let calls: Vec<_> = leads.iter().map(|lead| put_member(&org, &campaign, lead)).collect();
    for call in calls {
        let (status, body) = call.await.expect("no panic");
        assert_eq!(status, 201, "{body}");
    }
    assert!(begun.elapsed() >= write * 4, "{:?}: they overlapped", begun.elapsed());
    assert_eq!((org.emulator.api_calls(), org.emulator.calls("upsert")), (4, 4), "to wait costs nothing");
}

#[tokio::test]
async fn a_batch_that_waits_pays_for_its_subrequests_once() {
    let org = paced(Pace { write: Duration::from_millis(150), ..Pace::default() }).await;
    let campaign = org.campaign("Conference");
    let calls: Vec<_> = (0..3)
        .map(|at| {
            let lead = org.lead(&format!("lead{at}@example.com"));
            let member = json!({ "CampaignId": campaign, "LeadId": lead });
            let url = format!("v62.0/sobjects/CampaignMember/external_id__c/{lead}");
            let write = json!({ "method": "PATCH", "url": url, "richInput": member });
            let read = json!({ "method": "GET", "url": "v62.0/limits" });
            org.spawn("POST", "composite/batch", Some(&json!({ "batchRequests": [write, read] })))
        })
        .collect();
    for call in calls {
        let (status, body) = call.await.expect("no panic");
        assert_eq!((status, &body["hasErrors"]), (200, &json!(false)), "{body}");
    }
    assert_eq!(org.emulator.api_calls(), 6);
}

/// An org in which a write lasts much longer than anybody waits; three campaigns and three leads.
struct Scene {
    org: Session,
    one: String,
    other: String,
    third: String,
    ann: String,
    ben: String,
    cem: String,
}

impl Scene {
    async fn new() -> Self {
        let org = paced(Pace { write: LONG, lock_wait: SHORT, ..Pace::default() }).await;
        let [one, other, third] = ["One", "Other", "Third"].map(|name| org.campaign(name));
        let [ann, ben, cem] = ["ann", "ben", "cem"].map(|name| org.lead(&format!("{name}@example.com")));
        Self { org, one, other, third, ann, ben, cem }
    }

    /// Makes Ann a member of the first campaign, without a lock.
    fn member(&self) -> String {
        let member = json!({ "CampaignId": self.one, "LeadId": self.ann, "external_id__c": "m" });
        format!("sobjects/CampaignMember/{}", self.org.put("CampaignMember", member))
    }

    /// While `first` lasts, its parents are locked and others are not.
    async fn contend(&self, first: JoinHandle<Answer>, written: impl Fn() -> bool, parents: &[&str]) {
        // What a write did is there before its answer is.
        harness::until("the first write", WITHIN, || if written() { Ok(()) } else { Err("not yet".to_owned()) });
        let Self { org, one, other, third, ann, ben, cem } = self;
        let calls = [(one, ben, one), (other, ann, ann)].map(|(campaign, lead, parent)| {
            let locked = parents.contains(&parent.as_str());
            (put_member(org, campaign, lead), locked.then(|| unable(parent)))
        });
        let free = put_member(org, third, cem);
        for (call, refused) in calls {
            let answer = call.await.expect("no panic");
            match refused {
                Some(message) => assert_refused(&answer, 400, "UNABLE_TO_LOCK_ROW", &message),
                None => assert_eq!(answer.0, 201, "{}", answer.1),
            }
        }
        assert_eq!(free.await.expect("no panic").0, 201, "other parents are free");
        assert!(first.await.expect("no panic").0 < 300);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_locks_its_campaign_and_its_lead() {
    let scene = Scene::new().await;
    let first = put_member(&scene.org, &scene.one, &scene.ann);
    let written = || rows(&scene.org, "CampaignMember").len() == 1;
    scene.contend(first, written, &[&scene.one, &scene.ann]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_a_member_locks_its_campaign_and_its_lead() {
    let scene = Scene::new().await;
    let first = scene.org.spawn("PATCH", &scene.member(), Some(&json!({ "Status": "Responded" })));
    let written = || rows(&scene.org, "CampaignMember")[0]["HasResponded"] == true;
    scene.contend(first, written, &[&scene.one, &scene.ann]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_member_locks_its_campaign_and_its_lead() {
    let scene = Scene::new().await;
    let first = scene.org.spawn("DELETE", &scene.member(), None);
    let written = || rows(&scene.org, "CampaignMember").is_empty();
    scene.contend(first, written, &[&scene.one, &scene.ann]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_object_locks_what_it_looks_up() {
    let scene = Scene::new().await;
    let path = "sobjects/UserSessionEngagement__c/external_id__c/e";
    let first = scene.org.spawn("PATCH", path, Some(&json!({ "Lead__c": scene.ann })));
    let written = || rows(&scene.org, "UserSessionEngagement__c").len() == 1;
    scene.contend(first, written, &[&scene.ann]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_collection_only_the_rows_below_the_locked_parent_fail() {
    let Scene { org, one, other, ann, ben, cem, .. } = Scene::new().await;
    let first = put_member(&org, &one, &ann);
    let written = || if rows(&org, "CampaignMember").len() == 1 { Ok(()) } else { Err("not yet".to_owned()) };
    harness::until("the first write", WITHIN, written);
    let row = |campaign: &str, lead: &str| {
        json!({
            "attributes": { "type": "CampaignMember" }, "CampaignId": campaign, "LeadId": lead,
            "external_id__c": lead,
        })
    };
    let body = json!({ "records": [row(&one, &ben), row(&other, &cem)] });
    let (status, rows) = org.patch("composite/sobjects/CampaignMember/external_id__c", body).await;
    assert_eq!(status, 200);
    assert_row_refused(&rows[0], "UNABLE_TO_LOCK_ROW", &unable(&one));
    assert_eq!(rows[1]["success"], true);
    assert_eq!(first.await.expect("no panic").0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_stop_what_it_began() {
    let org = paced(Pace { latency: Duration::from_millis(500), ..Pace::default() }).await;
    let path = "sobjects/UserSessionEngagement__c/external_id__c/a";
    let hurried = org.request("PATCH", path, Some(&json!({}))).timeout(SHORT);
    assert!(hurried.send().await.is_err_and(|error| error.is_timeout()));
    let written = || if rows(&org, "UserSessionEngagement__c").len() == 1 { Ok(()) } else { Err("not yet".to_owned()) };
    harness::until("the write", WITHIN, written);
}
