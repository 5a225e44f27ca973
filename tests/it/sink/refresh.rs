//! The refresh token flow: what is in the token's file at every moment, with orgs that rotate.

use std::collections::HashMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use rollbook::config::Config;
use rollbook::disposition::{Disposition, Wait};
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Fault, FaultAction, Options};
use rollbook::salesforce::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;

/// A folder with the token's file.
struct Place {
    folder: TempDir,
}

impl Place {
    fn with(token: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(place.kept()).expect("a folder");
        fs::write(place.file(), token).expect("the token is written");
        place
    }

    /// What is around the file, to be moved away.
    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    fn elsewhere(&self) -> PathBuf {
        self.folder.path().join("elsewhere")
    }

    fn file(&self) -> PathBuf {
        self.kept().join("token")
    }

    fn token(&self) -> String {
        fs::read_to_string(self.file()).expect("the token is there")
    }

    fn client(&self, login_url: &str, client_id: &str) -> Client {
        let file = self.file().display().to_string();
        let text = format!(
            "[kafka]\nbootstrap = \"localhost:1\"\n[salesforce]\nlogin_url = {login_url:?}\n[salesforce.auth]\n\
             flow = \"refresh_token\"\nclient_id = {client_id:?}\nrefresh_token_file = {file:?}\n"
        );
        let config = Config::parse(&text, Path::new(""), &|_| None).unwrap_or_else(|invalid| panic!("{invalid}"));
        Client::new(config.require_salesforce().expect("it has the section")).expect("good settings")
    }
}

/// An org that rotates: `refresh-1` gives `refresh-2`, and so on.
struct Script {
    base_url: String,
    place: Place,
    /// Refresh tokens that came, in their order.
    came: Mutex<Vec<String>>,
    /// Takes the folder away while the token's successor is on its way.
    steal_folder: bool,
    asked: Notify,
    /// Set where an answer waits for it.
    answer: Option<Notify>,
}

async fn token(
    State(script): State<Arc<Script>>,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, axum::Json<Value>) {
    let number = {
        let mut came = script.came.lock().unwrap();
        came.push(form["refresh_token"].clone());
        came.len()
    };
    assert_eq!((form["grant_type"].as_str(), form.get("client_secret")), ("refresh_token", None));
    script.asked.notify_one();
    if let Some(answer) = &script.answer {
        answer.notified().await;
    }
    if form["refresh_token"] != format!("refresh-{number}") {
        let refusal = json!({ "error": "invalid_grant", "error_description": "expired access/refresh token" });
        return (StatusCode::BAD_REQUEST, axum::Json(refusal));
    }
    if script.steal_folder && number == 1 {
        fs::rename(script.place.kept(), script.place.elsewhere()).expect("the folder moves");
    }
    let granted = json!({
        "access_token": format!("access-{number}"), "instance_url": script.base_url,
        "refresh_token": format!("refresh-{}", number + 1),
    });
    (StatusCode::OK, axum::Json(granted))
}

/// Takes an access token only where the refresh token that came with it is in the file.
async fn limits(State(script): State<Arc<Script>>) -> StatusCode {
    let logins = script.came.lock().unwrap().len();
    let stored = script.place.token() == format!("refresh-{}", logins + 1);
    if stored { StatusCode::OK } else { StatusCode::IM_A_TEAPOT }
}

impl Script {
    async fn start(steal_folder: bool, answer: Option<Notify>) -> (Arc<Self>, Client) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let place = Place::with("refresh-1\n");
        let client = place.client(&base_url, "consumer");
        let (came, asked) = (Mutex::default(), Notify::new());
        let script = Arc::new(Self { base_url, place, came, steal_folder, asked, answer });
        let router = Router::new()
            .route("/services/oauth2/token", post(token))
            .route("/services/data/v62.0/limits", get(limits))
            .with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (script, client)
    }
}

