//! SOQL: what is accepted, what is refused and how, and that the answer is the one a naive filter gives.

use std::sync::LazyLock;

use proptest::prelude::*;
use rollbook::emulator::schema::{FieldDef, ObjectDef, Schema};
use rollbook::emulator::soql::{self, Answer, Context, Rows};
use serde_json::{Map, Value, json};

const NOW: i64 = 1_772_366_400_000; // 2026-03-01T12:00:00Z
const CAMPAIGN: &str = "701000000000001AAA";
const LEAD: &str = "00Q000000000001EAA";
const OTHER_LEAD: &str = "00Q000000000002EAA";

type Row = Map<String, Value>;

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::load_embedded);

/// Rows in a list, found by looking at each; with `indexed`, also through what looks like an index.
#[derive(Debug)]
struct Listed {
    rows: Vec<(&'static str, Row)>,
    indexed: bool,
}

impl Listed {
    fn add(&mut self, object: &'static str, row: Value) {
        let Value::Object(row) = row else { panic!("a row is an object") };
        self.rows.push((object, row));
    }

    fn of<'a>(&'a self, object: &ObjectDef) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(|(name, _)| *name == object.name).map(|(_, row)| row)
    }
}

impl Rows for Listed {
    type Row = Row;

    fn scan<'a>(&'a self, object: &ObjectDef) -> impl Iterator<Item = &'a Row>
    where
        Row: 'a,
    {
        self.of(object)
    }

    fn by_id(&self, object: &ObjectDef, id: &str) -> Option<&Row> {
        self.of(object).find(|row| row["Id"] == id)
    }

    fn find(&self, object: &ObjectDef, field: &FieldDef, value: &str) -> Option<Vec<&Row>> {
        let same = |row: &&Row| match row.get(&field.name).and_then(Value::as_str) {
            Some(text) if field.kind.identifier() || field.case_sensitive => text == value,
            Some(text) => text.to_lowercase() == value.to_lowercase(),
            None => false,
        };
        let usable = self.indexed && (field.kind.identifier() || field.external_id);
        usable.then(|| self.of(object).filter(same).filter(|row| !self.deleted(row)).collect())
    }

    fn value(&self, _: &ObjectDef, row: &Row, field: &FieldDef) -> Value {
        row.get(&field.name).cloned().unwrap_or_default()
    }

    fn deleted(&self, row: &Row) -> bool {
        row.get("IsDeleted") == Some(&Value::Bool(true))
    }
}

fn ask(rows: &Listed, deleted: bool, text: &str) -> Result<Answer, soql::Error> {
    let context = Context { rows, schema: &SCHEMA, deleted, base: "/services/data/v62.0", now: NOW };
    soql::parse(text).and_then(|query| soql::run(&query, &context))
}

/// Three members of one campaign: two leads, one of them without a status, and one that is deleted.
fn org() -> Listed {
    let mut rows = Listed { rows: Vec::new(), indexed: true };
    rows.add("Campaign", json!({"Id": CAMPAIGN, "Name": "Spring", "IsActive": true, "StartDate": "2026-03-01"}));
    rows.add("Lead", json!({"Id": LEAD, "LastName": "Ünal", "Email": "A@x.example", "IsConverted": false}));
    rows.add("Lead", json!({"Id": OTHER_LEAD, "LastName": "50% off_er", "Email": null, "IsConverted": true}));
    let stamp = |day: &str| format!("{day}T10:00:00.000+0000");
    rows.add(
        "CampaignMember",
        json!({"Id": "00v000000000001AAA", "CampaignId": CAMPAIGN, "LeadId": LEAD,
        "Status": "Attended", "HasResponded": true, "external_id__c": "a_1", "CreatedDate": stamp("2026-02-28")}),
    );
    rows.add(
        "CampaignMember",
        json!({"Id": "00v000000000002AAA", "CampaignId": CAMPAIGN, "LeadId": OTHER_LEAD,
        "Status": null, "HasResponded": false, "external_id__c": "a_2", "CreatedDate": stamp("2026-03-01")}),
    );
    rows.add(
        "CampaignMember",
        json!({"Id": "00v000000000003AAA", "CampaignId": CAMPAIGN, "LeadId": null,
        "Status": "Sent", "HasResponded": false, "external_id__c": "a_3", "CreatedDate": stamp("2026-03-02")}),
    );
    rows.add(
        "CampaignMember",
        json!({"Id": "00v000000000004AAA", "CampaignId": CAMPAIGN, "Status": "Sent",
        "external_id__c": "a_4", "IsDeleted": true, "CreatedDate": stamp("2026-03-02")}),
    );
    for (nth, plays, key) in [(1, json!(1.0), "k"), (2, json!(10.0), "K"), (3, Value::Null, "l")] {
        rows.add(
            "UserSessionEngagement__c",
            json!({"Id": format!("a01000000000{nth:03}AAA"), "plays__c": plays,
            "external_id__c": key, "Lead__c": LEAD}),
        );
    }
    rows
}

