//! Metadata deployments: what a zip may hold, by which way it comes, and what is said of each component.

use std::io::{Cursor, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rollbook::emulator::Options;
use rollbook::emulator::schema::Schema;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Session, answer, assert_refused};

const OBJECT: &str = "<label>Talk</label><pluralLabel>Talks</pluralLabel>\
    <nameField><type>Text</type><label>Name</label></nameField>";
const TEXT: &str = "<fullName>a__c</fullName><label>A</label><type>Text</type><length>9</length>";

async fn empty_org() -> Session {
    Session::with(Options::new(Schema::standard())).await
}

fn zip(files: &[(&str, String)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in files {
        zip.start_file(*path, SimpleFileOptions::default()).expect("a good name");
        zip.write_all(text.as_bytes()).expect("memory takes it");
    }
    zip.finish().expect("memory takes it").into_inner()
}

fn manifest(members: &[(&str, &str)]) -> (&'static str, String) {
    let types =
        members.iter().map(|(kind, name)| format!("<types><members>{name}</members><name>{kind}</name></types>"));
    ("package.xml", format!("<Package>{}<version>62.0</version></Package>", types.collect::<String>()))
}

fn object(body: &str) -> (&'static str, String) {
    ("objects/Talk__c.object", format!("<CustomObject>{body}</CustomObject>"))
}

fn fields(all: &[&str]) -> String {
    let fields: Vec<String> = all.iter().map(|field| format!("<fields>{field}</fields>")).collect();
    fields.concat()
}

fn grants(fields: &[&str]) -> (&'static str, String) {
    let fields = fields.iter().map(|field| {
        format!("<fieldPermissions><field>{field}</field><readable>true</readable><editable>true</editable></fieldPermissions>")
    });
    let object = "<objectPermissions><object>Talk__c</object><allowRead>true</allowRead><allowCreate>true</allowCreate>\
        <allowEdit>true</allowEdit></objectPermissions>";
    let body = fields.collect::<String>() + object;
    ("permissionsets/P.permissionset", format!("<PermissionSet><label>P</label>{body}</PermissionSet>"))
}

/// Object, one field and the permissions for it.
pub fn talk() -> Vec<u8> {
    let listed = manifest(&[("CustomObject", "Talk__c"), ("PermissionSet", "P")]);
    zip(&[listed, object(&(fields(&[TEXT]) + OBJECT)), grants(&["Talk__c.a__c"])])
}

impl Session {
    /// Deploys by REST and hands back the result.
    async fn deploy(&self, zip: Vec<u8>, options: Value) -> Value {
        let (status, body) = self.start_deploy(zip, "json", options).await;
        assert_eq!((status, &body["deployResult"]["done"]), (201, &json!(false)), "{body}");
        let path = format!("metadata/deployRequest/{}", body["id"].as_str().expect("an id"));
        assert_eq!(self.get(&path).await.1["deployResult"]["details"], Value::Null, "only who asks gets them");
        let (status, mut body) = self.get(&format!("{path}?includeDetails=true")).await;
        assert_eq!((status, &body["deployResult"]["done"]), (200, &json!(true)), "{body}");
        body["deployResult"].take()
    }

    async fn start_deploy(&self, zip: Vec<u8>, options_part: &str, options: Value) -> super::Answer {
        let options = json!({ "deployOptions": options }).to_string();
        let mut body = Vec::new();
        for (name, more, content) in [
            (options_part, "\r\nContent-Type: application/json", options.as_bytes()),
            ("file", "; filename=\"package.zip\"\r\nContent-Type: application/zip", &zip),
        ] {
            body.extend_from_slice(
                format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--limit--\r\n");
        let request = self.http.post(self.url("metadata/deployRequest")).bearer_auth(&self.token);
        let request = request.header("content-type", "multipart/form-data; boundary=limit").body(body);
        answer(request.send().await.expect("an answer")).await.expect("JSON")
    }

    async fn soap(&self, prefix: &str, session: &str, operation: &str) -> (u16, String) {
        let body = format!(
            "<{prefix}:Envelope xmlns:{prefix}=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:m=\"http://soap.sforce.com/2006/04/metadata\"><{prefix}:Header><m:SessionHeader>\
             <m:sessionId>{session}</m:sessionId></m:SessionHeader></{prefix}:Header><{prefix}:Body>{operation}\
             </{prefix}:Body></{prefix}:Envelope>"
        );
        let url = format!("{}/services/Soap/m/62.0", self.emulator.base_url());
        let response =
            self.http.post(url).header("content-type", "text/xml").body(body).send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a text"))
    }

    async fn knows(&self, object: &str) -> bool {
        self.get(&format!("sobjects/{object}/describe")).await.0 == 200
    }
}

fn problems(result: &Value) -> Vec<(String, String)> {
    let failures = result["details"]["componentFailures"].as_array().expect("a list");
    let text = |failure: &Value, name: &str| failure[name].as_str().unwrap_or_default().to_owned();
    failures.iter().map(|failure| (text(failure, "fullName"), text(failure, "problem"))).collect()
}

#[tokio::test]
async fn a_deployed_object_can_be_written_at_once() {
    let org = empty_org().await;
    assert!(!org.knows("Talk__c").await);
    let result = org.deploy(talk(), json!({ "rollbackOnError": true, "singlePackage": true })).await;
    assert_eq!((&result["status"], &result["success"]), (&json!("Succeeded"), &json!(true)), "{result}");
    assert_eq!((&result["numberComponentsDeployed"], &result["numberComponentErrors"]), (&json!(3), &json!(0)));
    let field = &result["details"]["componentSuccesses"][1];
    let found = ["componentType", "fullName", "fileName", "created", "changed"].map(|key| &field[key]);
    assert_eq!(
        found,
        [&json!("CustomField"), &json!("Talk__c.a__c"), &json!("objects/Talk__c.object"), &json!(true), &json!(true)]
    );
    assert_eq!(org.post("sobjects/Talk__c", json!({ "Name": "One", "a__c": "x" })).await.0, 201);
    assert_eq!(org.query("SELECT a__c FROM Talk__c").await[0]["a__c"], "x");
    let again = org.deploy(talk(), json!({ "rollbackOnError": true })).await;
    let field = &again["details"]["componentSuccesses"][1];
    assert_eq!((&field["created"], &field["changed"]), (&json!(false), &json!(false)), "it is the same");
    assert_eq!(org.query("SELECT a__c FROM Talk__c").await[0]["a__c"], "x", "rows stay");
}

#[tokio::test]
async fn a_field_deployed_later_is_empty_in_rows_that_are_there() {
    let org = empty_org().await;
    org.deploy(talk(), json!({})).await;
    let (_, row) = org.post("sobjects/Talk__c", json!({ "Name": "One", "a__c": "x" })).await;
    let key = "<fullName>k__c</fullName><label>K</label><type>Text</type><length>9</length>\
        <externalId>true</externalId><unique>true</unique>";
    let listed = manifest(&[("CustomField", "Talk__c.k__c"), ("PermissionSet", "P")]);
    let more = zip(&[listed, object(&fields(&[key])), grants(&["Talk__c.a__c", "Talk__c.k__c"])]);
    let result = org.deploy(more, json!({ "rollbackOnError": true })).await;
    assert_eq!(result["status"], "Succeeded", "{result}");
    assert_eq!(org.query("SELECT a__c, k__c FROM Talk__c").await[0]["k__c"], Value::Null);
    let path = format!("sobjects/Talk__c/{}", row["id"].as_str().expect("an id"));
    assert_eq!(org.patch(&path, json!({ "k__c": "one" })).await.0, 204);
    assert_eq!(org.get("sobjects/Talk__c/k__c/ONE").await.1["a__c"], "x", "it is an index too");
}

#[tokio::test]
async fn a_check_changes_nothing() {
    let org = empty_org().await;
    let result = org.deploy(talk(), json!({ "checkOnly": true, "rollbackOnError": true })).await;
    assert_eq!((&result["status"], &result["checkOnly"]), (&json!("Succeeded"), &json!(true)));
    assert!(!org.knows("Talk__c").await);
}

#[tokio::test]
async fn a_field_that_no_permission_set_grants_is_invisible() {
    let org = empty_org().await;
    let listed = manifest(&[("CustomObject", "Talk__c"), ("PermissionSet", "P")]);
    let hidden = "<fullName>h__c</fullName><label>H</label><type>Text</type><length>9</length>";
    let files = [listed, object(&(fields(&[TEXT, hidden]) + OBJECT)), grants(&["Talk__c.a__c"])];
    org.deploy(zip(&files), json!({})).await;
    let (_, described) = org.get("sobjects/Talk__c/describe").await;
    let names: Vec<&str> =
        described["fields"].as_array().expect("fields").iter().filter_map(|f| f["name"].as_str()).collect();
    assert!(names.contains(&"a__c") && !names.contains(&"h__c"), "{names:?}");
    let message = "No such column 'h__c' on sobject of type Talk__c";
    let written = org.post("sobjects/Talk__c", json!({ "Name": "One", "h__c": "x" })).await;
    assert_refused(&written, 400, "INVALID_FIELD", message);
    let (_, row) = org.post("sobjects/Talk__c", json!({ "Name": "One" })).await;
    let path = format!("sobjects/Talk__c/{}", row["id"].as_str().expect("an id"));
    assert_refused(&org.get(&format!("{path}?fields=h__c")).await, 400, "INVALID_FIELD", message);
    let (status, body) = org.get("query?q=SELECT+h__c+FROM+Talk__c").await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALID_FIELD")));
    // A set without the field takes the permission back.
    let listed = manifest(&[("PermissionSet", "P")]);
    org.deploy(zip(&[listed, grants(&[])]), json!({})).await;
    assert_eq!(org.get("query?q=SELECT+a__c+FROM+Talk__c").await.0, 400);
}

#[tokio::test]
async fn errors_are_told_in_salesforces_words_with_their_place() {
    let cases: [(&str, &str, &str); 9] = [
        (
            "Talk__c",
            "<fullName>b__c</fullName><label>B</label><type>Hat</type>",
            "Error parsing file: 'Hat' is not a valid value for the enum 'FieldType'",
        ),
        (
            "Talk__c.b__c",
            "<fullName>b__c</fullName><type>Text</type><length>9</length>",
            "Must specify a non-empty label for the CustomField",
        ),
        (
            "Talk__c.b__c",
            "<fullName>b__c</fullName><label>B</label><type>Text</type>",
            "Required field is missing: length",
        ),
        ("Talk__c.a__c", TEXT, "duplicate value found: <unknown> duplicates value on record with id: <unknown>"),
        (
            "Talk__c.b__c",
            "<fullName>b__c</fullName><label>B</label><type>Lookup</type><referenceTo>Nope__c</referenceTo>",
            "In field: referenceTo - no CustomObject named Nope__c found",
        ),
        (
            "Talk__c.b__c",
            "<fullName>b__c</fullName><label>B</label><type>Picklist</type>",
            "You must specify either picklist, globalPicklist, or valueSet",
        ),
        (
            "Talk__c.b__c",
            "<fullName>b__c</fullName><label>B</label><type>Picklist</type><valueSet><valueSetDefinition><value><fullName>x</fullName><label>X</label></value><value><fullName>y</fullName><label>X</label></value></valueSetDefinition></valueSet>",
            "Duplicate label: X",
        ),
        (
            "Talk__c.b__c",
            "<fullName>b__c</fullName><label>B</label><type>Picklist</type><valueSet><valueSetDefinition><value><label>X</label></value></valueSetDefinition></valueSet>",
            "Required field is missing: fullName",
        ),
        (
            "Talk__c.b__c",
            "<fullName>b__c</fullName><label>B</label><type>Number</type><precision>19</precision><scale>0</scale>",
            "precision is 19 with scale 0",
        ),
    ];
    let org = empty_org().await;
    for (name, field, problem) in cases {
        let files = [manifest(&[("CustomObject", "Talk__c")]), object(&(fields(&[TEXT, field]) + OBJECT))];
        let result = org.deploy(zip(&files), json!({ "rollbackOnError": true })).await;
        assert!(problems(&result).contains(&(name.to_owned(), problem.to_owned())), "{problem}: {result:#}");
        assert_eq!((&result["status"], &result["success"]), (&json!("Failed"), &json!(false)));
        let failure = &result["details"]["componentFailures"][0];
        assert!(failure["lineNumber"] == 1 && failure["columnNumber"].as_u64() > Some(1), "{failure}");
    }
    let unnamed = OBJECT.replace("<label>Talk</label>", "");
    let files = [manifest(&[("CustomObject", "Talk__c")]), object(&(fields(&[TEXT]) + &unnamed))];
    let result = org.deploy(zip(&files), json!({ "rollbackOnError": true })).await;
    let told = [
        ("Talk__c", "Must specify a non-empty label for the CustomObject"),
        ("Talk__c.a__c", "Parent entity failed to deploy"),
    ];
    assert_eq!(problems(&result), told.map(|(name, problem)| (name.to_owned(), problem.to_owned())));
}

#[tokio::test]
async fn a_permission_set_may_only_name_what_is_there_and_not_required() {
    let org = empty_org().await;
    let needed =
        "<fullName>r__c</fullName><label>R</label><type>Text</type><length>9</length><required>true</required>";
    let listed = [("CustomObject", "Talk__c"), ("PermissionSet", "P")];
    for (field, problem) in [
        ("Talk__c.nope__c", "In field: field - no CustomField named Talk__c.nope__c found"),
        ("Talk__c.r__c", "You cannot deploy to a required field: Talk__c.r__c"),
    ] {
        let files = [manifest(&listed), object(&(fields(&[needed]) + OBJECT)), grants(&[field])];
        let result = org.deploy(zip(&files), json!({ "rollbackOnError": true })).await;
        assert_eq!(problems(&result), [("P".to_owned(), problem.to_owned())]);
    }
    let alone = [manifest(&[("PermissionSet", "P")]), grants(&[])];
    let result = org.deploy(zip(&alone), json!({ "rollbackOnError": true })).await;
    assert_eq!(problems(&result)[0].1, "In field: object - no CustomObject named Talk__c found");
}

#[tokio::test]
async fn one_bad_component_takes_all_back_only_if_asked() {
    let bad = "<fullName>b__c</fullName><type>Text</type><length>9</length>";
    let listed = [("CustomObject", "Talk__c"), ("PermissionSet", "P")];
    let files = [manifest(&listed), object(&(fields(&[TEXT, bad]) + OBJECT)), grants(&["Talk__c.a__c"])];
    let org = empty_org().await;
    let result = org.deploy(zip(&files), json!({ "rollbackOnError": true })).await;
    assert_eq!(result["status"], "Failed");
    assert!(!org.knows("Talk__c").await);
    let result = org.deploy(zip(&files), json!({ "rollbackOnError": false })).await;
    assert_eq!((&result["status"], &result["numberComponentErrors"]), (&json!("SucceededPartial"), &json!(1)));
    assert_eq!(org.post("sobjects/Talk__c", json!({ "Name": "One", "a__c": "x" })).await.0, 201);
}

#[tokio::test]
async fn the_list_and_the_files_have_to_be_the_same() {
    let org = empty_org().await;
    let body = object(&(fields(&[TEXT]) + OBJECT));
    for (files, problem) in [
        (vec![body.clone()], ("package.xml", "No package.xml found")),
        (vec![manifest(&[]), body.clone()], ("Talk__c", "Not in package.xml")),
        (
            vec![manifest(&[("CustomObject", "Talk__c"), ("CustomObject", "Gone__c")]), body.clone()],
            (
                "Gone__c",
                "An object 'Gone__c' of type CustomObject was named in package.xml, but was not found in zipped directory",
            ),
        ),
        (
            vec![manifest(&[("CustomObject", "Talk__c"), ("ApexClass", "X")]), body],
            ("X", "the emulator does not deploy components of type ApexClass"),
        ),
    ] {
        let result = org.deploy(zip(&files), json!({})).await;
        let (name, problem) = (problem.0.to_owned(), problem.1.to_owned());
        assert!(problems(&result).contains(&(name, problem)), "{result:#}");
        assert!(!org.knows("Talk__c").await);
    }
    let (status, body) = org.start_deploy(b"no zip".to_vec(), "json", json!({})).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALID_OPERATION")));
    let (status, body) = org.start_deploy(talk(), "other", json!({})).await;
    assert_eq!((status, &body[0]["message"]), (400, &json!("the part json must be specified")));
}

#[tokio::test]
async fn soap_is_understood_whatever_its_prefixes() {
    let org = empty_org().await;
    let deploy = format!(
        "<m:deploy><m:ZipFile>{}</m:ZipFile><m:DeployOptions><m:rollbackOnError>true</m:rollbackOnError>\
         <m:singlePackage>true</m:singlePackage></m:DeployOptions></m:deploy>",
        STANDARD.encode(talk())
    );
    let (status, fault) = org.soap("se", "00D!nobody", &deploy).await;
    assert!(status == 500 && fault.contains("<faultcode>sf:INVALID_SESSION_ID</faultcode>"), "{fault}");
    assert!(!org.knows("Talk__c").await);
    let (status, started) = org.soap("env", &org.token, &deploy).await;
    assert!(status == 200 && started.contains("<state>Queued</state>"), "{started}");
    let (_, after) = started.split_once("<id>").expect("an id");
    let id = &after[..18];
    let status = format!(
        "<m:checkDeployStatus><m:asyncProcessId>{id}</m:asyncProcessId><m:includeDetails>true</m:includeDetails>\
         </m:checkDeployStatus>"
    );
    let (_, result) = org.soap("soap-env", &org.token, &status).await;
    for part in ["<status>Succeeded</status>", "<done>true</done>", "<fullName>Talk__c.a__c</fullName>"] {
        assert!(result.contains(part), "{part}: {result}");
    }
    assert!(org.knows("Talk__c").await);
    let (status, fault) = org.soap("env", &org.token, &status.replace(id, "0Af000000000001AAA")).await;
    assert!(status == 500 && fault.contains("INVALID_CROSS_REFERENCE_KEY"), "{fault}");
    let other = deploy.replace("m:deploy", "deploy");
    assert!(org.soap("env", &org.token, &other).await.1.contains("No operation available"), "another namespace");
}

#[tokio::test]
async fn what_was_deployed_survives_a_restart_with_its_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(Schema::standard());
    options.data = Some(folder.path().to_owned());
    let org = Session::with(options.clone()).await;
    org.deploy(talk(), json!({ "rollbackOnError": true })).await;
    assert_eq!(org.post("sobjects/Talk__c", json!({ "Name": "One", "a__c": "x" })).await.0, 201);
    org.emulator.stop().await.expect("an orderly end");
    let org = Session::with(options.clone()).await;
    assert_eq!(org.query("SELECT a__c FROM Talk__c").await[0]["a__c"], "x");
    // Rows that nobody may see any more are kept all the same.
    let nothing = "<PermissionSet><label>P</label></PermissionSet>".to_owned();
    let hide = zip(&[manifest(&[("PermissionSet", "P")]), ("permissionsets/P.permissionset", nothing)]);
    assert_eq!(org.deploy(hide, json!({})).await["status"], "Succeeded");
    assert!(!org.knows("Talk__c").await);
    org.emulator.stop().await.expect("an orderly end");
    let org = Session::with(options).await;
    assert!(!org.knows("Talk__c").await);
    org.deploy(talk(), json!({})).await;
    assert_eq!(org.query("SELECT a__c FROM Talk__c").await[0]["a__c"], "x");
}

#[tokio::test]
async fn a_master_takes_its_details_along() {
    let org = empty_org().await;
    let master = "<fullName>m__c</fullName><label>M</label><type>MasterDetail</type><referenceTo>Campaign</referenceTo>\
        <relationshipName>Talks</relationshipName>";
    let files = [
        manifest(&[("CustomObject", "Talk__c"), ("PermissionSet", "P")]),
        object(&(fields(&[master]) + OBJECT)),
        grants(&[]),
    ];
    let result = org.deploy(zip(&files), json!({ "rollbackOnError": true })).await;
    assert_eq!(result["status"], "Succeeded", "{result}");
    let missing = org.post("sobjects/Talk__c", json!({ "Name": "One" })).await;
    assert_refused(&missing, 400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [m__c]");
    let campaign = org.campaign("Conference");
    let (status, row) = org.post("sobjects/Talk__c", json!({ "Name": "One", "m__c": campaign })).await;
    assert_eq!(status, 201, "{row}");
    let path = format!("sobjects/Talk__c/{}", row["id"].as_str().expect("an id"));
    let moved = org.patch(&path, json!({ "m__c": org.campaign("Other") })).await;
    assert_eq!(moved.1[0]["errorCode"], "INVALID_FIELD_FOR_INSERT_UPDATE");
    assert_eq!(org.delete(&format!("sobjects/Campaign/{campaign}")).await.0, 204);
    assert_eq!(org.get(&path).await.0, 404);
}
