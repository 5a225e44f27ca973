//! The table, code by code.

use super::*;

fn row(code: &str, message: &str) -> Disposition {
    disposition(&Fault { scope: Scope::Row, status: 200, code, message, fields: &[], exhausted: None })
}

fn request(status: u16, code: &str) -> Disposition {
    disposition(&Fault { scope: Scope::Request, status, code, message: "", fields: &[], exhausted: None })
}

fn limit(message: &str, exhausted: Option<bool>) -> Disposition {
    let code = "REQUEST_LIMIT_EXCEEDED";
    disposition(&Fault { scope: Scope::Request, status: 403, code, message, fields: &[], exhausted })
}

#[test]
fn an_unknown_code_halts_its_row_and_nothing_else() {
    assert_eq!(row("SOMETHING_NEW", ""), Disposition::Hold { hint: UNKNOWN, reach: Reach::Row });
    assert_eq!(request(400, "SOMETHING_NEW"), Disposition::Isolate);
    assert_eq!(row("", ""), Disposition::Retry(Retry::Unknown), "no code at all is no code to learn");
}

#[test]
fn the_calls_of_the_day_too_many_at_once_and_a_refused_login_are_told_apart() {
    let (day, at_once) = (Disposition::Wait(Wait::Quota), Disposition::Wait(Wait::Concurrency));
    assert_eq!(limit("TotalRequests Limit exceeded.", Some(false)), day);
    assert_eq!(limit("ConcurrentPerOrgLongTxn Limit exceeded.", Some(true)), at_once);
    assert_eq!(limit("ConcurrentRequests (Concurrent API Requests) Limit exceeded.", None), at_once);
    assert_eq!(limit("In words of another release.", Some(true)), day);
    assert_eq!(limit("In words of another release.", Some(false)), at_once);
    assert_eq!(limit("In words of another release.", None), day, "the longer wait is the safer one");
    assert!(matches!(request(403, "API_DISABLED_FOR_ORG"), Disposition::Wait(Wait::Login)));
}

#[test]
fn full_storage_and_a_record_that_is_not_shared_stop_their_row_alone() {
    let full = Disposition::Hold { hint: STORAGE, reach: Reach::Org };
    assert_eq!(row("STORAGE_LIMIT_EXCEEDED", ""), full);
    assert_eq!(request(400, "STORAGE_LIMIT_EXCEEDED"), full, "no call of the day is used up");
    let code = "INSUFFICIENT_ACCESS_OR_READONLY";
    assert_eq!(row(code, ""), Disposition::DeadLetter { reason: code });
    assert_eq!(request(403, code), NO_PERMISSION);
}

#[test]
fn the_three_meanings_of_duplicate_value_are_told_apart() {
    assert_eq!(row("DUPLICATE_VALUE", "Already a campaign member."), Disposition::Retry(Retry::Adopt));
    let race = "duplicate value found: external_id__c duplicates value on record with id: 00v000000000001";
    assert_eq!(row("DUPLICATE_VALUE", race), Disposition::Retry(Retry::LookUpAgain));
    assert_eq!(row("DUPLICATE_VALUE", "Duplicate external id specified: a"), Disposition::Retry(Retry::LookUpAgain));
}

#[test]
fn a_refused_parent_tells_whether_the_member_is_there_and_any_other_refused_field_is_a_permission() {
    let refused = |field: &str| {
        disposition(&Fault {
            scope: Scope::Row,
            status: 200,
            code: "INVALID_FIELD_FOR_INSERT_UPDATE",
            message: "Unable to create/update fields",
            fields: &[field.to_owned()],
            exhausted: None,
        })
    };
    assert_eq!(refused("CampaignId"), Disposition::Retry(Retry::MemberExists));
    assert_eq!(refused("plays__c"), NO_SCHEMA);
    assert_eq!(
        row("REQUIRED_FIELD_MISSING", "Required fields are missing: [CampaignId]"),
        Disposition::Retry(Retry::MemberAbsent)
    );
    assert_eq!(
        row("REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]"),
        Disposition::DeadLetter { reason: "REQUIRED_FIELD_MISSING" }
    );
}

#[test]
fn what_refuses_bulk_jobs_alone_holds_up_nothing_else() {
    for code in ["ExceededQuota", "EXCEEDEDQUOTA", "FEATURENOTENABLED", "InvalidJobState", "INVALIDBATCH"] {
        assert_eq!(request(403, code), Disposition::Isolate, "{code}");
    }
    assert_eq!(request(401, "INVALIDSESSIONID"), Disposition::Wait(Wait::Session));
    assert_eq!(request(400, "TOOMANYLOCKFAILURE"), Disposition::Retry(Retry::Lock));
    assert_eq!(request(500, "TIMEOUT"), Disposition::Wait(Wait::Outage));
}

#[test]
fn an_outage_counts_no_attempt() {
    for status in [302, 307, 407, 500, 502, 503, 504, 420, 429] {
        assert_eq!(request(status, ""), Disposition::Wait(Wait::Outage), "{status}");
    }
    assert_eq!(request(503, "SERVER_UNAVAILABLE"), Disposition::Wait(Wait::Outage));
    assert_eq!(request(413, ""), Disposition::Isolate);
}

