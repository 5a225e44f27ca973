//! What a row's record says of its sending, beside what the row says.

use super::lane::Lane;
use crate::time::Millis;

/// Replays and commands that one record names.
pub const CAUSES_MAX: usize = 4;

/// Why a row is sent, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending<'a> {
    /// Kafka timestamp of the newest record that changed the row.
    pub event_at: Millis,
    pub lane: Lane,
    /// Replays and commands behind it, the oldest first: of more than [`CAUSES_MAX`] the newest are told.
    pub causes: &'a [String],
    /// No version of it was sent before, as far as the state knows.
    pub first: bool,
    /// Only facts that a mapping names have changed it.
    pub minor: bool,
}

impl Sending<'_> {
    pub(super) fn newest_causes(&self) -> &[String] {
        self.causes.get(self.causes.len().saturating_sub(CAUSES_MAX)..).unwrap_or_default()
    }
}

impl Default for Sending<'_> {
    fn default() -> Self {
        Self { event_at: 0, lane: Lane::Live, causes: &[], first: false, minor: false }
    }
}
