//! A Salesforce error to what the sink does about it.
//!
//! The error *code* decides, not the HTTP status: an exhausted call budget is a 403 that a client which looks at the
//! status mistakes for an expired login. Bulk API spells the codes of other interfaces in its own ways, so letters are
//! compared without regard to case, and underscores not at all. Two scopes share one table. A row's error concerns that row; a request's
//! error concerns the whole org, or one row of the request that Salesforce did not name.
//!
//! A code that is not in the table halts the row that met it, and nothing else: the row is held, counted and tried again
//! now and then until somebody knows the code. Trying it a few times and giving up would turn what nobody understands
//! into a dead letter that nobody looks at; stopping everything would let one row hold up the org.

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
    /// Whether the calls of the day are used up, as the response's own header says.
    pub exhausted: Option<bool>,
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
    /// A person must look before this row can go on: hold it, try it now and then, count no attempt.
    Hold { hint: &'static str, reach: Reach },
}

/// Whom what holds a row holds as well: those wait together, and a few of them are tried for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody: each row that meets it may be mended for itself.
    Row,
    /// The rows of its campaign that meet it.
    Campaign,
    /// All rows of its object.
    Object,
    /// The rows of the org that meet it.
    Org,
}

/// Why a row is sent again; a label of the retry counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Another transaction holds the row or its campaign.
    Lock,
    /// What was remembered about the record is no longer so: look it up first.
    LookUpAgain,
    /// A member that was sent as a new one is there already: send it without its parents.
    MemberExists,
    /// A member that was sent as a known one is not there: send it with its parents.
    MemberAbsent,
    /// The member exists without our external id: look it up by its parents and stamp it.
    Adopt,
    /// A limit of the org's own automation.
    Automation,
    /// Salesforce could not finish it now.
    Busy,
    /// An answer without a code, or without what it should hold.
    Unknown,
    /// A dependant whose member does not exist (yet).
    MemberMissing,
    /// The person was converted or merged: write the row as what became of it.
    PersonChanged,
    /// A Bulk job could not do it: by a composite call.
    Job,
    /// A value of it is not taken: write the row without that.
    WithoutFields,
    /// It was written while its status was gone from the campaign.
    StatusGone,
}

impl Retry {
    pub const ALL: [Self; 13] = [
        Self::Lock,
        Self::LookUpAgain,
        Self::MemberExists,
        Self::MemberAbsent,
        Self::Adopt,
        Self::Automation,
        Self::Busy,
        Self::Unknown,
        Self::MemberMissing,
        Self::PersonChanged,
        Self::Job,
        Self::WithoutFields,
        Self::StatusGone,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::LookUpAgain => "look_up_again",
            Self::MemberExists => "member_exists",
            Self::MemberAbsent => "member_absent",
            Self::Adopt => "adopt",
            Self::Automation => "automation",
            Self::Busy => "busy",
            Self::Unknown => "unknown",
            Self::MemberMissing => "member_missing",
            Self::PersonChanged => "person_changed",
            Self::Job => "job",
            Self::WithoutFields => "without_fields",
            Self::StatusGone => "status_gone",
        }
    }
}

/// Why the whole org is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// No answer, or one that says "not now".
    Outage,
    /// The calls of the day are used up.
    Quota,
    /// Too many long calls at once, of whoever made them.
    Concurrency,
    /// A new token was refused as the old one was.
    Session,
    /// There is no token: the app, the user or a secret has to be mended.
    Login,
    /// The login leads to another org than the one that was written to.
    Org,
}

impl Wait {
    pub const ALL: [Self; 6] = [Self::Outage, Self::Quota, Self::Concurrency, Self::Session, Self::Login, Self::Org];

    pub fn name(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Quota => "quota",
            Self::Concurrency => "concurrency",
            Self::Session => "session",
            Self::Login => "login_refused",
            Self::Org => "org_changed",
        }
    }
}

