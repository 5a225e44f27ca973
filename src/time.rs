//! Points in time, as all rooms keep them.

/// Milliseconds since 1970, UTC.
pub type Millis = i64;