#[test]
fn a_trigger_that_met_a_lock_is_tried_again() {
    let code = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY";
    assert_eq!(row(code, "Update failed. UNABLE_TO_LOCK_ROW, unable to"), Disposition::Retry(Retry::Lock));
    assert_eq!(row(code, "Too many SOQL queries: 101"), Disposition::Retry(Retry::Automation));
    assert_eq!(row(code, "no such product"), Disposition::DeadLetter { reason: code });
}

/// The outcome as docs/reason-codes.md writes it.
fn outcome(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Delivered => "delivered",
        Disposition::Retry(Retry::Lock | Retry::Busy | Retry::Automation) => "passes",
        Disposition::Retry(_) => "retry",
        Disposition::Isolate => "isolate",
        Disposition::Wait(_) => "wait",
        Disposition::DeadLetter { .. } => "dead letter",
        Disposition::Hold { .. } => "hold",
    }
}

#[test]
fn every_code_stands_in_the_list_of_reason_codes_with_its_outcome() {
    let listed = include_str!("../../docs/reason-codes.md");
    for (code, _) in TABLE {
        let line = format!("| `{code}` | {} | {} |", outcome(row(code, "")), outcome(request(400, code)));
        assert!(listed.contains(&line), "docs/reason-codes.md lacks {line}");
    }
}

#[test]
fn no_code_stands_in_the_table_twice_and_a_dead_letter_has_its_own() {
    for (code, _) in TABLE {
        assert_eq!(TABLE.iter().filter(|(other, _)| same(other, code)).count(), 1, "{code}");
    }
    for (code, _) in TABLE {
        if let Disposition::DeadLetter { reason } = row(code, "") {
            assert_eq!(reason, *code);
        }
    }
}

#[test]
fn every_code_that_salesforce_is_known_to_send_is_in_the_table() {
    let known = "INVALID_SESSION_ID INVALID_AUTH_HEADER API_DISABLED_FOR_ORG API_CURRENTLY_DISABLED \
        LOGIN_MUST_USE_SECURITY_TOKEN INVALID_LOGIN REQUEST_LIMIT_EXCEEDED STORAGE_LIMIT_EXCEEDED ExceededQuota \
        UNABLE_TO_LOCK_ROW SERVER_UNAVAILABLE UNKNOWN_EXCEPTION INTERNAL_ERROR REQUEST_RUNNING_TOO_LONG \
        QUERY_TIMEOUT TOO_MANY_APEX_REQUESTS RECORD_IN_USE_BY_WORKFLOW ENTITY_IS_LOCKED \
        INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE TooManyLockFailure \
        CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY CANNOT_EXECUTE_FLOW_TRIGGER APEX_ERROR FLOW_EXCEPTION \
        DUPLICATE_VALUE DUPLICATE_EXTERNAL_ID DUPLICATES_DETECTED FIELD_CUSTOM_VALIDATION_EXCEPTION \
        REQUIRED_FIELD_MISSING STRING_TOO_LONG INVALID_EMAIL_ADDRESS NUMBER_OUTSIDE_VALID_RANGE \
        INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST FIELD_INTEGRITY_EXCEPTION INVALID_TYPE_ON_FIELD_IN_RECORD \
        JSON_PARSER_ERROR INVALID_CROSS_REFERENCE_KEY ENTITY_IS_DELETED MALFORMED_ID \
        CANNOT_UPDATE_CONVERTED_LEAD INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY INACTIVE_OWNER_OR_USER \
        TRANSFER_REQUIRES_READ INSUFFICIENT_ACCESS INSUFFICIENT_ACCESS_OR_READONLY INVALID_FIELD \
        INVALID_FIELD_FOR_INSERT_UPDATE INVALID_TYPE NOT_FOUND INVALID_ENTITY_FOR_UPSERT \
        INVALID_TYPE_FOR_OPERATION MALFORMED_QUERY INVALID_QUERY_FILTER_OPERATOR INVALID_QUERY_LOCATOR \
        TXN_SECURITY_NO_ACCESS TXN_SECURITY_RUNTIME_EXCEPTION ALL_OR_NONE_OPERATION_ROLLED_BACK \
        PROCESSING_HALTED BATCH_PROCESSING_HALTED INVALID_STATUS METHOD_NOT_ALLOWED UNSUPPORTED_MEDIA_TYPE \
        ClientInputError FeatureNotEnabled InvalidBatch InvalidJob InvalidJobState InvalidSessionId InvalidUrl \
        InvalidUser MethodNotAllowed NotFound Timeout Unknown";
    for code in known.split_whitespace() {
        for spelled in [code.to_owned(), code.to_uppercase()] {
            assert!(TABLE.iter().any(|(listed, _)| same(listed, &spelled)), "{spelled}");
        }
    }
    assert_eq!(row("MATCH_SERVICE_UNAVAILABLE_ERROR", ""), Disposition::Retry(Retry::Busy), "a family of codes");
}
