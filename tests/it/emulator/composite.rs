//! Calls in a call: what refers to what, what is taken back, and the older and newer forms of it: batches, graphs, trees.

use serde_json::{Value, json};

use super::collections::{UPSERT, engagement, subrequest, upsert};
use super::{Session, assert_refused, assert_row_refused};

const KEY: &str = "sobjects/UserSessionEngagement__c/external_id__c";

fn composite(requests: &[Value]) -> Value {
    json!({ "compositeRequest": requests })
}

/// Codes of HTTP by reference.
fn codes(answer: &Value) -> Vec<(&str, u64)> {
    let parts = answer["compositeResponse"].as_array().expect("answers");
    let code = |part: &Value| part["httpStatusCode"].as_u64().expect("a code");
    parts.iter().map(|part| (part["referenceId"].as_str().expect("a name"), code(part))).collect()
}

#[tokio::test]
async fn answers_are_referred_to_by_path_and_by_case() {
    let org = Session::start().await;
    org.put("UserSessionEngagement__c", json!({ "external_id__c": "a", "plays__c": 3 }));
    let query = "query?q=SELECT+Id,plays__c+FROM+UserSessionEngagement__c";
    let body = composite(&[
        subrequest("found", "GET", query, Value::Null),
        subrequest("made", "PATCH", &format!("{KEY}/b"), json!({ "plays__c": "@{found.records[0].plays__c}" })),
        subrequest(
            "same",
            "PATCH",
            "sobjects/UserSessionEngagement__c/@{found.records[0].Id}",
            json!({ "plays__c": 4 }),
        ),
        subrequest("other", "GET", "sobjects/UserSessionEngagement__c/@{made.Id}", Value::Null),
        subrequest("none", "GET", "sobjects/UserSessionEngagement__c/@{found.records[7].Id}", Value::Null),
        subrequest("after", "GET", "sobjects/UserSessionEngagement__c/@{made.id}", Value::Null),
    ]);
    let (status, answer) = org.post("composite", body).await;
    let expected = [("found", 200), ("made", 201), ("same", 204), ("other", 400), ("none", 400), ("after", 200)];
    assert_eq!((status, codes(&answer)), (200, expected.to_vec()), "{answer}");
    let refused = |at: usize| (400, answer["compositeResponse"][at]["body"].clone());
    let message = "Invalid reference specified. No value for made.Id found in made";
    assert_refused(&refused(3), 400, "PROCESSING_HALTED", message);
    let message = "Invalid reference specified. No value for found.records[7].Id found in found";
    assert_refused(&refused(4), 400, "PROCESSING_HALTED", message);
    assert_eq!(answer["compositeResponse"][5]["body"]["plays__c"], 3.0);
}

#[tokio::test]
async fn one_failure_leaves_what_does_not_depend_on_it() {
    let org = Session::start().await;
    let body = composite(&[
        subrequest("bad", "PATCH", &format!("{KEY}/a"), json!({ "email__c": "none" })),
        subrequest("child", "GET", "sobjects/UserSessionEngagement__c/@{bad.id}", Value::Null),
        subrequest("free", "PATCH", &format!("{KEY}/b"), json!({})),
    ]);
    let (_, answer) = org.post("composite", body).await;
    assert_eq!(codes(&answer), [("bad", 400), ("child", 400), ("free", 201)]);
}

#[tokio::test]
async fn all_or_none_holds_for_the_collections_inside() {
    let org = Session::start().await;
    let collection = upsert(&[
        engagement("a", 1),
        json!({
            "attributes": { "type": "UserSessionEngagement__c" }, "external_id__c": "b", "email__c": "none",
        }),
    ]);
    let mut body = composite(&[
        subrequest("one", "PATCH", &format!("{KEY}/c"), json!({})),
        subrequest("rows", "PATCH", UPSERT, collection),
    ]);
    body["allOrNone"] = json!(true);
    let (_, answer) = org.post("composite", body.clone()).await;
    assert_eq!(codes(&answer), [("one", 400), ("rows", 200)]);
    let rows = &answer["compositeResponse"][1]["body"];
    let message = "Record rolled back because not all records were valid and the request was using AllOrNone header";
    assert_row_refused(&rows[0], "ALL_OR_NONE_OPERATION_ROLLED_BACK", message);
    assert!(org.query("SELECT Id FROM UserSessionEngagement__c").await.is_empty());
    body["allOrNone"] = json!(false);
    let (_, answer) = org.post("composite", body).await;
    assert_eq!(codes(&answer), [("one", 201), ("rows", 200)]);
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c").await.len(), 2);
}

