//! The client against a scripted server and the emulator.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use rollbook::disposition::{Disposition, Wait};
use rollbook::emulator::{Fault, FaultAction};
use rollbook::salesforce::{ApiUsage, Client};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::{config, config_for, org};

const REQUESTS: usize = 20;

/// Refuses the first token, and only when all requests have come with it.
struct Script {
    logins: AtomicUsize,
    refused_together: Barrier,
    base_url: String,
}

async fn token(State(script): State<Arc<Script>>) -> axum::Json<Value> {
    let number = script.logins.fetch_add(1, Ordering::SeqCst) + 1;
    axum::Json(json!({ "access_token": format!("token-{number}"), "instance_url": script.base_url }))
}

async fn limits(State(script): State<Arc<Script>>, headers: HeaderMap) -> (StatusCode, axum::Json<Value>) {
    assert_eq!(headers["sforce-call-options"], "client=rollbook");
    assert_eq!(headers["sforce-auto-assign"], "FALSE");
    if headers["authorization"] == "Bearer token-1" {
        script.refused_together.wait().await;
        let fault = json!([{ "errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid" }]);
        return (StatusCode::UNAUTHORIZED, axum::Json(fault));
    }
    (StatusCode::OK, axum::Json(json!({ "DailyApiRequests": { "Max": 15_000, "Remaining": 14_998 } })))
}

#[tokio::test]
async fn twenty_refused_requests_make_one_login() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("an address"));
    let script = Arc::new(Script {
        logins: AtomicUsize::new(0),
        refused_together: Barrier::new(REQUESTS),
        base_url: base_url.clone(),
    });
    let router = Router::new()
        .route("/services/oauth2/token", post(token))
        .route("/services/data/v62.0/limits", get(limits))
        .with_state(Arc::clone(&script));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let config = config("localhost:1", &base_url, "id", "secret");
    let client = Client::new(config.require_salesforce().expect("it has the section")).expect("good settings");
    client.log_in().await.expect("a token");
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS {
        let client = client.clone();
        requests.spawn(async move { client.limits().await });
    }
    while let Some(limits) = requests.join_next().await {
        assert_eq!(limits.expect("no panic").expect("limits")["DailyApiRequests"].remaining, 14_998);
    }
    assert_eq!(script.logins.load(Ordering::SeqCst), 2, "the first login and one refresh");
    server.abort();
}

#[tokio::test]
async fn a_query_is_read_to_its_last_page_and_the_usage_is_kept() {
    let org = org().await;
    let campaign = super::campaign(&org, "Conference");
    for number in 0..2_100 {
        super::lead_in(&org, campaign, number);
    }
    let client = client(&org);
    assert_eq!(client.api_usage(), None);
    let records = client.query("SELECT Id, Email FROM Lead").await.expect("records");
    assert_eq!(records.len(), 2_100);
    let usage = client.api_usage();
    assert!(matches!(usage, Some(ApiUsage { used: 1.., limit: 15_000 })), "{usage:?}");
}

#[tokio::test]
async fn an_expired_session_is_renewed_and_the_request_sent_again() {
    let org = org().await;
    let client = client(&org);
    client.describe("CampaignMember").await.expect("a describe");
    org.expire_tokens();
    client.describe("CampaignMember").await.expect("a describe with a new token");
}

#[tokio::test]
async fn what_is_not_an_answer_of_salesforce_is_a_typed_error() {
    let org = org().await;
    let client = client(&org);
    client.log_in().await.expect("a token");
    let page = || FaultAction::Answer { status: 503, body: "<html>maintenance</html>".into() };
    org.add_fault(Fault::next("limits", page()));
    org.add_fault(Fault::next("limits", FaultAction::CutBefore));
    org.add_fault(Fault::next("limits", FaultAction::Answer { status: 200, body: "<html>hello</html>".into() }));
    for expected in ["no_code", "transport", "body"] {
        let error = client.limits().await.expect_err("a fault");
        assert_eq!((error.code(), error.disposition()), (expected, Disposition::Wait(Wait::Outage)));
    }
    org.add_fault(Fault::next("limits", FaultAction::refuse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests")));
    let error = client.limits().await.expect_err("a fault");
    assert_eq!(error.disposition(), Disposition::Wait(Wait::Quota));
}

#[tokio::test]
async fn wrong_credentials_are_waited_for_and_show_no_secret() {
    let org = org().await;
    let config = config("localhost:1", &org.base_url(), "rollbook", "not-the-secret");
    let client = Client::new(config.require_salesforce().expect("it has the section")).expect("good settings");
    let error = client.log_in().await.expect_err("a refusal");
    assert_eq!(error.disposition(), Disposition::Wait(Wait::Login));
    assert!(!format!("{error:?}").contains("not-the-secret"));
}

fn client(org: &rollbook::emulator::Emulator) -> Client {
    let config = config_for(org, "localhost:1");
    Client::new(config.require_salesforce().expect("it has the section")).expect("good settings")
}
