//! A Salesforce error to what the sink does about it.
//!
//! The error *code* decides, not the HTTP status: an exhausted call budget is a 403 that a client which looks at the
//! status mistakes for an expired login. Two scopes share one table. A row's error concerns that row; a request's
//! error concerns the whole org, or one row of the request that Salesforce did not name.
//!
//! A code that is not in the table is tried again up to the bound and is then a dead letter: retrying for ever would
//! hold up the offsets, skipping would lose the row.

/// An error as Salesforce reported it.
#[derive(Clone, Copy, Debug)]
pub struct Fault<'a> {
    pub scope: Scope,
    /// HTTP status of the response; 200 for the row of a collection.
    pub status: u16,
    /// `errorCode` or `statusCode`.
    pub code: &'a str,
    /// May hold values of the row: looked at, never kept.
    pub message: &'a str,
    /// API names of the fields that Salesforce named.
    pub fields: &'a [String],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Row,
    Request,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The row is as it should be.
    Delivered,
    /// Send the row again after a backoff, at most `attempts_max` times.
    Retry(Retry),
    /// One row of the request is at fault, or the request is too much at once: send halves.
    Isolate,
    /// Nothing can be written now: hold everything, count no attempt.
    Wait(Wait),
    /// The row will not be taken before somebody changes something.
    DeadLetter { reason: &'static str },
    /// Every row would fail for the same reason: stop, keep the offsets, call a person.
    Halt { hint: &'static str },
}

/// Why a row is sent again; a label of the retry counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Another transaction holds the row or its campaign.
    Lock,
    /// What was remembered about the record is no longer so: look it up first.
    LookUpAgain,
    /// The member exists without our external id: look it up by its parents and stamp it.
    Adopt,
    /// A limit of the org's own automation.
    Automation,
    /// Salesforce could not finish it now.
    Busy,
    /// A code that the table does not know.
    Unknown,
    /// A dependant whose member does not exist (yet).
    MemberMissing,
}

impl Retry {
    pub const ALL: [Self; 7] =
        [Self::Lock, Self::LookUpAgain, Self::Adopt, Self::Automation, Self::Busy, Self::Unknown, Self::MemberMissing];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::LookUpAgain => "look_up_again",
            Self::Adopt => "adopt",
            Self::Automation => "automation",
            Self::Busy => "busy",
            Self::Unknown => "unknown",
            Self::MemberMissing => "member_missing",
        }
    }
}

/// Why the whole org is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// No answer, or one that says "not now".
    Outage,
    /// The call budget or the storage is used up.
    Quota,
    /// A new token was refused as the old one was.
    Session,
}

impl Wait {
    pub const ALL: [Self; 3] = [Self::Outage, Self::Quota, Self::Session];

    pub fn name(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Quota => "quota",
            Self::Session => "session",
        }
    }
}

const LOGIN: &str =
    "the login or the API access is refused: check the external client app and its user, then `rollbook doctor`";
const SCHEMA: &str = "the org lacks a field or object, or hides it: `rollbook doctor` says which";
const PERMISSION: &str = "the integration user lacks a permission: `sf org assign permset --name Rollbook_Integration`";
const SECURITY: &str = "a transaction security policy of the org blocks the integration user";