/// Last digits of the ids that a condition on the members lets through.
fn members(condition: &str) -> String {
    let answer = ask(&org(), false, &format!("SELECT Id FROM CampaignMember WHERE {condition}"));
    let records = answer.unwrap_or_else(|error| panic!("{condition}: {error}")).records;
    records.iter().map(|record| record["Id"].as_str().map_or("?", |id| &id[14..15])).collect()
}

#[test]
fn conditions_mean_what_they_mean_in_salesforce() {
    for (condition, expected) in [
        ("Status = 'ATTENDED'", "1"),
        ("Status != 'Sent'", "12"),
        ("Status = null", "2"),
        ("Status = ''", "2"),
        ("Status != null", "13"),
        ("NOT Status = 'Attended'", "23"),
        ("Status IN ('sent', 'attended', 'x')", "13"),
        ("Status NOT IN ('Sent')", "12"),
        ("Status IN ('Sent', null)", "23"),
        ("Status > 'b'", "3"),
        ("Status LIKE 'A%ed'", "1"),
        ("Status LIKE '_en_'", "3"),
        ("Status LIKE 'A'", ""),
        ("HasResponded = true", "1"),
        ("HasResponded != true", "23"),
        ("HasResponded = null", "23"),
        ("HasResponded != null", "1"),
        ("Id = '00v000000000002'", "2"),
        ("LeadId = '00Q000000000001' AND CampaignId = '701000000000001AAA'", "1"),
        ("Lead.Email = null", "23"),
        ("Lead.LastName = 'ünal'", "1"),
        ("Lead.LastName LIKE 'ÜN%'", "1"),
        ("Lead.LastName LIKE '50\\% off\\_er'", "2"),
        ("Lead.IsConverted = false", "13"),
        ("Campaign.StartDate = TODAY", "123"),
        ("CampaignMember.Campaign.Name = 'spring' AND (Status = 'Sent' OR HasResponded = true)", "13"),
        ("CreatedDate = TODAY", "2"),
        ("CreatedDate < TODAY", "1"),
        ("CreatedDate > TODAY", "3"),
        ("CreatedDate >= YESTERDAY AND CreatedDate <= TODAY", "12"),
        ("CreatedDate = LAST_N_DAYS:1", "12"),
        ("CreatedDate > 2026-03-01T11:00:00+02:00", "23"),
        ("LeadId IN (SELECT Id FROM Lead WHERE IsConverted = true)", "2"),
        ("LeadId NOT IN (SELECT Id FROM Lead WHERE IsConverted = true)", "13"),
        ("external_id__c IN ('A_1', 'a_1', 'a_3', 'a_4')", "13"),
    ] {
        assert_eq!(members(condition), expected, "{condition}");
    }
}

#[test]
fn a_case_sensitive_key_tells_cases_apart() {
    let answer = ask(&org(), false, "SELECT plays__c FROM UserSessionEngagement__c WHERE external_id__c = 'K'");
    assert_eq!(answer.expect("valid").records[0]["plays__c"].to_string(), "10.0");
}

#[test]
fn deleted_rows_are_for_query_all_only() {
    let text = "SELECT Id FROM CampaignMember WHERE external_id__c = 'a_4'";
    assert_eq!(ask(&org(), false, text).expect("valid").total, 0);
    assert_eq!(ask(&org(), true, text).expect("valid").total, 1);
}

#[test]
fn records_are_spelled_by_the_schema_and_parents_are_nested() {
    let text = "select ID, status, LEAD.email, Lead.LastName from campaignmember order by id desc limit 2 offset 1";
    let answer = ask(&org(), false, text).expect("valid");
    assert_eq!(answer.total, 2);
    let lead = json!({"attributes": {"type": "Lead", "url": format!("/services/data/v62.0/sobjects/Lead/{LEAD}")},
        "Email": "A@x.example", "LastName": "Ünal"});
    let url = "/services/data/v62.0/sobjects/CampaignMember/00v000000000001AAA";
    let expected = json!({"attributes": {"type": "CampaignMember", "url": url}, "Id": "00v000000000001AAA",
        "Status": "Attended", "Lead": lead});
    assert_eq!(answer.records[1], expected);
    let orphan = ask(&org(), false, "SELECT Lead.Email FROM CampaignMember WHERE LeadId = null").expect("valid");
    assert_eq!(orphan.records[0]["Lead"], Value::Null);
}

