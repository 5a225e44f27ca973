//! Rows that stand in the org without some of their values, as they are listed.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::{print_json, time};
use crate::outcome::Outcome;
use crate::time::Millis;

/// What a person can do, where Salesforce's code says that much.
fn hint(code: &str) -> &'static str {
    match code {
        "INVALID_EMAIL_ADDRESS" => {
            "mend the address where the events come from; `rollbook produce --dry-run` knows the rule"
        }
        "STRING_TOO_LONG" | "NUMBER_OUTSIDE_VALID_RANGE" => "the field is smaller than shipped: run `rollbook doctor`",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST" => {
            "the org restricts the field's values: lift that, or send one of them"
        }
        "FIELD_CUSTOM_VALIDATION_EXCEPTION" => {
            "a validation rule of the org refuses it: exempt the integration user, or mend it where the events come from"
        }
        _ => "mend the value where the events come from, or the field in the org",
    }
}

pub(super) fn list_each(rows: &[Outcome], as_json: bool) {
    let left_out = |row: &Outcome| {
        let fields = row.left_out.iter().map(|it| json!({ "field": it.field, "code": it.code }));
        json!({
            "object": row.object, "external_id": row.external_id, "at": time(row.at),
            "left_out": fields.collect::<serde_json::Value>(),
        })
    };
    if as_json {
        return print_json(&rows.iter().map(left_out).collect());
    }
    for outcome in rows {
        let fields: Vec<String> = outcome.left_out.iter().map(|it| format!("{} {}", it.field, it.code)).collect();
        say!("{} {:<25} {} {}", time(outcome.at), outcome.object, outcome.external_id, fields.join(", "));
    }
}

pub(super) fn list_counts(rows: &[Outcome], as_json: bool) {
    let mut counts: BTreeMap<(&str, &str, &str), (usize, Millis)> = BTreeMap::new();
    for outcome in rows {
        for left_out in &outcome.left_out {
            let group = counts.entry((&outcome.object, &left_out.field, &left_out.code)).or_insert((0, outcome.at));
            *group = (group.0 + 1, group.1.max(outcome.at));
        }
    }
    if as_json {
        let counts = counts.iter().map(|((object, field, code), (count, newest))| {
            json!({
                "object": object, "field": field, "code": code, "count": count, "newest": time(*newest),
                "hint": hint(code),
            })
        });
        return print_json(&counts.collect());
    }
    for ((object, field, code), (count, newest)) in &counts {
        say!("{count:>8}  {object:<25} {field:<24} {code:<34} newest {}", time(*newest));
        say!("          hint: {}", hint(code));
    }
    if counts.is_empty() {
        eprintln!("no row lacks a value");
    }
}