/// The table.
pub fn disposition(fault: &Fault<'_>) -> Disposition {
    use Disposition::{DeadLetter, Halt, Isolate};
    match fault.code {
        // -- login --------------------------------------------------------------------------------------------
        // The client has refreshed its token and sent the request again before this is seen.
        "INVALID_SESSION_ID" if fault.message.contains("not valid for use") => Halt { hint: LOGIN },
        "INVALID_SESSION_ID" => Disposition::Wait(Wait::Session),
        "INVALID_AUTH_HEADER"
        | "API_DISABLED_FOR_ORG"
        | "API_CURRENTLY_DISABLED"
        | "LOGIN_MUST_USE_SECURITY_TOKEN"
        | "INVALID_LOGIN" => Halt { hint: LOGIN },
        // -- budget -------------------------------------------------------------------------------------------
        "REQUEST_LIMIT_EXCEEDED" | "STORAGE_LIMIT_EXCEEDED" | "ExceededQuota" => Disposition::Wait(Wait::Quota),
        // -- may pass -----------------------------------------------------------------------------------------
        "UNABLE_TO_LOCK_ROW" | "TooManyLockFailure" => Disposition::Retry(Retry::Lock),
        "SERVER_UNAVAILABLE" | "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE" => Disposition::Wait(Wait::Outage),
        "REQUEST_RUNNING_TOO_LONG" | "QUERY_TIMEOUT" | "TOO_MANY_APEX_REQUESTS" => match fault.scope {
            Scope::Row => Disposition::Retry(Retry::Busy),
            Scope::Request => Isolate,
        },
        "UNKNOWN_EXCEPTION" | "INTERNAL_ERROR" => match fault.scope {
            Scope::Row => Disposition::Retry(Retry::Busy),
            Scope::Request => Disposition::Wait(Wait::Outage),
        },
        "RECORD_IN_USE_BY_WORKFLOW" | "ENTITY_IS_LOCKED" => Disposition::Retry(Retry::Busy),
        // Innocent rows of a request that was rolled back.
        "ALL_OR_NONE_OPERATION_ROLLED_BACK" | "PROCESSING_HALTED" | "BATCH_PROCESSING_HALTED" => {
            Disposition::Retry(Retry::Busy)
        }
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" | "CANNOT_EXECUTE_FLOW_TRIGGER" | "APEX_ERROR" | "FLOW_EXCEPTION" => {
            automation(fault)
        }
        // -- races and duplicates -----------------------------------------------------------------------------
        "DUPLICATE_VALUE" => duplicate_value(fault.message),
        "INVALID_FIELD_FOR_INSERT_UPDATE" | "REQUIRED_FIELD_MISSING" if names_parent(fault) => {
            Disposition::Retry(Retry::LookUpAgain)
        }
        "ENTITY_IS_DELETED" => Disposition::Retry(Retry::LookUpAgain),
        // -- the mapping --------------------------------------------------------------------------------------
        "JSON_PARSER_ERROR" => match fault.scope {
            Scope::Row => DeadLetter { reason: "JSON_PARSER_ERROR" },
            Scope::Request => Isolate,
        },
        "INVALID_FIELD"
        | "INVALID_FIELD_FOR_INSERT_UPDATE"
        | "INVALID_TYPE"
        | "INVALID_ENTITY_FOR_UPSERT"
        | "INVALID_TYPE_FOR_OPERATION"
        | "MALFORMED_QUERY"
        | "INVALID_QUERY_FILTER_OPERATOR"
        | "INVALID_QUERY_LOCATOR" => Halt { hint: SCHEMA },
        "NOT_FOUND" if fault.scope == Scope::Request => Halt { hint: SCHEMA },
        "INSUFFICIENT_ACCESS" | "INSUFFICIENT_ACCESS_OR_READONLY" => Halt { hint: PERMISSION },
        "TXN_SECURITY_NO_ACCESS" | "TXN_SECURITY_RUNTIME_EXCEPTION" => Halt { hint: SECURITY },
        code => by_data(code).unwrap_or_else(|| by_status(fault)),
    }
}

/// Codes that speak of the row's own data, or of what it refers to.
fn by_data(code: &str) -> Option<Disposition> {
    const CODES: [&str; 20] = [
        "DUPLICATE_EXTERNAL_ID",
        "MULTIPLE_CHOICES",
        "DUPLICATES_DETECTED",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "REQUIRED_FIELD_MISSING",
        "STRING_TOO_LONG",
        "INVALID_EMAIL_ADDRESS",
        "NUMBER_OUTSIDE_VALID_RANGE",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "FIELD_INTEGRITY_EXCEPTION",
        "INVALID_TYPE_ON_FIELD_IN_RECORD",
        "INVALID_CROSS_REFERENCE_KEY",
        "MALFORMED_ID",
        "CANNOT_UPDATE_CONVERTED_LEAD",
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        "INACTIVE_OWNER_OR_USER",
        "TRANSFER_REQUIRES_READ",
        "INVALID_STATUS",
        "NOT_FOUND",
        "INVALID_ID_FIELD",
    ];
    CODES.into_iter().find(|known| *known == code).map(|reason| Disposition::DeadLetter { reason })
}

/// Without a known code.
fn by_status(fault: &Fault<'_>) -> Disposition {
    if fault.code.starts_with("MATCH_SERVICE_") {
        return Disposition::Retry(Retry::Busy);
    }
    match (fault.scope, fault.status) {
        (Scope::Row, _) => Disposition::Retry(Retry::Unknown),
        (Scope::Request, 401) => Disposition::Wait(Wait::Session),
        // 3xx, 407: a maintenance page or a proxy in between, which never saw the rows.
        (Scope::Request, 300..=399 | 407 | 408 | 420 | 429 | 500..=599) => Disposition::Wait(Wait::Outage),
        (Scope::Request, 403) => Disposition::Halt { hint: PERMISSION },
        // 410: a retired API version; 404: a wrong host or path.
        (Scope::Request, 404 | 405 | 410 | 415) => Disposition::Halt { hint: SCHEMA },
        (Scope::Request, _) => Disposition::Isolate,
    }
}

