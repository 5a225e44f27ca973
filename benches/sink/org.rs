//! An org for one run: campaigns with their statuses, leads, no members; equal to that of every other run, ids included.

use std::collections::BTreeMap;
use std::time::Duration;

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Credentials, Emulator, Options, Pace, Person};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::upsert::STATUSES;
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::harness::http;

const CAMPAIGNS: usize = 10;
/// What is not the loaders' doing: in which order rows came, and when.
const OWN_OF_A_RUN: [&str; 5] = ["Id", "CreatedDate", "LastModifiedDate", "SystemModstamp", "FirstRespondedDate"];
/// Statuses that the members get in turns.
const GIVEN: [&str; 3] = ["Registered", "Attended", "Participated"];

/// Members by external id, as the org has them.
pub type Rows = BTreeMap<String, Map<String, Value>>;

/// A member to write.
#[derive(Clone, Copy)]
pub struct Row {
    pub member: MemberKey,
    pub status: &'static str,
}

pub struct Org {
    /// To be written.
    pub members: Vec<Row>,
    pub latency: Duration,
    emulator: Emulator,
    /// As many threads as the machine has, as `rollbook emulate`; dropped last.
    _runtime: Runtime,
}

impl Org {
    pub fn fresh(members: usize, latency: Duration) -> Self {
        let runtime = Builder::new_multi_thread().enable_all().build().expect("threads can be started");
        let mut options = Options::new(Schema::load_embedded());
        options.pace = Pace { latency, ..Pace::default() };
        // The budget is not what is measured.
        options.daily_api_requests = 1_000_000;
        let emulator = runtime.block_on(Emulator::start(options)).expect("loopback has a free port");
        let members = emulator.with_org(|org| {
            let mut put = |object: &str, record| org.put(object, record).expect("the seed keeps the org's rules");
            let campaigns: Vec<SalesforceId> =
                (0..CAMPAIGNS).map(|number| put("Campaign", json!({ "Name": format!("Talk {number}") }))).collect();
            for (campaign, status) in campaigns.iter().flat_map(|campaign| STATUSES.map(|status| (campaign, status))) {
                // The org's own two come first.
                let record = json!({
                    "CampaignId": campaign.as_str(), "Label": status.label, "HasResponded": status.has_responded,
                    "SortOrder": status.sort_order + 2,
                });
                put("CampaignMemberStatus", record);
            }
            let mut lead = |number| {
                let (name, email) = (format!("lead-{number}"), format!("lead-{number}@example.com"));
                let person =
                    Person { first_name: "Test", last_name: &name, email: &email, company: Some("Example Ltd") };
                org.put_person(&person).expect("the org takes a person")
            };
            let turns = campaigns.iter().cycle().zip(GIVEN.iter().cycle()).zip(0..members);
            turns
                .map(|((campaign, status), number)| Row {
                    member: MemberKey { campaign: *campaign, person: lead(number) },
                    status,
                })
                .collect()
        });
        Self { members, latency, emulator, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        self.emulator.base_url()
    }

    pub fn credentials(&self) -> Credentials {
        self.emulator.credentials()
    }

    /// Whether anything but a login was asked of it.
    pub fn called(&self) -> bool {
        self.emulator.api_calls() > 0
    }

    /// API calls, as it tells everybody.
    pub fn calls(&self) -> u64 {
        let metrics = http::get(&format!("{}/emulator/metrics", self.url())).expect("the port answers").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("emulator_api_requests_total "));
        line.and_then(|calls| calls.parse().ok()).expect("it counts them")
    }

    /// Every member must be there.
    pub fn rows(&self) -> Rows {
        let records = self.emulator.with_org(|org| org.dump("CampaignMember")).expect("every org has the object");
        let by_id = records.into_iter().map(|mut record| {
            record.retain(|field, _| !OWN_OF_A_RUN.contains(&field.as_str()));
            (record.get("external_id__c").and_then(Value::as_str).unwrap_or_default().to_owned(), record)
        });
        let rows: Rows = by_id.collect();
        assert_eq!(rows.len(), self.members.len(), "every member is in the org, once");
        rows
    }
}
