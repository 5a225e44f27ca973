//! What an admin of a real org adds: validation rules, duplicate rules, restricted picklists.

use rollbook::emulator::Options;
use rollbook::emulator::schema::{Schema, Source};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Answer, Session, answer, assert_refused, assert_row_refused};

const KEY: &str = "sobjects/UserSessionEngagement__c/external_id__c";

/// An org and the token of its control surface.
struct Ruled {
    org: Session,
    token: String,
}

impl Ruled {
    async fn start() -> Self {
        let options = Options::new(Schema::load_embedded());
        let token = options.control_token.expose_secret().to_owned();
        Self { org: Session::with(options).await, token }
    }

    async fn control(&self, method: &str, path: &str, body: Value) -> Answer {
        let method = method.parse().expect("an HTTP method");
        let request = self.org.http.request(method, format!("{}/emulator/{path}", self.org.emulator.base_url()));
        let request = request.header("x-emulator-token", &self.token).json(&body);
        answer(request.send().await.expect("an answer")).await.expect("JSON")
    }

    async fn post_with(&self, path: &str, header: &str, body: &Value) -> Answer {
        let request = self.org.request("POST", path, Some(body)).header("Sforce-Duplicate-Rule-Header", header);
        answer(request.send().await.expect("an answer")).await.expect("JSON")
    }
}

fn lead(email: &str) -> Value {
    json!({ "LastName": "Example", "Company": "Example Ltd", "Email": email })
}