#[tokio::test]
async fn a_composite_call_that_is_not_well_formed_is_refused_whole() {
    let org = Session::start().await;
    let good = || subrequest("good", "PATCH", &format!("{KEY}/a"), json!({}));
    let with = |name: &str, value: Value| {
        let mut request = subrequest("other", "GET", "sobjects", Value::Null);
        request[name] = value;
        composite(&[good(), request])
    };
    let refused = async |body: Value, code: &str, message: &str| {
        assert_refused(&org.post("composite", body).await, 400, code, message);
    };
    let json = "JSON_PARSER_ERROR";
    refused(with("referenceId", json!("good")), json, "every referenceId must be different").await;
    for id in ["a-b", "_a", ""] {
        let message = format!(
            "Provided referenceId ('{id}') must start with a letter or a number, and it can contain only letters, numbers \
             and underscores ('_')."
        );
        refused(with("referenceId", json!(id)), json, &message).await;
    }
    for header in ["Accept", "authorization", "Content-Type"] {
        let message = "a subrequest cannot have Accept, Authorization or Content-Type";
        refused(with("httpHeaders", json!({ header: "x" })), json, message).await;
    }
    refused(with("url", Value::Null), "MISSING_ARGUMENT", "url must be specified in every subrequest").await;
    refused(with("method", json!("BREW")), json, "method is no HTTP method").await;
    for name in ["allOrNone", "collateSubrequests"] {
        let mut body = composite(&[good()]);
        body[name] = json!("yes");
        refused(body, json, &format!("{name} must be a boolean at [line:1, column:2]")).await;
    }
    assert!(org.query("SELECT Id FROM UserSessionEngagement__c").await.is_empty(), "nothing was done");
    let mut body = composite(&[good()]);
    body["collateSubrequests"] = json!(false);
    assert_eq!(org.post("composite", body).await.0, 200);
}

#[tokio::test]
async fn a_subrequest_has_its_own_headers_version_and_kinds_of_resource() {
    let org = Session::start().await;
    for at in 0..201 {
        org.put("UserSessionEngagement__c", json!({ "external_id__c": at.to_string() }));
    }
    let mut query = subrequest("query", "GET", "query?q=SELECT+Id+FROM+UserSessionEngagement__c", Value::Null);
    query["httpHeaders"] = json!({ "Sforce-Query-Options": "batchSize=200" });
    let mut old = subrequest("old", "GET", "sobjects", Value::Null);
    old["url"] = json!("/services/data/v30.0/sobjects");
    let inner = |name: &str, path: &str| subrequest(name, "GET", path, Value::Null);
    let body =
        composite(&[query, old, inner("limits", "limits"), inner("jobs", "jobs/ingest"), inner("nested", "composite")]);
    let (_, answer) = org.post("composite", body).await;
    let expected = [("query", 200), ("old", 410), ("limits", 404), ("jobs", 404), ("nested", 404)];
    assert_eq!(codes(&answer), expected, "{answer}");
    let page = &answer["compositeResponse"][0]["body"];
    assert_eq!((page["records"].as_array().map(Vec::len), &page["done"]), (Some(200), &json!(false)));
}

