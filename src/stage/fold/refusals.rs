//! Whether the disk takes what is written.
//!
//! That it took something after it had refused proves little: a full one takes a little now and then. So whoever looks from
//! outside hears that it is well again only when nothing was refused for a while; otherwise log, gauge and readiness
//! would change every second for as long as it is full. What is folded meanwhile is what the disk takes.

use std::time::{Duration, Instant};

/// Nothing was refused for so long: it is well again.
const WELL_AFTER: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Refusals {
    /// It does what it should.
    #[default]
    None,
    /// It refused, and has been tried then.
    Since(Instant),
    /// It took what it had refused then.
    TakenSince(Instant),
}

impl Refusals {
    /// Whether something waits that it has refused: nothing is folded.
    pub fn failing(self) -> bool {
        matches!(self, Self::Since(_))
    }

    /// It refused. True where that is news.
    pub fn refused(&mut self, now: Instant) -> bool {
        std::mem::replace(self, Self::Since(now)) == Self::None
    }

    /// When it was tried last, of what waits.
    pub fn tried(self) -> Option<Instant> {
        if let Self::Since(tried) = self { Some(tried) } else { None }
    }

    /// It took everything that it had refused.
    pub fn taken(&mut self, now: Instant) {
        *self = Self::TakenSince(now);
    }

    /// Whether it is well again, which is so once.
    pub fn well_again(&mut self, now: Instant) -> bool {
        let Self::TakenSince(taken) = *self else { return false };
        let well = now.saturating_duration_since(taken) >= WELL_AFTER;
        if well {
            *self = Self::None;
        }
        well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_a_little_now_and_then_fails_once_and_is_well_once() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let (mut news, mut well) = (0, 0);
        let at = |second| start + Duration::from_secs(second);
        for second in 0..80 {
            news += u32::from(refusals.refused(at(second)));
            assert!(refusals.failing() && refusals.tried() == Some(at(second)));
            refusals.taken(at(second));
            assert!(!refusals.failing(), "what it takes is folded");
            well += u32::from(refusals.well_again(at(second)));
        }
        assert_eq!((news, well), (1, 0));
        for second in 80..120 {
            well += u32::from(refusals.well_again(at(second)));
        }
        assert_eq!((well, refusals), (1, Refusals::None));
        assert!(refusals.refused(at(120)), "then it is news again");
        assert!(!refusals.well_again(at(1_000)), "it has taken nothing since");
    }
}