#[tokio::test]
async fn a_validation_rule_refuses_rows_for_which_its_condition_holds() {
    let Ruled { org, .. } = &Ruled::start().await;
    let ruled = Ruled::start().await;
    let path = "rules/validation/UserSessionEngagement__c/Plays";
    for (refuse_if, bad, good) in [
        (json!({ "above": 10 }), json!({ "plays__c": 11 }), json!({ "plays__c": 10 })),
        (json!({ "below": 1 }), json!({ "plays__c": 0 }), json!({ "plays__c": 1 })),
        (json!({ "equals": 7 }), json!({ "plays__c": 7 }), json!({ "plays__c": 8 })),
        (json!("blank"), json!({ "plays__c": null }), json!({ "plays__c": 1 })),
    ] {
        let rule = json!({ "field": "plays__c", "refuse_if": refuse_if, "message": "Not so.", "at_field": true });
        assert_eq!(ruled.control("PUT", path, rule).await.0, 204);
        let refused = ruled.org.patch(&format!("{KEY}/a"), bad.clone()).await;
        assert_refused(&refused, 400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Not so.");
        assert_eq!(refused.1[0]["fields"], json!(["plays__c"]));
        assert!(ruled.org.patch(&format!("{KEY}/a"), good).await.0 < 300, "{refuse_if}");
        assert!(org.patch(&format!("{KEY}/a"), bad).await.0 < 300, "another org has no such rule");
    }
    // An update is judged by the row that it makes, and in a collection one row does not harm the next.
    let contains = json!({ "field": "entry_name__c", "refuse_if": { "contains": "test" }, "message": "No tests." });
    assert_eq!(ruled.control("PUT", path, contains).await.0, 204);
    let row = |key: &str, name: &str| {
        let attributes = json!({ "type": "UserSessionEngagement__c" });
        json!({ "attributes": attributes, "external_id__c": key, "entry_name__c": name, "plays__c": 1 })
    };
    let body = json!({ "records": [row("a", "a test"), row("b", "a talk")] });
    let (_, rows) = ruled.org.patch("composite/sobjects/UserSessionEngagement__c/external_id__c", body).await;
    assert_row_refused(&rows[0], "FIELD_CUSTOM_VALIDATION_EXCEPTION", "No tests.");
    assert_eq!((&rows[0]["errors"][0]["fields"], &rows[1]["success"]), (&json!([]), &json!(true)));

    assert_eq!(ruled.control("DELETE", "rules/UserSessionEngagement__c/Plays", json!({})).await.0, 204);
    assert_eq!(ruled.control("DELETE", "rules/UserSessionEngagement__c/Plays", json!({})).await.0, 404);
    assert_eq!(ruled.org.patch(&format!("{KEY}/a"), json!({ "entry_name__c": "a test" })).await.0, 200);
}

#[tokio::test]
async fn a_rule_names_what_exists() {
    let ruled = Ruled::start().await;
    let rule = json!({ "field": "nope__c", "refuse_if": "blank", "message": "" });
    assert_refused(
        &ruled.control("PUT", "rules/validation/Lead/R", rule).await,
        400,
        "INVALID_FIELD",
        "No such column 'nope__c' on sobject of type Lead",
    );
    let none = ruled.control("PUT", "rules/duplicate/Lead/R", json!({ "fields": [] })).await;
    assert_eq!((none.0, &none.1[0]["errorCode"]), (400, &json!("MISSING_ARGUMENT")));
    let derived = ruled.control("PUT", "rules/duplicate/CampaignMember/R", json!({ "fields": ["email"] })).await;
    assert_eq!(derived.1[0]["message"], "No such column 'Email' on sobject of type CampaignMember");
    assert_eq!(ruled.control("PUT", "rules/duplicate/Nope/R", json!({ "fields": ["Name"] })).await.0, 404);
    let unread = ruled.control("PUT", "rules/validation/Lead/R", json!({ "formula": "1 = 1" })).await;
    assert_eq!((unread.0, &unread.1[0]["errorCode"]), (400, &json!("JSON_PARSER_ERROR")));
}

#[tokio::test]
async fn duplicates_are_detected_unless_the_caller_saves_them() {
    let ruled = Ruled::start().await;
    let known = ruled.org.lead("ann@example.com");
    let rule = json!({ "fields": ["EMAIL", "LastName"] });
    assert_eq!(ruled.control("PUT", "rules/duplicate/Lead/Standard", rule).await.0, 204);
    let ann = lead("ANN@example.com");
    let refused = ruled.org.post("sobjects/Lead", ann.clone()).await;
    assert_refused(&refused, 400, "DUPLICATES_DETECTED", "Use one of these records?");
    let result = &refused.1[0]["duplicateResult"];
    let matched = &result["matchResults"][0]["matchRecords"][0]["record"]["Id"];
    assert_eq!((matched, &result["allowSave"]), (&json!(known), &json!(true)));
    assert_eq!(ruled.org.post("sobjects/Lead", lead("ben@example.com")).await.0, 201, "another email");

    let row = |email: &str| {
        let mut row = lead(email);
        row["attributes"] = json!({ "type": "Lead" });
        row
    };
    let body = json!({ "records": [row("ann@example.com"), row("cem@example.com")] });
    let (_, rows) = ruled.org.post("composite/sobjects", body.clone()).await;
    assert_row_refused(&rows[0], "DUPLICATES_DETECTED", "Use one of these records?");
    assert_eq!(rows[1]["success"], true);
    let none = ruled.post_with("sobjects/Lead", "allowSave=false; includeRecordDetails=true", &ann).await;
    assert_eq!(none.1[0]["errorCode"], "DUPLICATES_DETECTED");
    let header = "allowSave=true; includeRecordDetails=true; runAsCurrentUser=true";
    assert_eq!(ruled.post_with("sobjects/Lead", header, &ann).await.0, 201);
    let (_, rows) = ruled.post_with("composite/sobjects", header, &body).await;
    assert_eq!((&rows[0]["success"], &rows[1]["success"]), (&json!(true), &json!(true)));
    assert_eq!(ruled.org.post("sobjects/Lead", ann.clone()).await.0, 400, "the header was the other calls'");

    let update = format!("sobjects/Lead/{known}");
    assert_eq!(ruled.org.patch(&update, json!({ "Title": "Dr" })).await.0, 204, "nothing that the rule compares");
    assert_eq!(
        ruled.org.patch(&update, json!({ "Email": "ben@example.com" })).await.1[0]["errorCode"],
        "DUPLICATES_DETECTED"
    );

    let block = json!({ "fields": ["Email"], "message": "Already here.", "allow_save": false });
    assert_eq!(ruled.control("PUT", "rules/duplicate/Lead/Standard", block).await.0, 204);
    let blocked = ruled.post_with("sobjects/Lead", header, &ann).await;
    assert_refused(&blocked, 400, "DUPLICATES_DETECTED", "Already here.");
    let blank = json!({ "LastName": "Example", "Company": "Example Ltd" });
    for _ in 0..2 {
        assert_eq!(ruled.org.post("sobjects/Lead", blank.clone()).await.0, 201, "blank is like nothing");
    }
}

#[tokio::test]
async fn a_restricted_picklist_takes_its_active_values_only() {
    let picklist = |name: &str, restricted: bool| {
        let value = |name: &str, active: bool| {
            format!("<value><fullName>{name}</fullName><isActive>{active}</isActive><label>{name}</label></value>")
        };
        let values = value("Gold", true) + &value("Silver", true) + &value("Tin", false);
        let text = format!(
            "<CustomField><fullName>{name}</fullName><label>Tier</label><type>Picklist</type><valueSet>\
             <restricted>{restricted}</restricted><valueSetDefinition>{values}</valueSetDefinition></valueSet></CustomField>"
        );
        Source::new(&format!("objects/Lead/fields/{name}.field-meta.xml"), &text)
    };
    let grant = |name: &str| {
        format!(
            "<fieldPermissions><field>Lead.{name}</field><readable>true</readable><editable>true</editable></fieldPermissions>"
        )
    };
    let set = format!("<PermissionSet>{}{}</PermissionSet>", grant("tier__c"), grant("free__c"));
    let mut schema = Schema::standard();
    let sources =
        [picklist("tier__c", true), picklist("free__c", false), Source::new("permissionsets/P.permissionset", &set)];
    schema.apply(&sources).expect("it deploys");
    let org = Session::with(Options::new(schema)).await;
    let path = format!("sobjects/Lead/{}", org.lead("ann@example.com"));
    assert_eq!(org.patch(&path, json!({ "tier__c": "Gold", "free__c": "Anything" })).await.0, 204);
    for bad in ["Bronze", "gold", "Tin"] {
        let refused = org.patch(&path, json!({ "tier__c": bad })).await;
        let message = format!("Tier: bad value for restricted picklist field: {bad}");
        assert_refused(&refused, 400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", &message);
        assert_eq!(refused.1[0]["fields"], json!(["tier__c"]));
    }
    assert_eq!(org.patch(&path, json!({ "tier__c": null })).await.0, 204);
    let (_, described) = org.get("sobjects/Lead/describe").await;
    let field = described["fields"].as_array().expect("fields").iter().find(|field| field["name"] == "tier__c");
    assert_eq!(field.expect("it is visible")["restrictedPicklist"], true);
}
