//! Tokens: how they are got, told about, and lost.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{JwtKey, Options};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Answer, Session, answer, assert_refused};

async fn token(org: &Session, form: &[(&str, &str)]) -> Answer {
    let url = format!("{}/services/oauth2/token", org.emulator.base_url());
    answer(org.http.post(url).form(form).send().await.expect("an answer")).await.expect("JSON")
}

#[tokio::test]
async fn client_credentials_come_in_the_body_or_as_basic() {
    let org = Session::start().await;
    let credentials = org.emulator.credentials();
    let secret = credentials.client_secret.expose_secret();
    let grant = ("grant_type", "client_credentials");
    let form = [grant, ("client_id", credentials.client_id.as_str()), ("client_secret", secret)];
    let (status, reply) = token(&org, &form).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!((&reply["token_type"], &reply["instance_url"]), (&json!("Bearer"), &json!(org.emulator.base_url())));
    assert!(reply["issued_at"].is_string() && reply.get("expires_in").is_none());
    let url = format!("{}/services/oauth2/token", org.emulator.base_url());
    let basic = org.http.post(url).basic_auth(&credentials.client_id, Some(secret)).form(&[grant]);
    let (status, reply) = answer(basic.send().await.expect("an answer")).await.expect("JSON");
    assert_eq!(status, 200, "{reply}");
    let token = reply["access_token"].as_str().expect("a token");
    assert!(token.starts_with("00D") && token.as_bytes()[15] == b'!', "clients look for ORG!…");
    let response = org.http.get(org.url("sobjects")).bearer_auth(token).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn wrong_credentials_are_refused_in_oauths_own_envelope() {
    let org = Session::start().await;
    let id = org.emulator.credentials().client_id;
    let wrong = [("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", "guess")];
    let error = json!({ "error": "invalid_client", "error_description": "invalid client credentials" });
    assert_eq!(token(&org, &wrong).await, (401, error));
    let error = json!({ "error": "unsupported_grant_type", "error_description": "grant type not supported" });
    assert_eq!(token(&org, &[("grant_type", "magic")]).await, (400, error));
}

#[tokio::test]
async fn passwords_are_refused_unless_the_org_allows_them() {
    let mut options = Options::new(Schema::load_embedded());
    for allowed in [false, true] {
        options.credentials.password = allowed.then(|| "open sesame".into());
        let org = Session::with(options.clone()).await;
        let credentials = org.emulator.credentials();
        let form = [
            ("grant_type", "password"),
            ("client_id", &credentials.client_id),
            ("client_secret", credentials.client_secret.expose_secret()),
            ("username", &credentials.username),
            ("password", "open sesame"),
        ];
        let (status, reply) = token(&org, &form).await;
        let wanted = if allowed { (200, Value::Null) } else { (400, json!("invalid_grant")) };
        assert_eq!((status, reply.get("error").cloned().unwrap_or_default()), wanted);
    }
}

fn assertion(key: &PKey<Private>, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let content = format!("{}.{}", encode(&json!({ "alg": "RS256" })), encode(claims));
    let mut signer = Signer::new(MessageDigest::sha256(), key).expect("an RSA key");
    signer.update(content.as_bytes()).expect("memory");
    format!("{content}.{}", URL_SAFE_NO_PAD.encode(signer.sign_to_vec().expect("a signature")))
}

async fn jwt(org: &Session, key: &PKey<Private>, change: impl Fn(&mut Value)) -> Answer {
    let credentials = org.emulator.credentials();
    let mut claims = json!({
        "iss": credentials.client_id, "sub": credentials.username, "aud": "https://login.salesforce.com",
        "exp": jiff::Timestamp::now().as_second() + 120,
    });
    change(&mut claims);
    let form =
        [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &*assertion(key, &claims))];
    token(org, &form).await
}

#[tokio::test]
async fn an_assertion_counts_if_its_signature_and_claims_are_right() {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut options = Options::new(Schema::load_embedded());
    let public = key.public_key_to_pem().expect("PEM");
    options.credentials.jwt_key = JwtKey::from_pem(&public).expect("a public key");
    let org = Session::with(options).await;
    let now = jiff::Timestamp::now().as_second();
    let base = org.emulator.base_url();
    // As simple-salesforce, the sf command line, and everybody else send it.
    for (claim, value) in [
        ("exp", json!((now + 60).to_string())),
        ("exp", json!((now + 60) * 1000)),
        ("exp", json!(now + 60)),
        ("aud", json!(format!("{base}/"))),
    ] {
        let (status, reply) = jwt(&org, &key, |claims| claims[claim] = value.clone()).await;
        assert_eq!(status, 200, "{claim} {value}: {reply}");
        assert!(reply.get("signature").is_none() && reply.get("refresh_token").is_none());
    }
    let cases = [
        ("exp", json!(now - 60), "expired authorization code"),
        ("sub", json!("somebody@example.com"), "user hasn't approved this consumer"),
        ("aud", json!("https://example.com"), "audience is invalid"),
    ];
    for (claim, value, description) in cases {
        let error = json!({ "error": "invalid_grant", "error_description": description });
        assert_eq!(jwt(&org, &key, |claims| claims[claim] = value.clone()).await, (400, error));
    }
    let other = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let error = json!({ "error": "invalid_grant", "error_description": "invalid assertion" });
    assert_eq!(jwt(&org, &other, |_| ()).await, (400, error));
}

