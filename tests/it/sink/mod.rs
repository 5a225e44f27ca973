//! The sink: its client, the commands that prepare an org, and the loop between Kafka and Salesforce.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod access;
mod bounded;
mod bulk;
mod bulk_client;
mod calls;
mod client;
mod doctor;
mod hidden;
mod jobs_topic;
mod left_out;
mod locks;
mod notes;
mod people;
mod refresh;
mod stream;

use std::path::Path;

use rollbook::config::Config;
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Options, Person};
use rollbook::id::{MemberKey, SalesforceId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

async fn org() -> Emulator {
    org_with(Schema::load_embedded()).await
}

async fn org_with(schema: Schema) -> Emulator {
    Emulator::start(Options::new(schema)).await.expect("a free port")
}

/// The settings of a sink that writes to this org: short backoffs, small batches.
fn config(bootstrap: &str, login_url: &str, client_id: &str, secret: &str) -> Config {
    let text = format!(
        r#"
        [kafka]
        bootstrap = "{bootstrap}"
        [sink]
        batch_rows_max = 50
        attempts_max = 5
        backoff_min = "5ms"
        backoff_max = "100ms"
        [salesforce]
        login_url = "{login_url}"
        request_timeout = "20s"
        [salesforce.auth]
        flow = "client_credentials"
        client_id = "{client_id}"
        "#
    );
    let environment = |name: &str| (name == "ROLLBOOK_SALESFORCE_CLIENT_SECRET").then(|| secret.to_owned());
    Config::parse(&text, Path::new(""), &environment).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn config_for(emulator: &Emulator, bootstrap: &str) -> Config {
    let credentials = emulator.credentials();
    config(bootstrap, &emulator.base_url(), &credentials.client_id, credentials.client_secret.expose_secret())
}

/// An order to the emulator.
async fn control(org: &Emulator, token: &SecretString, (method, path): (&str, &str), body: Value) {
    let url = format!("{}/emulator/{path}", org.base_url());
    let request = reqwest::Client::new().request(method.parse().expect("a method"), url).json(&body);
    let answer = request.header("x-emulator-token", token.expose_secret()).send().await;
    assert!(answer.expect("an answer").status().is_success(), "{path}");
}

fn campaign(org: &Emulator, name: &str) -> SalesforceId {
    org.with_org(|org| org.put_campaign(name)).expect("a campaign")
}

/// A lead in a campaign, who is no member yet.
fn lead_in(org: &Emulator, campaign: SalesforceId, number: usize) -> MemberKey {
    let email = format!("lead{number}@example.com");
    let person = Person { first_name: "Ann", last_name: "Example", email: &email, company: Some("Example Ltd") };
    let person = org.with_org(|org| org.put_person(&person)).expect("a lead");
    MemberKey { campaign, person }
}
