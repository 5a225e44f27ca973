//! The Salesforce emulator, one behaviour a test, through its HTTP surface. `docs/emulator.md` lists where each
//! behaviour comes from.

#![allow(clippy::indexing_slicing, reason = "an answer of another shape fails the test, as it should")]

mod bulk;
mod bulk_query;
mod bulk_restart;
mod bulk_rows;
mod collections;
mod composite;
pub mod deploy;
mod documented;
mod faults;
mod keys;
mod locks;
mod logins;
mod members;
mod people;
mod process;
mod queries;
mod records;
mod rules;

use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Options, Person};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A running emulator and a session on it.
struct Session {
    emulator: Emulator,
    http: reqwest::Client,
    token: String,
    version: &'static str,
    control_token: SecretString,
}

/// Status and body; an empty body is null.
type Answer = (u16, Value);

impl Session {
    async fn start() -> Self {
        Self::with(Options::new(Schema::load_embedded())).await
    }

    async fn with(options: Options) -> Self {
        let control_token = options.control_token.clone();
        let emulator = Emulator::start(options).await.expect("a free port");
        let token = emulator.token();
        Self { emulator, http: reqwest::Client::new(), token, version: "62.0", control_token }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/services/data/v{}/{path}", self.emulator.base_url(), self.version)
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let method = method.parse().expect("an HTTP method");
        let request = self.http.request(method, self.url(path)).bearer_auth(&self.token);
        if let Some(body) = body { request.json(body) } else { request }
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::Result<Answer> {
        answer(self.request(method, path, body).send().await?).await
    }

    /// On a task of its own, beside other calls.
    fn spawn(&self, method: &str, path: &str, body: Option<&Value>) -> JoinHandle<Answer> {
        let request = self.request(method, path, body);
        tokio::spawn(async { answer(request.send().await.expect("an answer")).await.expect("JSON") })
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await.expect("an answer")
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(&body)).await.expect("an answer")
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, Some(&body)).await.expect("an answer")
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await.expect("an answer")
    }

    /// The rows of a query.
    async fn query(&self, soql: &str) -> Vec<Value> {
        let url = reqwest::Url::parse_with_params(&self.url("query"), [("q", soql)]).expect("a URL");
        let response = self.http.get(url).bearer_auth(&self.token).send().await.expect("an answer");
        let (status, body) = answer(response).await.expect("JSON");
        assert_eq!(status, 200, "{body}");
        body["records"].as_array().expect("records").clone()
    }

    /// What only an emulator does, by its control surface.
    async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/emulator/{path}", self.emulator.base_url());
        let request = self.http.request(method.parse().expect("a method"), url).json(&body);
        let request = request.header("x-emulator-token", self.control_token.expose_secret());
        let (status, body) = answer(request.send().await.expect("an answer")).await.expect("JSON");
        assert!(status < 300, "{body}");
        body
    }

    fn campaign(&self, name: &str) -> String {
        self.emulator.with_org(|org| org.put_campaign(name)).expect("a campaign").to_string()
    }

    fn lead(&self, email: &str) -> String {
        self.person(email, Some("Example Ltd"))
    }

    fn contact(&self, email: &str) -> String {
        self.person(email, None)
    }

    fn person(&self, email: &str, company: Option<&str>) -> String {
        let person = Person { first_name: "Ann", last_name: "Example", email, company };
        self.emulator.with_org(|org| org.put_person(&person)).expect("a person").to_string()
    }

    /// Puts a record in without permissions in the way.
    fn put(&self, object: &str, record: Value) -> String {
        self.emulator.with_org(|org| org.put(object, record)).expect("a good record").to_string()
    }
}

async fn answer(response: reqwest::Response) -> reqwest::Result<Answer> {
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(if text.is_empty() { Value::Null } else { json!(text) })))
}

/// A REST error: status, code, message.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, message: &str) {
    let (found_status, body) = answer;
    let found = (*found_status, body[0]["errorCode"].as_str(), body[0]["message"].as_str());
    assert_eq!(found, (status, Some(code), Some(message)), "{body}");
}

/// An error inside a row of a collection.
#[track_caller]
fn assert_row_refused(row: &Value, code: &str, message: &str) {
    assert_eq!(row["success"], false, "{row}");
    let error = &row["errors"][0];
    assert_eq!((error["statusCode"].as_str(), error["message"].as_str()), (Some(code), Some(message)), "{row}");
}

fn read_only(fields: &str) -> String {
    format!(
        "Unable to create/update fields: {fields}. Please check the security settings of this field and verify that it \
         is read/write for your profile or permission set."
    )
}
