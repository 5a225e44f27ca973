//! Who waits for a row: said once, by whoever derives it, as only the fold knows what changed the row and how it came.
//!
//! The sink could compute it from a record's age, and did: a row that was derived late from a new event looked old then, and
//! one that a start derived again looked new.

use crate::time::Millis;

/// What arrived so long before it was derived is not what people wait for.
const BACKFILL_AGE_MS: Millis = 3_600_000;

/// In the order of the schema's symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Somebody waits for it.
    Live,
    /// All that changed it is old, or was brought by a start, a gap or a tool.
    Backfill,
}

impl Lane {
    /// Of a row that a record changed which arrived then.
    pub fn of(arrived: Millis, now: Millis) -> Self {
        if now.saturating_sub(arrived) > BACKFILL_AGE_MS { Self::Backfill } else { Self::Live }
    }

    pub fn symbol(self) -> i64 {
        match self {
            Self::Live => 0,
            Self::Backfill => 1,
        }
    }

    pub fn from_symbol(symbol: i64) -> Option<Self> {
        [Self::Live, Self::Backfill].into_iter().find(|lane| lane.symbol() == symbol)
    }
}