#[tokio::test]
async fn a_batch_does_each_call_for_itself_and_each_costs_one() {
    let org = Session::start().await;
    let before = org.emulator.api_calls();
    let request = |method: &str, path: &str, input: Value| json!({ "method": method, "url": format!("v62.0/{path}"), "richInput": input });
    let requests = json!([
        request("PATCH", &format!("{KEY}/a"), json!({ "plays__c": 1 })),
        request("Patch", &format!("{KEY}/b"), json!({ "email__c": "none" })),
        request("GET", &format!("{KEY}/a"), Value::Null),
        request("GET", "composite/batch", Value::Null),
    ]);
    let (status, answer) = org.post("composite/batch", json!({ "batchRequests": requests })).await;
    let codes = |answer: &Value| {
        let results = answer["results"].as_array().expect("results").iter();
        results.map(|result| result["statusCode"].as_u64().expect("a code")).collect::<Vec<_>>()
    };
    assert_eq!((status, &answer["hasErrors"], codes(&answer)), (200, &json!(true), vec![201, 400, 200, 404]));
    assert_eq!(answer["results"][2]["result"]["plays__c"], 1.0);
    assert_eq!(org.emulator.api_calls() - before, 4);
    let (_, answer) = org.post("composite/batch", json!({ "batchRequests": requests, "haltOnError": true })).await;
    assert_eq!(codes(&answer), [200, 400, 412, 412]);
    let halted = (412, answer["results"][2]["result"].clone());
    let message = "Batch processing halted per request, because an error occurred in a previous subrequest.";
    assert_refused(&halted, 412, "BATCH_PROCESSING_HALTED", message);
    let many: Vec<Value> = (0..26).map(|_| request("GET", "limits", Value::Null)).collect();
    assert_eq!(org.post("composite/batch", json!({ "batchRequests": many })).await.0, 400);
    org.emulator.set_daily_api_requests(org.emulator.api_calls() + 2);
    let (_, answer) = org.post("composite/batch", json!({ "batchRequests": many[..3] })).await;
    assert_eq!(codes(&answer), [200, 200, 403]);
}

#[tokio::test]
async fn each_graph_is_all_or_none() {
    let org = Session::start().await;
    let graph = |id: &str, requests: &[Value]| json!({ "graphId": id, "compositeRequest": requests });
    let patch = |reference: &str, key: &str, body: Value| subrequest(reference, "PATCH", &format!("{KEY}/{key}"), body);
    let good = graph(
        "good",
        &[
            patch("one", "a", json!({})),
            subrequest("read", "GET", "sobjects/UserSessionEngagement__c/@{one.id}", Value::Null),
        ],
    );
    let bad = graph("bad", &[patch("one", "b", json!({})), patch("two", "c", json!({ "email__c": "none" }))]);
    let (status, answer) = org.post("composite/graph", json!({ "graphs": [good, bad] })).await;
    assert_eq!(status, 200, "{answer}");
    let fine: Vec<_> =
        (0..2).map(|at| (&answer["graphs"][at]["graphId"], &answer["graphs"][at]["isSuccessful"])).collect();
    assert_eq!(fine, [(&json!("good"), &json!(true)), (&json!("bad"), &json!(false))]);
    assert_eq!(codes(&answer["graphs"][0]["graphResponse"]), [("one", 201), ("read", 200)]);
    assert_eq!(codes(&answer["graphs"][1]["graphResponse"]), [("one", 400), ("two", 400)]);
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c").await.len(), 1);

    let failing = |at: usize| graph(&at.to_string(), &[patch("bad", "d", json!({ "email__c": "none" }))]);
    let mut graphs: Vec<Value> = (0..14).map(failing).collect();
    graphs.push(graph("last", &[patch("one", "e", json!({}))]));
    let (_, answer) = org.post("composite/graph", json!({ "graphs": graphs })).await;
    let last = &answer["graphs"][14]["graphResponse"]["compositeResponse"][0]["body"][0]["errorCode"];
    assert_eq!(last, "PROCESSING_HALTED");
    assert_eq!(org.query("SELECT Id FROM UserSessionEngagement__c").await.len(), 1);
}

