//! Points in time as the org keeps and tells them.

/// `2026-01-31T10:00:00.000+0000`: Salesforce writes the offset without a colon.
pub fn timestamp(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

pub fn timestamp_now() -> String {
    timestamp(now())
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