#[test]
fn columns_tell_the_types_before_the_rows() {
    let query = soql::parse("SELECT Id, lead.email, HasResponded FROM CampaignMember").expect("valid");
    let columns = soql::columns(&query, &SCHEMA).expect("known fields");
    assert_eq!((&columns["entityName"], &columns["idSelected"]), (&json!("CampaignMember"), &json!(true)));
    let names: Vec<_> =
        columns["columnMetadata"].as_array().expect("a list").iter().map(|c| &c["columnName"]).collect();
    assert_eq!(names, ["Id", "Lead", "HasResponded"]);
    assert_eq!(columns["columnMetadata"][1]["joinColumns"][0]["columnName"], "Email");
    assert_eq!(columns["columnMetadata"][2]["booleanType"], true);
}

#[test]
fn nulls_come_first_unless_told_otherwise() {
    for (order, expected) in [
        ("plays__c", "312"),
        ("plays__c DESC", "321"),
        ("plays__c ASC NULLS LAST", "123"),
        ("plays__c DESC NULLS LAST", "213"),
        ("Lead__c, Id DESC", "321"),
    ] {
        let text = format!("SELECT Id FROM UserSessionEngagement__c ORDER BY {order}");
        let records = ask(&org(), false, &text).expect("valid").records;
        let found: String = records.iter().map(|record| record["Id"].as_str().map_or("?", |id| &id[14..15])).collect();
        assert_eq!(found, expected, "{order}");
    }
}

#[test]
fn aggregates_count_what_is_not_null() {
    let count = ask(&org(), false, "SELECT COUNT() FROM CampaignMember").expect("valid");
    assert_eq!((count.total, count.records.len()), (3, 0));
    let text = "SELECT COUNT(Id), COUNT(plays__c) n, SUM(plays__c), AVG(plays__c), MAX(plays__c), COUNT_DISTINCT(Lead__c) \
                FROM UserSessionEngagement__c";
    let expected = json!({"attributes": {"type": "AggregateResult"}, "expr0": 3, "n": 2, "expr1": 11.0, "expr2": 5.5,
        "expr3": 10.0, "expr4": 1});
    assert_eq!(ask(&org(), false, text).expect("valid").records, [expected]);
    let text = "SELECT Status s, COUNT(Id) FROM CampaignMember GROUP BY Status ORDER BY Status DESC NULLS LAST";
    let records = ask(&org(), false, text).expect("valid").records;
    let pairs: Vec<_> = records.iter().map(|record| (record["s"].as_str(), record["expr0"].as_u64())).collect();
    assert_eq!(pairs, [(Some("Sent"), Some(1)), (Some("Attended"), Some(1)), (None, Some(1))]);
}