#[tokio::test]
async fn graphs_have_their_limits() {
    let mut org = Session::start().await;
    let read = |at: usize| subrequest(&format!("r{at}"), "GET", "sobjects/UserSessionEngagement__c/x", Value::Null);
    let graph = |id: usize, requests: Vec<Value>| json!({ "graphId": format!("g{id}"), "compositeRequest": requests });
    let chain = |length: usize| {
        let link = |at: usize| {
            let url = if at == 0 {
                format!("{KEY}/a")
            } else {
                format!("sobjects/UserSessionEngagement__c/@{{r{}.id}}", at - 1)
            };
            subrequest(&format!("r{at}"), "PATCH", &url, json!({}))
        };
        vec![graph(0, (0..length).map(link).collect())]
    };
    let kinds = |count: usize| {
        let kind = |at: usize| subrequest(&format!("r{at}"), "GET", &format!("sobjects/Thing{at}__c/x"), Value::Null);
        vec![graph(0, (0..count).map(kind).collect())]
    };
    let status =
        async |org: &Session, graphs: Vec<Value>| org.post("composite/graph", json!({ "graphs": graphs })).await.0;
    assert_eq!(status(&org, (0..75).map(|at| graph(at, vec![])).collect()).await, 200);
    assert_eq!(status(&org, (0..76).map(|at| graph(at, vec![])).collect()).await, 400);
    assert_eq!(status(&org, vec![graph(0, (0..500).map(read).collect())]).await, 200);
    assert_eq!(
        status(&org, vec![graph(0, (0..251).map(read).collect()), graph(1, (0..250).map(read).collect())]).await,
        400
    );
    assert_eq!([status(&org, chain(15)).await, status(&org, chain(16)).await], [200, 400]);
    assert_eq!([status(&org, kinds(15)).await, status(&org, kinds(16)).await], [200, 400]);
    assert_eq!(status(&org, vec![graph(0, vec![]), graph(0, vec![])]).await, 400);
    let query = subrequest("q", "GET", "query?q=SELECT+Id+FROM+Lead", Value::Null);
    assert_eq!(status(&org, vec![graph(0, vec![query])]).await, 400);
    org.version = "49.0";
    assert_eq!(status(&org, vec![]).await, 404);
}

#[tokio::test]
async fn a_tree_is_made_whole_or_not_at_all() {
    let org = Session::start().await;
    let record = |reference: &str, company: Option<&str>| json!({ "attributes": { "type": "Lead", "referenceId": reference }, "LastName": "Example", "Company": company });
    let (_, described) = org.get("sobjects/Lead/describe").await;
    let children = described["childRelationships"].as_array().expect("a list");
    let children = children.iter().find(|child| child["childSObject"] == "UserSessionEngagement__c").expect("a child");
    let children = children["relationshipName"].as_str().expect("a name").to_owned();
    let mut parent = record("lead", Some("Ltd"));
    parent[&children] = json!({ "records": [{
        "attributes": { "type": "UserSessionEngagement__c", "referenceId": "row" }, "external_id__c": "a",
    }]});
    let (status, answer) =
        org.post("composite/tree/Lead", json!({ "records": [parent, record("two", Some("Ltd"))] })).await;
    assert_eq!((status, &answer["hasErrors"]), (201, &json!(false)), "{answer}");
    let names: Vec<_> = (0..3).map(|at| answer["results"][at]["referenceId"].as_str()).collect();
    assert_eq!(names, [Some("lead"), Some("row"), Some("two")]);
    let rows = org.query("SELECT Lead__c FROM UserSessionEngagement__c").await;
    assert_eq!(rows[0]["Lead__c"], answer["results"][0]["id"]);

    let (status, answer) =
        org.post("composite/tree/Lead", json!({ "records": [record("a", Some("Ltd")), record("b", None)] })).await;
    assert_eq!((status, &answer["hasErrors"], &answer["results"][0]["referenceId"]), (400, &json!(true), &json!("b")));
    assert_eq!(answer["results"][0]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING");
    assert_eq!(org.query("SELECT Id FROM Lead").await.len(), 2, "nothing of it remains");

    let refused = async |records: Vec<Value>, message: &str| {
        assert_refused(
            &org.post("composite/tree/Lead", json!({ "records": records })).await,
            400,
            "INVALID_INPUT",
            message,
        );
    };
    let twice = vec![record("a", Some("Ltd")), record("a", Some("Ltd"))];
    refused(twice, "Duplicate ReferenceId provided in the request: a").await;
    let many = (0..201).map(|at| record(&format!("r{at}"), Some("Ltd"))).collect();
    refused(many, "a request can hold at most 200 records").await;
}
