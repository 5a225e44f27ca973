//! The registry client against a server of Confluent's API: what is an answer, and what is only an outage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rollbook::config;
use rollbook::event::{Decoded, Decoder, EventKind, Record, Refusal, RefusalReason};
use rollbook::kafka::registry::{Registry, RegistryError};
use serde_json::json;

use crate::harness::{self, TlsFront};

/// Paths asked for, with the authorization header.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

async fn answer(State(seen): State<Seen>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    seen.lock().unwrap().push((path.clone(), authorization));
    let place = r#"{"type":"record","name":"Place","namespace":"rollbook","fields":[{"name":"x","type":"int"}]}"#;
    let view = r#"{"type":"record","name":"View","namespace":"rollbook","fields":[{"name":"place","type":"Place"}]}"#;
    match path.trim_start_matches("/apis/ccompat/v7") {
        "/schemas/ids/1" => json!({"schema": r#""string""#, "schemaType": "AVRO"}).to_string().into_response(),
        "/schemas/ids/2" => {
            json!({"schema": view, "references": [{"name": "rollbook.Place", "subject": "a/place", "version": 3}]})
                .to_string()
                .into_response()
        }
        "/subjects/a%2Fplace/versions/3" => json!({"schema": place}).to_string().into_response(),
        "/schemas/ids/3" => {
            (StatusCode::NOT_FOUND, json!({"error_code": 40403, "message": "none"}).to_string()).into_response()
        }
        "/schemas/ids/4" => (StatusCode::INTERNAL_SERVER_ERROR, "jane@example.org").into_response(),
        "/schemas/ids/5" => (StatusCode::UNAUTHORIZED, "{}").into_response(),
        "/schemas/ids/6" => "<html>a proxy</html>".into_response(),
        // A plain 404, as of an id that the API cannot take.
        "/schemas/ids/7" => (StatusCode::NOT_FOUND, json!({"error_code": 404}).to_string()).into_response(),
        "/schemas/ids/8" => referring(view, "gone", 1),
        "/schemas/ids/9" => referring(view, "chain-0", 1),
        "/schemas/ids/10" => referring(view, "around", 1),
        "/subjects/around/versions/1" => referring(place, "around", 1),
        "/subjects" => json!(["a/place", "around"]).to_string().into_response(),
        path if path.starts_with("/subjects/chain-") => {
            let number: u32 =
                path.trim_matches(|c: char| !c.is_ascii_digit()).split('/').next().unwrap().parse().unwrap();
            referring(place, &format!("chain-{}", number + 1), 1)
        }
        _ => (StatusCode::NOT_FOUND, "no such page").into_response(),
    }
}

fn referring(schema: &str, subject: &str, version: u32) -> Response {
    json!({"schema": schema, "references": [{"name": format!("of.{subject}"), "subject": subject, "version": version}]})
        .to_string()
        .into_response()
}

/// "rollbook:s3cret" as a header.
const AUTHORIZATION: &str = "Basic cm9sbGJvb2s6czNjcmV0";

/// A server on a free port; it ends with the test's runtime.
async fn serve() -> (String, Seen) {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), seen)
}

fn client(url: String, password: Option<&str>) -> Registry {
    let username = password.map(|_| "rollbook".to_owned());
    let password = password.map(|password| password.to_owned().into());
    Registry::new(&config::Registry { url, username, password, ca_file: None, proxy: config::Proxy::none() }).unwrap()
}

