//! Other people's Salesforce clients, unmodified, against the emulator: simple-salesforce and jsforce log in every way
//! they know, describe, query, and upsert one row, many, and many in bulk.

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, JwtKey, Options, Person};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness;

const PYTHON_PACKAGES: [&str; 1] = ["simple-salesforce==1.12.10"];
/// More than a page of a query and more than a call's rows.
const LEADS: usize = 2_150;
const MEMBERS: usize = 251;
/// What a bulk job says of a new member that nobody can be.
const PARENTLESS: &str = "REQUIRED_FIELD_MISSING:Required fields are missing: [CampaignId]:CampaignId --";
const PASSWORD: &str = "open sesame";

struct Fixture {
    emulator: Emulator,
    settings: Value,
}

async fn fixture() -> Fixture {
    let key: PKey<Private> = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut options = Options::new(Schema::load_embedded());
    let public = key.public_key_to_pem().expect("PEM");
    options.credentials.jwt_key = JwtKey::from_pem(&public).expect("a public key");
    options.credentials.password = Some(PASSWORD.into());
    let emulator = Emulator::start(options).await.expect("a free port");
    let (campaign, leads) = emulator.with_org(|org| {
        let lead = |at: usize| {
            let email = format!("lead{at}@example.com");
            let person =
                Person { first_name: "Ann", last_name: "Example", email: &email, company: Some("Example Ltd") };
            org.put_person(&person).expect("a good lead").to_string()
        };
        let leads: Vec<String> = (0..LEADS).map(lead).collect();
        (org.put_campaign("Conference").expect("a good campaign").to_string(), leads)
    });
    let credentials = emulator.credentials();
    let settings = json!({
        "url": emulator.base_url(),
        "clientId": credentials.client_id,
        "clientSecret": credentials.client_secret.expose_secret(),
        "username": credentials.username,
        "password": PASSWORD,
        "privateKey": String::from_utf8(key.private_key_to_pem_pkcs8().expect("PEM")).expect("PEM is ASCII"),
        "campaign": campaign,
        "zip": STANDARD.encode(crate::emulator::deploy::talk()),
        "leads": leads.get(..MEMBERS).expect("there are more leads than members"),
    });
    Fixture { emulator, settings }
}

/// Runs a client to its end and reads what it printed.
async fn run(program: &Path, script: &Path, settings: &Value) -> Value {
    let mut command = Command::new(program);
    command.arg(script).env("CLIENT", settings.to_string()).stdin(Stdio::null());
    // Waiting blocks a thread of its own: the emulator answers meanwhile.
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", script.display());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

fn all_created(found: &Value, count: usize) {
    let rows = found.as_array().expect("rows");
    assert_eq!(rows.len(), count);
    assert!(rows.iter().all(|row| *row == json!([true, true])), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_salesforce_works_unmodified() {
    let python = harness::python(&PYTHON_PACKAGES);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/simple_salesforce_client.py");
    let Fixture { emulator, settings } = fixture().await;
    let found = run(&python, &script, &settings).await;
    assert_eq!(found["users"], json!([settings["username"], settings["username"], settings["username"]]));
    assert_eq!(found["external"], json!({ "externalId": true, "unique": true, "length": 100 }));
    assert_eq!((&found["deployed"], &found["talk"]), (&json!([["Succeeded", "3"], ["Succeeded", "3"]]), &json!(true)));
    assert_eq!(found["codes"], json!([201, 200, 204, 204]));
    assert_eq!(found["status"], "Sent");
    all_created(&found["many"], 200);
    assert_eq!(found["again"][0]["statusCode"], "INVALID_FIELD_FOR_INSERT_UPDATE");
    assert_eq!(found["thrown"], "INVALID_FIELD");
    assert_eq!(found["responded"], true);
    assert_eq!(found["total"], 201);
    assert_eq!(found["leads"], LEADS);
    assert_eq!(found["sandbox"], false);
    assert_eq!(found["limit"], 15_000);
    assert!(found["objects"].as_u64() >= Some(10) && found["usage"] == 15_000);
    assert_eq!(emulator.calls("upsert"), 3);
    assert_eq!(found["bulk"], json!({ "Processed": 201, "Failed": 1, "Total": 201 }));
    assert_eq!(found["results"], json!({ "successfulRecords": 200, "failedRecords": 1, "unprocessedRecords": 0 }));
    assert_eq!(found["failed"], PARENTLESS);
    assert_eq!(found["pages"], json!([150, 50]));
    assert_eq!(found["page"], json!(["Lead.Email", "external_id__c"]));
    assert_eq!(found["failure"], "Job failure. Response content: InvalidBatch : Field name not found : Nope__c");
}

#[tokio::test(flavor = "multi_thread")]
async fn jsforce_works_unmodified() {
    let project = harness::node("tests/clients");
    let node = harness::tool("node").expect("harness::node found it");
    let Fixture { emulator, settings } = fixture().await;
    let found = run(Path::new(node.get_program()), &project.join("jsforce_client.mjs"), &settings).await;
    assert_eq!(found["users"], json!([settings["username"], settings["username"], settings["username"]]));
    assert_eq!(found["external"], json!({ "externalId": true, "unique": true, "length": 100 }));
    assert_eq!((&found["one"]["success"], &found["one"]["created"]), (&json!(true), &json!(true)));
    all_created(&found["many"], MEMBERS - 1);
    assert_eq!(found["again"], false);
    assert_eq!(found["refused"][0]["statusCode"], "INVALID_FIELD_FOR_INSERT_UPDATE");
    assert_eq!(found["thrown"], "INVALID_FIELD");
    assert_eq!(found["total"], MEMBERS);
    assert_eq!(found["record"]["Status"], "Responded");
    assert_eq!(found["record"]["Lead"]["Email"], "lead0@example.com");
    assert_eq!(found["leads"], LEADS);
    assert_eq!(found["retrieved"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["composite"], 200);
    assert_eq!(found["usage"]["limit"], 15_000);
    assert_eq!((&found["checked"], &found["deployed"]), (&json!([true, true]), &json!([true, 4])));
    assert_eq!(found["talk"], true);
    // 250 rows are two calls, the refused one is a third.
    assert_eq!(emulator.calls("collections_upsert"), 3);
    let counts = json!({ "successfulResults": MEMBERS - 1, "failedResults": 1, "unprocessedRecords": 0 });
    assert_eq!(found["bulk"], counts);
    assert_eq!((&found["bulkFailed"], &found["bulkCreated"]), (&json!(PARENTLESS), &json!("false")));
    assert_eq!(found["empty"], json!([0, 0, 0]));
    let why = "Ingest job failed to complete due to: InvalidBatch : Field name not found : Nope__c";
    assert_eq!(found["failure"], why);
    assert_eq!(found["answered"], MEMBERS);
    assert_eq!(found["answeredColumns"], json!(["external_id__c", "Lead.Email"]));
}