async fn refresh(org: &Session, refresh_token: &str) -> Answer {
    let id = org.emulator.credentials().client_id;
    token(org, &[("grant_type", "refresh_token"), ("client_id", &id), ("refresh_token", refresh_token)]).await
}

async fn org_with_refresh_token(rotate: bool) -> Session {
    let mut options = Options::new(Schema::load_embedded());
    options.credentials.refresh_token = Some("first".into());
    options.credentials.rotate_refresh_tokens = rotate;
    Session::with(options).await
}

fn used_up() -> Answer {
    (400, json!({ "error": "invalid_grant", "error_description": "expired access/refresh token" }))
}

#[tokio::test]
async fn without_rotation_a_refresh_token_is_kept() {
    let mut org = org_with_refresh_token(false).await;
    for _ in 0..2 {
        let (status, reply) = refresh(&org, "first").await;
        assert_eq!((status, reply.get("refresh_token")), (200, None), "{reply}");
        reply["access_token"].as_str().expect("a token").clone_into(&mut org.token);
        assert_eq!(org.get("limits").await.0, 200);
    }
    assert_eq!(refresh(&org, "another").await, used_up());
    let id = org.emulator.credentials().client_id;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "first"), ("client_id", "somebody")];
    assert_eq!(token(&org, &form).await.1["error"], "invalid_client_id");
    let form = [form[0], form[1], ("client_id", &id), ("client_secret", "guess")];
    assert_eq!(token(&org, &form).await.0, 401, "a secret need not be sent, but must be right");
    let url = format!("{}/services/oauth2/revoke", org.emulator.base_url());
    let revoked = org.http.post(url).form(&[("token", "first")]).send().await.expect("an answer");
    assert_eq!((revoked.status().as_u16(), org.get("limits").await.0), (200, 401), "its sessions go with it");
    assert_eq!(refresh(&org, "first").await, used_up());
    assert_eq!(refresh(&Session::start().await, "").await, used_up(), "an org that gave none");
}

#[tokio::test]
async fn a_rotated_refresh_token_is_good_once() {
    let mut org = org_with_refresh_token(true).await;
    let mut refresh_token = "first".to_owned();
    for _ in 0..3 {
        let (status, reply) = refresh(&org, &refresh_token).await;
        assert_eq!(status, 200, "{reply}");
        let successor = reply["refresh_token"].as_str().expect("a successor").to_owned();
        assert_ne!(std::mem::replace(&mut refresh_token, successor), refresh_token);
        reply["access_token"].as_str().expect("a token").clone_into(&mut org.token);
    }
    assert_eq!(org.get("limits").await.0, 200);
    // Sent by a thief, or by somebody who was robbed: nobody can tell.
    assert_eq!(refresh(&org, "first").await, used_up());
    assert_eq!(org.get("limits").await.0, 401);
    assert_eq!(refresh(&org, &refresh_token).await, used_up());
}

#[tokio::test]
async fn a_session_ends_by_revocation_by_age_and_by_order() {
    let org = Session::start().await;
    assert_eq!(org.get("limits").await.0, 200);
    org.emulator.expire_tokens();
    assert_refused(&org.get("limits").await, 401, "INVALID_SESSION_ID", "Session expired or invalid");

    let token = org.emulator.token();
    let url = format!("{}/services/oauth2/revoke", org.emulator.base_url());
    let revoked = org.http.post(url).form(&[("token", &token)]).send().await.expect("an answer");
    assert_eq!(revoked.status(), 200);
    let response = org.http.get(org.url("limits")).bearer_auth(&token).send().await.expect("an answer");
    assert_eq!(response.status(), 401);

    let mut options = Options::new(Schema::load_embedded());
    options.credentials.token_lifetime = Some(Duration::ZERO);
    assert_eq!(Session::with(options).await.get("limits").await.0, 401);
}

#[tokio::test]
async fn a_header_of_another_kind_is_told_apart() {
    let org = Session::start().await;
    let request = org.http.get(org.url("limits")).header("authorization", "Token abc");
    let refused = answer(request.send().await.expect("an answer")).await.expect("JSON");
    assert_refused(&refused, 401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE");
}

#[tokio::test]
async fn a_token_tells_whose_it_is() {
    let org = Session::start().await;
    let credentials = org.emulator.credentials();
    let base = org.emulator.base_url();
    let get = async |url: String| {
        answer(org.http.get(url).bearer_auth(&org.token).send().await.expect("an answer")).await.expect("JSON").1
    };
    let info = get(format!("{base}/services/oauth2/userinfo")).await;
    assert_eq!(info["preferred_username"], json!(credentials.username));
    let identity = org.get("").await.1["identity"].as_str().expect("a URL").to_owned();
    let told = get(format!("{identity}?oauth_token={}", org.token)).await;
    assert_eq!((&told["user_id"], &told["organization_id"]), (&info["user_id"], &info["organization_id"]));
    let user = info["user_id"].as_str().expect("an id");
    assert_eq!(org.get(&format!("sobjects/User/{user}")).await.1["Username"], json!(credentials.username));
    let form = [
        ("token", org.token.as_str()),
        ("client_id", &credentials.client_id),
        ("client_secret", credentials.client_secret.expose_secret()),
    ];
    let request = org.http.post(format!("{base}/services/oauth2/introspect")).form(&form);
    let (_, told) = answer(request.send().await.expect("an answer")).await.expect("JSON");
    assert_eq!((&told["active"], &told["username"]), (&json!(true), &json!(credentials.username)));
}