/// `DUPLICATE_VALUE` means three things, told apart by the text alone.
fn duplicate_value(message: &str) -> Disposition {
    if message.contains("Already a campaign member") {
        Disposition::Retry(Retry::Adopt)
    } else {
        // "duplicate value found: … duplicates value on record with id: …": another writer was faster.
        // "Duplicate external id specified": a batch holds no key twice, so it passes when sent again.
        Disposition::Retry(Retry::LookUpAgain)
    }
}

/// Triggers and flows of the org wrap what really happened in their own text.
fn automation(fault: &Fault<'_>) -> Disposition {
    let message = fault.message;
    if message.contains("UNABLE_TO_LOCK_ROW") || message.contains("exclusive access") {
        Disposition::Retry(Retry::Lock)
    } else if message.contains("Too many") || message.contains("LimitException") || message.contains("time limit") {
        Disposition::Retry(Retry::Automation)
    } else {
        const CODES: [&str; 4] =
            ["CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "CANNOT_EXECUTE_FLOW_TRIGGER", "APEX_ERROR", "FLOW_EXCEPTION"];
        let reason = CODES.into_iter().find(|code| *code == fault.code).unwrap_or("APEX_ERROR");
        Disposition::DeadLetter { reason }
    }
}

/// The create-only parents of a CampaignMember.
fn names_parent(fault: &Fault<'_>) -> bool {
    const PARENTS: [&str; 3] = ["CampaignId", "LeadId", "ContactId"];
    match fault.fields {
        [] => PARENTS.iter().any(|parent| fault.message.contains(parent)),
        fields => fields.iter().any(|field| PARENTS.contains(&field.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(code: &str, message: &str) -> Disposition {
        disposition(&Fault { scope: Scope::Row, status: 200, code, message, fields: &[] })
    }

    fn request(status: u16, code: &str) -> Disposition {
        disposition(&Fault { scope: Scope::Request, status, code, message: "", fields: &[] })
    }

    #[test]
    fn an_unknown_code_is_tried_again_and_never_skipped() {
        assert_eq!(row("SOMETHING_NEW", ""), Disposition::Retry(Retry::Unknown));
        assert_eq!(request(400, "SOMETHING_NEW"), Disposition::Isolate);
    }

    #[test]
    fn an_exhausted_budget_is_not_a_login_failure() {
        assert_eq!(request(403, "REQUEST_LIMIT_EXCEEDED"), Disposition::Wait(Wait::Quota));
        assert_eq!(row("STORAGE_LIMIT_EXCEEDED", ""), Disposition::Wait(Wait::Quota));
        assert!(matches!(request(403, "API_DISABLED_FOR_ORG"), Disposition::Halt { .. }));
    }

    #[test]
    fn the_three_meanings_of_duplicate_value_are_told_apart() {
        assert_eq!(row("DUPLICATE_VALUE", "Already a campaign member."), Disposition::Retry(Retry::Adopt));
        let race = "duplicate value found: external_id__c duplicates value on record with id: 00v000000000001";
        assert_eq!(row("DUPLICATE_VALUE", race), Disposition::Retry(Retry::LookUpAgain));
        assert_eq!(
            row("DUPLICATE_VALUE", "Duplicate external id specified: a"),
            Disposition::Retry(Retry::LookUpAgain)
        );
    }

    #[test]
    fn a_refused_parent_is_a_race_and_any_other_refused_field_is_a_permission() {
        let refused = |field: &str| {
            disposition(&Fault {
                scope: Scope::Row,
                status: 200,
                code: "INVALID_FIELD_FOR_INSERT_UPDATE",
                message: "Unable to create/update fields",
                fields: &[field.to_owned()],
            })
        };
        assert_eq!(refused("CampaignId"), Disposition::Retry(Retry::LookUpAgain));
        assert_eq!(refused("plays__c"), Disposition::Halt { hint: SCHEMA });
        assert_eq!(
            row("REQUIRED_FIELD_MISSING", "Required fields are missing: [CampaignId]"),
            Disposition::Retry(Retry::LookUpAgain)
        );
        assert_eq!(
            row("REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]"),
            Disposition::DeadLetter { reason: "REQUIRED_FIELD_MISSING" }
        );
    }

    #[test]
    fn one_bad_row_of_a_refused_request_is_isolated() {
        assert_eq!(request(400, "JSON_PARSER_ERROR"), Disposition::Isolate);
        assert_eq!(request(413, ""), Disposition::Isolate);
    }

    #[test]
    fn an_outage_counts_no_attempt() {
        for status in [302, 307, 407, 500, 502, 503, 504, 420, 429] {
            assert_eq!(request(status, ""), Disposition::Wait(Wait::Outage), "{status}");
        }
        assert_eq!(request(503, "SERVER_UNAVAILABLE"), Disposition::Wait(Wait::Outage));
    }

    #[test]
    fn a_trigger_that_met_a_lock_is_tried_again() {
        let code = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY";
        assert_eq!(row(code, "Update failed. UNABLE_TO_LOCK_ROW, unable to"), Disposition::Retry(Retry::Lock));
        assert_eq!(row(code, "Too many SOQL queries: 101"), Disposition::Retry(Retry::Automation));
        assert_eq!(row(code, "no such product"), Disposition::DeadLetter { reason: code });
    }

    #[test]
    fn data_errors_are_dead_letters_under_their_own_code() {
        for code in ["STRING_TOO_LONG", "INVALID_CROSS_REFERENCE_KEY", "DUPLICATE_EXTERNAL_ID", "MALFORMED_ID"] {
            let Disposition::DeadLetter { reason } = row(code, "") else { panic!("{code} is data") };
            assert_eq!(reason, code);
        }
    }

    #[test]
    fn every_code_has_its_class() {
        let class = |disposition| match disposition {
            Disposition::Delivered => "delivered",
            Disposition::Retry(_) => "retry",
            Disposition::Isolate => "isolate",
            Disposition::Wait(_) => "wait",
            Disposition::DeadLetter { .. } => "dead letter",
            Disposition::Halt { .. } => "halt",
        };
        let rows = [
            ("retry", "UNABLE_TO_LOCK_ROW RECORD_IN_USE_BY_WORKFLOW ENTITY_IS_LOCKED MATCH_SERVICE_UNAVAILABLE_ERROR"),
            ("retry", "TooManyLockFailure UNKNOWN_EXCEPTION REQUEST_RUNNING_TOO_LONG QUERY_TIMEOUT ENTITY_IS_DELETED"),
            ("retry", "TOO_MANY_APEX_REQUESTS ALL_OR_NONE_OPERATION_ROLLED_BACK PROCESSING_HALTED DUPLICATE_VALUE"),
            ("wait", "REQUEST_LIMIT_EXCEEDED STORAGE_LIMIT_EXCEEDED ExceededQuota SERVER_UNAVAILABLE"),
            ("wait", "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE INVALID_SESSION_ID"),
            (
                "dead letter",
                "DUPLICATE_EXTERNAL_ID DUPLICATES_DETECTED FIELD_CUSTOM_VALIDATION_EXCEPTION STRING_TOO_LONG",
            ),
            ("dead letter", "INVALID_EMAIL_ADDRESS NUMBER_OUTSIDE_VALID_RANGE INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
            ("dead letter", "FIELD_INTEGRITY_EXCEPTION INVALID_TYPE_ON_FIELD_IN_RECORD JSON_PARSER_ERROR MALFORMED_ID"),
            (
                "dead letter",
                "INVALID_CROSS_REFERENCE_KEY CANNOT_UPDATE_CONVERTED_LEAD TRANSFER_REQUIRES_READ APEX_ERROR",
            ),
            ("dead letter", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY INACTIVE_OWNER_OR_USER FLOW_EXCEPTION"),
            ("dead letter", "REQUIRED_FIELD_MISSING CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY CANNOT_EXECUTE_FLOW_TRIGGER"),
            ("halt", "INVALID_AUTH_HEADER API_DISABLED_FOR_ORG API_CURRENTLY_DISABLED LOGIN_MUST_USE_SECURITY_TOKEN"),
            ("halt", "INVALID_LOGIN INSUFFICIENT_ACCESS INSUFFICIENT_ACCESS_OR_READONLY INVALID_FIELD INVALID_TYPE"),
            ("halt", "INVALID_FIELD_FOR_INSERT_UPDATE INVALID_ENTITY_FOR_UPSERT INVALID_TYPE_FOR_OPERATION"),
            ("halt", "MALFORMED_QUERY INVALID_QUERY_FILTER_OPERATOR INVALID_QUERY_LOCATOR TXN_SECURITY_NO_ACCESS"),
        ];
        for (expected, codes) in rows {
            for code in codes.split(' ') {
                assert_eq!(class(row(code, "")), expected, "{code}");
            }
        }
    }
}