#[tokio::test]
async fn the_next_refresh_token_is_stored_before_the_access_token_is_used() {
    let (script, client) = Script::start(false, None).await;
    // The body is empty; that the status is 200 is what the script has to say.
    assert_eq!(client.limits().await.expect_err("no JSON").code(), "body");
    assert_eq!(script.place.token(), "refresh-2");
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_lose_the_next_refresh_token() {
    let (script, client) = Script::start(false, Some(Notify::new())).await;
    let caller = tokio::spawn({
        let client = client.clone();
        async move { client.log_in().await }
    });
    script.asked.notified().await;
    caller.abort();
    assert!(caller.await.expect_err("it was called off").is_cancelled());
    script.answer.as_ref().expect("it waits").notify_one();
    client.settled().await;
    assert_eq!(script.place.token(), "refresh-2");
}

#[tokio::test]
async fn a_refresh_token_that_cannot_be_stored_is_kept_until_it_can() {
    let (script, client) = Script::start(true, None).await;
    for _ in 0..2 {
        let error = client.log_in().await.expect_err("there is no folder");
        assert_eq!(error.disposition(), Disposition::Wait(Wait::Outage));
        let cause = error.source().expect("a cause").to_string();
        assert!(cause.contains("could not store the new refresh token") && !cause.contains("refresh-2"), "{cause}");
    }
    assert_eq!(script.came.lock().unwrap().len(), 1, "the old one is used up, and not sent again");
    fs::rename(script.place.elsewhere(), script.place.kept()).expect("the folder moves back");
    client.log_in().await.expect("a token");
    assert_eq!(*script.came.lock().unwrap(), ["refresh-1", "refresh-2"]);
    assert_eq!(script.place.token(), "refresh-3");
}

#[tokio::test]
async fn a_used_up_refresh_token_and_a_lost_file_are_waited_for_as_a_refused_login() {
    let (script, client) = Script::start(false, None).await;
    fs::write(script.place.file(), "canary").expect("the token is written");
    let error = client.log_in().await.expect_err("a refusal");
    assert_eq!(error.disposition(), Disposition::Wait(Wait::Login));
    let cause = error.source().expect("a cause").to_string();
    assert!(cause.contains("logging in as the user again"), "{cause}");
    assert!(cause.contains("invalid_grant: expired access/refresh token") && !cause.contains("canary"), "{cause}");
    fs::remove_file(script.place.file()).expect("the file was there");
    let error = client.log_in().await.expect_err("no file");
    assert_eq!(error.disposition(), Disposition::Wait(Wait::Login));
    assert!(!format!("{error:?}").contains("canary"));
}

async fn rotating(first: &str) -> Emulator {
    let mut options = Options::new(Schema::load_embedded());
    options.credentials.refresh_token = Some(first.into());
    options.credentials.rotate_refresh_tokens = true;
    Emulator::start(options).await.expect("a free port")
}

#[tokio::test]
async fn several_clients_share_the_file_of_an_org_that_rotates() {
    let org = rotating("first").await;
    let place = Place::with("first");
    let clients: Vec<Client> = (0..4).map(|_| place.client(&org.base_url(), "rollbook")).collect();
    // Whoever read the file before the other's answer came would send a used token, which ends everything.
    let slowly = Fault::next("/oauth2/token", FaultAction::Proceed).times(8).delayed(Duration::from_millis(30));
    org.add_fault(slowly);
    for round in 1..=2 {
        let mut logins = tokio::task::JoinSet::new();
        for client in clients.clone() {
            logins.spawn(async move { client.describe("CampaignMember").await.map(drop) });
        }
        while let Some(ended) = logins.join_next().await {
            ended.expect("no panic").expect("a token");
        }
        assert_eq!(org.calls("token"), round * 4, "one login each");
        org.expire_tokens();
    }
}

#[tokio::test]
async fn an_answer_that_never_came_leaves_a_token_that_works() {
    let org = rotating("first").await;
    let place = Place::with("first");
    let client = place.client(&org.base_url(), "rollbook");
    let page = FaultAction::Answer { status: 502, body: "<html>Bad Gateway</html>".into() };
    for fault in [FaultAction::CutBefore, page] {
        org.add_fault(Fault::next("/oauth2/token", fault));
        let error = client.log_in().await.expect_err("a fault");
        assert_eq!(error.disposition(), Disposition::Wait(Wait::Outage));
        assert_eq!(place.token(), "first");
    }
    client.log_in().await.expect("a token");
    assert_ne!(place.token(), "first");
    place.client(&org.base_url(), "rollbook").log_in().await.expect("the stored one works");
}