const SCHEMA: &str = "the org lacks a field or object, or hides it: `rollbook doctor` says which";
const PERMISSION: &str = "the integration user lacks a permission: `sf org assign permset --name Rollbook_Integration`";
const SECURITY: &str = "a transaction security policy of the org blocks the integration user";
const STORAGE: &str = "the org's data storage is full: make room or buy more; existing records are still updated";
const UNKNOWN: &str = "this version does not know the code: mend its cause in Salesforce, or upgrade Rollbook";

/// One object is not as it was shipped, or not to be seen: its rows wait for that, those of others go on.
const NO_SCHEMA: Disposition = Disposition::Hold { hint: SCHEMA, reach: Reach::Object };
const NO_PERMISSION: Disposition = Disposition::Hold { hint: PERMISSION, reach: Reach::Object };

/// What a code means.
enum Rule {
    Is(Disposition),
    Per {
        row: Disposition,
        request: Disposition,
    },
    /// The message, the fields or the header decide.
    By(fn(&Fault<'_>) -> Disposition),
}

/// The table.
const TABLE: &[(&str, Rule)] = {
    use Disposition::Isolate;
    use Rule::{By, Is, Per};
    const LOCK: Disposition = Disposition::Retry(Retry::Lock);
    const BUSY: Disposition = Disposition::Retry(Retry::Busy);
    const OUTAGE: Disposition = Disposition::Wait(Wait::Outage);
    const QUOTA: Disposition = Disposition::Wait(Wait::Quota);
    const NO_LOGIN: Disposition = Disposition::Wait(Wait::Login);
    const BLOCKED: Disposition = Disposition::Hold { hint: SECURITY, reach: Reach::Org };
    const FULL: Disposition = Disposition::Hold { hint: STORAGE, reach: Reach::Org };
    /// Of the row's own data, or of what it refers to. A request that is refused for it holds such a row.
    const fn data(code: &'static str) -> (&'static str, Rule) {
        (code, Is(dead(code)))
    }
    const fn dead(reason: &'static str) -> Disposition {
        Disposition::DeadLetter { reason }
    }
    &[
        // -- login: the client has refreshed its token and sent the request again before this is seen -------------
        ("INVALID_SESSION_ID", By(session)),
        ("INVALID_AUTH_HEADER", Is(NO_LOGIN)),
        ("API_DISABLED_FOR_ORG", Is(NO_LOGIN)),
        ("API_CURRENTLY_DISABLED", Is(NO_LOGIN)),
        ("LOGIN_MUST_USE_SECURITY_TOKEN", Is(NO_LOGIN)),
        ("INVALID_LOGIN", Is(NO_LOGIN)),
        // -- limits -----------------------------------------------------------------------------------------------
        ("REQUEST_LIMIT_EXCEEDED", By(request_limit)),
        ("STORAGE_LIMIT_EXCEEDED", Is(FULL)),
        // -- may pass ---------------------------------------------------------------------------------------------
        ("UNABLE_TO_LOCK_ROW", Is(LOCK)),
        ("TooManyLockFailure", Is(LOCK)),
        ("SERVER_UNAVAILABLE", Is(OUTAGE)),
        ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", Is(OUTAGE)),
        ("UNKNOWN_EXCEPTION", Per { row: BUSY, request: OUTAGE }),
        ("INTERNAL_ERROR", Per { row: BUSY, request: OUTAGE }),
        ("REQUEST_RUNNING_TOO_LONG", Per { row: BUSY, request: Isolate }),
        ("QUERY_TIMEOUT", Per { row: BUSY, request: Isolate }),
        ("TOO_MANY_APEX_REQUESTS", Per { row: BUSY, request: Isolate }),
        ("RECORD_IN_USE_BY_WORKFLOW", Is(LOCK)),
        ("ENTITY_IS_LOCKED", Is(LOCK)),
        // Innocent rows of a request that was rolled back.
        ("ALL_OR_NONE_OPERATION_ROLLED_BACK", Is(BUSY)),
        ("PROCESSING_HALTED", Is(BUSY)),
        ("BATCH_PROCESSING_HALTED", Is(BUSY)),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", By(automation)),
        ("CANNOT_EXECUTE_FLOW_TRIGGER", By(automation)),
        ("APEX_ERROR", By(automation)),
        ("FLOW_EXCEPTION", By(automation)),
        // -- races and duplicates ---------------------------------------------------------------------------------
        ("DUPLICATE_VALUE", By(duplicate_value)),
        ("ENTITY_IS_DELETED", Is(Disposition::Retry(Retry::LookUpAgain))),
        data("DUPLICATE_EXTERNAL_ID"),
        data("MULTIPLE_CHOICES"),
        data("DUPLICATES_DETECTED"),
        // -- data -------------------------------------------------------------------------------------------------
        data("FIELD_CUSTOM_VALIDATION_EXCEPTION"),
        ("REQUIRED_FIELD_MISSING", By(required_field)),
        data("STRING_TOO_LONG"),
        data("INVALID_EMAIL_ADDRESS"),
        data("NUMBER_OUTSIDE_VALID_RANGE"),
        data("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        data("FIELD_INTEGRITY_EXCEPTION"),
        data("INVALID_TYPE_ON_FIELD_IN_RECORD"),
        data("JSON_PARSER_ERROR"),
        data("INVALID_STATUS"),
        data("INVALID_ID_FIELD"),
        // -- what the row refers to -------------------------------------------------------------------------------
        data("INVALID_CROSS_REFERENCE_KEY"),
        data("MALFORMED_ID"),
        data("CANNOT_UPDATE_CONVERTED_LEAD"),
        data("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"),
        data("INACTIVE_OWNER_OR_USER"),
        data("TRANSFER_REQUIRES_READ"),
        // -- rights: one record that is not shared concerns its row, a refused request everybody --------------------
        ("INSUFFICIENT_ACCESS", Per { row: dead("INSUFFICIENT_ACCESS"), request: NO_PERMISSION }),
        (
            "INSUFFICIENT_ACCESS_OR_READONLY",
            Per { row: dead("INSUFFICIENT_ACCESS_OR_READONLY"), request: NO_PERMISSION },
        ),
        ("TXN_SECURITY_NO_ACCESS", Is(BLOCKED)),
        ("TXN_SECURITY_RUNTIME_EXCEPTION", Is(BLOCKED)),
        // -- the mapping ------------------------------------------------------------------------------------------
        ("INVALID_FIELD", By(invalid_field)),
        ("INVALID_FIELD_FOR_INSERT_UPDATE", By(refused_field)),
        ("INVALID_TYPE", Is(NO_SCHEMA)),
        ("INVALID_ENTITY_FOR_UPSERT", Is(NO_SCHEMA)),
        ("INVALID_TYPE_FOR_OPERATION", Is(NO_SCHEMA)),
        ("NOT_FOUND", Per { row: dead("NOT_FOUND"), request: NO_SCHEMA }),
        ("METHOD_NOT_ALLOWED", Is(NO_SCHEMA)),
        ("UNSUPPORTED_MEDIA_TYPE", Is(NO_SCHEMA)),
        // -- of bulk jobs: not this way, or not now, while rows still go in calls of their own --------------------
        ("ExceededQuota", Per { row: QUOTA, request: Isolate }),
        ("FeatureNotEnabled", Per { row: dead("FeatureNotEnabled"), request: Isolate }),
        ("InvalidUser", Per { row: dead("InvalidUser"), request: Isolate }),
        ("ClientInputError", Per { row: dead("ClientInputError"), request: Isolate }),
        ("InvalidBatch", Per { row: dead("InvalidBatch"), request: Isolate }),
        ("InvalidJob", Per { row: dead("InvalidJob"), request: Isolate }),
        ("InvalidJobState", Per { row: BUSY, request: Isolate }),
        ("InvalidUrl", Is(NO_SCHEMA)),
        ("Timeout", Per { row: BUSY, request: OUTAGE }),
        ("Unknown", Per { row: BUSY, request: OUTAGE }),
        ("MALFORMED_QUERY", Is(NO_SCHEMA)),
        // An id that is none, of one of those that were asked about.
        data("INVALID_QUERY_FILTER_OPERATOR"),
        ("INVALID_QUERY_LOCATOR", Is(NO_SCHEMA)),
    ]
};

/// What to do about an error.
pub fn disposition(fault: &Fault<'_>) -> Disposition {
    match TABLE.iter().find(|(code, _)| same(code, fault.code)) {
        Some((_, Rule::Is(disposition))) => *disposition,
        Some((_, Rule::Per { row, request })) => match fault.scope {
            Scope::Row => *row,
            Scope::Request => *request,
        },
        Some((_, Rule::By(judge))) => judge(fault),
        None => by_status(fault),
    }
}

/// Codes by which Salesforce refuses what a row says in a field, where it names the field.
const OF_VALUES: [&str; 8] = [
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "FIELD_INTEGRITY_EXCEPTION",
    "INVALID_EMAIL_ADDRESS",
    "INVALID_FIELD",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    "INVALID_TYPE_ON_FIELD_IN_RECORD",
    "NUMBER_OUTSIDE_VALID_RANGE",
    "STRING_TOO_LONG",
];

/// The code as it is listed, where it is one of a row's value.
pub fn of_a_value(code: &str) -> Option<&'static str> {
    OF_VALUES.into_iter().find(|listed| same(listed, code))
}

/// `INVALID_SESSION_ID`, `InvalidSessionId` and `INVALIDSESSIONID` are one code.
pub fn same(listed: &str, code: &str) -> bool {
    fn letters(code: &str) -> impl Iterator<Item = u8> {
        code.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    letters(listed).eq(letters(code))
}

/// Without a known code.
fn by_status(fault: &Fault<'_>) -> Disposition {
    if fault.code.starts_with("MATCH_SERVICE_") {
        return Disposition::Retry(Retry::Busy);
    }
    match (fault.scope, fault.status) {
        // What does not even name a code may be a half-read answer.
        (Scope::Row, _) if fault.code.is_empty() => Disposition::Retry(Retry::Unknown),
        (Scope::Row, _) => Disposition::Hold { hint: UNKNOWN, reach: Reach::Row },
        (Scope::Request, 401) => Disposition::Wait(Wait::Session),
        // 3xx, 407: a maintenance page or a proxy in between, which never saw the rows.
        (Scope::Request, 300..=399 | 407 | 408 | 420 | 429 | 500..=599) => Disposition::Wait(Wait::Outage),
        (Scope::Request, 403) => NO_PERMISSION,
        // 410: a retired API version; 404: a wrong host or path.
        (Scope::Request, 404 | 405 | 410 | 415) => NO_SCHEMA,
        (Scope::Request, _) => Disposition::Isolate,
    }
}

fn session(fault: &Fault<'_>) -> Disposition {
    if fault.message.contains("not valid for use") {
        Disposition::Wait(Wait::Login)
    } else {
        Disposition::Wait(Wait::Session)
    }
}

/// One code for the calls of the day and for too many long calls at once: the text tells them apart, or the header.
fn request_limit(fault: &Fault<'_>) -> Disposition {
    let concurrent = if fault.message.contains("Concurrent") {
        true
    } else if fault.message.contains("TotalRequests") {
        false
    } else {
        fault.exhausted == Some(false)
    };
    Disposition::Wait(if concurrent { Wait::Concurrency } else { Wait::Quota })
}

fn required_field(fault: &Fault<'_>) -> Disposition {
    if names_parent(fault) {
        Disposition::Retry(Retry::MemberAbsent)
    } else {
        Disposition::DeadLetter { reason: "REQUIRED_FIELD_MISSING" }
    }
}

/// A row whose value cannot be read says which field it is in; a field that is hidden, or not there, is named in words.
fn invalid_field(fault: &Fault<'_>) -> Disposition {
    match (fault.scope, fault.fields) {
        (Scope::Row, [_, ..]) => Disposition::DeadLetter { reason: "INVALID_FIELD" },
        (Scope::Row | Scope::Request, _) => NO_SCHEMA,
    }
}

fn refused_field(fault: &Fault<'_>) -> Disposition {
    if names_parent(fault) { Disposition::Retry(Retry::MemberExists) } else { NO_SCHEMA }
}

/// `DUPLICATE_VALUE` means three things, told apart by the text alone.
fn duplicate_value(fault: &Fault<'_>) -> Disposition {
    if fault.message.contains("Already a campaign member") {
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
mod tests;
