//! `rollbook emulate`, the real binary: it says how to log in, keeps what it answered, and ends when asked.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer;
use crate::harness::{self, Process};

const WITHIN: Duration = Duration::from_secs(30);

struct Emulate {
    process: Process,
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Emulate {
    async fn start(data: &Path) -> Self {
        Self::start_with(&["--data", data.to_str().expect("the path is UTF-8")]).await
    }

    async fn start_with(more: &[&str]) -> Self {
        let arguments = [&["emulate", "--json", "--log-level", "error", "--listen", "127.0.0.1:0"], more].concat();
        let process = Process::spawn("emulate", &mut harness::command(&arguments)).expect("the binary is built");
        let mut told = Value::Null;
        harness::until("the emulator to say how to log in", WITHIN, || {
            told = serde_json::from_str(&process.log()).map_err(|_| process.log_tail())?;
            Ok(())
        });
        let text = |name: &str| told[name].as_str().expect("a text").to_owned();
        let (url, http) = (text("url"), reqwest::Client::new());
        let form = [
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", text("client_id")),
            ("client_secret", text("client_secret")),
        ];
        let request = http.post(format!("{url}/services/oauth2/token")).form(&form);
        let (status, reply) = answer(request.send().await.expect("an answer")).await.expect("JSON");
        assert_eq!(status, 200, "{reply}");
        let token = reply["access_token"].as_str().expect("a token").to_owned();
        Self { process, http, url, token }
    }

    async fn call(&self, method: reqwest::Method, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/services/data/v62.0/sobjects/UserSessionEngagement__c/external_id__c/a", self.url);
        let request = self.http.request(method, url).bearer_auth(&self.token);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        answer(request.send().await.expect("an answer")).await.expect("JSON")
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let data = tempfile::tempdir().expect("a folder");
    let mut first = Emulate::start(data.path()).await;
    assert_eq!(first.call(reqwest::Method::PATCH, Some(json!({ "plays__c": 3 }))).await.0, 201);
    first.process.kill();
    let mut second = Emulate::start(data.path()).await;
    let (status, row) = second.call(reqwest::Method::GET, None).await;
    assert_eq!((status, &row["plays__c"]), (200, &json!(3.0)));
    let third = ["emulate", "--listen", "127.0.0.1:0", "--data", data.path().to_str().expect("the path is UTF-8")];
    let third = harness::command(&third).output().expect("the binary is built");
    assert_eq!(
        (third.status.code(), third.stdout.as_slice()),
        (Some(1), &b""[..]),
        "no login to an org that is not there"
    );
    second.process.signal("TERM");
    let ended = second.process.wait(WITHIN).expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn an_empty_org_and_a_fault_script_are_options_of_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("faults.toml");
    std::fs::write(&script, "[[fault]]\npath = \"limits\"\naction = { answer = { status = 502, body = \"\" } }\n")
        .expect("the folder is writable");
    let script = script.to_str().expect("the path is UTF-8");
    let org = Emulate::start_with(&["--empty", "--faults", script, "--latency", "1ms", "--write-time", "1ms"]).await;
    assert_eq!(org.call(reqwest::Method::PATCH, Some(json!({}))).await.0, 404, "nothing was deployed yet");
    let limits = || org.http.get(format!("{}/services/data/v62.0/limits", org.url)).bearer_auth(&org.token).send();
    assert_eq!(limits().await.expect("an answer").status(), 502);
    assert_eq!(limits().await.expect("an answer").status(), 200);

    std::fs::write(script, "[[fault]]\nrate = 2.0\n").expect("the folder is writable");
    let wrong = harness::command(&["emulate", "--listen", "127.0.0.1:0", "--faults", script]).output();
    let wrong = wrong.expect("the binary is built");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(wrong.status.code() == Some(1) && said.contains("fault 1: `rate` is 2, not 0 to 1"), "{said}");
}