#[tokio::test]
async fn a_schema_is_found_under_a_path_with_or_without_a_slash_at_its_end() {
    let (url, seen) = serve().await;
    for base in [url.clone(), format!("{url}/"), format!("{url}/apis/ccompat/v7"), format!("{url}/apis/ccompat/v7/")] {
        assert_eq!(client(base, None).schema(1).await.unwrap().as_deref(), Ok(r#""string""#));
    }
    let paths: Vec<_> = seen.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    let path = "/apis/ccompat/v7/schemas/ids/1";
    assert_eq!(paths, ["/schemas/ids/1", "/schemas/ids/1", path, path]);
}

#[tokio::test]
async fn what_a_schema_refers_to_comes_with_it() {
    let (url, _) = serve().await;
    let text = client(url, None).schema(2).await.unwrap().unwrap();
    let mut decoder = Decoder::new(1_000);
    decoder.learn(2, Ok(&text));
    let value = [0, 0, 0, 0, 2, 14];
    let record = Record { kind: Some(EventKind::View), key: None, value: Some(&value), timestamp: None, headers: &() };
    let Ok(Decoded::Refused(refusal)) = decoder.decode(&record) else { panic!("a view without an id is refused") };
    assert_eq!(refusal.reason, RefusalReason::EventIdMissing, "{refusal}");
}

#[test]
fn an_unknown_schema_is_asked_for_again_and_a_known_one_is_not() {
    let mut decoder = Decoder::new(1_000);
    let text = r#"{"type":"record","name":"View","fields":[{"name":"source","type":"string"}]}"#;
    decoder.learn(1, Ok(text));
    let none = Refusal { reason: RefusalReason::UnknownSchema, detail: "the registry has no such schema".to_owned() };
    decoder.learn(2, Err(none));
    decoder.learn_that_nobody_knows(3);
    let decode = |decoder: &Decoder, id| {
        let value = [0, 0, 0, 0, id, 0];
        let record =
            Record { kind: Some(EventKind::View), key: None, value: Some(&value), timestamp: None, headers: &() };
        match decoder.decode(&record) {
            Ok(Decoded::Refused(refusal)) => refusal.to_string(),
            Ok(_) => panic!("a view without an id is refused"),
            Err(needed) => format!("schema {} is needed", needed.id),
        }
    };
    assert!(decode(&decoder, 2).contains("the registry has no such schema"));
    assert!(decode(&decoder, 3).contains("no registry is configured"), "{}", decode(&decoder, 3));
    decoder.forget_unknown();
    assert_eq!(
        (decode(&decoder, 2).as_str(), decode(&decoder, 3).as_str()),
        ("schema 2 is needed", "schema 3 is needed")
    );
    assert!(decode(&decoder, 1).contains("event_id"), "{}", decode(&decoder, 1));
}

#[tokio::test]
async fn an_outage_is_no_answer() {
    let (url, _) = serve().await;
    let registry = client(url.clone(), None);
    for (id, says) in [(4, "500"), (5, "registry.username"), (6, "Confluent's API")] {
        let error = registry.schema(id).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("jane"), "{error}");
    }
    let unreachable = client("http://127.0.0.1:1/x".to_owned(), None).schema(1).await.unwrap_err();
    assert!(matches!(unreachable, RegistryError::Unreachable { .. }));
    // Everything is a plain 404 where the path is wrong: were that an answer, every record would become a dead letter.
    let lost = client(format!("{url}/elsewhere"), None);
    for id in [1, 3, 7] {
        let error = lost.schema(id).await.unwrap_err().to_string();
        assert!(error.contains("registry.url"), "{error}");
    }
}

/// What stays as it is until somebody mends it must not be waited for: all inputs stood still for one such record. A plain
/// 404 was an outage here once; it still is where the registry itself does not answer.
#[tokio::test]
async fn what_asking_again_does_not_mend_is_refused() {
    use RefusalReason::{IncompatibleSchema, UnknownSchema};
    let (url, seen) = serve().await;
    let registry = client(url, None);
    for (id, reason, says) in [
        (3, UnknownSchema, "no such schema"),
        (7, UnknownSchema, "no such schema"),
        (8, UnknownSchema, "version 1 of `gone`"),
        (9, IncompatibleSchema, "more than 64"),
    ] {
        let refusal = registry.schema(id).await.unwrap().unwrap_err();
        assert!(refusal.reason == reason && refusal.detail.contains(says), "{id}: {refusal}");
    }
    // One that refers to itself is given, for the decoder to judge.
    assert!(registry.schema(10).await.unwrap().is_ok());
    seen.lock().unwrap().clear();
    for id in [u32::MAX, 1 << 31] {
        assert_eq!(registry.schema(id).await.unwrap().unwrap_err().reason, UnknownSchema);
    }
    assert!(seen.lock().unwrap().is_empty(), "no registry takes such an id");
}

#[tokio::test]
async fn credentials_travel_in_a_header_and_stand_in_no_error() {
    let (url, seen) = serve().await;
    client(url.clone(), Some("s3cret")).schema(1).await.unwrap().unwrap();
    let in_url = url.replace("http://", "http://user:s3cret@");
    client(in_url, None).schema(1).await.unwrap().unwrap();
    let sent: Vec<_> = seen.lock().unwrap().iter().filter_map(|(_, sent)| sent.clone()).collect();
    assert_eq!(sent, [AUTHORIZATION, "Basic dXNlcjpzM2NyZXQ="]);
    let registry = client("http://user:s3cret@127.0.0.1:1".to_owned(), None);
    let error = registry.schema(1).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn behind_tls_a_registry_is_believed_with_its_authority_alone() {
    let front = TlsFront::before(harness::registry().address, AUTHORIZATION);
    let id = harness::registry().register("tls-value", r#""string""#);
    let registry = |ca_file, password: &str| {
        let url = format!("https://{}/apis/ccompat/v7", front.address);
        let (username, password) = (Some("rollbook".to_owned()), Some(password.to_owned().into()));
        Registry::new(&config::Registry { url, username, password, ca_file, proxy: config::Proxy::none() }).unwrap()
    };
    assert_eq!(registry(Some(front.ca.clone()), "s3cret").schema(id).await.unwrap().as_deref(), Ok(r#""string""#));
    assert_eq!((front.broken_off(), front.unauthorized()), (0, 0));

    let distrust = registry(None, "s3cret").schema(id).await.unwrap_err();
    assert!(distrust.with_causes().contains("certificate verify failed"), "{}", distrust.with_causes());
    assert!(!distrust.with_causes().contains("s3cret"), "{}", distrust.with_causes());
    harness::until("the front to see it", Duration::from_secs(30), || match front.broken_off() {
        0 => Err("every handshake was ended".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(front.unauthorized(), 0, "no request goes to whom nobody vouches for");

    let refused = registry(Some(front.ca.clone()), "wrong").schema(id).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Status { status: StatusCode::UNAUTHORIZED, .. }), "{refused}");
}

#[test]
fn an_authority_that_cannot_be_read_is_named() {
    let settings = |ca_file| config::Registry {
        url: "https://localhost".to_owned(),
        username: None,
        password: None,
        ca_file: Some(ca_file),
        proxy: config::Proxy::none(),
    };
    let Err(error) = Registry::new(&settings("no/such/file.pem".into())) else { panic!("there is no such file") };
    assert!(error.to_string().contains("registry.ca_file `no/such/file.pem`"), "{error}");
}