#[test]
fn what_the_grammar_has_is_accepted() {
    for text in [
        "SELECT FIELDS(ALL) FROM CampaignMember LIMIT 200",
        "SELECT FIELDS(STANDARD) FROM Lead",
        "SELECT m.Id, m.Lead.Email FROM CampaignMember m WHERE m.Status = 'x'",
        "SELECT\n\tId FROM Lead WHERE\n(((Email = 'a\\'b\\\\c')))",
        "SELECT Name, InstanceName, IsSandbox, TrialExpirationDate, NamespacePrefix, OrganizationType FROM Organization",
        "SELECT Id FROM Lead WHERE Email IN ('x') AND (NOT IsConverted = true) ORDER BY Owner.Name LIMIT 0",
        "SELECT Id FROM UserSessionEngagement__c WHERE plays__c >= -1.5 AND Lead__r.Email = 'x'",
        "SELECT Campaign.Name, COUNT(Id) n FROM CampaignMember GROUP BY Campaign.Name ORDER BY COUNT(Id) DESC",
    ] {
        ask(&org(), false, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn everything_else_is_refused_with_salesforces_code() {
    for (text, code, problem) in [
        ("", "MALFORMED_QUERY", "unexpected token: <EOF>"),
        ("SELECT FROM Lead", "MALFORMED_QUERY", "unexpected token: 'FROM'"),
        ("SELECT Id FROM Lead WHER Id = 'x'", "MALFORMED_QUERY", "unexpected token: 'Id'"),
        ("SELECT Id FROM Lead WHERE Email = 'a' AND Email = 'b' OR Email = 'c'", "MALFORMED_QUERY", "'OR'"),
        ("SELECT Id FROM Lead WHERE Email = 'a' AND NOT Email = 'b'", "MALFORMED_QUERY", "'NOT'"),
        ("SELECT Id, (SELECT Id FROM CampaignMembers) FROM Lead", "MALFORMED_QUERY", "'('"),
        ("SELECT toLabel(Status) FROM Lead", "MALFORMED_QUERY", "'('"),
        ("SELECT TYPEOF Owner WHEN User THEN Id END FROM Lead", "MALFORMED_QUERY", "unexpected token"),
        ("SELECT Id FROM Lead USING SCOPE mine", "MALFORMED_QUERY", "'USING'"),
        ("SELECT Id FROM Lead WITH SECURITY_ENFORCED", "MALFORMED_QUERY", "'WITH'"),
        ("SELECT Id FROM Lead FOR UPDATE", "MALFORMED_QUERY", "'FOR'"),
        ("SELECT Id FROM Lead ALL ROWS", "MALFORMED_QUERY", "'ALL'"),
        ("SELECT COUNT(Id) FROM Lead GROUP BY Status HAVING COUNT(Id) > 1", "MALFORMED_QUERY", "'HAVING'"),
        ("SELECT COUNT(Id) FROM Lead GROUP BY ROLLUP(Status)", "MALFORMED_QUERY", "'('"),
        ("SELECT Id FROM Lead WHERE CreatedDate = THIS_FISCAL_YEAR", "MALFORMED_QUERY", "'THIS_FISCAL_YEAR'"),
        ("SELECT Id FROM Lead WHERE Email = x", "MALFORMED_QUERY", "unexpected token: 'x'"),
        ("SELECT Id FROM Lead WHERE Email = :x", "MALFORMED_QUERY", "':'"),
        ("SELECT Id FROM Lead WHERE Email = 'x", "MALFORMED_QUERY", "mismatched character"),
        ("SELECT Id FROM Lead WHERE Email IN ()", "MALFORMED_QUERY", "')'"),
        ("SELECT Id FROM Lead LIMIT -1", "MALFORMED_QUERY", "'-1'"),
        (
            "SELECT Id FROM Lead OFFSET 2001",
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Maximum SOQL offset allowed for apiName Lead is 2000",
        ),
        ("SELECT FIELDS(ALL) FROM Lead", "MALFORMED_QUERY", "must have a LIMIT of at most 200"),
        ("SELECT Name x FROM Lead", "MALFORMED_QUERY", "only aggregate expressions use field aliasing"),
        ("SELECT Email, COUNT(Id) FROM Lead", "MALFORMED_QUERY", "must be grouped or aggregated: Email"),
        (
            "SELECT Id FROM Lead WHERE Id IN (SELECT LeadId FROM CampaignMember) OR Email = 'x'",
            "MALFORMED_QUERY",
            "Semi",
        ),
        ("SELECT Id, id FROM Lead", "INVALID_FIELD", "duplicate field selected: Id"),
        ("SELECT Nope FROM Lead", "INVALID_FIELD", "Column:8\nNo such column 'Nope' on entity 'Lead'. If you are"),
        ("SELECT Nope.Name FROM Lead", "INVALID_FIELD", "Didn't understand relationship 'Nope'"),
        ("SELECT Id FROM Lead WHERE IsConverted = 'true'", "INVALID_FIELD", "boolean and should not be enclosed"),
        ("SELECT Id FROM Lead WHERE Email = 5", "INVALID_FIELD", "string and should be enclosed in quotes"),
        ("SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01", "INVALID_FIELD", "must be of type dateTime"),
        ("SELECT Id FROM UserSessionEngagement__c WHERE plays__c = '1'", "INVALID_FIELD", "double and should not be"),
        ("SELECT Id FROM Lead WHERE Description = 'x'", "INVALID_FIELD", "'Description' can not be filtered"),
        ("SELECT Id FROM Lead ORDER BY Description", "INVALID_FIELD", "'Description' can not be sorted"),
        ("SELECT Id FROM Nope", "INVALID_TYPE", "Column:16\nsObject type 'Nope' is not supported."),
        ("SELECT Id FROM Lead WHERE Id = 'abc'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: abc"),
        ("SELECT Id FROM Lead WHERE Id LIKE '00Q%'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on id field"),
    ] {
        let error = ask(&org(), false, text).expect_err(text);
        assert_eq!(error.code.as_str(), code, "{text}: {error}");
        assert!(error.message.contains(problem), "{text}: {error}");
    }
}

#[test]
fn deep_nesting_is_refused_before_the_stack_is() {
    let text = format!("SELECT Id FROM Lead WHERE {}Email = 'x'{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(soql::parse(&text).expect_err("too deep").code.as_str(), "MALFORMED_QUERY");
}

/// A condition as the naive filter knows it.
#[derive(Clone, Debug)]
enum Naive {
    Text(&'static str, &'static str, Option<String>),
    Plays(&'static str, i32),
    In(&'static str, Vec<String>),
    All(Vec<Naive>),
    Any(Vec<Naive>),
    Not(Box<Naive>),
}

impl Naive {
    fn soql(&self) -> String {
        let join = |parts: &[Self], word: &str| {
            parts.iter().map(|part| format!("({})", part.soql())).collect::<Vec<_>>().join(word)
        };
        match self {
            Self::Text(field, op, Some(value)) => format!("{field} {op} '{value}'"),
            Self::Text(field, op, None) => format!("{field} {op} null"),
            Self::Plays(op, value) => format!("plays__c {op} {value}"),
            Self::In(field, values) => {
                format!(
                    "{field} IN ({})",
                    values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(",")
                )
            }
            Self::All(parts) => join(parts, " AND "),
            Self::Any(parts) => join(parts, " OR "),
            Self::Not(part) => format!("NOT ({})", part.soql()),
        }
    }

    fn holds(&self, row: &Row) -> bool {
        // entry_name__c folds case, external_id__c does not.
        let text =
            |field: &str, text: &str| if field == "entry_name__c" { text.to_lowercase() } else { text.to_owned() };
        let stored = |field: &str| row.get(field).and_then(Value::as_str).map(|value| text(field, value));
        match self {
            Self::Text(field, op, value) => {
                let equal = stored(field) == value.as_ref().map(|value| text(field, value));
                if *op == "=" { equal } else { !equal }
            }
            Self::Plays(op, value) => {
                let Some(plays) = row.get("plays__c").and_then(Value::as_f64) else { return *op == "!=" };
                let order = plays.total_cmp(&f64::from(*value));
                match *op {
                    "=" => order.is_eq(),
                    "!=" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
            Self::In(field, values) => {
                stored(field).is_some_and(|stored| values.iter().any(|value| text(field, value) == stored))
            }
            Self::All(parts) => parts.iter().all(|part| part.holds(row)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Self::Not(part) => !part.holds(row),
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "A", "b", "ab", "É", "é"]).prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = Naive> {
    let field = || prop::sample::select(vec!["entry_name__c", "external_id__c"]);
    let leaf = prop_oneof![
        (field(), prop::sample::select(vec!["=", "!="]), prop::option::of(text()))
            .prop_map(|(field, op, value)| Naive::Text(field, op, value)),
        (prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]), 0..4)
            .prop_map(|(op, value)| Naive::Plays(op, value)),
        (field(), prop::collection::vec(text(), 1..4)).prop_map(|(field, values)| Naive::In(field, values)),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Naive::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Naive::Any),
            inner.prop_map(|part| Naive::Not(Box::new(part))),
        ]
    })
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (prop::option::of(text()), prop::option::of(text()), prop::option::of(0..4), any::<bool>());
    prop::collection::vec(row, 0..12).prop_map(|rows| {
        let numbered = rows.into_iter().enumerate().map(|(nth, (name, key, plays, deleted))| {
            let row = json!({"Id": format!("a01000000000{nth:03}AAA"), "entry_name__c": name, "external_id__c": key,
                "plays__c": plays.map(f64::from), "IsDeleted": deleted});
            row.as_object().cloned().expect("an object")
        });
        numbered.collect()
    })
}

proptest! {
    #[test]
    fn a_query_finds_what_a_naive_filter_finds(
        rows in rows(),
        condition in condition(),
        indexed in any::<bool>(),
        deleted in any::<bool>(),
    ) {
        let visible = rows.iter().filter(|row| deleted || row["IsDeleted"] == false);
        let expected: Vec<&Value> = visible.filter(|row| condition.holds(row)).map(|row| &row["Id"]).collect();
        let listed = Listed {
            rows: rows.iter().map(|row| ("UserSessionEngagement__c", row.clone())).collect(),
            indexed,
        };
        let text = format!("SELECT Id FROM UserSessionEngagement__c WHERE {}", condition.soql());
        let answer = ask(&listed, deleted, &text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let found: Vec<&Value> = answer.records.iter().map(|record| &record["Id"]).collect();
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(SELECT|FROM|WHERE|Id|Lead|'|\\\\|=|\\(|\\)|,|[0-9]|-|:|T|NOT|IN|é| ){0,24}") {
        if let Err(error) = ask(&org(), false, &text) {
            prop_assert!(error.message.contains("ERROR at Row:"), "{}", error);
        }
    }
}
